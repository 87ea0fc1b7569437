"""The README over HTTP, answered by what `make demo` trained: in CI after the demo, here where there is one."""

import json
from pathlib import Path

import polars as pl
import pytest
from conftest import require
from serving.documented_requests import README, ROOT, blocks, curls, run_curl, run_python, served_run

DEMO = ROOT / "demo"


def test_what_the_demo_trained_answers_curl_and_python(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    require((DEMO / "run" / "store.json").is_file(), "there is no demo yet: make demo HEADLESS=1")
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    known = set(pl.read_csv(DEMO / "openmoji" / "openmoji.csv", schema_overrides={"id": pl.String})["id"])
    [curl], [python] = curls(README), blocks(README, "py")
    with served_run(str(DEMO / "run"), tmp_path) as address:
        hits = json.loads(run_curl(curl, address, tmp_path))["hits"]
        printed = run_python(python, address, {}).splitlines()
    assert len(hits) == len(printed) == 5
    assert {hit["id"] for hit in hits} <= known
    assert any("shoe" in hit["fields"]["title"] for hit in hits)
    assert [line.split(" ", 2)[1] for line in printed] == [hit["id"] for hit in hits]

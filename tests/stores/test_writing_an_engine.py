"""The engine of docs/stores/writing_an_engine.md, installed from a folder as another package would be."""

import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from likewise.errors import UserError
from likewise.stores.registry import open_store, replace_store
from likewise.stores.schema import Schema
from likewise.stores.uri import parse_location

GUIDE = Path(__file__).parents[2] / "docs" / "stores" / "writing_an_engine.md"
CONFORMANCE_TESTS = 60


@pytest.fixture
def site(tmp_path: Path) -> Path:
    """A folder with the engine, its test, and an entry point of a package that does not work."""
    engine, suite = re.findall(r"```python\n(.*?)```", GUIDE.read_text(encoding="utf-8"), flags=re.DOTALL)
    (declared,) = re.findall(
        r'```toml\n\[project.entry-points."likewise.stores"\]\n(.*?)```', GUIDE.read_text(), re.DOTALL
    )
    folder = tmp_path / "site"
    installed = folder / "table_store-1.0.dist-info"
    installed.mkdir(parents=True)
    (folder / "table_store.py").write_text(engine, encoding="utf-8")
    (folder / "test_table_store.py").write_text(suite, encoding="utf-8")
    (installed / "METADATA").write_text("Metadata-Version: 2.1\nName: table-store\nVersion: 1.0\n")
    entries = declared.replace('"', "") + "broken = no_such_module\nempty = json\n"
    (installed / "entry_points.txt").write_text(f"[likewise.stores]\n{entries}")
    return folder


def test_the_engine_of_the_guide_passes_the_conformance_suite(site: Path) -> None:
    path = os.pathsep.join(map(str, [site, *(place for place in sys.path if place)]))
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-p", "no:xdist", "test_table_store.py"]
    ended = subprocess.run(command, cwd=site, env=os.environ | {"PYTHONPATH": path}, capture_output=True, text=True)
    assert ended.returncode == 0, ended.stdout[-3_000:]
    passed = re.search(r"(\d+) passed", ended.stdout)
    assert int(passed[1]) >= CONFORMANCE_TESTS
    assert "skipped" not in ended.stdout


def test_an_installed_engine_is_chosen_by_its_scheme(site: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(site))
    place = f"table://{site}/store"
    with replace_store(place, Schema(3)) as store:
        store.upsert(pl.DataFrame({"id": ["a", "b"]}), np.eye(2, 3))
    assert open_store(place).search(np.eye(1, 3), 1)[0].ids == ["a"]
    with pytest.raises(UserError, match="the store table: has no option 'speed'"):
        parse_location("table:items?speed=3")


def test_an_engine_that_does_not_work_is_one_sentence_and_harms_no_other(
    site: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(str(site))
    with pytest.raises(UserError, match=r"the store broken: cannot be loaded from no_such_module .*No module named"):
        open_store("broken:items")
    with pytest.raises(UserError, match=r"the store empty: cannot be loaded from json .*no attribute 'open_store'"):
        open_store("empty:items")
    with replace_store(f"faiss://{site}/faiss", Schema(3)) as store:
        assert store.count() == 0
    with pytest.raises(UserError, match=r"there is no store oracle: installed are broken, empty, faiss, .*, table"):
        open_store("oracle://host")

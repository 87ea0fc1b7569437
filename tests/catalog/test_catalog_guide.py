"""The guide says what is true."""

import re
from pathlib import Path

from likewise.catalog.filters import parse_filter
from likewise.catalog.report import CONSEQUENCES

GUIDE = (Path(__file__).parents[2] / "docs" / "catalog.md").read_text(encoding="utf-8")


def test_every_filter_of_the_guide_parses() -> None:
    block = re.search(r"\n\n```\n(.*?)```", GUIDE, re.DOTALL)
    assert block
    filters = block[1].strip().splitlines()
    assert len(filters) >= 5
    for text in filters:
        assert parse_filter(str(parse_filter(text))) == parse_filter(text)


def test_every_cause_is_explained_in_the_guide() -> None:
    for cause, consequence in CONSEQUENCES.items():
        assert f"| `{cause}` | {consequence} |" in GUIDE


def test_the_guides_example_runs(tmp_path: Path, monkeypatch) -> None:
    (tmp_path / "products.csv").write_text(
        "product_name,price,stock,split\nRed shoes,$5,3,test\nBlue hat,$50,1,test\nGreen bag,$7,,test\n"
    )
    monkeypatch.chdir(tmp_path)
    example = re.search(r"```python\n(.*?)```", GUIDE, re.DOTALL)
    assert example
    names: dict[str, object] = {}
    exec(example[1], names)
    assert len(names["catalog"]) == 1  # type: ignore[arg-type]

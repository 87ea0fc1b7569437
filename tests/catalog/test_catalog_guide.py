"""The guide says what is true."""

import re
from pathlib import Path

import polars as pl

from likewise.catalog.filters import parse_filter
from likewise.catalog.report import CONSEQUENCES
from likewise.catalog.typed_values import FIELD_KINDS, read_typed_column

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


def test_the_guide_names_every_kind_of_column() -> None:
    kinds = GUIDE.partition("| kind | cells |")[2].partition("\n\n")[0]
    named = {kind for row in kinds.splitlines() if row.startswith("| `") for kind in row.split("|")[1].split(",")}
    assert {name.strip(" `") for name in named} == set(FIELD_KINDS) - {"image"}
    for kind, cell, cause in (
        ("number", "1e999", "too large for a number"),
        ("number", "٣", "superscripts or digits other than 0 to 9"),
    ):
        assert f"`{cell}`" in GUIDE
        assert cause.removeprefix("not ") in " ".join(GUIDE.split())
        assert read_typed_column(pl.Series([cell]), kind).unusable == {cause: 1}  # type: ignore[arg-type]


def test_every_number_of_the_guide_is_one() -> None:
    row = next(line for line in GUIDE.splitlines() if line.startswith("| `number` |"))
    for cell in re.findall(r"`([^`]+)`", row.partition("Whether")[0])[1:]:
        assert read_typed_column(pl.Series([cell]), "number").unusable == {}, cell


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

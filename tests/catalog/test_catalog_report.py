"""The report stays small, and says what happened and what follows from it."""

import json
import re
from pathlib import Path

from likewise.catalog.report import CONSEQUENCES, PICTURE_CAUSES, Report

SOURCES = Path(__file__).parents[2] / "src" / "likewise" / "catalog"


def test_counts_grow_but_examples_do_not() -> None:
    report = Report()
    for row in range(1000):
        report.count("duplicate-id", row)
    report.count_rows("duplicate-id", list(range(2000)))
    report.count("blank-title", count=0)
    assert report.problems["duplicate-id"].count == 3000
    assert report.problems["duplicate-id"].examples == [0, 1, 2, 3, 4]
    assert "blank-title" not in report.problems


def test_lines_and_dict_say_the_same() -> None:
    report = Report()
    report.rows, report.usable = 1200, 1100
    report.note("there is no image column")
    report.note("there is no image column")
    report.count("http-404", "item 7")
    report.count("empty-row", 3, count=99)
    assert json.loads(json.dumps(report.as_dict())) == report.as_dict()
    assert report.as_dict()["problems"] == {"http-404": 1, "empty-row": 99}
    assert report.lines() == [
        "1,100 usable items from 1,200 rows",
        "there is no image column",
        "99 × empty-row: the row is empty and is skipped (such as 3)",
        "1 × http-404: the picture was refused by its server with status 404; the item is kept without it "
        "(such as item 7)",
    ]


def test_every_cause_that_the_code_counts_is_explained() -> None:
    counted = set()
    for file in SOURCES.glob("*.py"):
        counted |= set(re.findall(r'\.count(?:_rows)?\(\s*"([a-z-]+)"', file.read_text(encoding="utf-8")))
    assert len(counted) >= 12
    assert counted <= set(CONSEQUENCES) | set(PICTURE_CAUSES)

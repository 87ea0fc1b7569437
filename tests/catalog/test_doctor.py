"""`likewise doctor`: everything that is wrong, counted; nothing raised."""

import io
import json
from pathlib import Path

import pytest
from catalog.picture_files import BAD_FILES, encoded, photo

from likewise.catalog.doctor import check_catalog, render_report
from likewise.errors import UserError
from likewise.progress import Terminal


def printed(report) -> str:
    console = Terminal(io.StringIO(), width=100)
    console.print(render_report(report))
    return console.file.getvalue()


def test_thirty_hostile_rows_and_pictures(tmp_path: Path) -> None:
    for name, (data, _) in BAD_FILES.items():
        (tmp_path / name).write_bytes(data)
    (tmp_path / "good.png").write_bytes(encoded(photo()))
    path = tmp_path / "items.csv"
    rows = ["id,title,description,image_url", "good,good title,words words words,good.png"]
    rows += [f"{name},title of {name},,{name}" for name in BAD_FILES]
    rows += ['broken","x', "good,again,,", ",,,", "long,row,has,five,cells", "short,row", "empty,,,"]
    path.write_bytes("\n".join(rows).encode() + b"\nlatin,Caf\xe9,,\0\n")
    report = check_catalog(
        path, cache=tmp_path / "cache", count_truncated=lambda texts: sum(len(t) > 12 for t in texts)
    )
    counts = report.as_dict()["problems"]
    for name, (_, cause) in BAD_FILES.items():
        assert counts.get(cause), (name, cause, counts)
    for cause in ("duplicate-id", "empty-row", "long-row", "short-row", "no-content", "control-characters"):
        assert counts[cause] >= 1, cause
    assert counts["without-picture"] == len(BAD_FILES)
    assert counts["long-description"] == 1
    assert counts["long-title"] == len(BAD_FILES)
    assert report.as_dict()["rows"] == len(rows)
    assert report.usable == len(BAD_FILES) + 3
    text = printed(report)
    for cause in counts:
        assert cause in text


def test_pictures_are_decoded_not_only_looked_at(tmp_path: Path) -> None:
    data = bytearray(encoded(photo(200, 160), "PNG"))
    data[len(data) // 2] ^= 0xFF  # sound header and end, damaged between
    (tmp_path / "damaged.png").write_bytes(data)
    (tmp_path / "items.csv").write_text("id,title,image_url\na,one,damaged.png\nb,two,damaged.png\n")
    report = check_catalog(tmp_path / "items.csv", cache=tmp_path / "cache")
    decoding = {
        cause: count for cause, count in report.as_dict()["problems"].items() if cause in ("broken", "truncated")
    }
    assert sum(decoding.values()) == 2


def test_a_sound_file(tmp_path: Path) -> None:
    (tmp_path / "items.csv").write_text("id,title,description\na,one,first\nb,one,second\n")
    report = check_catalog(tmp_path / "items.csv", cache=tmp_path / "cache")
    assert json.loads(json.dumps(report.as_dict()))["problems"] == {}
    text = printed(report)
    assert "2 usable items from 2 rows" in text
    assert "No problems found" in text
    assert "1 different titles: 1 rows repeat the title of an earlier one" in text


def test_nothing_usable_is_a_report_and_no_table_a_sentence(tmp_path: Path) -> None:
    (tmp_path / "items.csv").write_text("title,price\n,5\n")
    report = check_catalog(tmp_path / "items.csv", cache=tmp_path / "cache")
    assert (report.rows, report.usable) == (1, 0)
    (tmp_path / "items.csv").write_text("price\n5\n")
    with pytest.raises(UserError, match="no column looks like the title"):
        check_catalog(tmp_path / "items.csv", cache=tmp_path / "cache")

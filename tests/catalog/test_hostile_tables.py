"""Tables made to break their reader: each ends in one sentence or in the right number of items, soon and in bounds."""

import gzip
import io
import json
import os
import resource
import struct
import time
import zlib
from collections.abc import Callable
from pathlib import Path

import polars as pl
import pytest
from conftest import require_library

import likewise as lw
from likewise.catalog.parquet import read_parquet
from likewise.catalog.report import Report
from likewise.catalog.table import read_table

SECONDS, KILOBYTES = 30, 1_500_000
WIDE = b"title," + b",".join(b"c%d" % number for number in range(1_000_000)) + b"\n"


def parquet(**columns: object) -> bytes:
    file = io.BytesIO()
    pl.DataFrame(columns).write_parquet(file)
    return file.getvalue()


def repeated_parquet(text: str, rows: int) -> bytes:
    file = io.BytesIO()
    pl.select(title=pl.lit(text).repeat_by(rows).explode()).write_parquet(file)
    return file.getvalue()


def varint(number: int) -> bytes:
    low, rest = number & 127, number >> 7
    return bytes([low | 128]) + varint(rest) if rest else bytes([low])


def schema_element(children: int = 0) -> bytes:
    """An optional group, or a number where there are no children, in Thrift's compact protocol."""
    kind, name = b"" if children else b"\x15\x02", b"\x18\x01a"
    return kind + (b"\x35" if children else b"\x25") + b"\x02" + name + (b"\x15" + varint(2 * children)) + b"\0"


def parquet_with_schema(*elements: bytes, rows: int = 0, size: int = 0) -> bytes:
    """A file without data, and with one row group that says how much it holds."""
    schema = b"\x19\xfc" + varint(len(elements)) + b"".join(elements)
    group = b"\x26" + varint(2 * size) + b"\x16" + varint(2 * rows) + b"\0"
    footer = b"\x15\x02" + schema + b"\x16" + varint(2 * rows) + b"\x19\x1c" + group + b"\0"
    return b"PAR1" + footer + struct.pack("<I", len(footer)) + b"PAR1"


def zipped(text: bytes, times: int = 1) -> bytes:
    file = zlib.compressobj(9, zlib.DEFLATED, 31)
    return b"".join(file.compress(text) for _ in range(times)) + file.flush()


def lines(*rows: object) -> bytes:
    return b"".join((row if isinstance(row, bytes) else json.dumps(row).encode()) + b"\n" for row in rows)


Case = tuple[str, Callable[[], bytes], int | str]  # a file's name and bytes; how many items it has, or why it has none

CSV: dict[str, Case] = {
    "a million columns": ("a.csv", lambda: WIDE + b"a" + b",1" * 1_000_000 + b"\n", "more than 5,000 columns"),
    "a million columns and short rows": ("a.csv", lambda: WIDE + b"a\n" * 1000, "more than 5,000 columns"),
    "a million unnamed columns": ("a.csv", lambda: b"title" + b"," * 999_999 + b"\na,1\n", "more than 5,000 columns"),
    "a header of two million tabs": ("a.tsv", lambda: b"title" + b"\t" * 2_000_000 + b"\na\t1\n", "5,000 columns"),
    "20,000 columns of one name": ("a.csv", lambda: b"title" + b",a" * 20_000 + b"\na\n", "more than 5,000 columns"),
    "2,000 columns of one name": ("a.csv", lambda: b"title" + b",a" * 2_000 + b"\nx" + b",1" * 2_000 + b"\n", 1),
    "names that look like copies": ("a.csv", lambda: b"title,a,a (2),a,a,a (2)\nx,1,2,3,4,5\n", 1),
    "4,000 columns, rows of one cell": (
        "a.csv",
        lambda: b"title," + b",".join(b"c%d" % number for number in range(4_000)) + b"\n" + b"a\n" * 200_000,
        "most of which are blank",
    ),
    "a row of 10 million commas": ("a.csv", lambda: b"title,price\nx" + b"," * 10_000_000 + b"\na,1\n", 1),
    "12,000 quotes left open, each closed by the next": (
        "a.csv",
        lambda: b"title,price\n" + b'a","b\n' * 12_000,
        12_000,
    ),
    "100,000 quotes left open, each closed by the next": (
        "a.csv",
        lambda: b"title,price\n" + b'a","b\n' * 100_000,
        100_000,
    ),
    "100,000 lines that open a quote": ("a.csv", lambda: b"title,price\n" + b'"red shoes,1\n' * 100_000, 100_000),
    "12,000 quotes left open before a long line": (
        "a.csv",
        lambda: b"title,price\n" + b'a","b\n' * 12_000 + b'a","' + b"b" * 3_000_000 + b"\n",
        12_001,
    ),
    "one quote left open in 50,000 lines": ("a.csv", lambda: b'title,price\n"x,1\n' + b"a,1\n" * 50_000, 50_001),
    "only quotes": ("a.csv", lambda: b'"' * 1_000_001, "is empty"),
    "lines of one quote": ("a.csv", lambda: b"title\n" + b'"\n' * 20_000, "can be used"),
    "a cell of a million escaped quotes": ("a.csv", lambda: b'title\n"' + b'""' * 1_000_000 + b'"\n', 1),
    "a cell of 10 MB": ("a.csv", lambda: b"title,text\na," + b"x" * 10_000_000 + b"\n", 1),
    "a title of 10 MB": ("a.csv", lambda: b"title,text\n" + b"x" * 10_000_000 + b",a\n", 1),
    "300,000 line ends": ("a.csv", lambda: b"title\na\n" + b"\r\n" * 300_000 + b"b\n", 2),
    "only line ends": ("a.csv", lambda: b"\r\n" * 1_000_000, "is empty"),
    "carriage returns within rows": ("a.csv", lambda: b"title,text\na\r,b\nc,d\n", 3),
    "NUL characters everywhere": ("a.csv", lambda: b"title\0,te\0xt\n\0a,b\0\n", 1),
    "a name of blanks and NUL": ("a.csv", lambda: b"title,\0 \0\na,b\n", 1),
    "a title called like our own column": ("a.csv", lambda: b"row number,title,image,id\n7,a,b.jpg,1\n", 1),
    "surrogates in UTF-8": ("a.csv", lambda: b"title\n\xed\xa0\x80\nb\n", 2),
    "a byte order mark and nothing": ("a.csv", lambda: b"\xff\xfe", "is empty"),
    "half a character of UTF-16": ("a.csv", lambda: "title\na\n".encode("utf-16") + b"x", 2),
    "a byte order mark of UTF-32 before other bytes": ("a.csv", lambda: b"\xff\xfe\0\0title\na\n", "no rows"),
    "random bytes behind a header": ("a.csv", lambda: b"title\n" + bytes(range(128, 256)) * 500, 1),
    "sep= and no row": ("a.csv", lambda: b"sep=;\n", "is empty"),
    "sep= of a quote": ("a.csv", lambda: b'sep="\ntitle"price\na"1\n', "no column looks like the title"),
    "sep= of a line end": ("a.csv", lambda: b"sep=\r\ntitle,price\na,1\n", "no column looks like the title"),
    "sep= of a letter": ("a.csv", lambda: b"sep=t\nnametid\nat1\n", 1),
    "HTML that never ends": ("a.csv", lambda: b"title,text\na," + b"<script" * 200_000 + b"\n", 1),
    "entities that never end": ("a.csv", lambda: b"title,text\na," + b"&amp" * 500_000 + b"\n", 1),
    "an entity beyond Unicode": ("a.csv", lambda: b"title\na&#9999999;b&#xD800;\n", 1),
    "an image list nested 100,000 deep": ("a.csv", lambda: b"title,image\na," + b"[" * 100_000 + b"]" * 100_000, 1),
    "an image list of Python, nested": ("a.csv", lambda: b"title,image\na," + b"('" * 500 + b"')" * 500, 1),
    "a million image sources": ("a.csv", lambda: b"title,image\na," + b"x.jpg|" * 1_000_000 + b"\n", 1),
    "numbers of a million digits": ("a.csv", lambda: b"title,price\na," + b"9" * 1_000_000 + b"\nb,1\n", 2),
    "a number too large for a column": ("a.csv", lambda: b"title,n\na,9223372036854775808\nb,1\n", 2),
    "a number beyond floats": ("a.csv", lambda: b"title,n\na,1e99\nb,.\nc,-\n", 3),
    "the same id 50,000 times": ("a.csv", lambda: b"id,title\n" + b"1,a\n" * 50_000, 1),
}

JSON: dict[str, Case] = {
    "a million keys": (
        "a.jsonl",
        lambda: lines({f"c{number}": 1 for number in range(1_000_000)}),
        "5,000 different keys",
    ),
    "a key more in each row": (
        "a.jsonl",
        lambda: lines(*({"title": "a", f"c{row}": 1} for row in range(9_000))),
        "blank",
    ),
    "4,000 keys, one in each row": (
        "a.jsonl",
        lambda: lines(*({"title": "a", f"c{row % 4_000}": 1} for row in range(100_000))),
        "most of which are blank",
    ),
    "half a character as a key": (
        "a.jsonl",
        lambda: lines({"title": "a", "\ud800": 1}, {"title": "b", "\udfff": 2}),
        2,
    ),
    "half a character in everything": ("a.json", lambda: lines([{"title": "\ud800", "x": {"\udc00": ["\udfff"]}}]), 1),
    "blank keys": ("a.jsonl", lambda: lines({"": 1, " ": 2, "title": "a"}), 1),
    "a key of a megabyte": ("a.jsonl", lambda: lines({"x" * 1_000_000: 1, "title": "a"}), 1),
    "NUL in keys": ("a.jsonl", lambda: lines({"\0": 1, "title\0": "a", "title": "b"}), 1),
    "a row nested 900 deep": ("a.jsonl", lambda: lines({"title": "a"}, b'{"x":' + b"[" * 900 + b"]" * 900 + b"}"), 1),
    "a row nested 40 deep": ("a.jsonl", lambda: lines(b'{"title":"a","x":' + b"[" * 40 + b"]" * 40 + b"}"), 1),
    "a row nested a million deep": ("a.jsonl", lambda: lines({"title": "a"}, b"[" * 1_000_000), 1),
    "objects nested 100,000 deep": ("a.jsonl", lambda: lines({"title": "a"}, b'{"a":' * 100_000), 1),
    "a list nested a million deep": ("a.json", lambda: b"[" * 1_000_000, "nested more than 50 levels deep"),
    "a list nested 60 deep": ("a.json", lambda: b"[" * 60 + b"]" * 60, "nested more than 50 levels deep"),
    "a list of lists": ("a.json", lambda: b"[[{}]]", "no JSON objects"),
    "a list that ends early": ("a.json", lambda: b'[{"title": "a"},', "no JSON at line 1"),
    "a number of a million digits": ("a.jsonl", lambda: lines({"title": "a"}, b'{"n":' + b"9" * 1_000_000 + b"}"), 1),
    "such a number in a list": ("a.json", lambda: b'[{"title": 1' + b"0" * 10_000 + b"}]", "no JSON"),
    "numbers that JSON lacks": ("a.jsonl", lambda: lines(b'{"title": "a", "x": NaN, "y": Infinity, "z": -1e999}'), 1),
    "only numbers": ("a.jsonl", lambda: b"1\n2\n3\n", "no JSON objects"),
    "only null": ("a.json", lambda: b"null", "no JSON objects"),
    "titles of every kind": (
        "a.jsonl",
        lambda: lines(*({"title": value} for value in (1, True, [], {}, None, "a"))),
        5,
    ),
    "the same key twice": ("a.jsonl", lambda: lines(b'{"title": "a", "title": "b"}'), 1),
    "a row cut in the middle": ("a.jsonl", lambda: lines({"title": "a"}, b'{"title": "b'), 1),
    "rows without a title": ("a.jsonl", lambda: lines({"x": 1}), "no column looks like the title"),
    "a comma behind the last": ("a.json", lambda: b'[{"title": "a"},]', "no JSON at line 1"),
    "bytes that are not UTF-8": ("a.jsonl", lambda: b'{"title": "\xe9\xff"}\n', 1),
    "a line end of Unicode within a text": ("a.jsonl", lambda: '{"title": "a\u2028b\x85"}\n'.encode(), 1),
}

PARQUET: dict[str, Case] = {
    "10,000 columns": (
        "a.parquet",
        lambda: parquet(**{f"c{number}": [1] for number in range(10_000)}),
        "5,000 columns",
    ),
    "a million columns": (
        "a.parquet",
        lambda: parquet_with_schema(schema_element(1_000_000), *[schema_element()] * 1_000_000),
        "more than 5,000 columns",
    ),
    "a million columns inside of one": (
        "a.parquet",
        lambda: parquet_with_schema(schema_element(1), schema_element(999_998), *[schema_element()] * 999_998),
        "more than 5,000 columns",
    ),
    "a column nested 20,000 deep": (
        "a.parquet",
        lambda: parquet_with_schema(*[schema_element(1)] * 20_000, schema_element()),
        "nested more than 50 levels deep",
    ),
    "1.2 GB of one repeated text": ("a.parquet", lambda: repeated_parquet("a" * 1_000, 1_200_000), "more than 1 GB"),
    "a billion rows, it says": (
        "a.parquet",
        lambda: parquet_with_schema(schema_element(1), schema_element(), rows=10**9),
        "more than 1 GB",
    ),
    "a terabyte, it says": (
        "a.parquet",
        lambda: parquet_with_schema(schema_element(1), schema_element(), rows=1, size=10**12),
        "more than 1 GB",
    ),
    "no rows": ("a.parquet", lambda: parquet(title=[]), "no rows"),
    "no columns": ("a.parquet", lambda: parquet(), "no rows"),
    "the beginning only": ("a.parquet", lambda: parquet(title=["a"] * 100)[:200], "damaged"),
    "eight bytes": ("a.parquet", lambda: b"PAR1PAR1", "damaged"),
    "a footer longer than the file": ("a.parquet", lambda: b"PAR1" + b"\xff\xff\xff\x7fPAR1", "damaged"),
    "a footer of nothing": ("a.parquet", lambda: b"PAR1\0\0\0\0PAR1", "damaged"),
    "a footer of one endless number": ("a.parquet", lambda: b"PAR1" + b"\xff" * 50 + b"\x32\0\0\0PAR1", "damaged"),
    "a footer of lists in lists": ("a.parquet", lambda: b"PAR1" + b"\x19" * 900 + b"\x84\x03\0\0PAR1", "damaged"),
    "a footer of structures in structures": (
        "a.parquet",
        lambda: b"PAR1" + b"\x1c" * 900 + b"\x84\x03\0\0PAR1",
        "damaged",
    ),
    "a list of two billion truths": (
        "a.parquet",
        lambda: b"PAR1" + b"\x19\xf1\xff\xff\xff\xff\x07" + b"\x07\0\0\0PAR1",
        "damaged",
    ),
    "text behind the magic": ("a.parquet", lambda: b"PAR1,title\na,b\n", "damaged"),
    "half a character as a name": (
        "a.parquet",
        lambda: parquet(title=["a"]).replace(b"title", b"ti\xed\xa0\x80"),
        "damaged",
    ),
    "bytes as titles": ("a.parquet", lambda: parquet(title=[b"\xff"], name=["a"]), 1),
    "columns of every kind": (
        "a.parquet",
        lambda: parquet(title=["a"], u=pl.Series([2**64 - 1], dtype=pl.UInt64), n=pl.Series([None]), d=[[{"x": [1]}]]),
        1,
    ),
    "two columns called like ours": ("a.parquet", lambda: parquet(title=["a"], id=[[1]], image=[{"url": None}]), 1),
}

COMPRESSED: dict[str, Case] = {
    "300 MB from 300 KB": ("a.csv.gz", lambda: zipped(b"title\n" + b"a\n" * 2**20, 150), "expands to more than"),
    "150 MB of nothing": ("a.csv.gz", lambda: zipped(b"\0" * 2**20, 150), "expands to more than 100 MB"),
    "10 million commas": ("a.csv.gz", lambda: zipped(b"title" + b"," * 10_000_000 + b"\na,1\n"), "5,000 columns"),
    "gzip in gzip": ("a.csv.gz", lambda: zipped(zipped(b"title\na\n")), "not a text file"),
    "two files in one": ("a.csv.gz", lambda: zipped(b"title\na\n") + zipped(b"b\n"), 2),
    "something behind it": ("a.csv.gz", lambda: zipped(b"title\na\n") + b"garbage", "does not decompress"),
    "ten bytes": ("a.csv.gz", lambda: zipped(b"title\na\n")[:10], "does not decompress"),
    "a wrong checksum": ("a.csv.gz", lambda: zipped(b"title\na\n")[:-8] + bytes(8), "does not decompress"),
    "an empty file": ("a.csv.gz", lambda: zipped(b""), "is empty"),
    "Parquet within": ("a.parquet.gz", lambda: zipped(parquet(title=["a"])), 1),
    "a damaged Parquet file within": ("a.gz", lambda: zipped(b"PAR1" + bytes(100)), "damaged"),
    "JSON within": ("a.jsonl.gz", lambda: zipped(lines({"title": "a"}, {"title": "b"})), 2),
    "a ZIP archive within": ("a.csv.gz", lambda: zipped(b"PK\x03\x04" + bytes(100)), "ZIP archive"),
    "zstd": ("a.csv.zst", lambda: b"\x28\xb5\x2f\xfd" + bytes(50), "decompress it first"),
}

CASES = {
    f"{kind}: {name}": case
    for kind, cases in {"CSV": CSV, "JSON": JSON, "Parquet": PARQUET, "gzip": COMPRESSED}.items()
    for name, case in cases.items()
}


@pytest.mark.parametrize("case", CASES)
def test_a_hostile_table_is_one_sentence_or_the_right_items(tmp_path: Path, case: str) -> None:
    name, make, expected = CASES[case]
    path = tmp_path / name
    path.write_bytes(make())
    before, began = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, time.perf_counter()
    if isinstance(expected, int):
        catalog = lw.Catalog.read(path)
        assert len(catalog) == expected
        assert len(catalog.fingerprint) == 64
        catalog.report.lines()
    else:
        with pytest.raises(lw.UserError) as error:
            lw.Catalog.read(path)
        message = str(error.value)
        assert expected in message
        assert len(message.splitlines()) == 1
        assert len(message) < 3_000
    assert time.perf_counter() - began < SECONDS
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < KILOBYTES


def test_there_are_more_than_a_hundred_cases() -> None:
    assert len(CASES) > 100


@pytest.mark.parametrize("line", [b'a","b\n', b'"red shoes,1\n', b'a,"b\n', b'"a"b,1\n', b'"",""",\n'])
def test_time_is_linear_in_lines_with_unbalanced_quotes(tmp_path: Path, line: bytes) -> None:
    path = tmp_path / "a.csv"
    path.write_bytes(b"title,price\n" + line * 100_000 + b"last,2\n")
    began = time.perf_counter()
    table = read_table(path, report := Report())
    assert time.perf_counter() - began < SECONDS
    lost = sum(problem.count for cause, problem in report.problems.items() if cause in ("malformed-row", "long-row"))
    assert table.cells.height + lost == report.rows
    assert "last" in table.cells[-1, 0] + str(table.cells[-1, 1])


def test_devices_are_no_tables() -> None:
    with pytest.raises(lw.UserError, match="is a device"):
        lw.Catalog.read(os.devnull)


def test_a_parquet_file_of_any_writer_has_a_footer_that_is_understood() -> None:
    require_library("pyarrow")
    import pyarrow
    from pyarrow import parquet as writer

    file = io.BytesIO()
    writer.write_table(pyarrow.table({"title": ["a", "b"], "tags": [["x"], []], "size": [{"w": 1}, None]}), file)
    assert read_parquet(file.getvalue()).height == 2
    many = pl.DataFrame({"title": ["a"] * 1_000, "price": [1.5] * 1_000})
    many.write_parquet(file := io.BytesIO(), row_group_size=10)
    assert read_parquet(file.getvalue()).equals(many)


def test_a_well_compressed_file_is_read(tmp_path: Path) -> None:
    (tmp_path / "a.csv.gz").write_bytes(gzip.compress(b"title\n" + b"red shoes\n" * 500_000))
    assert read_table(tmp_path / "a.csv.gz", Report()).cells.height == 500_000

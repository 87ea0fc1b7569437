"""Settings, filters, boosts and store URIs made to break their parsers: one sentence or the right answer, at once."""

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import polars as pl
import pytest

import likewise as lw
from likewise.catalog.filters import parse_filter
from likewise.catalog.filters_polars import match_rows
from likewise.errors import UserError
from likewise.retrieval.boost import parse_boost
from likewise.stores.conditions import normal_form
from likewise.stores.schema import Schema
from likewise.stores.uri import parse_location

SECONDS = 10

YAML: dict[str, str] = {
    # Values that are not what their tag says.
    "seed: !!timestamp abc": "not valid YAML",
    'seed: !!int ""': "not valid YAML",
    'seed: !!float ""': "not valid YAML",
    "seed: !!bool perhaps": "not valid YAML",
    'seed: !!binary "a"': "not valid YAML",
    "seed: !!int [1]": "not valid YAML",
    "seed: !!python/object:os.system x": "not valid YAML",
    f"seed: {'1:' * 300}1.5": "not valid YAML",
    "seed: 2001-13-45": "refused",
    "seed: 2001-01-01": "seed",
    # Nesting, keys and documents.
    "- " * 5_000: "nested more than 50 levels deep",
    "{" * 5_000: "nested more than 50 levels deep",
    "[{" * 100: "nested more than 50 levels deep",
    "x: " + "[" * 5_000: "nested more than 50 levels deep",
    "? " * 5_000: "nested more than 50 levels deep",
    "x: " + "[" * 49 + "]" * 49: "unknown key x",
    "? [a]\n: 1": "not valid YAML",
    "<<: [1]": "not valid YAML",
    "null: 1": "keys should be strings",
    "1: 2": "keys should be strings",
    '"\\ud800": 1': "unicode",
    "--- a\n--- b": "not valid YAML",
    "&a a": "anchor or alias",
    "*a": "anchor or alias",
    "\0": "not valid YAML",
    "- 1": "must hold keys and values",
    "0": "must hold keys and values",
    # Blank values, and those of a wrong kind.
    "data:": "data",
    "data: {columns: }": "data.columns",
    "data: {columns: title}": "data.columns",
    "data: {columns: [title]}": "data.columns",
    "data: {columns: {description: }}": "data.columns.description",
    "data: {columns: {description: 3}}": "data.columns.description",
    "data: {columns: {description: [a]}}": "data.columns.description",
    "data: {columns: {1: title}}": "data.columns.1",
    "data: {file: [1]}": "data.file",
    "data: {images: []}": "data.images",
    "data: {images: {timeout: .inf}}": "data.images.timeout",
    "data: {max_items: 0}": "data.max_items",
    'model: {text_encoder: ""}': "model.text_encoder",
    "model: {text_encoder: }": "model.text_encoder",
    "model: {fields: []}": "model.fields",
    'model: {fields: ""}': "model.fields",
    "model: {dim: 1e400}": "model.dim",
    "seed: -1": "seed",
    "seed: 99999999999999999999999": "seed",
    "seed: .nan": "seed",
    "learning_rate: .inf": "learning_rate",
    "learning_rate: .nan": "learning_rate",
    "learning_rate: 1e400": "learning_rate",
    "weight_decay: -.inf": "weight_decay",
    "lr_scales: {a: .inf}": "lr_scales.a",
    'budget: ""': "budget",
    f"budget: {'9' * 400}h": "budget",
    "matryoshka: [a]": "matryoshka.0",
    "queries: 5": "queries",
}

FILTERS: dict[str, int | str] = {
    "price < 3.5": 1,
    "price == -9223372036854775808": 0,
    "price < 99999999999999999999": 2,
    "price < 1e400": "too large",
    "price < " + "9" * 400: "too large",
    "price < ١": 0,
    "price < ²": "syntax error",
    "price < 0x10": "syntax error",
    "price in [" + "1," * 4_000 + "]": 0,
    " or ".join(["price < 1"] * 700): 0,
    " and ".join(["(price<1 or price>2)"] * 390): 2,
    "(" * 49 + "price<9" + ")" * 49: 2,
    "(" * 60 + "price<9" + ")" * 60: "nested more than 50 levels deep",
    "(" * 9_000: "nested more than 50 levels deep",
    ")" * 9_000: "syntax error",
    "not " * 60 + "price<9": "nested more than 50 levels deep",
    "not " * 50 + "price<9": 2,
    "a" * 20_000: "characters; the limit is",
    " " * 500: "is empty",
    "": "is empty",
    "title == 'a": "unclosed quotation mark",
    "title == '" + "\\" * 9_000: "unclosed quotation mark",
    "title == " + '"' * 9_001: "syntax error",
    "title == '\0'": 0,
    "title == '\ud800'": 0,
    "`\ud800` == 1": "no column",
    "`` == 1": "unclosed quotation mark",
    "`a``b` == 1": "no column",
    "\u202etitle == 'a'": "syntax error",
    "ｔitle == 'a'": "did you mean title",
    "price < 1; DROP TABLE items": "syntax error",
    "price < 1 -- x": "syntax error",
    "title == 3": "holds text",
    "price == '3'": "holds numbers",
    "price == true": "cannot be compared",
    "flag == 1": "cannot be compared",
    "flag < true": "with == or !=",
    "flag != true": 1,
    "image == 'a'": "holds lists",
    "image is null": 2,
    "title in []": 0,
    "title in ['a', 1]": "holds text",
    "title not in []": 2,
    "huge > -1": 2,
    "huge == 18446744073709551615": 1,
    "tiny == 999999999999999999": 0,
    "tiny < -999999999999999999": 0,
    "nothing is null": 2,
    "nothing == 'a'": 0,
    "in in [1]": "syntax error",
    "not": "syntax error",
    "price": "syntax error",
    "price ==": "syntax error",
    "price <\n9": 2,
    "eval('1')": "syntax error",
}

BOOSTS: dict[str, float | str] = {
    "price": 3.0,
    "1/0": 0.0,
    "log1p(-5) + sqrt(-1)": 0.0,
    "1e308 * 1e308": 0.0,
    "1e400": "too large",
    "9" * 400: "too large",
    "-" * 1_900 + "1": 1.0,
    "(" * 900 + "1" + ")" * 900: 1.0,
    "(" * 1_900: "syntax error",
    "1" + "+1" * 900: 901.0,
    "min(" * 200 + "1" + ",2)" * 200: 1.0,
    "a" * 3_000: "characters; the limit is",
    "  ": "is empty",
    "exp(1)": "no function",
    "min(1)": "takes 2 arguments",
    "title": "no numbers",
    "nope": "no column",
    "flag": 1.0,
    "`\ud800`": "no column",
    "\0": "syntax error",
    "price ** 2": "syntax error",
    "__import__('os')": "syntax error",
    "price.__class__": "syntax error",
    "``": "syntax error",
    "١": 1.0,
}

URIS: dict[str, str] = {  # URI → the path that it names, or why it names none
    "faiss:a%23b": "a#b",
    "faiss:a%3Fb": "a?b",
    "faiss:100%25": "100%",
    "faiss:100%": "100%",
    "faiss:a#b": "holds a #",
    "faiss:a?": "holds a ?",
    "faiss:a?&": "holds a ?",
    "faiss:a?b": "has no option",
    "faiss:a%00b": "control character",
    "faiss:a%0Ab": "control character",
    "faiss:a\nb": "control character",
    "faiss:a\tb": "control character",
    "faiss:a%FFb": "not UTF-8",
    "faiss:a\udcffb": "not UTF-8",
    "qdrant://user:%FF@host": "not UTF-8",
    "qdrant://user:%00@host": "control character",
    "qdrant://host?collection=%FF": "not UTF-8",
    "qdrant://host?collection=a%0A": "control character",
    "qdrant://host/?": "/",
}


def soon(run: Callable[[], Any], expected: str) -> str:
    """What is said; nothing takes long."""
    began = time.perf_counter()
    with pytest.raises(UserError) as error:
        run()
    assert time.perf_counter() - began < SECONDS
    message = str(error.value)
    assert expected in message
    assert len(message.splitlines()) == 1
    assert len(message) < 1_000
    return message


def named(cases: dict[Any, Any]) -> dict[str, Any]:
    """Arguments of parametrize whose names fit on a line."""
    return {
        "argvalues": list(cases.items()),
        "ids": [f"{number}: {ascii(case)[:40]}" for number, case in enumerate(cases)],
    }


@pytest.mark.parametrize(("text", "expected"), **named(YAML))
def test_a_hostile_config_is_one_sentence(tmp_path: Path, text: str, expected: str) -> None:
    path = tmp_path / "config.yaml"
    path.write_bytes(text.encode())
    assert str(path) in soon(lambda: lw.TrainConfig.read(path), expected)


def test_bytes_that_are_not_utf8_are_no_config(tmp_path: Path) -> None:
    for content in (b"\xff\xfe", b"seed: \x80", "seed: 1".encode("utf-16")):
        (tmp_path / "config.yaml").write_bytes(content)
        soon(lambda: lw.TrainConfig.read(tmp_path / "config.yaml"), "not valid YAML")


@pytest.fixture
def items() -> pl.DataFrame:
    return pl.DataFrame(
        {
            "id": ["1", "2"],
            "title": ["a", "c"],
            "price": [3, 4],
            "flag": [True, False],
            "image": [[], []],
            "huge": pl.Series([2**64 - 1, 0], dtype=pl.UInt64),
            "tiny": pl.Series([1, -1], dtype=pl.Int8),
            "nothing": pl.Series([None, None], dtype=pl.String),
        },
        schema_overrides={"image": pl.List(pl.String)},
    )


@pytest.mark.parametrize(("text", "expected"), **named(FILTERS))
def test_a_hostile_filter_is_one_sentence_or_right(items: pl.DataFrame, text: str, expected: int | str) -> None:
    if isinstance(expected, str):
        soon(lambda: match_rows(items, text), expected)
        return
    began = time.perf_counter()
    assert match_rows(items, text).sum() == expected
    normal_form(parse_filter(text), Schema.of(items, 4))
    assert time.perf_counter() - began < SECONDS


@pytest.mark.parametrize(("text", "expected"), **named(BOOSTS))
def test_a_hostile_boost_is_one_sentence_or_right(items: pl.DataFrame, text: str, expected: float | str) -> None:
    def value() -> float:
        boost = parse_boost(text)
        boost.check(Schema.of(items, 4))
        return float(boost.values([items.row(0, named=True)])[0])

    if isinstance(expected, str):
        soon(value, expected)
    else:
        assert value() == expected


@pytest.mark.parametrize(("uri", "expected"), **named(URIS))
def test_no_sign_of_a_store_uri_is_dropped_in_silence(uri: str, expected: str) -> None:
    if " " in expected:
        soon(lambda: parse_location(uri), expected)
        return
    location, _ = parse_location(uri)
    assert location.path == expected
    assert parse_location(str(location))[0] == location


@pytest.mark.parametrize("name", [None, 3, ["a"], "", "  ", "nope", "\ud800"])
def test_a_column_without_a_name_is_one_sentence(tmp_path: Path, name: Any) -> None:
    (tmp_path / "items.csv").write_text("title,description\na,b\n")
    soon(lambda: lw.Catalog.read(tmp_path / "items.csv", columns={"description": name}), "column")


@pytest.mark.parametrize("columns", ["title", ["title"], 3, {None: "title"}, {1: "title"}])
def test_columns_are_a_mapping_of_our_names(tmp_path: Path, columns: Any) -> None:
    (tmp_path / "items.csv").write_text("title,description\na,b\n")
    soon(lambda: lw.Catalog.read(tmp_path / "items.csv", columns=columns), "map")

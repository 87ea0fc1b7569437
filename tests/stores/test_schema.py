"""What an engine writes for an item."""

import json
from datetime import date

import polars as pl
import pytest

from likewise.files import FormatError, NewerFormatError
from likewise.stores.schema import FIELDS, Schema, stored_columns

NAN, INFINITY = float("nan"), float("inf")


def documents(items: pl.DataFrame, schema: Schema) -> list[dict[str, object]]:
    return [json.loads(document, parse_constant=pytest.fail) for document in stored_columns(items, schema)[FIELDS]]


@pytest.mark.parametrize("kind", [pl.Float16, pl.Float32, pl.Float64])
@pytest.mark.parametrize("nested", [False, True])
def test_numbers_that_json_lacks_are_blank(kind, nested):
    items = pl.DataFrame({"id": list("abcd"), "price": pl.Series([1.5, NAN, INFINITY, None], dtype=kind)})
    if nested:
        items = items.with_columns(sizes=pl.Series([[1.0, NAN], [], None, [2.5]]))
    found = documents(items, Schema.of(items, 4))
    assert [document["price"] for document in found] == [1.5, None, None, None]
    if nested:
        assert [document["sizes"] for document in found] == [[1.0, None], [], None, [2.5]]


def test_a_schema_is_read_as_it_was_written_and_refused_in_another_format():
    schema = Schema.of(pl.DataFrame({"id": ["a"], "価格": [1.5]}), 4, {"model": "m"}, ["title", "image"])
    assert Schema.from_json(schema.to_json()) == schema
    content = json.loads(schema.to_json())
    with pytest.raises(NewerFormatError, match="newer version of likewise: update likewise"):
        Schema.from_json(json.dumps(content | {"format": content["format"] + 1}))
    del content["format"], content["field_vectors"]
    with pytest.raises(FormatError, match="older version of likewise"):
        Schema.from_json(json.dumps(content))


def test_columns_that_are_missing_are_blank_and_stand_in_the_schemas_order():
    first = pl.DataFrame({"id": ["a"], "made": [date(2026, 1, 2)], "stock": [3]})
    later = pl.DataFrame({"stock": [4], "id": ["b"]})
    (document,) = documents(later, Schema.of(first, 4))
    assert list(document.items()) == [("id", "b"), ("made", None), ("stock", 4)]
    assert documents(first, Schema.of(first, 4)) == [{"id": "a", "made": "2026-01-02", "stock": 3}]

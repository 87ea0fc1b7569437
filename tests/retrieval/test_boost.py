"""Boosts mean what arithmetic says, blank cells are 0, and nothing is ever evaluated as code."""

import math

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from likewise.errors import UserError
from likewise.retrieval.boost import LONGEST_BOOST, parse_boost
from likewise.stores.schema import Schema

ITEM = {"popularity": 40, "price": "$1,200.50", "rating": 4.5, "new": True, "odd name`": 3, "brand": "Acme"}


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("popularity * 0.1", 4.0),
        ("popularity", 40.0),
        ("1 + 2 * 3 - 4 / 8", 6.5),
        ("(1 + 2) * 3", 9.0),
        ("10 - 3 - 2", 5.0),
        ("24 / 4 / 2", 3.0),
        ("-popularity + +2", -38.0),
        ("--2", 2.0),
        ("2 * -3", -6.0),
        ("price / 100", 12.005),
        ("new * 0.25", 0.25),
        ("log1p(popularity)", math.log(41)),
        ("sqrt(rating * 2)", 3.0),
        ("abs(-rating)", 4.5),
        ("min(rating, 3) + max(rating, popularity)", 43.0),
        ("`odd name``` * 1e-1", 0.3),
        (".5", 0.5),
        ("nothing + 1", 1.0),
        ("brand + 1", 1.0),
        ("1 / nothing", 0.0),
        ("1 / nothing + 1", 1.0),
        ("sqrt(-4)", 0.0),
        ("log1p(-5)", 0.0),
        ("1e300 * 1e300", 0.0),
        ("1e200", 0.0),
    ],
)
def test_a_boost_is_arithmetic(text: str, value: float) -> None:
    found = parse_boost(text).values([ITEM, ITEM])
    assert found.dtype == np.float32
    assert found.tolist() == pytest.approx([value, value], rel=1e-6)


def test_blank_cells_and_nan_count_as_zero() -> None:
    items = [{"a": None, "b": 2}, {"b": 3}, {"a": 5, "b": None}, {"a": float("nan"), "b": 1}]
    assert parse_boost("a + b").values(items).tolist() == [2, 3, 5, 1]
    assert parse_boost("a").values([]).tolist() == []


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("", "the boost is empty"),
        ("  ", "the boost is empty"),
        ("popularity *", r"at the arrow: popularity \* --> \(its end\)"),
        ("popularity ** 2", r"popularity \* --> \* 2"),
        ("(1 + 2", "its end"),
        ("1 2", "1  --> 2"),
        ("'text'", "-->"),
        ("__import__('os')", "-->"),
        ("exp(2)", r"has no function exp\(\); it has log1p, sqrt"),
        ("min(2)", r"min\(\) in the boost takes 2 arguments, not 1"),
        ("sqrt(1, 2)", "takes 1 arguments, not 2"),
        ("1e999", "too large"),
        ("a.b", "-->"),
        ("1" * (LONGEST_BOOST + 1), "the limit is 2,000"),
    ],
)
def test_a_mistake_is_one_sentence(text: str, sentence: str) -> None:
    with pytest.raises(UserError, match=sentence) as error:
        parse_boost(text)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("text", ["-" * 1_999 + "1", "(" * 999 + "1" + ")" * 999, "1" + "+1" * 999])
def test_depth_is_no_danger(text: str) -> None:
    assert abs(parse_boost(text).values([{}])[0]) in (1.0, 1000.0)


def test_columns_must_hold_numbers() -> None:
    table = pl.DataFrame(
        {"id": ["a"], "price": ["$5"], "stock": [1], "new": [True], "brand": ["Acme"], "tags": [["x"]]}
    )
    schema = Schema.of(table, 4)
    parse_boost("price + stock + new").check(schema)
    for text, sentence in [
        ("brand * 2", '"brand" holds no numbers'),
        ("tags", '"tags" holds no numbers'),
        ("stokc", "did you mean stock"),
    ]:
        with pytest.raises(UserError, match=sentence):
            parse_boost(text).check(schema)
    assert parse_boost("stock + price + stock").columns == ["stock", "price"]


_numbers = st.one_of(st.integers(0, 1000), st.floats(0, 1e6, allow_nan=False)).map(lambda value: f"{value!r}")
_expressions = st.recursive(
    st.one_of(_numbers, st.sampled_from(["a", "b", "c"])),
    lambda part: st.one_of(
        st.tuples(part, st.sampled_from("+-*/"), part).map(lambda parts: f"({' '.join(parts)})"),
        part.map(lambda text: f"-{text}"),
        part.map(lambda text: f"abs({text})"),
        st.tuples(part, part).map(lambda parts: f"max({parts[0]}, {parts[1]})"),
    ),
    max_leaves=12,
)


@settings(max_examples=150, deadline=None)
@given(text=_expressions, cells=st.tuples(*[st.floats(-100, 100, allow_nan=False)] * 3))
def test_any_expression_has_the_value_that_python_gives_it(text: str, cells: tuple[float, float, float]) -> None:
    if len(text) > LONGEST_BOOST:
        return
    item = dict(zip("abc", cells, strict=True))
    (found,) = parse_boost(text).values([item])
    assert np.isfinite(found)
    try:
        expected = eval(text, {"abs": abs, "max": max}, item)
    except ZeroDivisionError:
        return
    if all(math.isfinite(value) for value in (expected, found)) and abs(expected) < 1e30 and "/" not in text:
        assert found == pytest.approx(expected, rel=1e-5, abs=1e-5)

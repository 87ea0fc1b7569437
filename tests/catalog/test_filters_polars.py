"""Filters choose the rows that plain Python would."""

import operator

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from likewise.catalog.filters import And, Compare, Condition, IsNull, Not, OneOf, Or
from likewise.catalog.filters_polars import match_rows
from likewise.catalog.numbers import read_numbers
from likewise.errors import UserError

TABLE = pl.DataFrame(
    {
        "name": ["a", "b", None, "B"],
        "price": ["$1,299.00", "5 €", None, "on request"],
        "stock": [1, 2, 3, None],
        "new": [True, False, None, True],
        "image": [["x"], [], ["y"], []],
    }
)


def rows(text: str) -> list[int]:
    return match_rows(TABLE, text).arg_true().to_list()


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("name == 'b'", [1]),
        ("name != 'b'", [0, 2, 3]),
        ("not name == 'b'", [0, 2, 3]),
        ("name not in ['a', 'b']", [2, 3]),
        ("name > 'a'", [1]),
        ("name is null or stock is null", [2, 3]),
        ("stock >= 1.5", [1, 2]),
        ("stock in [1, 3.0]", [0, 2]),
        ("stock not in [1]", [1, 2, 3]),
        ("stock in []", []),
        ("new == true", [0, 3]),
        ("new != true", [1, 2]),
        ("image is null", [1, 3]),
        ("price < 1000", [1]),
        ("price > 1000 and new == true", [0]),
        ("price in ['5 €', 'on request', 1299]", [0, 1, 3]),
        ("stock < 99999999999999999999999", [0, 1, 2]),
    ],
)
def test_rows(text: str, expected: list[int]) -> None:
    assert rows(text) == expected


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("prise < 5", 'no column "prise"; did you mean price'),
        ("zzz < 5", "the columns are name, price"),
        ("stock == '1'", 'holds numbers: compare it with a number without quotes, not with "1"'),
        ("name > 5", 'holds text: compare it with a quoted text, such as "5"'),
        ("name == true", "cannot be compared with true"),
        ("new == 'yes'", "true or false without quotes"),
        ("new < true", "with == or !="),
        ("image == 'x'", "is null"),
        ("stock in [1, 'a']", "without quotes"),
    ],
)
def test_mistakes_are_one_sentence(text: str, words: str) -> None:
    with pytest.raises(UserError) as error:
        rows(text)
    assert words in str(error.value)


@pytest.mark.parametrize(
    ("cell", "number"),
    [
        ("$1,299.00", 1299), ("1.299,00 €", 1299), ("US$ 5", 5), ("EUR 12", 12), ("12,50", 12.5), ("-$5", -5),
        ("5 %", 5), ("12 oz", 12), ("1 234,5 kr", 1234.5), ("1'234.50 CHF", 1234.5), ("Rs. 500", 500), (".5", 0.5),
        ("1.299.000", 1299000), ("1.5", 1.5), ("A1", None), ("ABC123", None), ("5 - 10", None),
        ("on request", None), ("1,2,3", None), ("", None),
    ],
)  # fmt: skip
def test_numbers_in_prices(cell: str, number: float | None) -> None:
    assert read_numbers(pl.Series("price", [cell])).item() == number


NUMBERS = st.none() | st.integers(-3, 3)
WORDS = st.none() | st.sampled_from(["", "a", "b", "B", "é"])
OPERATORS = {
    "==": operator.eq, "!=": operator.ne, "<": operator.lt, "<=": operator.le, ">": operator.gt, ">=": operator.ge
}  # fmt: skip
LEAVES = (
    st.builds(
        Compare, st.just("n"), st.sampled_from(list(OPERATORS)), st.integers(-3, 3) | st.sampled_from([0.5, -1.0])
    )
    | st.builds(Compare, st.just("s"), st.sampled_from(list(OPERATORS)), st.sampled_from(["", "a", "B", "é"]))
    | st.builds(OneOf, st.just("n"), st.lists(st.integers(-3, 3), max_size=3).map(tuple))
    | st.builds(OneOf, st.just("s"), st.lists(st.sampled_from(["", "a", "B"]), max_size=3).map(tuple))
    | st.builds(IsNull, st.sampled_from(["n", "s"]))
)
TREES = st.recursive(
    LEAVES,
    lambda inner: (
        st.builds(Not, inner) | st.builds(And, st.tuples(inner, inner)) | st.builds(Or, st.tuples(inner, inner, inner))
    ),
    max_leaves=8,
)


def holds(condition: Condition, row: dict[str, object]) -> bool:
    match condition:
        case And(parts):
            return all(holds(part, row) for part in parts)
        case Or(parts):
            return any(holds(part, row) for part in parts)
        case Not(part):
            return not holds(part, row)
        case IsNull(column):
            return row[column] is None
        case OneOf(column, values):
            return row[column] is not None and row[column] in values
        case Compare(column, symbol, value):
            return symbol == "!=" if row[column] is None else bool(OPERATORS[symbol](row[column], value))


@given(TREES, st.lists(st.tuples(NUMBERS, WORDS), max_size=8))
def test_agrees_with_plain_python(tree: Condition, values: list[tuple[int | None, str | None]]) -> None:
    table = pl.DataFrame(values, schema={"n": pl.Int64, "s": pl.String}, orient="row")
    assert match_rows(table, tree).to_list() == [holds(tree, row) for row in table.to_dicts()]

"""Cells and conditions as Qdrant compares them.

Qdrant knows no order of texts, and compares the order of numbers as floats, which hold integers up to 2**53. So next to
the value of a column, an item's payload holds two whole numbers that a range can compare, one after the other:

    of a text          its first and its second six bytes
    of a huge integer  its upper and its lower 32 bits; others have none

Texts that agree in twelve bytes are compared by reading them (`Ties`). Blank cells have no entry in a payload.
"""

import hashlib
from collections.abc import Callable
from typing import Any

import polars as pl
from qdrant_client import models

from likewise.catalog.filters import And, Compare, Condition, IsNull, Not, OneOf, Operator, Or, Value

Ties = Callable[[str, models.Filter, Operator, str], list[str]]
"""Points among those that a filter lets through whose text in a column compares so with a text, by their ids."""

_LONGEST_VALUE = 1_024  # bytes of a text that is kept as it is
_HUGE = 2**53
_BYTES = 6  # in one number, as digits from 1 to 256; 0 stands behind the end


def payload_for(column: str, value: Value) -> dict[str, Any]:
    """What a filled cell adds to an item's payload."""
    if isinstance(value, str):
        return {column: _text_value(value)} | dict(zip(_halves(column), _text_halves(value), strict=True))
    if isinstance(value, int) and not isinstance(value, bool) and abs(value) >= _HUGE:
        return {column: value} | dict(zip(_halves(column), _integer_halves(value), strict=True))
    return {column: value}


def indexed_fields(column: str, kind: type[pl.DataType]) -> dict[str, models.PayloadSchemaType]:
    """The fields of a payload that conditions on a column look at, and the indexes that these need."""
    types = models.PayloadSchemaType
    own = {pl.String: types.KEYWORD, pl.Int64: types.INTEGER, pl.Float64: types.FLOAT, pl.Boolean: types.BOOL}[kind]
    more = dict.fromkeys(_halves(column), types.INTEGER) if kind in (pl.String, pl.Int64) else {}
    return {column: own} | more


def qdrant_filter(condition: Condition, ties: Ties) -> models.Filter:
    """A condition in its normal form (see conditions.py) as a Qdrant filter."""
    match condition:
        case And(parts):
            return _all(*(qdrant_filter(part, ties) for part in parts))
        case Or(parts):
            return _any(*(qdrant_filter(part, ties) for part in parts))
        case IsNull(column):
            return _all(_blank(column))
        case Not(IsNull(column)):
            return models.Filter(must_not=[_blank(column)])
        case OneOf(column, values):
            return _one_of(column, values)
        case Not(OneOf(column, values)):
            return models.Filter(must_not=[_one_of(column, values), _blank(column)])
        case Compare(column, "==", value):
            return _one_of(column, (value,))
        case Compare(column, "!=", value):
            return models.Filter(must_not=[_one_of(column, (value,)), _blank(column)])
        case Compare(column, operator, str(text)):
            return _text_order(column, operator, text, ties)
        case Compare(column, operator, int(number)) if abs(number) >= _HUGE:
            return _huge_order(column, operator, number)
        case Compare(column, operator, (int() | float()) as number):
            return _all(_range(column, operator, number))
        case _:
            raise AssertionError(f"no normal form: {condition}")


def _one_of(column: str, values: tuple[Value, ...]) -> models.Filter:
    if isinstance(values[0], float):
        return _any(*(models.FieldCondition(key=column, range=models.Range(gte=v, lte=v)) for v in values))
    cells = [_text_value(value) if isinstance(value, str) else value for value in values]
    match = models.MatchValue(value=cells[0]) if len(cells) == 1 else models.MatchAny(any=cells)
    return _all(models.FieldCondition(key=column, match=match))


def _text_order(column: str, operator: Operator, text: str, ties: Ties) -> models.Filter:
    halves = _text_halves(text)
    decided = _order(column, _strict(operator), halves)
    if len(text.encode()) < 2 * _BYTES:
        return decided if operator == _strict(operator) else _any(decided, _same(column, halves))
    points = ties(column, _same(column, halves), operator, text)
    return _any(decided, models.HasIdCondition(has_id=points)) if points else decided


def _huge_order(column: str, operator: Operator, number: int) -> models.Filter:
    halves = _integer_halves(number)
    met = [_order(column, _strict(operator), halves)]
    if operator != _strict(operator):
        met.append(_same(column, halves))
    if (number > 0) == (operator in ("<", "<=")):  # then all that are not huge meet it, and maybe some that are
        met.append(_all(_range(column, _strict(operator), _HUGE if number > 0 else -_HUGE)))
    return _any(*met)


def _order(column: str, strict: Operator, halves: tuple[int, int]) -> models.Filter:
    """The two numbers, in this order, are less or greater than others."""
    upper, lower = _halves(column)
    same_upper = models.FieldCondition(key=upper, match=models.MatchValue(value=halves[0]))
    return _any(_range(upper, strict, halves[0]), _all(same_upper, _range(lower, strict, halves[1])))


def _same(column: str, halves: tuple[int, int]) -> models.Filter:
    return _all(
        *(
            models.FieldCondition(key=name, match=models.MatchValue(value=half))
            for name, half in zip(_halves(column), halves, strict=True)
        )
    )


def _range(field: str, operator: Operator, number: float) -> models.FieldCondition:
    bound = {"<": "lt", "<=": "lte", ">": "gt", ">=": "gte"}[operator]
    return models.FieldCondition(key=field, range=models.Range(**{bound: number}))


def _blank(column: str) -> models.IsEmptyCondition:
    return models.IsEmptyCondition(is_empty=models.PayloadField(key=column))


def _all(*conditions: models.Condition) -> models.Filter:
    return models.Filter(must=list(conditions))


def _any(*conditions: models.Condition) -> models.Filter:
    return models.Filter(should=list(conditions))


def _strict(operator: Operator) -> Operator:
    return "<" if operator in ("<", "<=") else ">"


def _halves(column: str) -> tuple[str, str]:
    return f"{column}_1", f"{column}_2"


def _text_value(text: str) -> str:
    """A text, or of a long one something that no other text has."""
    data = text.encode()
    return text if len(data) <= _LONGEST_VALUE else text[:_LONGEST_VALUE] + hashlib.sha256(data).hexdigest()


def _text_halves(text: str) -> tuple[int, int]:
    digits = [byte + 1 for byte in text.encode()[: 2 * _BYTES]]
    digits += [0] * (2 * _BYTES - len(digits))
    return _number(digits[:_BYTES]), _number(digits[_BYTES:])


def _number(digits: list[int]) -> int:
    number = 0
    for digit in digits:
        number = number * 257 + digit
    return number


def _integer_halves(number: int) -> tuple[int, int]:
    return number >> 32, number & 0xFFFFFFFF

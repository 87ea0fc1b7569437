"""A filter's tree in the form that engines translate, leaf by leaf, without thinking about blank cells.

The catalogue's conditions are true or false, engines' have a third value for blank cells. So negations are pushed down
to the leaves and blank cells are named where they count: `not (price < 5)` becomes `price is null or price >= 5`.
Nothing stands above a leaf then but And and Or, so that "unknown" may count as false. What is left:

    Compare     the cell is filled and compares so; all six operators, "!=" for a filled cell that differs
    OneOf       the cell is filled and equals one of the values, of which there is at least one
    Not(OneOf)  the cell is filled and equals none of them
    IsNull, Not(IsNull)
    And, Or     of two or more parts

Columns carry the engine's names (see schema.py), and values have the column's own type: int for "integer", float for
"number" and for the numbers of a text column, bool for "boolean" (only == and !=), str for "text".
"""

import math
from collections.abc import Sequence

import polars as pl

from likewise.catalog.filters import And, Compare, Condition, IsNull, Not, OneOf, Operator, Or, Value
from likewise.catalog.filters_polars import build_expression
from likewise.errors import UserError
from likewise.stores.schema import Column, Kind, Schema

_TYPES: dict[Kind, pl.DataType] = {
    "text": pl.String(),
    "integer": pl.Int64(),
    "number": pl.Float64(),
    "boolean": pl.Boolean(),
    "list": pl.List(pl.String()),
    "other": pl.Date(),
}
_OPPOSITE: dict[Operator, Operator] = {"==": "!=", "!=": "==", "<": ">=", ">=": "<", ">": "<=", "<=": ">"}
_LARGEST = 2**63 - 1


def normal_form(condition: Condition, schema: Schema) -> Condition | bool:
    """Rewrite a condition on the catalogue's columns into one on the engine's, as described above.

    Returns:
        A condition, or True or False where all items or none meet it.

    Raises:
        UserError: it names an unknown column, or compares things of different kinds.
    """
    # The catalogue's own translation finds the mistakes, so that its sentences are the same here.
    build_expression(condition, pl.DataFrame(schema={column.name: _TYPES[column.kind] for column in schema.columns}))
    return _rewritten(condition, True, schema)


def _rewritten(condition: Condition, wanted: bool, schema: Schema) -> Condition | bool:
    match condition:
        case Not(part):
            return _rewritten(part, not wanted, schema)
        case And(parts):
            return _join([_rewritten(part, wanted, schema) for part in parts], every=wanted)
        case Or(parts):
            return _join([_rewritten(part, wanted, schema) for part in parts], every=not wanted)
        case IsNull(column):
            return _blank(schema.column(column), wanted)
        case OneOf(name, values):
            return _one_of(schema.column(name), values, wanted)
        case Compare(name, "!=", value):
            return _compare(schema.column(name), "==", value, not wanted)
        case Compare(name, operator, value):
            return _compare(schema.column(name), operator, value, wanted)


def _join(parts: Sequence[Condition | bool], every: bool) -> Condition | bool:
    kind: type[And] | type[Or] = And if every else Or
    flat: list[Condition] = []
    for part in parts:
        if isinstance(part, bool):
            if part != every:
                return part
        elif isinstance(part, kind):
            flat.extend(part.parts)
        else:
            flat.append(part)
    flat = list(dict.fromkeys(flat))
    return every if not flat else flat[0] if len(flat) == 1 else kind(tuple(flat))


def _blank(column: Column, wanted: bool) -> Condition | bool:
    if column.name == "id":
        return not wanted
    return IsNull(column.stored) if wanted else Not(IsNull(column.stored))


def _one_of(column: Column, values: Sequence[Value], wanted: bool) -> Condition | bool:
    """Values of one type stay together, since engines look up a list at once."""
    by_name: dict[str, list[Value]] = {}
    for value in values:
        name, cell = _as_stored(column, value)
        if cell is not None:
            by_name.setdefault(name, []).append(cell)
    alternatives: list[Condition | bool] = []
    for name, cells in by_name.items():
        distinct = tuple(dict.fromkeys(cells))
        leaf = Compare(name, "==", distinct[0]) if len(distinct) == 1 else OneOf(name, distinct)
        alternatives.append(leaf if wanted else _or_blank(column, name, _opposite(leaf)))
    return _join(alternatives, every=not wanted)


def _compare(column: Column, operator: Operator, value: Value, wanted: bool) -> Condition | bool:
    """One comparison but "!=", or its opposite, which a blank cell meets."""
    name, cell = _as_stored(column, value)
    leaf = _against_integers(name, operator, float(value)) if cell is None else Compare(name, operator, cell)
    if wanted:
        return leaf
    return (not leaf) if isinstance(leaf, bool) else _or_blank(column, name, _opposite(leaf))


def _as_stored(column: Column, value: Value) -> tuple[str, Value | None]:
    """The engine's column to compare, and the value as one of its type; None if no integer that fits is that number."""
    if isinstance(value, bool | str):
        return column.stored, value
    if column.kind == "text":
        if not column.numbers:
            raise UserError(f'the column "{column.name}" holds text: compare it with a quoted text, such as "{value}"')
        return column.stored_numbers, float(value)
    if column.kind == "number":
        return column.stored, float(value)
    whole = int(value) if float(value).is_integer() else None
    return column.stored, whole if whole is not None and abs(whole) <= _LARGEST else None


def _against_integers(name: str, operator: Operator, value: float) -> Condition | bool:
    if operator == "==":
        return False
    if abs(value) > _LARGEST:
        met = (value > 0) == (operator in ("<", "<="))
        return Not(IsNull(name)) if met else False
    if operator in ("<", "<="):
        return Compare(name, "<=", math.floor(value))
    return Compare(name, ">=", math.ceil(value))


def _or_blank(column: Column, name: str, leaf: Condition) -> Condition:
    return leaf if column.name == "id" or leaf == IsNull(name) else Or((IsNull(name), leaf))


def _opposite(leaf: Condition) -> Condition:
    """The opposite for filled cells."""
    match leaf:
        case Compare(name, operator, value):
            return Compare(name, _OPPOSITE[operator], value)
        case Not(part):
            return IsNull(part.column) if isinstance(part, IsNull) else part
        case _:
            return Not(leaf)

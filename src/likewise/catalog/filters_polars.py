"""Evaluation of filters on Polars tables."""

from collections.abc import Sequence

import polars as pl

from likewise.catalog.columns import unknown_column_error
from likewise.catalog.filters import And, Compare, Condition, IsNull, Not, OneOf, Operator, Or, Value, parse_filter
from likewise.catalog.numbers import read_numbers
from likewise.errors import UserError


def match_rows(table: pl.DataFrame, condition: str | Condition) -> pl.Series:
    """Evaluate a filter.

    Args:
        table: (rows, columns).
        condition: a filter's text, or its tree.

    Returns:
        (rows,) Boolean without nulls.

    Raises:
        UserError: the filter cannot be parsed, names an unknown column, or compares things of different kinds.
    """
    tree = parse_filter(condition) if isinstance(condition, str) else condition
    expression = build_expression(tree, table)
    return table.select(expression.alias("matches")).to_series()


def build_expression(condition: Condition, table: pl.DataFrame) -> pl.Expr:
    """Translate a filter's tree into a Polars expression that is true or false, never null, in each row of `table`."""
    match condition:
        case And(parts):
            return pl.all_horizontal([build_expression(part, table) for part in parts])
        case Or(parts):
            return pl.any_horizontal([build_expression(part, table) for part in parts])
        case Not(part):
            return ~build_expression(part, table)
        case IsNull(column):
            kind = _find_type(column, table)
            blank = pl.col(column).is_null()
            return blank | (pl.col(column).list.len() == 0).fill_null(True) if kind == pl.List else blank
        case OneOf(column, values):
            return _build_one_of(column, values, table)
        case Compare(column, "!=", value):
            return ~_compare(column, "==", value, table)
        case Compare(column, operator, value):
            return _compare(column, operator, value, table)


def _find_type(column: str, table: pl.DataFrame) -> pl.DataType:
    if column not in table.columns:
        raise unknown_column_error(column, table.columns)
    return table.schema[column]


def _build_one_of(column: str, values: Sequence[Value], table: pl.DataFrame) -> pl.Expr:
    _find_type(column, table)
    texts = [value for value in values if isinstance(value, str)]
    tests = [_compare(column, "==", value, table) for value in values if not isinstance(value, str)]
    if texts:
        _compare(column, "==", texts[0], table)  # checks that the column holds text
        tests.append(pl.col(column).is_in(texts).fill_null(False))
    return pl.any_horizontal(tests) if tests else pl.col(column).is_null() & False


def _compare(column: str, operator: Operator, value: Value, table: pl.DataFrame) -> pl.Expr:
    """The comparison, false where the cell is blank."""
    kind = _find_type(column, table)
    cells = pl.col(column)
    match value:
        case bool():
            if kind != pl.Boolean:
                raise UserError(
                    f'the column "{column}" {_describe_type(kind)}, which cannot be compared with {str(value).lower()}'
                )
            if operator != "==":
                raise UserError(f'the column "{column}" is true or false: compare it with == or !=, not {operator}')
        case str():
            if kind != pl.String:
                raise UserError(f'the column "{column}" {_describe_type(kind)}: {_suggest(kind, value)}')
        case _:
            if kind == pl.String:
                cells = pl.lit(_read_column(column, value, table))
            elif not kind.is_numeric():
                raise UserError(
                    f'the column "{column}" {_describe_type(kind)}, which cannot be compared with the number {value}'
                )
    literal = pl.lit(value)
    match operator:
        case "==":
            test = cells == literal
        case "<":
            test = cells < literal
        case "<=":
            test = cells <= literal
        case ">":
            test = cells > literal
        case ">=":
            test = cells >= literal
        case "!=":
            raise AssertionError("written as the opposite of ==")
    return test.fill_null(False)


def _read_column(column: str, value: Value, table: pl.DataFrame) -> pl.Series:
    numbers = read_numbers(table[column])
    if numbers.null_count() == len(numbers) and table[column].null_count() < len(numbers):
        raise UserError(f'the column "{column}" holds text: compare it with a quoted text, such as "{value}"')
    return numbers


def _describe_type(kind: pl.DataType) -> str:
    if kind.is_numeric():
        return "holds numbers"
    if kind == pl.Boolean:
        return "is true or false"
    return "holds lists" if kind == pl.List else "holds text"


def _suggest(kind: pl.DataType, value: str) -> str:
    if kind.is_numeric():
        return f'compare it with a number without quotes, not with "{value[:60]}"'
    if kind == pl.Boolean:
        return "compare it with true or false without quotes"
    return "it can only be tested with is null and is not null"

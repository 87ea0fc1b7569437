"""Filters over columns in memory, and the sets of rows that they leave."""

import operator
from collections.abc import Callable, Iterator
from functools import cached_property
from typing import Any

import faiss
import numpy as np
import polars as pl

from likewise.catalog.filters import And, Compare, Condition, IsNull, Not, OneOf, Operator, Or

_faiss: Any = faiss  # its type stubs lack a part of what is used here
_COMPARISONS: dict[Operator, Callable[[Any, Any], Any]] = {
    "==": operator.eq,
    "!=": operator.ne,
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
}


class Selection:
    """Some of the rows of a table.

    Attributes:
        mask: (rows,) bool.
        count: of the rows that are selected.
    """

    def __init__(self, mask: np.ndarray) -> None:
        self.mask = mask
        self.count = int(np.count_nonzero(mask))

    @cached_property
    def rows(self) -> np.ndarray:
        """(count,) int64, ascending."""
        return np.flatnonzero(self.mask)

    @cached_property
    def bits(self) -> np.ndarray:
        """The mask with eight rows in a byte, the first in its lowest bit."""
        return np.packbits(self.mask, bitorder="little")

    @cached_property
    def selector(self) -> Any:
        """The same for FAISS, which looks at `bits` as long as this selection lives."""
        return _faiss.IDSelectorBitmap(self.bits)


def evaluate_condition(condition: Condition, columns: pl.DataFrame) -> np.ndarray:
    """Evaluate a condition as conditions.py gives it.

    Args:
        columns: at least those that `find_columns` names.

    Returns:
        (rows,) bool.
    """
    fast = _compare_integers(condition, columns)
    return columns.select(_expression(condition).alias("meets")).to_series().to_numpy() if fast is None else fast


def _compare_integers(condition: Condition, columns: pl.DataFrame) -> np.ndarray | None:
    """The same for an integer column without blanks, such as a time of writing, which every write looks at.

    A Polars expression takes longer to be planned than this takes for a hundred thousand rows.
    """
    if not isinstance(condition, Compare) or type(condition.value) is not int:
        return None
    cells = columns[condition.column]
    if cells.dtype != pl.Int64 or cells.null_count() or not -(2**63) <= condition.value < 2**63:
        return None
    return _COMPARISONS[condition.operator](cells.to_numpy(), condition.value)


def find_columns(condition: Condition) -> Iterator[str]:
    """The columns that a condition looks at; some may repeat."""
    match condition:
        case And(parts) | Or(parts):
            for part in parts:
                yield from find_columns(part)
        case Not(part):
            yield from find_columns(part)
        case _:
            yield condition.column


def _expression(condition: Condition) -> pl.Expr:
    match condition:
        case And(parts):
            return pl.all_horizontal([_expression(part) for part in parts])
        case Or(parts):
            return pl.any_horizontal([_expression(part) for part in parts])
        case IsNull(column):
            return pl.col(column).is_null()
        case OneOf(column, values):
            return pl.col(column).is_in(list(values)).fill_null(False)
        case Not(OneOf(column, values)):
            return (~pl.col(column).is_in(list(values))).fill_null(False)
        case Not(part):
            return ~_expression(part)
        case Compare(column, operator, value):
            cells, literal = pl.col(column), pl.lit(value)
            test = {
                "==": cells.eq,
                "!=": cells.ne,
                "<": cells.lt,
                "<=": cells.le,
                ">": cells.gt,
                ">=": cells.ge,
            }[operator](literal)
            return test.fill_null(False)

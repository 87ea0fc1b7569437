"""Boosts such as 'popularity * 0.1 - log1p(price) / 50': parsed into a small program, never evaluated as code.

A blank cell counts as 0, and so does anything without a value, such as a division by zero or the root of a negative
number: a boost must not take an item out of the results. A text such as "$1,299.00" is the number that filters see in
it; true is 1 and false 0.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from lark import Lark, Token, Transformer, v_args
from lark.exceptions import UnexpectedInput, UnexpectedToken, VisitError

from likewise.catalog.numbers import read_numbers
from likewise.errors import UserError
from likewise.stores.schema import Column, Schema

LONGEST_BOOST = 2_000

_OPERATIONS: dict[str, tuple[int, Callable[..., np.ndarray]]] = {
    "+": (2, np.add),
    "-": (2, np.subtract),
    "*": (2, np.multiply),
    "/": (2, np.divide),
    "negative": (1, np.negative),
}
_FUNCTIONS: dict[str, tuple[int, Callable[..., np.ndarray]]] = {
    "log1p": (1, np.log1p),
    "sqrt": (1, np.sqrt),
    "abs": (1, np.abs),
    "min": (2, np.minimum),
    "max": (2, np.maximum),
}


@dataclass(frozen=True)
class Boost:
    """A number for every item, to be added to its score.

    Attributes:
        text: as it was written.
        program: numbers, names of columns and operations, each behind what it works on.
    """

    text: str
    program: tuple["float | Operand | Operation", ...]

    @property
    def columns(self) -> list[str]:
        """The columns that it looks at."""
        return list(dict.fromkeys(step.column for step in self.program if isinstance(step, Operand)))

    def check(self, schema: Schema) -> None:
        """See that all columns are there and hold numbers.

        Raises:
            UserError: one does not; the message says which.
        """
        for name in self.columns:
            column = schema.column(name)
            if not _holds_numbers(column):
                raise UserError(f'the column "{name}" holds no numbers to boost with')

    def values(self, items: Sequence[Mapping[str, Any]]) -> np.ndarray:
        """(len(items),) float32, finite.

        Args:
            items: the fields of each item; those that it lacks are blank.
        """
        stack: list[np.ndarray] = []
        with np.errstate(all="ignore"):
            for step in self.program:
                match step:
                    case Operand(column):
                        value = _numbers([item.get(column) for item in items])
                    case Operation(name):
                        arity, function = (_OPERATIONS | _FUNCTIONS)[name]
                        operands = stack[-arity:]
                        del stack[-arity:]
                        value = function(*operands)
                    case _:
                        value = np.full(len(items), step)
                stack.append(np.where(np.isfinite(value), value, 0.0))
            (result,) = stack
            result = result.astype(np.float32)
        return np.where(np.isfinite(result), result, np.float32(0.0))


@dataclass(frozen=True)
class Operand:
    """The cell of a column."""

    column: str


@dataclass(frozen=True)
class Operation:
    """A sign or a function."""

    name: str


def parse_boost(text: str) -> Boost:
    """Parse a boost.

    Raises:
        UserError: the text is none (the place is marked), too long, or calls what does not exist.
    """
    if len(text) > LONGEST_BOOST:
        raise UserError(f"the boost has {len(text):,} characters; the limit is {LONGEST_BOOST:,}")
    if not text.strip():
        raise UserError("the boost is empty: write one such as 'popularity * 0.1'")
    try:
        return Boost(text, _parser().parse(text))  # type: ignore[arg-type]
    except VisitError as error:
        if isinstance(error.orig_exc, UserError):
            raise error.orig_exc from None
        raise
    except UnexpectedInput as error:
        place = error.pos_in_stream
        if place is None or (isinstance(error, UnexpectedToken) and error.token.type == "$END"):
            place = len(text)
        before, after = text[max(0, place - 60) : place], text[place : place + 60]
        raise UserError(
            f"syntax error in the boost at the arrow: {before} --> {after or '(its end)'}; "
            "expected numbers, columns, + - * / and parentheses"
        ) from None


_Program = tuple[float | Operand | Operation, ...]


@cache
def _parser() -> Lark:
    grammar = Path(__file__).with_name("boost.lark").read_text(encoding="utf-8")
    return Lark(grammar, parser="lalr", lexer="basic", transformer=_ToProgram(), maybe_placeholders=False)


@v_args(inline=True)
class _ToProgram(Transformer[Token, _Program]):
    """Builds the program while parsing: operands first, then what is done with them."""

    def start(self, program: _Program) -> _Program:
        return program

    def number(self, token: Token) -> _Program:
        number = float(token)
        if not np.isfinite(number):
            raise UserError(f"the number {token[:20]} in the boost is too large")
        return (number,)

    def column(self, token: Token) -> _Program:
        name = token[1:-1].replace("``", "`") if token.type == "BACKTICKED" else str(token)
        return (Operand(name),)

    def call(self, name: Token, *arguments: _Program) -> _Program:
        if name not in _FUNCTIONS:
            raise UserError(f"a boost has no function {name}(); it has {', '.join(_FUNCTIONS)}")
        arity, _ = _FUNCTIONS[name]
        if len(arguments) != arity:
            raise UserError(f"{name}() in the boost takes {arity} arguments, not {len(arguments)}")
        return (*(step for argument in arguments for step in argument), Operation(str(name)))

    def negative(self, value: _Program) -> _Program:
        return (*value, Operation("negative"))

    def add(self, left: _Program, right: _Program) -> _Program:
        return (*left, *right, Operation("+"))

    def subtract(self, left: _Program, right: _Program) -> _Program:
        return (*left, *right, Operation("-"))

    def multiply(self, left: _Program, right: _Program) -> _Program:
        return (*left, *right, Operation("*"))

    def divide(self, left: _Program, right: _Program) -> _Program:
        return (*left, *right, Operation("/"))


def _holds_numbers(column: Column) -> bool:
    return column.kind in ("integer", "number", "boolean") or (column.kind == "text" and column.numbers)


def _numbers(cells: Sequence[Any]) -> np.ndarray:
    """(len(cells),) float64, 0 where there is no number."""
    values = np.array([float(cell) if isinstance(cell, int | float) else 0.0 for cell in cells])
    texts = [row for row, cell in enumerate(cells) if isinstance(cell, str)]
    if texts:
        read = read_numbers(pl.Series([cells[row] for row in texts], dtype=pl.String))
        values[texts] = read.fill_null(0.0).to_numpy()
    return values

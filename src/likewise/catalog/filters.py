"""Row filters such as 'price < 20 and split in ["train", "iconic"]': parsed into a small tree, never evaluated as code.

Every store translates the same tree into its own language, so each node says exactly what it means. Conditions are
either true or false: any comparison with a blank cell is false, and `!=`, `not in` and `not` are the exact opposites of
`==`, `in` and what follows; so a blank cell does satisfy `!= "x"`. Texts compare by code points, case included.
"""

import contextlib
import re
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Literal

from lark import Lark, Token, Transformer, v_args
from lark.exceptions import UnexpectedCharacters, UnexpectedInput, UnexpectedToken, VisitError

from likewise.errors import UserError

LONGEST_FILTER = 10_000
DEEPEST_NESTING = 50

Value = str | int | float | bool
Operator = Literal["==", "!=", "<", "<=", ">", ">="]


@dataclass(frozen=True)
class Compare:
    """Comparison of a cell with a value; false for a blank cell, except that "!=" is true for it."""

    column: str
    operator: Operator
    value: Value

    def __str__(self) -> str:
        return f"{_format_column(self.column)} {self.operator} {_format_value(self.value)}"


@dataclass(frozen=True)
class OneOf:
    """Whether the cell equals one of the values; false for a blank cell."""

    column: str
    values: tuple[Value, ...]

    def __str__(self) -> str:
        return f"{_format_column(self.column)} in {_format_list(self.values)}"


@dataclass(frozen=True)
class IsNull:
    """Whether the cell is blank; an empty list is blank, too."""

    column: str

    def __str__(self) -> str:
        return f"{_format_column(self.column)} is null"


@dataclass(frozen=True)
class Not:
    """Negation of a condition."""

    part: "Condition"

    def __str__(self) -> str:
        match self.part:
            case OneOf(column, values):
                return f"{_format_column(column)} not in {_format_list(values)}"
            case IsNull(column):
                return f"{_format_column(column)} is not null"
            case And() | Or():
                return f"not ({self.part})"
            case _:
                return f"not {self.part}"


@dataclass(frozen=True)
class And:
    """Conjunction of two or more conditions, none of which is an And itself."""

    parts: tuple["Condition", ...]

    def __str__(self) -> str:
        return " and ".join(f"({part})" if isinstance(part, Or) else str(part) for part in self.parts)


@dataclass(frozen=True)
class Or:
    """Disjunction of two or more conditions, none of which is an Or itself."""

    parts: tuple["Condition", ...]

    def __str__(self) -> str:
        return " or ".join(map(str, self.parts))


Condition = Compare | OneOf | IsNull | Not | And | Or


def parse_filter(text: str) -> Condition:
    """Parse a filter; `str()` of the result is a filter that means the same.

    Raises:
        UserError: the text is no filter (the place is marked), too long, or nested too deeply.
    """
    if len(text) > LONGEST_FILTER:
        raise UserError(f"the filter has {len(text):,} characters; the limit is {LONGEST_FILTER:,}")
    if not text.strip():
        raise UserError("the filter is empty: write a condition such as 'price < 20'")
    try:
        with contextlib.suppress(UnexpectedCharacters):  # the parser finds it again, or an earlier mistake
            _check_nesting(text)
        return _parser().parse(text)  # type: ignore[return-value]
    except VisitError as error:
        if isinstance(error.orig_exc, UserError):
            raise error.orig_exc from None
        raise
    except UnexpectedInput as error:
        raise _build_syntax_error(text, error) from None


@cache
def _parser() -> Lark:
    grammar = Path(__file__).with_name("filters.lark").read_text(encoding="utf-8")
    return Lark(grammar, parser="lalr", lexer="basic", transformer=_ToTree(), maybe_placeholders=False)


@v_args(inline=True)
class _ToTree(Transformer[Token, Condition]):
    """Transformer that builds the tree while parsing, bottom-up."""

    def start(self, condition: Condition) -> Condition:
        return condition

    def either(self, *parts: Condition) -> Condition:
        return _join(Or, parts)

    def both(self, *parts: Condition) -> Condition:
        return _join(And, parts)

    def negated(self, part: Condition) -> Condition:
        return Not(part)

    def compare(self, column: str, operator: Token, value: Value) -> Condition:
        return Compare(column, "==" if operator == "=" else str(operator), value)  # type: ignore[arg-type]

    def one_of(self, column: str, values: tuple[Value, ...]) -> Condition:
        return OneOf(column, values)

    def none_of(self, column: str, values: tuple[Value, ...]) -> Condition:
        return Not(OneOf(column, values))

    def is_null(self, column: str) -> Condition:
        return IsNull(column)

    def is_not_null(self, column: str) -> Condition:
        return Not(IsNull(column))

    def values(self, *values: Value) -> tuple[Value, ...]:
        return values

    def column(self, token: Token) -> str:
        return token[1:-1].replace("``", "`") if token.type == "BACKTICKED" else str(token)

    def value(self, token: Token) -> Value:
        match token.type:
            case "STRING":
                return _unescape(token[1:-1])
            case "NUMBER":
                return _parse_number(str(token))
            case _:
                return token.lower() == "true"


def _join(kind: type[And] | type[Or], parts: tuple[Condition, ...]) -> Condition:
    flat: list[Condition] = []
    for part in parts:
        flat.extend(part.parts if isinstance(part, kind) else (part,))
    return flat[0] if len(flat) == 1 else kind(tuple(flat))


def _unescape(body: str) -> str:
    pieces = iter(body)
    return "".join(next(pieces) if character == "\\" else character for character in pieces)


def _parse_number(text: str) -> int | float:
    if text.lstrip("+-").isdecimal() and len(text) <= 18:
        return int(text)
    number = float(text)
    if number in (float("inf"), float("-inf")):
        raise UserError(f"the number {text[:20]}… in the filter is too large")
    return number


def _check_nesting(text: str) -> None:
    """Bound the depth of the tree before it is built, so that no recursion over it can fail."""
    parentheses = negations = 0
    before = ""
    for token in _parser().lex(text):
        if token.type == "LPAR":
            parentheses += 1
        elif token.type == "RPAR":
            parentheses -= 1
        elif token.type == "_NOT" and before not in ("NAME", "BACKTICKED", "_IS"):
            negations += 1
        elif token.type in ("NAME", "BACKTICKED"):
            negations = 0
        if parentheses + negations > DEEPEST_NESTING:
            raise UserError(f"the filter is nested more than {DEEPEST_NESTING} levels deep: simplify it")
        before = token.type


_EXPECTED = {
    "NAME": "a column",
    "BACKTICKED": "a column",
    "OPERATOR": "a comparison such as ==",
    "STRING": "a quoted text",
    "NUMBER": "a number",
    "TRUE": "true or false",
    "FALSE": "true or false",
    "LSQB": "a list such as ['a', 'b']",
    "RSQB": '"]"',
    "RPAR": '")"',
    "COMMA": "a comma",
    "_AND": '"and"',
    "_OR": '"or"',
    "_IN": '"in"',
    "_IS": '"is null"',
    "_NULL": '"null"',
}


def _build_syntax_error(text: str, error: UnexpectedInput) -> UserError:
    place = error.pos_in_stream if error.pos_in_stream is not None else len(text)
    names: set[str] = set()
    if isinstance(error, UnexpectedToken):
        place = len(text) if error.token.type == "$END" else place
        names = set(error.accepts or error.expected)
    elif isinstance(error, UnexpectedCharacters) and text[place] in "'\"`":
        raise UserError(f"the filter has an unclosed quotation mark: {text[place : place + 60]}") from None
    wanted = list(dict.fromkeys(words for name, words in _EXPECTED.items() if name in names))
    hint = f"; expected {', '.join(wanted[:-1])}{' or ' if wanted[1:] else ''}{wanted[-1]}" if wanted else ""
    before, after = text[max(0, place - 60) : place], text[place : place + 60]
    return UserError(f"syntax error in the filter at the arrow: {before} --> {after or '(its end)'}{hint}")


_PLAIN_NAME = re.compile(r"[^\W\d]\w*")
_KEYWORDS = frozenset({"or", "and", "not", "in", "is", "null", "true", "false"})


def _format_column(column: str) -> str:
    if _PLAIN_NAME.fullmatch(column) and column.lower() not in _KEYWORDS:
        return column
    return f"`{column.replace('`', '``')}`"


def _format_list(values: tuple[Value, ...]) -> str:
    return f"[{', '.join(map(_format_value, values))}]"


def _format_value(value: Value) -> str:
    match value:
        case bool():
            return "true" if value else "false"
        case str():
            return '"' + value.replace("\\", "\\\\").replace('"', '\\"') + '"'
        case _:
            return repr(value)

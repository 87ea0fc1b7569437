"""A condition in its normal form (see conditions.py) as SQL."""

from collections.abc import Callable

from likewise.catalog.filters import And, Compare, Condition, IsNull, Not, OneOf, Or, Value


def where(condition: Condition, literal: Callable[[Value], str]) -> str:
    """What stands behind WHERE.

    Args:
        condition: columns carry the engine's names, which need no quoting.
        literal: writes a value, or a placeholder that stands for it.
    """
    match condition:
        case And(parts):
            return " AND ".join(f"({where(part, literal)})" for part in parts)
        case Or(parts):
            return " OR ".join(f"({where(part, literal)})" for part in parts)
        case Not(IsNull(column)):
            return f"{column} IS NOT NULL"
        case IsNull(column):
            return f"{column} IS NULL"
        case Not(OneOf(column, values)):
            return f"{column} NOT IN ({', '.join(map(literal, values))})"
        case OneOf(column, values):
            return f"{column} IN ({', '.join(map(literal, values))})"
        case Compare(column, operator, value):
            return f"{column} {_OPERATORS.get(operator, operator)} {literal(value)}"
        case _:
            raise AssertionError(f"no normal form: {condition}")


_OPERATORS = {"==": "=", "!=": "<>"}

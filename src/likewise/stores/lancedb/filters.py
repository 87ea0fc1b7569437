"""Conditions as LanceDB's SQL."""

from collections.abc import Sequence

from likewise.catalog.filters import Condition, Value
from likewise.stores.schema import ID
from likewise.stores.sql import where


def sql_filter(condition: Condition) -> str:
    """A condition in its normal form (see conditions.py)."""
    return where(condition, _literal)


def any_of(ids: Sequence[str]) -> str:
    """The filter for some ids."""
    return f"{ID} IN ({', '.join(map(_literal, ids))})"


def _literal(value: Value) -> str:
    if isinstance(value, str):
        return "'" + value.replace("'", "''") + "'"
    return str(value).lower() if isinstance(value, bool) else repr(value)

"""Values of columns: one hit for each, and how many items have which."""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from likewise.catalog.filters import Compare, Condition, Not, OneOf
from likewise.errors import UserError
from likewise.retrieval.candidates import every
from likewise.stores.schema import Column


class Groups:
    """The values of a column that have had their hit; items whose cell is blank stand for themselves.

    Raises:
        UserError: the column holds lists, dates or the like.
    """

    def __init__(self, column: Column) -> None:
        if column.kind in ("list", "other"):
            raise UserError(f'cannot group by the column "{column.name}": its cells are not texts or numbers')
        self._column = column.name
        self._seen: dict[Any, None] = {}

    def admits(self, fields: Mapping[str, Any]) -> bool:
        """Whether an item is of a group that has not had its hit yet."""
        return fields.get(self._column) not in self._seen

    def add(self, fields: Mapping[str, Any]) -> None:
        """This item is the hit of its group."""
        value = fields.get(self._column)
        if value is not None:
            self._seen[value] = None

    def others(self) -> Condition | None:
        """What items of other groups meet."""
        values = tuple(self._seen)
        if any(isinstance(value, bool) for value in values):
            return every(*(Compare(self._column, "!=", value) for value in values))
        return Not(OneOf(self._column, values)) if values else None


def check_facets(columns: Sequence[Column]) -> None:
    """See that the values of columns can be counted.

    Raises:
        UserError: one holds something else than texts, numbers, yes and no, or lists of these.
    """
    for column in columns:
        if column.kind == "other":
            raise UserError(f'the column "{column.name}" holds no texts or numbers to count')


def count_facets(items: Iterable[Mapping[str, Any]], column: str) -> dict[Any, int]:
    """How many items have each value of a column, the most frequent first; in a list, each value counts once."""
    counts: Counter[Any] = Counter()
    for fields in items:
        cell = fields.get(column)
        values = cell if isinstance(cell, list) else [cell]
        counts.update({value for value in values if isinstance(value, str | int | float)})
    return dict(sorted(counts.items(), key=lambda entry: (-entry[1], str(entry[0]))))

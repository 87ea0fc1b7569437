"""What a hit shows of an item: every column of its row, fetched by row number without reading the rest.

SQLite, because ten rows out of a file of any size come back in well under a millisecond, and an item is found by its
id in the same way; columnar formats decode a whole block of rows for each.
"""

import json
import math
import sqlite3
import threading
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import polars as pl

from likewise.catalog.pictures import Picture
from likewise.errors import UserError

_SCHEMA = """
    CREATE TABLE items (
        row INTEGER PRIMARY KEY, id TEXT NOT NULL, title TEXT, fields TEXT NOT NULL, picture_key TEXT, picture_path TEXT
    )
"""
_COLUMNS = "row, id, fields, picture_key, picture_path"
_CHUNK = 10_000


@dataclass(frozen=True)
class Item:
    """One row of the catalogue as the index keeps it."""

    id: str
    fields: dict[str, Any]
    picture: Picture | None


class ItemTable:
    """Items by row number and by id."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection
        self._lock = threading.Lock()  # a page asks from several threads

    @classmethod
    def create(cls, path: Path | None, items: pl.DataFrame, pictures: Sequence[Picture | None]) -> "ItemTable":
        """Write a table; `path` None keeps it in memory.

        Args:
            items: the columns that a hit shows; "id" (unique strings) is required.
            pictures: one for each row, None where an item has none.
        """
        connection = sqlite3.connect(path or ":memory:", check_same_thread=False)
        with connection:
            connection.execute(_SCHEMA)
            connection.executemany("INSERT INTO items VALUES (?, ?, ?, ?, ?, ?)", _rows(items, pictures))
            connection.execute("CREATE UNIQUE INDEX items_by_id ON items (id)")
        return cls(connection)

    @classmethod
    def open(cls, path: Path) -> "ItemTable":
        """Open a written table for reading.

        Raises:
            UserError: the file is missing or damaged.
        """
        try:
            # A finished version never changes, so neither locks nor a journal are needed, and a read-only disk will do.
            uri = f"{path.resolve().as_uri()}?mode=ro&immutable=1"
            connection = sqlite3.connect(uri, uri=True, check_same_thread=False)
            connection.execute(f"SELECT {_COLUMNS} FROM items LIMIT 1").fetchone()  # noqa: S608
        except sqlite3.Error:
            raise UserError(f"the items in {path} are missing or damaged") from None
        return cls(connection)

    def __len__(self) -> int:
        return int(self._query("SELECT count(*) FROM items")[0][0])

    def close(self) -> None:
        """Let go of the file."""
        self._connection.close()

    def fetch(self, rows: Sequence[int]) -> list[Item]:
        """The items of these rows, in this order."""
        items: dict[int, Item] = {}
        for start in range(0, len(rows), _CHUNK):  # SQLite takes a limited number of values in one question
            some = [int(row) for row in rows[start : start + _CHUNK]]
            marks = ", ".join("?" * len(some))
            found = self._query(f"SELECT {_COLUMNS} FROM items WHERE row IN ({marks})", *some)  # noqa: S608
            for row, id, fields, key, path in found:
                items[row] = Item(id, json.loads(fields), Picture(key, Path(path)) if key else None)
        return [items[int(row)] for row in rows]

    def row_of(self, id: str) -> int | None:
        """The row number of an item, or None where there is no such id."""
        found = self._query("SELECT row FROM items WHERE id = ?", id)
        return int(found[0][0]) if found else None

    def titles(self, count: int, longest: int) -> list[str]:
        """Up to `count` different titles from all over the table, none with more than `longest` characters."""
        step = max(1, len(self) // (8 * count))  # eight times as many as are wanted, as some repeat or are too long
        found = self._query(
            "SELECT DISTINCT trim(title) FROM items WHERE row % ? = 0 AND length(trim(title)) BETWEEN 1 AND ?",
            step,
            longest,
        )
        spread = max(1, len(found) // count)
        return [title for (title,) in found[::spread]][:count]

    def _query(self, sql: str, *values: Any) -> list[tuple[Any, ...]]:
        with self._lock:
            return self._connection.execute(sql, values).fetchall()


def _rows(items: pl.DataFrame, pictures: Sequence[Picture | None]) -> Iterator[tuple[Any, ...]]:
    row = 0
    for chunk in items.iter_slices(_CHUNK):
        for fields in chunk.iter_rows(named=True):
            picture = pictures[row]
            title = fields.get("title")
            yield (
                row,
                fields["id"],
                title if isinstance(title, str) else None,
                json.dumps(_plain(fields), ensure_ascii=False, default=str),  # dates and the like: as they are written
                picture.key if picture else None,
                str(picture.path) if picture else None,
            )
            row += 1


def _plain(fields: dict[str, Any]) -> dict[str, Any]:
    """JSON has no NaN and no infinity."""
    return {
        name: None if isinstance(value, float) and not math.isfinite(value) else value for name, value in fields.items()
    }

"""Which columns a store's items have, and what an engine writes for an item.

An engine never meets the catalogue's column names, which may hold anything: it stores the columns of `stored_columns`,
whose names are ASCII letters and digits, and gets conditions that name the same columns (see conditions.py).
"""

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, Literal

import numpy as np
import polars as pl

from likewise.catalog.columns import unknown_column_error
from likewise.catalog.numbers import read_numbers
from likewise.errors import UserError
from likewise.files import FormatError, NewerFormatError
from likewise.parsing import parse_json

Kind = Literal["text", "integer", "number", "boolean", "list", "other"]

FORMAT = 2  # of what engines write; raised when that changes
ID, FIELDS, FIELD_VECTORS = "id", "fields", "field_vectors"
_ENCODER = json.JSONEncoder(ensure_ascii=False, default=str)  # dates and the like as they are written

_STORED_AS: dict[Kind, type[pl.DataType]] = {
    "text": pl.String,
    "integer": pl.Int64,
    "number": pl.Float64,
    "boolean": pl.Boolean,
    "list": pl.Boolean,
    "other": pl.Boolean,
}


@dataclass(frozen=True)
class Column:
    """A column that filters can name.

    Attributes:
        name: as in the catalogue.
        kind: "list" and "other" (dates and the like) can only be tested for being blank.
        numbers: a text column with cells such as "$1,299.00", which can be compared with numbers, too.
        stored: the engine's name of it.
    """

    name: str
    kind: Kind
    stored: str
    numbers: bool = False

    @property
    def stored_numbers(self) -> str:
        """The engine's name of the numbers that a text column holds."""
        return f"{self.stored}n"


@dataclass(frozen=True)
class Schema:
    """What all items of a store have in common.

    Attributes:
        columns: the first is "id".
        about: what the caller wants remembered with the content, such as the model that made it; JSON values.
        field_vectors: the names of the fields whose vectors are kept for each item; empty where none are.
    """

    dim: int
    columns: tuple[Column, ...] = (Column(ID, "text", ID),)
    about: Mapping[str, Any] = field(default_factory=dict)
    field_vectors: tuple[str, ...] = ()

    @classmethod
    def of(
        cls, items: pl.DataFrame, dim: int, about: Mapping[str, Any] | None = None, field_vectors: Sequence[str] = ()
    ) -> "Schema":
        """The schema of a table with a column "id".

        Args:
            items: any number of rows; which text columns hold numbers is told from them.
            dim: of the vectors.
            field_vectors: the fields whose vectors are kept, too.
        """
        columns = [Column(ID, "text", ID)]
        for number, cells in enumerate(items.drop(ID).iter_columns()):
            kind = _kind(cells.dtype)
            numbers = kind == "text" and read_numbers(cells.cast(pl.String)).count() > 0
            columns.append(Column(cells.name, kind, f"c{number}", numbers))
        return cls(dim, tuple(columns), dict(about or {}), tuple(field_vectors))

    @classmethod
    def from_json(cls, text: str) -> "Schema":
        """Read what `to_json` wrote.

        Raises:
            FormatError: a store of another format.
            ValueError, KeyError, TypeError: it is something else.
        """
        content = parse_json(text)
        dim = int(content["dim"])
        _check_format(content.get("format", 1))
        columns = tuple(Column(**column) for column in content["columns"])
        fields = tuple(str(name) for name in content["field_vectors"])
        return cls(dim, columns, dict(content["about"]), fields)

    def to_json(self) -> str:
        """All of it as one JSON object."""
        return json.dumps({"format": FORMAT} | asdict(self), ensure_ascii=False)

    def column(self, name: str) -> Column:
        """A column by the catalogue's name.

        Raises:
            UserError: there is none; the message names those near it.
        """
        for column in self.columns:
            if column.name == name:
                return column
        raise unknown_column_error(name, [column.name for column in self.columns])

    @property
    def stored_types(self) -> dict[str, type[pl.DataType]]:
        """The engine's columns that filters see, in order; "id" is the first, all others may be null."""
        types: dict[str, type[pl.DataType]] = {}
        for column in self.columns:
            types[column.stored] = _STORED_AS[column.kind]
            if column.numbers:
                types[column.stored_numbers] = pl.Float64
        return types


def stored_columns(items: pl.DataFrame, schema: Schema) -> pl.DataFrame:
    """What an engine writes for items.

    Args:
        items: n rows, "id" and any columns of the schema.

    Returns:
        n rows: "id", then the columns of `schema.stored_types`, then "fields", a JSON object (String) that holds every
        column of the schema under the catalogue's name, which `fetch` gives back through `json.loads`. Columns of the
        kinds "list" and "other" are stored as true where they are filled, null where they are blank.

    Raises:
        UserError: a column that the schema lacks, or cells that are not of its kind; ids that are blank.
    """
    known = {column.name for column in schema.columns}
    for name in items.columns:
        if name not in known:
            raise UserError(f'the store has no column "{name}": build it again with the new columns')
    if ID not in items.columns or items[ID].dtype != pl.String or not all(items[ID].to_list()):
        raise UserError("every item of a store needs an id, which is a text and not blank")
    stored = [_stored_cells(items, column) for column in schema.columns]
    stored += [
        read_numbers(cells).alias(column.stored_numbers)
        for column, cells in zip(schema.columns, stored, strict=True)
        if column.numbers
    ]
    frame = pl.DataFrame(stored)[list(schema.stored_types)]  # unlike a lazy plan, these cost little for one item
    return frame.hstack([pl.Series(FIELDS, _documents(items, schema), pl.String)])


def _check_format(format: int) -> None:
    if format > FORMAT:
        raise NewerFormatError("the store was written by a newer version of likewise: update likewise")
    if format < FORMAT:
        raise FormatError("it was written by an older version of likewise")


def _kind(kind: pl.DataType) -> Kind:
    if kind in (pl.String, pl.Categorical, pl.Enum):
        return "text"
    if kind.is_integer() and kind not in (pl.UInt64, pl.Int128):
        return "integer"
    if kind.is_numeric():
        return "number"
    if kind == pl.Boolean:
        return "boolean"
    return "list" if kind in (pl.List, pl.Array) else "other"


def _stored_cells(items: pl.DataFrame, column: Column) -> pl.Series:
    stored_as = _STORED_AS[column.kind]
    if column.name not in items.columns or items[column.name].dtype == pl.Null:
        return pl.Series(column.stored, [None], stored_as).new_from_index(0, len(items))
    cells = items[column.name]
    kind = _kind(cells.dtype)
    if kind != column.kind and (kind, column.kind) != ("integer", "number"):
        raise UserError(
            f'the column "{column.name}" of the store is of the kind {column.kind}, but the items\' is {kind}'
        )
    if kind in ("list", "other"):
        filled = [True if cell else None for cell in cells.to_list()] if kind == "list" else None
        if filled is None:
            filled = [None if blank else True for blank in cells.is_null().to_list()]
        return pl.Series(column.stored, filled, pl.Boolean)
    cells = cells.cast(stored_as).alias(column.stored)
    if kind == "number" and not _is_finite(cells):
        cells = cells.set(~cells.is_finite().fill_null(True), None)  # JSON has no NaN and no infinity: they are blank
    return cells


def _is_finite(cells: pl.Series) -> bool:
    """Whether all numbers of a column are, blank cells aside."""
    return int(np.isfinite(cells.to_numpy()).sum()) == len(cells) - cells.null_count()  # blank ones become NaN


def _documents(items: pl.DataFrame, schema: Schema) -> list[str]:
    """A JSON text for each row, with all columns of the schema in its order."""
    names = [column.name for column in schema.columns]
    nothing = pl.Series([None], dtype=pl.Null).new_from_index(0, len(items))
    rows = pl.DataFrame([items[name] if name in items.columns else nothing.alias(name) for name in names])
    floats = [name for name, kind in rows.schema.items() if kind.is_float()]
    if not all(_is_finite(rows[name]) for name in floats):
        kept = pl.col(floats)
        rows = rows.with_columns(pl.when(kept.is_finite()).then(kept))  # JSON has no NaN and no infinity
    if not any(kind.is_nested() for kind in rows.dtypes):
        return [_ENCODER.encode(row) for row in rows.iter_rows(named=True)]
    return [
        _ENCODER.encode({name: _plain_value(value) for name, value in row.items()})
        for row in rows.iter_rows(named=True)
    ]


def _plain_value(value: Any) -> Any:
    match value:
        case float():
            return value if math.isfinite(value) else None
        case dict():
            return {name: _plain_value(part) for name, part in value.items()}
        case list() | tuple():
            return [_plain_value(part) for part in value]
        case _:
            return value

"""Reader of tables in memory: pandas, Polars and Arrow tables, DuckDB relations and Hugging Face data sets.

None of these libraries is imported: an object says by its class, or by the Arrow stream that it offers, what it is.
"""

from collections.abc import Sequence
from typing import Any

import polars as pl

from likewise.catalog.delimited import RawTable
from likewise.catalog.json_lines import format_cell, replace_surrogates
from likewise.catalog.report import Report
from likewise.catalog.table import flatten_frame
from likewise.errors import UserError

_WANTED = (
    "a catalogue is a file, a folder of pictures, a pandas, Polars or Arrow table, a DuckDB relation or a Hugging Face "
    "Dataset"
)
_INTEGERS = range(-(2**63), 2**63)


def read_frame(table: Any, report: Report) -> RawTable:
    """Read a table in memory as a file with the same cells would be read.

    Args:
        table: a pandas, Polars or Arrow table, a DuckDB relation, a Hugging Face `Dataset`, or any other object with
            the method `__arrow_c_stream__`.
        report: receives the number of rows, and notes.

    Raises:
        UserError: it is something else, is empty, or has cells of a type that no file could hold.
    """
    package, kind = type(table).__module__.partition(".")[0], type(table).__name__
    if package == "datasets":
        frame = _read_dataset(table, kind)
    elif package == "pandas" and kind == "DataFrame":
        frame = _read_pandas(table)
    elif isinstance(table, pl.DataFrame | pl.LazyFrame):
        frame = _collect(table.lazy(), kind)
    elif hasattr(table, "__arrow_c_stream__"):
        frame = _read_stream(table, kind)
    else:
        raise UserError(f"cannot read a catalogue from an object of the type {kind}: {_WANTED}")
    return flatten_frame(frame, f"the {kind}", report)


def _collect(table: pl.LazyFrame, kind: str) -> pl.DataFrame:
    """Run a query of Polars, which may name files and columns that do not exist."""
    try:
        frame = table.collect()
    except Exception as error:  # what Polars and the file systems behind it raise
        raise UserError(f"the {kind} cannot be read: {_read_first_line(error)}") from None
    return frame


def _read_first_line(error: Exception) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0][:200]


def _read_stream(table: Any, kind: str) -> pl.DataFrame:
    try:
        read = pl.DataFrame(table)
    except Exception as error:  # whatever the library behind the stream raises
        raise UserError(f"the {kind} cannot be read as an Arrow table: {_read_first_line(error)}") from None
    return read


def _read_pandas(table: Any) -> pl.DataFrame:
    levels = [place for place, name in enumerate(table.index.names) if name in table.columns]
    repeating = [place for place in levels if _repeats_column(table, place)]
    if repeating:
        table = table.reset_index(level=repeating, drop=True)
    if any(name is not None for name in table.index.names):  # an index with a name is a column
        _check_names([str(name) for name in (*table.index.names, *table.columns)], "DataFrame")
        table = table.reset_index()
    names = [replace_surrogates(str(name)) for name in table.columns]
    _check_names(names, "DataFrame")
    return pl.DataFrame([_read_pandas_column(name, table.iloc[:, place]) for place, name in enumerate(names)])


def _repeats_column(table: Any, level: int) -> bool:
    """Whether a level of the index is a column too, as after `set_index(…, drop=False)`."""
    name = table.index.names[level]
    column, index = table[name], table.index.get_level_values(level)
    return column.ndim == 1 and bool(column.reset_index(drop=True).equals(index.to_series().reset_index(drop=True)))


def _read_pandas_column(name: str, column: Any) -> pl.Series:
    """A column without the library's own ideas: its values decide the type, and each kind of blank is null."""
    kind = getattr(column.dtype, "kind", "O")
    if kind in "iub" and type(column.dtype).__module__.startswith("numpy"):
        return pl.Series(name, column.to_numpy())
    values = column.astype(object).where(column.notna(), None).tolist()
    values = [value.item() if hasattr(value, "dtype") and getattr(value, "ndim", 1) == 0 else value for value in values]
    filled = [value for value in values if value is not None]
    types = set(map(type, filled))
    if types == {bytes}:
        return pl.Series(name, values, pl.Binary)
    if types and all(isinstance(value, dict) and {"bytes", "path"} >= set(value) for value in filled):
        files = [None if value is None else {**value, "path": _format_object(value.get("path"))} for value in values]
        return pl.Series(name, files, pl.Struct({"bytes": pl.Binary, "path": pl.String}))
    if types == {bool}:
        return pl.Series(name, values, pl.Boolean)
    if types == {int} and all(value in _INTEGERS for value in filled):
        return pl.Series(name, values, pl.Int64)
    if float in types and types <= {int, float}:
        return pl.Series(name, [None if value is None else float(value) for value in values], pl.Float64)
    listed = (value.tolist() if hasattr(value, "tolist") else value for value in values)
    return pl.Series(name, [_format_object(value) for value in listed], pl.String)


def _format_object(value: Any) -> str | None:
    plain = value is None or isinstance(value, str | bool | int | float | list | dict | tuple)
    return format_cell(value if plain else str(value))


def _read_dataset(table: Any, kind: str) -> pl.DataFrame:
    if kind in ("DatasetDict", "IterableDatasetDict"):
        splits = ", ".join(map(str, table))
        raise UserError(
            f"the {kind} has several parts ({splits}): give one of them, such as data[{next(iter(table))!r}]"
        )
    if not hasattr(table, "with_format") or not hasattr(table, "features") or kind.startswith("Iterable"):
        raise UserError(f"an {kind} is a stream that cannot be read twice: load it with streaming=False")
    if not len(table):
        raise UserError("the Dataset has no rows: a catalogue needs at least one item")
    columns = table.with_format("arrow")[:]  # in the order of its indices, pictures as bytes and paths
    frame = _read_stream(columns, kind)
    for name, feature in table.features.items():
        if type(feature).__name__ == "ClassLabel":
            frame = frame.with_columns(_name_classes(frame[name], feature.names))
    return frame


def _name_classes(codes: pl.Series, names: Sequence[str]) -> pl.Series:
    """A column of class numbers as their names; −1 is no class."""
    known = range(len(names))
    return pl.Series(codes.name, [names[code] if code in known else None for code in codes], pl.String)


def _check_names(names: Sequence[str], kind: str) -> None:
    repeated = next((name for place, name in enumerate(names) if name in names[:place]), None)
    if repeated is not None:
        raise UserError(f'the {kind} has several columns called "{repeated}": give each its own name')

"""Inference of the kind of field that each column of a catalogue can be, with the evidence, and a config of it."""

import json
import re
import shlex
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import polars as pl
import yaml

from likewise.catalog.amounts import is_currency
from likewise.catalog.columns import FIELDS
from likewise.catalog.dates import FIRST_YEAR
from likewise.catalog.field_kinds import check_field_leakage
from likewise.catalog.identity import Codes, number_values
from likewise.catalog.report import Report
from likewise.catalog.rows import name_source, read_items
from likewise.catalog.text import normalize_text
from likewise.catalog.typed_values import FieldKind, TypedColumn, find_separator, read_typed_column
from likewise.config import ImageSettings
from likewise.errors import UserError
from likewise.progress import printable

_MOST_ROWS = 20_000  # that are looked at
_MOST_FIELDS = 64  # of a model
_LONGEST_NAME = 200  # characters of a column's name
_LEAST_READ = 0.95  # share of the cells that a kind has to fit
_LEAST_PRICED = 0.75  # share of the cells, where numbers have a currency
_LEAST_LISTED = 0.3  # share of the cells that hold several tags
_MOST_DISTINCT = 0.5  # share of the cells; categories recur
_LONGEST_CATEGORY, _LONGEST_TAG = 60, 40  # characters, on average
_SOUND = re.compile(r"(?i)\.(?:wav|ogg|oga|opus|mp3|flac)(?:[?#].*)?$")
_UNREAD_SOUND = re.compile(r"(?i)\.(?:m4a|aac|wma|aiff?|amr)(?:[?#].*)?$")
_PICTURE = re.compile(r"(?i)\.(?:jpe?g|png|webp|gif|bmp|tiff?|avif)(?:[?#].*)?$")
_ADDRESS = re.compile(r"(?i)^(?:https?|ftp)://")
_CODE = r"^0[0-9]+$"
_PRICES = frozenset(
    {"price", "prices", "cost", "msrp", "rrp", "amount", "fee", "discount", "preis", "prix", "precio", "prezzo", "pris"}
)
_COUNTS = frozenset(
    {"stock", "quantity", "qty", "inventory", "sales", "sold", "views", "clicks", "orders", "popularity", "rank"}
)
_EVENTS = frozenset({"created", "updated", "modified", "added", "inserted", "imported", "timestamp"})


@dataclass(frozen=True)
class InferredField:
    """What a column can be.

    Attributes:
        kind: None where no field can be made of it.
        evidence: why it is of this kind, such as "98 % of 1,200 cells are numbers, with €".
        advice: why it should not be learned although it could be; blank where it should.
    """

    column: str
    kind: FieldKind | None
    evidence: str
    advice: str = ""

    def __str__(self) -> str:
        advice = f"; {self.advice}" if self.advice else ""
        return f"{self.column}: {self.kind or 'no field'}, {self.evidence}{advice}"


def infer_field_kinds(table: pl.DataFrame) -> dict[str, InferredField]:
    """Infer what each column of a catalogue's table can be, "id" aside; of a larger table, 20,000 rows are looked at.

    Args:
        table: as `Catalog.table`.

    Example:
        >>> import likewise as lw
        >>> from likewise.catalog.field_inference import infer_field_kinds
        >>> fields = infer_field_kinds(lw.Catalog.read("products.csv").table)
        >>> print(fields["brand"])
        brand: category, 3 different values in 30 cells
    """
    if len(table) > _MOST_ROWS:
        table = table.gather_every(-(-len(table) // _MOST_ROWS))
    titles = [normalize_text(title) for title in table["title"].to_list()]
    identity = number_values([title if title is not None else row for row, title in enumerate(titles)])
    inferred: dict[str, InferredField] = {}
    for name in table.columns:
        if name in FIELDS:
            inferred[name] = _describe_own_field(name, table[name])
        elif name != "id":
            inferred[name] = _infer_field(table[name], table, identity)
    return inferred


def _describe_own_field(name: str, cells: pl.Series) -> InferredField:
    filled = int((cells.list.len() > 0).sum()) if name == "image" else len(cells) - cells.null_count()
    if not filled:
        return InferredField(name, None, "no item has one")
    kind: FieldKind = "image" if name == "image" else "text"
    return InferredField(name, kind, f"{_share(filled, len(cells))} of {len(cells):,} items have one")


def _infer_field(cells: pl.Series, table: pl.DataFrame, identity: Codes) -> InferredField:
    name, filled = cells.name, len(cells) - cells.null_count()
    if not filled:
        return InferredField(name, None, "all cells are blank")
    for ours in ("id", "title", "description"):
        if cells.dtype == pl.String and int((cells == table[ours]).sum()) >= _LEAST_READ * filled:
            return InferredField(name, None, f"it is the column that is used as {ours}")
    column, evidence = _recognize(cells, filled)
    if column is None:
        return InferredField(name, None, evidence)
    values = set(column.values) - {None}
    if len(values) < 2:
        return InferredField(name, column.kind, evidence, "it has one value only, which says nothing")
    try:
        check_field_leakage(name, column.values, column.kind, identity)
    except UserError as error:
        return InferredField(name, None, str(error).partition(" cannot be a field: ")[2].partition(", so ")[0])
    return InferredField(name, column.kind, evidence, _advise(name, column))


def _recognize(cells: pl.Series, filled: int) -> tuple[TypedColumn | None, str]:
    """The column as the first kind that fits it, and the evidence."""
    texts = [text for text in cells.to_list() if isinstance(text, str)]
    if (named := _count_matches(_SOUND, texts)) >= _LEAST_READ * filled:
        return read_typed_column(cells, "audio"), f"{_share_of(named, filled)} name recordings"
    if _count_matches(_UNREAD_SOUND, texts) >= _LEAST_READ * filled:
        return None, "its cells name recordings in a format that is not read: convert them to FLAC or Ogg"
    if _count_matches(_PICTURE, texts) >= _LEAST_READ * filled:
        return None, "its cells name pictures, which are the field image: one column lists all of an item"
    if _count_matches(_ADDRESS, texts) >= _LEAST_READ * filled:
        return None, "its cells are addresses, of which nothing can be learned"
    for recognize in (_recognize_boolean, _recognize_date, _recognize_number, _recognize_tags, _recognize_category):
        if (found := recognize(cells, filled)) is not None:
            return found
    column = read_typed_column(cells, "text")
    length = sum(map(len, texts)) / max(len(texts), 1)
    different = _count_different(len(set(texts)), "text")
    return column, f"{different} in {filled:,} cells, {length:,.0f} characters on average"


def _recognize_boolean(cells: pl.Series, filled: int) -> tuple[TypedColumn, str] | None:
    if cells.dtype != pl.Boolean and cells.drop_nulls().n_unique() != 2:
        return None
    column = read_typed_column(cells, "boolean")
    read = _count_values(column)
    return (column, f"{_share_of(read, filled)} are true or false") if read >= _LEAST_READ * filled else None


def _recognize_date(cells: pl.Series, filled: int) -> tuple[TypedColumn, str] | None:
    if cells.dtype.is_float() or cells.dtype == pl.Boolean:
        return None
    if cells.dtype.is_integer() and not _may_be_dates(cells):
        return None
    column = read_typed_column(cells, "date")
    dates = [value for value in column.values if value is not None]
    if len(dates) < _LEAST_READ * filled:
        return None
    return column, f"{_share_of(len(dates), filled)} are dates, {min(dates):%Y-%m-%d} to {max(dates):%Y-%m-%d}"


def _may_be_dates(cells: pl.Series) -> bool:
    """Whether whole numbers are days such as 20240131 or epochs; years and other short numbers stay numbers."""
    return bool((cells.drop_nulls() >= FIRST_YEAR * 10_000).all())


def _recognize_number(cells: pl.Series, filled: int) -> tuple[TypedColumn, str] | None:
    if cells.dtype == pl.String and bool(cells.str.contains(_CODE).any()):
        return None  # leading zeros: codes
    column = read_typed_column(cells, "number")
    read = _count_values(column)
    unit = f", with {column.unit}" if column.unit else ""
    least = _LEAST_PRICED if is_currency(column.unit) else _LEAST_READ  # others are "free" or "on request"
    return (column, f"{_share_of(read, filled)} are numbers{unit}") if read >= least * filled else None


def _recognize_tags(cells: pl.Series, filled: int) -> tuple[TypedColumn, str] | None:
    column = read_typed_column(cells, "tags")
    rows = [tags for tags in column.values if tags]
    counts = Counter(tag for tags in rows for tag in tags)
    several = sum(len(tags) > 1 for tags in rows)
    if several < _LEAST_LISTED * filled or sum(counts.values()) < 2 * len(counts):
        return None
    if sum(len(tag) * count for tag, count in counts.items()) > _LONGEST_TAG * sum(counts.values()):
        return None
    separator = find_separator(cells) if cells.dtype == pl.String else None
    how = f'separated by "{separator}"' if separator else "in lists"
    return column, f"{_count_different(len(counts), 'tag')} {how} in {filled:,} cells"


def _recognize_category(cells: pl.Series, filled: int) -> tuple[TypedColumn, str] | None:
    column = read_typed_column(cells, "category")
    values = [value for value in column.values if value is not None]
    if (
        not values
        or len(set(values)) > _MOST_DISTINCT * filled
        or sum(map(len, values)) > _LONGEST_CATEGORY * len(values)
    ):
        return None
    return column, f"{_count_different(len(set(values)), 'value')} in {filled:,} cells"


def split_name(column: str) -> list[str]:
    """The words of a column's name, in lower case: "salePrice" and "sale_price" are "sale" and "price"."""
    return re.findall(r"[^\W_]+", re.sub(r"([a-z])([A-Z])", r"\1 \2", column).lower())


def is_price(column: str, unit: str) -> bool:
    """Whether the numbers of a column are prices, by its name and their unit."""
    return not _PRICES.isdisjoint(split_name(column)) or is_currency(unit)


def is_event(column: str) -> bool:
    """Whether dates are about the row and not about the item, by the column's name, such as created_at."""
    return not _EVENTS.isdisjoint(split_name(column))


def _advise(name: str, column: TypedColumn) -> str:
    words = set(split_name(name))
    if column.kind == "number" and is_price(name, column.unit):
        return "a price is a filter and no field unless you ask for it"
    if column.kind == "number" and words & _COUNTS:
        return "it changes from day to day: use it in filters and boosts"
    if column.kind == "date" and is_event(name):
        return "it is about the row and not about the item: use it in filters"
    return ""


def _count_matches(pattern: re.Pattern[str], texts: Sequence[str]) -> int:
    """How many texts a pattern fits; of a long text, its beginning and its end are looked at."""
    return sum(bool(pattern.search(text if len(text) <= 2_000 else f"{text[:1_000]}{text[-1_000:]}")) for text in texts)


def _count_values(column: TypedColumn) -> int:
    return sum(value is not None for value in column.values)


def _count_different(count: int, noun: str) -> str:
    return f"1 {noun}" if count == 1 else f"{count:,} different {noun}s"


def _share(part: int, whole: int) -> str:
    return "100 %" if part == whole else f"{min(round(100 * part / max(whole, 1)), 99)} %"


def _share_of(part: int, whole: int) -> str:
    return f"all {whole:,} cells" if part == whole else f"{_share(part, whole)} of {whole:,} cells"


def suggest_config(
    path: str | Path,
    columns: Mapping[str, str] | None = None,
    images: ImageSettings = ImageSettings(),  # noqa: B008
) -> str:
    """A config in YAML that declares the fields of a catalogue, with the evidence as comments.

    Columns that should not be learned, such as prices, are commented out.

    Args:
        path: the catalogue, as `Catalog.read` takes it.
        columns: our name → the file's name.
        images: where pictures may come from.

    Raises:
        UserError: the file is no table, or has no title column or no usable row.
    """
    source = name_source(path)
    table = read_items(path, columns, Report(), images).table
    if table.is_empty():
        raise UserError(f"no row of {source} can be used: likewise doctor {source} says why")
    fields = list(infer_field_kinds(table).values())
    return "\n".join([*_format_config(source, columns or {}, fields), ""])


def _format_config(source: Path | str, columns: Mapping[str, str], fields: Sequence[InferredField]) -> Iterator[str]:
    mapped = "".join(f" --map {shlex.quote(f'{ours}={theirs}')}" for ours, theirs in columns.items())
    yield "# Fields as likewise doctor --suggest-config inferred them. Correct them, save them as fields.yaml, then:"
    yield f"#   {_comment(f'likewise train {shlex.quote(str(source))}{mapped} --config fields.yaml --output RUN')}"
    yield "model:"
    yield "  fields:"
    taken = 0
    for field in fields:
        if len(field.column) > _LONGEST_NAME:
            continue
        usable = field.kind is not None and not field.advice and taken < _MOST_FIELDS
        taken += usable
        entry = f"{_key(field.column)}: {field.kind}"
        if field.kind is None:
            yield f"    # {_comment(field.column)} is no field: {_comment(field.evidence)}"
        elif usable:
            yield f"    {entry}  # {_comment(field.evidence)}"
        else:
            why = field.advice or f"a model has at most {_MOST_FIELDS} fields"
            yield f"    # {entry}  # {_comment(field.evidence)}; {why}"


def _key(name: str) -> str:
    """A name as a YAML scalar on one line."""
    plain = re.fullmatch(r"[A-Za-z_][A-Za-z0-9_ -]*", name) and yaml.safe_load(name) == name
    return name if plain else json.dumps(name)


def _comment(text: str) -> str:
    return printable(" ".join(text.split()))

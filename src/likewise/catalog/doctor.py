"""The full check of a catalogue: every row read, every picture decoded, every problem counted by cause."""

from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from rich.console import Group, RenderableType
from rich.table import Column, Table

from likewise.catalog.catalog import Catalog, default_cache
from likewise.catalog.images.picture import Picture, PictureError
from likewise.catalog.report import Report
from likewise.catalog.rows import locate_source, name_source, read_items
from likewise.config import DataSettings, ImageSettings
from likewise.progress import plain_text, track

_READERS = 4
_SIDE = 224  # pixels; decoding at a reduced scale still reads the file to its end
_TEXTS_AT_ONCE = 2048


def check_catalog(
    path: Any,
    *,
    columns: Mapping[str, str] | None = None,
    images: ImageSettings = ImageSettings(),  # noqa: B008 - immutable
    cache: Path | None = None,
    count_truncated: Callable[[Sequence[str]], int] | None = None,
    language_warning: Callable[[Sequence[str]], str | None] | None = None,
) -> Report:
    """Check a catalogue as a training would find it, and decode every picture.

    Args:
        path: a file, a folder of pictures or a table; see `Catalog.read`.
        columns: our name → the file's name.
        images: where pictures may come from.
        cache: the folder that downloads are kept in; None: the user's cache folder.
        count_truncated: how many of some texts are longer than the text encoder reads; None: that is not checked.
        language_warning: a warning where the text encoder does not speak some texts; None: that is not checked.

    Returns:
        The report. A file in which no row can be used is a report with `usable` 0, not an error.

    Raises:
        UserError: the file is no table, or has no title column.
    """
    report = Report()
    items = read_items(path, columns, report, images)
    if items.table.is_empty():
        return report
    settings = DataSettings(file=locate_source(path), columns=dict(columns or {}), images=images)
    catalog = Catalog(items, settings=settings, source=name_source(path), cache=cache or default_cache(), report=report)
    _note_repetitions(catalog)
    if count_truncated is not None:
        _count_truncated(catalog, count_truncated)
    if language_warning is not None and (warning := language_warning(_texts(catalog, "title", "description"))):
        report.note(f"Warning: {warning}")
    _decode_pictures(catalog)
    return report


def render_report(report: Report) -> RenderableType:
    """The report for a terminal: a sentence, the notes, and a table of the problems, most frequent first."""
    usable = f"{report.usable:,} usable items from {report.rows:,} rows"
    parts: list[RenderableType] = [plain_text(usable, style="bold")]
    parts.extend(plain_text(f"• {note}") for note in report.notes)
    if not report.problems:
        return Group(*parts, plain_text("No problems found.", style="green"))
    headings = (Column("Count", justify="right"), Column("Problem", no_wrap=True), "What it means", "Such as")
    table = Table(*headings, show_edge=False, pad_edge=False)
    for problem in sorted(report.problems.values(), key=lambda problem: -problem.count):
        examples = ", ".join(str(example)[:40] for example in problem.examples[:3])
        table.add_row(
            f"{problem.count:,}", plain_text(problem.cause), plain_text(problem.consequence), plain_text(examples)
        )
    return Group(*parts, "", table)


def _note_repetitions(catalog: Catalog) -> None:
    titles = catalog.table["title"].drop_nulls().str.to_lowercase()
    repeated = len(titles) - titles.n_unique()
    if repeated:
        catalog.report.note(
            f"{titles.n_unique():,} different titles: {repeated:,} rows repeat the title of an earlier one"
        )


def _count_truncated(catalog: Catalog, count_truncated: Callable[[Sequence[str]], int]) -> None:
    for field in ("title", "description"):
        texts = _texts(catalog, field)
        starts = range(0, len(texts), _TEXTS_AT_ONCE)
        for start in track(starts, f"Measuring each {field}") if starts else ():
            catalog.report.count(f"long-{field}", count=count_truncated(texts[start : start + _TEXTS_AT_ONCE]))


def _texts(catalog: Catalog, *fields: str) -> list[str]:
    return [text for field in fields for text in catalog.texts(field) if text is not None]


def _decode_pictures(catalog: Catalog) -> None:
    """Decode every different picture; a failure counts for each item that has it."""
    owners: dict[Picture, list[str]] = {}
    for name, pictures in zip(catalog.ids, catalog.pictures, strict=True):
        for picture in pictures:
            owners.setdefault(picture, []).append(name)

    def failure(picture: Picture) -> str | None:
        try:
            catalog.open_picture(picture, minimum_side=_SIDE).close()
        except PictureError as error:
            return error.cause
        return None

    with ThreadPoolExecutor(_READERS) as readers:
        causes = readers.map(failure, owners)
        for names, cause in zip(owners.values(), track(causes, "Decoding pictures", len(owners)), strict=True):
            if cause is not None:
                catalog.report.count_rows(cause, names)
    with_picture = sum(bool(pictures) for pictures in catalog.pictures)
    if "image" in catalog.fields:
        catalog.report.note(
            f"{with_picture:,} of {len(catalog):,} items have a picture, {len(owners):,} different ones"
        )

"""The recordings that a catalogue's columns name, each column resolved once for all selections."""

import threading
from collections.abc import Mapping, Sequence
from pathlib import Path

from likewise.catalog.audio.recording import Recording
from likewise.catalog.audio.resolve import resolve_recordings
from likewise.catalog.report import Report
from likewise.catalog.rows import Items
from likewise.catalog.typed_values import read_typed_column
from likewise.config import AudioSettings


class RecordingColumns:
    """The columns of recordings of a whole catalogue.

    Args:
        items: all of them, with the folder that relative paths start from.
        settings: where recordings may come from, and the limits on them; None: from nowhere.
        cache: the folder of downloads.
        report: unusable recordings are counted here.
        found: those of each item by column, where they have been found already.
    """

    def __init__(
        self,
        items: Items,
        settings: AudioSettings | None,
        cache: Path,
        report: Report,
        found: Sequence[Mapping[str, tuple[Recording, ...]]] | None = None,
    ) -> None:
        self._table = items.table
        self._base = items.base
        self._settings = settings
        self._cache = cache
        self._report = report
        self._lock = threading.Lock()
        self._resolved: dict[str, list[tuple[Recording, ...]]] = {}
        for column in items.table.columns if found is not None else ():
            self._resolved[column] = [heard.get(column, ()) for heard in found or ()]

    def resolve(self, column: str) -> list[tuple[Recording, ...]]:
        """The usable recordings of each item in a column; failures are counted once.

        Raises:
            UserError: the cache cannot be written, or soundfile is not installed.
        """
        with self._lock:
            if column not in self._resolved:
                self._resolved[column] = self._find(column)
            return self._resolved[column]

    def _find(self, column: str) -> list[tuple[Recording, ...]]:
        read = read_typed_column(self._table[column], "audio")
        ids = self._table["id"].to_list()
        if self._settings is None:
            self._report.note(f'the recordings in "{column}" of items that are written singly are not read')
            return [()] * len(ids)
        if read.unusable:
            causes = ", ".join(f"{count:,} × {cause}" for cause, count in read.unusable.items())
            self._report.note(f'cells of the column "{column}" that name no recording count as blank: {causes}')
        return resolve_recordings(
            [sources or () for sources in read.values],
            base=self._base,
            settings=self._settings,
            cache=self._cache,
            report=self._report,
            names=ids,
        )

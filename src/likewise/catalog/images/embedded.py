"""Pictures whose bytes stand in a table's cells, as in a Hugging Face data set or a Parquet file."""

from collections.abc import Sequence

import polars as pl

from likewise.catalog.images.picture import compute_key
from likewise.catalog.report import Report

_SCHEME = "sha256:"


class EmbeddedPictures:
    """Bytes of pictures, by the source that stands for them in the column "image": `sha256:` and their digest.

    The same bytes have the same source whichever table they come from. Only sources that were added are known, so that
    a cell which happens to look like one names nothing.
    """

    def __init__(self) -> None:
        self._places: dict[str, tuple[pl.Series, int]] = {}  # the cells stay where they are, often in a mapped file

    def __contains__(self, source: str) -> bool:
        return source in self._places

    def add(self, cells: pl.Series, max_bytes: int, row_numbers: Sequence[int], report: Report) -> list[str | None]:
        """Add a column of bytes.

        Args:
            cells: (rows,) Binary.
            max_bytes: larger ones are counted as "too-large" and left out.
            row_numbers: (rows,) for the report.

        Returns:
            The source of each cell; None where there are no bytes.
        """
        sources: list[str | None] = []
        for position, data in enumerate(cells):
            if data and len(data) <= max_bytes:
                source = _SCHEME + compute_key(data)
                self._places.setdefault(source, (cells, position))
                sources.append(source)
                continue
            sources.append(None)
            if data is not None:
                report.count("too-large" if data else "empty-file", row_numbers[position])
        return sources

    def read(self, source: str) -> bytes:
        """The bytes behind a source that was added."""
        cells, position = self._places[source]
        data: bytes = cells[position]
        return data

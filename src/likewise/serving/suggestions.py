"""Completions of what somebody has begun to type, from the titles of an index."""

import threading
import unicodedata
from time import monotonic

import polars as pl

from likewise.retrieval.index import Index

_MOST_TITLES = 1_000_000
_LONGEST_TITLE = 120  # characters: longer ones are no completions
_SECONDS_KEPT = 30.0  # after which the titles are read again, if the index has changed


class Suggestions:
    """The titles of an index, searched by their beginnings and the beginnings of their words.

    They are read when they are first asked for, and again in the background where the index has changed since.
    """

    def __init__(self, index: Index) -> None:
        self._index = index
        self._titles = pl.DataFrame(schema={"title": pl.String, "folded": pl.String, "items": pl.UInt32})
        self._state: object = None
        self._read_at = float("-inf")
        self._reading = threading.Lock()

    def complete(self, text: str, count: int) -> list[str]:
        """Up to `count` titles that begin with a text, and then those of which another word does.

        Titles of many items come first, and of equals the shorter ones. Case and accents do not matter.
        """
        wanted = fold(text).strip()
        if not wanted:
            return []
        titles = self._current()
        found = titles.filter(pl.col("folded").str.contains(f" {wanted}", literal=True)).with_columns(
            pl.col("folded").str.starts_with(f" {wanted}").alias("first"),
            pl.col("folded").str.len_chars().alias("length"),
        )
        order = ["first", "items", "length", "folded"]
        best = found.sort(order, descending=[True, True, False, False], nulls_last=True).head(count)
        return best["title"].to_list()

    def _current(self) -> pl.DataFrame:
        if monotonic() - self._read_at < _SECONDS_KEPT:
            return self._titles
        is_first = self._state is None
        if not self._reading.acquire(blocking=is_first):
            return self._titles  # another thread reads; the old ones will do
        try:
            state = (self._index.metadata.build, len(self._index))
            if state != self._state:
                self._titles = self._read()
                self._state = state
            self._read_at = monotonic()
        finally:
            self._reading.release()
        return self._titles

    def _read(self) -> pl.DataFrame:
        titles = self._index.titles(_MOST_TITLES)
        lines = pl.Series("title", titles, pl.String).str.replace_all(r"\s+", " ").str.strip_chars()
        kept = lines.filter((lines.str.len_chars() > 0) & (lines.str.len_chars() <= _LONGEST_TITLE))
        counted = kept.value_counts(name="items")
        folded = pl.Series("folded", [f" {fold(title)}" for title in counted["title"]], pl.String)
        return counted.with_columns(folded)


def fold(text: str) -> str:
    """A text without case and accents, its words one blank apart."""
    plain = "".join(char for char in unicodedata.normalize("NFKD", text) if not unicodedata.combining(char))
    return " ".join(plain.casefold().split())

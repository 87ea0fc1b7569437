"""The lexical index on disk, in a separate folder from the store of vectors.

words/current                     the name of the version in use (see stores/versions.py)
words/<version>/words.json        which content of the store it belongs to, and its segments
words/<version>/<segment>.*       postings (see postings.py), and which of their items are deleted

A version shares the files of postings with the one before it, so a small change writes little. It only suggests
items; whether one is there, and what it says, is always asked of the store.
"""

import os
import secrets
import shutil
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from filelock import Timeout

from likewise.files import DamageError, cannot_write
from likewise.retrieval.lexical.bm25 import BM25Index, Segment
from likewise.retrieval.lexical.postings import Postings, PostingsBuilder, merge_postings
from likewise.retrieval.lexical.tokenizing import lexical_tokens, searchable_text
from likewise.stores.current_collection import CurrentCollection
from likewise.stores.versions import current_version, new_version

_MAX_SEGMENTS = 8
_MAX_DEAD_SHARE = 0.25  # of all items, before they are left out for good


class LexicalIndex:
    """A BM25 index on disk; follows what other processes write there."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._following: CurrentCollection[BM25Index] = CurrentCollection(self._name, self._opened)

    def current(self, *, asking: bool = False) -> BM25Index:
        """The index in use; empty where there is none, or where it is damaged."""
        return self._following.get(refresh=asking)

    @contextmanager
    def update(self, *, wait: bool = True) -> Iterator["LexicalDraft"]:
        """Yield a draft of the next version, which is swapped in when the block ends without an error.

        Others that update this index wait here, so whoever changes the store as well does it inside the block.

        Raises:
            Timeout: others are at it, and `wait` is False.
            UserError: the folder cannot be written.
        """
        with ExitStack() as version:
            with self._naming_errors():
                building = version.enter_context(new_version(self._folder, wait=wait))
                before = self.current(asking=True)
                draft = LexicalDraft(before, Path(self._name()) if before.parts else None)
            yield draft
            with self._naming_errors():
                draft.write(building)
                version.close()
        self.current(asking=True)

    def _name(self) -> str:
        try:
            return str(current_version(self._folder) or "")
        except DamageError:
            return ""

    def _opened(self, name: str) -> BM25Index:
        try:
            return BM25Index.open(Path(name)) if name else BM25Index()
        except (OSError, EOFError, ValueError, KeyError, TypeError):
            return BM25Index()  # rebuilt from the store when it is needed

    @contextmanager
    def _naming_errors(self) -> Iterator[None]:
        try:
            yield
        except Timeout:  # an OSError, too
            raise
        except (OSError, pl.exceptions.PolarsError) as error:
            raise cannot_write(self._folder, error) from None


class LexicalDraft:
    """The next version of a lexical index: the items of the one before, less some, plus some.

    Attributes:
        before: the version in use.
        stamp: to be set before the draft is written; the count fills itself in.
    """

    def __init__(self, before: BM25Index, folder: Path | None) -> None:
        self.before = before
        self.stamp = before.stamp
        self._folder = folder
        self._alive = [part.alive.copy() for part in before.parts]
        self._new = PostingsBuilder()

    def clear(self) -> None:
        """Remove every item."""
        for alive in self._alive:
            alive[:] = False
        self._new = PostingsBuilder()

    def remove(self, ids: Sequence[str]) -> None:
        """Remove items of the version before; unknown ids are ignored."""
        for part, alive in zip(self.before.parts, self._alive, strict=True):
            rows = part.postings.find_rows(ids)
            alive[rows[rows >= 0]] = False

    def add(self, ids: Sequence[str], fields: Sequence[Mapping[str, Any]]) -> None:
        """Add items, replacing those of the same ids; each id once in all calls."""
        self.remove(ids)
        self._new.add(ids, (lexical_tokens(searchable_text(of_item)) for of_item in fields))

    def write(self, folder: Path) -> None:
        """Write the whole index into an empty folder."""
        parts = [
            Segment(part.name, part.postings, alive)
            for part, alive in zip(self.before.parts, self._alive, strict=True)
            if alive.any()
        ]
        if len(self._new):
            built = self._new.build()
            parts.append(Segment(_name(), built, np.ones(len(built), bool)))
        if _should_merge(parts):
            whole = merge_postings([(part.postings, part.alive) for part in parts])
            parts = [Segment(_name(), whole, np.ones(len(whole), bool))]
        known = {part.name for part in self.before.parts}
        for part in parts:
            if part.name in known and self._folder is not None:
                for file in Postings.files(part.name):
                    _share(self._folder / file, folder / file)
            else:
                part.postings.write(folder, part.name)
        words = BM25Index(parts, self.stamp)
        BM25Index(parts, replace(self.stamp, count=words.count)).write_notes(folder)


def _name() -> str:
    return secrets.token_hex(4)


def _should_merge(parts: Sequence[Segment]) -> bool:
    items = sum(len(part.postings) for part in parts)
    alive = sum(int(part.alive.sum()) for part in parts)
    return len(parts) > _MAX_SEGMENTS or items - alive > _MAX_DEAD_SHARE * items


def _share(file: Path, target: Path) -> None:
    """A second name for a file that never changes, or a copy where the disk knows no such thing."""
    try:
        os.link(file, target)
    except OSError:
        shutil.copyfile(file, target)

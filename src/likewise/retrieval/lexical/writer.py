"""The lexical index on disk, in a separate folder from the store of vectors.

words/current                     the name of the version in use (see stores/versions.py)
words/<version>/words.json        which content of the store it belongs to, and its segments
words/<version>/<segment>.*       postings (postings.py), their words (vocabulary.py), and which items are deleted

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
from typing import Any, cast

import numpy as np
import polars as pl
from filelock import Timeout

from likewise.files import DamageError, cannot_write
from likewise.retrieval.lexical.bm25 import BM25Index
from likewise.retrieval.lexical.postings import Postings, PostingsBuilder, merge_postings
from likewise.retrieval.lexical.segment import Segment
from likewise.retrieval.lexical.tokenizing import lexical_tokens, searchable_text
from likewise.stores.current_collection import CurrentCollection
from likewise.stores.versions import current_version, new_version

_MAX_SEGMENTS = 8
_MOST_LARGER = 3  # how many times larger than all smaller ones together a segment may be to be merged with them
_MAX_DEAD_SHARE = 0.25  # of a segment's items, before they are left out for good


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
        self._caught_up: dict[str, list[str]] = {}

    @property
    def count(self) -> int:
        """How many items it holds."""
        alive = sum(int(np.count_nonzero(alive)) for alive in self._alive)
        return alive + len(self._new) + len(self._caught_up)

    @property
    def has_vocabulary(self) -> bool:
        """Whether the words of all items are known as such; an older version kept their hashes only."""
        return all(_on_disk(part).vocabulary is not None for part in self.before.parts)

    def clear(self) -> None:
        """Remove every item."""
        for alive in self._alive:
            alive[:] = False
        self._new = PostingsBuilder()
        self._caught_up = {}

    def remove(self, ids: Sequence[str]) -> None:
        """Remove items of the version before, or of `catch_up`; unknown ids are ignored."""
        for id in ids if self._caught_up else ():
            self._caught_up.pop(id, None)
        for part, alive in zip(self.before.parts, self._alive, strict=True):
            rows = part.postings.find_rows(ids)
            alive[rows[rows >= 0]] = False

    def add(self, ids: Sequence[str], fields: Sequence[Mapping[str, Any]]) -> None:
        """Add items, replacing those of the same ids; each id once in all calls."""
        self.remove(ids)
        self._new.add(ids, (lexical_tokens(searchable_text(of_item)) for of_item in fields))

    def catch_up(self, ids: Sequence[str], fields: Sequence[Mapping[str, Any]]) -> None:
        """Add items that the version before should have known; they may be removed and added again."""
        self.remove(ids)
        self._caught_up |= dict(zip(ids, (lexical_tokens(searchable_text(of_item)) for of_item in fields), strict=True))

    def delete_as_in(self, segments: Sequence[Segment]) -> None:
        """Delete what is deleted in the segments of the version before, as somebody has them in memory."""
        known = {part.name: part.alive for part in segments}
        for part, alive in zip(self.before.parts, self._alive, strict=True):
            if part.name in known:
                alive &= known[part.name]

    def add_words(self, ids: Sequence[str], words: Sequence[Sequence[str]]) -> None:
        """Add items, which no segment holds, by their words; each id once in all calls."""
        self._new.add(ids, words)

    def retain(self, ids: set[str]) -> None:
        """Remove the items of the version before that are none of these."""
        for part, alive in zip(self.before.parts, self._alive, strict=True):
            rows = np.flatnonzero(alive)
            alive[rows[[id not in ids for id in part.postings.gather_ids(rows)]]] = False
        self._caught_up = {id: words for id, words in self._caught_up.items() if id in ids}

    def write(self, folder: Path) -> None:
        """Write the whole index into an empty folder."""
        parts = [
            Segment(part.name, part.postings, alive)
            for part, alive in zip(self.before.parts, self._alive, strict=True)
            if alive.any()
        ]
        if self._caught_up:
            self._new.add(list(self._caught_up), self._caught_up.values())
        if len(self._new):
            built = self._new.build()
            parts.append(Segment(_name(), built, np.ones(len(built), bool)))
        merged = _choose_merge(parts)
        if merged:
            whole = merge_postings([(_on_disk(part), part.alive) for part in merged])
            names = {part.name for part in merged}
            parts = [part for part in parts if part.name not in names]
            parts.append(Segment(_name(), whole, np.ones(len(whole), bool)))
        known = {part.name for part in self.before.parts}
        for part in parts:
            if part.name in known and self._folder is not None:
                for file in _on_disk(part).files(part.name):
                    _share(self._folder / file, folder / file)
            else:
                _on_disk(part).write(folder, part.name)
        words = BM25Index(parts, self.stamp)
        BM25Index(parts, replace(self.stamp, count=words.count)).write_notes(folder)


def _name() -> str:
    return secrets.token_hex(4)


def _on_disk(part: Segment) -> Postings:
    """The postings of a segment that is on the disk, or will be, as all of a draft are."""
    return cast(Postings, part.postings)


def _choose_merge(parts: Sequence[Segment]) -> list[Segment]:
    """The segments to be written anew as one, in their order; empty where all may stay.

    The smallest are merged as long as the next is not much larger, so that an item is written anew about as often as
    the whole has grown by a factor: a small change never costs a large rewriting, nor do small segments pile up.
    """
    by_size = sorted(parts, key=lambda part: part.count)
    total, merged = 0, 0
    for number, part in enumerate(by_size, 1):
        if number > 1 and part.count > _MOST_LARGER * total and len(by_size) - number < _MAX_SEGMENTS - 1:
            break
        total, merged = total + part.count, number
    chosen = by_size[:merged] if merged > 1 else []
    names = {part.name for part in chosen}
    names |= {part.name for part in parts if len(part.alive) - part.count > _MAX_DEAD_SHARE * len(part.alive)}
    return [part for part in parts if part.name in names]


def _share(file: Path, target: Path) -> None:
    """A second name for a file that never changes, or a copy where the disk knows no such thing."""
    try:
        os.link(file, target)
    except OSError:
        shutil.copyfile(file, target)

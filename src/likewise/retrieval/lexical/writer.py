"""The words of an index in a folder, beside whatever holds its vectors.

words/current                     the name of the version in use (see stores/versions.py)
words/<version>/words.json        which content of the store it belongs to, and which postings it consists of
words/<version>/<part>.*          postings (see postings.py), and which of their items are no more

A version shares the files of postings with the one before it, so a small change writes little. Words only suggest
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
from likewise.retrieval.lexical.bm25 import Part, Words
from likewise.retrieval.lexical.postings import Postings, PostingsBuilder, merged
from likewise.retrieval.lexical.tokenizing import lexical_tokens, searchable_text
from likewise.stores.following import Following
from likewise.stores.versions import current_version, new_version

_MOST_PARTS = 8
_MOST_DEAD = 0.25  # of all items, before they are left out for good


class WordIndex:
    """Words that are on disk, and follow what other processes write there."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._following: Following[Words] = Following(self._name, self._opened)

    def current(self, *, asking: bool = False) -> Words:
        """The words in use; without an item where there are none, or where they are damaged."""
        return self._following.current(asking=asking)

    @contextmanager
    def changing(self, *, wait: bool = True) -> Iterator["Draft"]:
        """Yield a draft with what is there, which takes its place when the block ends without an error.

        Others that change the words of this index wait here, so that whoever changes the store, too, does it inside.

        Raises:
            Timeout: others are at it, and `wait` is False.
            UserError: the folder cannot be written.
        """
        with ExitStack() as version:
            with self._naming_errors():
                building = version.enter_context(new_version(self._folder, wait=wait))
                before = self.current(asking=True)
                draft = Draft(before, Path(self._name()) if before.parts else None)
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

    def _opened(self, name: str) -> Words:
        try:
            return Words.open(Path(name)) if name else Words()
        except (OSError, EOFError, ValueError, KeyError, TypeError):
            return Words()  # whoever needs them writes them again

    @contextmanager
    def _naming_errors(self) -> Iterator[None]:
        try:
            yield
        except Timeout:  # an OSError, too
            raise
        except (OSError, pl.exceptions.PolarsError) as error:
            raise cannot_write(self._folder, error) from None


class Draft:
    """Words to come: those of before, without some items and with some more.

    Attributes:
        before: what is there now.
        stamp: to be set before the draft is written; its count is found out by itself.
    """

    def __init__(self, before: Words, folder: Path | None) -> None:
        self.before = before
        self.stamp = before.stamp
        self._folder = folder
        self._alive = [part.alive.copy() for part in before.parts]
        self._new = PostingsBuilder()

    def clear(self) -> None:
        """Leave out all items."""
        for alive in self._alive:
            alive[:] = False
        self._new = PostingsBuilder()

    def remove(self, ids: Sequence[str]) -> None:
        """Leave out items that were there before; unknown ids are no mistake."""
        for part, alive in zip(self.before.parts, self._alive, strict=True):
            rows = part.postings.rows_of(ids)
            alive[rows[rows >= 0]] = False

    def add(self, ids: Sequence[str], fields: Sequence[Mapping[str, Any]]) -> None:
        """Add items, in place of those with the same ids; each id once in all calls."""
        self.remove(ids)
        self._new.add(ids, (lexical_tokens(searchable_text(of_item)) for of_item in fields))

    def write(self, folder: Path) -> None:
        """Write all of it into an empty folder."""
        parts = [
            Part(part.name, part.postings, alive)
            for part, alive in zip(self.before.parts, self._alive, strict=True)
            if alive.any()
        ]
        if len(self._new):
            built = self._new.build()
            parts.append(Part(_name(), built, np.ones(len(built), bool)))
        if _should_merge(parts):
            whole = merged([(part.postings, part.alive) for part in parts])
            parts = [Part(_name(), whole, np.ones(len(whole), bool))]
        known = {part.name for part in self.before.parts}
        for part in parts:
            if part.name in known and self._folder is not None:
                for file in Postings.files(part.name):
                    _share(self._folder / file, folder / file)
            else:
                part.postings.write(folder, part.name)
        words = Words(parts, self.stamp)
        Words(parts, replace(self.stamp, count=words.count)).write_notes(folder)


def _name() -> str:
    return secrets.token_hex(4)


def _should_merge(parts: Sequence[Part]) -> bool:
    items = sum(len(part.postings) for part in parts)
    alive = sum(int(part.alive.sum()) for part in parts)
    return len(parts) > _MOST_PARTS or items - alive > _MOST_DEAD * items


def _share(file: Path, target: Path) -> None:
    """A second name for a file that never changes, or a copy where the disk knows no such thing."""
    try:
        os.link(file, target)
    except OSError:
        shutil.copyfile(file, target)

"""How an index is made, and how it is brought up to date."""

import secrets
from collections.abc import Sequence
from contextlib import closing
from datetime import UTC, datetime
from typing import Protocol

import numpy as np

from likewise.catalog.catalog import Catalog
from likewise.retrieval.changes import Changes, Snapshot
from likewise.retrieval.items import OwnColumns
from likewise.retrieval.lexical.bm25 import Stamp
from likewise.retrieval.lexical.writer import Draft
from likewise.retrieval.location import Place
from likewise.retrieval.metadata import Description, example_titles
from likewise.retrieval.query_vector import QueryModel
from likewise.retrieval.writing import Entries, fits, in_step, now, read_words, schema_of, write_entries
from likewise.stores.base import Store

_FEW, _SMALL_PART = 1_000, 0.1  # changed items that join the store as it is; where there are more, a new one is made
_BATCH = 10_000


class ItemModel(QueryModel, Protocol):
    """A model that can encode a whole catalogue too."""

    @property
    def fields(self) -> Sequence[str]:
        """What it sees of an item: some of title, description and image."""

    def encode_items(self, catalog: Catalog) -> np.ndarray:
        """(n, dim) float32, unit norm; NaN rows where an item has nothing to encode."""


def entries_of(catalog: Catalog, vectors: np.ndarray, fields: Sequence[str]) -> Entries:
    """A catalogue's items as they are written.

    Args:
        vectors: (n, dim), with NaN rows where an item has nothing to encode.
        fields: those that the model sees.
    """
    return Snapshot.of(catalog, fields).entries(range(len(catalog)), vectors)


def build(place: Place, model: QueryModel, entries: Entries, fingerprint: str) -> None:
    """Make a new index of entries; those with a NaN row are left out and counted.

    Args:
        fingerprint: of the catalogue that they come from.

    Raises:
        UserError: the store cannot be written or reached.
    """
    with place.words.changing() as words:
        _fill(place, model, entries, fingerprint, words)
    place.remember()


def update(place: Place, model: ItemModel, catalog: Catalog) -> Changes:
    """Make an index hold what a catalogue holds; only items of which the model sees something new are encoded.

    The old content is there until the new one is: few changes are written into the store as it is, for many, or where
    columns have come or gone, a new store takes its place at the end. Updates at the same time take turns, each with
    all that the one before has written.

    Raises:
        UserError: there is no index, another model made it, or the store cannot be written.
    """
    snapshot = Snapshot.of(catalog, model.fields)
    with place.words.changing() as words, closing(place.open()) as store:
        description = Description.of(store.schema)
        description.check_model(model.dim, model.fingerprint, place.folder)
        own = OwnColumns(description.own)
        changes = Changes.between(snapshot, store, own)
        rows = changes.to_encode
        vectors = model.encode_items(catalog.select(rows)) if rows else np.empty((0, model.dim), np.float32)
        if _is_small(changes, snapshot, store, own):
            known = in_step(words.before, store, own, description.build)
            written = now(words.before.stamp.written)
            _change(store, own, snapshot, changes, vectors, written, words if known else None)
            if known:
                words.stamp = Stamp(description.build, written)
            else:
                read_words(store, own, description.build, words)
        else:
            kept = sorted([*changes.unchanged, *changes.rewritten])
            every = np.full((len(catalog), model.dim), np.nan, np.float32)
            every[rows], every[kept] = vectors, _stored(store, snapshot, kept)
            _fill(place, model, snapshot.entries(range(len(catalog)), every), catalog.fingerprint, words)
    place.remember()
    return changes


def _fill(place: Place, model: QueryModel, entries: Entries, fingerprint: str, words: Draft) -> None:
    """Write entries into a new store; it is swapped in here, its words a moment later, when the caller leaves them."""
    own = OwnColumns.beside(entries.items.columns)
    kept = entries.encoded()
    description = Description(
        model=model.fingerprint,
        dim=model.dim,
        catalog=fingerprint,
        count=len(kept),
        left_out=len(entries) - len(kept),
        created=datetime.now(UTC).isoformat(timespec="seconds"),
        build=secrets.token_hex(8),
        written=now(),
        own=own.name,
        examples=example_titles(kept.items),
    )
    words.clear()
    with place.replacing(schema_of(kept.items, own, model.dim, description.about())) as store:
        write_entries(store, own, kept, description.written, words)
    words.stamp = Stamp(description.build, description.written)


def _is_small(changes: Changes, snapshot: Snapshot, store: Store, own: OwnColumns) -> bool:
    """Whether changes can join the store as it is."""
    if changes.size > max(_FEW, _SMALL_PART * store.count()):
        return False
    same_own = OwnColumns.beside(snapshot.items.columns) == own
    return same_own and fits(schema_of(snapshot.items, own, store.schema.dim, {}), store.schema)


def _change(
    store: Store,
    own: OwnColumns,
    snapshot: Snapshot,
    changes: Changes,
    vectors: np.ndarray,
    written: int,
    words: Draft | None,
) -> None:
    """Write what has changed into the store as it is, and into its words if they know the rest."""
    encoded = snapshot.entries(changes.to_encode, vectors)
    seen = encoded.encoded()
    rewritten = snapshot.entries(changes.rewritten, _stored(store, snapshot, changes.rewritten)).encoded()
    for entries in (seen, rewritten):
        write_entries(store, own, entries, written, words)
    gone = [*changes.removed, *(set(encoded.items["id"]) - set(seen.items["id"]))]
    store.delete(gone)
    if words is not None:
        words.remove(gone)


def _stored(store: Store, snapshot: Snapshot, rows: Sequence[int]) -> np.ndarray:
    """(len(rows), dim) float32, the vectors that items have in a store; NaN where one has just been removed."""
    vectors = np.full((len(rows), store.schema.dim), np.nan, np.float32)
    for start in range(0, len(rows), _BATCH):
        ids = snapshot.items["id"][list(rows[start : start + _BATCH])].to_list()
        for place, record in enumerate(store.fetch(ids, vectors=True), start):
            if record is not None:
                vectors[place] = record.vector
    return vectors

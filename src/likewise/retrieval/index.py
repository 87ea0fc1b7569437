"""A searchable catalogue: a store of its items, their words, and the model that turns queries into vectors."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, Self, Unpack, cast

import numpy as np
import polars as pl
from PIL import Image

from likewise.catalog.catalog import Catalog
from likewise.catalog.filters import Condition, parse_filter
from likewise.catalog.images.decode import open_picture
from likewise.catalog.images.picture import Picture
from likewise.config import AudioSettings, ImageSettings
from likewise.errors import UserError
from likewise.retrieval import ingest
from likewise.retrieval.column_values import IndexSummary, ValueCounts, count_values, summarize
from likewise.retrieval.filter_columns import FilterColumn, KnownFilterColumns
from likewise.retrieval.heat_map import HeatMap, measure_heat_map
from likewise.retrieval.index_items import CatalogSnapshot, IndexItems, ItemEmbeddings, ItemModel
from likewise.retrieval.ingest import Changes
from likewise.retrieval.items import BookkeepingColumns, Correction, Hits, Item, fetch_item
from likewise.retrieval.lexical.bm25 import BM25Index
from likewise.retrieval.lexical.synonyms import Synonyms, SynonymsFile
from likewise.retrieval.location import IndexLocation
from likewise.retrieval.metadata import IndexMetadata, sample_evenly
from likewise.retrieval.occluding import check_occluding
from likewise.retrieval.query import OneOrMany, Query, QueryParameters, build_query, parse_duplicate_threshold
from likewise.retrieval.query_filters import FilterSuggestion, may_suggest_filter, suggest_filter
from likewise.retrieval.query_threshold import QueryThresholds
from likewise.retrieval.query_vector import QueryModel, query_vector
from likewise.retrieval.recommend import recommend
from likewise.retrieval.sampled_items import SampledItems, read_titles, sample_items
from likewise.retrieval.search import answer
from likewise.retrieval.spelling import correct_query
from likewise.retrieval.store_handle import StoreHandle
from likewise.retrieval.truncated import TruncatedModel
from likewise.retrieval.words import IndexWords
from likewise.retrieval.writing import ItemWriter, WrittenItems
from likewise.retrieval.written_files import FileRules, UploadedPictures, UploadedRecordings
from likewise.stores.base import Store
from likewise.stores.conditions import normal_form
from likewise.stores.schema import Column, Schema
from likewise.stores.uri import Credentials

SHOWN_SIDE = 1_024  # pixels of a picture that is drawn with its heat map
_NOBODY = Credentials()
_NO_PICTURES: UploadedPictures = {}
_NO_RECORDINGS: UploadedRecordings = {}


class Index:
    """A searchable index: finds items by words, by a picture, by both, or by similarity to another item.

    Safe to use from several threads. If another process rebuilds or updates the index, this one answers from the new
    content a moment later.

    Example:
        >>> import likewise as lw
        >>> model = lw.Model.load("runs/products")
        >>> catalog = lw.Catalog.read("products.csv")
        >>> index = lw.Index.build(model, catalog)  # in memory; give a run folder to keep it
        >>> len(index)
        30
        >>> hits = index.search("red shirt", image="photo.jpg", where="price < 50", k=3)
        >>> len(hits), all(hit.fields["price"] < 50 for hit in hits)
        (3, True)
        >>> index.search(like="sku-1003", k=1)[0].id != "sku-1003"
        True
        >>> print(index.update(catalog.where("stock > 0")))
        0 new, 0 changed, 0 with other metadata, 6 removed, 24 unchanged
    """

    def __init__(self, model: QueryModel, location: IndexLocation) -> None:
        """Open the index at a location; `Index.open` is for a run."""
        self._fingerprint = model.fingerprint
        self._location = location
        self._handle = StoreHandle(location.open())
        self._known_metadata: tuple[Schema, IndexMetadata] | None = None
        self._words = IndexWords(location.lexical)
        self._synonyms = SynonymsFile(location.folder)
        self._filter_columns = KnownFilterColumns()
        self._query_thresholds = QueryThresholds(location.folder)
        try:
            dim = self.metadata.dim
            self._model = TruncatedModel(model, dim) if dim < model.dim else model
            self.metadata.check_model(self._model.dim, self._fingerprint, location.folder)
        except BaseException:
            self.close()
            raise

    def __len__(self) -> int:
        with self._handle.use() as store:
            return store.count()

    @classmethod
    def build(
        cls,
        model: ItemModel,
        catalog: Catalog,
        run: str | Path | None = None,
        *,
        dim: int | None = None,
        store: str | None = None,
        credentials: Credentials = _NOBODY,
        target_recall: float | None = None,
        memory: str | int | None = None,
        kind: str | None = None,
        field_vectors: bool = True,
    ) -> "Index":
        """Encode a catalogue and make it searchable.

        Args:
            run: the run folder that keeps the index; None: the index is deleted with this object.
            dim: dimensions to keep, the first ones of the model's; None: all.
            store: URI of the store; relative paths in it start from the run folder. None: the store that the run used
                last, or else `faiss:index`.
            credentials: for a server; they take precedence over those in the URI.
            target_recall, memory, kind: targets of the faiss store: a recall between 0 and 1, bytes such as "2GB", and
                one of `stores.search_target.KINDS` or "auto". They become part of the URI.
            field_vectors: also keep each item's field vectors (half precision), which explanations and field-weighted
                queries need.

        Raises:
            UserError: the store cannot be written or reached, the model has fewer dimensions, or no index meets the
                targets.
        """
        if dim is not None:
            model = TruncatedModel(model, dim)
        aims = {"target_recall": target_recall, "memory": memory, "kind": kind}
        given = {name: str(value) for name, value in aims.items() if value is not None}
        location = IndexLocation.for_build(run, store, credentials, given)
        location.check_writable(model.dim)
        embeddings = ItemEmbeddings.encode(model, catalog, field_vectors=field_vectors)
        items = IndexItems(CatalogSnapshot.take(catalog, model), embeddings)
        ingest.build(location, model, items, catalog.fingerprint)
        return cls(model, location)

    @classmethod
    def from_vectors(
        cls,
        model: QueryModel,
        vectors: np.ndarray,
        items: pl.DataFrame,
        *,
        pictures: Sequence[Picture | None] | None = None,
        run: str | Path | None = None,
        store: str | None = None,
        credentials: Credentials = _NOBODY,
        fingerprint: str = "",
    ) -> "Index":
        """Make encoded items searchable.

        Args:
            vectors: (n, model.dim), one for each row of `items`. Items with a NaN row are left out of the index.
            items: "id" (unique strings) and any other columns, which become the fields of a hit.
            pictures: one per row, None for an item without a picture.
            run, store, credentials: see `build`.
            fingerprint: of the catalogue that the items come from.

        Raises:
            UserError: the shape of the vectors or the number of pictures is wrong, an id is missing or comes twice, or
                the store cannot be written.
        """
        encoded = IndexItems.from_vectors(vectors, items, pictures, model.dim)
        location = IndexLocation.for_build(run, store, credentials)
        ingest.build(location, model, encoded, fingerprint)
        return cls(model, location)

    @classmethod
    def open(
        cls, run: str | Path, model: QueryModel, *, store: str | None = None, credentials: Credentials = _NOBODY
    ) -> "Index":
        """Open the index of a run folder.

        Args:
            store: URI of a store to use instead of the one that the run remembers.

        Raises:
            UserError: there is no index, it is damaged or cannot be reached, or another model made it.
        """
        return cls(model, IndexLocation.for_run(run, store, credentials))

    @property
    def model(self) -> QueryModel:
        """The query encoder, truncated to the dimensions that the index keeps."""
        return self._model

    @property
    def recording_fields(self) -> tuple[str, ...]:
        """The columns of recordings that the model encodes."""
        return tuple(getattr(self._model, "recording_fields", ()))

    @property
    def columns(self) -> tuple[Column, ...]:
        """The columns that filters, facets, groups and boosts may name."""
        with self._handle.use() as store:
            return self._bookkeeping.user_schema(store.schema).columns

    @property
    def metadata(self) -> IndexMetadata:
        """How the index was built."""
        with self._handle.use() as store:
            schema = store.schema
        known = self._known_metadata
        if known is None or known[0] is not schema:
            self._known_metadata = known = (schema, IndexMetadata.from_schema(schema))
        return known[1]

    def close(self) -> None:
        """Close files and connections; closing twice is allowed."""
        self._words.close()
        self._handle.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def update(self, catalog: Catalog, *, prune: bool = False) -> Changes:
        """Bring the index up to date with a catalogue; only new items and those whose model input changed are encoded.

        Searches go on meanwhile, in every process that has the index open. Items written by `upsert` stay even if the
        catalogue lacks them; those that it has belong to it from then on.

        Args:
            prune: also remove items written by `upsert` that the catalogue lacks.

        Raises:
            UserError: the store cannot be written, or another model has rebuilt it.
        """
        changes = ingest.update(self._location, cast(ItemModel, self._model), catalog, prune=prune)
        self._handle.replace(self._location.open())  # the old handle would follow a new store only a moment later
        self._words.note_update()
        self._filter_columns.forget()
        return changes

    def upsert(
        self,
        rows: Sequence[Mapping[str, Any]],
        *,
        pictures: UploadedPictures = _NO_PICTURES,
        recordings: UploadedRecordings = _NO_RECORDINGS,
        images: ImageSettings = ImageSettings(),  # noqa: B008 - immutable
        audio: AudioSettings = AudioSettings(),  # noqa: B008
        allow_urls: bool = False,
        cache: Path | None = None,
    ) -> WrittenItems:
        """Insert items, or replace those that have the same ids: all of them or none.

        When this returns, they are durable and searchable. An item is encoded only if the model's input has changed.
        Cells are cleaned like those of a catalogue file. Safe to call from several threads and processes at once.

        Args:
            rows: "id" and any columns of the index; missing columns are blank.
            pictures: bytes of uploaded pictures by id; they are kept in the run folder.
            recordings: bytes of uploaded recordings by id and field, such as {"new-1": {"spoken": [data]}}.
            images: limits on pictures. Local files and private hosts are always refused.
            audio: limits on recordings, likewise.
            allow_urls: fetch the http(s) addresses in "image" and in columns of recordings, instead of refusing them.
            cache: the folder of downloads; None: the user's cache folder.

        Raises:
            UserError: an id is missing or comes twice, a column is unknown, a cell has the wrong type, or an item has
                nothing to encode. Nothing has been written.
            PictureError, AudioError: a picture or a recording cannot be used. Nothing has been written.

        Example:
            >>> import likewise as lw
            >>> model = lw.Model.load("runs/products")
            >>> index = lw.Index.build(model, lw.Catalog.read("products.csv"))
            >>> print(index.upsert([{"id": "new-1", "title": "purple circle hat", "price": 12.5}]))
            1 new, 0 changed, 0 with other metadata, 0 unchanged
            >>> index.search("purple circle hat", hybrid=True, k=1)[0].id
            'new-1'
            >>> index.patch("new-1", {"price": 10}).rewritten
            ('new-1',)
            >>> index.delete(["new-1", "unknown"])
            1
        """
        return self._writer.upsert(rows, pictures, recordings, FileRules(images, audio, allow_urls, cache))

    def patch(
        self,
        id: str,
        changes: Mapping[str, Any],
        *,
        pictures: Sequence[bytes] | None = None,
        recordings: Mapping[str, Sequence[bytes]] = _NO_PICTURES,
        images: ImageSettings = ImageSettings(),  # noqa: B008 - immutable
        audio: AudioSettings = AudioSettings(),  # noqa: B008
        allow_urls: bool = False,
        cache: Path | None = None,
    ) -> WrittenItems:
        """Update some columns of an item; it is encoded again only if the model's input changes.

        Args:
            changes: column → value; None blanks a cell.
            pictures: bytes of the pictures that replace the item's; empty: remove them all.
            recordings: bytes of recordings by field, which replace those of that field.
            images, audio, allow_urls, cache: see `upsert`.

        Raises:
            UserError: there is no such item, or as in `upsert`.
            PictureError, AudioError: a picture or a recording cannot be used.
        """
        return self._writer.patch(id, changes, pictures, recordings, FileRules(images, audio, allow_urls, cache))

    def delete(self, ids: Sequence[str]) -> int:
        """Remove items by id, ignoring unknown ids; returns how many were removed.

        Raises:
            UserError: the store cannot be written, or another model has rebuilt it.
        """
        return self._writer.delete(ids)

    def matches(self, catalog: Catalog) -> bool:
        """Whether the index holds the items of this catalogue: same ids, texts and pictures."""
        with self._handle.use() as store:
            return ingest.holds_catalog(store, cast(ItemModel, self._model), catalog)

    def search(self, text: OneOrMany[str] | None = None, **parameters: Unpack[QueryParameters]) -> Hits:
        """Find the items that best match words, a picture, other items, or a combination of these.

        Args:
            text: words, words with a weight such as ("in blue", 0.5), or a list of these; blank ones are ignored.
            parameters: other parts of the query, such as `image`, `like`, `where`, `hybrid` and `k`; see
                `likewise.retrieval.query.QueryParameters`.

        Returns:
            Hits by descending score, or with `diversity` by maximal marginal relevance.

        Raises:
            UserError: there is nothing to search for, a parameter is invalid, or a column is unknown.
            PictureError: a picture cannot be read.
        """
        return self.answer(build_query(text, **parameters))

    def answer(self, query: Query, model: QueryModel | None = None) -> Hits:
        """Answer a parsed query; see `search`.

        Args:
            model: the encoder of the query's words and pictures; None: the model of the index. A server passes vectors
                that it has encoded in a batch, after `correct_spelling`.
        """
        self._check_model()
        corrections: tuple[Correction, ...] = ()
        if model is None:
            query, corrections = self.correct_spelling(query)
        with self._handle.use() as store:
            words = partial(self._current_words, store)
            query = self._add_synonyms(query)
            thresholds = self._query_thresholds.use(self.metadata) if query.auto_threshold else None
            hits = answer(query, model or self._model, store, self._bookkeeping, words, self._model, thresholds)
        hits.did_you_mean = corrections
        return hits

    def explain_picture(
        self, id: str, text: OneOrMany[str] | None = None, **parameters: Unpack[QueryParameters]
    ) -> HeatMap:
        """Compute a heat map: what each region of an item's picture adds to its cosine with a query.

        The item is treated as if its first picture were its only one. Its other fields are taken into account if the
        index keeps field vectors.

        Args:
            text, parameters: the query, as in `search`; only its words, pictures, recordings and items matter.

        Raises:
            UnknownItemError: there is no such item.
            UserError: the item has no picture, or the model's picture encoder keeps no patches.
            PictureError: the picture cannot be read any more.
        """
        picture = self.item(id).picture
        if picture is None:
            raise UserError(f"the item {id!r} has no picture")
        opened = open_picture(picture.path, minimum_side=SHOWN_SIDE, key=picture.key)
        return self.measure_heat_map(id, opened, build_query(text, **parameters))

    def measure_heat_map(self, id: str, picture: Image.Image, query: Query, model: QueryModel | None = None) -> HeatMap:
        """The heat map of a picture of an item, in RGB; see `explain_picture`.

        Args:
            model: the encoder of the query's words and pictures; see `answer`.
        """
        self._check_model()
        occluding = check_occluding(self._model)
        with self._handle.use() as store:
            vector = query_vector(query, model or self._model, store)[0]
            record = fetch_item(store, id, field_vectors=bool(store.schema.field_vectors))
        return measure_heat_map(occluding, picture, vector, record.field_vectors or {})

    def correct_spelling(self, query: Query) -> tuple[Query, tuple[Correction, ...]]:
        """Replace misspelt words of a hybrid query by words of the catalogue; returns it with the corrected texts.

        Other queries are returned unchanged; see `likewise.retrieval.spelling` for what is corrected.
        """
        if query.hybrid is None:
            return query, ()
        with self._handle.use() as store:
            return correct_query(self._add_synonyms(query), partial(self._current_words, store), self._model)

    @property
    def synonyms(self) -> Synonyms:
        """The synonyms that hybrid searches use by default.

        Raises:
            UserError: their file is damaged.
        """
        return self._synonyms.current()

    def write_synonyms(self, synonyms: Synonyms) -> None:
        """Replace the synonyms in the run folder; every process that has the index open uses them.

        Raises:
            UserError: the file cannot be written.
        """
        self._synonyms.write(synonyms)

    def similar(self, id: str, k: int = 10, *, where: str | Condition | None = None) -> Hits:
        """Find the items most similar to another one, which is excluded.

        Raises:
            UnknownItemError: there is no such item in the index.
        """
        return self.search(like=id, k=k, where=where)

    def recommendations(
        self, k: int = 10, *, where: str | Condition | None = None, hide_duplicates: bool | float = False
    ) -> pl.DataFrame:
        """The k most similar items of every item, as a table with the columns id, rank, similar_id and score.

        Args:
            where: a filter for the similar items; the items that get recommendations need not meet it.
            hide_duplicates: leave out near-duplicates of the item and of earlier recommendations; see `search`.

        Raises:
            UserError: a k below 1, or a filter that does not fit the columns.
        """
        condition = parse_filter(where) if isinstance(where, str) else where
        self._check_model()
        with self._handle.use() as store:
            if condition is not None:
                normal_form(condition, self._bookkeeping.user_schema(store.schema))
            return recommend(store, k, condition, parse_duplicate_threshold(hide_duplicates))

    def item(self, id: str) -> Item:
        """One item by its id.

        Raises:
            UnknownItemError: there is no such item in the index.
        """
        with self._handle.use() as store:
            return self._bookkeeping.build_item(fetch_item(store, id))

    def field_vectors(self, id: str) -> dict[str, np.ndarray]:
        """The field vectors of an item: (dim,) float32 for each field that it has.

        Raises:
            UserError: there is no such item, or the index was built without field vectors.
        """
        with self._handle.use() as store:
            if not store.schema.field_vectors:
                raise UserError("this index keeps no field vectors: build it again without --no-field-vectors")
            return dict(fetch_item(store, id, field_vectors=True).field_vectors or {})

    def count_values(self, columns: Sequence[str], *, where: str | Condition | None = None) -> ValueCounts:
        """Count the items with each value of some columns, over the whole index or the items that meet a filter.

        The first 50,000 items are counted; `ValueCounts.items` says how many there are.

        Raises:
            UserError: a column is unknown or cannot be counted, or the filter does not fit the columns.
        """
        condition = parse_filter(where) if isinstance(where, str) else where
        with self._handle.use() as store:
            return count_values(store, self._bookkeeping.user_schema(store.schema), columns, condition)

    def summarize(self) -> IndexSummary:
        """Summarise the columns: kinds, ranges and frequent values of the first 20,000 items."""
        with self._handle.use() as store:
            return summarize(store, self._bookkeeping.user_schema(store.schema))

    def suggest_filter(self, text: str) -> FilterSuggestion | None:
        """Suggest a filter for a query such as "red shoes under 50"; None if its words imply none.

        Nothing is applied: to follow the suggestion, search with its `filter` and `text`. The columns are summarised at
        the first call, and again every few minutes.

        Example:
            >>> import likewise as lw
            >>> index = lw.Index.open("runs/products", lw.Model.load("runs/products"))
            >>> suggestion = index.suggest_filter("red shirt under 50")
            >>> suggestion.filter, suggestion.text
            ('price < 50', 'red shirt')
            >>> len(index.search(suggestion.text, where=suggestion.filter, k=30))
            12
        """
        if not self.may_suggest_filter(text):
            return None
        return suggest_filter(text, self.read_filter_columns())

    @property
    def knows_filter_columns(self) -> bool:
        """Whether `suggest_filter` answers at once, without summarizing the columns first."""
        return self._filter_columns.hold(self.metadata.build)

    def read_filter_columns(self) -> tuple[FilterColumn, ...]:
        """What `suggest_filter` knows of the columns; see `KnownFilterColumns.read`."""
        return self._filter_columns.read(self.metadata.build, self.summarize)

    def may_suggest_filter(self, text: str) -> bool:
        """Whether `suggest_filter` might find anything; a quick test."""
        return may_suggest_filter(text, (column.name for column in self.columns))

    def example_titles(self, count: int = 6, longest: int = 40) -> list[str]:
        """Up to `count` distinct titles, spread over the catalogue, none longer than `longest` characters."""
        return sample_evenly([title for title in self.metadata.examples if len(title) <= longest], count)

    def sample(self, most: int) -> SampledItems:
        """At most `most` items, spread over the index, for another model to encode in a comparison."""
        with self._handle.use() as store:
            return sample_items(store, self._bookkeeping, most)

    def titles(self, most: int) -> list[str]:
        """At most `most` of the items' titles, in any order."""
        with self._handle.use() as store:
            return read_titles(store, most)

    @property
    def _bookkeeping(self) -> BookkeepingColumns:
        return BookkeepingColumns(self.metadata.bookkeeping)

    def _check_model(self) -> None:
        """Check that the index, which may have been rebuilt, is still of our model."""
        again = "start again, with that model"
        self.metadata.check_model(self._model.dim, self._fingerprint, self._location.folder, again)

    @property
    def _writer(self) -> ItemWriter:
        model = cast(ItemModel, self._model)
        return ItemWriter(self._location, model, self._fingerprint, self._handle, self._words)

    def _add_synonyms(self, query: Query) -> Query:
        """The query with the synonyms of the index, if it is a hybrid one that brings none."""
        if query.hybrid is None or query.hybrid.synonyms is not None:
            return query
        return replace(query, hybrid=replace(query.hybrid, synonyms=self.synonyms))

    def _current_words(self, store: Store) -> BM25Index:
        return self._words.current(store, self._bookkeeping, self.metadata.build)

"""What the HTTP API does, without HTTP: queries and texts are encoded in batches, and searched in threads.

A request passes three places: decoding of its pictures (two at once, as a large one takes memory), a lane that encodes
it together with whatever else is waiting, and the index. A request that names nothing to encode, such as one for items
like another, goes to the index at once.
"""

import asyncio
import hashlib
import logging
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from time import monotonic, perf_counter
from typing import Any, Protocol, TypeVar, cast

import numpy as np
from PIL import Image

from likewise.catalog.audio.decode import Sound
from likewise.catalog.audio.recording import Recording
from likewise.catalog.images.decode import open_picture
from likewise.catalog.images.picture import Picture
from likewise.retrieval.heat_map import HeatMap
from likewise.retrieval.index import Index
from likewise.retrieval.items import Correction, Hits, Item
from likewise.retrieval.query import Query
from likewise.retrieval.query_filters import FilterSuggestion
from likewise.serving.comparison import Comparison
from likewise.serving.encoded_query import EncodedQuery
from likewise.serving.lanes import DeadlinePassed, EncodeLane, Overloaded
from likewise.serving.metrics import Metrics
from likewise.serving.query_cache import QueryCache
from likewise.serving.query_pictures import (
    PictureSource,
    decode_query_picture,
    decode_query_recording,
    fetch_picture,
)
from likewise.serving.recordings import choose_recording
from likewise.serving.suggestions import Suggestions

T = TypeVar("T")

log = logging.getLogger(__name__)

_TEXTS_PER_BATCH, _MOST_TEXTS = 64, 1_024
_PICTURES_PER_BATCH, _MOST_PICTURES = 8, 64
_PICTURES_KEPT = 256  # vectors of pictures that were sent last: words beside one are typed letter by letter
_PROSE = ("title", "description")
_SEARCHES_AT_ONCE = 4
_WRITES_AT_ONCE, _MOST_WRITES = 2, 128
_DOWNLOADS_AT_ONCE = 8  # in threads of their own, as a slow host would keep others' pictures from being decoded
_SHARE_FOR_DOWNLOADS = 0.8  # of the seconds of a request


class TextModel(Protocol):
    """The part of a model that encodes what is no query."""

    @property
    def fields(self) -> Sequence[str]:
        """The item fields that it encodes."""

    def encode_field_texts(self, field: str, texts: Sequence[str]) -> np.ndarray:
        """(n, dim) float32, unit norm: each text is an item that has only this field."""


@dataclass(frozen=True)
class Limits:
    """What one request may ask for.

    Attributes:
        seconds: until it is given up.
        image_bytes: of one picture.
        image_pixels: width times height of one picture.
        audio_bytes: of one recording.
        allow_urls: pictures may be named by http(s) URLs.
    """

    seconds: float = 10.0
    image_bytes: int = 20_000_000
    image_pixels: int = 64_000_000
    audio_bytes: int = 20_000_000
    allow_urls: bool = False


class SearchService:
    """Answers queries from one index, many at a time.

    Args:
        index: an open index.
        model: encodes texts that are not queries; None: only queries can be encoded.
        encode_queries: n texts → (n, dim), in place of the model's own; only ever called by one thread.
        thumbnails: item → the file of a small picture.
        previews: recording → the file of its beginning.
        comparison: with the untrained model; None: nothing is compared.
    """

    def __init__(
        self,
        index: Index,
        model: TextModel | None = None,
        *,
        limits: Limits = Limits(),
        metrics: Metrics | None = None,
        encode_queries: Callable[[list[str]], np.ndarray] | None = None,
        thumbnails: Callable[[Item], Path | None] = lambda item: None,
        previews: Callable[[Recording], Path | None] = lambda recording: None,
        comparison: Comparison | None = None,
    ) -> None:
        self.index = index
        self.limits = limits
        self.metrics = metrics
        self.thumbnails = thumbnails
        self.previews = previews
        self.comparison = comparison
        self.suggestions = Suggestions(index)
        self._model = model
        self._dim = index.model.dim
        self._fingerprint = index.model.fingerprint  # a model looks at all its weights each time
        self._cache = QueryCache.for_model(model or index.model)
        self._seen_pictures = QueryCache(self._fingerprint, most_entries=_PICTURES_KEPT)
        self._texts: EncodeLane[str] = EncodeLane(
            encode_queries or index.model.encode_queries,
            name="texts",
            largest_batch=_TEXTS_PER_BATCH,
            most_waiting=_MOST_TEXTS,
            size=len,
            on_batch=None if metrics is None else partial(metrics.observe_batch, "texts"),
        )
        self._pictures: EncodeLane[Image.Image] = EncodeLane(
            index.model.encode_images,
            name="pictures",
            largest_batch=_PICTURES_PER_BATCH,
            most_waiting=_MOST_PICTURES,
            on_batch=None if metrics is None else partial(metrics.observe_batch, "pictures"),
        )
        self._sounds: EncodeLane[Sound] = EncodeLane(
            lambda sounds: index.model.encode_audio(sounds),
            name="recordings",
            largest_batch=_PICTURES_PER_BATCH,
            most_waiting=_MOST_PICTURES,
            size=lambda sound: len(sound.samples),
            on_batch=None if metrics is None else partial(metrics.observe_batch, "recordings"),
        )
        self._downloaders = ThreadPoolExecutor(_DOWNLOADS_AT_ONCE, thread_name_prefix="download")
        self._decoders = ThreadPoolExecutor(2, thread_name_prefix="decode")
        self._writers = ThreadPoolExecutor(_WRITES_AT_ONCE, thread_name_prefix="write")
        self._writes = 0  # waiting and under way
        self._searchers = ThreadPoolExecutor(_SEARCHES_AT_ONCE, thread_name_prefix="search")
        self._column_readers = ThreadPoolExecutor(1, thread_name_prefix="columns")  # which takes seconds
        self._reading_columns: asyncio.Future[Any] | None = None
        if metrics is not None:
            metrics.watch(index, self.lanes)

    def close(self) -> None:
        """Stop encoding and searching."""
        if self.comparison is not None:
            self.comparison.close()
        self._texts.close()
        self._pictures.close()
        self._sounds.close()
        self._writers.shutdown()
        self._downloaders.shutdown(wait=False, cancel_futures=True)  # a slow host would hold the end up
        self._decoders.shutdown(cancel_futures=True)
        self._searchers.shutdown(cancel_futures=True)
        self._column_readers.shutdown(cancel_futures=True)

    @property
    def lanes(self) -> dict[str, EncodeLane[Any]]:
        """The lanes in which texts, pictures and recordings are encoded, by name."""
        return {"texts": self._texts, "pictures": self._pictures, "recordings": self._sounds}

    async def search(self, query: Query) -> Hits:
        """Answer a query.

        Args:
            query: its pictures are `PictureSource`s, and its recordings bytes.

        Returns:
            Hits; `took` has the seconds of "encode", "search", "fetch" and "total".

        Raises:
            UserError, PictureError, AudioError: see `Index.search`.
            Overloaded: too much is waiting.
            DeadlinePassed: there was no time left to encode it.
        """
        began = perf_counter()
        deadline = monotonic() + self.limits.seconds
        corrections: tuple[Correction, ...] = ()
        if query.hybrid is not None and query.hybrid.correct:
            query, corrections = await self.run(self.index.correct_spelling, query)
        query, encoded = await self._encode(query, deadline)
        encoded_at = perf_counter()
        hits = await self.run(self.index.answer, query, encoded)
        hits.did_you_mean = corrections
        hits.took |= {"encode": encoded_at - began, "total": perf_counter() - began}
        self._measure(query, hits)
        return hits

    async def measure_heat_map(self, id: str, query: Query, picture: str | None = None) -> HeatMap | None:
        """Measure the heat map of an item's thumbnail for a query; see `Index.explain_picture`.

        Args:
            query: as of `search`.
            picture: the key that the item's picture must have; None: any.

        Returns:
            None where the item has no picture, or another one.

        Raises:
            UserError: as of `search`; or there is no such item, or the model gives no heat maps.
        """
        deadline = monotonic() + self.limits.seconds
        found = await self.run(self.find_thumbnail, id)
        if found is None or picture not in (None, found[0].key):
            return None
        query, encoded = await self._encode(query, deadline)
        shown = await self._decode(deadline, open_picture, found[1])
        return await self.run(self.index.measure_heat_map, id, shown, query, encoded)

    async def _encode(self, query: Query, deadline: float) -> tuple[Query, EncodedQuery]:
        """Encode a query's texts, pictures and recordings; in the query that comes back, the latter are stand-ins."""
        texts = [term.value for term in (*query.texts, *query.minus)]
        sources = [cast(PictureSource, term.value) for term in query.images]
        if texts and sources:
            vectors, images = await asyncio.gather(
                self.encode_queries(texts, deadline), self.encode_pictures(sources, deadline)
            )
        else:  # without tasks, which cost as much as a short search
            vectors = await self.encode_queries(texts, deadline)
            images = await self.encode_pictures(sources, deadline)
        sounds = await self.encode_recordings([cast(bytes, term.value) for term in query.sounds], deadline)
        encoded = EncodedQuery(self._dim, self._fingerprint, dict(zip(texts, vectors, strict=True)), images, sounds)
        if query.images:
            query = replace(query, images=tuple(replace(term, value=_NO_PICTURE) for term in query.images))
        if query.sounds:
            query = replace(query, sounds=tuple(replace(term, value=_NO_SOUND) for term in query.sounds))
        return query, encoded

    async def suggest_filter(self, text: str, *, wait: bool) -> FilterSuggestion | None:
        """The filter that the words of a query suggest, if any; see `Index.suggest_filter`.

        The columns are read in a separate thread, so searches never wait for them.

        Args:
            wait: until the columns have been read; without it, there is no suggestion meanwhile.
        """
        if not self.index.may_suggest_filter(text):
            return None
        if not self.index.knows_filter_columns:
            reading = self._read_columns()
            if not wait:
                return None
            await asyncio.shield(reading)
        return await self.run(self.index.suggest_filter, text)

    def _read_columns(self) -> "asyncio.Future[Any]":
        """The reading of the columns that is under way, or else a new one."""
        if self._reading_columns is None or self._reading_columns.done():
            loop = asyncio.get_running_loop()
            self._reading_columns = loop.run_in_executor(self._column_readers, self.index.read_filter_columns)
            self._reading_columns.add_done_callback(_note_failure)
        return self._reading_columns

    async def read_columns(self, read: Callable[[], T]) -> T:
        """Run a call that walks through the items, in the separate thread for that; it ends even if nobody waits."""
        return await asyncio.shield(asyncio.get_running_loop().run_in_executor(self._column_readers, read))

    async def encode_queries(self, texts: Sequence[str], deadline: float | None = None) -> list[np.ndarray]:
        """(dim,) float32 for each query text."""
        known = dict(zip(texts, self._cache.find(texts), strict=True))
        missing = [text for text, vector in known.items() if vector is None]
        if self.metrics is not None:
            self.metrics.count_cached(len(known) - len(missing), len(missing))
        if missing:
            with self._counting_refusals():
                vectors = await self._texts.encode(missing, deadline)
            self._cache.remember(missing, vectors)
            known |= dict(zip(missing, vectors, strict=True))
        return [cast(np.ndarray, known[text]) for text in texts]

    async def encode_pictures(self, sources: Sequence[PictureSource], deadline: float | None = None) -> np.ndarray:
        """(pictures, dim) float32.

        Raises:
            PictureError: one cannot be used.
        """
        if not sources:
            return np.empty((0, self._dim), np.float32)
        keys = [None if source.data is None else hashlib.sha256(source.data).hexdigest() for source in sources]
        known = dict(zip(keys, self._seen_pictures.find([key or "" for key in keys]), strict=True))
        vectors = [known[key] if key is not None else None for key in keys]
        missing = [place for place, vector in enumerate(vectors) if vector is None]
        if missing:
            pictures = await asyncio.gather(*(self._open_picture(sources[place], deadline) for place in missing))
            with self._counting_refusals():
                encoded = await self._pictures.encode(pictures, deadline)
            for place, vector in zip(missing, encoded, strict=True):
                vectors[place] = vector
                if (key := keys[place]) is not None:
                    self._seen_pictures.remember([key], vector[None])
        return np.stack([cast(np.ndarray, vector) for vector in vectors])

    async def decode_pictures(self, sources: Sequence[PictureSource]) -> list[Image.Image]:
        """Decode pictures for another model than that of the index.

        Raises:
            PictureError: one cannot be used.
        """
        deadline = monotonic() + self.limits.seconds
        return await asyncio.gather(*(self._open_picture(source, deadline) for source in sources))

    async def encode_recordings(self, recordings: Sequence[bytes], deadline: float | None = None) -> np.ndarray:
        """(recordings, dim) float32.

        Raises:
            AudioError: one cannot be used.
            UserError: the model has no field for recordings.
        """
        if not recordings:
            return np.empty((0, self._dim), np.float32)
        sounds = await asyncio.gather(*(self._decode(deadline, decode_query_recording, data) for data in recordings))
        with self._counting_refusals():
            return await self._sounds.encode(sounds, deadline)

    async def encode_titles(self, texts: Sequence[str]) -> np.ndarray:
        """(n, model dim) float32: items that have only a text."""
        model = self._model
        assert model is not None  # noqa: S101 - `towers` names no item tower without one
        field = next(field for field in model.fields if field in _PROSE)
        return await self.run(model.encode_field_texts, field, texts)

    @property
    def towers(self) -> list[str]:
        """The names under which texts can be encoded: as a query, or as an item."""
        item = self._model is not None and any(field in _PROSE for field in self._model.fields)
        return ["likewise/query", *(["likewise/item"] if item else [])]

    async def run(self, function: Callable[..., T], *arguments: Any) -> T:
        """Run a call of the index in one of the threads for searches."""
        return await asyncio.get_running_loop().run_in_executor(self._searchers, lambda: function(*arguments))

    async def write(self, function: Callable[..., T], *arguments: Any, **options: Any) -> T:
        """Run a call that changes the index; it is finished even if the client leaves.

        Raises:
            Overloaded: too many others wait already.
        """
        if self._writes >= _MOST_WRITES:
            raise Overloaded(1.0)
        self._writes += 1
        began = perf_counter()
        loop = asyncio.get_running_loop()
        writing = loop.run_in_executor(self._writers, lambda: function(*arguments, **options))
        writing.add_done_callback(self._end_write)
        result = await asyncio.shield(writing)
        if self.metrics is not None:
            self.metrics.observe("write", "total", perf_counter() - began)
        return result

    def _end_write(self, writing: "asyncio.Future[Any]") -> None:
        self._writes -= 1
        if not writing.cancelled():
            writing.exception()  # or else it is reported as never retrieved, where the client has left

    async def check(self) -> None:
        """See that a query can be encoded and searched; what the index or the model raises is passed on."""
        deadline = monotonic() + self.limits.seconds
        await self._texts.encode(["ready?"], deadline)
        await self.run(lambda: (len(self.index), self.index.columns))

    async def _decode(self, deadline: float | None, decode: Callable[..., T], *arguments: Any) -> T:
        """Run a decoder in one of the threads for it, unless the deadline has passed when its turn comes."""

        def decode_in_time() -> T:
            if deadline is not None and monotonic() >= deadline:
                raise DeadlinePassed("the deadline had passed before the query was decoded")
            return decode(*arguments)

        return await asyncio.get_running_loop().run_in_executor(self._decoders, decode_in_time)

    async def open_query_picture(self, source: PictureSource) -> Image.Image:
        """Decode the picture of a query, which is downloaded first where a URL names it.

        Raises:
            PictureError: it cannot be used.
            DeadlinePassed: there was no time left to decode it.
        """
        return await self._open_picture(source, monotonic() + self.limits.seconds)

    async def _open_picture(self, source: PictureSource, deadline: float | None) -> Image.Image:
        loop = asyncio.get_running_loop()
        limits = self.limits
        data = source.data
        if data is None:
            seconds = limits.seconds * _SHARE_FOR_DOWNLOADS
            data = await loop.run_in_executor(
                self._downloaders, fetch_picture, str(source.url), limits.image_bytes, seconds
            )
        return await self._decode(deadline, decode_query_picture, data, limits.image_pixels)

    def find_thumbnail(self, id: str) -> tuple[Picture, Path] | None:
        """The picture of an item and the file of its thumbnail; None where it has none.

        Raises:
            UnknownItemError: there is no such item.
        """
        item = self.index.item(id)
        path = self.thumbnails(item)
        return (item.picture, path) if item.picture is not None and path is not None else None

    def find_recording(self, id: str, key: str | None = None) -> tuple[Recording, Path] | None:
        """A recording of an item and the file of its preview; None where it has none.

        Args:
            key: which one; None: its first.

        Raises:
            UnknownItemError: there is no such item.
        """
        recording = choose_recording(self.index.item(id), key)
        path = None if recording is None else self.previews(recording)
        return (recording, path) if recording is not None and path is not None else None

    def _measure(self, query: Query, hits: Hits) -> None:
        if self.metrics is None:
            return
        shown = "audio" if query.sounds else "image" if query.images else ""
        kind = "mixed" if shown and query.texts else shown or ("text" if query.texts else "like")
        for stage, seconds in hits.took.items():
            self.metrics.observe(kind, stage, seconds)
        if not hits:
            self.metrics.count_empty(kind)

    def measuring(self, kind: str) -> AbstractContextManager[None]:
        """Time the block as the total of a request of this kind; see `Metrics.timing`."""
        return nullcontext() if self.metrics is None else self.metrics.timing(kind)

    @contextmanager
    def _counting_refusals(self) -> Iterator[None]:
        try:
            yield
        except Overloaded:
            if self.metrics is not None:
                self.metrics.count_refusal("queue")
            raise


def _note_failure(reading: "asyncio.Future[Any]") -> None:
    if not reading.cancelled() and (error := reading.exception()) is not None:
        log.warning("the columns cannot be read, so no filters are suggested: %s", error)


_NO_SOUND = Sound(np.zeros(1, np.float32), 1)  # likewise for a recording
_NO_PICTURE = Image.new("RGB", (1, 1))  # stands for a picture whose vector is known

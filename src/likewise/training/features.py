"""Where a training step gets its features from: the cache (regime frozen) or the encoders themselves (regime full)."""

import dataclasses
import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any, ClassVar, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image, ImageOps
from torch import Tensor
from torch.nn import functional

from likewise.catalog.catalog import Catalog
from likewise.catalog.images.picture import PictureError
from likewise.encoders.feature_cache import FeatureCache
from likewise.encoders.modalities import ModalityReader, UnusableValueError, find_reader
from likewise.errors import UserError
from likewise.model.cached_features import CachedPictures, cache_pictures
from likewise.model.featurizer import batches, prefetch
from likewise.model.model import Model
from likewise.model.network import Network
from likewise.model.value_features import append_words
from likewise.progress import Bar
from likewise.training.augmentation import augment

Rows = NDArray[np.int64]
PROMPTS = ("query", "document")
_LIVE_BATCH = 64


class Features(Protocol):
    """What the loop and the validation read; gradients flow where an encoder trains.

    Attributes:
        cheap_texts: texts are read, not computed, so that more of them than a step needs cost next to nothing.
        cheap_pictures: pictures, likewise.
        crops: `pictures` draws random crops by itself, where it is given random numbers.
    """

    @property
    def cheap_texts(self) -> bool: ...
    @property
    def cheap_pictures(self) -> bool: ...
    @property
    def crops(self) -> bool: ...

    def texts(self, indices: Rows, prompt: str) -> Tensor:
        """Features (n, width) of texts by their index."""

    def values(self, field: str, numbers: Rows) -> Tensor:
        """Features (n, width) of values of a field that is neither text nor picture, by their numbers."""

    def pictures(
        self, rows: Rows, mirror: NDArray[np.bool_] | None = None, rng: np.random.Generator | None = None
    ) -> Tensor:
        """Features (n, *feature_shape) of the rows' pictures; every row must have one.

        Args:
            mirror: (n,) which of them are seen mirrored, where mirror images are to be had.
            rng: training draws random crops from it, where those are cheaper than hiding patches of finished features:
                the grid of the features is then smaller, (n, tokens, width).
        """


@dataclass(frozen=True)
class PictureSides:
    """Cached features of pictures, and of their mirror images where these are cached, too."""

    plain: CachedPictures
    mirrored: CachedPictures | None = None

    def read(
        self,
        rows: Rows,
        mirror: NDArray[np.bool_] | None,
        gather: Callable[[CachedPictures, Rows], NDArray[np.float16]],
    ) -> NDArray[np.float16]:
        """Features (n, …) of some rows' pictures, of which some are mirrored.

        Args:
            rows: (n,) rows of the catalogue; every one must have a picture.
            mirror: (n,) which are mirrored; None: none.
            gather: reads the features at some places of `rows` from one of the sides.
        """
        everywhere = np.arange(len(rows))
        if mirror is None or self.mirrored is None or not mirror.any():
            return gather(self.plain, everywhere)
        if mirror.all():
            return gather(self.mirrored, everywhere)
        places = np.flatnonzero(~mirror), np.flatnonzero(mirror)
        plain, mirrored = gather(self.plain, places[0]), gather(self.mirrored, places[1])
        features = np.empty((len(rows), *plain.shape[1:]), np.float16)
        features[places[0]], features[places[1]] = plain, mirrored
        return features


def cache_sides(model: Model, catalog: Catalog, cut: int | None = None, *, mirror: bool) -> PictureSides:
    """`cache_pictures`, and their mirror images where `mirror` says so."""
    plain = cache_pictures(model, catalog, cut)
    return PictureSides(plain, cache_pictures(model, catalog, cut, mirror=True) if mirror else None)


def gather_rows(features: NDArray[np.float16], slots: Rows) -> NDArray[np.float16]:
    """Copies (n, …) of some rows of memory-mapped features, contiguous."""
    found = np.empty((len(slots), *features.shape[1:]), np.float16)
    if len(slots):
        np.take(features, slots, axis=0, out=found, mode="clip")  # any other mode copies twice
    return found


@dataclass
class CachedFeatures:
    """Features that were computed once.

    Attributes:
        text_tables: per prompt, (texts, width) float32 on the device.
        sides: the pictures' features; None for a model without pictures.
        value_tables: per field of another kind, (values, width) float32 on the device; NaN for one that cannot be used.
    """

    text_tables: dict[str, Tensor]
    sides: PictureSides | None
    device: torch.device
    value_tables: dict[str, Tensor] = dataclasses.field(default_factory=dict)
    cheap_texts: ClassVar[bool] = True
    cheap_pictures: ClassVar[bool] = True
    crops: ClassVar[bool] = False

    def pictured(self, rows: int) -> NDArray[np.bool_]:
        """(rows,) which rows of the catalogue have a usable picture."""
        return np.zeros(rows, bool) if self.sides is None else self.sides.plain.slots >= 0

    @property
    def usable_values(self) -> dict[str, NDArray[np.bool_]]:
        """(values,) which values of each field could be encoded."""
        return {field: ~table[:, :1].isnan().any(dim=1).cpu().numpy() for field, table in self.value_tables.items()}

    def texts(self, indices: Rows, prompt: str) -> Tensor:
        table = self.text_tables[prompt]
        return table[torch.from_numpy(indices).to(table.device)]

    def values(self, field: str, numbers: Rows) -> Tensor:
        table = self.value_tables[field]
        return table[torch.from_numpy(numbers).to(table.device)]

    def pictures(
        self, rows: Rows, mirror: NDArray[np.bool_] | None = None, rng: np.random.Generator | None = None
    ) -> Tensor:
        if self.sides is None:
            raise ValueError("the model has no pictures")

        def gather(side: CachedPictures, places: Rows) -> NDArray[np.float16]:
            return gather_rows(side.features, side.slots[rows[places]])

        return torch.from_numpy(self.sides.read(rows, mirror, gather)).to(self.device).float()


@dataclass
class LiveFeatures:
    """Features that the encoders compute now; pictures are opened when they are needed, never all at once.

    Attributes:
        augment: pictures that train change a little each time.
    """

    model: Model
    catalog: Catalog
    all_texts: Sequence[str]
    augment: bool = True
    all_values: Mapping[str, Sequence[Any]] = dataclasses.field(default_factory=dict)
    cheap_texts: ClassVar[bool] = False
    cheap_pictures: ClassVar[bool] = False
    crops: ClassVar[bool] = False

    def texts(self, indices: Rows, prompt: str) -> Tensor:
        distinct, place = np.unique(indices, return_inverse=True)
        texts = [self.all_texts[index] for index in distinct]
        encoder = self.model.encoder("text")
        parts = [self._encode("text", encoder.prepare(batch, prompt=prompt)) for batch in batches(texts, _LIVE_BATCH)]
        return take_rows(torch.cat(parts), torch.from_numpy(place).to(self.model.device))

    def values(self, field: str, numbers: Rows) -> Tensor:
        distinct, place = np.unique(numbers, return_inverse=True)
        values = [self.all_values[field][number] for number in distinct]
        network = self.model.network
        encoder, reader = network.encoder(field), find_reader(network.kinds[field], field)

        def prepare(batch: list[Any]) -> dict[str, Tensor]:
            return encoder.prepare([self._open_value(reader, field, value) for value in batch])

        work = batches(values, min(_LIVE_BATCH, encoder.prepared_batch))
        features = torch.cat([self._encode(network.encoder_name(field), inputs) for inputs in prefetch(prepare, work)])
        features = append_words(encoder, self.catalog, reader, values, features, self._encode_words)
        return take_rows(features, torch.from_numpy(place).to(self.model.device))

    def pictures(
        self, rows: Rows, mirror: NDArray[np.bool_] | None = None, rng: np.random.Generator | None = None
    ) -> Tensor:
        encoder = self.model.encoder("image")
        mirrored = np.zeros(len(rows), bool) if mirror is None else mirror
        changes = self.augment and rng is not None
        seeds = rng.integers(2**63, size=len(rows)) if changes and rng is not None else np.full(len(rows), -1)

        def prepare(batch: list[tuple[np.int64, np.bool_, np.int64]]) -> dict[str, Tensor]:
            return encoder.prepare([self._open(int(row), bool(flip), int(seed)) for row, flip, seed in batch])

        work = batches(zip(rows, mirrored, seeds, strict=True), _LIVE_BATCH)
        return torch.cat([self._encode("image", inputs) for inputs in prefetch(prepare, work)])

    def _open_value(self, reader: ModalityReader, field: str, value: Any) -> Any:
        try:
            return reader.open(self.catalog, value)
        except UnusableValueError as error:
            raise _no_longer(f'a value of the field "{field}"', f"{str(value)[:60]}: {error.cause}") from None

    def _open(self, row: int, mirror: bool, seed: int) -> Image.Image:
        picture, side = self.catalog.pictures[row][0], self.model.encoder("image").minimum_side
        try:
            image = self.catalog.open_picture(picture, side)
        except PictureError as error:
            raise _no_longer(f"the picture of item {self.catalog.ids[row]!r}", str(error)) from None
        image = ImageOps.mirror(image) if mirror else image
        return image if seed < 0 else augment(image, np.random.default_rng(seed))

    def _encode_words(self, words: list[str]) -> Tensor:
        return self._encode("text", self.model.encoder("text").prepare(words, prompt="document"))

    def _encode(self, name: str, inputs: dict[str, Tensor]) -> Tensor:
        device = self.model.device
        dtype = getattr(torch, self.model.precision.get(name, "float32"))  # in which fitted encoders always are
        moved = {name: tensor.to(device) for name, tensor in inputs.items()}
        with torch.autocast(device.type, dtype=dtype, enabled=dtype != torch.float32):
            features: Tensor = self.model.encoder(name)(moved)
        return features.float()


def _no_longer(what: str, cause: str) -> UserError:
    return UserError(
        f"{what} can no longer be opened, as it could before the training ({cause}): "
        "bring its file back, and start the training again"
    )


def cache_features(
    model: Model,
    catalog: Catalog,
    texts: Sequence[str],
    *,
    mirror: bool = False,
    values: Mapping[str, Sequence[Any]] = MappingProxyType({}),
) -> CachedFeatures:
    """Run all encoders once over all distinct texts, pictures and values, or read what an earlier run cached.

    Args:
        mirror: mirror images, too.
        values: distinct values of the fields of other kinds.
    """
    sides = cache_sides(model, catalog, mirror=mirror) if "image" in model.fields else None
    tables = {field: _value_table(model, catalog, field, distinct) for field, distinct in values.items()}
    return CachedFeatures(_text_tables(model, catalog.cache, texts), sides, model.device, tables)


def read_field(features: Features, network: Network, field: str, numbers: Rows) -> Tensor:
    """Features (n, width) of texts or values, for the tower of a field other than the picture."""
    if network.kinds[field] == "text":
        return features.texts(numbers, "document")
    return features.values(field, numbers)


def _value_table(model: Model, catalog: Catalog, field: str, values: Sequence[Any]) -> Tensor:
    usable, features = model.encode_values(catalog, field, values, catalog.cache)
    table = torch.full((len(values), features.shape[1]), torch.nan, device=model.device)
    table[torch.from_numpy(usable).to(model.device)] = features.clone()  # they come from inference mode
    return table


def _text_tables(model: Model, folder: Path, texts: Sequence[str]) -> dict[str, Tensor]:
    encoder = model.encoder("text")
    cache = model.feature_cache("text", folder)
    tables: dict[str, Tensor] = {}
    by_prefix: dict[str, Tensor] = {}
    for prompt in PROMPTS:
        prefix = encoder.prompt(prompt)
        if prefix not in by_prefix:
            by_prefix[prefix] = _text_table(model, cache, texts, prompt, prefix)
        tables[prompt] = by_prefix[prefix]
    return tables


def _text_table(model: Model, cache: FeatureCache, texts: Sequence[str], prompt: str, prefix: str) -> Tensor:
    keys = [hashlib.sha256(f"{prefix}\0{text}".encode(errors="surrogatepass")).hexdigest() for text in texts]
    missing = set(cache.missing(keys))
    new = sorted({(len(text), text, key) for text, key in zip(texts, keys, strict=True) if key in missing})
    with Bar("Encoding texts", len(new)) as bar:
        for batch in batches(new, 1024):
            features = model.featurizer("text").texts([text for _, text, _ in batch], prompt=prompt)
            cache.add([key for *_, key in batch], features.cpu().numpy().astype(np.float16))
            bar.advance(len(batch))
    return torch.from_numpy(cache.gather(cache.slots(keys))).to(model.device).float()


def random_patches(
    count: int, grid: tuple[int, int], prefix: int, smallest: float, dropout: float, rng: np.random.Generator
) -> Tensor:
    """Random sub-rectangles of a patch grid with random holes, standing in for random crops of the picture.

    Args:
        count: how many, one per picture.
        grid: (rows, columns).
        prefix: tokens before the grid, which are always seen.
        smallest: the least share of the grid's area.
        dropout: share of the patches that are hidden.

    Returns:
        (count, prefix + rows · columns) bool: the tokens that are seen.
    """
    height, width = grid
    area = rng.uniform(smallest, 1.0, count)
    aspect = np.exp(rng.uniform(np.log(3 / 4), np.log(4 / 3), count))
    rows = np.clip(np.rint(height * np.sqrt(area * aspect)), 1, height)
    columns = np.clip(np.rint(width * np.sqrt(area / aspect)), 1, width)
    top = np.floor(rng.random(count) * (height - rows + 1))
    left = np.floor(rng.random(count) * (width - columns + 1))
    y, x = np.arange(height), np.arange(width)
    seen_rows = (y >= top[:, None]) & (y < (top + rows)[:, None])
    seen_columns = (x >= left[:, None]) & (x < (left + columns)[:, None])
    seen = (seen_rows[:, :, None] & seen_columns[:, None, :]).reshape(count, -1)
    thinned = seen & (rng.random(seen.shape) >= dropout)
    seen = np.where(thinned.any(axis=1, keepdims=True), thinned, seen)
    return torch.from_numpy(np.concatenate([np.ones((count, prefix), bool), seen], axis=1))


def random_holes(count: int, tokens: int, prefix: int, dropout: float, rng: np.random.Generator) -> Tensor:
    """Patch dropout on a grid that is a random rectangle already: (count, tokens) bool, the tokens that are seen.

    Tokens of the prefix are always seen, and so is at least one patch of every picture.
    """
    seen = rng.random((count, tokens)) >= dropout
    seen[:, :prefix] = True
    blind = ~seen[:, prefix:].any(axis=1)
    seen[blind] = True
    return torch.from_numpy(seen)


def take_rows(vectors: Tensor, places: Tensor) -> Tensor:
    """`vectors[places]` (m, dim), with a gradient that has the same bits in every run.

    Args:
        vectors: (n, dim).
        places: (m,) int64.

    On the CPU, the backward pass of indexing adds up in several threads at once, in an order that changes, so the
    gradient of a place that occurs twice differs in its last bits from call to call. That of an embedding lookup gives
    every row to one thread (and sorts the places on the GPU, where that of `index_select` is the one without an order).
    """
    return functional.embedding(places, vectors)

"""Cached features of a catalogue's pictures, on disk, so that the encoder runs over each picture once."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import cast

import numpy as np
from numpy.typing import NDArray

from likewise.catalog.catalog import Catalog
from likewise.catalog.images.picture import Picture
from likewise.encoders.feature_cache import FeatureCache
from likewise.model.model import Model
from likewise.progress import Bar, say

_WORTH_SAYING = 50_000_000  # bytes on disk from which the size is announced
_SHARD_BYTES = 32_000_000  # what is written at once, and so what a killed run can lose
_LEAST_SHARD = 32


@dataclass(frozen=True)
class CachedPictures:
    """Features of a catalogue's pictures on disk.

    Attributes:
        features: (pictures, …) float16, memory-mapped.
        slots: (rows,) where each row's first picture lies in them; −1 where none can be decoded.
    """

    features: NDArray[np.float16]
    slots: NDArray[np.int64]


def cache_pictures(model: Model, catalog: Catalog, cut: int | None = None, mirror: bool = False) -> CachedPictures:
    """Run the picture encoder once over all distinct pictures of a catalogue, or read what an earlier run cached.

    Args:
        cut: cache what lies before this block of the encoder (see `Encoder.forward_to`) instead of its features.
        mirror: see the pictures mirrored.

    Raises:
        UserError: the encoder cannot be cut there, or the disk has no room.
    """
    cache = model.feature_cache("image", catalog.cache, cut, mirror)
    pictures = {shown[0].key: shown[0] for shown in catalog.pictures if shown}
    missing = cache.missing(list(pictures))
    if missing and cache.bytes_needed(len(missing)) > _WORTH_SAYING:
        say(
            f"Caching {_contents(cut, mirror)} of {len(missing):,} pictures: {_size(cache, missing)} in {catalog.cache}"
        )
    elif pictures and not missing:
        say(f"Reusing the cached {_contents(cut, mirror)} of {len(pictures):,} pictures")
    cache.check_space(len(missing))
    unusable = _encode_missing(model, catalog, cache, [pictures[key] for key in missing], cut, mirror)
    rows_with_picture = [shown[0].key if shown and shown[0].key not in unusable else None for shown in catalog.pictures]
    slots = np.full(len(rows_with_picture), -1, np.int64)
    known = [row for row, key in enumerate(rows_with_picture) if key is not None]
    slots[known] = cache.slots([cast(str, rows_with_picture[row]) for row in known])
    return CachedPictures(cache.features, slots)


def _contents(cut: int | None, mirror: bool) -> str:
    what = "features" if cut is None else f"activations before block {cut}"
    return f"{what} of the mirror images" if mirror else what


def _size(cache: FeatureCache, missing: Sequence[str]) -> str:
    return f"{cache.bytes_needed(len(missing)) / 1e6:,.0f} MB"


def _encode_missing(
    model: Model, catalog: Catalog, cache: FeatureCache, pictures: Sequence[Picture], cut: int | None, mirror: bool
) -> set[str]:
    """Encode new pictures into the cache, a shard at a time; returns the keys of those that cannot be decoded."""
    unusable: set[str] = set()
    keys: list[str] = []
    parts: list[NDArray[np.float16]] = []
    shard = max(_LEAST_SHARD, _SHARD_BYTES // cache.row_bytes)
    stream = model.featurizer("image").pictures(pictures, catalog.open_picture, cut=cut, mirror=mirror)
    with Bar("Encoding pictures", len(pictures)) as bar:
        for batch in stream:
            for key, cause in batch.failed.items():
                unusable.add(key)
                if cut is None and not mirror:  # counted once, however often it is tried
                    catalog.report.count(cause, example=key[:12])
            keys.extend(batch.keys)
            with np.errstate(over="ignore"):  # the cache refuses such values in one sentence
                parts.append(batch.features.cpu().numpy().astype(np.float16))
            if len(keys) >= shard:
                cache.add(keys, np.concatenate(parts))
                keys, parts = [], []
            bar.advance(len(batch.keys) + len(batch.failed))
    if keys:
        cache.add(keys, np.concatenate(parts))
    return unusable

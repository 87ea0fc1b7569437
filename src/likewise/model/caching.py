"""Features of a catalogue's pictures on disk, so that whatever reads them again need not run the encoder."""

from collections.abc import Sequence
from typing import cast

import numpy as np
from numpy.typing import NDArray

from likewise.catalog.catalog import Catalog
from likewise.catalog.pictures import Picture
from likewise.encoders.feature_cache import FeatureCache
from likewise.model.model import Model
from likewise.progress import Bar, say

_WORTH_SAYING = 50_000_000  # bytes on disk from which the size is announced
_SHARD = 512  # pictures whose features are written at once: what a killed run can lose


def cache_pictures(model: Model, catalog: Catalog) -> tuple[FeatureCache, NDArray[np.int64]]:
    """Run the picture encoder once over all distinct pictures of a catalogue, or read what an earlier run cached.

    Returns:
        The cache, and for every row the slot of its first picture in it; −1 where no picture can be decoded.
    """
    cache = model.feature_cache("image", catalog.cache)
    pictures = {shown[0].key: shown[0] for shown in catalog.pictures if shown}
    missing = cache.missing(list(pictures))
    if missing and cache.bytes_needed(len(missing)) > _WORTH_SAYING:
        megabytes = cache.bytes_needed(len(missing)) / 1e6
        say(f"Caching the features of {len(missing):,} pictures: {megabytes:,.0f} MB in {catalog.cache}")
    elif pictures and not missing:
        say(f"Reusing the cached features of {len(pictures):,} pictures")
    unusable = _encode_missing(model, catalog, cache, [pictures[key] for key in missing])
    rows_with_picture = [shown[0].key if shown and shown[0].key not in unusable else None for shown in catalog.pictures]
    slots = np.full(len(rows_with_picture), -1, np.int64)
    known = [row for row, key in enumerate(rows_with_picture) if key is not None]
    slots[known] = cache.slots([cast(str, rows_with_picture[row]) for row in known])
    return cache, slots


def _encode_missing(model: Model, catalog: Catalog, cache: FeatureCache, pictures: Sequence[Picture]) -> set[str]:
    """Encode new pictures into the cache, a shard at a time; returns the keys of those that cannot be decoded."""
    unusable: set[str] = set()
    keys: list[str] = []
    parts: list[NDArray[np.float16]] = []
    with Bar("Encoding pictures", len(pictures)) as bar:
        for batch in model.featurizer("image").pictures(pictures, catalog.open_picture):
            for key, cause in batch.failed.items():
                unusable.add(key)
                catalog.report.count(cause, example=key[:12])
            keys.extend(batch.keys)
            parts.append(batch.features.cpu().numpy().astype(np.float16))
            if sum(map(len, parts)) >= _SHARD:
                cache.add(keys, np.concatenate(parts))
                keys, parts = [], []
            bar.advance(len(batch.keys) + len(batch.failed))
    if keys:
        cache.add(keys, np.concatenate(parts))
    return unusable

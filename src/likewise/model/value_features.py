"""Values of fields that are neither texts nor pictures: opened, and their words appended to their features."""

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from likewise.catalog.catalog import Catalog
from likewise.encoders.base import Encoder
from likewise.encoders.modalities import ModalityReader, UnusableValueError


def open_value(catalog: Catalog, reader: ModalityReader, value: Any) -> Any:
    """What an encoder's `prepare` and `words` take; None, counted in the report, for a value that cannot be opened."""
    try:
        return reader.open(catalog, value)
    except UnusableValueError as error:
        catalog.report.count(error.cause, example=str(value)[:60])
        return None


def append_words(
    encoder: Encoder,
    catalog: Catalog,
    reader: ModalityReader,
    values: Sequence[Any],
    features: Tensor,
    encode: Callable[[list[str]], Tensor],
) -> Tensor:
    """Features of values, followed by those of their words where the encoder reads words.

    Args:
        encoder: that made the features.
        catalog: opens the values again, since the features may come from a cache.
        reader: of the values' kind.
        values: n values as the reader gives them.
        features: (n, width).
        encode: texts → features (texts, text width).

    Returns:
        (n, width), or (n, width + text width) float32.
    """
    if not encoder.reads_words:
        return features
    opened = [open_value(catalog, reader, value) for value in values]
    words = [() if one is None else encoder.words(one) for one in opened]
    return torch.cat([features, average_words(words, encode, features)], dim=-1)


def average_words(words: Sequence[tuple[str, ...]], encode: Callable[[list[str]], Tensor], like: Tensor) -> Tensor:
    """The mean of the text encoder's features of some words for each value; 0 for a value without words.

    Args:
        words: of n values.
        encode: texts → features (texts, width).
        like: on whose device.
    """
    distinct = {word: number for number, word in enumerate(dict.fromkeys(word for each in words for word in each))}
    features = encode(list(distinct) or [""])
    pairs = [(row, distinct[word]) for row, each in enumerate(words) for word in each]
    rows, places = torch.tensor(pairs, dtype=torch.int64, device=like.device).reshape(-1, 2).T
    sums = torch.zeros(len(words), features.shape[1], device=like.device)
    sums = sums.index_add(0, rows, functional.embedding(places, features.float()))
    counts = torch.tensor([max(len(each), 1) for each in words], device=like.device)
    return sums / counts[:, None]

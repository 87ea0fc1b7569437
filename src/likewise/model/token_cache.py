"""Activations of texts before a cut, on disk: for every token a row of numbers.

Texts differ in length, so there is one `FeatureCache` for each of a few lengths, and a text lies in the first that
holds it, with zeros behind its last token. Nothing above the cut reads the places of padding, so the result is the
same.
"""

import hashlib
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from likewise.encoders.base import STATES
from likewise.encoders.feature_cache import FeatureCache
from likewise.model.encoding import batches
from likewise.model.model import Model
from likewise.progress import Bar, say

_WORTH_SAYING = 50_000_000  # bytes on disk from which the size is announced
_BATCH = 64
_COUNTED_AT_ONCE = 1024
_SHARD_BYTES = 32_000_000


class TokenCache:
    """The activations of many texts before block `cut` of a model's text encoder.

    Args:
        model: its text encoder runs below the cut.
        cut: before which block.
        texts: distinct texts; the methods name them by their place in this list.
        prompt: see `Encoder.prepare`.
        folder: below which caches lie.

    Attributes:
        lengths: (texts,) tokens that a text takes on disk.
    """

    def __init__(self, model: Model, cut: int, texts: Sequence[str], prompt: str, folder: Path) -> None:
        self.model = model
        self.cut = cut
        self.encoder = model.encoder("text")
        self.width = self.encoder.activation(cut).shape[-1]
        self.texts = texts
        self.prompt = prompt
        self.lengths = _stored_lengths(self._count_tokens())
        prefix = self.encoder.prompt(prompt)
        self._keys = [hashlib.sha256(f"{prefix}\0{text}".encode(errors="surrogatepass")).hexdigest() for text in texts]
        self._caches = {int(length): self._open(folder, int(length)) for length in np.unique(self.lengths)}
        self._write_missing(folder)
        self._slots = np.empty(len(texts), np.int64)
        for length, cache in self._caches.items():
            places = np.flatnonzero(self.lengths == length)
            self._slots[places] = cache.slots([self._keys[place] for place in places])

    def read(self, indices: NDArray[np.int64]) -> dict[str, Tensor]:
        """What `Encoder.lower` would give for some texts of one stored length: inputs and states, on the device."""
        length = int(self.lengths[indices[0]])
        inputs = self.encoder.prepare([self.texts[index] for index in indices], prompt=self.prompt)
        mask = self.encoder.token_mask(inputs)
        rows = torch.from_numpy(self._caches[length].gather(self._slots[indices]))
        states = torch.zeros(*mask.shape, self.width)
        states[mask] = rows[torch.arange(length) < mask.sum(dim=1, keepdim=True)].float()
        device = self.model.device
        return {key: tensor.to(device) for key, tensor in {STATES: states, **inputs}.items()}

    def _count_tokens(self) -> NDArray[np.int64]:
        counts = [
            self.encoder.token_mask(self.encoder.prepare(batch, prompt=self.prompt)).sum(dim=1).numpy()
            for batch in batches(self.texts, _COUNTED_AT_ONCE)
        ]
        return np.concatenate(counts) if counts else np.empty(0, np.int64)

    def _open(self, folder: Path, length: int) -> FeatureCache:
        variant = f"{self.model.precision['text']}-cut-{self.cut}-{length}-tokens"
        return FeatureCache(folder / "features", self.encoder, variant, (length, self.width))

    def _write_missing(self, folder: Path) -> None:
        missing: dict[int, list[int]] = {}
        for length, cache in self._caches.items():
            places = [int(place) for place in np.flatnonzero(self.lengths == length)]
            new = set(cache.missing([self._keys[place] for place in places]))
            missing[length] = sorted((p for p in places if self._keys[p] in new), key=lambda p: self._keys[p])
        needed = sum(self._caches[length].bytes_needed(len(places)) for length, places in missing.items())
        count = sum(map(len, missing.values()))
        if needed > _WORTH_SAYING:
            say(f"Caching activations before block {self.cut} of {count:,} texts: {needed / 1e6:,.0f} MB in {folder}")
        with Bar("Encoding texts", count) as bar:
            for length, places in missing.items():
                cache = self._caches[length]
                cache.check_space(len(places))
                for shard in batches(places, max(_BATCH, _SHARD_BYTES // cache.row_bytes)):
                    cache.add([self._keys[place] for place in shard], self._encode(shard, length))
                    bar.advance(len(shard))

    def _encode(self, places: list[int], length: int) -> NDArray[np.float32]:
        rows = np.zeros((len(places), length, self.width), np.float32)
        start = 0
        for batch in batches(places, _BATCH):
            inputs = self.encoder.prepare([self.texts[place] for place in batch], prompt=self.prompt)
            states = self.model.featurizer("text").forward(inputs, self.cut).cpu().numpy()
            for row, own, mask in zip(rows[start:], states, self.encoder.token_mask(inputs).numpy(), strict=False):
                row[: mask.sum()] = own[mask]
            start += len(batch)
        return rows


def _stored_lengths(tokens: NDArray[np.int64]) -> NDArray[np.int64]:
    """Tokens that a text takes: the next multiple of 8, of 32 past 64."""
    unit = np.where(tokens <= 64, 8, 32)
    return -(-np.maximum(tokens, 1) // unit) * unit

"""Values to features in batches: encoders at their best speed, in memory that does not grow with the stream."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from itertools import chain, islice
from typing import TypeVar

import numpy as np
import torch
from PIL import Image, ImageOps
from torch import Tensor

from likewise.catalog.images.picture import Picture, PictureError
from likewise.encoders.base import Encoder
from likewise.encoders.feature_cache import FeatureCache
from likewise.model.recent_vectors import RecentVectors

T = TypeVar("T")
R = TypeVar("R")

_REMEMBERED_TEXTS = 16_384  # features of repeated texts that are kept in memory
_TEXT_BATCH = 64
_PICTURE_BATCH = {"cpu": 32, "mps": 64, "cuda": 256}
_WORKERS = 2  # decoding threads: enough to hide behind the forward pass, few enough to leave it the cores


def batches(items: Iterable[T], size: int) -> Iterator[list[T]]:
    """Cut a stream into lists of at most `size`."""
    stream = iter(items)
    while batch := list(islice(stream, size)):
        yield batch


def prefetch(function: Callable[[T], R], items: Iterable[T], ahead: int = 2 * _WORKERS) -> Iterator[R]:
    """Like `map`, computed by threads at most `ahead` items in front of the consumer; keeps the order."""
    stream = iter(items)
    first = list(islice(stream, 2))
    if len(first) < 2:  # a query is not worth a thread
        yield from map(function, first)
        return
    with ThreadPoolExecutor(_WORKERS) as pool:
        waiting: list[Future[R]] = []
        for item in chain(first, stream):
            waiting.append(pool.submit(function, item))
            if len(waiting) > ahead:
                yield waiting.pop(0).result()
        while waiting:
            yield waiting.pop(0).result()


@dataclass
class PictureBatch:
    """Pictures that could be decoded, their features (n, *feature_shape), and those that could not, with the cause.

    Where the encoder was cut, the features are its activations there.
    """

    keys: list[str]
    features: Tensor
    failed: dict[str, str] = field(default_factory=dict)


class Featurizer:
    """One encoder on one device with one precision; texts can be asked for from several threads.

    Args:
        encoder: already on `device`.
        dtype: torch.float32 or torch.bfloat16 (then under autocast).
        run: what makes features of prepared inputs in the encoder's place, such as `PackedText`.
        remembered: texts whose features are kept for the next time.
    """

    def __init__(
        self,
        encoder: Encoder,
        device: torch.device,
        dtype: torch.dtype,
        run: Callable[[dict[str, Tensor]], Tensor] | None = None,
        remembered: int = _REMEMBERED_TEXTS,
    ) -> None:
        self.encoder = encoder
        self._run = run or encoder
        self.device = device
        self.dtype = dtype
        self._recent = RecentVectors(remembered)

    def forward(self, inputs: dict[str, Tensor], cut: int | None = None) -> Tensor:
        """Prepared inputs → float32 features on the device, or activations before block `cut`; without gradients."""
        moved = self.move(inputs)
        with torch.inference_mode(), self.autocast():
            parts = [
                (self._run(part) if cut is None else self.encoder.forward_to(part, cut)).float()
                for part in self._parts(moved)
            ]
        return torch.cat(parts) if len(parts) > 1 else parts[0]

    def move(self, inputs: dict[str, Tensor]) -> dict[str, Tensor]:
        """Prepared inputs on the device."""
        return {name: tensor.to(self.device, non_blocking=True) for name, tensor in inputs.items()}

    def autocast(self) -> AbstractContextManager[None]:
        """Compute with this precision inside the block."""
        return torch.autocast(self.device.type, dtype=self.dtype, enabled=self.dtype != torch.float32)

    def _parts(self, inputs: dict[str, Tensor]) -> list[dict[str, Tensor]]:
        """Inputs in batches as the encoder likes them best."""
        count, size = len(next(iter(inputs.values()))), self.encoder.cpu_batch
        if self.device.type != "cpu" or size is None or count <= size:
            return [inputs]
        return [
            {name: tensor[start : start + size] for name, tensor in inputs.items()} for start in range(0, count, size)
        ]

    def texts(self, texts: Sequence[str], prompt: str = "document") -> Tensor:
        """Features (n, width) float32 of n texts; equal texts are encoded once, in batches of similar length."""
        distinct = dict.fromkeys(texts)
        recent = self._recent.find([(prompt, text) for text in distinct])
        known = {text: torch.from_numpy(row) for text, row in zip(distinct, recent, strict=True) if row is not None}
        # equal lengths by the alphabet: another order would change the last bits
        unknown = sorted(distinct.keys() - known, key=lambda text: (len(text), text))
        fresh: dict[str, Tensor] = {}
        prepared = prefetch(lambda batch: self.encoder.prepare(batch, prompt=prompt), batches(unknown, _TEXT_BATCH))
        for batch, inputs in zip(batches(unknown, _TEXT_BATCH), prepared, strict=True):
            fresh.update(zip(batch, self.forward(inputs).cpu(), strict=True))
        found = torch.empty(len(texts), self.encoder.width)
        for row, text in enumerate(texts):
            found[row] = fresh[text] if text in fresh else known[text]
        if fresh:
            self._recent.remember([(prompt, text) for text in fresh], torch.stack([*fresh.values()]).numpy())
        return found.to(self.device)

    def pictures(
        self,
        pictures: Iterable[Picture],
        open_picture: Callable[[Picture, int | None], Image.Image],
        *,
        cut: int | None = None,
        mirror: bool = False,
        cache: FeatureCache | None = None,
    ) -> Iterator[PictureBatch]:
        """Decode and encode a stream of pictures, decoding ahead in threads; cached features need neither.

        Args:
            open_picture: see `Catalog.open_picture`.
            cut: go no further than to this block of the encoder.
            mirror: see the pictures mirrored.
            cache: features of such pictures that are known already; read, never written here.
        """
        size = _PICTURE_BATCH[self.device.type]

        def prepare(batch: list[Picture]) -> tuple[list[str], dict[str, Tensor] | np.ndarray | None, dict[str, str]]:
            if cache is not None and batch[0].key in cache:
                keys = [picture.key for picture in batch]
                return keys, cache.gather(cache.slots(keys)), {}
            opened, failed = [], {}
            for picture in batch:
                try:
                    image = open_picture(picture, self.encoder.minimum_side)
                    opened.append((picture.key, ImageOps.mirror(image) if mirror else image))
                except PictureError as error:
                    failed[picture.key] = error.cause
            inputs = self.encoder.prepare([image for _, image in opened]) if opened else None
            return [key for key, _ in opened], inputs, failed

        for keys, inputs, failed in prefetch(prepare, _homogeneous(pictures, size, cache)):
            if inputs is None:
                features = torch.empty(0, *self.encoder.feature_shape, device=self.device)
            elif isinstance(inputs, dict):
                features = self.forward(inputs, cut)
            else:
                features = torch.from_numpy(inputs).to(self.device).float()
            yield PictureBatch(keys, features, failed)


def _homogeneous(pictures: Iterable[Picture], size: int, cache: FeatureCache | None) -> Iterator[list[Picture]]:
    """Batches of pictures that are either all cached or all new."""
    pending: dict[bool, list[Picture]] = {True: [], False: []}
    for picture in pictures:
        group = pending[cache is not None and picture.key in cache]
        group.append(picture)
        if len(group) == size:
            yield group.copy()
            group.clear()
    yield from (group for group in pending.values() if group)

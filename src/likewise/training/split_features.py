"""Features of the regime partial: the picture encoder is read from disk up to a cut, and runs and trains behind it."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from likewise.catalog.catalog import Catalog
from likewise.encoders.activation import Activation
from likewise.encoders.base import Encoder
from likewise.model.cached_features import CachedPictures
from likewise.model.featurizer import batches
from likewise.model.model import Model
from likewise.training.features import CachedFeatures, PictureSides, cache_sides, gather_rows

Rows = NDArray[np.int64]
_EVALUATED_AT_ONCE = 64
_WIDEST = 4 / 3  # rectangles are at most this much wider than high, or higher than wide


@dataclass
class PartialFeatures:
    """Frozen texts, and pictures from a cut; see `cut_pictures`."""

    frozen: CachedFeatures
    cut: "CutPictures"
    cheap_texts: ClassVar[bool] = True
    cheap_pictures: ClassVar[bool] = False

    @property
    def crops(self) -> bool:
        """Whether pictures are seen through random rectangles."""
        return self.cut.crops

    def texts(self, indices: Rows, prompt: str) -> Tensor:
        """Features (n, width)."""
        return self.frozen.texts(indices, prompt)

    def values(self, field: str, numbers: Rows) -> Tensor:
        """Features (n, width)."""
        return self.frozen.values(field, numbers)

    def pictures(
        self, rows: Rows, mirror: NDArray[np.bool_] | None = None, rng: np.random.Generator | None = None
    ) -> Tensor:
        """Features (n, *feature_shape), of fewer tokens where `rng` draws rectangles."""
        return self.cut.pictures(rows, mirror, rng)


class CutPictures:
    """Pictures from cached activations before block `cut` of the picture encoder.

    Args:
        model: its picture encoder runs behind the cut.
        cut: before which block.
        sides: their cached activations, and perhaps those of their mirror images.
        smallest: the least share of the picture that a random rectangle shows.
    """

    def __init__(
        self,
        model: Model,
        cut: int,
        sides: PictureSides,
        smallest: float = 0.2,
    ) -> None:
        self.model = model
        self.cut = cut
        self.activation = model.encoder("image").activation(cut)
        self.sides = sides
        self.smallest = smallest

    @property
    def crops(self) -> bool:
        """Whether random numbers give rectangles: there is a grid, and rectangles may be smaller than it."""
        return self.activation.grid is not None and self.smallest < 1

    def pictures(
        self, rows: Rows, mirror: NDArray[np.bool_] | None = None, rng: np.random.Generator | None = None
    ) -> Tensor:
        """Features (n, tokens, width) of the rows' pictures; every row must have one.

        Args:
            rows: n rows of the catalogue.
            mirror: (n,) which of them are seen mirrored.
            rng: see all of them through random rectangles of one size, drawn anew at every call: a stand-in for random
                crops, cut out before the blocks that train, which have the less to do. None shows the whole pictures.
        """
        if not len(rows):
            return torch.empty(0, *self.model.encoder("image").feature_shape, device=self.model.device)
        if rng is not None and self.crops:
            window = random_window(self.activation, len(rows), self.smallest, rng)
            return self._run(self._read(rows, mirror, window))
        if torch.is_grad_enabled():
            return self._run(self._read(rows, mirror, None))
        return torch.cat([self._run(self._read(*part, None)) for part in _parts(rows, mirror)])

    def _read(self, rows: Rows, mirror: NDArray[np.bool_] | None, window: "Window | None") -> NDArray[np.float16]:
        def gather(side: CachedPictures, places: Rows) -> NDArray[np.float16]:
            slots = side.slots[rows[places]]
            if window is None:
                return gather_rows(side.features, slots)
            part = window.select(places)
            return self.activation.rectangles(side.features, slots, part.tops, part.lefts, part.size)

        return self.sides.read(rows, mirror, gather)

    def _run(self, states: NDArray[np.float16]) -> Tensor:
        moved = torch.from_numpy(states).to(self.model.device, non_blocking=True).float()
        return forward_from_cut(self.model, moved, self.cut)


@dataclass(frozen=True)
class Window:
    """Equally large rectangles of a grid, one per picture."""

    tops: Rows
    lefts: Rows
    size: tuple[int, int]  # height, width

    def select(self, places: Rows) -> "Window":
        """Those of some of the pictures."""
        return Window(self.tops[places], self.lefts[places], self.size)


def random_window(activation: Activation, count: int, smallest: float, rng: np.random.Generator) -> Window:
    """One random size for a batch, and a random place per picture; all of them multiples of `activation.step`.

    The area is uniform between `smallest` and the whole, and the aspect log-uniform between 3:4 and 4:3 (the random
    resized crop of https://arxiv.org/abs/1409.4842, without its resizing).
    """
    if activation.grid is None:
        raise ValueError("these activations have no grid")
    step = activation.step
    steps = [side // step for side in activation.grid]  # a remainder is only seen whole
    area, aspect = rng.uniform(smallest, 1.0), np.exp(rng.uniform(-np.log(_WIDEST), np.log(_WIDEST)))
    wanted = (steps[0] * np.sqrt(area * aspect), steps[1] * np.sqrt(area / aspect))
    height, width = (int(np.clip(np.rint(want), 1, most)) for want, most in zip(wanted, steps, strict=True))
    tops = rng.integers(0, steps[0] - height + 1, count) * step
    lefts = rng.integers(0, steps[1] - width + 1, count) * step
    return Window(tops, lefts, (height * step, width * step))


def forward_from_cut(model: Model, states: Tensor, cut: int) -> Tensor:
    """The picture encoder's blocks behind a cut, at its precision; gradients flow where it trains."""
    encoder: Encoder = model.encoder("image")
    dtype = getattr(torch, model.precision["image"])
    with torch.autocast(model.device.type, dtype=dtype, enabled=dtype != torch.float32):
        return encoder.forward_from(states, cut).float()


def cut_pictures(
    model: Model, catalog: Catalog, cut: int, *, mirror: bool = True, smallest: float = 0.2
) -> CutPictures:
    """Cache the activations of a catalogue's pictures before block `cut`, and of their mirror images.

    Raises:
        UserError: the encoder cannot be cut there, or the disk has no room.
    """
    return CutPictures(model, cut, cache_sides(model, catalog, cut, mirror=mirror), smallest)


def _parts(rows: Rows, mirror: NDArray[np.bool_] | None) -> Iterator[tuple[Rows, NDArray[np.bool_] | None]]:
    for places in batches(range(len(rows)), _EVALUATED_AT_ONCE):
        yield rows[places], None if mirror is None else mirror[places]

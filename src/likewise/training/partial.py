"""Features of the regime partial: what lies before a cut is read from disk, what lies behind it runs and trains."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from likewise.catalog.catalog import Catalog
from likewise.encoders.activation import Activation
from likewise.encoders.base import STATES, Encoder, Modality
from likewise.model.caching import CachedPictures, PictureSides, cache_sides
from likewise.model.encoding import batches
from likewise.model.model import Model
from likewise.model.token_cache import TokenCache
from likewise.training.features import PROMPTS, PictureFeatures, TextFeatures

Rows = NDArray[np.int64]
_EVALUATED_AT_ONCE = 64
_TEXTS_AT_ONCE = 128
_WIDEST = 4 / 3  # rectangles are at most this much wider than high, or higher than wide


@dataclass
class PartialFeatures:
    """Texts and pictures, each cut or frozen as it may be; see `cut_pictures` and `cut_texts`."""

    text_features: TextFeatures
    picture_features: PictureFeatures

    @property
    def cheap_texts(self) -> bool:
        """Whether the text encoder is frozen as a whole."""
        return not isinstance(self.text_features, CutTexts)

    @property
    def cheap_pictures(self) -> bool:
        """Whether the picture encoder is frozen as a whole."""
        return not isinstance(self.picture_features, CutPictures)

    @property
    def crops(self) -> bool:
        """Whether pictures are seen through random rectangles."""
        return isinstance(self.picture_features, CutPictures) and self.picture_features.crops

    def texts(self, indices: Rows, prompt: str) -> Tensor:
        """Features (n, width)."""
        return self.text_features.texts(indices, prompt)

    def pictures(
        self, rows: Rows, mirror: NDArray[np.bool_] | None = None, rng: np.random.Generator | None = None
    ) -> Tensor:
        """Features (n, *feature_shape), of fewer tokens where `rng` draws rectangles."""
        return self.picture_features.pictures(rows, mirror, rng)


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
                return side.cache.gather(slots)
            part = window.of(places)
            return self.activation.rectangles(side.cache.features, slots, part.tops, part.lefts, part.size)

        return self.sides.read(rows, mirror, gather)

    def _run(self, states: NDArray[np.float16]) -> Tensor:
        moved = torch.from_numpy(states).to(self.model.device, non_blocking=True).float()
        return run_upper(self.model, "image", {STATES: moved}, self.cut)


class CutTexts:
    """Texts from cached activations before a block of the text encoder.

    Args:
        model: its text encoder runs behind the cut.
        caches: per prompt, the activations of all texts.
    """

    def __init__(self, model: Model, caches: dict[str, TokenCache]) -> None:
        self.model = model
        self.caches = caches

    def texts(self, indices: Rows, prompt: str) -> Tensor:
        """Features (n, width) of texts by their index; equal ones are encoded once, long ones beside long ones."""
        cache = self.caches[prompt]
        distinct, place = np.unique(indices, return_inverse=True)
        by_length = np.argsort(cache.lengths[distinct], kind="stable")
        parts, order = [], distinct[by_length]
        for length in np.unique(cache.lengths[order]):
            for batch in batches(order[cache.lengths[order] == length], _TEXTS_AT_ONCE):
                parts.append(run_upper(self.model, "text", cache.read(np.array(batch)), cache.cut))
        if not parts:
            return torch.empty(0, self.model.encoder("text").width, device=self.model.device)
        found = np.argsort(by_length)[place]
        return torch.cat(parts)[torch.from_numpy(found).to(self.model.device)]


@dataclass(frozen=True)
class Window:
    """Equally large rectangles of a grid, one per picture."""

    tops: Rows
    lefts: Rows
    size: tuple[int, int]  # height, width

    def of(self, places: Rows) -> "Window":
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


def run_upper(model: Model, modality: Modality, activations: dict[str, Tensor], cut: int) -> Tensor:
    """The blocks behind a cut, at the precision of the model's encoder; gradients flow where it trains."""
    encoder: Encoder = model.encoder(modality)
    dtype = getattr(torch, model.precision[modality])
    with torch.autocast(model.device.type, dtype=dtype, enabled=dtype != torch.float32):
        return encoder.upper(activations, cut).float()


def cut_pictures(
    model: Model, catalog: Catalog, cut: int, *, mirror: bool = True, smallest: float = 0.2
) -> CutPictures:
    """Cache the activations of a catalogue's pictures before block `cut`, and of their mirror images beside them.

    Raises:
        UserError: the encoder cannot be cut there, or the disk has no room.
    """
    return CutPictures(model, cut, cache_sides(model, catalog, cut, mirror=mirror), smallest)


def cut_texts(model: Model, catalog: Catalog, cut: int, texts: Sequence[str]) -> CutTexts:
    """Cache the activations of all texts before block `cut`, once for every prompt that differs.

    Raises:
        UserError: the encoder cannot be cut there, or the disk has no room.
    """
    encoder = model.encoder("text")
    by_prefix: dict[str, TokenCache] = {}
    for prompt in PROMPTS:
        if encoder.prompt(prompt) not in by_prefix:
            by_prefix[encoder.prompt(prompt)] = TokenCache(model, cut, texts, prompt, catalog.cache)
    return CutTexts(model, {prompt: by_prefix[encoder.prompt(prompt)] for prompt in PROMPTS})


def _parts(rows: Rows, mirror: NDArray[np.bool_] | None) -> Iterator[tuple[Rows, NDArray[np.bool_] | None]]:
    for places in batches(range(len(rows)), _EVALUATED_AT_ONCE):
        yield rows[places], None if mirror is None else mirror[places]

"""Occlusion: what the cosine of a query with an item loses without a word of the item's texts or a part of its picture.

Of a picture, the head sees all patches but a block, from one pass through the backbone. Of a text with few words, each
is left out in turn, and what is left is encoded again; where that would take long, and the encoder allows it, the
losses are read from derivatives (`encoders.weighted_text`).
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, cast

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image, ImageOps
from torch import Tensor
from torch.nn import functional

from likewise.errors import UserError
from likewise.model.featurizer import Featurizer
from likewise.model.network import Network

Vectors = NDArray[np.float32]

_COPIES = 3  # of a text, among which its words are divided for the derivatives
_PASSES = 3  # that a derivative takes as long as
_MOST_TOKENS = 1_024  # of all copies or variants of a text together, about 60 ms on two cores
_BLOCK_SHARE = 2 / 7  # of the picture's side is hidden at once
_MASKS_AT_ONCE = 64  # of which each takes as much memory as a picture's features
_PROMPT = "document"


class FieldScore:
    """The cosine of a query with an item of which one field changes.

    Args:
        field: that changes.
        query: (dim,), of the model's dimensions or of the first ones of an index that was cut.
        others: the vectors (dim,) of the item's other fields.
    """

    def __init__(self, network: Network, field: str, query: Vectors, others: Mapping[str, Vectors]) -> None:
        self._network = network
        self._place = network.fields.index(field)
        self._device = network.fusion.gates.device
        self._query = torch.from_numpy(np.asarray(query, np.float32)).to(self._device)
        self._towers = torch.zeros(len(network.fields), network.dim, device=self._device)
        self._present = torch.zeros(len(network.fields), dtype=torch.bool, device=self._device)
        self._present[self._place] = True
        for name, vector in others.items():
            if name != field:
                self._towers[network.fields.index(name), : len(vector)] = torch.from_numpy(vector).to(self._device)
                self._present[network.fields.index(name)] = True

    def __call__(self, vectors: Tensor) -> Tensor:
        """The field's vectors (n, model dim) → cosines (n,)."""
        dim, count = len(self._query), len(vectors)
        short = functional.pad(functional.normalize(vectors[:, :dim], dim=-1), (0, self._network.dim - dim))
        towers = self._towers.expand(count, -1, -1)
        towers = torch.cat([towers[:, : self._place], short[:, None], towers[:, self._place + 1 :]], dim=1)
        fused = self._network.fuse(towers, self._present.expand(count, -1))[:, :dim]
        return functional.normalize(fused, dim=-1) @ self._query

    def without_field(self) -> float:
        """The cosine of the item without the field; 0 where it has no other."""
        present = self._present.clone()
        present[self._place] = False
        if not present.any():
            return 0.0
        with torch.inference_mode():
            fused = self._network.fuse(self._towers[None], present[None])[0, : len(self._query)]
            return float(functional.normalize(fused, dim=0) @ self._query)


def measure_words(
    network: Network,
    featurizer: Featurizer,
    text: str,
    spans: Sequence[tuple[int, int]],
    field: str,
    score: FieldScore,
    packed: Featurizer | None = None,
) -> Vectors:
    """What the cosine loses without each of some words of a text: (words,).

    Args:
        featurizer: of the text encoder, without memory.
        packed: one that encodes variants of a text quicker, if there is one.
        spans: where the words stand (start, end), in order; the text has no blanks at its ends.
    """

    def rate(features: Tensor) -> Tensor:
        return score(network.tower(field, features.float()))

    if not spans:
        return np.zeros(0, np.float32)
    inputs = featurizer.encoder.prepare([text], prompt=_PROMPT)
    length = next(iter(inputs.values())).shape[1]
    if len(spans) > _PASSES * _COPIES:
        copies = max(1, min(_COPIES, _MOST_TOKENS // (_PASSES * length)))
        losses = _differentiate(featurizer, inputs, text, spans, copies, rate)
        if losses is not None:
            return losses
    return _leave_out(packed or featurizer, text, spans, max(1, _MOST_TOKENS // length), rate, score.without_field())


def _differentiate(
    featurizer: Featurizer,
    inputs: dict[str, Tensor],
    text: str,
    spans: Sequence[tuple[int, int]],
    copies: int,
    rate: Callable[[Tensor], Tensor],
) -> Vectors | None:
    """Losses by derivatives; None where the encoder does not allow it."""
    try:
        from likewise.encoders.weighted_text import can_weigh_tokens, find_tokens, measure_losses  # needs transformers
    except ImportError:
        return None
    encoder = cast(Any, featurizer.encoder)
    if not can_weigh_tokens(encoder):
        return None
    tokens = find_tokens(encoder, text, spans, _PROMPT)
    if tokens is None or tokens.shape[1] != inputs["input_ids"].shape[1]:
        return None
    with featurizer.autocast():
        moved, where = featurizer.move(inputs), tokens.to(featurizer.device)
        return measure_losses(encoder, moved, where, copies, rate).cpu().numpy()


def _leave_out(
    featurizer: Featurizer,
    text: str,
    spans: Sequence[tuple[int, int]],
    most: int,
    rate: Callable[[Tensor], Tensor],
    without_field: float,
) -> Vectors:
    """Losses by encoding the text again without each word; of more words than `most`, without neighbours together.

    Args:
        without_field: the cosine where nothing is left of the text.
    """
    runs = [run.tolist() for run in np.array_split(np.arange(len(spans)), min(most, len(spans)))]
    without = [remove_span(text, spans[run[0]][0], spans[run[-1]][1]) for run in runs]
    with torch.inference_mode():
        scores = rate(featurizer.texts([text, *without], _PROMPT)).cpu().numpy()
    scores[1:][[not any(map(str.isalnum, rest)) for rest in without]] = without_field
    losses = np.zeros(len(spans), np.float32)
    for run, loss in zip(runs, scores[0] - scores[1:], strict=True):
        losses[run] = loss / len(run)
    return losses


def remove_span(text: str, start: int, end: int) -> str:
    """A text without what stands from `start` to `end`, and without the blank behind it."""
    rest = text[end:]
    return (text[:start] + (rest[1:] if rest[:1] == " " else rest)).strip()


def measure_patches(network: Network, featurizer: Featurizer, picture: Image.Image, score: FieldScore) -> Vectors:
    """What the cosine loses without each patch of a picture: (rows, columns).

    Overlapping blocks of patches are hidden in turn. The loss of a block is divided among its patches, and a patch has
    the mean of its blocks.

    Raises:
        UserError: the encoder keeps no patches.
    """
    encoder = featurizer.encoder
    if encoder.grid is None:
        raise UserError(
            f"the picture encoder {encoder.name} keeps no patches that a heat map could show: it gives one vector for "
            "the whole picture"
        )
    hidden = list_blocks(*encoder.grid)
    seen = torch.from_numpy(np.concatenate([np.ones((1, *encoder.grid), bool), ~hidden]))
    sides = [(picture, seen)]
    if network.hflip_tta:
        sides.append((ImageOps.mirror(picture), seen.flip(2)))
    vectors = torch.stack([_embed_seen(network, featurizer, side, masks) for side, masks in sides]).sum(dim=0)
    with torch.inference_mode():
        scores = score(vectors).cpu().numpy()
    losses = (scores[0] - scores[1:]) / hidden.sum(axis=(1, 2))
    spread = (losses[:, None, None] * hidden).sum(axis=0) / np.maximum(1, hidden.sum(axis=0))
    return np.asarray(spread, np.float32)


def list_blocks(rows: int, columns: int) -> NDArray[np.bool_]:
    """The blocks that are hidden in turn, which overlap and reach across the borders: (n, rows, columns) bool."""
    sides = [max(1, round(_BLOCK_SHARE * count)) for count in (rows, columns)]
    steps = [max(1, side // 2) for side in sides]
    blocks = []
    for top in range(1 - sides[0], rows, steps[0]):
        for left in range(1 - sides[1], columns, steps[1]):
            block = np.zeros((rows, columns), bool)
            block[max(0, top) : top + sides[0], max(0, left) : left + sides[1]] = True
            if not block.all():
                blocks.append(block)
    return np.array(blocks).reshape(-1, rows, columns)


def _embed_seen(network: Network, featurizer: Featurizer, picture: Image.Image, seen: Tensor) -> Tensor:
    """(n, dim) of a picture of which the patches `seen` (n, rows, columns) are seen."""
    encoder = featurizer.encoder
    flat = seen.flatten(1).to(featurizer.device)
    with torch.inference_mode():
        with featurizer.autocast():
            features = encoder.forward_seen(featurizer.move(encoder.prepare([picture])), flat).float()
        masks = functional.pad(flat, (encoder.prefix, 0), value=True)
        portions = zip(features.split(_MASKS_AT_ONCE), masks.split(_MASKS_AT_ONCE), strict=True)
        return torch.cat([network.tower("image", *portion) for portion in portions])

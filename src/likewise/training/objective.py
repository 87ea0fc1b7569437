"""The loss of one step: what a batch shows, what else it is told apart from, and which of that is the same thing."""

import math
from dataclasses import dataclass
from typing import cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from likewise.config import TrainConfig
from likewise.encoders.base import Encoder
from likewise.model.network import Network
from likewise.training.features import Features, random_holes, random_patches
from likewise.training.identity import Codes, Identity
from likewise.training.losses import nt_xent, shared
from likewise.training.views import KINDS, Bools, RowTexts, distinct_titles, draw_pairs, drop_fields

Rows = NDArray[np.int64]
_TITLE, _SENTENCE, _PICTURE, _QUERY = range(len(KINDS))
_HIGHEST_SCALE = 100.0  # a temperature below 0.01 makes the loss blind to all but the hardest negative


@dataclass(frozen=True)
class TrainingSet:
    """The rows that train: their texts, identities and pictures."""

    rows: Rows
    texts: RowTexts
    identity: Identity
    pictured: Bools  # (all rows,)
    prototypes: tuple[Codes, Codes]  # text indices and title codes of the distinct titles

    @classmethod
    def of(cls, rows: Rows, texts: RowTexts, identity: Identity, pictured: Bools) -> "TrainingSet":
        """Collect; rows that show nothing in any pair stay, and simply give no pair."""
        return cls(rows, texts, identity, pictured, distinct_titles(texts, identity.title, rows))


class Objective(nn.Module):
    """Symmetric NT-Xent over all pairs of a batch, with a learned temperature.

    Args:
        network: gives the vectors.
        features: cached ones make further negatives cheap; live ones are only computed for the batch.
        data: the training rows.
        config: temperature, negatives, prototypes, patch_area.
    """

    def __init__(self, network: Network, features: Features, data: TrainingSet, config: TrainConfig) -> None:
        super().__init__()
        self.network = network
        self.features = features
        self.data = data
        self.config = config
        self.log_scale = nn.Parameter(torch.tensor(-math.log(config.temperature)))

    @property
    def scale(self) -> Tensor:
        """() 1 / temperature, clamped."""
        return self.log_scale.exp().clamp(max=_HIGHEST_SCALE)

    def has_pairs(self) -> bool:
        """Whether any training row gives a pair at all."""
        rows = self.data.rows
        return len(draw_pairs(self.data.texts, rows, self.data.pictured[rows], np.random.default_rng(0)).kind) > 0

    def forward(self, batch: Rows, rng: np.random.Generator) -> Tensor:
        """() the loss of a batch of row numbers; `rng` decides views, crops and further negatives."""
        texts, identity = self.data.texts, self.data.identity
        pictured = self.data.pictured[batch]
        pairs = draw_pairs(texts, batch, pictured, rng)
        pictures = self._pictures(batch, pictured, rng)
        anchors = self._anchors(pairs.query, pictures[pairs.row])
        items = self._items(pairs.title, pairs.description, pictures[pairs.row], pairs.picture)
        rows = batch[pairs.row]
        extra_rows, extras = self._further_items(batch, rng)
        prototype_texts, prototype_codes = self._prototypes(rng)
        prototypes = self._anchors(prototype_texts, None)

        kind, device = torch.from_numpy(pairs.kind), anchors.device
        same = self._same_thing(rows, rows, kind)
        related = self._related(rows, rows)
        titles = torch.from_numpy(identity.title[rows])
        same_title = shared([(titles, torch.from_numpy(prototype_codes))])
        is_picture = (kind == _PICTURE)[:, None]
        title_hidden = torch.from_numpy(pairs.title < 0)[:, None]
        none = torch.zeros(len(rows), len(extra_rows), dtype=torch.bool)

        forward = nt_xent(
            anchors,
            torch.cat([items, extras, prototypes]),
            torch.cat([same, none, same_title & is_picture], dim=1).to(device),
            # a text query and a title are both queries: only pictures are told apart by titles
            torch.cat([related, self._related(rows, extra_rows), ~is_picture | same_title], dim=1).to(device),
            self.scale,
        )
        backward = nt_xent(
            items,
            torch.cat([anchors, prototypes]),
            torch.cat([same.T, same_title & title_hidden], dim=1).to(device),
            torch.cat([related.T, same_title], dim=1).to(device),
            self.scale,
        )
        return (forward + backward) / 2

    def _same_thing(self, anchors: Rows, items: Rows, kind: Tensor) -> Tensor:
        """(a, c) bool: the item answers the anchor, by the identity that its kind of view looks at."""
        identity, texts = self.data.identity, self.data.texts
        by_kind = {
            _TITLE: [identity.title],
            _SENTENCE: [identity.description],
            _PICTURE: [identity.picture, identity.title],
            _QUERY: [texts.query],
        }
        same = torch.from_numpy(anchors[:, None] == items[None, :])
        for number, codes in by_kind.items():
            same |= (kind == number)[:, None] & shared(_pairs_of(codes, anchors, items))
        return same

    def _related(self, anchors: Rows, items: Rows) -> Tensor:
        """(a, c) bool: too much alike to be told apart."""
        identity = self.data.identity
        codes = [identity.title, identity.description, identity.picture, identity.component]
        return shared(_pairs_of(codes, anchors, items))

    def _pictures(self, rows: Rows, pictured: Bools, rng: np.random.Generator) -> Tensor:
        """(rows, dim) the picture tower, each picture seen through a random rectangle; 0 where there is none."""
        vectors = torch.zeros(len(rows), self.network.dim, device=self.log_scale.device)
        shown = np.flatnonzero(pictured)
        if len(shown) and "image" in self.network.fields:
            features = self.features.pictures(rows[shown], rng.random(len(shown)) < 0.5, rng)
            patches = self._seen_patches(features, rng)
            places = torch.from_numpy(shown).to(features.device)
            vectors = vectors.index_copy(0, places, self.network.tower("image", features, patches))
        return vectors

    def _seen_patches(self, features: Tensor, rng: np.random.Generator) -> Tensor | None:
        """(n, tokens) bool: a random rectangle of the grid, unless the features are one already, with random holes."""
        encoder = cast(Encoder, self.network.encoders["image"])
        if encoder.grid is None:
            return None
        count, tokens = features.shape[:2]
        area, dropout = self.config.patch_area, self.config.patch_dropout
        if self.features.crops:
            seen = random_holes(count, tokens, encoder.prefix, dropout, rng)
        else:
            seen = random_patches(count, encoder.grid, encoder.prefix, area, dropout, rng)
        return seen.to(features.device)

    def _anchors(self, query: Codes, pictures: Tensor | None) -> Tensor:
        """(n, dim) the query tower of texts, the picture tower where the text index is −1."""
        vectors = torch.zeros(len(query), self.network.dim, device=self.log_scale.device)
        worded = np.flatnonzero(query >= 0)
        if len(worded):
            distinct, place = np.unique(query[worded], return_inverse=True)
            encoded = self.network.query(self.features.texts(distinct, "query"))[torch.from_numpy(place)]
            vectors = vectors.index_copy(0, torch.from_numpy(worded).to(vectors.device), encoded)
        if pictures is None:
            return vectors
        return torch.where(torch.from_numpy(query < 0).to(vectors.device)[:, None], pictures, vectors)

    def _items(self, title: Codes, description: Codes, pictures: Tensor, shows_picture: Bools) -> Tensor:
        """(n, dim) fused items that show these texts (−1: not shown) and pictures."""
        towers, present = [], []
        for field in self.network.fields:
            if field == "image":
                towers.append(pictures)
                present.append(shows_picture)
                continue
            indices = title if field == "title" else description
            vectors = torch.zeros_like(pictures)
            shown = np.flatnonzero(indices >= 0)
            if len(shown):
                distinct, place = np.unique(indices[shown], return_inverse=True)
                encoded = self.network.tower(field, self.features.texts(distinct, "document"))[torch.from_numpy(place)]
                vectors = vectors.index_copy(0, torch.from_numpy(shown).to(vectors.device), encoded)
            towers.append(vectors)
            present.append(indices >= 0)
        mask = torch.from_numpy(np.stack(present, axis=1)).to(pictures.device)
        return self.network.fuse(torch.stack(towers, dim=1), mask)

    def _further_items(self, batch: Rows, rng: np.random.Generator) -> tuple[Rows, Tensor]:
        """Other training rows, seen through random fields, that fill a small batch up with negatives."""
        wanted = min(self.config.negatives - len(batch), len(self.data.rows)) if self.features.cheap_pictures else 0
        if wanted <= 0:
            return np.empty(0, np.int64), torch.empty(0, self.network.dim, device=self.log_scale.device)
        rows = rng.choice(self.data.rows, wanted, replace=False)
        texts = self.data.texts
        present = np.stack([texts.title[rows] >= 0, texts.description[rows] >= 0, self.data.pictured[rows]], axis=1)
        rows, present = rows[present.any(axis=1)], present[present.any(axis=1)]
        shown = drop_fields(present, rng)
        pictures = self._pictures(rows, shown[:, 2], rng)
        title = np.where(shown[:, 0], texts.title[rows], -1)
        description = np.where(shown[:, 1], texts.description[rows], -1)
        return rows, self._items(title, description, pictures, shown[:, 2])

    def _prototypes(self, rng: np.random.Generator) -> tuple[Codes, Codes]:
        """Text indices and title codes of distinct titles."""
        indices, title_codes = self.data.prototypes
        count = self.config.prototypes if self.features.cheap_texts else 0
        if len(indices) > count:
            chosen = rng.choice(len(indices), count, replace=False)
            indices, title_codes = indices[chosen], title_codes[chosen]
        return indices, title_codes


def _pairs_of(codes: list[Codes], anchors: Rows, items: Rows) -> list[tuple[Tensor, Tensor]]:
    return [(torch.from_numpy(code[anchors]), torch.from_numpy(code[items])) for code in codes]

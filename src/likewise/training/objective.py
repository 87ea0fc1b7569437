"""The loss of one step: towers encode what a batch shows, fusion makes items of that, the loss compares them."""

import math
from collections.abc import Mapping, Sequence
from typing import cast

import numpy as np
import torch
from torch import Tensor, nn

from likewise.config import TrainConfig
from likewise.encoders.base import Encoder
from likewise.model.matryoshka import build_variants
from likewise.model.network import Network
from likewise.training.batches import KINDS, Batch, ItemViews, Rows, TowerInput, TrainingSet, draw_batch
from likewise.training.distributed import Processes
from likewise.training.features import Features, random_holes, random_patches, read_field, take_rows
from likewise.training.gradient_cache import backward_in_parts
from likewise.training.left_out import LeftOutTowers
from likewise.training.left_out_maps import LeftOutMaps
from likewise.training.losses import CodedEmbeddings, ContrastiveBatch, Grades, pairwise_sigmoid, symmetric_nt_xent
from likewise.training.positives import code_anchors, code_extra_negatives, code_items, code_title_negatives

_HIGHEST_SCALE = 100.0  # a temperature below 0.01 makes the loss blind to all but the hardest negative
# Above a closed form that stays, pictures as anchors and sentences make text heads find no more by titles, or less.
_KINDS_ABOVE_STARTS = ("title",)
_FIRST_BIAS = -10.0  # of the sigmoid loss, as in SigLIP: almost all pairs are negatives


def seed_generators(seed: int, device: torch.device) -> None:
    """Seed what dropout draws from, as `torch.manual_seed` does, which is slow as it asks unused devices, too."""
    torch.default_generator.manual_seed(seed)
    if device.type == "cuda":
        torch.cuda.manual_seed(seed)
    elif device.type == "mps":
        torch.mps.manual_seed(seed)


class Objective(nn.Module):
    """A contrastive loss over all pairs of a batch, with a learned temperature.

    Args:
        network: gives the vectors.
        features: cached ones make extra negatives cheap; live ones are only computed for the batch.
        data: the training rows.
        config: loss, temperature, matryoshka, quantization, negatives, title_negatives, patch_area, grad_cache_chunk.
        processes: those that train together.
        left_out: answers for rows whose own group the closed forms have not seen; None: none of them stays as it is.
        left_out_maps: the same of a linear map of pictures that trains; None: there is none, or rows may see their own.
    """

    def __init__(
        self,
        network: Network,
        features: Features,
        data: TrainingSet,
        config: TrainConfig,
        processes: Processes = Processes.ALONE,
        left_out: LeftOutTowers | None = None,
        left_out_maps: LeftOutMaps | None = None,
    ) -> None:
        super().__init__()
        self.network = network
        self.features = features
        self.data = data
        self.config = config
        self.processes = processes
        self.left_out = left_out
        self.left_out_maps = left_out_maps
        self.variants = build_variants(config)
        self.log_scale = nn.Parameter(torch.tensor(-math.log(config.temperature)))
        if config.loss == "sigmoid":
            self.bias = nn.Parameter(torch.tensor(_FIRST_BIAS))

    @property
    def scale(self) -> Tensor:
        """() 1 / temperature, clamped."""
        return self.log_scale.exp().clamp(max=_HIGHEST_SCALE)

    def forward(self, rows: Rows, step: int) -> Tensor:
        """() the loss of a batch of row numbers (this process's share of it), everything in memory at once."""
        batch = self.draw(rows, step)
        return self.loss(batch, {each.tower: self.encode(each) for each in batch.inputs})

    def backward(self, rows: Rows, step: int) -> Tensor:
        """Add the gradients of a batch's loss to those of the parameters, in chunks where `grad_cache_chunk` says so.

        Returns:
            () the loss, of all processes.
        """
        batch = self.draw(rows, step)
        if self.config.grad_cache_chunk is None:
            loss = self.loss(batch, {each.tower: self.encode(each) for each in batch.inputs})
            if loss.requires_grad:
                loss.backward()
        else:
            loss = backward_in_parts(
                batch.inputs, self.config.grad_cache_chunk, self.encode, lambda towers: self.loss(batch, towers)
            )
        return self.processes.sum_number(loss.detach()) if self.processes.count > 1 else loss.detach()

    def draw(self, rows: Rows, step: int) -> Batch:
        """The pairs and extra negatives of a step."""
        return draw_batch(
            self.data,
            rows,
            self.config,
            step,
            fields=self.network.fields,
            cheap_texts=self.features.cheap_texts,
            cheap_pictures=self.features.cheap_pictures,
            per_row=() if self.left_out is None else self.left_out.per_row_fields,
            known=() if self.left_out is None else self.left_out.further_fields,
            kinds=KINDS if self.left_out is None else _KINDS_ABOVE_STARTS,
            process=self.processes.rank,
            processes=self.processes.count,
        )

    def encode(self, given: TowerInput) -> Tensor:
        """(values, dim) what a tower makes of an input, or of a part of it; its seed decides crops and dropout."""
        seed_generators(given.random_seed, self.log_scale.device)
        if not len(given.values):
            return torch.empty(0, self.network.dim, device=self.log_scale.device)
        if given.tower == "query":
            return self.network.query(self.features.texts(given.values, "query"))
        if self.left_out is not None and given.tower in self.left_out.fields:
            return self.left_out.embed(given.tower, given.values)
        if given.tower != "image":
            return self.network.tower(given.tower, read_field(self.features, self.network, given.tower, given.values))
        rng = np.random.default_rng(given.random_seed)
        features = self.features.pictures(given.values, given.mirrored, rng)
        shift = None if self.left_out_maps is None else self.left_out_maps.shift(given.values)
        return cast(Tensor, self.network.picture_head(features, self._draw_patches(features, rng), shift=shift))

    def loss(self, batch: Batch, towers: Mapping[str, Tensor]) -> Tensor:
        """() the loss of what the towers made of a batch's inputs, averaged over the variants of the vectors.

        With several processes, this process's share of it.
        """
        contrastive = self.build_contrastive_batch(batch, towers)
        return torch.stack([self._compute_loss(contrastive.transform(variant)) for variant in self.variants]).mean()

    def _compute_loss(self, batch: ContrastiveBatch) -> Tensor:
        smoothing = self.config.label_smoothing
        if self.config.loss == "sigmoid":
            return pairwise_sigmoid(batch, self.scale, self.bias, smoothing=smoothing)
        return symmetric_nt_xent(batch, self.scale, smoothing=smoothing)

    def build_contrastive_batch(self, batch: Batch, towers: Mapping[str, Tensor]) -> ContrastiveBatch:
        """The embeddings of all processes with their identity codes."""
        data, encoded, together = self.data, _TowerOutputs(batch.inputs, towers), self.processes.count > 1
        anchors, items = encoded.gather_anchors(batch), self._fuse(encoded, batch, batch.items)
        if together:
            anchors, items = (self.processes.gather(vectors, batch.shares) for vectors in (anchors, items))
        title_negatives = code_title_negatives(data, batch).attach(encoded.gather("query", batch.title_negatives[0]))
        extra_negatives = code_extra_negatives(data, batch).attach(self._fuse(encoded, batch, batch.extra_negatives))
        return ContrastiveBatch(
            code_anchors(data, batch).attach(anchors),
            code_items(data, batch).attach(items),
            extra_items=CodedEmbeddings.concatenate([extra_negatives, title_negatives]),
            extra_anchors=title_negatives,
            grades=self._grade(batch),
            own=batch.own if together else None,
            sum_over_processes=self.processes.sum_number if together else None,
        )

    def _fuse(self, encoded: "_TowerOutputs", batch: Batch, items: ItemViews) -> Tensor:
        """(n, dim) items, each of the fields that it shows."""
        fields = [field for field in self.network.fields if field not in batch.known]
        vectors = [encoded.vectors(field) for field in fields]
        places = np.stack([encoded.places(field, batch.values(items, field)) for field in fields], axis=1)
        numbers = [self.network.fields.index(field) for field in fields]
        others = None if self.left_out is None or not batch.known else self.left_out.sum_further(items)
        return self.network.fusion.fuse_values(vectors, _tensor(places, self.log_scale), numbers, others)

    def _grade(self, batch: Batch) -> Grades | None:
        if not self.data.graded:
            return None
        device = self.log_scale.device
        graded = torch.from_numpy(batch.pairs.kind == KINDS.index("query")).to(device)
        return Grades(graded, torch.from_numpy(batch.pairs.weight).float().to(device))

    def _draw_patches(self, features: Tensor, rng: np.random.Generator) -> Tensor | None:
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


class _TowerOutputs:
    """What the towers made of a batch's inputs, looked up by value."""

    def __init__(self, inputs: Sequence[TowerInput], towers: Mapping[str, Tensor]) -> None:
        self._values = {each.tower: each.values for each in inputs}
        self._towers = towers

    def vectors(self, tower: str) -> Tensor:
        """(values, dim) of a tower's distinct inputs."""
        return self._towers[tower]

    def places(self, tower: str, wanted: Rows) -> Rows:
        """(n,) where texts, values or rows' pictures are among these; −1 for −1."""
        return np.where(wanted >= 0, np.searchsorted(self._values[tower], wanted), -1)

    def gather(self, tower: str, wanted: Rows) -> Tensor:
        """(n, dim) of texts or of rows' pictures; 0 for −1."""
        vectors, places = self._towers[tower], self.places(tower, wanted)
        shown = np.flatnonzero(places >= 0)
        found = vectors.new_zeros(len(wanted), vectors.shape[1])
        if not len(shown):
            return found
        return found.index_copy(0, _tensor(shown, vectors), take_rows(vectors, _tensor(places[shown], vectors)))

    def gather_anchors(self, batch: Batch) -> Tensor:
        """(pairs, dim) of this process: the query tower of texts, the image tower where the anchor is a picture."""
        query, row = batch.pairs.query[batch.own], batch.row[batch.own]
        texts = self.gather("query", query)
        if not (query < 0).any():
            return texts
        return texts + self.gather("image", np.where(query < 0, row, -1))


def _tensor(places: Rows, like: Tensor) -> Tensor:
    return torch.from_numpy(places).to(like.device)

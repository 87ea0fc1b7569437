"""The loss of one step: towers encode what the plan shows, fusion makes items of it, the loss tells them apart."""

import math
from collections.abc import Callable, Mapping, Sequence
from typing import cast

import numpy as np
import torch
from torch import Tensor, nn

from likewise.config import TrainConfig
from likewise.encoders.base import Encoder
from likewise.model.network import FIELD_MODALITY, Network
from likewise.training.batches import Items, Job, Plan, Rows, TrainingSet, draw_plan
from likewise.training.contrast import Contrast, Grades, Side
from likewise.training.distributed import Processes
from likewise.training.features import Features, random_holes, random_patches
from likewise.training.forms import forms_of
from likewise.training.gradient_cache import backward_in_parts
from likewise.training.indexing import take_rows
from likewise.training.losses import in_every_form, pairwise_sigmoid, symmetric_nt_xent
from likewise.training.positives import anchor_codes, further_codes, item_codes, title_negative_codes
from likewise.training.views import KINDS

_HIGHEST_SCALE = 100.0  # a temperature below 0.01 makes the loss blind to all but the hardest negative
_FIRST_BIAS = -10.0  # of the sigmoid loss, as in SigLIP: almost all pairs are negatives


class Objective(nn.Module):
    """A contrastive loss over all pairs of a batch, with a learned temperature.

    Args:
        network: gives the vectors.
        features: cached ones make further negatives cheap; live ones are only computed for the batch.
        data: the training rows.
        config: loss, temperature, forms, negatives, title_negatives, patch_area, grad_cache_chunk.
        processes: those that train together.
    """

    def __init__(
        self,
        network: Network,
        features: Features,
        data: TrainingSet,
        config: TrainConfig,
        processes: Processes = Processes.ALONE,
    ) -> None:
        super().__init__()
        self.network = network
        self.features = features
        self.data = data
        self.config = config
        self.processes = processes
        self.forms = forms_of(config)
        self.log_scale = nn.Parameter(torch.tensor(-math.log(config.temperature)))
        if config.loss == "sigmoid":
            self.bias = nn.Parameter(torch.tensor(_FIRST_BIAS))

    @property
    def scale(self) -> Tensor:
        """() 1 / temperature, clamped."""
        return self.log_scale.exp().clamp(max=_HIGHEST_SCALE)

    def forward(self, batch: Rows, step: int) -> Tensor:
        """() the loss of a batch of row numbers (this process's share of it), everything in memory at once."""
        plan = self.plan(batch, step)
        return self.loss(plan, {job.tower: self.encode(job) for job in plan.jobs})

    def backward(self, batch: Rows, step: int) -> Tensor:
        """Add the gradients of a batch's loss to those of the parameters, in chunks where `grad_cache_chunk` says so.

        Returns:
            () the loss, of all processes.
        """
        plan = self.plan(batch, step)
        if self.config.grad_cache_chunk is None:
            loss = self.loss(plan, {job.tower: self.encode(job) for job in plan.jobs})
            if loss.requires_grad:
                loss.backward()
        else:
            loss = backward_in_parts(
                plan.jobs, self.config.grad_cache_chunk, self.encode, lambda towers: self.loss(plan, towers)
            )
        return self.processes.summed(loss.detach())

    def plan(self, batch: Rows, step: int) -> Plan:
        """What the step shows."""
        return draw_plan(
            self.data,
            batch,
            self.config,
            step,
            fields=self.network.fields,
            cheap_texts=self.features.cheap_texts,
            cheap_pictures=self.features.cheap_pictures,
            process=self.processes.rank,
            processes=self.processes.count,
        )

    def encode(self, job: Job) -> Tensor:
        """(values, dim) what a tower makes of a job, or of a part of it; the job's seed decides crops and dropout."""
        torch.manual_seed(job.random_seed)
        if not len(job.values):
            return torch.empty(0, self.network.dim, device=self.log_scale.device)
        if job.tower == "query":
            return self.network.query(self.features.texts(job.values, "query"))
        if FIELD_MODALITY[job.tower] == "text":
            return self.network.tower(job.tower, self.features.texts(job.values, "document"))
        rng = np.random.default_rng(job.random_seed)
        features = self.features.pictures(job.values, job.mirrored, rng)
        return self.network.tower(job.tower, features, self._seen_patches(features, rng))

    def loss(self, plan: Plan, towers: Mapping[str, Tensor]) -> Tensor:
        """() the loss of what the towers made of the plan's jobs; this process's share of it."""
        return in_every_form(self._loss_of_contrast(), self.contrast(plan, towers), self.forms)

    def _loss_of_contrast(self) -> Callable[[Contrast], Tensor]:
        smoothing = self.config.label_smoothing
        if self.config.loss == "sigmoid":
            return lambda contrast: pairwise_sigmoid(contrast, self.scale, self.bias, smoothing=smoothing)
        return lambda contrast: symmetric_nt_xent(contrast, self.scale, smoothing=smoothing)

    def contrast(self, plan: Plan, towers: Mapping[str, Tensor]) -> Contrast:
        """The vectors of all processes side by side, with what makes them the same thing."""
        data, encoded = self.data, _Encoded(plan.jobs, towers)
        anchors = self.processes.gathered(encoded.anchors(plan), plan.shares)
        items = self.processes.gathered(self._fused(encoded, plan.items), plan.shares)
        title_negatives = title_negative_codes(data, plan).of(encoded.of("query", plan.title_negatives[0]))
        further = further_codes(data, plan).of(self._fused(encoded, plan.further))
        return Contrast(
            anchor_codes(data, plan).of(anchors),
            item_codes(data, plan).of(items),
            beside_items=Side.joined([further, title_negatives]),
            beside_anchors=title_negatives,
            grades=self._grades(plan),
            own=plan.own if self.processes.count > 1 else None,
            summed=self.processes.summed,
        )

    def _fused(self, encoded: "_Encoded", items: Items) -> Tensor:
        """(n, dim) items, each of the fields that it shows."""
        towers = {field: encoded.of(field, items.values(field)) for field in self.network.fields}
        present = np.stack([items.values(field) >= 0 for field in self.network.fields], axis=1)
        mask = torch.from_numpy(present).to(self.log_scale.device)
        return self.network.fuse(torch.stack(list(towers.values()), dim=1), mask)

    def _grades(self, plan: Plan) -> Grades | None:
        if not self.data.texts.asked.graded:
            return None
        device = self.log_scale.device
        graded = torch.from_numpy(plan.pairs.kind == KINDS.index("query")).to(device)
        return Grades(graded, torch.from_numpy(plan.pairs.weight).float().to(device))

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


class _Encoded:
    """What the towers made of a plan's jobs, found by value."""

    def __init__(self, jobs: Sequence[Job], towers: Mapping[str, Tensor]) -> None:
        self._values = {job.tower: job.values for job in jobs}
        self._towers = towers

    def of(self, tower: str, wanted: Rows) -> Tensor:
        """(n, dim) of texts or of rows' pictures; 0 for −1."""
        vectors = self._towers[tower]
        shown = np.flatnonzero(wanted >= 0)
        places = np.searchsorted(self._values[tower], wanted[shown])
        found = vectors.new_zeros(len(wanted), vectors.shape[1])
        if not len(shown):
            return found
        return found.index_copy(0, _tensor(shown, vectors), take_rows(vectors, _tensor(places, vectors)))

    def anchors(self, plan: Plan) -> Tensor:
        """(pairs, dim) of this process: the query tower of texts, the picture tower where a picture asks."""
        query, row = plan.pairs.query[plan.own], plan.row[plan.own]
        texts = self.of("query", query)
        if not (query < 0).any():
            return texts
        return texts + self.of("image", np.where(query < 0, row, -1))


def _tensor(places: Rows, beside: Tensor) -> Tensor:
    return torch.from_numpy(places).to(beside.device)

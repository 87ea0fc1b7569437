"""Folds of cross-validation: rows that are held out, and towers that are fitted and trained on the other rows."""

import dataclasses
from dataclasses import dataclass
from typing import Self

import numpy as np
from torch import nn

from likewise.evaluation.calibration_queries import CalibrationByKind
from likewise.evaluation.embeddings import TaskEmbeddings
from likewise.model.matryoshka import build_variants
from likewise.training.batches import Rows, TrainingSet
from likewise.training.calibration import score_held_out
from likewise.training.closed_form_start import collect_on_leader, fit_start, set_start, weigh_description
from likewise.training.context import TrainingContext
from likewise.training.left_out import StartFit
from likewise.training.planner import Stage
from likewise.training.text_heads import Shares, build_left_out_towers, scale_learned, train_text_heads
from likewise.training.training_state import TrainingState
from likewise.training.validation import (
    FINE_METRIC,
    HeldOutTask,
    ValidationScores,
    Vectors,
    build_held_out_task,
    embed_rows,
    embed_task_queries,
    score_validation,
)

_MOST_KEPT = 2_500  # held-out rows up to which the vectors of their towers are kept from one share to the next


@dataclass
class Fold:
    """Rows that are held out, and what is fitted on the others.

    Attributes:
        held_out: the task that measures.
        data: the other rows.
        fits: the start, fitted on these.
        start: heads that have not trained.
        heads: at first those of the start; later those that have trained.
        known: (held-out rows, dim) by further field, whose towers do not train.
        state: of the training of the heads.
        embedded: vectors of the other towers, by the tower and the shares that it depends on.
    """

    held_out: HeldOutTask
    data: TrainingSet
    fits: dict[str, StartFit]
    start: nn.ModuleDict
    heads: nn.ModuleDict
    known: dict[str, Vectors]
    state: TrainingState = dataclasses.field(default_factory=TrainingState)
    embedded: dict[tuple[object, ...], Vectors] = dataclasses.field(default_factory=dict)

    @classmethod
    def fit(cls, context: TrainingContext, part: Rows, untrained: nn.ModuleDict) -> Self:
        """Fit the start without some rows; the network's heads are untrained, before and after.

        Args:
            part: (n,) the rows that are held out.
            untrained: heads (`Network.copy_heads`).
        """
        network, cached = context.model.network, context.cached
        held_out = build_held_out_task(context, part)
        data = context.build_training_set(np.setdiff1d(context.data.rows, part))
        fits = fit_start(context, collect_on_leader(context, data))
        set_start(context, fits)
        still = [field for field in held_out.task.fields if field in network.further_fields]
        known = {field: embed_rows(network, cached, data, held_out.rows, (field,)).field(field) for field in still}
        heads = network.copy_heads()
        network.restore_heads(untrained)
        return cls(held_out, data, fits, heads, heads, known)

    def train(self, context: TrainingContext, stage: Stage, seeds: int) -> None:
        """Train the text heads on all rows but those that are held out, up to a number of seeds in all."""
        network = context.model.network
        network.restore_heads(self.start)
        towers = build_left_out_towers(context, self.data, self.fits)
        train_text_heads(context, self.data, towers, stage, self.state, None, seeds=seeds)
        self.heads = network.copy_heads()
        self.embedded.clear()

    def embed(self, context: TrainingContext, shares: Shares) -> TaskEmbeddings:
        """Embed the held-out rows with some shares; a tower runs once for those that it depends on."""
        network, task, rows = context.model.network, self.held_out.task, self.held_out.rows
        depends = {
            "query": (shares.query,),
            "title": (shares.texts,),
            "description": (shares.description, shares.texts),
            "image": (shares.image,),
        }
        keys = {tower: (tower, *depends[tower]) for tower in ("query", *task.fields) if tower in depends}
        if len(rows) > _MOST_KEPT:
            self.embedded.clear()
        if any(key not in self.embedded for key in keys.values()):
            self._set_towers(context, shares)
            for tower, key in keys.items():
                if key not in self.embedded:
                    self.embedded[key] = self._run_tower(context, tower)
        known = self.known | {tower: self.embedded[key] for tower, key in keys.items() if tower != "query"}
        items = embed_rows(network, context.cached, context.data, rows, tuple(task.fields), known)
        return TaskEmbeddings(task, network, self.embedded[keys["query"]], items)

    def measure(self, context: TrainingContext, shares: Shares) -> ValidationScores:
        """Score the held-out rows with some shares; the result is the same in all processes."""
        scores = ValidationScores({})
        if context.processes.leads and self.held_out.subsets:
            embeddings = self.embed(context, shares)
            scores = score_validation(embeddings, self.held_out.subsets, build_variants(context.config), FINE_METRIC)
        return context.processes.from_leader(scores)

    def calibrate(self, context: TrainingContext, shares: Shares) -> CalibrationByKind:
        """The scores of queries for the held-out rows with some shares, for thresholds."""
        self._set_towers(context, shares)
        return score_held_out(context, context.cached, self.held_out.rows, self.data.rows)

    def _run_tower(self, context: TrainingContext, tower: str) -> Vectors:
        """Embed the held-out rows, or the queries, with one tower of the network in its present state."""
        if tower == "query":
            return embed_task_queries(context, context.cached, self.held_out)
        network, rows = context.model.network, self.held_out.rows
        return embed_rows(network, context.cached, context.data, rows, (tower,)).field(tower)

    def _set_towers(self, context: TrainingContext, shares: Shares) -> None:
        context.model.network.restore_heads(self.heads, shared=self.known)
        fits = weigh_description(self.fits, shares.description)
        set_start(context, {field: fit for field, fit in fits.items() if field not in self.known})
        scale_learned(context, shares)

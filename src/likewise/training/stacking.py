"""Stacking by cross-validation: a tower is its closed-form start plus a share of what training learned.

Training above a closed form gains on some catalogues and in some towers, and loses in others. So parts of the rows are
held out in turn, closed forms and heads are fitted on the others, and the scores of shares on the held-out parts choose
between them (stacked regressions; Breiman, 1996). A share of 0 is a fair outcome, and what loses more than one standard
error on any field subset, to the start or to kernel ridge, is not chosen, however much more it finds on others.

A quarter or half of what heads learned is kept, or nothing: all of it finds less of new items, and a few hundred
queries are too few to choose more finely. Where there is time, heads train again with other seeds, and their weights
are averaged (`text_heads`).
"""

import dataclasses
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from typing import Any, cast

import numpy as np
from torch import nn

from likewise.errors import UserError
from likewise.evaluation.calibration_queries import CalibrationByKind, join_scores
from likewise.evaluation.results import CrossValidation, Threshold
from likewise.evaluation.significance import bootstrap_interval
from likewise.files import read_record, write_record
from likewise.model.fusion import MaskedFusion
from likewise.model.matryoshka import build_variants
from likewise.progress import say
from likewise.training.calibration import keep_thresholds
from likewise.training.closed_form_start import set_start, weigh_description
from likewise.training.context import TrainingContext
from likewise.training.field_weights import measure_weights, read_field_weights, weigh_fields
from likewise.training.folds import Fold
from likewise.training.left_out import StartFit
from likewise.training.planner import Stage
from likewise.training.text_heads import Shares, scale_learned
from likewise.training.validation import CHANCE, FINE_METRIC, ValidationScores, loses

FILE = Path("training") / "stacking.json"
_FORMAT = 6
_KERNEL_SHARES = (0.0, 0.25, 0.5, 0.75, 1.0)
_LEARNED_SHARES = (0.25, 0.5)  # of what text heads and the offset of pictures learned, if any: all of it goes too far
_LEAST_LOSS = 1.0  # standard errors; what loses more than that to the start or to kernel ridge is not chosen
_PATIENCE = 2  # further seeds that gain nothing, after which no more are tried


@dataclass(frozen=True)
class Stacking:
    """The shares that cross-validation chose, and the scores that chose them.

    Attributes:
        start: share of kernel ridge in the description tower as training begins; None: there is none.
        shares: of the trained towers.
        seeds: number of trainings whose weights are averaged.
        validation: what was measured.
        threshold: the score below which nothing fits, calibrated on the queries of all folds; of the leading process.
    """

    start: float | None
    shares: Shares
    seeds: int
    validation: CrossValidation
    threshold: Threshold | None = None

    def weigh_start(self, fits: Mapping[str, StartFit]) -> dict[str, StartFit]:
        """The fits with the share of kernel ridge at which training begins; pictures start at all of it."""
        return weigh_description(fits, self.start)

    def shorten(self, stage: Stage) -> Stage:
        """The stage, with 0 epochs where none of what it learns would be kept."""
        if self.shares.learned:
            return stage
        return dataclasses.replace(stage, config=stage.config.model_copy(update={"epochs": 0}))

    def stack(self, context: TrainingContext, fits: Mapping[str, StartFit]) -> None:
        """Scale kernel ridge and what the heads of the network learned to their shares."""
        set_start(context, weigh_description(fits, self.shares.description))
        scale_learned(context, self.shares)

    def write(self, run: Path) -> None:
        """Write `training/stacking.json`, for a training that is resumed."""
        description, query, texts = self.shares
        values = {"kernel ridge": [self.start, description], "query": query, "texts": texts, "seeds": self.seeds}
        models = {name: getattr(self, name) for name in ("validation", "threshold")}
        dumped = {name: None if model is None else model.model_dump(mode="json") for name, model in models.items()}
        write_record(run / FILE, values | dumped, _FORMAT)

    @classmethod
    def read(cls, run: Path) -> "Stacking":
        """Read what `write` wrote.

        Raises:
            UserError: the file is missing or damaged.
        """
        try:
            record: dict[str, Any] = read_record(run / FILE, _FORMAT)
            start, description = (None if share is None else float(share) for share in record["kernel ridge"])
            threshold = None if record["threshold"] is None else Threshold(**record["threshold"])
            validation = CrossValidation(**record["validation"])
            shares = Shares(description, float(record["query"]), float(record["texts"]))
            return cls(start, shares, int(record["seeds"]), validation, threshold)
        except (OSError, ValueError, KeyError, TypeError):  # DamageError among them
            raise UserError(f"cannot resume: {run / FILE} is damaged; start over with --restart") from None


def cross_validate(context: TrainingContext, untrained: nn.ModuleDict, stage: Stage) -> Stacking:
    """Choose the shares once for a run, and leave the network with untrained heads.

    Args:
        untrained: heads (`Network.copy_heads`).
        stage: how the heads train.
    """
    if (context.run / FILE).is_file():
        chosen = Stacking.read(context.run)
        read_field_weights(context, untrained)
    else:
        chosen, scores = _choose_shares(context, untrained, stage)
        context.processes.wait()  # until all have seen that there was no file
        if context.processes.leads:
            chosen = dataclasses.replace(chosen, threshold=keep_thresholds(context, scores))
            chosen.write(context.run)
    context.model.network.restore_heads(untrained)
    context.processes.wait()
    say(_describe(chosen))
    return chosen


def _choose_shares(
    context: TrainingContext, untrained: nn.ModuleDict, stage: Stage
) -> tuple[Stacking, CalibrationByKind]:
    """Find the shares that score best, with more seeds while there is time and they gain something.

    Returns:
        The choice, and the scores of each fold's queries with these shares, on which thresholds are fitted.
    """
    context.model.network.restore_heads(untrained)
    folds = [Fold.fit(context, part, untrained) for part in context.measured_parts]
    search = _ShareSearch(context, folds)
    kernel_shares = _KERNEL_SHARES if any("description" in fold.fits for fold in folds) else (None,)
    kernel_ridge = Shares(kernel_shares[-1], 0.0, 0.0)
    _weigh_fields(context, folds, untrained, kernel_ridge)
    start = search.find_best(
        [kernel_ridge, *(Shares(share, 0.0, 0.0) for share in kernel_shares)], no_worse_than=(kernel_ridge,)
    )
    started, tried, scores = time.monotonic(), list[Stacking](), CalibrationByKind()
    for seeds in count(1):
        search.forget_learned()
        for number, fold in enumerate(folds, 1):
            fold.train(context, dataclasses.replace(stage, name=f"fold {number} of {len(folds)}"), seeds)
        tried.append(_stack_learned(search, start, kernel_shares, seeds))
        best = max(tried, key=lambda stacking: stacking.validation.chosen)
        if best is tried[-1]:  # later the heads have trained on
            scores = (
                join_scores(fold.calibrate(context, best.shares) for fold in folds) if context.processes.leads else {}
            )
        spent = (time.monotonic() - started) / seeds
        more = seeds - best.seeds < _PATIENCE and stage.affords(seeds + 1, spent, len(folds))
        if not context.processes.from_leader(more):
            break
    return best, scores


def _stack_learned(
    search: "_ShareSearch", start: Shares, kernel_shares: Sequence[float | None], seeds: int
) -> Stacking:
    """Choose how much of what the heads of all folds learned is kept: the same share everywhere, or nothing."""
    learned = [Shares(share, part, part) for part in _LEARNED_SHARES for share in kernel_shares]
    kernel_ridge = Shares(kernel_shares[-1], 0.0, 0.0)
    chosen = search.find_best([start, *learned], no_worse_than=(start, kernel_ridge), chance=_LEAST_LOSS)
    before, after = search.flat(start), search.flat(chosen)
    kernel = {} if chosen.description is None else {"kernel ridge of descriptions": chosen.description}
    return Stacking(
        start.description,
        chosen,
        seeds,
        CrossValidation(
            folds=len(search.folds),
            queries=sum(len(fold.held_out.task.texts) for fold in search.folds),
            metric=FINE_METRIC,
            start=_mean(before),
            chosen=_mean(after),
            gain=bootstrap_interval(after - before, search.number_queries()),
            shares=kernel | {"learned, queries": chosen.query, "learned, items": chosen.texts},
            seeds=seeds,
        ),
    )


def _weigh_fields(context: TrainingContext, folds: list[Fold], untrained: nn.ModuleDict, start: Shares) -> None:
    """Choose the weights of further fields; no tower has trained yet, so each runs once."""
    network, variants = context.model.network, build_variants(context.config)
    if not network.further_fields:
        return
    embedded = [fold.embed(context, start) if context.processes.leads else None for fold in folds]

    def measure() -> list[ValidationScores]:
        return context.processes.from_leader(
            [
                measure_weights(network, items, fold.held_out, variants)
                for items, fold in zip(embedded, folds, strict=True)
                if items is not None
            ]
        )

    copies = [cast(MaskedFusion, heads["fusion"]) for heads in (untrained, *(fold.heads for fold in folds))]
    weigh_fields(context, [network.fusion, *copies], measure)


class _ShareSearch:
    """Search for the best shares over all folds; each candidate is measured once.

    Attributes:
        folds: the folds that are measured.
        scores: of each fold, by shares.
    """

    def __init__(self, context: TrainingContext, folds: list[Fold]) -> None:
        self._context = context
        self.folds = folds
        self.scores: dict[Shares, list[ValidationScores]] = {}

    def find_best(
        self, candidates: list[Shares], no_worse_than: Sequence[Shares] = (), chance: float = CHANCE
    ) -> Shares:
        """The shares with the highest mean score; of equals the first.

        Args:
            no_worse_than: what scores less than one of these on any field subset, beyond chance, is not chosen; where
                that leaves nothing, the first of these is.
            chance: standard errors of a difference.
        """
        for shares in (*candidates, *no_worse_than):
            if shares not in self.scores:
                self.scores[shares] = [fold.measure(self._context, shares) for fold in self.folds]
        left = [each for each in candidates if not any(self._loses(each, other, chance) for other in no_worse_than)]
        return max(left or no_worse_than[:1], key=lambda shares: _mean(self.flat(shares)))

    def forget_learned(self) -> None:
        """Drop the scores of what heads have learned, before they train on; those of starts stay."""
        for shares in [shares for shares in self.scores if shares.learned]:
            del self.scores[shares]

    def flat(self, shares: Shares) -> np.ndarray:
        """(all scores,) the scores of all folds and subsets."""
        return np.concatenate([np.zeros(0), *(fold.flat for fold in self.scores[shares])])

    def number_queries(self) -> np.ndarray:
        """(all scores,) number of the query that each score of `flat` belongs to; one number for all its subsets."""
        parts, offset = [np.zeros(0, np.int64)], 0
        for fold in self.folds:
            queries = len(fold.held_out.task.texts)
            parts.append(np.tile(np.arange(offset, offset + queries), len(fold.held_out.subsets)))
            offset += queries
        return np.concatenate(parts)

    def _loses(self, shares: Shares, other: Shares, chance: float) -> bool:
        """Whether shares score less than others on any field subset, beyond chance."""
        return loses(zip(self.scores[shares], self.scores[other], strict=True), chance=chance)


def _mean(scores: np.ndarray) -> float:
    return float(scores.mean()) if len(scores) else 0.0


def _describe(chosen: Stacking) -> str:
    measured = chosen.validation
    folds = f"{measured.folds} folds" if measured.folds > 1 else "one fold"
    start = "" if chosen.start is None else f"the start takes {chosen.start:.0%} of kernel ridge of descriptions, and "
    description, query, texts = chosen.shares
    if chosen.shares.learned:
        kernel = "" if description is None else f"{description:.0%} of it, with "
        kept = f"the model {kernel}{query:.0%} (queries) and {texts:.0%} (items) of what training learns"
        kept += f" (the mean of {chosen.seeds} trainings)" if chosen.seeds > 1 else ""
    else:
        kept = "what training learns adds nothing on rows that it has not seen, so the start is kept"
    return (
        f"Cross-validation over {folds}, {measured.queries:,} queries: "
        f"{start}{kept} (mAP {measured.start:.3f} → {measured.chosen:.3f})"
    )

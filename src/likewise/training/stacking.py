"""Stacking by cross-validation: a tower is its closed-form start plus a share of what training learned.

Training above a closed form gains on some catalogues and in some towers, and loses in others. So parts of the rows are
held out in turn, closed forms and heads are fitted on the others, and what their shares score on the part chooses them
(stacked regressions; Breiman, 1996). A share of 0 is a fair outcome, and what loses beyond chance on any field subset
is not chosen, however much more it finds on others.

Heads train above half of the kernel ridge of descriptions: above all of it there is less left to learn.
"""

import dataclasses
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import Any, cast

import numpy as np
from torch import nn

from likewise.errors import UserError
from likewise.evaluation.embeddings import TaskEmbeddings
from likewise.evaluation.ranks import rank_candidates
from likewise.evaluation.results import CrossValidation, Threshold
from likewise.evaluation.significance import bootstrap_interval
from likewise.evaluation.threshold import calibrate_threshold
from likewise.files import read_record, write_record
from likewise.model.fusion import MaskedFusion
from likewise.model.matryoshka import build_variants
from likewise.progress import say
from likewise.training.batches import Rows, TrainingSet
from likewise.training.context import TrainingContext
from likewise.training.field_weights import read_field_weights, weigh_fields
from likewise.training.initialization import (
    ClosedForms,
    Regressions,
    collect_regressions,
    cross_fit_start,
    fit_closed_forms,
)
from likewise.training.left_out import LeftOutTowers, StartFit
from likewise.training.loop import fit
from likewise.training.objective import Objective
from likewise.training.optimizer import build_optimizer
from likewise.training.planner import Stage
from likewise.training.training_state import TrainingState
from likewise.training.validation import (
    HeldOutTask,
    ValidationScores,
    Vectors,
    build_held_out_task,
    embed_held_out,
    embed_rows,
    score_validation,
)

FILE = Path("training") / "stacking.json"
_FORMAT = 2
_METRIC = "map"  # recall@10 is near its ceiling on small folds, and cannot tell models apart
_KERNEL_SHARES = (0.0, 0.25, 0.5, 0.75, 1.0)
_TRAINED_ABOVE = 0.5  # of them
_LEARNED_SHARES = (0.0, 0.5, 1.0)
_CHANCE = 1.645  # standard errors of a paired difference; a loss beyond them is no chance (one-sided, 95 %)
_Shares = tuple[float | None, float, float]  # of kernel ridge in descriptions, of what queries and items learned


@dataclass(frozen=True)
class Stacking:
    """What cross-validation chose.

    Attributes:
        start: share of kernel ridge in the description tower as training begins; None: there is none.
        description: the same in the trained tower.
        query, texts: shares of what the query tower and the towers of text fields learned.
        validation: what was measured.
        threshold: the score below which nothing fits, by the queries of all folds.
    """

    start: float | None
    description: float | None
    query: float
    texts: float
    validation: CrossValidation
    threshold: Threshold | None

    def weigh_start(self, fits: Mapping[str, StartFit]) -> dict[str, StartFit]:
        """The fits as training begins; pictures start at all of kernel ridge."""
        return _weigh(fits, self.start)

    def shorten(self, stage: Stage) -> Stage:
        """The stage, without an epoch where none of what it learns would be kept."""
        if self.query or self.texts:
            return stage
        return dataclasses.replace(stage, config=stage.config.model_copy(update={"epochs": 0}))

    def stack(self, context: TrainingContext, fits: Mapping[str, StartFit]) -> None:
        """Give the network its share of kernel ridge, and keep its share of what the heads learned."""
        set_start(context, _weigh(fits, self.description))
        _scale_heads(context, self.query, self.texts)

    def write(self, run: Path) -> None:
        """Keep it for a training that goes on."""
        values = {"kernel ridge": [self.start, self.description], "query": self.query, "texts": self.texts}
        models = {name: getattr(self, name) for name in ("validation", "threshold")}
        dumped = {name: None if model is None else model.model_dump(mode="json") for name, model in models.items()}
        write_record(run / FILE, values | dumped, _FORMAT)

    @classmethod
    def read(cls, run: Path) -> "Stacking":
        """What `write` kept.

        Raises:
            UserError: the file is missing or damaged.
        """
        try:
            record: dict[str, Any] = read_record(run / FILE, _FORMAT)
            start, description = (None if share is None else float(share) for share in record["kernel ridge"])
            threshold = None if record["threshold"] is None else Threshold(**record["threshold"])
            validation = CrossValidation(**record["validation"])
            return cls(start, description, float(record["query"]), float(record["texts"]), validation, threshold)
        except (OSError, ValueError, KeyError, TypeError):  # DamageError among them
            raise UserError(f"cannot resume: {run / FILE} is damaged; start over with --restart") from None


def cross_validate(context: TrainingContext, untrained: nn.ModuleDict, stage: Stage) -> Stacking:
    """Choose the shares once for a run; the network's heads are untrained then.

    Args:
        untrained: heads (`Network.copy_heads`).
        stage: how the heads train.
    """
    if (context.run / FILE).is_file():
        chosen = Stacking.read(context.run)
        read_field_weights(context, untrained)
    else:
        chosen = _choose_shares(context, untrained, stage)
        context.processes.wait()  # until all have seen that there was no file
        if context.processes.leads:
            chosen.write(context.run)
    context.model.network.restore_heads(untrained)
    context.processes.wait()
    say(_describe(chosen))
    return chosen


def collect_start(context: TrainingContext, data: TrainingSet) -> Regressions:
    """What the start is fitted to on the rows of `data`, for the leading process alone; the network is untrained."""
    if not context.processes.leads:
        return {}
    return collect_regressions(context.model.network.eval(), context.cached, data, context.config.seed)


def fit_start(context: TrainingContext, regressions: Regressions) -> dict[str, StartFit]:
    """Cross-fitted kernel ridge by field, which the heads of an untrained network start at.

    None where the untrained towers share a space already.
    """
    fits: dict[str, StartFit] = {}
    if context.processes.leads and not context.model.network.aligned:
        fits = cross_fit_start(regressions, context.folds, context.config.seed)
    found: dict[str, StartFit] = context.processes.from_leader(fits)
    for start in found.values():
        start.left_out.to(context.model.device)
    return found


def name_closed_forms(context: TrainingContext, regressions: Regressions, fits: Mapping[str, StartFit]) -> ClosedForms:
    """All closed forms, with kernel ridge as the start has it, for the leading process alone."""
    if not context.processes.leads:
        return {}
    kernels = {field: fit.build_map() for field, fit in fits.items()} or None
    return fit_closed_forms(regressions, context.config.seed, kernels)


def set_start(context: TrainingContext, fits: Mapping[str, StartFit]) -> None:
    """Let the untrained heads of the network start at these fits."""
    for field, start in fits.items():
        context.model.network.set_base_map(field, start.build_map())


def build_left_out_towers(context: TrainingContext, data: TrainingSet, fits: Mapping[str, StartFit]) -> LeftOutTowers:
    """The towers above which heads train, as they answer for a row whose fold they have not seen."""
    return LeftOutTowers(context.model.network, context.cached, data, _weigh(fits, _TRAINED_ABOVE), context.folds)


def train_text_heads(
    context: TrainingContext,
    data: TrainingSet,
    towers: LeftOutTowers,
    stage: Stage,
    state: TrainingState,
    run: Path | None,
    log: Callable[[dict[str, Any]], None] = lambda entry: None,
) -> None:
    """Train the text heads of an untrained network; pictures and fusion stay as they are.

    Args:
        data: the rows that train.
        towers: of these rows.
        state: how far the training is; it is changed as it goes on.
        run: where the state is saved; None: nowhere.
        log: receives every entry of the history.
    """
    network = context.model.network
    network.requires_grad_(False)
    for head in network.text_heads.values():
        head.residual.requires_grad_(True)
    objective = Objective(network, context.cached, data, stage.config, context.processes, towers)
    objective.to(context.model.device)
    fit(objective, build_optimizer(objective, network, stage.config), stage, run, state, None, log=log)


def _choose_shares(context: TrainingContext, untrained: nn.ModuleDict, stage: Stage) -> Stacking:
    context.model.network.restore_heads(untrained)
    folds = [_Fold.fit(context, part, untrained) for part in context.measured_parts]
    search = _ShareSearch(context, folds)
    has_kernel = any("description" in fold.fits for fold in folds)
    kernel_shares = _KERNEL_SHARES if has_kernel else (None,)
    kernel_ridge = (kernel_shares[-1], 0.0, 0.0)
    _weigh_fields(context, folds, untrained, kernel_ridge)
    start = search.find_best(
        [kernel_ridge, *((share, 0.0, 0.0) for share in kernel_shares)], no_worse_than=kernel_ridge
    )
    for number, fold in enumerate(folds, 1):
        fold.train(context, dataclasses.replace(stage, name=f"fold {number} of {len(folds)}"))
    tried = dict.fromkeys((_TRAINED_ABOVE if has_kernel else None, start[0]))
    learned = [(share, *shares) for share in tried for shares in product(_LEARNED_SHARES, _LEARNED_SHARES)]
    _, query, texts = search.find_best([start, *learned], no_worse_than=start)
    stacked = [(share, query, texts) for share in kernel_shares]
    chosen = search.find_best([start, *stacked], no_worse_than=start)
    before, after = search.flat(start), search.flat(chosen)
    description, query, texts = chosen
    return Stacking(
        start[0],
        description,
        query,
        texts,
        CrossValidation(
            folds=len(folds),
            queries=sum(len(fold.held_out.task.texts) for fold in folds),
            metric=_METRIC,
            start=_mean(before),
            chosen=_mean(after),
            gain=bootstrap_interval(after - before, search.number_queries()),
            shares=({} if description is None else {"kernel ridge of descriptions": description})
            | {"learned, queries": query, "learned, items": texts},
        ),
        calibrate_threshold(*search.similarities[chosen]),
    )


def _weigh_fields(context: TrainingContext, folds: list["_Fold"], untrained: nn.ModuleDict, start: _Shares) -> None:
    """Choose the weights of further fields; towers stay as they begin, so each runs once."""
    network, variants = context.model.network, build_variants(context.config)
    if not network.further_fields:
        return
    embedded = [fold.embed(context, start) if context.processes.leads else None for fold in folds]

    def measure() -> list[ValidationScores]:
        return context.processes.from_leader(
            [
                score_validation(items, fold.held_out.subsets, variants, _METRIC)
                for items, fold in zip(embedded, folds, strict=True)
                if items is not None
            ]
        )

    copies = [cast(MaskedFusion, heads["fusion"]) for heads in (untrained, *(fold.heads for fold in folds))]
    weigh_fields(context, [network.fusion, *copies], measure)


@dataclass
class _Fold:
    """Rows that are held out, and what is fitted on the others.

    Attributes:
        held_out: the task that measures.
        data: the other rows.
        fits: the start on these.
        heads: that stand at the start; later, that have trained.
        known: what the towers of pictures and further fields say, which do not train.
    """

    held_out: HeldOutTask
    data: TrainingSet
    fits: dict[str, StartFit]
    heads: nn.ModuleDict
    known: dict[str, Vectors]

    @classmethod
    def fit(cls, context: TrainingContext, part: Rows, untrained: nn.ModuleDict) -> "_Fold":
        network, cached = context.model.network, context.cached
        held_out = build_held_out_task(context.catalog, part, context.data, network.fields, context.config.seed)
        data = _train_on(context, np.setdiff1d(context.data.rows, part))
        fits = fit_start(context, collect_start(context, data))
        set_start(context, fits)
        still = [field for field in held_out.task.fields if field not in ("title", "description")]
        known = {field: embed_rows(network, cached, data, held_out.rows, (field,)).field(field) for field in still}
        heads = network.copy_heads()
        network.restore_heads(untrained)
        return cls(held_out, data, fits, heads, known)

    def train(self, context: TrainingContext, stage: Stage) -> None:
        """Train the text heads on all rows but those that are held out."""
        network = context.model.network
        network.restore_heads(self.heads)
        towers = build_left_out_towers(context, self.data, self.fits)
        train_text_heads(context, self.data, towers, stage, TrainingState(), None)
        self.heads = network.copy_heads()

    def embed(self, context: TrainingContext, shares: _Shares) -> TaskEmbeddings:
        """The held-out rows in the network's space with some shares."""
        network, (description, query, texts) = context.model.network, shares
        network.restore_heads(self.heads)
        set_start(context, _weigh(self.fits, description))
        _scale_heads(context, query, texts)
        return embed_held_out(network, context.cached, context.data, self.held_out, known=self.known)

    def measure(self, context: TrainingContext, shares: _Shares) -> tuple[ValidationScores, np.ndarray]:
        """What is found with some shares, the same in all processes.

        Returns:
            Scores, and (2, queries) the similarities of the best right and the best wrong answers.
        """
        scores = ValidationScores({})
        similarities = np.zeros((2, 0), np.float32)
        if context.processes.leads and self.held_out.subsets:
            subsets, embeddings = self.held_out.subsets, self.embed(context, shares)
            scores = score_validation(embeddings, subsets, build_variants(context.config), _METRIC)
            rankings = rank_candidates(*embeddings.score(subsets[0]))
            similarities = np.stack([rankings.right, rankings.wrong])
        shared: tuple[ValidationScores, np.ndarray] = context.processes.from_leader((scores, similarities))
        return shared


class _ShareSearch:
    """What shares score over all folds, each measured once.

    Attributes:
        scores: of each fold, by the shares of kernel ridge, of queries and of items.
        similarities: (2, queries) of the best right and the best wrong answers, likewise.
    """

    def __init__(self, context: TrainingContext, folds: list[_Fold]) -> None:
        self._context = context
        self._folds = folds
        self.scores: dict[_Shares, list[ValidationScores]] = {}
        self.similarities: dict[_Shares, np.ndarray] = {}

    def find_best(self, candidates: list[_Shares], no_worse_than: "_Shares | None" = None) -> _Shares:
        """The shares with the highest mean score; of equals the first.

        Args:
            no_worse_than: one of them; of those that score less on any field subset beyond chance, none is chosen.
        """
        for shares in candidates:
            if shares not in self.scores:
                measured = [fold.measure(self._context, shares) for fold in self._folds]
                self.scores[shares] = [scores for scores, _ in measured]
                self.similarities[shares] = np.concatenate([similarities for _, similarities in measured], axis=1)
        if no_worse_than is not None:
            candidates = [shares for shares in candidates if not self._loses(shares, no_worse_than)]
        return max(candidates, key=lambda shares: _mean(self.flat(shares)))

    def flat(self, shares: _Shares) -> np.ndarray:
        """(all scores,) of all folds and subsets."""
        return np.concatenate([np.zeros(0), *(fold.flat for fold in self.scores[shares])])

    def number_queries(self) -> np.ndarray:
        """(all scores,) which query of which fold each of `flat` belongs to; it is asked on every subset."""
        parts, offset = [np.zeros(0, np.int64)], 0
        for fold in self._folds:
            queries = len(fold.held_out.task.texts)
            parts.append(np.tile(np.arange(offset, offset + queries), len(fold.held_out.subsets)))
            offset += queries
        return np.concatenate(parts)

    def _loses(self, shares: _Shares, other: _Shares) -> bool:
        """Whether they score less than others on any field subset, beyond chance."""
        differences: dict[str, list[np.ndarray]] = {}
        for fold, against in zip(self.scores[shares], self.scores[other], strict=True):
            for subset, values in fold.by_subset.items():
                lost = np.nan_to_num(values) - np.nan_to_num(against.by_subset[subset])
                differences.setdefault(subset, []).append(lost)
        paired = [np.concatenate(parts) for parts in differences.values()]
        return any(each.mean() < -_CHANCE * each.std() / math.sqrt(len(each)) for each in paired if len(each))


def _scale_heads(context: TrainingContext, query: float, texts: float) -> None:
    for tower, head in context.model.network.text_heads.items():
        head.scale_residual(query if tower == "query" else texts)


def _weigh(fits: Mapping[str, StartFit], description: float | None) -> dict[str, StartFit]:
    """The fits with another share of kernel ridge in the description tower."""
    if description is None:
        return dict(fits)
    return {field: fit.weigh(description) if field == "description" else fit for field, fit in fits.items()}


def _train_on(context: TrainingContext, rows: Rows) -> TrainingSet:
    return TrainingSet.build(rows, context.texts, context.identity, context.data.pictured)


def _mean(scores: np.ndarray) -> float:
    return float(scores.mean()) if len(scores) else 0.0


def _describe(chosen: Stacking) -> str:
    measured = chosen.validation
    folds = f"{measured.folds} folds" if measured.folds > 1 else "one fold"
    start = "" if chosen.start is None else f"the start takes {chosen.start:.0%} of kernel ridge of descriptions, and "
    if chosen.query or chosen.texts:
        kernel = "" if chosen.description is None else f"{chosen.description:.0%} of it, with "
        kept = f"the model {kernel}{chosen.query:.0%} (queries) and {chosen.texts:.0%} (items) of what training learns"
    else:
        kept = "what training learns adds nothing on rows that it has not seen, so the start is kept"
    return (
        f"Cross-validation over {folds}, {measured.queries:,} queries: "
        f"{start}{kept} (mAP {measured.start:.3f} → {measured.chosen:.3f})"
    )

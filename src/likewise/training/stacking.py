"""Stacking by cross-validation: a tower is its closed-form start plus a share of what training learned.

Training above a closed form gains on some catalogues and in some towers, and loses in others. So parts of the rows are
held out in turn, closed forms and heads are fitted on the others, and what their shares score on the part chooses them
(stacked regressions; Breiman, 1996). A share of 0 is a fair outcome, and what loses more than one standard error on any
field subset, to the start or to kernel ridge, is not chosen, however much more it finds on others.

Heads train above half of the kernel ridge of descriptions: above all of it there is less left to learn. Half of what
they learned is kept, or nothing: a few hundred queries are too few to choose more finely.

Pictures stay at their start but for one vector, which is added to all of them before they are normalised: queries that
learn move away from where the closed form has put pictures, and without it these would fall behind, most of all in an
index where other items have only a text.

Where there is time, heads train again with other seeds, and their weights are averaged: they start from the same
values and stay close to them, so the mean is a model as good as the mean of their answers (Wortsman et al. 2022, "Model
soups").
"""

import dataclasses
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from torch import Tensor, nn

from likewise.errors import UserError
from likewise.evaluation.calibration_queries import CalibrationByKind, join_scores
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
from likewise.training.calibration import keep_thresholds, score_held_out
from likewise.training.context import TrainingContext
from likewise.training.ema import load_weights
from likewise.training.field_weights import measure_weights, read_field_weights, weigh_fields
from likewise.training.initialization import (
    ClosedForms,
    Regressions,
    collect_regressions,
    cross_fit_start,
    fit_closed_forms,
)
from likewise.training.left_out import LeftOutTowers, StartFit
from likewise.training.loop import fit, restore_weights
from likewise.training.objective import Objective
from likewise.training.optimizer import build_optimizer
from likewise.training.planner import Stage
from likewise.training.training_state import TrainingState
from likewise.training.validation import (
    CHANCE,
    HeldOutTask,
    ValidationScores,
    Vectors,
    build_held_out_task,
    embed_queries,
    embed_rows,
    loses,
    score_validation,
)

FILE = Path("training") / "stacking.json"
_FORMAT = 4
_METRIC = "map"  # recall@10 is near its ceiling on small folds, and cannot tell models apart
_KERNEL_SHARES = (0.0, 0.25, 0.5, 0.75, 1.0)
_TRAINED_ABOVE = 0.5  # of them
_LEARNED_SHARE = 0.5  # of what text heads and the offset of pictures learned, if any: all of it goes too far
_LEAST_LOSS = 1.0  # standard errors; what loses more than that to the start or to kernel ridge is not chosen
_MOST_KEPT = 2_500  # held-out rows up to which what towers say of them is kept from one share to the next
_PATIENCE = 2  # further seeds that gain nothing, after which no more are tried
_BETWEEN_SEEDS = 1_000_003  # so that the seeds that people try one after the other do not train the same heads
_Shares = tuple[float | None, float, float]  # of kernel ridge in descriptions, of what queries and items learned


@dataclass(frozen=True)
class Stacking:
    """What cross-validation chose.

    Attributes:
        start: share of kernel ridge in the description tower as training begins; None: there is none.
        description: the same in the trained tower.
        query, texts: shares of what the query tower and the towers of text fields learned.
        seeds: of how many trainings what was learned is the mean.
        validation: what was measured.
        threshold: the score below which nothing fits, by the queries of all folds.
    """

    start: float | None
    description: float | None
    query: float
    texts: float
    seeds: int
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
        shares = {"kernel ridge": [self.start, self.description], "query": self.query, "texts": self.texts}
        values = shares | {"seeds": self.seeds}
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
            query, texts, seeds = float(record["query"]), float(record["texts"]), int(record["seeds"])
            return cls(start, description, query, texts, seeds, validation, threshold)
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
        chosen, scores = _choose_shares(context, untrained, stage)
        context.processes.wait()  # until all have seen that there was no file
        if context.processes.leads:
            keep_thresholds(context, scores)
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
    seeds: int = 1,
) -> None:
    """Train the text heads of an untrained network, and the offset of pictures; all else stays as it is.

    Args:
        data: the rows that train.
        towers: of these rows.
        state: how far the training is; it is changed as it goes on.
        run: where the state is saved; None: nowhere.
        log: receives every entry of the history.
        seeds: how many trainings there are, each from the same start; the heads are left at their mean.
    """
    network = context.model.network
    network.requires_grad_(False)
    for head in network.text_heads.values():
        head.residual.requires_grad_(True)
    if "image" in network.fields:
        network.picture_head.offset.requires_grad_(True)
    start = {name: weight.detach().clone() for name, weight in network.named_parameters() if weight.requires_grad}
    if state.stage > len(state.learned):  # it was killed just after one had finished
        _keep_learned(state)
    for number in range(len(state.learned), seeds):
        load_weights(dict(network.named_parameters()), start)
        each = _seed(stage, number)
        objective = Objective(network, context.cached, data, each.config, context.processes, towers)
        objective.to(context.model.device)
        fit(objective, build_optimizer(objective, network, each.config), each, run, state, None, log=log)
        _keep_learned(state)
    restore_weights(network, TrainingState(weights=_average(state.learned)))


def _seed(stage: Stage, number: int) -> Stage:
    """The stage with another seed; its minutes count from the first one's start."""
    if not number:
        return stage
    config = stage.config.model_copy(update={"seed": (stage.config.seed + number * _BETWEEN_SEEDS) % 2**63})
    name = f"{stage.name}, seed {number + 1}".removeprefix(", ")
    return dataclasses.replace(stage, name=name, config=config, until_minute=stage.until_minute * (number + 1))


def _keep_learned(state: TrainingState) -> None:
    state.learned.append(state.weights)
    state.weights = {}


def _average(learned: list[dict[str, Tensor]]) -> dict[str, Tensor]:
    return {name: torch.stack([weights[name] for weights in learned]).mean(dim=0) for name in learned[0]}


def _choose_shares(
    context: TrainingContext, untrained: nn.ModuleDict, stage: Stage
) -> tuple[Stacking, CalibrationByKind]:
    """The shares that score best, of as many seeds as there is time for and as gain something.

    Returns:
        Also the scores of each fold's queries with these shares, on which thresholds are fitted.
    """
    context.model.network.restore_heads(untrained)
    folds = [_Fold.fit(context, part, untrained) for part in context.measured_parts]
    search = _ShareSearch(context, folds)
    kernel_shares = _KERNEL_SHARES if any("description" in fold.fits for fold in folds) else (None,)
    kernel_ridge = (kernel_shares[-1], 0.0, 0.0)
    _weigh_fields(context, folds, untrained, kernel_ridge)
    start = search.find_best(
        [kernel_ridge, *((share, 0.0, 0.0) for share in kernel_shares)], no_worse_than=(kernel_ridge,)
    )
    started, tried, scores = time.monotonic(), list[Stacking](), CalibrationByKind()
    for seeds in count(1):
        search.forget_learned()
        for number, fold in enumerate(folds, 1):
            fold.train(context, dataclasses.replace(stage, name=f"fold {number} of {len(folds)}"), seeds)
        tried.append(_stack_learned(search, start, kernel_shares, seeds))
        best = max(tried, key=lambda stacking: stacking.validation.chosen)
        if best is tried[-1]:  # later the heads have trained on
            scores = join_scores(fold.calibrate(context, best) for fold in folds) if context.processes.leads else {}
        spent = (time.monotonic() - started) / seeds
        more = seeds - best.seeds < _PATIENCE and stage.affords(seeds + 1, spent, len(folds))
        if not context.processes.from_leader(more):
            break
    return best, scores


def _stack_learned(
    search: "_ShareSearch", start: _Shares, kernel_shares: Sequence[float | None], seeds: int
) -> Stacking:
    """The shares of what the heads of all folds have learned: the same one everywhere, or nothing."""
    learned = [(share, _LEARNED_SHARE, _LEARNED_SHARE) for share in kernel_shares]
    kernel_ridge = (kernel_shares[-1], 0.0, 0.0)
    chosen = search.find_best([start, *learned], no_worse_than=(start, kernel_ridge), chance=_LEAST_LOSS)
    before, after = search.flat(start), search.flat(chosen)
    description, query, texts = chosen
    return Stacking(
        start[0],
        description,
        query,
        texts,
        seeds,
        CrossValidation(
            folds=len(search.folds),
            queries=sum(len(fold.held_out.task.texts) for fold in search.folds),
            metric=_METRIC,
            start=_mean(before),
            chosen=_mean(after),
            gain=bootstrap_interval(after - before, search.number_queries()),
            shares=({} if description is None else {"kernel ridge of descriptions": description})
            | {"learned, queries": query, "learned, items": texts},
            seeds=seeds,
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
                measure_weights(network, items, fold.held_out, variants)
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
        start: heads that have not trained.
        heads: that stand at the start; later, that have trained.
        known: what the towers of further fields say, which do not train.
        state: what they have learned.
        said: what the other towers say of the held-out rows, by the tower and the shares that it depends on.
    """

    held_out: HeldOutTask
    data: TrainingSet
    fits: dict[str, StartFit]
    start: nn.ModuleDict
    heads: nn.ModuleDict
    known: dict[str, Vectors]
    state: TrainingState = dataclasses.field(default_factory=TrainingState)
    said: dict[tuple[object, ...], Vectors] = dataclasses.field(default_factory=dict)

    @classmethod
    def fit(cls, context: TrainingContext, part: Rows, untrained: nn.ModuleDict) -> "_Fold":
        network, cached = context.model.network, context.cached
        held_out = build_held_out_task(context.catalog, part, context.data, network.fields, context.config.seed)
        data = _train_on(context, np.setdiff1d(context.data.rows, part))
        fits = fit_start(context, collect_start(context, data))
        set_start(context, fits)
        still = [field for field in held_out.task.fields if field in network.further_fields]
        known = {field: embed_rows(network, cached, data, held_out.rows, (field,)).field(field) for field in still}
        heads = network.copy_heads()
        network.restore_heads(untrained)
        return cls(held_out, data, fits, heads, heads, known)

    def train(self, context: TrainingContext, stage: Stage, seeds: int) -> None:
        """Train the text heads on all rows but those that are held out, with as many seeds in all."""
        network = context.model.network
        network.restore_heads(self.start)
        towers = build_left_out_towers(context, self.data, self.fits)
        train_text_heads(context, self.data, towers, stage, self.state, None, seeds=seeds)
        self.heads = network.copy_heads()
        self.said.clear()

    def embed(self, context: TrainingContext, shares: _Shares) -> TaskEmbeddings:
        """The held-out rows in the network's space with some shares; a tower runs once for those that it depends on."""
        network, (description, query, texts) = context.model.network, shares
        task, rows = self.held_out.task, self.held_out.rows
        depends = {"query": (query,), "title": (texts,), "description": (description, texts)}
        depends["image"] = (max(query, texts),)
        keys = {tower: (tower, *depends[tower]) for tower in ("query", *task.fields) if tower in depends}
        if len(rows) > _MOST_KEPT:
            self.said.clear()
        if any(key not in self.said for key in keys.values()):
            self._set_towers(context, shares)
            for tower, key in keys.items():
                if key not in self.said:
                    self.said[key] = self._run_tower(context, tower)
        known = self.known | {tower: self.said[key] for tower, key in keys.items() if tower != "query"}
        items = embed_rows(network, context.cached, context.data, rows, tuple(task.fields), known)
        return TaskEmbeddings(task, network, self.said[keys["query"]], items)

    def _run_tower(self, context: TrainingContext, tower: str) -> Vectors:
        """What a tower of the network, in its present state, says of the held-out rows, or of the queries."""
        network, numbers = context.model.network, context.data.texts.numbers
        if tower == "query":
            asked = [numbers[text] for text in self.held_out.task.texts if text is not None]
            return embed_queries(network, context.cached, np.array(asked, np.int64))
        rows = self.held_out.rows
        return embed_rows(network, context.cached, context.data, rows, (tower,)).field(tower)

    def calibrate(self, context: TrainingContext, chosen: Stacking) -> CalibrationByKind:
        """The scores of queries over the held-out rows."""
        self._set_towers(context, (chosen.description, chosen.query, chosen.texts))
        return score_held_out(context, context.cached, self.held_out.rows)

    def _set_towers(self, context: TrainingContext, shares: _Shares) -> None:
        network, (description, query, texts) = context.model.network, shares
        network.restore_heads(self.heads, shared=self.known)
        starts = {field: fit for field, fit in _weigh(self.fits, description).items() if field not in self.known}
        set_start(context, starts)
        _scale_heads(context, query, texts)

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
        folds: that are measured.
        scores: of each fold, by the shares of kernel ridge, of queries and of items.
        similarities: (2, queries) of the best right and the best wrong answers, likewise.
    """

    def __init__(self, context: TrainingContext, folds: list[_Fold]) -> None:
        self._context = context
        self.folds = folds
        self.scores: dict[_Shares, list[ValidationScores]] = {}
        self.similarities: dict[_Shares, np.ndarray] = {}

    def find_best(
        self, candidates: list[_Shares], no_worse_than: Sequence[_Shares] = (), chance: float = CHANCE
    ) -> _Shares:
        """The shares with the highest mean score; of equals the first.

        Args:
            no_worse_than: what scores less than one of these on any field subset, beyond chance, is not chosen; where
                that leaves nothing, the first of these is.
            chance: standard errors of a difference.
        """
        for shares in (*candidates, *no_worse_than):
            if shares not in self.scores:
                measured = [fold.measure(self._context, shares) for fold in self.folds]
                self.scores[shares] = [scores for scores, _ in measured]
                self.similarities[shares] = np.concatenate([similarities for _, similarities in measured], axis=1)
        left = [each for each in candidates if not any(self._loses(each, other, chance) for other in no_worse_than)]
        return max(left or no_worse_than[:1], key=lambda shares: _mean(self.flat(shares)))

    def forget_learned(self) -> None:
        """Drop the scores of what heads have learned, before they train on; those of starts stay."""
        for shares in [shares for shares in self.scores if any(shares[1:])]:
            del self.scores[shares], self.similarities[shares]

    def flat(self, shares: _Shares) -> np.ndarray:
        """(all scores,) of all folds and subsets."""
        return np.concatenate([np.zeros(0), *(fold.flat for fold in self.scores[shares])])

    def number_queries(self) -> np.ndarray:
        """(all scores,) which query of which fold each of `flat` belongs to; it is asked on every subset."""
        parts, offset = [np.zeros(0, np.int64)], 0
        for fold in self.folds:
            queries = len(fold.held_out.task.texts)
            parts.append(np.tile(np.arange(offset, offset + queries), len(fold.held_out.subsets)))
            offset += queries
        return np.concatenate(parts)

    def _loses(self, shares: _Shares, other: _Shares, chance: float) -> bool:
        """Whether they score less than others on any field subset, beyond chance."""
        return loses(zip(self.scores[shares], self.scores[other], strict=True), chance=chance)


def _scale_heads(context: TrainingContext, query: float, texts: float) -> None:
    network = context.model.network
    for tower, head in network.text_heads.items():
        head.scale_residual(query if tower == "query" else texts)
    if "image" in network.fields:
        network.picture_head.scale_residual(max(query, texts))


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
        kept += f" (the mean of {chosen.seeds} trainings)" if chosen.seeds > 1 else ""
    else:
        kept = "what training learns adds nothing on rows that it has not seen, so the start is kept"
    return (
        f"Cross-validation over {folds}, {measured.queries:,} queries: "
        f"{start}{kept} (mAP {measured.start:.3f} → {measured.chosen:.3f})"
    )

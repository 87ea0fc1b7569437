"""Stacking by cross-validation: a tower is its closed-form start plus a share of what training learned.

Training above a closed form gains on some catalogues and in some towers, and loses in others. So every row is held out
once: from the training by a fold, and from its start by cross-fitting. What the shares of kernel ridge and of the
learned parts score on rows that neither has seen chooses them (stacked regressions; Breiman, 1996). A share of 0 is a
fair outcome.

Heads train above half of the kernel ridge of descriptions: above all of it there is less left to learn.
"""

import dataclasses
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
from torch import nn

from likewise.errors import UserError
from likewise.evaluation.ranks import rank_candidates
from likewise.evaluation.results import CrossValidation, Threshold
from likewise.evaluation.significance import bootstrap_interval
from likewise.evaluation.threshold import calibrate_threshold
from likewise.files import read_record, write_record
from likewise.model.matryoshka import build_variants
from likewise.progress import say
from likewise.training.batches import Rows, TrainingSet
from likewise.training.context import TrainingContext
from likewise.training.initialization import ClosedForms, cross_fit_closed_forms, fit_closed_forms
from likewise.training.left_out import LeftOutTowers, StartFit
from likewise.training.loop import fit
from likewise.training.objective import Objective
from likewise.training.optimizer import build_optimizer
from likewise.training.planner import Stage
from likewise.training.training_state import TrainingState
from likewise.training.validation import HeldOutTask, build_held_out_task, embed_held_out, score_validation

FILE = Path("training") / "stacking.json"
_FORMAT = 2
_METRIC = "map"  # recall@10 is near its ceiling on small folds, and cannot tell models apart
_KERNEL_SHARES = (0.0, 0.25, 0.5, 0.75, 1.0)
_TRAINED_ABOVE = 0.5  # of them
_LEARNED_SHARES = (0.0, 0.5, 1.0)
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

    def weigh_start(self, towers: LeftOutTowers) -> LeftOutTowers:
        """The towers as training begins; pictures start at all of kernel ridge."""
        return _weigh(towers, self.start)

    def shorten(self, stage: Stage) -> Stage:
        """The stage, without an epoch where none of what it learns would be kept."""
        if self.query or self.texts:
            return stage
        return dataclasses.replace(stage, config=stage.config.model_copy(update={"epochs": 0}))

    def stack(self, context: TrainingContext, towers: LeftOutTowers) -> None:
        """Give the network its share of kernel ridge, and keep its share of what the heads learned."""
        set_start(context, _weigh(towers, self.description).fits)
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


def cross_validate(context: TrainingContext, towers: LeftOutTowers, stage: Stage) -> Stacking:
    """Choose the shares once for a run; the network's heads are left as they are.

    Args:
        context: its network is untrained, but stands at its start (`set_start`).
        towers: of all rows that train.
        stage: how the heads train.
    """
    if (context.run / FILE).is_file():
        chosen = Stacking.read(context.run)
    else:
        chosen = _choose_shares(context, towers, stage)
        context.processes.wait()  # until all have seen that there was no file
        if context.processes.leads:
            chosen.write(context.run)
    context.processes.wait()
    say(_describe(chosen))
    return chosen


def fit_start(context: TrainingContext, data: TrainingSet) -> tuple[ClosedForms, dict[str, StartFit]]:
    """Fit the closed forms on the rows of `data`; the network has to be untrained.

    Returns:
        The closed forms, for the leading process alone, and cross-fitted kernel ridge by field, which heads start at:
        none where the untrained towers share a space already.
    """
    closed_forms: ClosedForms = {}
    fits: dict[str, StartFit] = {}
    if context.processes.leads:
        network = context.model.network.eval()
        if network.aligned:
            closed_forms = fit_closed_forms(network, context.cached, data, context.config.seed)
        else:
            closed_forms, fits = cross_fit_closed_forms(
                network, context.cached, data, context.folds, context.config.seed
            )
    found: dict[str, StartFit] = context.processes.from_leader(fits)
    for start in found.values():
        start.left_out.to(context.model.device)
    return closed_forms, found


def set_start(context: TrainingContext, fits: Mapping[str, StartFit]) -> None:
    """Let the untrained heads of the network start at these fits."""
    for field, start in fits.items():
        context.model.network.set_base_map(field, start.build_map())


def build_left_out_towers(context: TrainingContext, data: TrainingSet, fits: Mapping[str, StartFit]) -> LeftOutTowers:
    """The towers at their start, as they answer for a row whose fold they have not seen."""
    return LeftOutTowers(context.model.network, context.cached, data, fits, context.folds)


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
    above = towers.weigh({"description": _TRAINED_ABOVE})
    objective = Objective(network, context.cached, data, stage.config, context.processes, above)
    objective.to(context.model.device)
    fit(objective, build_optimizer(objective, network, stage.config), stage, run, state, None, log=log)


def _choose_shares(context: TrainingContext, towers: LeftOutTowers, stage: Stage) -> Stacking:
    network, seed = context.model.network, context.config.seed
    parts = context.measured_folds
    folds = [build_held_out_task(context.catalog, part, context.data, network.fields, seed) for part in parts]
    untrained = network.copy_heads()
    search = _ShareSearch(context, towers, folds, [untrained] * len(folds))
    has_kernel = "description" in towers.fields
    start = search.find_best([(share, 0.0, 0.0) for share in (_KERNEL_SHARES if has_kernel else (None,))])
    search.heads = [
        _train_fold(context, towers, dataclasses.replace(stage, name=f"fold {number} of {len(parts)}"), part, untrained)
        for number, part in enumerate(parts, 1)
    ]
    above = _TRAINED_ABOVE if has_kernel else None
    _, query, texts = search.find_best([(above, *shares) for shares in product(_LEARNED_SHARES, _LEARNED_SHARES)])
    chosen = search.find_best(
        [start, *((share, query, texts) for share in (_KERNEL_SHARES if has_kernel else (None,)))]
    )
    network.restore_heads(untrained)
    before, after = search.scores[start], search.scores[chosen]
    description, query, texts = chosen
    return Stacking(
        start[0],
        description,
        query,
        texts,
        CrossValidation(
            folds=len(folds),
            queries=sum(len(fold.task.texts) for fold in folds),
            metric=_METRIC,
            start=_mean(before),
            chosen=_mean(after),
            gain=bootstrap_interval(after - before, _number_queries(folds)),
            shares=({} if description is None else {"kernel ridge of descriptions": description})
            | {"learned, queries": query, "learned, items": texts},
        ),
        calibrate_threshold(*search.similarities[chosen]),
    )


def _train_fold(
    context: TrainingContext, towers: LeftOutTowers, stage: Stage, part: Rows, untrained: nn.ModuleDict
) -> nn.ModuleDict:
    """Heads that have trained on all rows but a fold's."""
    network = context.model.network
    network.restore_heads(untrained)
    others = np.setdiff1d(context.data.rows, part)
    data = TrainingSet.build(others, context.texts, context.identity, context.data.pictured)
    train_text_heads(context, data, towers, stage, TrainingState(), None)
    return network.copy_heads()


class _ShareSearch:
    """What shares score over all folds, each measured once.

    Attributes:
        heads: of every fold, as they trained without it.
        scores: (all scores,) by the shares of kernel ridge, of queries and of items.
        similarities: (2, queries) of the best right and the best wrong answers, likewise.
    """

    def __init__(
        self, context: TrainingContext, towers: LeftOutTowers, folds: list[HeldOutTask], heads: list[nn.ModuleDict]
    ) -> None:
        self._context = context
        self._towers = towers
        self._folds = folds
        self.heads = heads
        self.scores: dict[_Shares, np.ndarray] = {}
        self.similarities: dict[_Shares, np.ndarray] = {}

    def find_best(self, candidates: list[_Shares]) -> _Shares:
        """The shares with the highest mean score; of equals the first."""
        for shares in candidates:
            if shares not in self.scores:
                self._measure(shares)
        return max(candidates, key=lambda shares: _mean(self.scores[shares]))

    def _measure(self, shares: _Shares) -> None:
        description, query, texts = shares
        towers, measured = _weigh(self._towers, description), []
        for fold, heads in zip(self._folds, self.heads, strict=True):
            self._context.model.network.restore_heads(heads)
            _scale_heads(self._context, query, texts)
            measured.append(_measure(self._context, towers, fold))
        self.scores[shares] = np.concatenate([scores for scores, _ in measured])
        self.similarities[shares] = np.concatenate([similarities for _, similarities in measured], axis=1)


def _measure(context: TrainingContext, towers: LeftOutTowers, fold: HeldOutTask) -> tuple[np.ndarray, np.ndarray]:
    """What the network as it is finds in a fold, the same in all processes.

    Returns:
        (subsets · queries,) scores, and (2, queries) the similarities of the best right and the best wrong answers.
    """
    scores, similarities = np.zeros(0), np.zeros((2, 0), np.float32)
    if context.processes.leads and fold.subsets:
        network, data = context.model.network, context.data
        embeddings = embed_held_out(network, context.cached, data, fold, left_out=towers)
        scores = score_validation(embeddings, fold.subsets, build_variants(context.config), _METRIC).flat
        rankings = rank_candidates(*embeddings.score(fold.subsets[0]))
        similarities = np.stack([rankings.right, rankings.wrong])
    shared: tuple[np.ndarray, np.ndarray] = context.processes.from_leader((scores, similarities))
    return shared


def _number_queries(folds: list[HeldOutTask]) -> np.ndarray:
    """(all scores,) which query of which fold each score of `_measure` belongs to; it is asked on every subset."""
    parts, offset = [np.zeros(0, np.int64)], 0
    for fold in folds:
        queries = len(fold.task.texts)
        parts.append(np.tile(np.arange(offset, offset + queries), len(fold.subsets)))
        offset += queries
    return np.concatenate(parts)


def _scale_heads(context: TrainingContext, query: float, texts: float) -> None:
    for tower, head in context.model.network.text_heads.items():
        head.scale_residual(query if tower == "query" else texts)


def _weigh(towers: LeftOutTowers, description: float | None) -> LeftOutTowers:
    return towers if description is None else towers.weigh({"description": description})


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

"""Stacking by cross-validation: a tower is its closed-form start plus a share of what training learned.

Training above a closed form gains on some catalogues and in some towers, and loses in others. So every row is held out
once: from the training by a fold, and from its start by cross-fitting. What the shares of kernel ridge and of the
learned parts score on rows that neither has seen chooses them (stacked regressions; Breiman, 1996). A share of 0 is a
fair outcome.
"""

import dataclasses
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np

from likewise.errors import UserError
from likewise.evaluation.ranks import rank_candidates
from likewise.evaluation.results import CrossValidation, Threshold
from likewise.evaluation.significance import bootstrap_interval
from likewise.evaluation.threshold import calibrate_threshold
from likewise.files import read_record, write_record
from likewise.model.matryoshka import build_variants
from likewise.progress import say
from likewise.training.batches import TrainingSet
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
_FORMAT = 1
_METRIC = "map"  # recall@10 is near its ceiling on small folds, and cannot tell models apart
_KERNEL_SHARES = (0.0, 0.25, 0.5, 0.75, 1.0)
_LEARNED_SHARES = (0.0, 0.5, 1.0)


@dataclass(frozen=True)
class Stacking:
    """What cross-validation chose.

    Attributes:
        description: share of kernel ridge in the description tower; None: there is none.
        query, texts: shares of what the query tower and the towers of text fields learned.
        validation: what was measured.
        threshold: the score below which nothing fits, by the queries of all folds.
    """

    description: float | None
    query: float
    texts: float
    validation: CrossValidation
    threshold: Threshold | None

    def weigh(self, towers: LeftOutTowers) -> LeftOutTowers:
        """The towers with the shares of kernel ridge; pictures start at all of theirs."""
        return _weigh(towers, self.description)

    def shorten(self, stage: Stage) -> Stage:
        """The stage, without an epoch where none of what it learns would be kept."""
        if self.query or self.texts:
            return stage
        return dataclasses.replace(stage, config=stage.config.model_copy(update={"epochs": 0}))

    def scale_heads(self, context: TrainingContext) -> None:
        """Keep of the trained heads what cross-validation chose."""
        _scale_heads(context, self.query, self.texts)

    def write(self, run: Path) -> None:
        """Keep it for a training that goes on."""
        values = {name: getattr(self, name) for name in ("description", "query", "texts")}
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
            description = None if record["description"] is None else float(record["description"])
            threshold = None if record["threshold"] is None else Threshold(**record["threshold"])
            validation = CrossValidation(**record["validation"])
            return cls(description, float(record["query"]), float(record["texts"]), validation, threshold)
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
    """Train the text heads of a network that stands at its start; pictures and fusion stay as they are.

    Args:
        data: the rows that train.
        towers: of these rows, with their shares.
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


def _choose_shares(context: TrainingContext, towers: LeftOutTowers, stage: Stage) -> Stacking:
    network, rows, seed = context.model.network, context.data.rows, context.config.seed
    parts = context.measured_folds
    folds = [build_held_out_task(context.catalog, part, context.data, network.fields, seed) for part in parts]
    network.eval()
    starts = {
        share: [_measure(context, towers.weigh({"description": share}), fold)[0] for fold in folds]
        for share in (_KERNEL_SHARES if "description" in towers.fields else ())
    }
    description = _find_best(starts) if starts else None
    towers, untrained = _weigh(towers, description), network.copy_heads()
    scores: dict[tuple[float, float], list[np.ndarray]] = {}
    similarities: dict[tuple[float, float], list[np.ndarray]] = {}
    for number, (part, fold) in enumerate(zip(parts, folds, strict=True), 1):
        network.restore_heads(untrained)
        others = np.setdiff1d(rows, part)
        data = TrainingSet.build(others, context.texts, context.identity, context.data.pictured)
        named = dataclasses.replace(stage, name=f"fold {number} of {len(folds)}")
        train_text_heads(context, data, towers, named, TrainingState(), None)
        trained = network.copy_heads()
        for shares in product(_LEARNED_SHARES, _LEARNED_SHARES):
            network.restore_heads(trained)
            _scale_heads(context, *shares)
            network.eval()
            measured = _measure(context, towers, fold)
            scores.setdefault(shares, []).append(measured[0])
            similarities.setdefault(shares, []).append(measured[1])
    network.restore_heads(untrained)
    query, texts = _find_best(scores)
    start, chosen = (np.concatenate(scores[shares]) for shares in ((0.0, 0.0), (query, texts)))
    return Stacking(
        description,
        query,
        texts,
        CrossValidation(
            folds=len(folds),
            queries=sum(len(fold.task.texts) for fold in folds),
            metric=_METRIC,
            start=_mean(start),
            chosen=_mean(chosen),
            gain=bootstrap_interval(chosen - start, _number_queries(folds)),
            shares=({} if description is None else {"kernel ridge of descriptions": description})
            | {"learned, queries": query, "learned, items": texts},
        ),
        calibrate_threshold(*np.concatenate(similarities[query, texts], axis=1)),
    )


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


def _find_best(scores: Mapping[Any, list[np.ndarray]]) -> Any:
    """The shares with the highest mean score over all folds; of equals, those that change the least."""
    return max(scores, key=lambda shares: _mean(np.concatenate(scores[shares])))


def _mean(scores: np.ndarray) -> float:
    return float(scores.mean()) if len(scores) else 0.0


def _describe(chosen: Stacking) -> str:
    measured = chosen.validation
    if not chosen.query and not chosen.texts:
        kept = "what training learns adds nothing on rows that it has not seen, so the closed-form start is kept"
    else:
        kept = f"queries take {chosen.query:.0%} and items {chosen.texts:.0%} of what training learns"
    start = "" if chosen.description is None else f"descriptions take {chosen.description:.0%} of kernel ridge, and "
    folds = f"{measured.folds} folds" if measured.folds > 1 else "one fold"
    return (
        f"Cross-validation over {folds}, {measured.queries:,} queries: "
        f"{start}{kept} (mAP {measured.start:.3f} → {measured.chosen:.3f})"
    )

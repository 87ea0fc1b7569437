"""Calibration of a run's thresholds on rows that its model, or that of a fold, has not seen."""

from collections.abc import Sequence

import numpy as np

from likewise.evaluation.calibration import fit_rule
from likewise.evaluation.calibration_queries import CalibrationByKind, HeldOutItems, score_queries
from likewise.evaluation.ranks import rank_candidates
from likewise.evaluation.results import Threshold
from likewise.evaluation.task import build_log_task, build_title_task
from likewise.evaluation.threshold import calibrate_threshold
from likewise.retrieval.thresholds import Thresholds
from likewise.seeds import Stream, random_stream
from likewise.training.batches import Rows
from likewise.training.context import TrainingContext
from likewise.training.features import Features
from likewise.training.validation import HeldOutTask, Vectors, embed_held_out, embed_queries, embed_rows

_MOST_ITEMS = 20_000


def score_held_out(context: TrainingContext, features: Features, held_out: Rows) -> CalibrationByKind:
    """Score queries for rows that the network, in its present state, has not seen, by the kind of query.

    Args:
        held_out: these rows; of very many, some are drawn.
    """
    rng = random_stream(context.config.seed, Stream.CALIBRATION)
    rows = held_out if len(held_out) <= _MOST_ITEMS else np.sort(rng.choice(held_out, _MOST_ITEMS, replace=False))
    network, texts, identity = context.model.network, context.data.texts, context.identity.select(rows)
    catalog = context.catalog.select(rows)
    task = build_log_task(catalog, rows, texts.query_log, texts.texts, network.fields)
    if task is None:
        if "title" not in network.fields:
            return {}
        task = build_title_task(catalog, identity, tuple(field for field in network.fields if field != "title"))

    def embed(queries: Sequence[str]) -> Vectors:
        indices = np.array([texts.numbers[query] for query in queries], np.int64)
        return embed_queries(network, features, indices)

    titles = [texts.texts[index] if index >= 0 else None for index in texts.title[rows].tolist()]
    items = embed_rows(network, features, context.data, rows, network.fields)
    return score_queries(HeldOutItems(items, network, identity, task, titles, embed), rng)


def keep_thresholds(context: TrainingContext, scores: CalibrationByKind) -> None:
    """Fit a rule to each kind of query of which there are enough, and write the rules to the run."""
    rules = {kind: rule for kind, queries in scores.items() if (rule := fit_rule(queries)) is not None}
    Thresholds(context.model.network.dim, rules).write(context.run)


def calibrate_on_validation_rows(
    context: TrainingContext, features: Features, validation: HeldOutTask
) -> Threshold | None:
    """Calibrate the score below which nothing fits, with the network in its present state; None without queries."""
    if not validation.subsets:
        return None
    rankings = rank_candidates(*embed_held_out(context, features, validation).score(validation.subsets[0]))
    return calibrate_threshold(rankings.right, rankings.wrong)

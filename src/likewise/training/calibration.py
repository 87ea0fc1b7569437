"""Calibration of a run's thresholds on rows that its model, or that of a fold, has not seen."""

import itertools
from collections.abc import Sequence

import numpy as np

from likewise.evaluation.calibration import fit_rule
from likewise.evaluation.calibration_queries import CalibrationByKind, CalibrationItems, score_queries
from likewise.evaluation.results import Threshold
from likewise.evaluation.task import build_log_task, build_title_task
from likewise.evaluation.threshold import calibrate_threshold
from likewise.retrieval.thresholds import Thresholds
from likewise.seeds import Stream, draw_sorted, random_stream
from likewise.training.batches import Rows
from likewise.training.context import TrainingContext
from likewise.training.features import Features
from likewise.training.validation import Vectors, embed_queries, embed_rows

_MOST_ITEMS, _MOST_UNSEEN = 5_000, 2_500


def score_held_out(context: TrainingContext, features: Features, held_out: Rows, trained: Rows) -> CalibrationByKind:
    """Score queries for rows that the network, in its present state, has not seen, by the kind of query.

    Args:
        held_out: these rows; of very many, some are drawn.
        trained: rows that it has seen, which an index holds as well; likewise.
    """
    rng = random_stream(context.config.seed, Stream.CALIBRATION)
    unseen = draw_sorted(held_out, _MOST_UNSEEN, rng)
    rows = np.sort(np.concatenate([unseen, draw_sorted(trained, _MOST_ITEMS - len(unseen), rng)]))
    network, texts, identity = context.model.network, context.data.texts, context.identity.select(rows)
    catalog = context.catalog.select(rows)
    task = None
    if np.isin(texts.query_log.row, unseen).any():
        task = build_log_task(catalog, rows, texts.query_log, texts.texts, network.fields)
    if task is None:
        if "title" not in network.fields:
            return {}
        task = build_title_task(catalog, identity, tuple(field for field in network.fields if field != "title"))

    def embed(queries: Sequence[str]) -> Vectors:
        known = np.array([query in texts.numbers for query in queries], bool)
        vectors = np.empty((len(queries), network.dim), np.float32)
        indices = [texts.numbers[query] for query in itertools.compress(queries, known)]
        vectors[known] = embed_queries(network, features, np.array(indices, np.int64))
        vectors[~known] = context.model.encode_queries(list(itertools.compress(queries, ~known)))
        return vectors

    titles = [texts.texts[index] if index >= 0 else None for index in texts.title[rows].tolist()]
    embeddings = embed_rows(network, features, context.data, rows, network.fields)
    items = CalibrationItems(embeddings, np.isin(rows, unseen), network, identity, task, titles, embed)
    return score_queries(items, rng)


def keep_thresholds(context: TrainingContext, scores: CalibrationByKind) -> Threshold | None:
    """Fit a rule to each kind of query of which there are enough, and write the rules to the run.

    Returns:
        The flat threshold of queries by words, for the report; None where there are none.
    """
    rules = {kind: rule for kind, queries in scores.items() if (rule := fit_rule(queries)) is not None}
    Thresholds(context.model.network.dim, rules).write(context.run)
    words = scores.get("words")
    return None if words is None else calibrate_threshold(words.present, words.absent)

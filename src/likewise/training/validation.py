"""Validation: held-out rows as retrieval tasks, embedded from a training's features, and their scores."""

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from types import MappingProxyType

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from likewise.evaluation.embeddings import TaskEmbeddings
from likewise.evaluation.metrics import cosine_scores, per_query_metrics
from likewise.evaluation.subsets import FieldSubset, list_modality_subsets
from likewise.evaluation.task import RetrievalTask, build_log_task, build_title_task
from likewise.model.field_embeddings import FieldEmbeddings, embed_fields
from likewise.model.matryoshka import Variant, build_variants
from likewise.model.network import Network
from likewise.seeds import Stream, draw_sorted, random_stream
from likewise.training.batches import Rows, TrainingSet
from likewise.training.context import TrainingContext
from likewise.training.features import Features, read_field

Vectors = NDArray[np.float32]
Scores = NDArray[np.float64]

_MOST_ITEMS = 20_000  # held-out rows that are ranked; more would slow every evaluation and hardly narrow the intervals
FINE_METRIC = "map"  # for choices on few rows, where recall@10 is near its ceiling and cannot tell models apart
CHANCE = 1.645  # standard errors of a paired difference; a loss beyond them is no chance (one-sided, 95 %)
_PICTURES_AT_ONCE, _TEXTS_AT_ONCE = 256, 1024


@dataclass(frozen=True)
class HeldOutTask:
    """A retrieval task over held-out rows.

    Attributes:
        rows: (items,) the row of each of the task's items in the whole catalogue.
        task: the queries and their answers.
        subsets: of the fields, through which the items are seen; empty where there is no query.
    """

    rows: Rows
    task: RetrievalTask
    subsets: list[FieldSubset]


def build_held_out_task(context: TrainingContext, rows: Rows) -> HeldOutTask:
    """Build the retrieval task of held-out rows: logged queries, or every distinct title where none was logged.

    Args:
        rows: (n,) held-out rows; a sample of them where there are very many.
    """
    catalog, data, fields, seed = context.catalog, context.data, context.model.fields, context.config.seed
    rows = draw_sorted(rows, _MOST_ITEMS, random_stream(seed, Stream.HELD_OUT_ROWS))
    texts = data.texts
    task = build_log_task(catalog.select(rows), rows, texts.query_log, texts.texts, fields)
    if task is None:
        rows = rows if "title" in fields else rows[:0]
        shown = tuple(field for field in fields if field != "title")
        task = build_title_task(catalog.select(rows), data.identity.select(rows), shown)
    present = [field for field in task.fields if data.has_field(field, rows).any()]
    subsets = list_modality_subsets(present, task.hidden, seed=seed) if task.texts else []
    return HeldOutTask(rows, task, subsets)


def embed_held_out(
    context: TrainingContext, features: Features, held_out: HeldOutTask, fields: Sequence[str] | None = None
) -> TaskEmbeddings:
    """Embed a task's queries and items with the network in its present state, which is left in evaluation mode.

    Args:
        fields: of the items; None: those of the task.
    """
    network, task = context.model.network, held_out.task
    items = embed_rows(network, features, context.data, held_out.rows, tuple(fields or task.fields))
    return TaskEmbeddings(task, network, embed_task_queries(context, features, held_out), items)


def embed_task_queries(context: TrainingContext, features: Features, held_out: HeldOutTask) -> Vectors:
    """(queries, dim) unit vectors of a task's queries."""
    numbers = context.data.texts.numbers
    texts = [numbers[text] for text in held_out.task.texts if text is not None]
    return embed_queries(context.model.network, features, np.array(texts, np.int64))


def embed_queries(network: Network, features: Features, texts: Rows) -> Vectors:
    """(q, dim) unit vectors of queries, by the indices of their texts."""
    network.eval()
    with torch.inference_mode():
        parts = [network.query(features.texts(texts[part], "query")) for part in _slices(len(texts), _TEXTS_AT_ONCE)]
    return np.concatenate([np.empty((0, network.dim), np.float32), *(part.cpu().numpy() for part in parts)])


def embed_rows(
    network: Network,
    features: Features,
    data: TrainingSet,
    rows: Rows,
    fields: tuple[str, ...],
    known: Mapping[str, Vectors] = MappingProxyType({}),
) -> FieldEmbeddings:
    """Embed the fields of some rows with a network in its present state, which is left in evaluation mode.

    Args:
        known: (rows, dim) vectors of fields whose towers need not run again.
    """
    network.eval()
    return embed_fields(network, fields, len(rows), partial(_run_tower, network, features, data, rows, known))


def _run_tower(
    network: Network,
    features: Features,
    data: TrainingSet,
    rows: Rows,
    known: Mapping[str, Vectors],
    field: str,
) -> Iterator[tuple[Rows, Tensor]]:
    present = np.flatnonzero(data.has_field(field, rows))
    pictured = field == "image"
    for part in _slices(len(present), _PICTURES_AT_ONCE):
        places = present[part]
        values = rows[places] if pictured else data.texts.field(field)[rows[places]]
        if field in known:
            yield places, torch.from_numpy(known[field][places])
        elif pictured:
            yield places, embed_pictures(network, features, values)
        else:
            yield places, network.tower(field, read_field(features, network, field, values))


def embed_pictures(network: Network, features: Features, rows: Rows) -> Tensor:
    """(n, dim) unit vectors of the rows' pictures, averaged with their mirror images where the network reads both."""
    vectors = network.tower("image", features.pictures(rows))
    if not network.hflip_tta:
        return vectors
    mirrored = network.tower("image", features.pictures(rows, np.ones(len(rows), bool)))
    return functional.normalize(vectors + mirrored, dim=-1)


@dataclass(frozen=True)
class ValidationScores:
    """The headline metric of every query, by the key of the field subset: (queries,) each."""

    by_subset: dict[str, Scores]

    @property
    def flat(self) -> Scores:
        """(subsets · queries,) what chooses the best checkpoint."""
        return np.nan_to_num(np.concatenate([np.zeros(0), *self.by_subset.values()]))

    @property
    def mean(self) -> float:
        """Over all of them; 0 where there is no query."""
        return float(self.flat.mean()) if self.flat.size else 0.0

    @property
    def means(self) -> dict[str, float]:
        """By subset."""
        return {key: float(np.nan_to_num(scores).mean()) for key, scores in self.by_subset.items() if len(scores)}


def loses(
    pairs: Iterable[tuple[ValidationScores, ValidationScores]], tolerance: float = math.inf, chance: float = CHANCE
) -> bool:
    """Whether the first of each pair score less than the second on any field subset, beyond chance.

    Args:
        pairs: of the same queries each, one pair for each fold.
        tolerance: a mean that is lower by more than this is a loss, whatever chance says.
        chance: standard errors up to which a lower mean is chance.
    """
    differences: dict[str, list[Scores]] = {}
    for scores, against in pairs:
        for subset, values in scores.by_subset.items():
            lost = np.nan_to_num(values) - np.nan_to_num(against.by_subset[subset])
            differences.setdefault(subset, []).append(lost)
    paired = [np.concatenate(parts) for parts in differences.values()]
    return any(
        each.mean() < max(-tolerance, -chance * each.std() / math.sqrt(len(each))) for each in paired if len(each)
    )


def score_validation(
    embeddings: TaskEmbeddings, subsets: Sequence[FieldSubset], variants: Sequence[Variant], metric: str | None = None
) -> ValidationScores:
    """Score every query on every subset of the fields.

    Args:
        embeddings: the validation task in the model's space.
        subsets: of the fields.
        variants: in which an index may keep vectors; a query's score is the mean over them.
        metric: of `METRICS`; None: the task's headline metric.
    """
    task, queries, by_subset = embeddings.task, torch.from_numpy(embeddings.queries), {}
    for subset in subsets:
        items = torch.from_numpy(embeddings.fuse(subset))
        scores = [
            per_query_metrics(
                cosine_scores(variant(queries).numpy(), variant(items).numpy()), task.relevant, task.gains
            )[metric or task.metric]
            for variant in variants
        ]
        by_subset[subset.key] = np.mean(scores, axis=0)
    return ValidationScores(by_subset)


def score_network(
    context: TrainingContext, features: Features, held_out: HeldOutTask, metric: str | None = None
) -> ValidationScores:
    """Score the network in its present state on held-out rows; for the leading process alone.

    Args:
        metric: as in `score_validation`.
    """
    embeddings = embed_held_out(context, features, held_out)
    return score_validation(embeddings, held_out.subsets, build_variants(context.config), metric)


def score_in_all_processes(
    context: TrainingContext, features: Features, held_out: HeldOutTask, metric: str | None = None
) -> ValidationScores:
    """The scores of `score_network`, which the leading process shares with the others."""
    scores = score_network(context, features, held_out, metric) if context.processes.leads else ValidationScores({})
    shared: ValidationScores = context.processes.from_leader(scores)
    return shared


def _slices(count: int, size: int) -> Iterator[slice]:
    for start in range(0, count, size):
        yield slice(start, start + size)

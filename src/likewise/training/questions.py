"""The questions that held-out rows are asked: which queries, over which items, seen through which of their fields."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from likewise.evaluation.comparison import headline_metric, relevance_by_key
from likewise.evaluation.metrics import cosine_scores, per_query_metrics
from likewise.evaluation.subsets import ALL, IMAGE, MIXED, TEXT, mixed_index
from likewise.model.network import FIELD_MODALITY, Network
from likewise.training.features import Features
from likewise.training.forms import Form
from likewise.training.identity import Codes, Identity
from likewise.training.queries import AskedQueries
from likewise.training.views import Bools, RowTexts

Rows = NDArray[np.int64]
Vectors = NDArray[np.float32]
Scores = NDArray[np.float64]

_MOST_ITEMS = 20_000  # held-out rows that are ranked; more would slow every evaluation and hardly narrow the intervals
_CHUNK = 256


@dataclass(frozen=True)
class Questions:
    """Queries taken from held-out rows, and what answers them.

    Attributes:
        rows: (n,) the candidate items.
        queries: (q,) text indices.
        relevant: per query the positions in `rows` of its answers.
        gains: how well each of them answers, of the same shape; None where none is better than another.
        groups: (q,) identity of each query, for the bootstrap.
        hidden: the field that the queries were taken from; items are seen without it. None: queries that people asked.
        metric: what decides, recall@10 or nDCG@10.
    """

    rows: Rows
    queries: Codes
    relevant: list[NDArray[np.int64]]
    gains: list[NDArray[np.float64]] | None
    groups: Codes
    hidden: str | None
    metric: str

    @classmethod
    def about(cls, rows: Rows, texts: RowTexts, identity: Identity, seed: int) -> "Questions":
        """Queries that people asked and these rows answer; where there are none, every distinct title is a query.

        A title is answered by all rows that are the same thing, by their title or the identity that the user named.
        """
        if len(rows) > _MOST_ITEMS:
            rows = np.sort(np.random.default_rng([seed, 3]).choice(rows, _MOST_ITEMS, replace=False))
        asked = _asked(rows, texts.asked)
        if asked is not None:
            queries, relevant, gains = asked
            groups = np.arange(len(queries))
            return cls(rows, queries, relevant, gains, groups, None, headline_metric(relevant, graded=bool(gains)))
        known = rows[texts.title[rows] >= 0]
        first = known[np.unique(identity.title[known], return_index=True)[1]]
        thing = identity.thing
        candidates = [int(code) if code >= 0 else None for code in thing[rows]]
        relevant = relevance_by_key(thing[first].tolist(), candidates)
        groups = identity.component[first]
        return cls(rows, texts.title[first], relevant, None, groups, "title", headline_metric(relevant))


def _asked(
    rows: Rows, asked: AskedQueries
) -> tuple[Codes, list[NDArray[np.int64]], list[NDArray[np.float64]] | None] | None:
    """Distinct queries that some rows answer, the positions of these rows, and how well they do; None without any."""
    position = np.full(len(asked.starts) - 1, -1)
    position[rows] = np.arange(len(rows))
    entry_position = position[asked.row]
    kept = np.flatnonzero(entry_position >= 0)
    if not len(kept):
        return None
    order = kept[np.lexsort((entry_position[kept], asked.text[kept]))]
    distinct, starts = np.unique(asked.text[order], return_index=True)
    relevant = np.split(entry_position[order], starts[1:])
    return distinct, relevant, np.split(asked.weight[order], starts[1:]) if asked.graded else None


@dataclass(frozen=True)
class Towers:
    """What a network makes of candidates and queries: (n, dim) per field, NaN where absent, and (q, dim)."""

    queries: Vectors
    fields: dict[str, Vectors]


def network_towers(
    network: Network, features: Features, questions: Questions, texts: RowTexts, pictured: Bools
) -> Towers:
    """Queries and fields through a network in its present state (which is left in evaluation mode)."""
    network.eval()
    with torch.inference_mode():
        queries = [
            network.query(features.texts(part, "query")).cpu().numpy() for part in _parts(questions.queries, 1024)
        ]
        fields = {}
        for field in network.fields:
            if field == questions.hidden:
                continue
            present = (
                pictured[questions.rows] if FIELD_MODALITY[field] == "image" else texts_of(texts, field, questions) >= 0
            )
            vectors = np.full((len(questions.rows), network.dim), np.nan, np.float32)
            for places in _parts(np.flatnonzero(present), _CHUNK):
                if FIELD_MODALITY[field] == "image":
                    seen = picture_vectors(network, features, questions.rows[places])
                else:
                    seen = network.tower(field, features.texts(texts_of(texts, field, questions)[places], "document"))
                vectors[places] = seen.cpu().numpy()
            fields[field] = vectors
    return Towers(np.concatenate([np.empty((0, network.dim), np.float32), *queries]), fields)


def picture_vectors(network: Network, features: Features, rows: Rows) -> Tensor:
    """(n, dim) the rows' pictures, from both sides where the network looks at both."""
    vectors = network.tower("image", features.pictures(rows))
    if not network.hflip_tta:
        return vectors
    mirrored = network.tower("image", features.pictures(rows, np.ones(len(rows), bool)))
    return functional.normalize(vectors + mirrored, dim=-1)


def texts_of(texts: RowTexts, field: str, questions: Questions) -> Codes:
    """(n,) text indices of one field of the candidates."""
    return (texts.title if field == "title" else texts.description)[questions.rows]


def fuse_with(network: Network, towers: Towers, fields: list[str]) -> Vectors:
    """(n, dim) the candidates seen through `fields`, fused by the network; NaN where an item has none of them."""
    device = network.fusion.gates.device
    absent = np.full((len(next(iter(towers.fields.values()))), network.dim), np.nan, np.float32)
    stacked = torch.from_numpy(
        np.stack([towers.fields[field] if field in fields else absent for field in network.fields], axis=1)
    ).to(device)
    with torch.inference_mode():
        fused: Vectors = network.fuse(stacked, ~stacked[..., 0].isnan()).cpu().numpy()
    return fused


def subsets(fields: tuple[str, ...], towers: Towers) -> Iterator[tuple[str, list[str]]]:
    """The subsets that can be told apart on these items, each with the fields it shows; none where nothing is asked."""
    if not len(towers.queries):
        return
    seen = [field for field in fields if field in towers.fields and not np.isnan(towers.fields[field]).all()]
    words = [field for field in seen if FIELD_MODALITY[field] == "text"]
    pictures = [field for field in seen if FIELD_MODALITY[field] == "image"]
    if seen:
        yield ALL, seen
    if words and pictures:
        yield TEXT, words
        yield IMAGE, pictures
        yield MIXED, seen


def see(network: Network, towers: Towers, subset: str, shown: list[str], seed: int) -> Vectors:
    """(n, dim) the candidates as one subset shows them."""
    if subset != MIXED:
        return fuse_with(network, towers, shown)
    words = [field for field in shown if FIELD_MODALITY[field] == "text"]
    pictures = [field for field in shown if FIELD_MODALITY[field] == "image"]
    return mixed_index(fuse_with(network, towers, words), fuse_with(network, towers, pictures), seed=seed)[0]


@dataclass(frozen=True)
class ScoresBySubset:
    """The headline metric of every query, for every subset of the fields: (queries,) each."""

    scores: dict[str, Scores]

    @property
    def flat(self) -> Scores:
        """(subsets · queries,) what chooses the best checkpoint."""
        return np.nan_to_num(np.concatenate([np.zeros(0), *self.scores.values()]))

    @property
    def mean(self) -> float:
        """Over all of them; 0 where nothing was asked."""
        return float(self.flat.mean()) if self.flat.size else 0.0

    @property
    def means(self) -> dict[str, float]:
        """By subset."""
        return {subset: float(np.nan_to_num(scores).mean()) for subset, scores in self.scores.items() if len(scores)}


def validation_scores(
    network: Network, towers: Towers, questions: Questions, seed: int, forms: Sequence[Form]
) -> ScoresBySubset:
    """How well the questions are answered, the candidates seen through every subset of their fields.

    Args:
        forms: in which vectors will be kept; a question's score is the mean over them.
    """
    queries, scores = torch.from_numpy(towers.queries), {}
    for subset, shown in subsets(network.fields, towers):
        items = torch.from_numpy(see(network, towers, subset, shown, seed))
        found = [_scores(form(queries).numpy(), form(items).numpy(), questions) for form in forms]
        scores[subset] = np.mean(found, axis=0)
    return ScoresBySubset(scores)


def _scores(queries: Vectors, items: Vectors, questions: Questions) -> Scores:
    """(queries,) of the headline metric."""
    return per_query_metrics(cosine_scores(queries, items), questions.relevant, questions.gains)[questions.metric]


def _parts(values: NDArray[np.int64], size: int) -> Iterator[NDArray[np.int64]]:
    for start in range(0, max(len(values), 1), size):
        if len(values):
            yield values[start : start + size]

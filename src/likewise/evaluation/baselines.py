"""Baselines that a trained model has to beat: its untrained encoders, BM25, and closed forms (ridge regressions)."""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise

import numpy as np
import torch
from torch import Tensor

from likewise.evaluation.comparison import SystemMetrics
from likewise.evaluation.embeddings import TaskEmbeddings
from likewise.evaluation.metrics import unit_rows
from likewise.evaluation.results import START, UNTRAINED, ZERO_SHOT
from likewise.evaluation.subsets import FieldSubset, draw_text_items
from likewise.model.closed_forms import BaseMaps
from likewise.model.network import Network
from likewise.retrieval.lexical.bm25 import BM25Index
from likewise.retrieval.lexical.postings import PostingsBuilder
from likewise.retrieval.lexical.segment import Segment
from likewise.retrieval.lexical.tokenizing import lexical_tokens

_CHUNK_ROWS = 4096
_ROWS_OF_GROUPS = 4096  # to choose a penalty by; about as many
_ABOUT_AS_GOOD = 0.99  # of the best mean reciprocal rank
_FEWEST_GROUPS = 10
_LARGEST_GROUP = 512  # rows; a larger one says more of itself than of new groups, and is slow

Baselines = dict[str, dict[str, SystemMetrics]]


def measure_baselines(
    subsets: Sequence[FieldSubset],
    network: Network,
    embed: Callable[[Sequence[str]], TaskEmbeddings],
    fields: Sequence[str],
    closed_forms: Mapping[str, BaseMaps],
    start_logits: Tensor | None = None,
) -> Baselines:
    """Measure the untrained model, BM25 and closed forms on a retrieval task.

    Args:
        subsets: of the fields.
        network: untrained.
        embed: runs the network's towers of some fields, as they are when it is called, over the task.
        fields: of the task's items.
        closed_forms: by their names in the tables, the maps that take the place of the network's own, by field.
        start_logits: (fields,) of the fusion with which the closed form called `START` is measured; None: those of the
            network, like all others.

    Returns:
        By the name of the system, the metrics by the key of the subset; BM25 has none where a subset shows no text.
        The untrained model is called `name_untrained`.
    """
    untrained, called = embed(fields), name_untrained(network)
    measured = {called: untrained.evaluate(called, subsets), "BM25": _evaluate_bm25(untrained, subsets)}
    own_logits = network.fusion.field_logits.detach()
    known = {(frozenset[tuple[str, int]](), False): called}
    for name, maps in closed_forms.items():
        logits = own_logits if name != START or start_logits is None else start_logits.to(own_logits.device)
        weighted = not torch.equal(logits, own_logits)
        same = known.setdefault((frozenset((field, id(base)) for field, base in maps.items()), weighted), name)
        if same != name:
            measured[name] = {key: replace(metrics, name=name) for key, metrics in measured[same].items()}
            continue
        with network.with_base_maps(maps), network.fusion.with_field_logits(logits.clone()):
            moved = [field for field in fields if field in maps]
            if not moved and "image" in maps and any(untrained.task.pictures):
                moved = list(fields)  # queries are seen through the picture tower, too
            embeddings = untrained.with_towers(embed(moved)) if moved else untrained
            measured[name] = embeddings.evaluate(name, subsets)
    return measured


def name_untrained(network: Network) -> str:
    """What tables call a network before any training: "zero-shot" where it finds pictures by words even so."""
    return ZERO_SHOT if network.zero_shot else UNTRAINED


def _evaluate_bm25(embeddings: TaskEmbeddings, subsets: Sequence[FieldSubset]) -> dict[str, SystemMetrics]:
    """BM25 over the texts that each subset shows; `embeddings` say which fields an item has."""
    task, measured = embeddings.task, {}
    for subset in subsets:
        documents = task.documents(subset.texts)
        if documents is None:
            continue
        if subset.mix_seed is not None:
            has_text, has_image = (embeddings.items.has_any(fields) for fields in (subset.texts, subset.images))
            by_text = draw_text_items(has_text, has_image, seed=subset.mix_seed)
            documents = [text if shown else "" for text, shown in zip(documents, by_text, strict=True)]
        pair = (task.texts, documents) if task.direction == "items" else (documents, task.texts)
        measured[subset.key] = task.evaluate("BM25", bm25_scores(*pair), task.relevant)
    return measured


def bm25_scores(queries: Sequence[str | None], texts: Sequence[str | None]) -> Callable[[slice], np.ndarray]:
    """Scores of lexical search, as an index with these texts gives them: BM25 of every query against every text.

    Args:
        queries: q texts; one that is blank or shares no word with the catalogue scores 0 everywhere.
        texts: n texts; a blank or absent one scores 0, like any text without a shared word.

    Returns:
        A function from a slice of the queries to (rows, n) float32 scores.
    """
    builder = PostingsBuilder()
    builder.add([str(row) for row in range(len(texts))], (lexical_tokens(text or "") for text in texts))
    index = BM25Index([Segment("texts", builder.build(vocabulary=False), np.ones(len(texts), bool))])

    def score(rows: slice) -> np.ndarray:
        matches = [index.match([(query or "", 1.0)]).all_scores for query in queries[rows]]
        return np.stack(matches) if matches else np.zeros((0, len(texts)), np.float32)

    return score


@dataclass(frozen=True)
class RidgeMap:
    """A linear map with an intercept, y ≈ (x - x_mean) @ weights + y_mean."""

    weights: np.ndarray  # (d, k) float64
    x_mean: np.ndarray  # (d,) float64
    y_mean: np.ndarray  # (k,) float64
    penalty: float  # lambda, on the squared weights; the intercept goes free

    def __call__(self, x: np.ndarray) -> np.ndarray:
        """Map (n, d) features to (n, k) float32; a NaN row stays NaN. Not of unit length."""
        weights = self.weights.astype(np.float32)
        intercept = (self.y_mean - self.x_mean @ self.weights).astype(np.float32)
        return np.asarray(x, dtype=np.float32) @ weights + intercept


def fit_ridge(
    x: np.ndarray, y: np.ndarray, *, penalty: float | None = None, groups: np.ndarray | None = None
) -> RidgeMap:
    """Ridge regression from `x` to `y` in closed form, in float64, reading the rows in chunks (a memory map is fine).

    The penalty is the one with the least generalised cross-validation error (Golub, Heath and Wahba, 1979) on a grid
    over seven powers of ten around the features' mean variance; one eigendecomposition serves all of them.

    Args:
        x: (n, d) picture features. y: (n, k) the texts' vectors. Rows with a NaN on either side are left out.
        penalty: a fixed lambda instead, in the units of x squared, summed over rows.
        groups: (n,) codes of rows that say the same, such as several recordings of one word; the penalty is then the
            one with which groups that are left out are found best (`best_penalty_by_groups`).

    Raises:
        ValueError: fewer than two complete rows.
    """
    if len(x) != len(y):
        raise ValueError(f"{len(x)} rows of features but {len(y)} of targets")
    rows = np.concatenate([part[_complete(x[part]) & _complete(y[part])] for part in _row_chunks(np.arange(len(x)))])
    if len(rows) < 2:
        raise ValueError(f"a linear map needs at least two pairs of picture and text, found {len(rows)}")
    x_mean, y_mean = _mean(x, rows), _mean(y, rows)
    if len(rows) < x.shape[1]:
        # The solution lies in the span of the rows, so the problem is solved there, n wide instead of d wide.
        basis, _ = np.linalg.qr((np.asarray(x[rows], dtype=np.float64) - x_mean).T)
    else:
        basis = None
    gram, cross, y_square = _moments(x, y, rows, x_mean, y_mean, basis)
    eigenvalues, vectors = np.linalg.eigh(gram)
    eigenvalues = np.maximum(eigenvalues, 0.0)
    rotated = vectors.T @ cross  # (r, k)
    measured = choose_groups(None if groups is None else groups[rows])
    if penalty is None and groups is not None and len(measured):
        some = rows[measured]
        centred = np.asarray(x[some], dtype=np.float64) - x_mean
        design, targets = (centred if basis is None else centred @ basis) @ vectors, y[some] - y_mean
        penalty = best_penalty_by_groups(design, eigenvalues, rotated, targets, groups[some], len(rows))
    elif penalty is None:
        penalty = best_penalty(eigenvalues, (rotated**2).sum(axis=1), y_square, len(rows))
    weights = vectors @ (rotated / (eigenvalues + penalty)[:, None])
    return RidgeMap(weights if basis is None else basis @ weights, x_mean, y_mean, float(penalty))


def _complete(values: np.ndarray) -> np.ndarray:
    return np.isfinite(values).all(axis=1)


def _row_chunks(rows: np.ndarray) -> list[np.ndarray]:
    return [rows[start : start + _CHUNK_ROWS] for start in range(0, max(len(rows), 1), _CHUNK_ROWS)]


def _mean(values: np.ndarray, rows: np.ndarray) -> np.ndarray:
    return np.sum([values[part].sum(axis=0, dtype=np.float64) for part in _row_chunks(rows)], axis=0) / len(rows)


def _moments(
    x: np.ndarray, y: np.ndarray, rows: np.ndarray, x_mean: np.ndarray, y_mean: np.ndarray, basis: np.ndarray | None
) -> tuple[np.ndarray, np.ndarray, float]:
    """Centred x'x (d, d), x'y (d, k) and the sum of squares of y; in the coordinates of `basis` if there is one."""
    width = x.shape[1] if basis is None else basis.shape[1]
    gram, cross, y_square = np.zeros((width, width)), np.zeros((width, y.shape[1])), 0.0
    for part in _row_chunks(rows):
        x_part = np.asarray(x[part], dtype=np.float64) - x_mean
        y_part = np.asarray(y[part], dtype=np.float64) - y_mean
        if basis is not None:
            x_part = x_part @ basis
        gram += x_part.T @ x_part
        cross += x_part.T @ y_part
        y_square += float((y_part**2).sum())
    return gram, cross, y_square


def best_penalty_by_groups(
    design: np.ndarray,
    eigenvalues: np.ndarray,
    by_target: np.ndarray,
    targets: np.ndarray,
    groups: np.ndarray,
    rows: int,
) -> float:
    """The lambda on a grid with which rows find their group best, when the fit has not seen it.

    Generalised cross-validation leaves out single rows. Where others say the same, these give the answer away, and it
    finds next to no penalty. Leaving out a group changes its residuals r to (I - H)⁻¹ r, with H the fit's influence of
    the group on itself, so no fit is repeated (Allen, 1974). A prediction counts by the reciprocal rank of its group
    among all groups, by the cosine: the least squared error would shrink predictions that say little far more than
    retrieval likes, which looks at directions alone. Of penalties that are about as good, it is the largest.

    Args:
        design: (m, r) centred inputs of some rows in the basis of the eigenvectors of x'x.
        eigenvalues: (r,) of x'x.
        by_target: (r, k) of all rows, their design' · targets.
        targets: (m, k) centred.
        groups: (m,) codes; of those whose rows are given, all rows are.
        rows: n, which were fitted.
    """
    scale = eigenvalues.mean()
    if scale == 0:
        return 1.0
    order = np.argsort(groups, kind="stable")
    design, targets = design[order], targets[order]
    _, starts, sizes = np.unique(groups[order], return_index=True, return_counts=True)
    own = np.repeat(np.arange(len(sizes)), sizes)
    wanted = unit_rows(np.add.reduceat(targets, starts))
    found = {}
    for candidate in scale * np.logspace(-4, 3, 15):
        weighted = design / (eigenvalues + candidate)
        predicted = weighted @ by_target
        for start, end in pairwise([*starts, len(groups)]):
            influence = weighted[start:end] @ design[start:end].T + 1 / rows
            residuals = targets[start:end] - predicted[start:end]
            predicted[start:end] = targets[start:end] - np.linalg.solve(np.eye(end - start) - influence, residuals)
        scores = unit_rows(predicted) @ wanted.T
        ranks = 1 + (scores > scores[np.arange(len(own)), own][:, None]).sum(axis=1)
        found[float(candidate)] = float((1 / ranks).mean())
    return max(candidate for candidate, rank in found.items() if rank >= _ABOUT_AS_GOOD * max(found.values()))


def choose_groups(groups: np.ndarray | None) -> np.ndarray:
    """Row numbers of whole groups, as many as choose a penalty; none where every row is a group, or groups are few.

    Args:
        groups: (n,) codes; None: every row is one of its own.
    """
    if groups is None:
        return np.empty(0, np.int64)
    _, of_row, sizes = np.unique(groups, return_inverse=True, return_counts=True)
    usable = np.flatnonzero(sizes <= _LARGEST_GROUP)
    if len(sizes) == len(groups) or len(usable) < _FEWEST_GROUPS:
        return np.empty(0, np.int64)
    step = max(1, math.ceil(sizes[usable].sum() / _ROWS_OF_GROUPS))
    return np.flatnonzero(np.isin(of_row, usable[::step]))


def best_penalty(eigenvalues: np.ndarray, explained: np.ndarray, y_square: float, rows: int) -> float:
    """The lambda on a grid with the least n·RSS / (n - degrees of freedom)².

    Args:
        eigenvalues: (r,) of x'x, centred. explained: (r,) squared norms of x'y along its eigenvectors.
        y_square: the sum of squares of y, centred.
        rows: n.
    """
    scale = eigenvalues.mean()
    if scale == 0:
        return 1.0
    real = eigenvalues > eigenvalues.max() * 1e-12
    share = np.where(real, explained / np.where(real, eigenvalues, 1.0), 0.0)
    unexplained = max(y_square - share.sum(), 0.0)
    errors = {}
    for candidate in scale * np.logspace(-4, 3, 29):
        shrinkage = candidate / (eigenvalues + candidate)
        freedom = rows - 1 - (1 - shrinkage).sum()
        errors[float(candidate)] = rows * (unexplained + (shrinkage**2 * share).sum()) / max(freedom, 1e-9) ** 2
    return min(errors, key=lambda candidate: errors[candidate])

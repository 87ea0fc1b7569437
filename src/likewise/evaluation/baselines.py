"""The simple rivals that a trained model has to beat: BM25, and a ridge regression from pictures to the text space."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import bm25s
import numpy as np

from likewise.catalog.text import split_words

_CHUNK_ROWS = 4096


def bm25_scores(queries: Sequence[str | None], texts: Sequence[str | None]) -> Callable[[slice], np.ndarray]:
    """BM25 (Lucene's variant, k1 = 1.5, b = 0.75) of every query against every text.

    Args:
        queries: q texts; one that is blank or shares no word with the catalogue scores 0 everywhere.
        texts: n texts; a blank or absent one scores 0, like any text without a shared word.

    Returns:
        A function from a slice of the queries to (rows, n) float32 scores.
    """
    vocabulary: dict[str, int] = {}
    documents = [[vocabulary.setdefault(word, len(vocabulary)) for word in split_words(text or "")] for text in texts]
    if not vocabulary:
        return lambda rows: np.zeros((len(queries[rows]), len(texts)), dtype=np.float32)
    index = bm25s.BM25(method="lucene", k1=1.5, b=0.75, backend="numpy")
    index.index((documents, dict(vocabulary)), show_progress=False)

    def score(rows: slice) -> np.ndarray:
        result = np.zeros((len(queries[rows]), len(texts)), dtype=np.float32)
        for row, query in enumerate(queries[rows]):
            known = [vocabulary[word] for word in split_words(query or "") if word in vocabulary]
            if known:
                result[row] = index.get_scores_from_ids(known)
        return result

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


def fit_ridge(x: np.ndarray, y: np.ndarray, *, penalty: float | None = None) -> RidgeMap:
    """Ridge regression from `x` to `y` in closed form, in float64, reading the rows in chunks (a memory map is fine).

    The penalty is the one with the least generalised cross-validation error (Golub, Heath and Wahba, 1979) on a grid
    over seven powers of ten around the features' mean variance; one eigendecomposition serves all of them.

    Args:
        x: (n, d) picture features. y: (n, k) the texts' vectors. Rows with a NaN on either side are left out.
        penalty: a fixed lambda instead, in the units of x squared, summed over rows.

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
    if penalty is None:
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

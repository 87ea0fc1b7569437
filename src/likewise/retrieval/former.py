"""Item vectors in FAISS: exact while the catalogue is small, a quantised graph with exact scores from there on."""

from pathlib import Path
from typing import Any, Literal

import faiss
import numpy as np

from likewise.errors import UserError
from likewise.progress import Bar

_faiss: Any = faiss  # its type stubs lack a part of what is used here

EXACT_BELOW = 100_000  # items; an exact search is quick enough until there

# The graph: half a kilobyte of links and 8 bits a dimension for each item. Its scores are approximate, so the best
# `_CANDIDATES` times k are scored again with the full vectors, which are mapped from disk and read only for those.
_GRAPH = "HNSW32_SQ8,RFlat"
_CANDIDATES = 4
_BREADTH = 256  # items that a search keeps open; 256 finds 99 % of the true ten best among 100,000
_CHUNK = 4096
_TRAINING_SAMPLE = 50_000


class FaissStore:
    """Unit vectors, searched by inner product; a vector is known by its row number."""

    def __init__(self, index: faiss.Index) -> None:
        self._index: Any = index
        self.dim: int = index.d
        self.kind: Literal["exact", "graph"] = "graph" if isinstance(index, _faiss.IndexRefine) else "exact"

    def __len__(self) -> int:
        return int(self._index.ntotal)

    @classmethod
    def build(cls, vectors: np.ndarray, *, exact_below: int = EXACT_BELOW) -> "FaissStore":
        """Make a store in memory.

        Args:
            vectors: (n, dim) float32, unit norm, all finite; n may be 0.
            exact_below: from this number of vectors on, the graph is used.
        """
        count, dim = vectors.shape
        if count < exact_below:
            index = _faiss.IndexFlatIP(dim)
            index.add(vectors)
            return cls(index)
        index = _faiss.index_factory(dim, _GRAPH, _faiss.METRIC_INNER_PRODUCT)
        rows = np.random.default_rng(0).permutation(count)[:_TRAINING_SAMPLE]
        index.train(vectors[np.sort(rows)])
        with Bar("Indexing", count) as bar:
            for start in range(0, count, _CHUNK):
                chunk = vectors[start : start + _CHUNK]
                index.add(chunk)
                bar.advance(len(chunk))
        return cls(index)

    @classmethod
    def open(cls, path: Path) -> "FaissStore":
        """Open a written store; its vectors stay on disk and are read when a search needs them.

        Raises:
            UserError: the file is missing or damaged.
        """
        try:
            return cls(_faiss.read_index(str(path), _faiss.IO_FLAG_MMAP_IFC))
        except RuntimeError:
            raise UserError(f"the vectors in {path} are missing or damaged") from None

    def write(self, path: Path) -> None:
        """Write the store as one file."""
        _faiss.write_index(self._index, str(path))

    def vector(self, row: int) -> np.ndarray:
        """(dim,) float32, the vector of one row."""
        return self._index.reconstruct(row)

    def search(self, query: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray]:
        """Find the k nearest rows.

        Args:
            query: (dim,) float32, unit norm.
            k: how many; no more than there are come back.

        Returns:
            Cosines in [-1, 1], descending, and row numbers; both (at most k,).
        """
        k = min(k, len(self))
        if k == 0:
            return np.empty(0, np.float32), np.empty(0, np.int64)
        scores, rows = self._index.search(query[None].astype(np.float32), k, params=self._search_parameters(k))
        found = rows[0] >= 0
        return np.clip(scores[0][found], -1.0, 1.0), rows[0][found]

    def _search_parameters(self, k: int) -> faiss.SearchParameters | None:
        if self.kind == "exact":
            return None
        breadth = _faiss.SearchParametersHNSW(efSearch=max(_BREADTH, _CANDIDATES * k))
        return _faiss.IndexRefineSearchParameters(k_factor=_CANDIDATES, base_index_params=breadth)

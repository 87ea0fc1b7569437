"""Many vectors in clusters, and what an index over them has to find, alike for every engine that builds one."""

import numpy as np
import polars as pl

from likewise.catalog.filters import Compare
from likewise.stores.base import Store
from likewise.stores.registry import replace_store
from likewise.stores.schema import Schema

DIM, COUNT = 32, 3_000


def fill_clustered(place: str) -> np.ndarray:
    """Fill a store with COUNT items in 60 clusters and 200 groups; their (COUNT, DIM) unit vectors."""
    random = np.random.default_rng(0)
    centres = random.standard_normal((60, DIM))
    vectors = centres[random.integers(0, 60, COUNT)] + 0.5 * random.standard_normal((COUNT, DIM))
    vectors = (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)
    items = pl.DataFrame({"id": [str(row) for row in range(COUNT)], "group": [row % 200 for row in range(COUNT)]})
    with replace_store(place, Schema.of(items, DIM)) as store:
        store.upsert(items, vectors)
    return vectors


def check_neighbours(store: Store, vectors: np.ndarray) -> None:
    """95 % of the true neighbours are found, with their exact scores."""
    queries = vectors[::60] + 0.05
    queries /= np.linalg.norm(queries, axis=1, keepdims=True)
    right = 0
    for query, found in zip(queries, store.search(queries, 10), strict=True):
        rows = np.array(found.ids, dtype=int)
        np.testing.assert_allclose(found.scores, vectors[rows] @ query, atol=1e-5)
        right += len(set(rows.tolist()) & set(np.argsort(-(vectors @ query))[:10].tolist()))
    assert right >= 0.95 * 10 * len(queries)


def check_rare_matches(store: Store, queries: np.ndarray) -> None:
    """All members of a small group are found from anywhere."""
    for found in store.search(queries, 15, Compare("group", "==", 42)):
        assert sorted(found.ids, key=int) == [str(row) for row in range(42, COUNT, 200)]


def check_later_writes(store: Store, vectors: np.ndarray) -> None:
    """What was written after the index is found, and what was deleted is not, before and after it is optimised."""
    store.upsert(pl.DataFrame({"id": ["new", "7"]}), -vectors[:2])
    store.delete(["8"])
    for _ in range(2):
        assert [found.ids for found in store.search(-vectors[:2], 1)] == [["new"], ["7"]]
        assert "8" not in store.search(vectors[8:9], COUNT)[0].ids
        store.optimise()

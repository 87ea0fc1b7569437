"""How long single items take to be written into an open index, without the model: to the disk, and until found.

python benchmarks/upserts.py [--items 100000] [--writes 1000] [--folder DIR]

Vectors are those of clustered.py, texts those of its products; an item is encoded by looking its vector up. Each write
goes to a new id or to a known one, in turn, and is found by its words afterwards. Prints the median and the 99th
percentile of both, and the memory that belongs to no file, before and after.
"""

import argparse
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
from clustered import DIM, Clustered, Products, row_of
from measuring import record
from PIL import Image
from resident import anonymous_and_files

from likewise.catalog.catalog import Catalog
from likewise.retrieval.index import Index

_WARM_UP = 20


class LookedUp:
    """A model without an encoder: an item's vector is found by its id."""

    dim, fingerprint, fields, recording_fields = DIM, "looked-up", ("title", "description"), ()

    def __init__(self, vectors: np.ndarray) -> None:
        self._vectors = vectors

    def encode_queries(self, texts: Sequence[str]) -> np.ndarray:
        """Any vector, the same for all."""
        return np.tile(self._vectors[:1], (len(texts), 1))

    def encode_images(self, images: Sequence[Image.Image]) -> np.ndarray:
        """Any vector, the same for all."""
        return np.tile(self._vectors[:1], (len(images), 1))

    def encode_items(self, catalog: Catalog) -> np.ndarray:
        """The vectors of some items."""
        return self._vectors[[row_of(id) % len(self._vectors) for id in catalog.ids]]


def measure(index: Index, products: Products, items: int, writes: int) -> dict[str, object]:
    """Write items one by one."""
    before_us = len(index)  # another one for each time that a kept index is used
    fresh = products.frame(items + 2 * (before_us - items), _WARM_UP + writes).to_dicts()
    known = products.frame(0, _WARM_UP + writes).to_dicts()
    rows = [
        new if turn % 2 else old | {"title": f"{old['title']} again {before_us}"}
        for turn, (new, old) in enumerate(zip(fresh, known, strict=True))
    ]
    for row in rows[:_WARM_UP]:
        index.upsert([row])
        index.search(row["title"], hybrid=True, k=5)
    before, _ = anonymous_and_files()
    write, search, missing = [], [], 0
    for row in rows[_WARM_UP:]:
        write.append(_time(lambda row=row: index.upsert([row])))
        found: list[str] = []
        search.append(_time(lambda row=row, found=found: found.extend(_find(index, row["title"]))))
        missing += row["id"] not in found
    after, _ = anonymous_and_files()
    return {
        "items": items,
        "writes": writes,
        "upsert, ms": _percentiles(write),
        "hybrid search right after, ms": _percentiles(search),
        "not found by their words": missing,
        "memory before, MB": round(before / 1e6, 1),
        "memory after, MB": round(after / 1e6, 1),
    }


def _find(index: Index, title: str) -> list[str]:
    return [hit.id for hit in index.search(title, hybrid=True, k=20)]


def _time(call: Callable[[], object]) -> float:
    started = time.perf_counter()
    call()
    return 1000 * (time.perf_counter() - started)


def _percentiles(values: list[float]) -> dict[str, float]:
    return {
        name: round(float(np.percentile(values, share)), 2) for name, share in (("p50", 50), ("p99", 99), ("max", 100))
    }


def _main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--items", type=int, default=100_000)
    parser.add_argument("--writes", type=int, default=1_000)
    parser.add_argument("--folder", type=Path, help="keep the index here, and use it again")
    arguments = parser.parse_args()
    vectors = np.concatenate(list(Clustered(0).blocks(arguments.items)))
    model, products = LookedUp(vectors), Products(0)
    with tempfile.TemporaryDirectory() as temporary:
        run = arguments.folder or Path(temporary)
        if not (run / "store.json").exists():
            Index.from_vectors(model, vectors, products.frame(0, arguments.items), run=run).close()
        with Index.open(run, model) as index:
            record("upserts", measure(index, products, arguments.items, arguments.writes))


if __name__ == "__main__":
    _main()

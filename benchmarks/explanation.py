"""What it costs to explain ten hits: the share of each field, of each word and of the boost.

python benchmarks/explanation.py [--items 100000] [--queries 200]

Vectors are those of clustered.py, texts those of its products. An item's three field vectors are its vector with noise,
and are fused by the fusion of the preset lite, as every explanation does it again for each subset of the fields. The
same queries are answered with and without an explanation, in turn, in processor time; the shares of all hits are added
up.
"""

import argparse
import time
from collections.abc import Sequence

import numpy as np
from clustered import DIM, Clustered, Products
from measuring import record
from PIL import Image

from likewise.model.model import Model
from likewise.retrieval import ingest
from likewise.retrieval.index import Index
from likewise.retrieval.index_items import CatalogSnapshot, IndexItems, ItemEmbeddings
from likewise.retrieval.items import Hits, digest_rows
from likewise.retrieval.location import IndexLocation

_FIELDS = ("title", "description", "image")
_NOISE = 0.7
_WARM_UP = 10
_BLOCK = 10_000


class FusingModel:
    """A model whose queries are looked up, and whose fusion is a real one."""

    dim, fingerprint, fields = DIM, "fusing", _FIELDS

    def __init__(self, model: Model, queries: np.ndarray) -> None:
        self._model = model
        self._queries = queries

    def encode_queries(self, texts: Sequence[str]) -> np.ndarray:
        """The vector whose number is the length of each text."""
        return self._queries[[len(text) % len(self._queries) for text in texts]]

    def encode_images(self, images: Sequence[Image.Image]) -> np.ndarray:
        """Any vector, the same for all."""
        return np.tile(self._queries[:1], (len(images), 1))

    def fuse_fields(self, vectors: np.ndarray, fields: Sequence[str]) -> np.ndarray:
        """As the model does it."""
        return self._model.fuse_fields(vectors, fields)


def build_index(items: int, model: FusingModel) -> Index:
    """An index of products with the vectors of their fields."""
    generator = np.random.default_rng(5)
    every = ItemEmbeddings.allocate(items, DIM, _FIELDS)
    whole = np.concatenate(list(Clustered(0).blocks(items)))
    for first in range(0, items, _BLOCK):
        rows = range(first, min(first + _BLOCK, items))
        noise = generator.standard_normal((len(rows), len(_FIELDS), DIM), dtype=np.float32) * _NOISE / DIM**0.5
        fields = whole[rows.start : rows.stop, None] + noise
        fields /= np.linalg.norm(fields, axis=2, keepdims=True)
        fields[::4, 2] = np.nan  # every fourth has no picture
        every.assign(rows, ItemEmbeddings(model.fuse_fields(fields, _FIELDS), _FIELDS, fields.astype(np.float16)))
    table = Products(0).frame(0, items)
    nothing = [None] * items
    location = IndexLocation.temporary({"kind": "flat"})
    snapshot = CatalogSnapshot(table, nothing, nothing, digest_rows(table, nothing))
    ingest.build(location, model, IndexItems(snapshot, every), "")
    return Index(model, location)


def measure(index: Index, queries: int) -> dict[str, object]:
    """Milliseconds with and without explanations, for searches by words, hybrid ones, and hybrid ones with a boost."""
    titles = Products(0).frame(0, queries + _WARM_UP)["title"].to_list()
    kinds = {
        "vectors": {},
        "hybrid": {"hybrid": True},
        "hybrid with a boost": {"hybrid": True, "boost": "shelf / 1000"},
    }
    figures: dict[str, object] = {}
    for kind, options in kinds.items():
        plain, explained, errors = [], [], []
        for number, title in enumerate(titles):
            text = " ".join(title.split()[:4])
            before, _ = _time(index, text, options, explain=False)
            after, hits = _time(index, text, options, explain=True)
            if number >= _WARM_UP:
                plain.append(before)
                explained.append(after)
                errors += [abs(_add_up(hit) - hit.score) for hit in hits]
        added = np.array(explained) - np.array(plain)
        figures[kind] = {
            "without, ms": _percentiles(plain),
            "with, ms": _percentiles(explained),
            "added, ms": _percentiles(added),
            "largest error of a sum": float(f"{max(errors):.1e}"),
        }
    return figures


def _add_up(hit: object) -> float:
    why = hit.explanation
    return sum(why.fields.values()) + sum((why.terms or {}).values()) + (why.boost or 0.0)


def _time(index: Index, text: str, options: dict, *, explain: bool) -> tuple[float, Hits]:
    """The quickest of three, in processor time, which other programs do not lengthen."""
    took = []
    for _ in range(3):
        started = time.process_time()
        hits = index.search(text, k=10, explain=explain, **options)
        took.append(1000 * (time.process_time() - started))
    return min(took), hits


def _percentiles(values: Sequence[float]) -> dict[str, float]:
    return {name: round(float(np.percentile(values, share)), 2) for name, share in (("p50", 50), ("p99", 99))}


def _main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--items", type=int, default=100_000)
    parser.add_argument("--queries", type=int, default=200)
    arguments = parser.parse_args()
    model = FusingModel(Model.create("lite"), Clustered(0).queries(arguments.queries))
    with build_index(arguments.items, model) as index:
        record("explanation", {"items": len(index), "fields": len(_FIELDS), **measure(index, arguments.queries)})


if __name__ == "__main__":
    _main()

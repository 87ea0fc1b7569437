"""What verification costs: a run and stores of 100,000 items opened with it and without it, in turns; builds; searches.

"Without" reads the manifests and the sizes of all files, but none of their contents.
"""

import argparse
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from unittest import mock

import numpy as np
import polars as pl
from measuring import record

from likewise import checksums
from likewise.checksums import write_index_manifest
from likewise.model.model import Model
from likewise.progress import quiet
from likewise.stores import versions
from likewise.stores.registry import open_store, replace_store
from likewise.stores.schema import Schema

_ROUNDS, _DIM = 7, 512


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--items", type=int, default=100_000)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="likewise-verification-") as folder, quiet():
        figures = {"run of the preset lite": _run(Path(folder) / "run")}
        for scheme in ("faiss", "lancedb"):
            figures[f"{scheme}, {options.items:,} items"] = _store(f"{scheme}://{folder}/{scheme}", options.items)
    record("verification", {"rounds": _ROUNDS, **figures})


def _run(run: Path) -> dict[str, float]:
    Model.create("lite", "cpu", {"text": "float32", "image": "float32"}).save(run)
    with_it, without = _opened(lambda: Model.load(run, "cpu"))
    return {"MB": _megabytes(run)} | _compared(with_it, without)


def _store(place: str, count: int) -> dict[str, float]:
    chance = np.random.default_rng(0)
    items = pl.DataFrame(
        {
            "id": [f"item-{row}" for row in range(count)],
            "title": [f"a title of item {row} " * 5 for row in range(count)],
        }
    )
    vectors = chance.standard_normal((count, _DIM), np.float32)
    folder = Path(place.partition("://")[2])
    built, bare = [], []
    for number in range(4):
        with mock.patch.object(versions, "write_index_manifest", write_index_manifest if number % 2 == 0 else _nothing):
            started = time.perf_counter()
            with replace_store(place, Schema.of(items, _DIM)) as store:
                store.upsert(items, vectors)
            (built if number % 2 == 0 else bare).append(time.perf_counter() - started)
    with replace_store(place, Schema.of(items, _DIM)) as store:
        store.upsert(items, vectors)
    with_it, without = _opened(lambda: open_store(place).count())
    verified = open_store(place)
    with mock.patch.object(checksums, "AT_OPENING", 0):
        as_returned = open_store(place)
    asked, not_asked = [], []
    for query in chance.standard_normal((200, 1, _DIM), np.float32):
        not_asked.append(_seconds(lambda query=query: list(verified.search(query, 10))))
        asked.append(_seconds(lambda query=query: list(as_returned.search(query, 10))))
    return {
        "MB": _megabytes(next(path for path in folder.iterdir() if path.is_dir())),
        **_compared(with_it, without),
        "build, with manifest / without": round(min(built) / min(bare), 3),
        "search, rows checked as they are returned / files verified before": round(
            statistics.median(asked) / statistics.median(not_asked), 3
        ),
    }


def _opened(work: Callable[[], object]) -> tuple[float, float]:
    """Median seconds with verification and without it, in turns."""
    times: dict[int, list[float]] = {checksums.AT_OPENING: [], 0: []}
    work()
    for _ in range(_ROUNDS):
        for limit, measured in times.items():
            with mock.patch.object(checksums, "AT_OPENING", limit):
                measured.append(_seconds(work))
    with_it, without = (statistics.median(measured) for measured in times.values())
    return with_it, without


def _compared(with_it: float, without: float) -> dict[str, float]:
    return {
        "open, seconds": round(with_it, 4),
        "open without verification, seconds": round(without, 4),
        "seconds more": round(with_it - without, 4),
    }


def _seconds(work: Callable[[], object]) -> float:
    started = time.perf_counter()
    work()
    return time.perf_counter() - started


def _megabytes(folder: Path) -> float:
    return round(sum(path.stat().st_size for path in folder.rglob("*") if path.is_file()) / 1e6, 1)


def _nothing(folder: Path, except_for: object = ()) -> None:
    """A version without a manifest, which is only built and never opened."""


if __name__ == "__main__":
    main()

"""The embedded store beside bare FAISS: latency, queries a second, recall@10, memory, build time, filters, fields.

For each number of items two stores are built for a target: recall 0.95 in 1,300 bytes an item (1.3 GB for a million),
and recall 0.9 in 200. FAISS alone gets the same: a sweep builds its kinds of index once each, and finds for each the
parameters that reach the recall. Both sides are then timed in turns, and so is FAISS with the very index file,
parameters and candidates of the store. Up to 100,000 items, looking at all of them (the default below 10,000) is
compared too. Vectors are made up (clustered.py); queries are from the same mixture, but no item's.
"""

import argparse
import dataclasses
import shutil
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import faiss
import numpy as np
import resident
from bare_faiss import BareIndex, Choice, built, choices, exact, opened, recall
from clustered import DIM, Clustered, Products, mapped, row_of
from measuring import kept, record
from turns import Times, in_turns
from verdicts import Verdicts, shown

from likewise.catalog.filters import Condition, parse_filter
from likewise.errors import UserError
from likewise.progress import say, track
from likewise.stores.base import SearchResult
from likewise.stores.faiss.collection import FaissStore, replace_store
from likewise.stores.schema import Schema
from likewise.stores.search_target import SearchTarget
from likewise.stores.uri import Credentials, Location
from likewise.stores.versions import current_version

_K = 10
_QUERIES = 1000
_UPSERTED = 10_000  # items at a time
_ALL_LOOKED_AT = 100_000  # items, up to which the flat store is measured, too
_MILLION = 1_000_000  # items from which limits on memory and building hold: below, Python and tuning outweigh the index
_SEARCH_OPTIONS = {"recall 0.95 in 1,300 bytes an item": (0.95, 1300), "recall 0.9 in 200 bytes an item": (0.9, 200)}
_CENTRES = 2_000_000  # bytes that fewer than a million items may take beyond that
_FIRST = next(iter(_SEARCH_OPTIONS))
_FILTERS = {"1 %": "shelf < 1", "10 %": "shelf < 10", "50 %": "shelf < 50"}
_NEW_FILTERS = 20
_LIKEWISE, _SAME, _PLAIN = "likewise", "FAISS, same index and rescoring", "FAISS, same index without rescoring"


@dataclass(frozen=True)
class Bench:
    """The items of one size, what is asked about them, and the right answers."""

    rows: int
    folder: Path
    seed: int
    vectors: np.ndarray
    queries: np.ndarray
    truth: np.ndarray
    verdicts: Verdicts

    @classmethod
    def drawn(cls, rows: int, folder: Path, seed: int) -> "Bench":
        """Draw vectors into a file, block by block."""
        mixture = Clustered(seed)
        with _stage(f"drawing {rows:,} vectors"), (folder / "vectors.f32").open("wb") as file:
            for block in mixture.blocks(rows):
                block.tofile(file)
        vectors, queries = mapped(folder / "vectors.f32", rows), mixture.queries(_QUERIES)
        np.save(folder / "queries.npy", queries)
        with _stage("the exact answers"):
            truth = exact(vectors, queries, _K)
        return cls(rows, folder, seed, vectors, queries, truth, Verdicts(rows))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--items", type=int, nargs="+", default=[10_000, 100_000, 1_000_000])
    parser.add_argument("--json", action="store_true", help="keep the figures in benchmarks/results/search.json")
    parser.add_argument("--seed", type=int, default=0, help="of vectors and queries")
    parser.add_argument("--longest-build", type=float, default=4.0, help="minutes for one of FAISS's graphs")
    parser.add_argument("--folder", type=Path, help="where there is room: 7 GB for a million items")
    arguments = parser.parse_args()
    sizes, verdicts = {}, []
    try:
        for rows in arguments.items:
            with tempfile.TemporaryDirectory(dir=arguments.folder) as folder, _stage(f"{rows:,} items, all in all"):
                say(f"{rows:,} items: about {_minutes(rows):.0f} minutes")
                bench = Bench.drawn(rows, Path(folder), arguments.seed)
                sizes[f"{rows:,} items"] = _measure(bench, arguments.longest_build * 60)
                verdicts += bench.verdicts.lines
    except UserError as error:
        sys.exit(str(error))
    for line in verdicts:
        print(shown(line))
    if arguments.json:
        about = {"faiss": faiss.__version__, "faiss threads": faiss.omp_get_max_threads(), "seed": arguments.seed}
        before = kept("search")  # figures of other numbers of items stay
        verdicts += [line for line in before.get("targets", []) if line["items"] not in arguments.items]
        verdicts.sort(key=lambda line: line["items"])
        others = {name: figures for name, figures in before.items() if name.endswith(" items") and name not in sizes}
        record("search", {**about, "targets": verdicts, **others, **sizes})


def _measure(bench: Bench, longest_build: float) -> dict[str, Any]:
    swept = _swept(bench, longest_build)
    figures: dict[str, Any] = {"the sweep": {name: [_row(choice) for choice in swept[name]] for name in swept}}
    if bench.rows <= _ALL_LOOKED_AT:
        with _stored(bench, SearchTarget(kind="flat")) as (store, about):
            figures["flat"] = about | {"times": _beside_faiss(bench, store, "flat", {})}
    for name, (wanted, _) in _SEARCH_OPTIONS.items():
        try:
            with _stored(bench, SearchTarget(recall=wanted, memory=_memory(name, bench.rows))) as (store, about):
                figures[name] = about | _goal_figures(bench, store, about, name, swept[name])
        except UserError as error:
            say(f"  {name}: {error}")
            bench.verdicts.at_least(f"{name}: stores built", 0, 1)
            figures[name] = {"refused": str(error)}
    return figures


def _memory(name: str, rows: int) -> int:
    """The bytes that a target allows; in a small index the centres of its lists weigh more than the codes."""
    return _SEARCH_OPTIONS[name][1] * rows + (0 if rows >= _MILLION else _CENTRES)


# ---- one store


@contextmanager
def _stored(bench: Bench, target: SearchTarget) -> Iterator[tuple[FaissStore, dict[str, Any]]]:
    """A store of the items, and what it took to build it."""
    folder, products = bench.folder / "store", Products(bench.seed)
    schema = Schema.of(products.frame(0, 1000), DIM)
    drawing, started = 0.0, time.perf_counter()
    with replace_store(Location("faiss", path=str(folder)), schema, Credentials(), target) as loading:
        for start in track(range(0, bench.rows, _UPSERTED), "items into the store"):
            before = time.perf_counter()
            items = products.frame(start, min(_UPSERTED, bench.rows - start))
            drawing += time.perf_counter() - before
            loading.upsert(items, bench.vectors[start : start + _UPSERTED])
        writing = time.perf_counter() - started - drawing
    seconds = time.perf_counter() - started - drawing
    version = _version(folder)
    store = FaissStore(folder)
    say(f"  {seconds:.0f} s: a store of the kind {store.kind} for {target}")
    try:
        files = {file.name: round(file.stat().st_size / 1e6, 1) for file in sorted(version.iterdir())}
        memory = resident.of_store(folder, bench.folder / "queries.npy")
        say(f"    {sum(files.values()):,.0f} MB on disk; MB in memory: {memory}")
        figures = {
            "kind": store.kind,
            "about": store.about,
            "seconds to build": round(seconds, 1),
            "of them, until all items were written": round(writing, 1),
            "MB on disk": files,
            "memory, MB": memory,
            "recall@10": round(recall(_rows(store.search(bench.queries, _K)), bench.truth), 4),
        }
        yield store, figures
    finally:
        store.close()
        shutil.rmtree(folder)


def _goal_figures(
    bench: Bench, store: FaissStore, about: dict[str, Any], name: str, swept: list[Choice]
) -> dict[str, Any]:
    wanted, _ = _SEARCH_OPTIONS[name]
    verdicts = bench.verdicts
    verdicts.at_least(f"{name}: recall@10", about["recall@10"], wanted)
    if bench.rows >= _MILLION:
        total = about["memory, MB"]["total without vectors.f32"]
        verdicts.at_most(f"{name}: MB in memory", total, _memory(name, bench.rows) / 1e6)
    fastest = {size: min(swept, key=key) for size, key in _FASTEST.items()} if swept else {}
    figures: dict[str, Any] = {"times": _beside_faiss(bench, store, name, fastest)}
    if fastest:
        choice = fastest[64]
        figures["the sweep's fastest"] = _row(choice)
        rescoring = (choice.candidates, bench.folder / "vectors.f32")
        memory = resident.of_bare(choice.file, bench.folder / "queries.npy", choice.breadth, *rescoring)
        figures["memory of the sweep's fastest, MB"] = memory
        whole = about["seconds to build"]
        longer = (whole - about["of them, until all items were written"]) / choice.built
        figures["time to build, with all fields, to that of the sweep's fastest"] = round(whole / choice.built, 2)
        figures["time to choose, build and tune the index alone"] = round(longer, 2)
        if name == _FIRST and bench.rows >= _MILLION:
            what = "time to choose, build and tune the index, beside building the sweep's fastest"
            verdicts.at_most(f"{name}: {what}", longer, 1.2)
    else:
        say(f"  the sweep found no index for {name}")
    if name == _FIRST:
        figures["fields of ten items"] = _fields(bench, store)
        figures["filters"] = _filters(bench, store)
    return figures


def _beside_faiss(bench: Bench, store: FaissStore, name: str, fastest: dict[int, Choice]) -> dict[str, Any]:
    """Times of the store, of FAISS with the same index, and of the sweep's fastest, one query and 64 at a time."""
    figures = {}
    same = _same_index(bench, store)
    for size in (1, 64):
        sides = {_LIKEWISE: _asking(store)} | {side: _asking(index) for side, index in same.items()}
        if fastest:
            choice = fastest[size]
            best = f"fastest of the sweep: {choice.kind}"
            sides[best] = _asking(BareIndex(opened(choice.file), choice.breadth, choice.candidates, bench.vectors))
        with _stage(f"{name}: {size} at a time"):
            times = in_turns(sides, bench.queries, size)
        ours = times[_LIKEWISE]
        alike = times.get(_SAME, times[_PLAIN])
        bench.verdicts.either(
            f"{name}, {size} at a time: time beside FAISS with the same index",
            *(ours.ratio(alike), 1.25, ours.milliseconds_more(alike), 0.05),
        )
        if fastest:
            _beside_sweep(bench, name, size, ours, times[best])
        figures[f"{size} at a time"] = _figures(times)
    return figures


def _figures(times: dict[str, Times]) -> dict[str, dict[str, float]]:
    figures = {side: taken.figures() for side, taken in times.items()}
    for side, taken in figures.items():
        say(f"    {side}: " + ", ".join(f"{name} {value:,g}" for name, value in taken.items()))
    return figures


def _beside_sweep(bench: Bench, name: str, size: int, ours: Times, best: Times) -> None:
    ratio, more = ours.ratio(best), ours.milliseconds_more(best)
    bench.verdicts.either(f"{name}, {size} at a time: time beside the sweep's fastest", ratio, 1.2, more, 0.05)
    if name == _FIRST and bench.rows >= _MILLION:
        what = f"{name}, {size} at a time: queries a second beside the sweep's fastest"
        bench.verdicts.at_least(what, 1 / ratio, 0.9)


def _asking(searched: FaissStore | BareIndex, *condition: Condition) -> Callable[[np.ndarray], object]:
    return lambda queries: searched.search(queries, _K, *condition)


def _same_index(bench: Bench, store: FaissStore) -> dict[str, BareIndex]:
    """FAISS with the store's index file and parameters, with the store's rescoring and without."""
    version = _version(bench.folder / "store")
    vectors = mapped(version / "vectors.f32", bench.rows)
    if store.kind == "flat":
        flat = faiss.IndexFlatIP(DIM)
        flat.add(vectors)
        return {_PLAIN: BareIndex(flat, 1, None, vectors)}
    parameters = store.about["parameters"]
    breadth, candidates = parameters["probes"], parameters["reranked"]
    index = version / "index.faiss"
    return {
        _PLAIN: BareIndex(opened(index), breadth, None, vectors),
        _SAME: BareIndex(opened(index), breadth, candidates, vectors),
    }


def _fields(bench: Bench, store: FaissStore) -> dict[str, float]:
    """What it takes from scores and rows, which a search gives as FAISS does, to ids, and on to all fields."""
    taken = []
    for number in range(200):
        hits = store.search(bench.queries[number : number + 1], _K)
        started = time.perf_counter()
        store.fetch(hits[0].ids)
        taken.append(1e3 * (time.perf_counter() - started))
    bench.verdicts.at_most("ms more for ids and fields of ten items", float(np.median(taken)), 0.2)
    ids = []
    for first in range(0, len(bench.queries) - 63, 64):
        hits = store.search(bench.queries[first : first + 64], _K)
        started = time.perf_counter()
        list(hits)
        ids.append(1e3 * (time.perf_counter() - started))
    return {
        "p50 ms": round(float(np.median(taken)), 4),
        "p95 ms": round(float(np.percentile(taken, 95)), 4),
        "ids alone, of ten items for each of 64 queries, p50 ms": round(float(np.median(ids)), 4),
    }


def _filters(bench: Bench, store: FaissStore) -> dict[str, Any]:
    conditions = {name: parse_filter(text) for name, text in _FILTERS.items()}
    sides = {"unfiltered": _asking(store)}
    sides |= {name: _asking(store, condition) for name, condition in conditions.items()}
    figures: dict[str, Any] = {}
    for size in (1, 64):
        with _stage(f"filters, {size} at a time"):
            times = in_turns(sides, bench.queries, size)
        figures[f"{size} at a time"] = _figures(times)
        for name in _FILTERS:
            ratio = times[name].ratio(times["unfiltered"])
            figures[f"{size} at a time"][name]["ratio to unfiltered"] = round(ratio, 3)
        ratio = times["1 %"].ratio(times["unfiltered"])
        bench.verdicts.at_most(f"a filter that leaves 1 %, {size} at a time: time beside unfiltered", ratio, 3)
    shelves = _shelves(bench)
    for name, condition in conditions.items():
        hits = store.search(bench.queries, _K, condition)
        complete = sum(len(found.ids) == _K for found in hits) / len(hits)
        truth = exact(bench.vectors, bench.queries, _K, shelves < int(_FILTERS[name].split()[-1]))
        figures[name] = {"complete": complete, "recall@10": round(recall(_rows(hits), truth), 4)}
        bench.verdicts.at_least(f"a filter that leaves {name}: queries with all {_K} hits", complete, 1)
    taken = []
    for shelf in range(_NEW_FILTERS):
        condition = parse_filter(f"shelf == {shelf}")
        started = time.perf_counter()
        store.search(bench.queries[shelf : shelf + 1], _K, condition)
        taken.append(1e3 * (time.perf_counter() - started))
    figures["1 %, a filter not seen before, p50 ms"] = round(float(np.median(taken)), 4)
    return figures


def _shelves(bench: Bench) -> np.ndarray:
    products = Products(bench.seed)
    starts = range(0, bench.rows, _UPSERTED)
    frames = (products.frame(start, min(_UPSERTED, bench.rows - start)) for start in starts)
    return np.concatenate([frame["shelf"].to_numpy() for frame in frames])


def _version(folder: Path) -> Path:
    version = current_version(folder)
    if version is None:
        sys.exit(f"there is no store in {folder}")
    return version


def _rows(hits: Sequence[SearchResult]) -> np.ndarray:
    """(q, 10) rows; -1 where there are fewer hits."""
    rows = np.full((len(hits), _K), -1)
    for line, found in zip(rows, hits, strict=True):
        line[: len(found.ids)] = [row_of(id) for id in found.ids]
    return rows


# ---- FAISS alone

_FASTEST: dict[int, Callable[[Choice], float]] = {1: lambda choice: choice.latency, 64: lambda choice: -choice.rate}


def _swept(bench: Bench, longest_build: float) -> dict[str, list[Choice]]:
    """All that the sweep found for each target, within its memory."""
    found: dict[str, list[Choice]] = {name: [] for name in _SEARCH_OPTIONS}
    recalls = sorted({wanted for wanted, _ in _SEARCH_OPTIONS.values()})
    with _stage("the sweep"):
        for index in built(bench.vectors, bench.folder, longest_build, lambda text: say(f"  {text}")):
            say(f"  {index.seconds:.0f} s: bare {index.kind}")
            measured = choices(index, bench.vectors, bench.queries, bench.truth, recalls)
            for name, (wanted, _) in _SEARCH_OPTIONS.items():
                found[name] += [choice for choice in measured[wanted] if choice.size <= _memory(name, bench.rows)]
    return found


def _row(choice: Choice) -> dict[str, Any]:
    row = dataclasses.asdict(choice)
    del row["file"]
    return {name: round(value, 4) if isinstance(value, float) else value for name, value in row.items()}


# ---- the clock


@contextmanager
def _stage(name: str) -> Iterator[None]:
    started = time.perf_counter()
    yield
    say(f"  {time.perf_counter() - started:.0f} s: {name}")


def _minutes(rows: int) -> float:
    """A rough estimate, from how fast this machine multiplies matrices."""
    block = np.ones((8192, DIM), np.float32)
    block @ block[:4096].T
    started = time.perf_counter()
    block @ block[:4096].T
    rate = 2 * 8192 * 4096 * DIM / (time.perf_counter() - started)
    lists = 4 * rows**0.5
    means = 3 * 2 * 64 * lists * lists * DIM * 10  # k-means of the sweep and of two stores
    added = 8 * 2 * rows * lists * DIM
    return ((means + added) / rate + 60 + 4e-4 * rows) / 60


if __name__ == "__main__":
    main()

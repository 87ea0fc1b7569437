"""`likewise serve`: one client, many, too many, writes and memory, compared with the bare encoder and a plain server.

The server is the real command, in a process of its own; so are the client, the bare encoder and the plain server
(peers/plain_server.py). All of them share the same cores, `--cores` of them. Queries have five words and are new every
time, so that the cache of query vectors does not help, unless it says "cached". What is compared takes turns.
"""

import argparse
import base64
import io
import json
import os
import secrets
import statistics
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from functools import cache
from itertools import count
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from clustered import Clustered, Products
from load.processes import BareEncoder, MemoryWatch, Server, running_server
from measuring import record
from peers.plain_server import build_graph
from PIL import Image
from verdicts import Verdicts, shown

from likewise.errors import UserError
from likewise.progress import say
from likewise.serving.query_cache import MOST_ENTRIES

_BATCHES = (8, 16, 32, 64, 128)  # of the bare encoder
_CLIENTS = (1, 4, 16, 64)
_PEERS = [(encode, threads) for encode in ("pool", "lock") for threads in (1, 2)]
_OVERLOAD = 4
_CONNECTIONS = 120  # of the client that asks for too much; the server has 128
_MEGABYTES = 1_300
_GROWTH = 10  # MB a minute that count as flat


@dataclass(frozen=True)
class Scale:
    """How much is measured.

    Attributes:
        asked: queries of a single client.
        seconds: of many clients.
        written: items that are put.
    """

    items: int
    asked: int
    seconds: float
    rounds: int
    written: int


_FULL = Scale(100_000, asked=2_000, seconds=8.0, rounds=5, written=1_000)
_QUICK = Scale(10_000, asked=100, seconds=1.5, rounds=1, written=20)


@dataclass(frozen=True)
class Bench:
    """What the sections share."""

    scale: Scale
    folder: Path
    verdicts: Verdicts
    seeds: Iterator[int] = field(default_factory=lambda: count(1))

    @property
    def run(self) -> Path:
        return self.folder / "run"

    @contextmanager
    def serving(self) -> Iterator[Server]:
        """`likewise serve`, warmed up."""
        command = [sys.executable, "-m", "likewise.cli", "serve", str(self.run), "--cache", str(self.folder / "cache")]
        with running_server("likewise", command, self.folder / "likewise.log") as server:
            self._warm(server)
            yield server

    @contextmanager
    def serving_plainly(self, encode: str, threads: int) -> Iterator[Server]:
        """The plain server, warmed up."""
        items, graph = str(self.folder / "items.jsonl"), str(self.folder / "graph.faiss")
        command = [sys.executable, "-m", "peers.plain_server", items, graph]
        command += ["--encode", encode, "--threads", str(threads)]
        name = f"plain, {encode}, {threads} threads"
        with running_server(name, command, self.folder / f"plain-{encode}-{threads}.log") as server:
            self._warm(server)
            yield server

    def _warm(self, server: Server) -> None:
        server.load(pattern="closed", clients=16, seconds=min(2.0, self.scale.seconds), seed=next(self.seeds))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--sections", nargs="+", choices=_SECTIONS, default=list(_SECTIONS))
    parser.add_argument(
        "--quick", action="store_true", help="10,000 items and seconds for a section; figures mean little"
    )
    parser.add_argument("--json", action="store_true", help="keep the figures in benchmarks/results/serving.json")
    parser.add_argument("--folder", type=Path, help="keep run, index and graph here, for the next time")
    parser.add_argument("--cores", type=int, default=2, help="that everything shares")
    arguments = parser.parse_args()
    if hasattr(os, "sched_setaffinity"):  # child processes have the same
        os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[: arguments.cores])
    try:
        with ExitStack() as stack:
            folder = arguments.folder or Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="likewise-")))
            figures, verdicts = measure(folder, _QUICK if arguments.quick else _FULL, arguments.sections)
    except UserError as error:
        sys.exit(str(error))
    for line in verdicts:
        say(shown(line))
    if arguments.json and not arguments.quick:
        record("serving", {"cores": arguments.cores, **figures, "targets": verdicts})
    else:
        print(json.dumps(figures, indent=2))


def measure(folder: Path, scale: Scale, sections: list[str]) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """The figures of some sections, and the verdicts on them."""
    folder.mkdir(parents=True, exist_ok=True)
    bench = Bench(scale, folder.absolute() / f"{scale.items}", Verdicts(scale.items))
    prepare(bench)
    figures: dict[str, Any] = {"items": scale.items}
    for name in sections:
        say(f"{name}:")
        figures[name] = _SECTIONS[name](bench)
    return figures, bench.verdicts.lines


def prepare(bench: Bench) -> None:
    """The run with its index, and what the plain server reads; what an earlier run has left in the folder stays."""
    from likewise.model.model import Model
    from likewise.retrieval.index import Index

    done = bench.folder / "complete"
    if done.exists():
        return
    say(f"building the index of {bench.scale.items:,} items and the graph of the plain server")
    bench.run.mkdir(parents=True, exist_ok=True)
    vectors = np.concatenate(list(Clustered(0).blocks(bench.scale.items)))
    items = Products(0).frame(0, bench.scale.items)
    model = Model.create("lite")
    model.save(bench.run)
    pictured = items.with_columns(
        pl.lit(None, pl.List(pl.String)).alias("image")
    )  # the column that pictures are put in
    Index.from_vectors(model, vectors, pictured, run=bench.run).close()
    items.write_ndjson(bench.folder / "items.jsonl")
    build_graph(vectors, bench.folder / "graph.faiss")
    done.touch()


# ---- sections


def measure_one_client(bench: Bench) -> dict[str, Any]:
    """One client, which asks again once it has its answer."""
    asked = {"pattern": "one", "count": bench.scale.asked}
    with bench.serving() as server:
        new = server.load(**asked, seed=next(bench.seeds))
        cached = server.load(**asked, seed=next(bench.seeds), repeat=True)
    verdicts = bench.verdicts
    verdicts.at_most("one client, p50 ms", new["ms"]["p50"], 10)
    verdicts.at_most("one client, p99 ms", new["ms"]["p99"], 30)
    verdicts.at_most("one client, cached, p50 ms", cached["ms"]["p50"], 2)
    rest = new["all but encode and search, ms"]["p50"]
    verdicts.at_most("one client, all but encode and search, p50 ms", rest, 1.5)
    return {"new queries": new, "one query, cached": cached}


def measure_many_clients(bench: Bench) -> dict[str, Any]:
    """Several clients at once, each of which asks again once it has its answer."""
    figures = {}
    with bench.serving() as server:
        for clients in _CLIENTS:
            asked = {"pattern": "closed", "clients": clients, "seconds": bench.scale.seconds}
            figures[f"{clients} clients"] = server.load(**asked, seed=next(bench.seeds))
    bench.verdicts.at_most("16 clients, p99 ms", figures["16 clients"]["ms"]["p99"], 120)
    return figures


def measure_ratios(bench: Bench) -> dict[str, Any]:
    """16 clients in turns: likewise, the bare encoder at its best batch, the plain server at its best."""
    asked = {"pattern": "closed", "clients": 16, "seconds": bench.scale.seconds}
    rates: dict[str, list[float]] = {"likewise": [], "bare encoder": [], "plain server": []}
    with ExitStack() as stack:
        server = stack.enter_context(bench.serving())
        bare = stack.enter_context(BareEncoder(bench.run))
        tried = {
            (batch, threads): bare.rate(batch, threads, bench.scale.seconds / 4, next(bench.seeds))
            for batch in (1, *_BATCHES)
            for threads in (1, 2)
        }
        best = max(tried, key=lambda setting: tried[setting])
        variants = {}
        for encode, threads in _PEERS:
            with bench.serving_plainly(encode, threads) as plain:
                variants[(encode, threads)] = plain.load(**asked, seed=next(bench.seeds))["answers a second"]
        plain = stack.enter_context(bench.serving_plainly(*max(variants, key=lambda variant: variants[variant])))
        for _ in range(bench.scale.rounds):
            rates["likewise"].append(server.load(**asked, seed=next(bench.seeds))["answers a second"])
            rates["bare encoder"].append(bare.rate(*best, bench.scale.seconds, next(bench.seeds)))
            rates["plain server"].append(plain.load(**asked, seed=next(bench.seeds))["answers a second"])
    shares = {name: _ratio(rates["likewise"], rates[name]) for name in ("bare encoder", "plain server")}
    bench.verdicts.at_least("16 clients, share of the bare encoder's rate", shares["bare encoder"], 0.8)
    bench.verdicts.at_least("16 clients, times the plain server's rate", shares["plain server"], 2.5)
    return {
        "bare encoder, queries a second": {
            f"batches of {batch}, {n} threads": round(rate, 1) for (batch, n), rate in tried.items()
        },
        "plain server, answers a second": {f"{encode}, {n} threads": rate for (encode, n), rate in variants.items()},
        "plain server, the best": plain.name,
        "answers a second, in turns": {name: [round(rate, 1) for rate in found] for name, found in rates.items()},
        "ratio of likewise to": shares,
    }


def _ratio(ours: list[float], theirs: list[float]) -> float:
    """Of each round's rates; the median."""
    return round(statistics.median(one / other for one, other in zip(ours, theirs, strict=True)), 3)


def measure_overload(bench: Bench) -> dict[str, Any]:
    """Four times as many requests as the server can answer."""
    seconds = bench.scale.seconds
    with bench.serving() as server:
        measured = server.load(pattern="closed", clients=64, seconds=seconds, seed=next(bench.seeds))
        capacity = measured["answers a second"]
        asked = {"pattern": "open", "rate": _OVERLOAD * capacity, "connections": _CONNECTIONS}
        fill = 1.2 * MOST_ENTRIES if bench.scale is _FULL else 0  # the query cache, which grows until then
        while True:
            fill -= server.load(**asked, seconds=seconds, seed=next(bench.seeds))["outcomes"].get("200", 0)
            if fill <= 0:
                break
        with MemoryWatch(server) as watch:
            figures = server.load(**asked, seconds=4 * seconds, seed=next(bench.seeds))
        after = server.status("/readyz")
    outcomes = figures["outcomes"]
    errors = sum(number for outcome, number in outcomes.items() if outcome not in ("200", "429", "no connection"))
    verdicts, memory = bench.verdicts, watch.figures()
    verdicts.at_most("overload, errors other than 429", errors, 0)
    verdicts.at_most("overload, p95 ms of what was accepted", figures["ms"].get("p95", float("inf")), 1000)
    verdicts.at_most("overload, MB a minute more", memory["MB a minute more in the second half"], _GROWTH)
    verdicts.at_least("overload, ready after it", float(after == 200), 1)
    return {"capacity, answers a second": capacity, "asked a second": asked["rate"], **figures, "memory": memory}


def measure_writes(bench: Bench) -> dict[str, Any]:
    """Items that are put one after the other, with a picture and without one, while nobody searches."""
    figures: dict[str, Any] = {}
    limits = {"without a picture": 30, "with a picture": 60}
    with bench.serving() as server:
        server.load(pattern="one", count=20, seed=next(bench.seeds))
        probe = json.dumps(_new_item(0, picture=True)).encode()  # the first one of all opens what others find open
        status = server.status("/v1/items/probe", "PUT", probe)
        if status in (403, 404, 405):
            say(f"  skipped: this server has no route that writes items (PUT /v1/items/… is answered with {status})")
            return {"skipped": f"PUT is answered with {status}"}
        for name, limit in limits.items():
            first = secrets.randbelow(10**9)  # a folder that is kept has what was written before
            numbers = range(first, first + bench.scale.written)
            items = {f"new-{number}": _new_item(number, picture=name == "with a picture") for number in numbers}
            figures[name] = server.load(pattern="one", count=len(items), items=items, seed=0)
            if figures[name]["outcomes"] != {"201": len(items)}:
                raise UserError(f"items were put {name}, and the answers were {figures[name]['outcomes']}, not all 201")
            bench.verdicts.at_most(f"PUT {name}, p50 ms", figures[name]["ms"]["p50"], limit)
            bench.verdicts.at_most(f"PUT {name}, p99 ms", figures[name]["ms"]["p99"], 300)
    return figures


@cache
def _products() -> Products:
    return Products(1)


def _new_item(number: int, *, picture: bool) -> dict[str, Any]:
    """The body of a PUT."""
    row = _products().frame(number, 1).drop("id").row(0, named=True)
    if not picture:
        return row
    noise = np.random.default_rng(number).integers(0, 255, (12, 16, 3), dtype=np.uint8)
    written = io.BytesIO()
    Image.fromarray(noise).resize((640, 480), Image.Resampling.BICUBIC).save(written, "JPEG", quality=85)
    return {**row, "image": f"data:image/jpeg;base64,{base64.b64encode(written.getvalue()).decode()}"}


def measure_memory(bench: Bench) -> dict[str, Any]:
    """Resident memory when the server is ready, and after searches of several kinds."""
    with bench.serving() as server:
        first = server.memory
        for clients in (1, 64):
            server.load(pattern="closed", clients=clients, seconds=bench.scale.seconds, seed=next(bench.seeds))
        hybrid = json.dumps({"text": "soft cotton blend", "hybrid": True, "facets": ["brand"]}).encode()
        server.status("/v1/search", "POST", hybrid)
        server.status("/v1/suggest?q=soft")
        last = server.memory
    bench.verdicts.at_most("resident MB after searches", last / 1e6, _MEGABYTES)
    return {"MB when ready": round(first / 1e6, 1), "MB after searches": round(last / 1e6, 1)}


_SECTIONS: dict[str, Callable[[Bench], dict[str, Any]]] = {
    "single": measure_one_client,
    "clients": measure_many_clients,
    "ratios": measure_ratios,
    "overload": measure_overload,
    "writes": measure_writes,
    "memory": measure_memory,
}


if __name__ == "__main__":
    main()

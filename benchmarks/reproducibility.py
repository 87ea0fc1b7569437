"""Do trainings end in the same bits, uninterrupted and killed, while other programs keep the machine busy?

For each regime, on 400 photos of groceries, with two threads and beside two processes that never rest: the same
training twice, and once more, killed (SIGKILL) at ten random moments and started again each time. All three encode
anew. Ends with status 1 where weights or losses differ.
"""

import csv
import hashlib
import multiprocessing
import random
import shutil
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from measuring import options, record

from likewise.catalog.catalog import Catalog
from likewise.config import PRESETS, Regime, TrainConfig
from likewise.evaluation.results import RunMetrics
from likewise.progress import quiet
from likewise.training.train import train

REGIMES: tuple[Regime, ...] = ("frozen", "partial", "full")
_BUSY = 2
_LONGEST_SHARE = 0.25  # of an uninterrupted training, before the next kill: ten of these outlast the training

# Children are forked from a process that has computed nothing: a start takes no time, and neither torch nor polars has
# threads yet, which a fork would lack.
_FORK = multiprocessing.get_context("fork")


def write_rows(data: Path, count: int, target: Path) -> None:
    """Some rows of a catalogue, with the pictures where they are."""
    with data.open(encoding="utf-8", newline="") as file:
        rows = random.Random(0).sample(list(csv.DictReader(file)), count)
    with target.open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, ["id", "title", "description", "image_url"], extrasaction="ignore")
        writer.writeheader()
        writer.writerows({**row, "image_url": data.parent / row["image_url"]} for row in rows)


def train_once(table: Path, run: Path, config: TrainConfig) -> None:
    """A training with a cache of its own."""
    with quiet():
        train(Catalog.read(table, cache=run.with_suffix(".cache")), run, config)


def digest(run: Path) -> str:
    """sha256 of a run's weights and of its losses, since the weights that are kept may be those it began with."""
    losses = [epoch.loss for epoch in RunMetrics.read(run).history]
    return hashlib.sha256((run / "model.safetensors").read_bytes() + repr(losses).encode()).hexdigest()


def start(table: Path, run: Path, config: TrainConfig) -> "multiprocessing.context.ForkProcess":
    """Train in a process of its own."""
    process = _FORK.Process(target=train_once, args=(table, run, config))
    process.start()
    return process


def finish(process: "multiprocessing.context.ForkProcess") -> None:
    """Wait for a training; its error ends the benchmark."""
    process.join()
    if process.exitcode:
        sys.exit(f"a training ended with status {process.exitcode}")


def train_killed(table: Path, run: Path, config: TrainConfig, kills: int, longest: float, draw: random.Random) -> int:
    """Train, killed again and again after at most `longest` seconds; how often it was alive to be killed."""
    killed = 0
    for _ in range(kills):
        process = start(table, run, config)
        process.join(timeout=draw.uniform(0, longest))
        if process.is_alive():
            process.kill()
            process.join()
            killed += 1
    finish(start(table, run, config))
    return killed


@contextmanager
def busy_machine() -> Iterator[None]:
    """Processes that compute all the time."""
    processes = [_FORK.Process(target=_compute, daemon=True) for _ in range(_BUSY)]
    for process in processes:
        process.start()
    try:
        yield
    finally:
        for process in processes:
            process.kill()


def _compute() -> None:
    while True:
        sum(range(1_000_000))


def compare(table: Path, work: Path, config: TrainConfig, kills: int, seed: int) -> dict[str, object]:
    """One regime's row."""
    started = time.monotonic()
    finish(start(table, work / "first", config))
    seconds = time.monotonic() - started
    finish(start(table, work / "second", config))
    killed = train_killed(table, work / "killed", config, kills, _LONGEST_SHARE * seconds, random.Random(seed))
    expected = digest(work / "first")
    return {
        "regime": config.regime,
        "seconds": round(seconds),
        "twice the same": digest(work / "second") == expected,
        "kills": killed,
        "same after kills": digest(work / "killed") == expected,
    }


def main() -> None:
    """Measure all regimes."""
    parser = options(__doc__ or "")
    parser.add_argument("--rows", type=int, default=400)
    parser.add_argument("--epochs", type=int, default=3)
    parser.add_argument("--kills", type=int, default=10)
    parser.add_argument("--preset", choices=["lite", "scratch"], default="scratch")
    parser.add_argument("--regimes", nargs="+", choices=REGIMES, default=REGIMES)
    parser.add_argument("--seed", type=int, help="of the moments; drawn anew without it")
    given = parser.parse_args()
    seed = random.randrange(2**16) if given.seed is None else given.seed
    work = Path(tempfile.mkdtemp(prefix="reproducibility-"))
    try:
        table = work / "products.csv"
        write_rows(given.data, given.rows, table)
        found = []
        with busy_machine():
            for regime in given.regimes:
                config = TrainConfig(
                    model=PRESETS[given.preset],
                    regime=regime,
                    epochs=given.epochs,
                    seed=7,
                    device="cpu",
                    threads=2,
                    precision="float32",
                )
                (work / regime).mkdir()
                found.append(compare(table, work / regime, config, given.kills, seed))
                print(found[-1], flush=True)
        figures = {"preset": given.preset, "rows": given.rows, "epochs": given.epochs, "seed of kills": seed}
        record("reproducibility", {**figures, "regimes": found})
    finally:
        shutil.rmtree(work)
    names = list(found[0])
    print("", f"| {' | '.join(names)} |", f"|{' --- |' * len(names)}", sep="\n")
    for row in found:
        print(f"| {' | '.join(str(row[name]) for name in names)} |")
    if not all(row["twice the same"] and row["same after kills"] for row in found):
        sys.exit(1)


if __name__ == "__main__":
    main()

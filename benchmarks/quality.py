"""Retrieval beside peers on three catalogues: same rows, same folds, same encoders, same seconds of training.

OpenMoji and the stamps are cross-validated: five folds by identity, so that every row is a test row once. Grocery has
its publishers' split. Systems: likewise at its defaults, at --effort standard, and its start alone;
sentence-transformers and a two-tower model in the manner of CLIP; BM25; the untrained model; ridge and kernel ridge.
likewise is also measured before it is fitted on all rows, without the names of classes that its pictures begin at, and
its items that came later in one index with those that trained.
`--tune` chooses the peers' settings on validation rows and keeps them with the results, where a later run finds them.
Units of a game are a catalogue that nothing was chosen by (--catalogues units).
An interrupted run continues where it stopped, with the same --folder. `--keep NAME` keeps what a part of a round has
measured under a name of its own.
"""

import argparse
import hashlib
import json
import shutil
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import hybrid
from catalogues.prepared import CATALOGUES, FOLDS, UNSEEN, prepare
from judging import (
    LEGEND,
    MEASURED,
    NAMELESS,
    OURS,
    STANDARD,
    START,
    Judge,
    as_json,
    differences_as_json,
    markdown,
    markdown_of_differences,
)
from later_items import describe, summarise
from measuring import HERE, kept, options, record
from peers.clock import Clock
from peers.seen import Seen
from peers.settings import GRID, PEERS, PeerSettings
from peers.task import Task

import likewise
from likewise.errors import UserError

_LIKEWISE = (OURS, STANDARD, MEASURED, NAMELESS, START)
SYSTEMS = (*_LIKEWISE, *PEERS, "BM25", "untrained", "ridge", "kernel ridge")
_SEEDED = (OURS, STANDARD, MEASURED, NAMELESS, *PEERS)  # the others give the same answers every time
_LATER = (OURS, STANDARD, START)  # whose items that trained are compared with those that came later
_BUDGETED = (STANDARD, *PEERS)
_QUICK_SYSTEMS = tuple(system for system in SYSTEMS if system not in (MEASURED, NAMELESS, *_BUDGETED))
_QUICK_FOLDS = 2
_RESULTS = HERE / "results"
_TUNING = "quality-tuning"
_TOLERANCE = 0.05  # of the budget: a last step or a last look at validation may take a little longer than thought

_PACKAGE = Path(likewise.__file__).parent
_PEERS = HERE / "peers"
_TRAINING = [_PACKAGE / name for name in ("catalog", "encoders", "model", "training", "config.py", "seeds.py")]
_PEER = [_PEERS / f"{name}.py" for name in ("best", "clock", "examples", "photos", "settings")]
_BASELINES = _PACKAGE / "evaluation" / "baselines.py"
_CODE = {
    **{name: [*_TRAINING, _PEERS / "ours.py", HERE / "later_items.py"] for name in _LIKEWISE},
    "sentence-transformers": [*_PEER, _PEERS / "sentences.py"],
    "two-tower": [*_PEER, _PEERS / "two_tower.py"],
    "BM25": [_PACKAGE / "retrieval" / "lexical", _BASELINES],
    **{name: [*_TRAINING, _BASELINES, _PEERS / "simple.py"] for name in ("untrained", "ridge", "kernel ridge")},
}


@dataclass(frozen=True)
class Bench:
    """How every system is run.

    Attributes:
        folder: receives catalogues and answers; what is finished in it is not done again.
        budget: seconds of training, from the start of a system's process.
        clock: whose seconds: "wall", or "processor" (shared by `threads`) on a machine that is not idle.
        threads: processor threads of a system.
        ours: further options of `likewise train` for likewise at its defaults.
        share_features: cache the features of a catalogue once for all trainings, where seconds are not compared.
    """

    folder: Path
    budget: float
    clock: str
    threads: int
    ours: str
    share_features: bool = False

    def answers(self, system: str, file: Path, seed: int, settings: PeerSettings | None) -> tuple[Seen, dict[str, Any]]:
        """What one system answers after its training, and its notes; from an earlier run if nothing was changed."""
        asked = self._asked(system, file, seed, settings)
        key = hashlib.sha256(json.dumps(asked, sort_keys=True).encode()).hexdigest()[:12]
        work = file.parent / "answers" / f"{system.replace(' ', '_')}-{seed}-{key}"
        if not (work / "notes.json").exists():
            shutil.rmtree(work, ignore_errors=True)
            work.mkdir(parents=True)
            self._train(system, file, seed, settings, work)
            for left in work.iterdir():
                if left.is_dir():  # features and weights, a hundred megabytes each
                    shutil.rmtree(left)
        notes = json.loads((work / "notes.json").read_text(encoding="utf-8"))
        return Seen.read(work / "seen.npz"), notes | {"code": asked["code"]}

    def _asked(self, system: str, file: Path, seed: int, settings: PeerSettings | None) -> dict[str, Any]:
        """All that an answer depends on, as far as a command line can know."""
        asked: dict[str, Any] = {
            "file": hashlib.sha256(file.read_bytes()).hexdigest(),
            "seed": seed,
            "code": hash_code(_CODE[system]),
        }
        if system in _BUDGETED:
            asked |= {"budget": self.budget}
        if system in _SEEDED:
            asked |= {"clock": self.clock, "threads": self.threads}
        if settings is not None:
            asked["settings"] = settings.as_dict()
        if system in _LIKEWISE:
            asked["options"] = self._options(system)
        return asked

    def _options(self, system: str) -> str:
        """Of `likewise train`."""
        return {
            OURS: self.ours.format(seconds=round(self.budget)),
            STANDARD: "--effort standard",
            MEASURED: "--no-refit",
            NAMELESS: "",
            START: "--epochs 0",
        }[system]

    def _train(self, system: str, file: Path, seed: int, settings: PeerSettings | None, work: Path) -> None:
        command = [sys.executable, str(_PEERS / "child.py"), system, str(file), str(work)]
        command += ["--budget", str(self.budget), "--clock", self.clock, "--threads", str(self.threads)]
        command += ["--seed", str(seed), "--started", str(time.time())]
        if system in _LIKEWISE:
            command.append(f"--options={self._options(system)}")
        if self.share_features:
            command += ["--cache", str(file.parent.parent / "cache")]
        if settings is not None:
            command += ["--settings", json.dumps(settings.as_dict())]
        done = subprocess.run(command, capture_output=True, text=True)
        if done.returncode:
            raise UserError(f"{system} failed on {file}:\n{done.stderr[-4000:]}")


def hash_code(sources: Sequence[Path]) -> str:
    """A hash of Python files, and of all those in folders: of their names and contents."""
    digest = hashlib.sha256()
    for source in sources:
        for file in sorted(source.rglob("*.py")) if source.is_dir() else [source]:
            digest.update(f"{file.relative_to(source.parent).as_posix()}\0".encode() + file.read_bytes() + b"\0")
    return digest.hexdigest()[:8]


def main() -> None:
    try:
        _run(_arguments())
    except UserError as error:
        sys.exit(str(error))


def _run(arguments: argparse.Namespace) -> None:
    if arguments.hybrid:
        record("hybrid", hybrid.compare(arguments.data))
        return
    bench = Bench(
        arguments.folder, arguments.budget, arguments.clock, arguments.threads, arguments.likewise, arguments.quick
    )
    folds = {name: prepare(name, arguments.folder / name, arguments.data) for name in arguments.catalogues}
    if arguments.tune is not None:
        peers = [system for system in arguments.systems if system in PEERS]
        _tune(bench, {name: files[0] for name, files in folds.items()}, peers, arguments.tune or list(GRID))
        return
    tuned = kept(_TUNING)
    whole = not arguments.quick and arguments.folds == FOLDS and set(arguments.systems) == set(SYSTEMS)
    before = kept("quality") if whole else {}
    figures = {name: before[name] for name in CATALOGUES if name in before}  # those that are not run again
    for name, files in folds.items():
        figures[name] = _compare(bench, name, files, arguments, tuned)
        if whole:
            _keep("quality", figures)
        elif arguments.keep is not None:
            _keep(arguments.keep, figures)
    print(_page(figures))


def _keep(name: str, figures: dict[str, Any]) -> None:
    record(name, figures)
    (_RESULTS / f"{name}.md").write_text(_page(figures), encoding="utf-8")


def _page(figures: dict[str, Any]) -> str:
    sections = [f"## {name}\n\n{measured['about']}\n\n{measured['table']}" for name, measured in figures.items()]
    return "\n\n".join(["# Quality compared with peers", LEGEND, *sections]) + "\n"


def _compare(
    bench: Bench, name: str, files: list[Path], arguments: argparse.Namespace, tuned: dict[str, Any]
) -> dict[str, Any]:
    """One catalogue's figures for the record, and its tables for people."""
    systems, seeds, used = arguments.systems, arguments.seeds, files[: arguments.folds]
    answers, notes = {}, {}
    for system in systems:
        settings = _settings(tuned, name, system)
        runs = []
        for number, file in enumerate(used, start=1):
            for seed in seeds if system in _SEEDED else seeds[:1]:
                _say(f"{name}: {system}, fold {number} of {len(files)}, seed {seed}")
                seen, note = bench.answers(system, file, seed, settings)
                runs.append((seen, note | {"fold": number, "seed": seed}))
        notes[system] = [note for _, note in runs]
        each = len(runs) // len(used)
        answers[system] = [[seen for seen, _ in runs[start : start + each]] for start in range(0, len(runs), each)]
    tasks = [
        Task(file, file.parent, Clock(time.time(), bench.budget), seeds[0], bench.threads, file.parent.parent / "cache")
        for file in used
    ]
    judge = Judge.of([task.test for task in tasks])
    measured = judge.measure(answers)
    cells, differences = judge.compare(measured), judge.differences(measured)
    seconds = {system: _seconds(notes[system], bench.budget if system in _BUDGETED else None) for system in systems}
    code = {system: ", ".join(sorted({note["code"] for note in notes[system]})) for system in systems}
    rows = [{part: len(getattr(task, part)) for part in ("train", "validation", "test")} for task in tasks]
    later = {name: summarise([note["later items"] for note in notes[name]]) for name in notes if name in _LATER}
    tables = [markdown(judge, cells, seconds, code), markdown_of_differences(judge, differences)]
    tables += [describe(system, summary) for system, summary in later.items()]
    return {
        "about": _about(bench, judge, rows, len(files), seeds),
        "rows": rows,
        "queries": judge.queries,
        "metric": judge.metric,
        "code": code,
        "figures": as_json(cells),
        "differences": differences_as_json(differences),
        "items that came later": later,
        "runs": {system: [_shorten(note) for note in found] for system, found in notes.items()},
        "settings of peers": {
            system: chosen.as_dict() for system in systems if (chosen := _settings(tuned, name, system))
        },
        "table": "\n\n".join(table for table in tables if table),
    }


def _shorten(note: dict[str, Any]) -> dict[str, Any]:
    """Without the figures of single queries."""
    return {name: value for name, value in note.items() if name != "later items"}


def _seconds(notes: list[dict[str, Any]], budget: float | None) -> str:
    """The mean over folds and seeds."""
    took = [note["seconds"] for note in notes]
    over = " (over)" if budget is not None and max(took) > budget * (1 + _TOLERANCE) else ""
    return f"{sum(took) / len(took):.0f}{over}"


def _settings(tuned: dict[str, Any], name: str, system: str) -> PeerSettings | None:
    if system not in PEERS:
        return None
    chosen = tuned.get("catalogues", {}).get(name, {}).get(system, {}).get("chosen")
    return PeerSettings.parse(chosen) if chosen else PeerSettings()


def _tune(bench: Bench, files: dict[str, Path], peers: list[str], chosen: list[str]) -> None:
    """Choose every peer's settings for every catalogue, one setting after the other.

    By the validation rows of the first fold, which `files` names: its test rows have no say, those of other folds do.
    """
    settings_of = kept(_TUNING) or {"catalogues": {}}
    for name, file in files.items():
        for peer in peers:
            best, tried = PeerSettings(), {}
            for setting in chosen:
                for value in GRID[setting]:
                    settings = best.varied(**{setting: value})
                    if settings not in tried:
                        _say(f"{name}: {peer} with {settings.as_dict()}")
                        tried[settings] = bench.answers(peer, file, 0, settings)[1]["validation"]
                best = max(tried, key=lambda settings: tried[settings])
            settings_of["catalogues"].setdefault(name, {})[peer] = {
                "chosen": best.as_dict(),
                "budget": bench.budget,
                "clock": bench.clock,
                "tried": [{**settings.as_dict(), "validation": round(score, 4)} for settings, score in tried.items()],
            }
            (_RESULTS / f"{_TUNING}.json").write_text(json.dumps(settings_of, indent=2) + "\n", encoding="utf-8")
            _say(f"{name}: {peer} is best with {best.as_dict()}")


def _about(bench: Bench, judge: Judge, rows: list[dict[str, int]], folds: int, seeds: list[int]) -> str:
    whose = {"wall": "", "processor": " of the processor"}[bench.clock]
    ours = f"`likewise train … {bench.ours}`" if bench.ours else "`likewise train` with its defaults"
    tested = sum(fold["test"] for fold in rows)
    split = "The publishers' split" if folds == 1 else f"{len(rows)} of {folds} folds by identity"
    return (
        f"{split}: {rows[0]['train']:,} rows train{' in the first' if folds > 1 else ''}, {rows[0]['validation']:,} "
        f"validate; {judge.queries:,} titles look for {tested:,} test rows. {bench.budget:g} seconds{whose} to train "
        f"for the peers, from the start of the process, encoding included, on {bench.threads} threads; seeds "
        f"{', '.join(map(str, seeds))}. likewise is {ours}; seconds are means."
        + (" Features are shared between trainings: seconds do not compare." if bench.share_features else "")
    )


def _arguments() -> argparse.Namespace:
    parser = options(str(__doc__))
    parser.add_argument(
        "--catalogues", nargs="+", choices=CATALOGUES, default=[name for name in CATALOGUES if name not in UNSEEN]
    )
    parser.add_argument("--systems", nargs="+", choices=SYSTEMS, help="default: all; with --quick, the fast ones")
    parser.add_argument(
        "--folds",
        type=int,
        choices=range(1, FOLDS + 1),
        help=f"how many of the {FOLDS} (default: all; with --quick, 2)",
    )
    parser.add_argument("--seeds", type=int, nargs="+", help="default: 0 1 2; with --quick, 0")
    parser.add_argument("--budget", type=float, default=600.0, help="seconds of training for a peer on a fold")
    parser.add_argument("--clock", choices=("wall", "processor"), default="wall", help="whose seconds (default: wall)")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--likewise", default="", metavar="OPTIONS", help="of likewise train; {seconds} is the budget")
    parser.add_argument("--folder", type=Path, default=HERE / "work", help="what is finished here is not done again")
    parser.add_argument(
        "--tune", nargs="*", choices=GRID, help="choose the peers' settings on validation, and keep them (default: all)"
    )
    parser.add_argument("--hybrid", action="store_true", help="vectors, words, both: as benchmarks/hybrid.py")
    parser.add_argument("--keep", metavar="NAME", help="keep the figures of a part of a round in results/NAME.json")
    parser.add_argument("--quick", action="store_true", help="two folds, one seed, likewise and simple baselines")
    arguments = parser.parse_args()
    quick = arguments.quick
    arguments.systems = arguments.systems or list(_QUICK_SYSTEMS if quick else SYSTEMS)
    arguments.folds = arguments.folds or (_QUICK_FOLDS if quick else FOLDS)
    arguments.seeds = arguments.seeds or ([0] if quick else [0, 1, 2])
    if quick:
        arguments.folder = arguments.folder / "quick"
    return arguments


def _say(what: str) -> None:
    print(f"[{time.strftime('%H:%M:%S')}] {what}", file=sys.stderr, flush=True)


if __name__ == "__main__":
    main()

"""Retrieval beside peers on three catalogues: same rows, same split, same encoders, same seconds of training.

Peers: BM25; sentence-transformers, fine-tuned on texts and pictures; a two-tower model in the manner of CLIP; the
untrained model; the closed-form ridge. `--tune` chooses the peers' settings on validation rows and keeps them beside
the results, where a later run finds them. An interrupted run goes on where it stopped, with the same --folder.
"""

import argparse
import hashlib
import json
import shutil
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import hybrid
from catalogues.prepared import CATALOGUES, prepare
from judging import LEGEND, OURS, Judge, as_json, markdown
from measuring import HERE, kept, options, record
from peers.clock import Clock
from peers.seen import Seen
from peers.settings import GRID, PEERS, PeerSettings
from peers.task import Task

import likewise
from likewise.errors import UserError

SYSTEMS = (OURS, *PEERS, "BM25", "untrained", "ridge")
_SEEDED = (OURS, *PEERS)  # the others give the same answers every time
_RESULTS = HERE / "results"
_TUNING = "quality-tuning"
_TOLERANCE = 0.05  # of the budget: a last step or a last look at validation may take a little longer than thought
_QUICK = {"budget": 30.0, "seeds": [0], "most_rows": 240}


@dataclass(frozen=True)
class Bench:
    """How every system is run.

    Attributes:
        folder: receives catalogues and answers; what is finished in it is not done again.
        budget: seconds of training, from the start of a system's process.
        clock: whose seconds: "wall", or "processor" (shared by `threads`) on a machine that is not idle.
        threads: processor threads of a system.
        ours: further options of `likewise train`.
    """

    folder: Path
    budget: float
    clock: str
    threads: int
    ours: str

    def answers(self, system: str, file: Path, seed: int, settings: PeerSettings | None) -> tuple[Seen, dict[str, Any]]:
        """What one system answers after its training, and its notes; from an earlier run if nothing was changed."""
        asked = self._asked(system, file, seed, settings)
        key = hashlib.sha256(json.dumps(asked, sort_keys=True).encode()).hexdigest()[:12]
        work = file.parent / "answers" / f"{system}-{seed}-{key}"
        if not (work / "notes.json").exists():
            shutil.rmtree(work, ignore_errors=True)
            work.mkdir(parents=True)
            self._train(system, file, seed, settings, work)
            for left in work.iterdir():
                if left.is_dir():  # features and weights, a hundred megabytes each
                    shutil.rmtree(left)
        notes = json.loads((work / "notes.json").read_text(encoding="utf-8"))
        return Seen.read(work / "seen.npz"), notes

    def _asked(self, system: str, file: Path, seed: int, settings: PeerSettings | None) -> dict[str, Any]:
        """All that an answer depends on, as far as a command line can know."""
        asked: dict[str, Any] = {"file": hashlib.sha256(file.read_bytes()).hexdigest(), "seed": seed}
        if system in _SEEDED:
            asked |= {"budget": self.budget, "clock": self.clock, "threads": self.threads}
        if settings is not None:
            asked["settings"] = settings.as_dict()
        if system == OURS:
            asked |= {"options": self.ours, "code": _code_of_likewise()}
        return asked

    def _train(self, system: str, file: Path, seed: int, settings: PeerSettings | None, work: Path) -> None:
        command = [sys.executable, str(HERE / "peers" / "child.py"), system, str(file), str(work)]
        command += ["--budget", str(self.budget), "--clock", self.clock, "--threads", str(self.threads)]
        command += ["--seed", str(seed), f"--options={self.ours}", "--started", str(time.time())]
        if settings is not None:
            command += ["--settings", json.dumps(settings.as_dict())]
        done = subprocess.run(command, capture_output=True, text=True)
        if done.returncode:
            raise UserError(f"{system} failed on {file}:\n{done.stderr[-4000:]}")


def _code_of_likewise() -> str:
    files = sorted(Path(likewise.__file__).parent.rglob("*.py"))
    return hashlib.sha256(b"".join(file.read_bytes() for file in files)).hexdigest()


def main() -> None:
    try:
        _run(_arguments())
    except UserError as error:
        sys.exit(str(error))


def _run(arguments: argparse.Namespace) -> None:
    if arguments.hybrid:
        record("hybrid", hybrid.compare(arguments.data))
        return
    bench = Bench(arguments.folder, arguments.budget, arguments.clock, arguments.threads, arguments.likewise)
    files = {
        name: prepare(name, arguments.folder / name, arguments.data, arguments.most_rows)
        for name in arguments.catalogues
    }
    if arguments.tune is not None:
        _tune(bench, files, [system for system in arguments.systems if system in PEERS], arguments.tune or list(GRID))
        return
    tuned = kept(_TUNING)
    before = {} if arguments.quick else kept("quality")
    figures = {name: before[name] for name in CATALOGUES if name in before}  # those that are not run again
    for name, file in files.items():
        figures[name] = _compare(bench, name, file, arguments.systems, arguments.seeds, tuned)
    sections = [f"## {name}\n\n{measured['about']}\n\n{measured['table']}" for name, measured in figures.items()]
    page = "\n\n".join(["# Quality compared with peers", LEGEND, *sections]) + "\n"
    print(page)
    if arguments.quick:
        return
    record("quality", figures)
    (_RESULTS / "quality.md").write_text(page, encoding="utf-8")


def _compare(
    bench: Bench, name: str, file: Path, systems: list[str], seeds: list[int], tuned: dict[str, Any]
) -> dict[str, Any]:
    """One catalogue's figures for the record, and its table for people."""
    task = Task(file, file.parent, Clock(time.time(), bench.budget), seeds[0], bench.threads)
    judge = Judge.of(task.test)
    answers, notes = {}, {}
    for system in systems:
        settings = _settings(tuned, name, system)
        runs = []
        for seed in seeds if system in _SEEDED else seeds[:1]:
            _say(f"{name}: {system}, seed {seed}")
            runs.append(bench.answers(system, file, seed, settings))
        answers[system] = [seen for seen, _ in runs]
        notes[system] = [note for _, note in runs]
    cells = judge.compare(answers)
    seconds = {system: ", ".join(_seconds(note, bench.budget) for note in notes[system]) for system in systems}
    rows = {part: len(getattr(task, part)) for part in ("train", "validation", "test")}
    asked = (
        f"{rows['train']:,} rows train, {rows['validation']:,} validate; "
        f"{len(judge.titles.texts):,} titles look for {rows['test']:,} test rows. "
    )
    return {
        "about": asked + _about(bench, seeds),
        "rows": rows,
        "queries": len(judge.titles.texts),
        "metric": judge.titles.metric,
        "figures": as_json(cells),
        "runs": notes,
        "settings of peers": {
            system: (chosen.as_dict() if (chosen := _settings(tuned, name, system)) else {}) for system in systems
        },
        "table": markdown(judge.columns, cells, seconds),
    }


def _seconds(note: dict[str, Any], budget: float) -> str:
    over = " (over)" if note["seconds"] > budget * (1 + _TOLERANCE) else ""
    return f"{note['seconds']:.0f}{over}"


def _settings(tuned: dict[str, Any], name: str, system: str) -> PeerSettings | None:
    if system not in PEERS:
        return None
    chosen = tuned.get("catalogues", {}).get(name, {}).get(system, {}).get("chosen")
    return PeerSettings.parse(chosen) if chosen else PeerSettings()


def _tune(bench: Bench, files: dict[str, Path], peers: list[str], chosen: list[str]) -> None:
    """Choose every peer's settings for every catalogue on its validation rows, one setting after the other."""
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


def _about(bench: Bench, seeds: list[int]) -> str:
    whose = {"wall": "", "processor": " of the processor"}[bench.clock]
    ours = f"`likewise train … {bench.ours}`" if bench.ours else "`likewise train` with its defaults"
    return (
        f"{bench.budget:g} seconds{whose} to train, from the start of the process, encoding included, on "
        f"{bench.threads} threads; seeds {', '.join(map(str, seeds))}. likewise is {ours}."
    )


def _arguments() -> argparse.Namespace:
    parser = options(str(__doc__))
    parser.add_argument("--catalogues", nargs="+", choices=CATALOGUES, default=list(CATALOGUES))
    parser.add_argument("--systems", nargs="+", choices=SYSTEMS, default=list(SYSTEMS))
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--budget", type=float, default=600.0, help="seconds of training for a system on a catalogue")
    parser.add_argument("--clock", choices=("wall", "processor"), default="wall", help="whose seconds (default: wall)")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--likewise", default="", metavar="OPTIONS", help="of likewise train; {seconds} is the budget")
    parser.add_argument("--folder", type=Path, default=HERE / "work", help="what is finished here is not done again")
    parser.add_argument(
        "--tune", nargs="*", choices=GRID, help="choose the peers' settings on validation, and keep them (default: all)"
    )
    parser.add_argument("--hybrid", action="store_true", help="vectors, words, both: as benchmarks/hybrid.py")
    parser.add_argument("--quick", action="store_true", help="few rows, seconds of training: does it run at all?")
    arguments = parser.parse_args()
    arguments.most_rows = None
    if arguments.quick:
        vars(arguments).update(_QUICK, folder=arguments.folder / "quick")
    return arguments


def _say(what: str) -> None:
    print(f"[{time.strftime('%H:%M:%S')}] {what}", file=sys.stderr, flush=True)


if __name__ == "__main__":
    main()

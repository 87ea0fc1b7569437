"""Run as a script: damages every file of every target in turn, and writes down how each operation ended.

python damage_everything.py FOLDER SEED|all [TARGET …]    with a seed, one damage of each file
"""

import contextlib
import itertools
import json
import pickle
import random
import shutil
import sys
import time
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from damage.answers import TRACEBACK, first_difference, outcome
from damage.damages import Damage, copy_tree, damages_of, files_of, listing
from damage.forks import Task, run
from damage.targets import TARGETS, Target, shrink_encoders

_CASES_OF_A_FORK = 400
_LARGE = 10_000  # bytes, from which on a file holds many things
_SLOW_EVERY = 4  # of the damages
_OPERATIONS_OF_A_SAMPLE = 2

Line = Callable[[dict[str, Any]], None]


@dataclass(frozen=True)
class Case:
    """One operation after one damage."""

    file: Path
    damage: Damage
    operation: str


class Copies:
    """Copies of a folder, each as it was before anybody wrote into it."""

    def __init__(self, work: Path, name: str) -> None:
        self._work = work
        self._name = name
        self._made = 0
        self._key: Any = None
        self._folder = work
        self._listing: Any = None

    def damaged(self, file: Path, damage: Damage, *, writes: bool) -> Path:
        """A copy with one file spoilt; the one from before, where nobody has written into it."""
        key = None if writes else (file, damage.name)
        if key is None or key != self._key or listing(self._folder) != self._listing:
            self.drop()
            self._folder = self._work / f"{self._name}-{self._made}"
            self._made += 1
            pristine = self._work / "pristine"
            copy_tree(pristine, self._folder, without=file, linked=not writes)
            damage.write(pristine / file, self._folder / file)
            self._key, self._listing = key, listing(self._folder)
        return self._folder

    def drop(self) -> None:
        """Remove the last copy."""
        if self._folder != self._work:
            shutil.rmtree(self._folder, ignore_errors=True)


def prepare(target: Target, work: Path) -> None:
    """Build a target, and keep what its operations answer as long as nothing is damaged."""
    work.mkdir()
    target.build(work)
    answers = []
    for turn in range(2):
        answers.append({})
        for name, operation in target.operations.items():
            folder = work / f"whole-{turn}"
            copy_tree(work / "pristine", folder, linked=False)
            answers[-1][name] = operation.ask(work, folder)
            shutil.rmtree(folder)
    for name, expected in answers[0].items():
        difference = first_difference(expected, answers[1][name])
        assert difference is None, f"{target.name}: {name} gives two answers: {difference}"
    (work / "answers.pickle").write_bytes(pickle.dumps(answers[0]))


def _damages(file: Path, more: int) -> list[Damage]:
    size = file.stat().st_size
    return damages_of(size, more=more if size >= _LARGE else 0)


def cases_of(target: Target, work: Path, seed: int | None) -> list[Case]:
    """All that is done to a target; with a seed, a few operations after one damage of each file."""
    draw = random.Random(seed)
    often = [name for name, operation in target.operations.items() if not operation.slow]
    slow = [name for name, operation in target.operations.items() if operation.slow]
    turn = itertools.count()
    cases = []
    for file in files_of(work / "pristine", target.elsewhere):
        for damage in _damages(work / "pristine" / file, target.more):
            asked = [*often, *(slow if next(turn) % _SLOW_EVERY == 0 else ())]
            cases += [Case(file, damage, name) for name in asked]
    if seed is None:
        return cases
    sample = []
    for _, damaged in itertools.groupby(cases, lambda case: case.file):
        by_damage = [list(same) for _, same in itertools.groupby(damaged, lambda case: case.damage.name)]
        for some in draw.sample(by_damage, 1 + len(by_damage) // 16):
            sample += draw.sample(some, min(len(some), _OPERATIONS_OF_A_SAMPLE))
    return sample


def examine(target: Target, work: Path, cases: Sequence[Case], name: str) -> Callable[[int, Line], None]:
    """What a fork does with some cases."""

    def do(first: int, write: Line) -> None:
        expected = pickle.loads((work / "answers.pickle").read_bytes())
        copies = Copies(work, f"copy-{name}-{first}")
        for number, case in enumerate(cases[first:], first):
            write({"begin": number})
            operation = target.operations[case.operation]
            folder = copies.damaged(case.file, case.damage, writes=operation.writes)
            began = time.process_time()
            how, why = outcome(lambda: operation.ask(work, folder), expected[case.operation])  # noqa: B023 - used now
            spent = time.process_time() - began
            write(
                {
                    "case": number,
                    "seconds": spent,
                    "outcome": how,
                    "why": why.replace(str(folder), "…").replace(str(work), "…"),
                }
            )
        copies.drop()

    return do


def _chunks(cases: Sequence[Case]) -> list[Sequence[Case]]:
    return [cases[start : start + _CASES_OF_A_FORK] for start in range(0, len(cases), _CASES_OF_A_FORK)]


def _building(target: Target, work: Path) -> Callable[[int, Line], None]:
    return lambda first, write: prepare(target, work)


def main(folder: Path, seed: int | None, names: Sequence[str] = ()) -> None:
    """Write results.jsonl into the folder."""
    import lancedb  # noqa: F401 - so that no fork has to; it knows how to go on in one
    import torch

    from likewise.progress import console

    warnings.filterwarnings("ignore", "lancedb fork support", RuntimeWarning)
    torch.set_num_threads(1)
    console.quiet = True
    shrink_encoders()
    folder.mkdir(parents=True, exist_ok=True)
    works = {target.name: folder / target.name.replace(" ", "-") for target in TARGETS.values()}
    chosen = [target for target in TARGETS.values() if not names or target.name in names]
    building = [
        Task(target.name, _building(target, works[target.name]), 1, folder / f"build-{number}.log")
        for number, target in enumerate(chosen)
    ]
    for task, _, how in run(building):
        raise AssertionError(f"{task.name} {how}")
    whole = {target.name: listing(works[target.name] / "pristine") for target in chosen}
    tasks, cases = [], {}
    for target in chosen:
        for number, chunk in enumerate(_chunks(cases_of(target, works[target.name], seed))):
            name = f"{works[target.name].name}-{number}"
            work = examine(target, works[target.name], chunk, str(number))
            task = Task(target.name, work, len(chunk), folder / f"{name}.log")
            tasks.append(task)
            cases[task.log] = chunk
    crashes = {(task.log, step): how for task, step, how in run(tasks)}
    for target in chosen:
        now, before = listing(works[target.name] / "pristine"), whole[target.name]
        assert now == before, f"{target.name}: an operation wrote into files that were not its own"
    with (folder / "results.jsonl").open("w") as results:
        for task in tasks:
            known = {line["case"]: line for line in task.lines() if "case" in line}
            for number, case in enumerate(cases[task.log]):
                crash = crashes.get((task.log, number))
                line = known.get(number) or {"outcome": TRACEBACK, "why": f"the process was {crash}"}
                assert number in known or crash, f"{task.name}: nothing is known of case {number}"
                found = {"target": task.name, "file": case.file.as_posix(), "damage": case.damage.name}
                found |= {"operation": case.operation, "outcome": line["outcome"], "why": line["why"]}
                found["seconds"] = line.get("seconds", 0.0)
                results.write(json.dumps(found) + "\n")
    with contextlib.suppress(OSError):
        for work in works.values():
            shutil.rmtree(work)


if __name__ == "__main__":
    main(Path(sys.argv[1]), None if sys.argv[2] == "all" else int(sys.argv[2]), sys.argv[3:])

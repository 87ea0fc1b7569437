"""Run as a script below shim.c: lets every write of every scenario fail in turn, and writes down what became of it.

python inject_faults.py FOLDER SEED|all EACH [SCENARIO …]    with a seed, EACH faults of each scenario
"""

import contextlib
import gc
import importlib
import json
import pickle
import random
import shutil
import sys
import traceback
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from damage.answers import first_difference, judge_refusal, where_in_our_code
from damage.damages import copy_tree
from damage.forks import ForkError, Task, call_in_fork, run
from damage.targets import shrink_encoders
from faults.scenarios import SCENARIOS, Scenario
from faults.shim import Mode, Report, armed

from likewise.errors import UserError

SUCCEEDED, REFUSED, TRACEBACK, BROKEN, TORN, STUCK, LITTER = (
    "succeeded",  # the fault concerned something that can be done without
    "refused",  # one sentence; all is as before or as it should have become, and the same command again succeeds
    "traceback",
    "broken",  # the command said that all is well
    "torn",  # neither as before nor as it should have become
    "stuck",  # the same command again fails, or leads to something else
    "litter",  # temporary files are left behind by a command that succeeded
)
GOOD = (SUCCEEDED, REFUSED)

_TEMPORARY = ("*.new", "*.tmp", ".building-*", ".tmp*")
_FAULTS_OF_A_FORK = 12

Line = Callable[[dict[str, Any]], None]
Answers = dict[str, tuple[str, Any]]


@dataclass(frozen=True)
class Fault:
    """The n-th change fails."""

    mode: Mode
    number: int

    def __str__(self) -> str:
        return f"{self.mode.words} {self.number}"


@dataclass(frozen=True)
class Known:
    """A scenario without faults.

    Attributes:
        old: the answers before the command.
        new: those after it.
        changes, data: how many changes it makes, and how many of these write data.
        modules: what the command has imported at its end.
    """

    old: Answers
    new: Answers
    changes: int
    data: int
    modules: list[str]


def settle(call: Callable[[], Any]) -> tuple[str, Any]:
    """("done", what it returns), ("refused", the sentence), or ("traceback", where)."""
    try:
        return "done", call()
    except UserError as error:
        how, why = judge_refusal(str(error))
        return (REFUSED if how == "refused" else TRACEBACK), why
    except BaseException as error:
        traceback.print_exc()
        return TRACEBACK, f"{where_in_our_code(error)}: {type(error).__name__}: {str(error).strip()[:200]!r}"


def answer_all(scenario: Scenario, work: Path, folder: Path) -> Answers:
    """What is found now; asked of a copy, as some answers write what they lack."""
    copy = work / f"{folder.name}-asked"
    copy_tree(folder, copy, linked=False)
    try:
        return {name: settle(lambda: ask(work, copy)) for name, ask in scenario.answers.items()}  # noqa: B023 - used now
    finally:
        shutil.rmtree(copy, ignore_errors=True)


def try_command(scenario: Scenario, work: Path, folder: Path, fault: Fault) -> tuple[str, Any, Report]:
    """How the command ends, and what was seen of its changes."""
    with armed(folder, fault.mode, fault.number) as report:
        how, why = settle(lambda: scenario.command(work, folder))
    return how, None if how == "done" else why, report


@contextmanager
def copied(work: Path, name: str) -> Iterator[Path]:
    """A copy of what is there before the command."""
    folder = work / name
    copy_tree(work / "before", folder, linked=False)
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def prepare(scenario: Scenario, work: Path) -> None:
    """Set a scenario up, and run its command without faults."""
    work.mkdir()
    errors = work / "errors"

    def set_up() -> Answers:
        scenario.prepare(work)
        return answer_all(scenario, work, work / "before")

    def run_clean() -> tuple[str, Any, Report, Answers, list[str]]:
        how, why, report = try_command(scenario, work, folder, Fault(Mode.COUNT, 0))
        return how, why, report, answer_all(scenario, work, folder), sorted(sys.modules)

    old = call_in_fork(set_up, errors)
    with copied(work, "clean") as folder:
        how, why, report, new, modules = call_in_fork(run_clean, errors)
        assert how == "done", f"{scenario.name}: {why}"
        assert all(how == "done" for how, _ in new.values()), f"{scenario.name}: {new}"
        assert not litter(folder), f"{scenario.name}: {litter(folder)} without any fault"
    (work / "known.pickle").write_bytes(pickle.dumps(Known(old, new, report.count, report.data, modules)))


def faults_of(scenario: Scenario, known: Known, seed: int | None, each: int) -> list[Fault]:
    """All faults, or as many as the scenario allows, from all over them; with a seed, `each` of them."""
    faults = [Fault(mode, number) for mode in (Mode.FULL, Mode.BROKEN) for number in range(1, known.changes + 1)]
    faults += [Fault(Mode.SHORT, number) for number in range(1, known.data + 1)]
    most = scenario.most if seed is None else each
    if len(faults) <= most:
        return faults
    chosen = random.Random(seed or 0).sample(range(len(faults)), most)
    return [faults[place] for place in sorted(chosen)]


def differences(expected: Answers, found: Answers) -> str | None:
    """Where answers differ; of refusals only that they are such counts."""
    for name in expected:
        if (different := _difference(name, expected[name], found[name])) is not None:
            return different
    return None


def _difference(name: str, expected: tuple[str, Any], found: tuple[str, Any]) -> str | None:
    if expected[0] != found[0]:
        return f"{name} is {found[0]} instead of {expected[0]} ({str(found[1])[:150]})"
    return first_difference(expected[1], found[1], name) if expected[0] == "done" else None


def litter(folder: Path) -> list[str]:
    """Temporary files that were left behind."""
    found = {path.relative_to(folder).as_posix() for pattern in _TEMPORARY for path in folder.rglob(pattern)}
    return sorted(found)


def examine(scenario: Scenario, work: Path, folder: Path, fault: Fault, known: Known) -> dict[str, str]:
    """Let one write fail, and see what becomes of it: the class of the outcome, and what there is to say."""
    errors = work / f"errors-{folder.name}"
    try:
        how, why, report = call_in_fork(lambda: try_command(scenario, work, folder, fault), errors)
    except ForkError as error:
        return {"outcome": TRACEBACK, "why": str(error), "what": ""}

    def verdict(outcome: str, why: object) -> dict[str, str]:
        return {"outcome": outcome, "why": str(why).replace(str(folder), "…")[:300], "what": report.what}

    if how == TRACEBACK:
        return verdict(TRACEBACK, why)
    try:
        outcome, reason = call_in_fork(lambda: look_after(scenario, work, folder, known, how, why), errors)
    except ForkError as error:
        return verdict(STUCK, f"afterwards {error}")
    return verdict(outcome, reason)


def look_after(scenario: Scenario, work: Path, folder: Path, known: Known, how: str, why: object) -> tuple[str, object]:
    """What is found after a command that met a fault, and what the same command does again."""
    found = answer_all(scenario, work, folder)
    if how == "done" and (different := differences(known.new, found)) is not None:
        return BROKEN, different
    if how == "done" and litter(folder):
        return LITTER, litter(folder)
    if not scenario.several and (different := _torn(scenario, known, found)) is not None:
        return TORN, f"{different} after: {why}"
    again, reason = settle(lambda: scenario.command(work, folder))
    if again != "done":
        return STUCK, f"again: {reason}; before: {why}"
    if (different := differences(known.new, answer_all(scenario, work, folder))) is not None:
        return STUCK, f"again: {different}; before: {why}"
    if litter(folder):
        return LITTER, litter(folder)
    return (SUCCEEDED if how == "done" else REFUSED), why or ""


def _torn(scenario: Scenario, known: Known, found: Answers) -> str | None:
    """Where answers are neither the old nor the new ones."""
    parts: Sequence[Mapping[str, Any]] = [{name: 0} for name in found] if scenario.apart else [found]
    for names in parts:
        before = [_difference(name, known.old[name], found[name]) for name in names]
        after = [_difference(name, known.new[name], found[name]) for name in names]
        if any(before) and any(after):
            return f"not as before ({next(filter(None, before))}) nor new ({next(filter(None, after))})"
    return None


def do_faults(scenario: Scenario, work: Path, faults: Sequence[Fault], name: str) -> Callable[[int, Line], None]:
    """What a fork does with some faults; each has forks of its own."""

    def do(first: int, write: Line) -> None:
        known = pickle.loads((work / "known.pickle").read_bytes())
        for number, fault in enumerate(faults[first:], first):
            write({"begin": number})
            with copied(work, f"copy-{name}-{number}") as folder:
                write({"case": number, **examine(scenario, work, folder, fault, known)})

    return do


def _preparing(scenario: Scenario, work: Path) -> Callable[[int, Line], None]:
    return lambda first, write: prepare(scenario, work)


def main(folder: Path, seed: int | None, each: int, names: Sequence[str] = ()) -> None:
    """Write results.jsonl into the folder."""
    import faiss
    import lancedb  # noqa: F401 - so that no fork has to; it knows how to go on in one
    import torch

    from likewise.progress import console

    warnings.filterwarnings("ignore", "lancedb fork support", RuntimeWarning)
    torch.set_num_threads(1)
    faiss.omp_set_num_threads(1)
    console.quiet = True
    shrink_encoders()
    folder = folder.resolve()
    folder.mkdir(parents=True, exist_ok=True)
    chosen = [scenario for scenario in SCENARIOS.values() if not names or scenario.name in names]
    works = {scenario.name: folder / f"scenario-{number}" for number, scenario in enumerate(chosen)}
    preparing = [
        Task(scenario.name, _preparing(scenario, works[scenario.name]), 1, folder / f"prepare-{number}.log")
        for number, scenario in enumerate(chosen)
    ]
    for task, _, how in run(preparing):
        raise AssertionError(f"{task.name} {how}")
    tasks, faults = [], {}
    knowledge = {name: pickle.loads((work / "known.pickle").read_bytes()) for name, work in works.items()}
    for module in sorted({module for known in knowledge.values() for module in known.modules} - set(sys.modules)):
        with contextlib.suppress(Exception):  # what commands import late, forks would import again and again
            importlib.import_module(module)
    gc.freeze()
    for scenario in chosen:
        work, known = works[scenario.name], knowledge[scenario.name]
        every = faults_of(scenario, known, seed, each)
        for start in range(0, len(every), _FAULTS_OF_A_FORK):
            chunk = every[start : start + _FAULTS_OF_A_FORK]
            log = folder / f"{work.name}-{start}.log"
            tasks.append(Task(scenario.name, do_faults(scenario, work, chunk, str(start)), len(chunk), log, 600.0))
            faults[log] = chunk, known
    for task, step, how in run(tasks):
        raise AssertionError(f"{task.name}: {faults[task.log][0][step]}: {how}")
    with (folder / "results.jsonl").open("w") as results:
        for task in tasks:
            chunk, known = faults[task.log]
            for line in task.lines():
                if "case" in line:
                    about = {"scenario": task.name, "changes": known.changes, "fault": str(chunk[line["case"]])}
                    results.write(json.dumps(about | {name: line[name] for name in ("outcome", "what", "why")}) + "\n")
    for work in works.values():
        shutil.rmtree(work, ignore_errors=True)


if __name__ == "__main__":
    main(Path(sys.argv[1]), None if sys.argv[2] == "all" else int(sys.argv[2]), int(sys.argv[3]), sys.argv[4:])

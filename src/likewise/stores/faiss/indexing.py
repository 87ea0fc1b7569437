"""How a finished segment gets the index that a target leads to.

Kinds that fit into the memory compete on a part of the vectors; the winner is built over all of them and tuned there.
"""

import errno
import math
import shutil
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import faiss
import numpy as np

from likewise.errors import UserError
from likewise.files import reason
from likewise.progress import Bar, say, track
from likewise.stores.faiss.approximate import INDEX, Approximate, SearchParameters, open_index
from likewise.stores.faiss.exact import find_nearest
from likewise.stores.faiss.index_types import APPROXIMATE, build_quantiser, fill_index, train_index
from likewise.stores.faiss.search_plan import SearchPlan
from likewise.stores.faiss.segment import Segment
from likewise.stores.faiss.tuning import NEIGHBOURS, Trial, cost, settle_ties, tune
from likewise.stores.search_target import SearchTarget, show_bytes

_faiss: Any = faiss  # its type stubs lack a part of what is used here

# Items; below, all are compared unless there is a wish: it takes a millisecond, as long as an index saves.
MANY = 10_000
_VERY_MANY = 100_000  # items; below, a competition would take longer than it can ever save
_USUAL = ("rabitq", "ivf-sq8", "flat")  # what takes its place: the first that reaches the recall
_NEARLY_EXACT = 0.99  # recall of these, which is cheap for so few items
_TRAINED = "trained.faiss"
_FEWEST = 500  # items; below, nothing is worth an index
_FEW = 10_000  # items; below, nothing is worth a measurement where all can be compared
_PILOT = 16_384  # items on which kinds compete
_PART = 4  # of which every fourth shows how the time of a graph grows
_LEAST_POWER = 0.2
_WRITTEN_AT_ONCE = 2**22  # bytes


def index_new_segment(folder: Path, target: SearchTarget | None) -> None:
    """Index a segment that was filled for the first time, and say what was chosen.

    Raises:
        UserError: the target cannot be reached.
    """
    segment = Segment(folder)
    choice = _IndexChoice(segment, target, speaking=True)
    plan = choice.plan()
    plan.write(folder, segment.count)
    if target is not None or plan.kind != "flat":
        say(f"Searching {describe_plan(plan)}: {plan.why}")


def index_next_segment(folder: Path, before: Segment, *, appended: bool) -> None:
    """Index the segment that takes the place of another one, with its kind and what that has learned, if still apt.

    Args:
        appended: its rows are all of the other's, in their order, and new ones behind them.
    """
    segment = Segment(folder)
    plan = before.plan
    choice = _IndexChoice(segment, plan.target, speaking=False)
    if plan.chosen_at / 2 <= segment.count <= plan.chosen_at * 2 and choice.still_fits(plan.kind):
        new = choice.kept(before, appended=appended)
    else:
        new = choice.plan(refusing=False)
    new.write(folder, segment.count)


def describe_plan(plan: SearchPlan) -> str:
    """A plan as a part of a sentence."""
    if plan.parameters is None:
        return f"by comparing all items (flat, {show_bytes(plan.bytes)})"
    found = f"{plan.recall:.1%} of the true neighbours of held-out queries"
    return f"by {plan.kind} ({show_bytes(plan.bytes)}, finds {found} in {1000 * (plan.seconds or 0):.2f} ms)"


class _IndexChoice:
    """The choice of an index for a segment.

    Args:
        speaking: show the progress.
    """

    def __init__(self, segment: Segment, target: SearchTarget | None, *, speaking: bool) -> None:
        self._segment = segment
        self._vectors = segment.vectors
        self._wish = target
        self._speaking = speaking
        self._held = sum(file.stat().st_size for file in segment.folder.glob("ids.*"))
        self._count, self._dim = segment.vectors.shape
        self._competes = target is not None or self._count >= _VERY_MANY
        default = SearchTarget() if self._competes else SearchTarget(_NEARLY_EXACT)
        self._target = target if target is not None else default
        self._trial: Trial | None = None

    def plan(self, *, refusing: bool = True) -> SearchPlan:
        """Choose a kind and build it.

        Args:
            refusing: a target that cannot be reached is an error; otherwise the nearest to it is taken.

        Raises:
            UserError: the target cannot be reached.
        """
        if not self._count or (self._wish is None and self._count < MANY):
            return self._flat()
        names = self._fitting()
        if not names:
            if refusing:
                raise self._too_large()
            names = ["flat"] if self._count < _FEWEST else ["rabitq"]
        if names == ["flat"] or ("flat" in names and self._count < _FEW):
            return self._flat("asked for" if self._target.kind == "flat" else SearchPlan.why)
        if not self._competes:
            names = list(_USUAL)
        ranked = self._competition(names) if self._competes and len(names) > 1 else names
        best: SearchPlan | None = None
        for name in ranked:
            if name == "flat":
                return self._flat(f"nothing is faster here and reaches a recall of {self._target.recall:g}")
            plan, met = self._built(name, self._reason(names))
            if met:
                return plan
            if best is None or plan.recall > best.recall:
                best = plan
        if best is None or (refusing and self._target.kind is None):
            raise self._too_little(best)
        if self._target.kind is not None:
            return replace(best, why=f"asked for, though it does not surely reach a recall of {self._target.recall:g}")
        return best if best is plan else self._built(best.kind, best.why)[0]

    def still_fits(self, kind: str) -> bool:
        """Whether a kind that was chosen before would be in the running now."""
        if self._wish is None and (self._count < MANY) != (kind == "flat"):
            return False
        return self._count > 0 and kind in self._fitting()

    def kept(self, before: Segment, *, appended: bool) -> SearchPlan:
        """Build the kind of another segment again, from what that has learned, or onto the index that it has.

        Args:
            appended: our rows are all of its rows, in their order, and others behind them.
        """
        plan = before.plan
        if plan.kind == "flat":
            return replace(self._flat(plan.why), chosen_at=plan.chosen_at)
        shutil.copyfile(before.folder / _TRAINED, self._segment.folder / _TRAINED)
        new, _ = self._built(plan.kind, plan.why, before.folder / (INDEX if appended else _TRAINED))
        return replace(new, chosen_at=plan.chosen_at)

    def _fitting(self) -> list[str]:
        """The kinds that may be used: those that are asked for and fit into the memory."""
        asked = [self._target.kind] if self._target.kind else ["flat", *APPROXIMATE]
        if self._count < _FEWEST:
            asked = ["flat"]
        memory = self._target.memory
        return [name for name in asked if memory is None or self._size(name) + self._held <= memory]

    def _size(self, name: str) -> int:
        return 4 * self._count * self._dim if name == "flat" else APPROXIMATE[name].size(self._count, self._dim)

    def _flat(self, why: str = SearchPlan.why) -> SearchPlan:
        for name in (INDEX, _TRAINED):
            (self._segment.folder / name).unlink(missing_ok=True)
        return SearchPlan("flat", self._size("flat"), self._count, why=why, target=self._wish)

    def _reason(self, names: list[str]) -> str:
        if self._target.kind is not None:
            return "asked for"
        within = f" within {show_bytes(self._target.memory)}" if self._target.memory is not None else ""
        if len(names) == 1:
            return f"the only kind{within}"
        if not self._competes:
            return f"quickly built, and reaches a recall of {self._target.recall:g}"
        return f"the fastest here{within} that reaches a recall of {self._target.recall:g}"

    def _competition(self, names: list[str]) -> list[str]:
        """Kinds by the time that they would take over all vectors, measured on some of them; the fastest first.

        With the number of rows, the time of a comparison with all grows as fast, that of lists by about its power of
        0.4 (benchmarks/search.py); how that of a walk through a graph grows depends on the vectors, so it is measured.
        """
        rows = np.random.default_rng(3).choice(self._count, min(_PILOT, self._count), replace=False)
        some = self._vectors[np.sort(rows)]
        trial, growth = Trial(some), self._count / len(some)
        times: dict[str, float] = {}
        again: dict[str, Callable[[], float]] = {}
        coarse = build_quantiser(self._dim)
        for name in track(names, "Comparing kinds of index") if self._speaking else names:
            if name == "flat":
                alone, together = trial.time_search(lambda queries: find_nearest(some, queries, NEIGHBOURS), slow=True)
                times[name] = growth * cost(alone, together)
            elif APPROXIMATE[name].lists:
                times[name], again[name] = self._try_kind(name, some, trial, coarse, growth**0.4)
            else:
                (whole, _), part = self._try_kind(name, some, trial), np.ascontiguousarray(some[::_PART])
                power = math.log(whole / self._try_kind(name, part, Trial(part))[0]) / math.log(_PART)
                times[name] = growth ** max(power, _LEAST_POWER) * whole
        times = settle_ties(times, again)
        return sorted(times, key=lambda name: times[name])

    def _try_kind(
        self, name: str, vectors: np.ndarray, trial: Trial, coarse: Any = None, factor: float = 1.0
    ) -> tuple[float, Callable[[], float]]:
        """Seconds that a kind takes over a few vectors, and a way to measure them again.

        They are more than any other takes where the target is not reached.

        Args:
            factor: what they are multiplied by, for more vectors.
        """
        kind = APPROXIMATE[name]
        index = train_index(kind, vectors, coarse)
        fill_index(index, vectors)
        entrant = Approximate(index, kind, vectors, SearchParameters(1, 1))
        measured = tune(entrant, kind, trial, len(vectors), self._target.recall)
        if not measured.met:
            lost = 1e6 * (2 - measured.recall)
            return lost, lambda: lost
        best = entrant.with_parameters(measured.parameters)
        search = partial(best.search, k=NEIGHBOURS, among=None)
        return factor * measured.cost, lambda: factor * cost(*trial.time_search(search))

    def _built(self, name: str, why: str, start: Path | None = None) -> tuple[SearchPlan, bool]:
        """Build an index over all vectors, and tune it.

        Args:
            start: the file of an index that has learned, and may hold the first of the vectors.
        """
        kind = APPROXIMATE[name]
        folder = self._segment.folder
        if start is None:
            index = train_index(kind, self._vectors)
            _write(index, folder / _TRAINED)
        else:
            index = _read(start)
        with Bar("Indexing items", self._count) if self._speaking else nullcontext() as bar:
            fill_index(index, self._vectors[index.ntotal :], bar)
        _write(index, folder / INDEX)
        del index  # what is measured is what will be searched: the file
        size = (folder / INDEX).stat().st_size
        if self._trial is None:
            self._trial = Trial(self._vectors)
        opened = open_index(folder, name, SearchParameters(1, 1), size, self._vectors)
        measured = tune(opened, kind, self._trial, self._count, self._target.recall)
        plan = SearchPlan(
            name, size, self._count, measured.parameters, measured.recall, measured.seconds, why=why, target=self._wish
        )
        return plan, measured.met

    def _too_large(self) -> UserError:
        names = [self._target.kind] if self._target.kind else ["flat"] if self._count < _FEWEST else [*APPROXIMATE]
        smallest = min(names, key=self._size)
        return UserError(
            f"{self._count:,} items in {self._dim} dimensions cannot be searched within "
            f"{show_bytes(self._target.memory or 0)}: {smallest} takes {show_bytes(self._size(smallest) + self._held)}"
        )

    def _too_little(self, best: SearchPlan | None) -> UserError:
        reached = f"{best.kind} reaches {best.recall:.3f}" if best else "none was built"
        return UserError(
            f"no index that may be used here reaches a recall of {self._target.recall:g} ({reached}): "
            "allow more memory or aim lower"
        )


def _read(file: Path) -> Any:
    try:
        return _faiss.read_index(str(file))
    except RuntimeError as error:
        raise OSError(errno.EIO, f"{file} cannot be read: {error}") from None


def _write(index: Any, file: Path) -> None:
    with file.open("wb") as written:  # given a path, FAISS is silent about what a full disk does not take

        def write(part: bytes) -> None:
            written.write(part)

        try:
            _faiss.write_index(index, _faiss.PyCallbackIOWriter(write, _WRITTEN_AT_ONCE))
        except RuntimeError as error:
            raise OSError(errno.EIO, f"{file} cannot be written: {reason(error)}") from None

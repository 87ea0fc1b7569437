"""One judge for all systems of `quality.py`: the same questions, paired intervals pooled over folds, two tables."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import product
from typing import Any

import numpy as np
from peers.seen import Seen
from peers.task import FIELDS, titles_look_for_items

from likewise.catalog.catalog import Catalog
from likewise.evaluation.comparison import SystemMetrics, headline_metric
from likewise.evaluation.results import Result
from likewise.evaluation.significance import Interval, Verdict, bootstrap_interval, verdict
from likewise.evaluation.subsets import ALL, IMAGE, MIXED, TEXT
from likewise.evaluation.task import RetrievalTask, TaskOptions

OURS, STANDARD, START = "likewise", "likewise --effort standard", "start"
MEASURED = "likewise --no-refit"  # the model that a report is about
NAMELESS = "likewise without class names"
BASES = (START, "ridge", "kernel ridge")  # what training must not spoil
LEAST_DIFFERENCE = -0.01  # the lower bound from which on nothing counts as spoiled
_PHOTO_TO_TITLE = "photo"


@dataclass(frozen=True)
class Column:
    """One figure of the table: a way to see the items, and a metric."""

    view: str
    metric: str
    heading: str


class Cell(Result):
    """One system's figure, and how much likewise is ahead of it on the same queries, where both were measured."""

    figure: Interval
    ahead: Interval | None = None

    @property
    def verdict(self) -> Verdict | None:
        """Of likewise against this system."""
        return verdict(self.ahead) if self.ahead is not None else None


@dataclass(frozen=True)
class Questions:
    """The questions about the test rows of one fold.

    Attributes:
        titles: every title looks for the rows that bear it, seen without their titles.
        photos: every photo looks for its title among all titles.
    """

    titles: RetrievalTask
    photos: RetrievalTask

    @classmethod
    def about(cls, test: Catalog) -> "Questions":
        """Make the questions."""
        return cls(
            titles_look_for_items(test), TaskOptions(test, FIELDS, answers="column:title", fields=("image",)).build()
        )

    def measure(self, seen: Sequence[Seen]) -> dict[str, SystemMetrics]:
        """Metrics by view; each query's are averaged over the seeds, of which `seen` holds one each."""
        by_seed = [self._measure(one) for one in seen]
        return {view: _average([measured[view] for measured in by_seed]) for view in by_seed[0]}

    def _measure(self, seen: Seen) -> dict[str, SystemMetrics]:
        """Every item of the mixed index is seen once by its text and once by its picture: one draw says little."""
        found = {
            view: self.titles.evaluate(view, scores, self.titles.relevant) for view, scores in seen.views().items()
        }
        exchanged = self.titles.evaluate(MIXED, seen.mixes()[1], self.titles.relevant)
        found[MIXED] = _average([found[MIXED], exchanged])
        if seen.image is not None:
            found[_PHOTO_TO_TITLE] = self.photos.evaluate(_PHOTO_TO_TITLE, seen.image.T, self.photos.relevant)
        return found


@dataclass(frozen=True)
class Judge:
    """The questions of every fold; each is answered among the items of its own fold."""

    folds: Sequence[Questions]

    @classmethod
    def of(cls, tests: Sequence[Catalog]) -> "Judge":
        """Make the questions about the test rows of every fold."""
        return cls([Questions.about(test) for test in tests])

    @property
    def queries(self) -> int:
        """How many titles look for rows."""
        return sum(len(fold.titles.texts) for fold in self.folds)

    @property
    def metric(self) -> str:
        """The headline metric of all folds together."""
        return headline_metric([answers for fold in self.folds for answers in fold.titles.relevant])

    @property
    def columns(self) -> list[Column]:
        """What the table shows; photos look for titles where many photos share one.

        There recall says little, as most titles have more answers than places: mrr and nDCG@10 stand for it.
        """
        metric = self.metric
        first = "recall@1" if metric == "recall@10" else "mrr"
        found = [
            Column(ALL, first, first),
            Column(ALL, metric, f"text and picture, {metric}"),
            Column(ALL, "map", "mAP"),
            Column(TEXT, metric, f"text alone, {metric}"),
            Column(IMAGE, metric, f"picture alone, {metric}"),
            Column(MIXED, metric, f"half and half, {metric}"),
        ]
        if all(len(fold.photos.texts) * 2 <= len(fold.photos.catalog) for fold in self.folds):
            found += [
                Column(_PHOTO_TO_TITLE, "recall@1", "photo → title, accuracy"),
                Column(IMAGE, "map", "title → photos, mAP"),
            ]
        return found

    @property
    def deciding(self) -> str:
        """The heading of the column that the verdict in words is about."""
        return next(column.heading for column in self.columns if (column.view, column.metric) == (ALL, self.metric))

    def measure(self, answers: Mapping[str, Sequence[Sequence[Seen]]]) -> dict[str, dict[str, SystemMetrics]]:
        """Every system's metrics by view, pooled over the folds.

        Args:
            answers: by system, for every fold one answer for every seed.
        """
        measured = {
            name: [questions.measure(seeds) for questions, seeds in zip(self.folds, folds, strict=True)]
            for name, folds in answers.items()
        }
        return {
            name: {view: pool([fold[view] for fold in folds]) for view in folds[0]} for name, folds in measured.items()
        }

    def compare(self, measured: Mapping[str, Mapping[str, SystemMetrics]]) -> dict[str, dict[str, Cell]]:
        """Every system's cells by the headings of the columns; absent where a system cannot answer."""
        return {
            name: {
                column.heading: _cell(views[column.view], measured.get(OURS, {}).get(column.view), column, name == OURS)
                for column in self.columns
                if column.view in views
            }
            for name, views in measured.items()
        }

    def differences(self, measured: Mapping[str, Mapping[str, SystemMetrics]]) -> dict[str, dict[str, Interval]]:
        """What training adds: "likewise − start" and so on, by the headings of the columns, paired by query."""
        return {
            f"{name} − {base}": {
                column.heading: bootstrap_interval(
                    measured[name][column.view].metrics[column.metric]
                    - measured[base][column.view].metrics[column.metric],
                    measured[base][column.view].groups,
                )
                for column in self.columns
            }
            for name, base in (*product((OURS, STANDARD), BASES), (OURS, MEASURED), (OURS, NAMELESS), (STANDARD, OURS))
            if name in measured and base in measured
        }


def _average(measured: Sequence[SystemMetrics]) -> SystemMetrics:
    """The mean of every query's metrics over several measurements of one view."""
    first = measured[0]
    means = {name: np.mean([one.metrics[name] for one in measured], axis=0) for name in first.metrics}
    return SystemMetrics(first.name, means, first.groups)


def pool(folds: Sequence[SystemMetrics]) -> SystemMetrics:
    """The queries of all folds as one; an identity of one fold is never one of another."""
    groups, taken = [], 0
    for fold in folds:
        groups.append(fold.groups + taken)
        taken += int(fold.groups.max(initial=-1)) + 1
    metrics = {name: np.concatenate([fold.metrics[name] for fold in folds]) for name in folds[0].metrics}
    return SystemMetrics(folds[0].name, metrics, np.concatenate(groups))


def _cell(theirs: SystemMetrics, ours: SystemMetrics | None, column: Column, are_ours: bool) -> Cell:
    values = theirs.metrics[column.metric]
    figure = bootstrap_interval(values, theirs.groups)
    if ours is None or are_ours:
        return Cell(figure=figure)
    return Cell(figure=figure, ahead=bootstrap_interval(ours.metrics[column.metric] - values, theirs.groups))


_MARKS = {"better": "▲", "no difference": "=", "worse": "▼"}
LEGEND = (
    "± is half of the 95 % bootstrap interval over identities, every query averaged over the seeds, over all folds; a "
    "query is answered among the items of its own fold. recall@1, mrr and mAP are those by text and picture. Half and "
    "half: half of the items by text, the others by picture, and the other way round; the mean of both. "
    "▲ likewise is better than this system, outside the interval of the paired difference; = no difference; ▼ worse. "
    "`code` is the hash of the code that made a system's answers.\n\n"
    "The second table of a catalogue shows what training adds to its start, ridge and kernel ridge, what the fit "
    "on all rows adds, what the names of classes add, and what --effort standard adds: the mean of the paired "
    "difference and its 95 % interval. "
    f"✗: the lower bound is below {LEAST_DIFFERENCE:.2f}."
)


def markdown(
    judge: Judge, cells: Mapping[str, Mapping[str, Cell]], seconds: Mapping[str, str], code: Mapping[str, str]
) -> str:
    """One catalogue's table: systems as rows, the deciding column's verdict in words.

    Args:
        seconds, code: by system, as they are shown.
    """
    headings = [column.heading for column in judge.columns]
    lines = [
        "| | " + " | ".join(headings) + " | seconds | likewise is | code |",
        "| --- |" + " --- |" * (len(headings) + 3),
    ]
    for name, row in cells.items():
        shown = [_shown(row.get(heading)) for heading in headings]
        decides = row[judge.deciding]
        word = decides.verdict.upper() if decides.verdict is not None else ""
        if decides.ahead is not None:
            word += f" {_signed(decides.ahead)}"
        shown += [seconds.get(name, ""), word, code.get(name, "")]
        lines.append(f"| {name} | " + " | ".join(shown) + " |")
    return "\n".join(lines)


def markdown_of_differences(judge: Judge, differences: Mapping[str, Mapping[str, Interval]]) -> str:
    """One catalogue's table of what training adds; empty where nothing can be compared."""
    headings = [column.heading for column in judge.columns]
    lines = ["| | " + " | ".join(headings) + " |", "| --- |" + " --- |" * len(headings)]
    for name, row in differences.items():
        shown = [_signed(row[heading]) + (" ✗" if row[heading].low < LEAST_DIFFERENCE else "") for heading in headings]
        lines.append(f"| {name} | " + " | ".join(shown) + " |")
    return "\n".join(lines) if differences else ""


def _signed(difference: Interval) -> str:
    return f"{difference.mean:+.3f} [{difference.low:+.3f}, {difference.high:+.3f}]"


def _shown(cell: Cell | None) -> str:
    if cell is None or np.isnan(cell.figure.mean):
        return "–"
    half = f"{cell.figure.half_width:.3f}".removeprefix("0")
    mark = f" {_MARKS[cell.verdict]}" if cell.verdict is not None else ""
    return f"{cell.figure.mean:.3f} ± {half}{mark}"


def as_json(cells: Mapping[str, Mapping[str, Cell]]) -> dict[str, Any]:
    """The cells for the record."""
    return {
        name: {
            heading: _as_record(cell.figure)
            | (
                {"likewise ahead by": _as_record(cell.ahead), "likewise is": cell.verdict}
                if cell.ahead is not None
                else {}
            )
            for heading, cell in row.items()
        }
        for name, row in cells.items()
    }


def differences_as_json(differences: Mapping[str, Mapping[str, Interval]]) -> dict[str, Any]:
    """What training adds, for the record."""
    return {
        name: {heading: _as_record(difference) for heading, difference in row.items()}
        for name, row in differences.items()
    }


def _as_record(interval: Interval) -> dict[str, Any]:
    return {"mean": round(interval.mean, 4), "interval": [round(interval.low, 4), round(interval.high, 4)]}

"""One judge for all systems of `quality.py`: the same questions, the same metrics, paired intervals, one table."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from peers.seen import Seen
from peers.task import FIELDS, titles_look_for_items

from likewise.catalog.catalog import Catalog
from likewise.evaluation.comparison import SystemMetrics
from likewise.evaluation.results import Result
from likewise.evaluation.significance import Interval, Verdict, bootstrap_interval, verdict
from likewise.evaluation.subsets import ALL, IMAGE, MIXED, TEXT
from likewise.evaluation.task import RetrievalTask, TaskOptions

OURS = "likewise"
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
class Judge:
    """The questions about a catalogue's test rows.

    Attributes:
        titles: every title looks for the rows that bear it, seen without their titles.
        photos: every photo looks for its title among all titles.
    """

    titles: RetrievalTask
    photos: RetrievalTask

    @classmethod
    def of(cls, test: Catalog) -> "Judge":
        """Make the questions."""
        photos = TaskOptions(test, FIELDS, answers="column:title", fields=("image",)).build()
        return cls(titles_look_for_items(test), photos)

    @property
    def columns(self) -> list[Column]:
        """What the table shows; photos look for titles where many photos share one."""
        metric = self.titles.metric
        found = [
            Column(ALL, metric, f"text and picture, {metric}"),
            Column(ALL, "map", "mAP"),
            Column(TEXT, metric, f"text alone, {metric}"),
            Column(IMAGE, metric, f"picture alone, {metric}"),
            Column(MIXED, metric, f"half and half, {metric}"),
        ]
        if len(self.photos.texts) * 2 <= len(self.photos.catalog):
            found += [
                Column(_PHOTO_TO_TITLE, "recall@1", "photo → title, accuracy"),
                Column(IMAGE, "map", "title → photos, mAP"),
            ]
        return found

    def compare(self, answers: Mapping[str, Sequence[Seen]]) -> dict[str, dict[str, Cell]]:
        """Every system's cells by the headings of the columns; absent where a system cannot answer.

        Args:
            answers: by system, one for every seed; each query's metrics are averaged over the seeds.
        """
        measured = {name: self._averaged(seeds) for name, seeds in answers.items()}
        return {
            name: {
                column.heading: _cell(views[column.view], measured.get(OURS, {}).get(column.view), column, name == OURS)
                for column in self.columns
                if column.view in views
            }
            for name, views in measured.items()
        }

    def _averaged(self, seeds: Sequence[Seen]) -> dict[str, SystemMetrics]:
        by_seed = [self._measure(seen) for seen in seeds]
        return {
            view: SystemMetrics(
                view,
                {
                    metric: np.mean([measured[view].metrics[metric] for measured in by_seed], axis=0)
                    for metric in by_seed[0][view].metrics
                },
                by_seed[0][view].groups,
            )
            for view in by_seed[0]
        }

    def _measure(self, seen: Seen) -> dict[str, SystemMetrics]:
        found = {
            view: self.titles.evaluate(view, scores, self.titles.relevant) for view, scores in seen.views().items()
        }
        if seen.image is not None:
            found[_PHOTO_TO_TITLE] = self.photos.evaluate(_PHOTO_TO_TITLE, seen.image.T, self.photos.relevant)
        return found


def _cell(theirs: SystemMetrics, ours: SystemMetrics | None, column: Column, are_ours: bool) -> Cell:
    values = theirs.metrics[column.metric]
    figure = bootstrap_interval(values, theirs.groups)
    if ours is None or are_ours:
        return Cell(figure=figure)
    return Cell(figure=figure, ahead=bootstrap_interval(ours.metrics[column.metric] - values, theirs.groups))


_MARKS = {"better": "▲", "no difference": "=", "worse": "▼"}
LEGEND = (
    "± is half of the 95 % bootstrap interval over identities, every query averaged over the seeds. "
    "▲ likewise is better than this system, outside the interval of the paired difference; = no difference; ▼ worse."
)


def markdown(columns: Sequence[Column], cells: Mapping[str, Mapping[str, Cell]], seconds: Mapping[str, str]) -> str:
    """One catalogue's table: systems as rows, the first column's verdict in words at the end."""
    headings = [column.heading for column in columns]
    lines = [
        "| | " + " | ".join(headings) + " | seconds | likewise is |",
        "| --- |" + " --- |" * (len(headings) + 2),
    ]
    for name, row in cells.items():
        shown = [_shown(row.get(heading)) for heading in headings]
        first = row[headings[0]]
        word = first.verdict.upper() if first.verdict is not None else ""
        if first.ahead is not None:
            word += f" {first.ahead.mean:+.3f} [{first.ahead.low:+.3f}, {first.ahead.high:+.3f}]"
        lines.append(f"| {name} | " + " | ".join(shown) + f" | {seconds.get(name, '')} | {word} |")
    return "\n".join(lines)


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
            heading: {
                "mean": round(cell.figure.mean, 4),
                "interval": [round(cell.figure.low, 4), round(cell.figure.high, 4)],
            }
            | (
                {
                    "likewise ahead by": round(cell.ahead.mean, 4),
                    "interval of that": [round(cell.ahead.low, 4), round(cell.ahead.high, 4)],
                    "likewise is": cell.verdict,
                }
                if cell.ahead is not None
                else {}
            )
            for heading, cell in row.items()
        }
        for name, row in cells.items()
    }

"""Two runs on the same questions: what changed, by how much, whether it is more than luck, and for which queries."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from rich.console import Group, RenderableType
from rich.table import Table

from likewise.evaluation.comparison import compare
from likewise.evaluation.embeddings import embed_task
from likewise.evaluation.evaluate import embed_start
from likewise.evaluation.report.table import STYLES, plain_table, subset_table
from likewise.evaluation.results import Result, SubsetResult, describe_gain
from likewise.evaluation.significance import Verdict, verdict
from likewise.evaluation.subsets import FieldSubset
from likewise.evaluation.task import RetrievalTask, join_fields
from likewise.model.cached_features import cache_pictures
from likewise.model.model import Model
from likewise.progress import plain_text

_MOST_CHANGES = 10
_LONGEST = 40  # characters of a query in the table


class Change(Result):
    """A query that the second run answers better or worse than the first."""

    query: str
    before: float  # by the headline metric
    after: float
    rank_before: int  # of the first right answer
    rank_after: int


class RunComparison(Result):
    """The second run compared with the first, paired by query."""

    metric: str
    subset: SubsetResult  # systems: the second run, then the first; differences: second - first
    wins: int  # queries that the second run answers better, by the headline metric
    losses: int
    equal: int
    starts: list[SubsetResult]  # of the second run, then of the first: the run, and its start where it holds that
    gained: list[Change]  # the most, first
    lost: list[Change]

    @property
    def names(self) -> tuple[str, str]:
        """The names of the first and of the second run."""
        return self.subset.systems[1].name, self.subset.systems[0].name

    @property
    def verdict(self) -> Verdict:
        """Better, no difference or worse: the second run against the first."""
        return verdict(self.subset.differences[self.metric])

    @property
    def sentence(self) -> str:
        """The verdict with its figures, in one line."""
        first, second = self.names
        if not self.subset.queries:
            return f"Verdict: NO DIFFERENCE can be shown on {self.subset.label}: no query has an answer"
        words = {
            "better": f"{second} is BETTER than {first}",
            "worse": f"{second} is WORSE than {first}",
            "no difference": f"NO DIFFERENCE between {second} and {first}",
        }[self.verdict]
        difference = self.subset.differences[self.metric]
        ours, theirs = (system.metrics[self.metric].mean for system in self.subset.systems)
        few = f"; {difference.groups} identities are too few to tell" if difference.few_groups else ""
        return (
            f"Verdict: {words} on {self.subset.label}: {self.metric} {ours:.3f} vs {theirs:.3f}, "
            f"difference {difference.mean:+.3f} [{difference.low:+.3f}, {difference.high:+.3f}]{few}"
        )

    @property
    def training_sentences(self) -> list[str]:
        """What the training of each run added to its start, in one line each; none for a run without its start."""
        return [
            describe_gain(self.metric, own.gains[self.metric], f"Training of {own.trained.name}")
            for own in self.starts
            if own.gains and own.queries
        ]


def compare_runs(task: RetrievalTask, first: tuple[Path, Model], second: tuple[Path, Model]) -> RunComparison:
    """Evaluate two models on the same task.

    Each model uses those of the task's fields that it knows: a run that learned from pictures may be compared with
    one that did not.

    Args:
        task: the questions; its fields are those of both models together.
        first, second: folder and model of the run that is there, and of the one that might replace it.
    """
    names = [folder.resolve().name for folder, _ in (first, second)]
    if names[0] == names[1]:
        names = [str(folder) for folder, _ in (first, second)]
    if "image" in task.fields:
        cache_pictures(first[1], task.catalog)  # runs on the same frozen encoder read them twice
    seen_by = [tuple(field for field in task.fields if field in model.fields) for _, model in (first, second)]
    metric, measured, own = task.metric, [], []
    for name, fields, (folder, model) in zip(names, seen_by, (first, second), strict=True):
        whole = FieldSubset("all", "", fields)
        trained = embed_task(model, task, fields).evaluate(name, [whole])["all"]
        begun = embed_start(folder, model, task, fields)
        start = None if begun is None else begun.evaluate(f"start of {name}", [whole])["all"]
        label = task.label(join_fields(fields))
        own.append(compare("all", label, trained, [], start=start, metric=metric, candidates=task.candidates))
        measured.append(trained)
    before, after = measured
    shown = [join_fields(fields) for fields in seen_by]
    label = task.label(shown[0] if shown[0] == shown[1] else f"{shown[0]} ({names[0]}) or {shown[1]} ({names[1]})")
    subset = compare("all", label, after, [before], metric=metric, candidates=task.candidates)
    gains = after.metrics[metric] - before.metrics[metric]
    finer = after.metrics["mrr"] - before.metrics["mrr"]  # orders queries with an equal gain
    order = [int(query) for query in np.lexsort((finer, gains)) if not np.isnan(gains[query])]

    def change(query: int) -> Change:
        return Change(
            query=query_in_words(task, query),
            before=float(before.metrics[metric][query]),
            after=float(after.metrics[metric][query]),
            rank_before=round(1 / before.metrics["mrr"][query]),
            rank_after=round(1 / after.metrics["mrr"][query]),
        )

    return RunComparison(
        metric=metric,
        subset=subset,
        wins=int((gains > 0).sum()),
        losses=int((gains < 0).sum()),
        equal=int((gains == 0).sum()),
        starts=own[::-1],
        gained=[change(query) for query in order[::-1][:_MOST_CHANGES] if gains[query] > 0],
        lost=[change(query) for query in order[:_MOST_CHANGES] if gains[query] < 0],
    )


def query_in_words(task: RetrievalTask, query: int) -> str:
    """A query as a person recognises it: its words, the name of its picture, or the item that is the query."""
    if task.direction == "texts":
        return f"item {task.catalog.ids[query]}"
    picture = task.pictures[query]
    parts = [task.texts[query], f"[{picture.path.name}]" if picture is not None else None]
    return " ".join(part for part in parts if part)


def run_comparison_table(result: RunComparison) -> Group:
    """The figures of both runs and their starts, the queries that changed most, the verdict, and what training added.

    Print it with a rich console.
    """
    first, second = result.names
    counts = (
        f"By {result.metric}, {second} answers {result.wins:,} queries better than {first} and {result.losses:,} "
        f"worse; {result.equal:,} are equal."
    )
    begun = [system for own in result.starts for system in own.systems[1:]]
    shown = result.subset.model_copy(update={"systems": [*result.subset.systems, *begun]})
    parts: list[RenderableType] = [subset_table(shown, mark_baseline=False), "", plain_text(counts), ""]
    for title, changes in ((f"{second} gains most on", result.gained), (f"{second} loses most on", result.lost)):
        if changes:
            parts += [_changes_table(title, changes, result), ""]
    legend = "± is half of the 95 % bootstrap interval over identities; ranks are of the first right answer"
    parts += [plain_text(legend, style="dim"), plain_text(result.sentence, style=STYLES[result.verdict])]
    return Group(*parts, *map(plain_text, result.training_sentences))


def _changes_table(title: str, changes: Sequence[Change], result: RunComparison) -> Table:
    table = plain_table(title)
    table.add_column("", no_wrap=True)
    for column in (result.metric, "rank"):
        table.add_column(f"   {column}", justify="right", no_wrap=True)
    for change in changes:
        words = change.query if len(change.query) <= _LONGEST else f"{change.query[: _LONGEST - 1]}…"
        figures = f"{change.before:.3f} → {change.after:.3f}", f"{change.rank_before:,} → {change.rank_after:,}"
        table.add_row(plain_text(words), *figures)
    return table

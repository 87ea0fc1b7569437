"""The results as a table for the terminal, 80 columns wide."""

from rich import box
from rich.console import Group, RenderableType
from rich.table import Table

from likewise.evaluation.metrics import METRICS
from likewise.evaluation.results import Comparison, SubsetResult, Threshold
from likewise.evaluation.significance import Interval
from likewise.progress import plain_text

STYLES = {"better": "bold green", "no difference": "bold yellow", "worse": "bold red"}


def comparison_table(comparison: Comparison, threshold: Threshold | None = None) -> Group:
    """Every subset's table, then the score below which nothing fits, the verdict, and what training added to its start.

    Print it with a rich console.
    """
    tables: list[RenderableType] = []
    for subset in comparison.subsets:
        tables.append(subset_table(subset))
        if subset is not comparison.subsets[0]:  # the first one's stands at the end
            tables.append(_short_verdict(comparison, subset))
            if gain := comparison.training_sentence_on(subset):
                tables.append(plain_text(gain, style=_training_style(comparison, subset).removeprefix("bold ")))
        tables.append("")
    few = comparison.subsets[0].trained.metrics[comparison.metric].few_groups
    legend = "± is half of the 95 % bootstrap interval over identities"
    if few:
        legend += "; with so few identities it is too narrow"
    tables.append(plain_text(legend, style="dim"))
    if threshold is not None:
        tables.append(plain_text(threshold.sentence))
    tables.append(plain_text(comparison.sentence, style=STYLES[comparison.verdict]))
    if gain := comparison.training_sentence:
        tables.append(plain_text(gain, style=_training_style(comparison, comparison.subsets[0])))
    return Group(*tables)


def _training_style(comparison: Comparison, subset: SubsetResult) -> str:
    return STYLES[comparison.training_verdict_on(subset) or "no difference"]


def _short_verdict(comparison: Comparison, subset: SubsetResult) -> RenderableType:
    if subset.baseline is None:
        return plain_text("no baseline was measured", style="dim")
    verdict, difference = comparison.verdict_on(subset), subset.differences[comparison.metric]
    joint = "from" if verdict == "no difference" else "than"
    figures = f"{comparison.metric} {difference.mean:+.2f} [{difference.low:.2f}, {difference.high:.2f}]"
    return plain_text(
        f"{verdict.upper()} {joint} {subset.baseline}: {figures}", style=STYLES[verdict].removeprefix("bold ")
    )


def plain_table(title: str) -> Table:
    """An empty table with a title and no more lines than it needs; the title is shown as it is."""
    return Table(
        title=plain_text(title, style="italic"), title_justify="left", box=box.SIMPLE_HEAD, padding=0, show_edge=False
    )


def subset_table(subset: SubsetResult, *, mark_baseline: bool = True) -> Table:
    """Systems as rows, metrics as columns; the strongest baseline is marked with a star."""
    table = plain_table(f"On {subset.label} ({subset.queries:,} queries, {subset.candidates:,} items)")
    table.add_column("", overflow="fold")
    for name in METRICS:
        table.add_column(name, justify="right", no_wrap=True)
    for system in subset.systems:
        name = f"{system.name} *" if mark_baseline and system.name == subset.baseline else system.name
        style = "bold" if system is subset.trained else None
        table.add_row(plain_text(name), *(figure(system.metrics[metric]) for metric in METRICS), style=style)
    return table


def figure(interval: Interval) -> str:
    """A mean with half of its interval's width, such as "0.712±.031"; "–" where nothing was measured."""
    if interval.mean != interval.mean:
        return "–"
    return f"{interval.mean:.3f}±{f'{interval.half_width:.3f}'.removeprefix('0')}"

"""The report of a run for people: one HTML file that needs nothing else, with the verdict at the top in plain words."""

from collections.abc import Iterator, Mapping
from datetime import datetime
from pathlib import Path
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined, select_autoescape
from markupsafe import Markup

from likewise.evaluation.error_analysis import ErrorAnalysis
from likewise.evaluation.metrics import METRICS
from likewise.evaluation.ranks import rank_labels
from likewise.evaluation.report.charts import bar_chart, frontier_chart, rank_chart, scatter_chart
from likewise.evaluation.report.curves import learning_curves
from likewise.evaluation.report.space_map import SpaceMap
from likewise.evaluation.results import START, Comparison, Frontier, RunMetrics
from likewise.evaluation.significance import Interval, verdict
from likewise.files import make_folder, write_file
from likewise.progress import printable

FILE_NAME = "report.html"
BASELINES = {
    "untrained": "the same encoders before any training",
    "zero-shot": "the same encoders before any training, which know pictures by what they learned elsewhere",
    "BM25": "a classical search for words",
    "ridge": "a straight-line map from pictures to texts, fitted in one step",
    "kernel ridge": "a map from pictures and descriptions to texts by likeness to known items, fitted in one step",
    "start": "the model as its training began, before the first step",
}
METRIC_WORDS = {
    "recall@1": "share of right items found in first place",
    "recall@5": "share found among the first five",
    "recall@10": "share found among the first ten; below 1 where a search has more right items than that",
    "mrr": "one over the rank of the first right item",
    "ndcg@10": "quality of the first ten places; 1 is perfect",
    "map": "precision over the whole ranking",
}


def write_report(
    run: Path,
    metrics: RunMetrics | Mapping[str, Any],
    errors: ErrorAnalysis | None = None,
    space: SpaceMap | None = None,
    *,
    file: Path | None = None,
) -> Path:
    """Write the report, in one step.

    Args:
        run: the run folder.
        metrics: what `metrics.json` holds (`results.RunMetrics`).
        errors: the worst queries and possible duplicates.
        space: the map of the space.
        file: where it goes; None: `report.html` in the run folder.

    Returns:
        The path of the report: a page without scripts that loads nothing from anywhere.

    Raises:
        UserError: it cannot be written there.
    """
    metrics = metrics if isinstance(metrics, RunMetrics) else RunMetrics.model_validate(metrics)
    target = file or Path(run) / FILE_NAME
    page = templates().get_template("report.html.jinja").render(
        metrics=metrics,
        comparison=metrics.comparison,
        created=_date(metrics.created),
        plain_words=plain_words(metrics.comparison) if metrics.comparison else [],
        bars=list(_bars(metrics.comparison)) if metrics.comparison else [],
        ranks=_ranks(metrics.comparison),
        errors=errors,
        space=space,
        map=_drawing(scatter_chart(space.points, "space")) if space else None,
        curves=list(learning_curves(metrics)),
        frontier=_frontier(metrics.frontier),
        of_100=_of_100,
        metric_names=METRICS,
        metric_words=METRIC_WORDS,
        baselines=baselines_in_words(metrics.comparison),
        settings=list(flatten(metrics.settings)),
        problems=problems_in_words(metrics.catalogue),
    )  # fmt: skip
    make_folder(target.parent)
    write_file(target, page)
    return target


def templates() -> Environment:
    """The templates of this package; what they are filled with is printable, and escaped in HTML pages."""
    environment = Environment(
        loader=PackageLoader("likewise.evaluation.report", "."),
        autoescape=select_autoescape(["html.jinja"], default=False),
        finalize=_printable,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {
        "figure": _figure,
        "figure2": "{:.2f}".format,
        "plus_minus": _plus_minus,
        "duration": duration,
        "signed": _signed,
    }
    return environment


def _printable(value: object) -> object:
    return type(value)(printable(value)) if isinstance(value, str) else value  # Markup stays Markup


def plain_words(comparison: Comparison) -> list[str]:
    """The verdict for a reader who does not know the field's terms, a sentence or two each."""
    subset, metric = comparison.subsets[0], comparison.metric
    if not subset.queries:
        return ["Nothing could be measured, because no query has an answer among the items."]
    ours = subset.trained.metrics[metric].mean
    sentences = [
        f"{subset.queries:,} searches whose right answers are known were run over {subset.candidates:,} items, "
        f"seen by {subset.label}.",
        _achieved("trained model" if comparison.is_trained else "untrained model", metric, ours),
    ]
    if subset.baseline is None:
        return [*sentences, "No baseline was measured, so this says nothing about what training gained."]
    theirs, difference = subset.system(subset.baseline).metrics[metric].mean, subset.differences[metric]
    explained = baselines_in_words(comparison)[subset.baseline]
    sentences.append(f"The strongest baseline ({subset.baseline}, {explained}) reached {_of_100(theirs)} of 100.")
    if difference.few_groups:
        few = f"Only {difference.groups} different things were searched for: too few to tell them apart."
        return [*sentences, few]
    sentences.append({
        "better": f"The true gain lies {_between(difference)}: the model is better.",
        "worse": f"The true difference lies {_between(difference)}: the model is worse.",
        "no difference": f"The true difference lies {_between(difference)}: it may be none at all.",
    }[comparison.verdict])  # fmt: skip
    if subset.gains:
        gain, begun = subset.gains[metric], subset.system(START).metrics[metric].mean
        said = {"better": "it helped", "worse": "it did harm", "no difference": "it may have changed nothing"}
        sentences.append(
            f"Training began at {_of_100(begun)} of 100. What it added lies {_between(gain)}: {said[verdict(gain)]}."
        )
    return sentences


def baselines_in_words(comparison: Comparison | None) -> dict[str, str]:
    """What each measured baseline is; those that no table knows are zero-shot models."""
    if comparison is None:
        return {}
    names = dict.fromkeys(system.name for subset in comparison.subsets for system in subset.systems[1:])
    return {name: BASELINES.get(name, "a zero-shot model, which knows nothing of this catalogue") for name in names}


def _between(difference: Interval) -> str:
    return f"between {_of_100(difference.low):+d} and {_of_100(difference.high):+d} in 100 with 95 % confidence"


def _of_100(share: float) -> int:
    return round(100 * float(f"{share:.2f}"))  # the same two digits as in the sentence with the figures


def _achieved(model: str, metric: str, mean: float) -> str:
    if metric.startswith("recall@"):
        places = {"1": "in the first place", "5": "among the first five results", "10": "among the first ten results"}
        return f"The {model} showed {_of_100(mean)} of 100 right items {places[metric.removeprefix('recall@')]}."
    return f"The {model}'s rankings scored {_of_100(mean)} of 100 points, 100 being perfect ({metric})."


def _drawing(svg: str) -> Markup:
    return Markup(svg)  # noqa: S704  (escaped in charts.py)


def _bars(comparison: Comparison) -> Iterator[Markup]:
    for number, subset in enumerate(comparison.subsets):
        yield _drawing(bar_chart(subset, comparison.metric, f"bars-{number}"))


def _ranks(comparison: Comparison | None) -> Markup | None:
    """The histogram of ranks on the first subset: the trained model and its strongest baseline."""
    if comparison is None:
        return None
    subset = comparison.subsets[0]
    shown = [subset.trained, *([subset.system(subset.baseline)] if subset.baseline else [])]
    counts = {system.name: system.ranks for system in shown if sum(system.ranks)}
    if subset.trained.name not in counts:
        return None
    labels = rank_labels()
    # empty bins at the end say nothing
    used = 1 + max(place for values in counts.values() for place, count in enumerate(values) if count)
    used = min(max(used, 5), len(labels))
    return _drawing(rank_chart(labels[:used], {name: values[:used] for name, values in counts.items()}, "ranks"))


def _frontier(frontier: Frontier | None) -> Markup | None:
    if frontier is None:
        return None
    points = sorted(frontier.points, key=lambda point: point.alpha)
    names = [name for name in points[0].metrics if all(name in point.metrics for point in points)]
    if not names:  # nothing was asked
        return None
    values = {name: [point.metrics[name] for point in points] for name in names}
    return _drawing(frontier_chart([point.alpha for point in points], values, frontier.chosen, "frontier"))


def flatten(settings: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, str]]:
    """("model.dim", "512") pairs of nested settings."""
    for key, value in settings.items():
        if isinstance(value, Mapping):
            yield from flatten(value, f"{prefix}{key}.")
        else:
            text = ", ".join(map(str, value)) if isinstance(value, list | tuple) else str(value)
            yield f"{prefix}{key}", text


def problems_in_words(catalogue: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Cause, count, consequence and examples of every problem of a catalogue's report, the most frequent first."""
    details = catalogue.get("details", {})
    found = [
        {"cause": cause.replace("-", " "), "count": count, "consequence": "", "examples": []} | details.get(cause, {})
        for cause, count in catalogue.get("problems", {}).items()
    ]
    return sorted(found, key=lambda problem: -problem["count"])


def _date(created: str) -> str:
    try:
        moment = datetime.fromisoformat(created)
    except ValueError:
        return created
    return f"{moment.day} {moment:%B %Y, %H:%M %Z}".strip()


def _figure(interval: Interval) -> str:
    return "–" if interval.mean != interval.mean else f"{interval.mean:.3f}"


def _plus_minus(interval: Interval) -> str:
    return "" if interval.mean != interval.mean else "±" + f"{interval.half_width:.3f}".removeprefix("0")


def _signed(value: float) -> str:
    return f"{value:+.2f}".replace("-", "−")


def duration(seconds: float) -> str:
    """Seconds in words: "0.4 s", "12 s", "3 min 20 s", "2 h 5 min"."""
    if seconds < 9.95:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    if not minutes:
        return f"{rest} s"
    return f"{minutes} min {rest} s" if minutes < 60 else f"{minutes // 60} h {minutes % 60} min"

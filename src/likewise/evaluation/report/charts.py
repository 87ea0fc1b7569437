"""Charts as SVG that stands inside a page: its own text, the page's fonts and colours, nothing to load."""

import io
import re
from collections.abc import Mapping, Sequence
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator, StrMethodFormatter

from likewise.evaluation.results import SubsetResult

# Colours that stand in the drawing for variables of the page, so that one drawing serves a light and a dark scheme.
_INK, _GRID, _OURS, _BASELINES, _WARM, _COOL = (f"#0{digit}0{digit}0{digit}" for digit in range(1, 7))
_VARIABLES = {
    _INK: "var(--ink)",
    _GRID: "var(--line)",
    _OURS: "var(--ours)",
    _BASELINES: "var(--baseline)",
    _WARM: "var(--warm)",
    _COOL: "var(--cool)",
}
_STYLE: dict[Any, Any] = {
    "svg.fonttype": "none",  # text stays text: readable, searchable, small
    "font.size": 10.5,
    "text.color": _INK,
    "axes.labelcolor": _INK,
    "axes.edgecolor": _GRID,
    "xtick.color": _INK,
    "ytick.color": _INK,
    "xtick.major.size": 0,
    "ytick.major.size": 0,
    "grid.color": _GRID,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.axisbelow": True,
    "text.parse_math": False,
}


def bar_chart(subset: SubsetResult, metric: str, name: str) -> str:
    """Every system of a subset as a bar with its interval; the trained model stands out.

    Args:
        name: of the chart, unique on its page; it prefixes the drawing's identifiers.
    """
    systems = subset.systems[::-1]  # the first system at the top
    intervals = [system.metrics[metric] for system in systems]
    with mpl.rc_context(_STYLE | {"svg.hashsalt": name}):
        figure, axes = _axes(height=0.62 + 0.36 * len(systems))
        colours = [_OURS if system is subset.trained else _BASELINES for system in systems]
        means = [0.0 if interval.mean != interval.mean else interval.mean for interval in intervals]
        # A percentile interval of a rounded mean may miss it by a hair; an error bar has no negative length.
        low = [max(0.0, mean - interval.low) for mean, interval in zip(means, intervals, strict=True)]
        high = [max(0.0, interval.high - mean) for mean, interval in zip(means, intervals, strict=True)]
        axes.barh(range(len(systems)), means, height=0.62, color=colours)
        axes.errorbar(means, range(len(systems)), xerr=[low, high], fmt="none", ecolor=_INK, elinewidth=1.4, capsize=3)
        for row, interval in enumerate(intervals):
            label = "–" if interval.mean != interval.mean else f"{interval.mean:.2f}"
            place = (means[row] + high[row], row)
            axes.annotate(label, place, (6, 0), textcoords="offset points", va="center", weight="bold")
        axes.set_yticks(range(len(systems)), [system.name for system in systems])
        axes.set_xlim(0, 1.13)
        axes.set_xticks([0, 0.25, 0.5, 0.75, 1], ["0", "0.25", "0.5", "0.75", "1"])
        axes.grid(axis="x", linewidth=0.8)
        axes.spines["left"].set_visible(False)
        text = "; ".join(f"{s.name} {s.metrics[metric].mean:.2f}" for s in subset.systems)
        return _svg(figure, name, f"{metric} on {subset.label}: {text}")


def line_chart(
    x: Sequence[float],
    y: Sequence[float],
    label: str,
    name: str,
    *,
    along: str,
    marked: int | None = None,
    stages: Sequence[tuple[float, str]] = (),
) -> str:
    """One learning curve.

    Args:
        x, y: the points. label: what y is, in words.
        name: of the chart, unique on its page.
        along: what x is, such as "step" or "minutes".
        marked: the place of the point that carries a dot and its value (the best one).
        stages: where on x a stage of the training begins, and its name.
    """
    x, y = list(x), list(y)
    with mpl.rc_context(_STYLE | {"svg.hashsalt": name}):
        figure, axes = _axes(height=2.1)
        axes.plot(x, y, color=_OURS, linewidth=2, marker="o" if len(x) < 3 else None, markersize=4)
        if marked is not None:
            axes.plot([x[marked]], [y[marked]], marker="o", markersize=7, color=_OURS)
            place = (x[marked], y[marked])
            last = marked == len(x) - 1
            axes.annotate(f"{y[marked]:.3g}", place, (-7, 6) if last else (0, 8), textcoords="offset points",
                          ha="right" if last else "center", weight="bold")  # fmt: skip
        axes.margins(x=0.06, y=0.2)
        for number, (start, stage) in enumerate(stages):
            axes.axvline(start, color=_BASELINES, linewidth=1, linestyle=(0, (4, 3)))
            above = -2 if number % 2 else 10  # a short stage's name would run into the next one's
            axes.annotate(
                stage, (start, 1), (3, above), xycoords=("data", "axes fraction"), textcoords="offset points", va="top",
                fontsize=9, annotation_clip=False,
            )  # fmt: skip
        axes.grid(axis="y", linewidth=0.8)
        axes.xaxis.set_major_locator(MaxNLocator(integer=max(x) > 8, nbins=6))
        axes.xaxis.set_major_formatter(StrMethodFormatter("{x:,g}"))
        axes.yaxis.set_major_locator(MaxNLocator(nbins=5))
        axes.set_xlabel(along)
        return _svg(figure, name, f"{label} by {along}, from {y[0]:.3g} to {y[-1]:.3g}")


def rank_chart(labels: Sequence[str], counts: Mapping[str, Sequence[int]], name: str) -> str:
    """For every system the share of queries by the rank of their first right answer; the first system stands out.

    Args:
        labels: of the bins. counts: system → queries in each bin.
    """
    width = 0.8 / len(counts)
    with mpl.rc_context(_STYLE | {"svg.hashsalt": name}):
        figure, axes = _axes(height=0.5 + 0.34 * len(labels))
        for number, (system, values) in enumerate(counts.items()):
            shares = [100 * value / max(sum(values), 1) for value in values]
            rows = [place - 0.4 + (number + 0.5) * width for place in range(len(labels))]
            axes.barh(rows, shares, height=width * 0.9, color=_BASELINES if number else _OURS, label=system)
            for row, share in zip(rows, shares, strict=True):
                if share >= 0.5 and not number:
                    axes.annotate(f"{share:.0f} %", (share, row), (4, 0), textcoords="offset points", va="center",
                                  fontsize=9, weight="bold")  # fmt: skip
        axes.set_yticks(range(len(labels)), labels)
        axes.invert_yaxis()
        axes.margins(x=0.12)
        axes.set_xlim(left=0)
        axes.set_xlabel("of 100 queries")
        axes.grid(axis="x", linewidth=0.8)
        axes.spines["left"].set_visible(False)
        axes.legend(loc="lower right", frameon=False)
        text = "; ".join(f"{system} {values[0] / max(sum(values), 1):.0%}" for system, values in counts.items())
        return _svg(figure, name, f"Rank of the first right answer; in first place: {text}")


def scatter_chart(points: Mapping[str, np.ndarray], name: str) -> str:
    """Points of a plane in up to three kinds, each with a colour and a shape."""
    with mpl.rc_context(_STYLE | {"svg.hashsalt": name}):
        figure, axes = _axes(height=4.4)
        # whole items are as many as both others together: they lie below them
        looks = ((_WARM, "s", 3), (_COOL, "^", 2), (_OURS, "o", 1))
        for (kind, plane), (colour, marker, height) in zip(points.items(), looks, strict=False):
            axes.plot(*plane.T, linestyle="none", marker=marker, markersize=4.5, color=colour, alpha=0.65,
                      markeredgewidth=0, zorder=height, label=f"{kind} ({len(plane):,})")  # fmt: skip
        axes.set_xticks([])
        axes.set_yticks([])
        for spine in axes.spines.values():
            spine.set_visible(False)
        figure.legend(loc="outside lower center", ncols=3, frameon=False, columnspacing=1.2, handletextpad=0.2)
        return _svg(figure, name, "Map of the space: " + ", ".join(f"{len(p):,} {kind}" for kind, p in points.items()))


def frontier_chart(alphas: Sequence[float], metrics: Mapping[str, Sequence[float]], chosen: float, name: str) -> str:
    """Metrics over the share of the way from the start to the end of training; a line marks the chosen share."""
    with mpl.rc_context(_STYLE | {"svg.hashsalt": name}):
        figure, axes = _axes(height=2.6)
        for number, (metric, values) in enumerate(metrics.items()):
            style = ("-", "--", ":", "-.")[number % 4]
            colour = _BASELINES if number else _OURS
            axes.plot(alphas, values, style, color=colour, linewidth=2, marker="o", markersize=4, label=metric)
        axes.axvline(chosen, color=_INK, linewidth=1, linestyle=(0, (4, 3)))
        axes.annotate("chosen", (chosen, 1), (-3 if chosen > 0.5 else 3, -2), xycoords=("data", "axes fraction"),
                      textcoords="offset points", va="top", ha="right" if chosen > 0.5 else "left")  # fmt: skip
        axes.margins(y=0.2)
        axes.grid(axis="y", linewidth=0.8)
        axes.yaxis.set_major_locator(MaxNLocator(nbins=5))
        axes.set_xlabel("alpha: 0 where training began, 1 where it ended")
        figure.legend(loc="outside lower center", ncols=2, frameon=False)
        return _svg(figure, name, f"{', '.join(metrics)} by alpha; {chosen:g} was chosen")


def _axes(height: float) -> tuple[Figure, Axes]:
    # About as wide as a telephone: the page sets charts side by side where there is room, and hardly ever shrinks them.
    figure = Figure(figsize=(4.9, height), layout="constrained")
    figure.patch.set_alpha(0)
    axes = figure.subplots()
    axes.patch.set_alpha(0)
    return figure, axes


def _svg(figure: Figure, name: str, description: str) -> str:
    buffer = io.StringIO()
    figure.savefig(buffer, format="svg", metadata={"Date": None, "Creator": None, "Format": None, "Type": None})
    drawing = buffer.getvalue()
    drawing = drawing[drawing.index("<svg") :]  # no XML declaration, no link to a document type
    drawing = re.sub(r"<metadata>.*?</metadata>", "", drawing, flags=re.DOTALL)
    drawing = re.sub(r' id="([^"]+)"', rf' id="{name}-\1"', drawing)
    drawing = re.sub(r'(url\(#|href="#)', rf"\g<1>{name}-", drawing)
    for colour, variable in _VARIABLES.items():
        drawing = drawing.replace(colour, variable)
    title = description.replace("&", "&amp;").replace("<", "&lt;").replace('"', "&quot;")
    return drawing.replace("<svg ", f'<svg role="img" aria-label="{title}" ', 1)

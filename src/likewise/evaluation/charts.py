"""Charts as SVG that stands inside a page: its own text, the page's fonts and colours, nothing to load."""

import io
import re
from collections.abc import Sequence
from typing import Any

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from likewise.evaluation.results import SubsetResult

# Colours that stand in the drawing for variables of the page, so that one drawing serves a light and a dark scheme.
_INK, _GRID, _OURS, _RIVALS = "#010101", "#020202", "#030303", "#040404"
_VARIABLES = {_INK: "var(--ink)", _GRID: "var(--line)", _OURS: "var(--ours)", _RIVALS: "var(--rival)"}
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
        colours = [_OURS if system is subset.trained else _RIVALS for system in systems]
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


def line_chart(x: Sequence[float], y: Sequence[float], label: str, name: str, *, marked: float | None = None) -> str:
    """One learning curve over epochs; the epoch `marked` (the best one) carries a dot and its value."""
    x, y = list(x), list(y)
    with mpl.rc_context(_STYLE | {"svg.hashsalt": name}):
        figure, axes = _axes(height=2.1)
        axes.plot(x, y, color=_OURS, linewidth=2, marker="o" if len(x) < 3 else None, markersize=4)
        if marked is not None and marked in x:
            at = y[x.index(marked)]
            axes.plot([marked], [at], marker="o", markersize=7, color=_OURS)
            axes.annotate(f"{at:.3g}", (marked, at), (0, 8), textcoords="offset points", ha="center", weight="bold")
        axes.margins(x=0.06, y=0.2)
        axes.grid(axis="y", linewidth=0.8)
        axes.xaxis.set_major_locator(MaxNLocator(integer=True, nbins=8))
        axes.yaxis.set_major_locator(MaxNLocator(nbins=5))
        axes.set_xlabel("epoch")
        return _svg(figure, name, f"{label} by epoch, from {y[0]:.3g} to {y[-1]:.3g}")


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

"""The learning curves of a training: over its steps, and over the minutes that it took."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from markupsafe import Markup

from likewise.evaluation.report.charts import line_chart
from likewise.evaluation.results import Epoch, RunMetrics

_FEWEST_MINUTES = 2.0  # a shorter training is told in seconds


@dataclass(frozen=True)
class Curve:
    """One drawing of the report."""

    title: str
    explanation: str
    drawing: Markup
    minor: bool  # for those who want to know more


def learning_curves(metrics: RunMetrics) -> Iterator[Curve]:
    """Every curve that the history holds; one with fewer than two points is left out."""
    minutes = _minutes(metrics.history)
    unit, scale = ("minutes", 1.0) if max(minutes, default=0.0) >= _FEWEST_MINUTES else ("seconds", 60.0)
    kept = "on items it does not train on; the dot is what was kept"
    loss = "how far the model is from telling items apart; lower is better"
    for key, title, explanation, along, minor in (
        ("validation", f"Validation {metrics.validation_metric}", kept, "time", False),
        ("validation", f"Validation {metrics.validation_metric}", kept, "step", False),
        ("loss", "Training loss", loss, "time", False),
        ("loss", "Training loss", loss, "step", False),
        ("temperature", "Temperature", "how sharply the model separates similar items; it is learned", "step", True),
        ("learning_rate", "Learning rate", "how far the weights move in a step", "step", True),
    ):
        epochs = [place for place, epoch in enumerate(metrics.history) if _value(epoch, key) is not None]
        if len(epochs) < 2:
            continue
        history = [metrics.history[place] for place in epochs]
        x = (
            [scale * minutes[place] for place in epochs]
            if along == "time"
            else [float(epoch.step) for epoch in history]
        )
        if len(set(x)) < 2:
            continue
        best = next((place for place, epoch in enumerate(history) if epoch.epoch == metrics.best_epoch), None)
        drawing = line_chart(
            x,
            [_value(epoch, key) or 0.0 for epoch in history],
            title,
            f"curve-{key.replace('_', '-')}-{along}",
            along=f"{unit} of training" if along == "time" else "steps",
            marked=best if key == "validation" else None,
            stages=_stages(history, x),
        )
        yield Curve(title, explanation, Markup(drawing), minor)  # noqa: S704  (escaped in charts.py)


def _minutes(history: list[Epoch]) -> list[float]:
    """Wall-clock at the end of every epoch: as it was recorded, else the sum of the epochs' own time."""
    summed = np.cumsum([epoch.seconds for epoch in history]) / 60
    return [
        float(total) if epoch.minutes is None else epoch.minutes for epoch, total in zip(history, summed, strict=True)
    ]


def _stages(history: list[Epoch], x: list[float]) -> list[tuple[float, str]]:
    """Where a stage begins; nothing where a training has only one."""
    named = [(place, epoch.stage) for place, epoch in enumerate(history) if epoch.stage]
    if len({stage for _, stage in named}) < 2:
        return []
    before: str | None = None
    starts = []
    for place, stage in named:
        if stage != before:
            starts.append((x[max(place - 1, 0)], stage))
        before = stage
    return starts


def _value(epoch: Epoch, key: str) -> float | None:
    value: float | None = getattr(epoch, key)
    return None if value is None or value != value else value

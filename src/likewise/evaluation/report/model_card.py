"""The model card of a run: a README.md that says what the model is, how good it is, and where it ends."""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from likewise.evaluation.metrics import METRICS
from likewise.evaluation.report.report import (
    METRIC_WORDS,
    baselines_in_words,
    duration,
    flatten,
    problems_in_words,
    templates,
)
from likewise.evaluation.report.table import figure
from likewise.evaluation.results import RunMetrics
from likewise.files import write_file

FILE_NAME = "README.md"


def write_model_card(run: Path, metrics: RunMetrics | Mapping[str, Any]) -> Path:
    """Write the model card, `README.md`, into the run folder, in one step.

    Args:
        run: the run folder.
        metrics: what `metrics.json` holds (`results.RunMetrics`).
    """
    metrics = metrics if isinstance(metrics, RunMetrics) else RunMetrics.model_validate(metrics)
    environment = templates()
    environment.filters |= {"cell": _cell, "code": _code, "interval": figure}
    card = environment.get_template("model_card.md.jinja").render(
        metrics=metrics,
        comparison=metrics.comparison,
        metric_names=METRICS,
        metric_words=METRIC_WORDS,
        baselines=baselines_in_words(metrics.comparison),
        problems=problems_in_words(metrics.catalogue),
        settings=dict(flatten(metrics.settings)),
        training_time=duration(sum(epoch.seconds for epoch in metrics.history)),
    )
    target = Path(run) / FILE_NAME
    write_file(target, card)
    return target


def _cell(text: object) -> str:
    """Text that cannot break a line or a table of Markdown, nor make a link, a picture, emphasis or an HTML tag."""
    flat = " ".join(str(text).split()).replace("&", "&amp;").replace("<", "&lt;").replace("`", "'")
    return re.sub(r"([\\|*~]|\](?=[(\[:]))", r"\\\1", flat)


def _code(text: object) -> str:
    """Text between backticks."""
    return " ".join(str(text).split()).replace("`", "'")

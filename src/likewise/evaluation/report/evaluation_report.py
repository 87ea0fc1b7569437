"""The report of `likewise evaluate`: the figures, the queries that went worst and a map of the space, on one page."""

from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

from likewise.evaluation.error_analysis import analyse_errors
from likewise.evaluation.evaluate import Evaluation
from likewise.evaluation.report.report import write_report
from likewise.evaluation.report.space_map import draw_map
from likewise.evaluation.results import DataNote, RunMetrics, describe_encoders
from likewise.model.model import Model


def write_evaluation(file: Path, run: Path, model: Model, evaluation: Evaluation, notes: Sequence[str] = ()) -> Path:
    """Write the HTML report of `likewise evaluate --report`.

    Args:
        file: where it goes.
        run: the run folder.
        model: the run's model.
        notes: what a reader of the figures must know, one sentence each.

    Raises:
        UserError: the file cannot be written.
    """
    task = evaluation.task
    metrics = RunMetrics(
        name=run.resolve().name,
        created=datetime.now(UTC).isoformat(timespec="seconds"),
        data=DataNote(
            source=task.catalog.name,
            items=len(task.catalog),
            training_items=0,
            validation_items=0,
            fields=list(task.catalog.fields),
            split="",
            query=task.hidden,
        ),
        comparison=evaluation.comparison,
        validation_metric=task.metric,
        threshold=evaluation.threshold,
        catalogue=task.catalog.report.as_dict(),
        encoders=describe_encoders(model),
        notes=list(notes),
    )
    space = draw_map(evaluation.embeddings.fuse_by_modality(evaluation.subset))
    return write_report(run, metrics, analyse_errors(evaluation), space, file=file)

"""The report of `likewise evaluate`: the figures, the queries that went worst and a map of the space, on one page."""

from datetime import UTC, datetime
from pathlib import Path

from likewise.evaluation.error_analysis import analyse_errors
from likewise.evaluation.evaluate import Evaluation
from likewise.evaluation.report.report import write_report
from likewise.evaluation.report.space_map import draw_map
from likewise.evaluation.results import DataNote, EncoderNote, RunMetrics
from likewise.model.model import Model


def write_evaluation(file: Path, run: Path, model: Model, evaluation: Evaluation) -> Path:
    """Write the HTML report of `likewise evaluate --report`.

    Args:
        file: where it goes.
        run: the run folder.
        model: the run's model.

    Raises:
        UserError: the file cannot be written.
    """
    task = evaluation.task
    metrics = RunMetrics(
        name=run.resolve().name,
        created=datetime.now(UTC).isoformat(timespec="seconds"),
        data=DataNote(
            source=task.catalog.source.name,
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
        encoders=[EncoderNote(name=encoder.name, modality=encoder.modality) for encoder in model.encoders.values()],
    )
    space = draw_map(evaluation.embeddings.fuse_by_modality(evaluation.subset))
    return write_report(run, metrics, analyse_errors(evaluation), space, file=file)

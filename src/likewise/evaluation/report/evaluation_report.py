"""The report of an examination: the figures, the queries that went worst and a map of the space, on one page."""

from datetime import UTC, datetime
from pathlib import Path

from likewise.evaluation.error_analysis import exhibit_examination
from likewise.evaluation.evaluate import Examination
from likewise.evaluation.report.report import write_report
from likewise.evaluation.results import DataNote, EncoderNote, RunMetrics
from likewise.model.model import MODALITIES, Model


def write_examination(file: Path, run: Path, model: Model, examination: Examination) -> Path:
    """Write the HTML report of `likewise evaluate --report`.

    Args:
        file: where it goes.
        run: the run folder.
        model: the run's model.

    Raises:
        UserError: the file cannot be written.
    """
    inquiry = examination.inquiry
    metrics = RunMetrics(
        name=run.resolve().name,
        created=datetime.now(UTC).isoformat(timespec="seconds"),
        data=DataNote(
            source=inquiry.catalog.source.name,
            items=len(inquiry.catalog),
            training_items=0,
            validation_items=0,
            fields=list(inquiry.catalog.fields),
            split="",
            query=inquiry.hidden,
        ),
        comparison=examination.comparison,
        validation_metric=inquiry.metric,
        threshold=examination.threshold,
        catalogue=inquiry.catalog.report.as_dict(),
        encoders=[EncoderNote(name=model.encoder(name).name, modality=name) for name in MODALITIES],
    )
    return write_report(run, metrics, exhibit_examination(examination), file=file)

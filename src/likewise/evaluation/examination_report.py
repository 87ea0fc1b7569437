"""The report of an examination: the figures, the queries that went worst and a map of the space, on one page."""

from datetime import UTC, datetime
from pathlib import Path

from likewise.errors import UserError
from likewise.evaluation.examination import Examination
from likewise.evaluation.exhibits import exhibit_examination
from likewise.evaluation.found import look_up
from likewise.evaluation.report import write_report
from likewise.evaluation.results import DataNote, EncoderNote, RunMetrics
from likewise.evaluation.threshold import calibrate_threshold, measure_threshold
from likewise.model.model import MODALITIES, Model

_PLACES = 4  # of the first places that are shown for a query


def write_examination(file: Path, run: Path, model: Model, examination: Examination) -> Path:
    """Write the HTML report of `likewise evaluate --report`.

    Args:
        file: where it goes.
        run: the run folder, whose threshold is measured on these queries; without one it is chosen on them.
        model: the run's model.

    Raises:
        UserError: the file cannot be written.
    """
    inquiry = examination.inquiry
    scores, relevant = examination.sight.answers(inquiry.fields)
    found = look_up(scores, relevant, places=_PLACES)
    calibrated = _calibrated_score(run)
    if calibrated is None:
        threshold = calibrate_threshold(found.right, found.wrong)
    else:
        threshold = measure_threshold(calibrated, found.right, found.wrong)
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
        threshold=threshold,
        catalogue=inquiry.catalog.report.as_dict(),
        encoders=[EncoderNote(name=model.encoder(name).name, modality=name) for name in MODALITIES],
    )
    return write_report(run, metrics, exhibit_examination(examination, found, relevant), file=file)


def _calibrated_score(run: Path) -> float | None:
    """The threshold that the run's training chose, if it left one."""
    try:
        threshold = RunMetrics.read(run).threshold
    except UserError:  # a model without its training's figures can be measured, too
        return None
    return threshold.score if threshold is not None else None

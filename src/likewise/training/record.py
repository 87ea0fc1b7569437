"""What a finished training writes down of itself."""

from datetime import UTC, datetime

from likewise.evaluation.results import Comparison, DataNote, EncoderNote, Epoch, Frontier, RunMetrics, Threshold
from likewise.model.model import MODALITIES
from likewise.training import resume
from likewise.training.context import Ground
from likewise.training.questions import Questions
from likewise.training.training_state import TrainingState


def metrics_of(
    ground: Ground,
    questions: Questions,
    state: TrainingState,
    comparison: Comparison | None,
    frontier: Frontier | None,
    threshold: Threshold | None,
    seconds: dict[str, float],
) -> RunMetrics:
    """The contents of `metrics.json`.

    Args:
        questions: that the comparison was asked.
        state: at the end.
        comparison, frontier, threshold: None where there was nothing to ask, or to interpolate.
        seconds: by stage.
    """
    catalog, split, model = ground.catalog, ground.split, ground.model
    return RunMetrics(
        name=ground.run.name,
        created=datetime.now(UTC).isoformat(timespec="seconds"),
        data=DataNote(
            source=catalog.source.name,
            items=len(catalog),
            training_items=len(split.train),
            validation_items=len(split.validation),
            test_items=len(split.test),
            fields=list(catalog.fields),
            split=split.note,
            query=questions.hidden,
        ),
        comparison=comparison,
        validation_metric=f"{questions.metric}, averaged over the field subsets",
        history=[Epoch(**entry) for entry in state.history],
        best_epoch=state.best_epoch,
        frontier=frontier,
        threshold=threshold,
        catalogue=catalog.report.as_dict(),
        settings=ground.config.model_dump(mode="json"),
        encoders=[EncoderNote(name=model.encoder(name).name, modality=name) for name in MODALITIES],
        software=resume.software(),
        seconds={stage: round(spent, 2) for stage, spent in seconds.items()},
        notes=[f"{encoder} encoder in {precision}" for encoder, precision in model.precision.items()],
    )

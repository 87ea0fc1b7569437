"""Metrics of a run: the contents of `metrics.json`, and the verdict on the console."""

from dataclasses import dataclass
from datetime import UTC, datetime

from likewise.evaluation.report.table import comparison_table
from likewise.evaluation.results import (
    Comparison,
    CrossValidation,
    DataNote,
    Epoch,
    Frontier,
    RunMetrics,
    Threshold,
    describe_encoders,
)
from likewise.evaluation.task import RetrievalTask
from likewise.progress import console, say
from likewise.training import resume
from likewise.training.context import TrainingContext
from likewise.training.training_state import TrainingState


@dataclass(frozen=True)
class Outcome:
    """What was chosen on rows that a training had not seen.

    Attributes:
        threshold: the score below which nothing fits; None where there was no query.
        best_epoch: whose checkpoint is kept; None where nothing that an epoch learned is.
        frontier: of the interpolation with the start; None where none was chosen on it.
        cross_validation: of the shares of a stacked training.
        choice: one sentence on what took the place of the trained heads or encoders.
    """

    threshold: Threshold | None
    best_epoch: int | None
    frontier: Frontier | None = None
    cross_validation: CrossValidation | None = None
    choice: str | None = None


def build_run_metrics(
    context: TrainingContext,
    task: RetrievalTask,
    state: TrainingState,
    comparison: Comparison | None,
    outcome: Outcome,
    refit_items: int | None,
    seconds: dict[str, float],
) -> RunMetrics:
    """Build the contents of `metrics.json`.

    Args:
        task: the retrieval task of the comparison.
        state: at the end of the training.
        comparison: None where there was no query.
        refit_items: the number of rows that the model was fitted on again; None: it was not.
        seconds: by stage.
    """
    catalog, split, model = context.catalog, context.split, context.model
    return RunMetrics(
        name=context.run.name,
        created=datetime.now(UTC).isoformat(timespec="seconds"),
        data=DataNote(
            source=catalog.name,
            items=len(catalog),
            training_items=len(split.train),
            validation_items=len(split.validation),
            test_items=len(split.test),
            fields=[*catalog.fields, *model.network.further_fields],
            split=split.note,
            query=task.hidden,
        ),
        comparison=comparison,
        validation_metric=f"{task.metric}, averaged over the field subsets",
        history=[Epoch(**entry) for entry in state.history],
        best_epoch=outcome.best_epoch,
        frontier=outcome.frontier,
        cross_validation=outcome.cross_validation,
        refit_items=refit_items,
        threshold=outcome.threshold,
        catalogue=catalog.report.as_dict(),
        settings=context.config.model_dump(mode="json"),
        encoders=describe_encoders(model),
        software=resume.list_software(),
        seconds={stage: round(spent, 2) for stage, spent in seconds.items()},
        notes=[f"{encoder} encoder in {precision}" for encoder, precision in model.precision.items()]
        + ([] if outcome.choice is None else [outcome.choice]),
    )


def print_verdict(metrics: RunMetrics) -> None:
    """Print the table of the comparison with its verdict, or why there is none."""
    if metrics.comparison is None:
        say("No verdict: the held-out rows have no titles, or nothing but titles, so there is nothing to evaluate")
    else:
        console.print(comparison_table(metrics.comparison))

"""A run without a training: the encoders of a preset as they come, ready to index and to search."""

from datetime import UTC, datetime
from pathlib import Path

from likewise.config import Device, find_preset
from likewise.errors import UserError
from likewise.evaluation.results import DataNote, RunMetrics, describe_encoders
from likewise.files import is_temporary
from likewise.model.model import Model
from likewise.model.run_folder import seal_run
from likewise.progress import say


def warn_of_limits(model: Model, preset: str) -> None:
    """Print a warning where an untrained model of a preset does not find pictures by words."""
    if not model.network.zero_shot:
        say(f"Warning: with the preset {preset}, words find pictures only after a training")


def create_run(run: Path | str, preset: str = "lite", *, device: Device = "auto", cache: Path | None = None) -> Model:
    """Write a run with an untrained model; its `metrics.json` says that nothing was trained.

    Args:
        run: a new or empty folder.
        preset: of `PRESETS`.
        device: of the model that is returned.
        cache: a folder that remembers at which precision the encoders are fastest.

    Raises:
        UserError: the folder holds something, there is no such preset, or its encoders are not to be had.
    """
    run = Path(run)
    if run.exists() and not (run.is_dir() and all(is_temporary(path) for path in run.iterdir())):
        raise UserError(f"{run} is not empty: choose another folder for the run")
    model = Model.create(find_preset(preset), device, cache=cache)
    model.save(run)
    metrics = RunMetrics(
        name=run.resolve().name,
        created=datetime.now(UTC).isoformat(timespec="seconds"),
        data=DataNote(
            source="nothing", items=0, training_items=0, validation_items=0, fields=list(model.fields), split=""
        ),
        comparison=None,
        validation_metric="",
        encoders=describe_encoders(model),
        notes=["nothing was trained: the encoders are as they come"],
    )
    metrics.write(run)
    seal_run(run)
    return model

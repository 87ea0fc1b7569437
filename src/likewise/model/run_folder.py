"""The files of a run that a model is opened from, and the manifest that says whether they are what was written."""

from pathlib import Path

from likewise import checksums
from likewise.checksums import Progress, verify_run, write_run_manifest
from likewise.errors import UserError
from likewise.files import DamageError, explain_damage

CONFIG = "config.yaml"
WEIGHTS = "model.safetensors"
METRICS = "metrics.json"
THRESHOLDS = "thresholds.json"
ENCODERS = "encoders"
CLOSED_FORMS = "training/closed_forms.safetensors"


def check_has_model(run: Path) -> None:
    """Ask for the file of weights alone: a mistyped folder is refused before anybody waits for libraries to load.

    Raises:
        UserError: there is none.
    """
    if not (run / WEIGHTS).is_file():
        raise UserError(
            f"{run} has no model ({WEIGHTS} is missing): train one with likewise train, or make an untrained one with "
            "likewise new"
        )


def seal_run(run: Path) -> None:
    """Write the manifest of a run: the SHA-256 of every file that opening its model and evaluating it needs.

    Raises:
        UserError: the manifest cannot be written.
    """
    names = [name for name in (CONFIG, WEIGHTS, METRICS, THRESHOLDS, CLOSED_FORMS) if (run / name).is_file()]
    encoders = [path.relative_to(run).as_posix() for path in (run / ENCODERS).rglob("*") if path.is_file()]
    write_run_manifest(run, sorted([*names, *encoders]))


def check_run(run: Path, *, everything: bool = False, progress: Progress = lambda count: None) -> list[str]:
    """Verify that a run is what `seal_run` saw: all of it up to 256 MiB, beyond that its smallest files.

    Args:
        everything: verify all files, however large.
        progress: called with the number of bytes that have been read since the last call.

    Returns:
        The files, as paths below the run.

    Raises:
        UserError: a file is missing, was damaged or changed, or does not belong to the run; the message says which.
    """
    try:
        return verify_run(run, [ENCODERS], None if everything else checksums.AT_OPENING, progress)
    except DamageError as error:
        changed = f"{error}, or was changed since it was trained: restore it from a copy, or train again with --restart"
        raise explain_damage(error, older=f"{error}: train it again", damaged=changed) from None

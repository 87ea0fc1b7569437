"""Resuming a killed training: same settings, data, threads and precision, or a sentence that says what differs."""

import hashlib
import json
import os
import shutil
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, ClassVar

import torch
from filelock import Timeout
from pydantic import ConfigDict, TypeAdapter

from likewise.catalog.catalog import Catalog
from likewise.checksums import MANIFEST, run_files
from likewise.config import TrainConfig
from likewise.errors import UserError
from likewise.files import (
    DamageError,
    hold_lock,
    is_temporary,
    make_folder,
    read_record,
    remove_leftovers,
    write_record,
)
from likewise.model.run_folder import CONFIG, ENCODERS, METRICS, THRESHOLDS, WEIGHTS
from likewise.stores.versions import remove_versions
from likewise.training.training_state import FILE as STATE

ENVIRONMENT = Path("training") / "environment.json"
_FORMAT = 1
_LOCK = ".lock"
_ORDERED, _UNORDERED = ("fields", "lr_scales"), ("columns", "encoders")  # settings whose keys people choose


@dataclass(frozen=True)
class Environment:
    """What determines the bits of a result besides the settings; recorded once, reused when a run is resumed.

    Attributes:
        threads: of torch, on the CPU.
        precision: "text" and "image" → "float32" or "bfloat16"; None until the model has measured it.
        catalogue: the fingerprint of the data, with all columns and the log of queries that training reads.
    """

    __pydantic_config__: ClassVar[ConfigDict] = ConfigDict(strict=True, extra="forbid")

    threads: int
    precision: dict[str, str] | None = None
    catalogue: str | None = None

    @classmethod
    def read(cls, run: Path) -> "Environment | None":
        """What an earlier start of this run recorded."""
        try:
            return _environment.validate_json(json.dumps(read_record(run / ENVIRONMENT, _FORMAT)))
        except (FileNotFoundError, NotADirectoryError):
            return None
        except (OSError, ValueError):  # DamageError among them
            raise UserError(f"cannot resume: {run / ENVIRONMENT} is damaged; start over with --restart") from None

    def write(self, run: Path) -> None:
        """Record, in one step."""
        make_folder((run / ENVIRONMENT).parent)
        write_record(run / ENVIRONMENT, asdict(self), _FORMAT)


@contextmanager
def lock(run: Path) -> Iterator[None]:
    """Keep other trainings out of a run folder, which is made if need be.

    Raises:
        UserError: another training writes there, the folder holds something else, or cannot be written.
    """
    if run.exists() and not run.is_dir():
        raise UserError(f"{run} is a file: choose another folder for the run")
    if not _is_free(run) and not (run / ENVIRONMENT).is_file():
        raise UserError(f"{run} is not empty and is not a run folder: choose another folder for the run")
    make_folder(run)
    with ExitStack() as held:
        try:
            held.enter_context(hold_lock(run / _LOCK, wait=False))
        except Timeout:
            raise UserError(
                f"another training is writing to {run}: wait until it ends, or choose another folder"
            ) from None
        yield


_environment = TypeAdapter(Environment)


def open_run(run: Path, config: TrainConfig, catalog: Catalog) -> Environment:
    """Open a run folder for a new training, or for going on with one.

    Raises:
        UserError: the folder holds something else, or a training with other settings or data.
    """
    recorded, catalogue = Environment.read(run), compute_catalogue_fingerprint(catalog, config)
    if recorded is None or not (run / CONFIG).is_file():  # the latter where the next lines were interrupted
        threads = config.threads or torch.get_num_threads()
        environment = Environment(threads, _fixed(config), catalogue)
        environment.write(run)
        config.write(run / CONFIG)
        return environment
    difference = _difference(TrainConfig.read(run / CONFIG), config)
    if difference is None and recorded.catalogue != catalogue:
        difference = "the catalogue's rows, or its queries, have changed since"
    if difference is not None:
        raise UserError(
            f"{run} holds another training ({difference}): choose another folder, or --restart to replace it"
        )
    return recorded


def clear(run: Path) -> None:
    """Remove what an earlier training left in a run folder; anything else in it stays.

    Raises:
        UserError: the folder holds no run, so nothing in it is ours to remove.
    """
    if _is_free(run):
        return
    if not (run / ENVIRONMENT).is_file() or (run / ENVIRONMENT).parent.is_symlink():
        raise UserError(f"{run} is not empty and is not a run folder: choose another folder for the run")
    # the state first, lest it be read under other settings, and last the file that says that the folder is ours
    for name in (STATE, MANIFEST, CONFIG, WEIGHTS, METRICS, THRESHOLDS, "report.html", "README.md", "suspects.csv"):
        (run / name).unlink(missing_ok=True)
    shutil.rmtree(run / ENCODERS, ignore_errors=True)
    remove_versions(run / "index")
    for path in (run / "training").iterdir():
        if path.is_dir():
            shutil.rmtree(path, ignore_errors=True)
        elif path != run / ENVIRONMENT:
            path.unlink()
    (run / ENVIRONMENT).unlink()
    (run / "training").rmdir()


def _is_free(run: Path) -> bool:
    """Whether nothing lies here, or only what an `open_run` or `clear` that was killed leaves."""
    if not run.exists():
        return True
    left = (path for path in run.rglob("*") if path not in (run / "training", run / _LOCK))
    return run.is_dir() and all(is_temporary(path) for path in left)


def is_finished(run: Path) -> bool:
    """Whether a training came to its end here: its metrics are written last."""
    try:
        return METRICS in run_files(run)
    except DamageError:  # whoever looks at a finished run will say so
        return (run / METRICS).is_file() and not (run / STATE).is_file()


def finish(run: Path) -> None:
    """Drop the state that only an unfinished training needs."""
    (run / STATE).unlink(missing_ok=True)
    for path in (run / STATE, run / WEIGHTS, run / METRICS):
        remove_leftovers(path)


def compute_catalogue_fingerprint(catalog: Catalog, config: TrainConfig) -> str:
    """SHA-256 of what a training reads: fields, queries, split and identities.

    A log of queries counts with its bytes; one that is missing is reported by who reads it.
    """
    columns = [*config.model.fields, *([config.split] if config.split else [])]
    columns += [config.identity.removeprefix("column:")] if config.identity.startswith("column:") else []
    if config.queries is None:
        return catalog.compute_fingerprint([*columns, "query"])
    fingerprint = catalog.compute_fingerprint(columns)
    if not config.queries.is_file():
        return fingerprint
    return hashlib.sha256(fingerprint.encode() + config.queries.read_bytes()).hexdigest()


def _fixed(config: TrainConfig) -> dict[str, str] | None:
    return None if config.precision == "auto" else {"text": config.precision, "image": config.precision}


def _difference(before: TrainConfig, now: TrainConfig) -> str | None:
    """The first setting that differs, in words."""
    old, new = _flat(before), _flat(now)
    for key in dict.fromkeys([*old, *new]):
        was, now_is = (settings.get(key, "not set") for settings in (old, new))
        if was != now_is and key not in ("data.file", "threads", "tensorboard"):
            return f"{key} was {was} and is {now_is} now"
    return None


def _flat(config: TrainConfig) -> dict[str, str]:
    """Settings by their dotted names, as text, in which the order of fields and of `lr_scales` counts."""
    values = config.model_dump(mode="json")
    values["model"]["fields"] = config.model.fields  # whether they are written as a list or with their kinds
    return {key: str(value) for key, value in _flatten(values)}


def _flatten(values: dict[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for key, value in values.items():
        if isinstance(value, dict) and key in _UNORDERED:
            yield prefix + key, dict(sorted(value.items()))
        elif isinstance(value, dict) and key not in _ORDERED:
            yield from _flatten(value, f"{prefix}{key}.")
        else:
            yield prefix + key, value


def list_software() -> dict[str, str]:
    """Versions that a result depends on."""
    names = ("likewise", "torch", "transformers", "numpy", "polars", "faiss-cpu")
    return {name: _version(name) for name in names} | {"cpus": str(os.cpu_count())}


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:  # run from a checkout, as train.py may be
        return "not installed"

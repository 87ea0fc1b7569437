"""Going on with a killed training: same settings, data, threads and precision, or a sentence that says what differs."""

import json
import os
import shutil
from dataclasses import asdict, dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, ClassVar

import torch
from pydantic import ConfigDict, TypeAdapter

from likewise.catalog.catalog import Catalog
from likewise.config import TrainConfig
from likewise.errors import UserError
from likewise.evaluation.results import FILE_NAME as METRICS
from likewise.parsing import MOST_JSON_BYTES, read_bounded
from likewise.training.state import FILE as STATE

ENVIRONMENT = Path("training") / "environment.json"


@dataclass(frozen=True)
class Environment:
    """What decides the bits of a result beside the settings; recorded once, reused when a run is resumed.

    Attributes:
        threads: of torch, on the CPU.
        precision: "text" and "image" → "float32" or "bfloat16"; None until the model has measured it.
        catalogue: the fingerprint of the data.
    """

    __pydantic_config__: ClassVar[ConfigDict] = ConfigDict(strict=True, extra="forbid")

    threads: int
    precision: dict[str, str] | None = None
    catalogue: str | None = None

    @classmethod
    def of(cls, run: Path) -> "Environment | None":
        """What an earlier start of this run recorded."""
        try:
            return _environment.validate_json(read_bounded(run / ENVIRONMENT, MOST_JSON_BYTES))
        except FileNotFoundError:
            return None
        except (OSError, ValueError):
            raise UserError(f"cannot resume: {run / ENVIRONMENT} is damaged; begin afresh with --restart") from None

    def write(self, run: Path) -> None:
        """Record, in one step."""
        target = run / ENVIRONMENT
        target.parent.mkdir(parents=True, exist_ok=True)
        beside = target.with_suffix(".new")
        beside.write_text(json.dumps(asdict(self)), encoding="utf-8")
        beside.replace(target)


_environment = TypeAdapter(Environment)


def begin(run: Path, config: TrainConfig, catalog: Catalog) -> Environment:
    """Open a run folder for a new training, or for going on with one.

    Raises:
        UserError: the folder holds something else, or a training with other settings or data.
    """
    if run.exists() and not run.is_dir():
        raise UserError(f"{run} is a file: choose another folder for the run")
    recorded = Environment.of(run)
    if recorded is None and not _is_free(run):
        raise UserError(f"{run} is not empty and holds no training: choose another folder for the run")
    if recorded is None or not (run / "config.yaml").is_file():  # the latter where the next lines were interrupted
        threads = config.threads or torch.get_num_threads()
        environment = Environment(threads, _fixed(config), catalog.fingerprint)
        environment.write(run)
        beside = run / "training" / "config.yaml.new"
        config.write(beside)
        beside.replace(run / "config.yaml")
        return environment
    difference = _difference(TrainConfig.read(run / "config.yaml"), config)
    if difference is None and recorded.catalogue != catalog.fingerprint:
        difference = "the catalogue's rows have changed since"
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
    if not (run / ENVIRONMENT).is_file():
        raise UserError(f"{run} is not empty and holds no training: choose another folder for the run")
    # the state first, lest it be read under other settings, and last the file that says that the folder is ours
    for name in (STATE, "config.yaml", "model.safetensors", METRICS, "report.html", "README.md", "suspects.csv"):
        (run / name).unlink(missing_ok=True)
    for name in ("encoders", "index"):
        shutil.rmtree(run / name, ignore_errors=True)
    for path in (run / "training").iterdir():
        if path.is_dir():
            shutil.rmtree(path, ignore_errors=True)
        elif path != run / ENVIRONMENT:
            path.unlink()
    (run / ENVIRONMENT).unlink()
    (run / "training").rmdir()


def _is_free(run: Path) -> bool:
    """Whether nothing lies here, or only what a `begin` or `clear` that was killed leaves."""
    left = {run / "training", (run / ENVIRONMENT).with_suffix(".new")}
    return not run.exists() or (run.is_dir() and set(run.rglob("*")) <= left)


def is_finished(run: Path) -> bool:
    """Whether a training came to its end here: its metrics are written last."""
    return (run / METRICS).is_file() and (run / "model.safetensors").is_file()


def finish(run: Path) -> None:
    """Drop the state that only an unfinished training needs."""
    left_by_killed_writers = [*(run / STATE.parent).glob(f"{STATE.stem}.*.new"), *run.glob("model.*.tmp")]
    for path in (run / STATE, *left_by_killed_writers):
        path.unlink(missing_ok=True)


def _fixed(config: TrainConfig) -> dict[str, str] | None:
    return None if config.precision == "auto" else {"text": config.precision, "image": config.precision}


def _difference(before: TrainConfig, now: TrainConfig) -> str | None:
    """The first setting that differs, in words."""
    old, new = _flat(before.model_dump(mode="json")), _flat(now.model_dump(mode="json"))
    for key in old:
        if old[key] != new.get(key) and key not in ("data.file", "threads", "tensorboard"):
            return f"{key} was {old[key]} and is {new.get(key)} now"
    return None


def _flat(values: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for key, value in values.items():
        if isinstance(value, dict) and key != "columns":
            flat |= _flat(value, f"{prefix}{key}.")
        else:
            flat[prefix + key] = value
    return flat


def software() -> dict[str, str]:
    """Versions that a result depends on."""
    names = ("likewise", "torch", "transformers", "numpy", "polars", "faiss-cpu")
    return {name: _version(name) for name in names} | {"cpus": str(os.cpu_count())}


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:  # run from a checkout, as train.py may be
        return "not installed"

"""The command that trains."""

import time
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from likewise.cli.options import CATALOG_DEFAULTS, CatalogOptions, Data, Device, Several, Switch, Where
from likewise.progress import say

if TYPE_CHECKING:
    from collections.abc import Sequence

    from likewise.config import TrainConfig


def train(
    file: Data,
    /,
    *,
    output: Path,
    preset: str | None = None,
    field: Several = None,
    regime: Literal["frozen", "partial", "full"] | None = None,
    epochs: int | None = None,
    batch_size: int | None = None,
    max_items: int | None = None,
    seed: int | None = None,
    where: Where = None,
    split: str | None = None,
    queries: Path | None = None,
    identity: str | None = None,
    config: Path | None = None,
    device: Device | None = None,
    tensorboard: Switch = False,
    effort: Literal["quick", "standard", "best"] | None = None,
    budget: str | None = None,
    no_refit: Switch = False,
    restart: Switch = False,
    catalog: CatalogOptions = CATALOG_DEFAULTS,
) -> None:
    """Train a model on a catalogue and write a run folder. If interrupted, run the same command again to resume.

    Example: likewise train products.csv --output runs/products --effort best --budget 40m

    Parameters
    ----------
    output
        Run folder to write.
    preset
        Encoders to use: lite (default), scratch, multilingual, e5, dinov2, clip or siglip2.
    field
        Also learn from a column, by its kind: NAME=number, category, tags, date, boolean, audio or text (repeatable).
    regime
        What to train: frozen (default; heads and fusion), partial (also the last image encoder blocks) or full.
    epochs
        Number of passes over the training items.
    batch_size
        Number of items per training step.
    max_items
        Use a random sample of at most this many items, spread over titles.
    seed
        Random seed (default: 0).
    split
        Column that assigns each row to training, validation ("val") or test ("test").
    queries
        Query log to train on: a table with the columns query and id, and optionally weight (such as clicks).
    identity
        When two items are the same: auto (default; equal titles or pictures), column:NAME (that column, too) or none.
    config
        YAML file of settings; flags override it.
    effort
        Plan the training from measured costs: quick, standard (also trains the last encoder blocks) or best.
    budget
        Total time for --effort best, such as 40m or 1.5h.
    tensorboard
        Also write TensorBoard events to the run folder.
    no_refit
        Keep the model that was measured, instead of fitting it once more on all items, held-out ones included.
    restart
        Start from scratch even if the run folder holds a training.
    """
    started = time.monotonic()  # before PyTorch is imported, which counts, too
    import numpy  # noqa: F401 - where PyTorch imports it instead, it swallows a Ctrl+C

    from likewise.training.train import train as train_run

    settings = build_config(
        config,
        preset,
        field or [],
        regime=regime,
        epochs=epochs,
        batch_size=batch_size,
        seed=seed,
        split=split,
        queries=queries,
        identity=identity,
        device=device,
        tensorboard=tensorboard or None,
        effort=effort or ("best" if budget is not None else None),
        budget=budget,
        refit=False if no_refit else None,
    )
    items = catalog.read(file, where, max_items, settings.seed, settings.data)
    train_run(items, output, settings, restart=restart, started=started)
    say(f"Saved to {output}; report.html in it shows the training and the results")


def build_config(config: Path | None, preset: str | None, fields: "Sequence[str]" = (), **flags: Any) -> "TrainConfig":
    """The settings of a training: flags over config file over preset; `fields` are added to those of the config."""
    from likewise.config import TrainConfig, add_fields, find_preset

    settings = TrainConfig() if config is None else TrainConfig.read(config)
    values = settings.model_dump(exclude_unset=True)
    if preset is not None:
        values["model"] = find_preset(preset).model_dump() | values.get("model", {})
    if fields:
        values["model"] = values.get("model", {}) | {"fields": add_fields(settings.model.fields, fields)}
    return TrainConfig.parse(values | {name: value for name, value in flags.items() if value is not None}, "options")

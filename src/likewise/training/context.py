"""Training context: the rows and their split, texts, identities, the model and its features."""

import dataclasses
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np

from likewise.catalog.catalog import Catalog
from likewise.catalog.field_kinds import check_field_leakage, check_repeated_titles
from likewise.catalog.identity import Codes, Identity
from likewise.catalog.typed_values import FIELD_KINDS
from likewise.config import TrainConfig
from likewise.encoders.languages import language_warning
from likewise.errors import UserError
from likewise.model.model import Model
from likewise.progress import say
from likewise.training.batches import Rows, TrainingSet
from likewise.training.distributed import Processes
from likewise.training.features import CachedFeatures, cache_features
from likewise.training.resume import Environment
from likewise.training.split import Split, deal_groups, group_rows, join_validation, split_rows
from likewise.training.views import RowTexts

_FEWEST_TITLES = 60  # to cross-validate over
_FOLDS, _MEASURED = 6, 3  # the folds that closed forms leave out, and the parts that are measured, of two each
_MANY_ROWS = 10_000  # from here on there are ten folds, and one of them is measured
_FOLDS_OF_MANY = 10
_TITLES_REPEAT = 4.0  # training rows per distinct title, from which a catalogue counts as many pictures of few things


class Clock:
    """Wall time per stage, and since the start.

    Attributes:
        seconds: by stage.
    """

    def __init__(self, started: float | None = None) -> None:
        """Start the clock.

        Args:
            started: the `time.monotonic()` of the start; None: now.
        """
        self.seconds: dict[str, float] = {}
        self._started = time.monotonic() if started is None else started

    @property
    def elapsed(self) -> float:
        """Seconds since the start."""
        return time.monotonic() - self._started

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        """Count what happens inside the block to a stage."""
        started = time.monotonic()
        try:
            yield
        finally:
            self.seconds[name] = self.seconds.get(name, 0.0) + time.monotonic() - started


@dataclass(frozen=True)
class TrainingContext:
    """The rows, features and model of one training.

    Attributes:
        config: with all defaults filled in.
        cached: what the untrained encoders make of every text and picture.
        data: the rows that train.
        stacked: whether towers are stacked from a start and a learned part, with shares that cross-validation chooses.
            That is the way of a frozen training where titles do not repeat. Where they do, where a log says which
            queries matter, where hard negatives are asked for, or where encoders move, there is more to learn than text
            heads can, and validation rows choose.
    """

    catalog: Catalog
    run: Path
    config: TrainConfig
    processes: Processes
    identity: Identity
    split: Split
    model: Model
    texts: RowTexts
    cached: CachedFeatures
    data: TrainingSet
    stacked: bool

    @property
    def titles_repeat(self) -> bool:
        """Whether the rows that train are many views of few things, by their titles; see `TrainConfig.filled_in`."""
        return _titles_repeat(self.texts.title[self.split.train])

    @property
    def refits(self) -> bool:
        """Whether the model is fitted once more on all rows, after it is measured."""
        return _refits(self.config, self.stacked)

    @cached_property
    def groups(self) -> Codes:
        """(rows,) codes of the groups that a split by identity keeps together."""
        return group_rows(self.identity)

    @cached_property
    def folds(self) -> Codes:
        """(rows,) the fold of every row, which closed forms leave out as a whole; groups of a split stay whole.

        Not the row alone: rows often share a description, and if each were left out by itself, the others' titles would
        be the answer, so that its own is the one that the answer avoids.
        """
        folds = _FOLDS_OF_MANY if len(self.data.rows) > _MANY_ROWS else _FOLDS
        return deal_groups(self.groups, folds, self.config.seed)

    @property
    def measured_parts(self) -> list[Rows]:
        """The training rows that cross-validation holds out, of one or two folds each; together all, unless many."""
        rows, folds = self.data.rows, self.folds[self.data.rows]
        if len(rows) > _MANY_ROWS:
            return [rows[folds == 0]]  # one asks enough queries
        return [rows[folds * _MEASURED // _FOLDS == part] for part in range(_MEASURED)]

    def build_training_set(self, rows: Rows) -> TrainingSet:
        """The training set of some other rows of the catalogue."""
        return TrainingSet.build(rows, self.texts, self.identity, self.data.pictured)


def prepare_training(
    catalog: Catalog, run: Path, config: TrainConfig, environment: Environment, processes: Processes, clock: Clock
) -> TrainingContext:
    """Resolve pictures, split the rows, create the untrained model, and run its encoders once.

    Raises:
        UserError: there is too little to train on.
    """
    with clock.stage("pictures"):
        identity = Identity.read(catalog, config.identity)
    split = split_rows(
        catalog, identity, column=config.split, validation=config.validation, test=config.test, seed=config.seed
    )
    stacked = _can_stack(catalog, identity, split, config)
    if stacked:
        split = join_validation(split)
        say(
            f"Training and cross-validating on {len(split.train):,} items, and reporting on {len(split.test):,} others "
            f"({split.note})"
        )
    else:
        say(
            f"Training on {len(split.train):,} items, choosing the checkpoint on {len(split.validation):,} and "
            f"reporting on {len(split.test):,} others ({split.note})"
        )
    model = Model.create(
        config.model_settings,
        config.device,
        environment.precision,
        config.seed,
        catalog.cache,
        catalog=catalog,
        rows=split.train,
    )
    if processes.leads:
        dataclasses.replace(environment, precision=model.precision).write(run)
    trained = split.unreserved if _refits(config, stacked) else split.train
    texts = RowTexts.collect(catalog, model.fields, config.seed, trained, config.queries, model.network.kinds)
    _check_leakage(model, texts, identity)
    config = config.filled_in(_titles_repeat(texts.title[split.train]), stacked)
    _say_truncated(catalog, model, texts)
    _say_foreign(model, texts)
    with clock.stage("encoding"), processes.one_after_the_other():
        cached = cache_features(model, catalog, texts.texts, mirror=model.network.hflip_tta, values=texts.values)
    texts = texts.drop_values(cached.usable_values)
    data = TrainingSet.build(split.train, texts, identity, cached.pictured(len(catalog)))
    if not data.has_pairs():
        raise UserError(
            "there is nothing to learn from: no row has two fields; add descriptions, images or a query column"
        )
    return TrainingContext(catalog, run, config, processes, identity, split, model, texts, cached, data, stacked)


def _check_leakage(model: Model, texts: RowTexts, identity: Identity) -> None:
    """Raises UserError where a column that is declared as a field identifies items by itself, or is the answer."""
    titles = [texts.texts[code] if code >= 0 else None for code in texts.title]
    for field, codes in texts.further.items():
        kind, values = model.network.kinds[field], texts.values.get(field, texts.texts)
        if field == "query":
            raise UserError(
                'the column "query" cannot be a field: it holds the queries that training learns to answer; leave it '
                "out of model.fields, or rename it"
            )
        if kind in FIELD_KINDS:
            shown = [values[code] if code >= 0 else None for code in codes]
            if kind in ("text", "category"):
                check_repeated_titles(field, shown, titles)
            check_field_leakage(field, shown, kind, identity.thing)


def _can_stack(catalog: Catalog, identity: Identity, split: Split, config: TrainConfig) -> bool:
    """Whether the conditions of `TrainingContext.stacked` hold, and there are enough titles to ask for."""
    if config.regime != "frozen" or config.hard_negatives:
        return False
    if config.queries is not None or "query" in catalog.table.columns:
        return False
    titles = identity.title[np.union1d(split.train, split.validation)]
    return len(np.unique(titles[titles >= 0])) >= _FEWEST_TITLES and not _titles_repeat(titles)


def _refits(config: TrainConfig, stacked: bool) -> bool:
    """Whether only heads train, and the settings do not rule a refit out."""
    plans_blocks = config.effort in ("standard", "best") and not stacked
    return config.refit and config.regime == "frozen" and not plans_blocks


def _titles_repeat(titles: Codes) -> bool:
    """Whether titles (rows,) repeat; −1 is no title."""
    titles = titles[titles >= 0]
    return len(titles) > 0 and len(titles) >= _TITLES_REPEAT * len(np.unique(titles))


def _say_truncated(catalog: Catalog, model: Model, texts: RowTexts) -> None:
    shown = [texts.texts[index] for index in np.unique(texts.description[texts.description >= 0])]
    cut = model.encoder("text").count_truncated(shown)
    if cut:
        catalog.report.count("text-cut-at-encoder-length", count=cut)
        say(f"{cut:,} descriptions are longer than the text encoder reads and are truncated")


def _say_foreign(model: Model, texts: RowTexts) -> None:
    if warning := language_warning(model.encoder("text"), texts.texts):
        say(f"Warning: {warning}")

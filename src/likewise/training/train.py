"""From a catalogue to a run folder: split, features, rivals, training, report."""

import dataclasses
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import torch

from likewise.catalog.catalog import Catalog
from likewise.config import TrainConfig
from likewise.errors import UserError
from likewise.evaluation.model_card import write_model_card
from likewise.evaluation.report import write_report
from likewise.evaluation.results import Comparison, DataNote, EncoderNote, Epoch, RunMetrics
from likewise.evaluation.table import comparison_table
from likewise.model.checkpoint import save_picture_map
from likewise.model.model import MODALITIES, Model
from likewise.progress import console, say
from likewise.training import resume
from likewise.training.features import cache_features
from likewise.training.identity import Identity
from likewise.training.loop import fit
from likewise.training.objective import Objective
from likewise.training.plan import TrainingSet
from likewise.training.questions import Questions, Scores, network_towers, validation_scores
from likewise.training.regimes import cut_encoders
from likewise.training.rivals import Contest, fit_picture_map
from likewise.training.split import Split, split_rows
from likewise.training.state import TrainingState
from likewise.training.tensorboard import EpochLog
from likewise.training.views import RowTexts

_TITLES_REPEAT = 4.0  # training rows per distinct title, from which a catalogue counts as many pictures of few things


@dataclass(frozen=True)
class Run:
    """A finished training: its folder, and what `metrics.json` in it says."""

    path: Path
    metrics: RunMetrics


def train(catalog: Catalog, output: Path | str, config: TrainConfig | None = None, *, restart: bool = False) -> Run:
    """Train a model on a catalogue and write a run folder.

    The same call again goes on where a killed one stopped, bit for bit; a finished run is returned as it is.

    Args:
        catalog: the items.
        output: the run folder: config.yaml, model.safetensors, metrics.json, report.html, README.md.
        config: all settings; `config.data` is taken from the catalogue.
        restart: begin afresh, whatever training lies there.

    Raises:
        UserError: too little to train on, or the folder holds a training with other settings or data.
    """
    run = Path(output)
    config = (config or TrainConfig()).model_copy(update={"data": catalog.settings})
    if restart:
        resume.clear(run)
    environment = resume.begin(run, config, catalog)
    if resume.is_finished(run):
        say(f"{run} is trained already (--restart begins afresh)")
        return Run(run, RunMetrics.read(run))
    clock = _Stages()
    with _threads(environment.threads):
        with clock.stage("pictures"):
            identity = Identity.of(catalog, config.identity)
        split = split_rows(
            catalog, identity, column=config.split, validation=config.validation, test=config.test, seed=config.seed
        )
        say(
            f"Training on {len(split.train):,} items, choosing the checkpoint on {len(split.validation):,} and "
            f"reporting on {len(split.test):,} others ({split.note})"
        )
        model = Model.create(config.model, config.device, environment.precision, config.seed, catalog.cache)
        dataclasses.replace(environment, precision=model.precision).write(run)
        return _train(catalog, run, config, model, identity, split, clock)


def _train(
    catalog: Catalog, run: Path, config: TrainConfig, model: Model, identity: Identity, split: Split, clock: "_Stages"
) -> Run:
    config = config.filled_in(titles_repeat=_rows_per_title(identity, split) >= _TITLES_REPEAT)
    network = model.network
    texts = RowTexts.of(catalog, network.fields, config.seed, split.train, config.queries)
    _say_truncated(catalog, model, texts)
    with clock.stage("encoding"):
        cached = cache_features(model, catalog, texts.texts)
    pictured = cached.slots >= 0
    with clock.stage("rivals"):
        picture_map = fit_picture_map(network, cached, texts, split.train, pictured, config.seed)
        contest = Contest(Questions.about(split.test, texts, identity, config.seed), texts, pictured, config.seed)
        contest.enter("untrained", network, cached)
        contest.enter_bm25(network, cached)
        if picture_map is not None:
            save_picture_map(run, picture_map)
            with network.with_picture_map(*picture_map):
                contest.enter("ridge", network, cached)
    if picture_map is not None and not network.aligned:
        network.set_picture_map(*picture_map)
    with clock.stage("encoding"):
        features = cut_encoders(model, catalog, texts, cached, config)

    questions = Questions.about(split.validation, texts, identity, config.seed)

    def validate() -> Scores:
        towers = network_towers(network, features, questions, texts, pictured)
        return validation_scores(network, towers, questions, config.seed)

    objective = Objective(network, features, TrainingSet.of(split.train, texts, identity, pictured), config)
    objective.to(model.device)
    if not objective.has_pairs():
        raise UserError(
            "there is nothing to learn from: no row has two fields; add descriptions, images or a query column"
        )
    with clock.stage("training"), EpochLog(run, config.tensorboard) as log:
        state = fit(objective, config, run, validate, log)
    model.save(run)
    with clock.stage("evaluating"):
        comparison = contest.against(network, features)
    metrics = _metrics(catalog, run, config, model, split, contest.questions, state, comparison, clock.seconds)
    write_report(run, metrics)
    write_model_card(run, metrics)
    metrics.write(run)
    resume.finish(run)
    _announce(comparison)
    return Run(run, metrics)


def _rows_per_title(identity: Identity, split: Split) -> float:
    titles = identity.title[split.train]
    return len(titles) / max(len(np.unique(titles)), 1)


def _metrics(
    catalog: Catalog,
    run: Path,
    config: TrainConfig,
    model: Model,
    split: Split,
    questions: Questions,
    state: TrainingState,
    comparison: Comparison | None,
    seconds: dict[str, float],
) -> RunMetrics:
    return RunMetrics(
        name=run.name,
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
        catalogue=catalog.report.as_dict(),
        settings=config.model_dump(mode="json"),
        encoders=[EncoderNote(name=model.encoder(name).name, modality=name) for name in MODALITIES],
        software=resume.software(),
        seconds={stage: round(spent, 2) for stage, spent in seconds.items()},
        notes=[f"{encoder} encoder in {precision}" for encoder, precision in model.precision.items()],
    )


def _announce(comparison: Comparison | None) -> None:
    if comparison is None:
        say("No verdict: the held-out rows leave nothing to ask (no titles, or nothing beside them)")
    else:
        console.print(comparison_table(comparison))


def _say_truncated(catalog: Catalog, model: Model, texts: RowTexts) -> None:
    shown = [texts.texts[index] for index in np.unique(texts.description[texts.description >= 0])]
    cut = model.encoder("text").count_truncated(shown)
    if cut:
        catalog.report.count("text-cut-at-encoder-length", count=cut)
        say(f"{cut:,} descriptions are longer than the text encoder reads; their ends are left out")


@contextmanager
def _threads(count: int) -> Iterator[None]:
    """Results depend on the number of threads to the last bit, so a run keeps the one that it began with."""
    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)


class _Stages:
    """Wall time per stage."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        started = time.monotonic()
        try:
            yield
        finally:
            self.seconds[name] = self.seconds.get(name, 0.0) + time.monotonic() - started

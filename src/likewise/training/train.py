"""From a catalogue to a run folder: rivals, stages of training, report; it reads from top to bottom."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from likewise.catalog.catalog import Catalog
from likewise.config import TrainConfig
from likewise.evaluation.report.model_card import write_model_card
from likewise.evaluation.report.report import write_report
from likewise.evaluation.report.table import comparison_table
from likewise.evaluation.results import RunMetrics
from likewise.model.checkpoint import save_picture_map
from likewise.model.heads import PictureMap
from likewise.model.kernel import KernelMap
from likewise.model.run_folder import check_run, seal_run
from likewise.progress import console, quiet, say
from likewise.training import resume
from likewise.training.batches import Rows
from likewise.training.clock import Clock
from likewise.training.context import Ground, prepare
from likewise.training.distributed import Processes
from likewise.training.features import Features
from likewise.training.findings import exhibits_of, suspects_of, threshold_of
from likewise.training.forms import forms_of
from likewise.training.freezing import cut_encoders, merge_maps, saved_model
from likewise.training.hard_negatives import mine
from likewise.training.initialization import begin, linear_map, titled_descriptions, titled_pictures
from likewise.training.interpolation import interpolate, weights_of
from likewise.training.loop import fit, restore
from likewise.training.objective import Objective
from likewise.training.questions import Questions, ScoresBySubset, network_towers, validation_scores
from likewise.training.recipe import Stage, planned_stages
from likewise.training.record import metrics_of
from likewise.training.rivals import Contest
from likewise.training.tensorboard import EpochLog
from likewise.training.training_state import TrainingState


@dataclass(frozen=True)
class Run:
    """A finished training: its folder, and the contents of its `metrics.json`.

    Example:
        >>> import likewise as lw
        >>> run = lw.train(lw.Catalog.read("products.csv"), "runs/products", lw.TrainConfig.read("quick.yaml"))
        >>> run.metrics.comparison.verdict in ("better", "no difference", "worse")
        True
        >>> (run.path / "report.html").exists()
        True
    """

    path: Path
    metrics: RunMetrics


def train(
    catalog: Catalog,
    output: Path | str,
    config: TrainConfig | None = None,
    *,
    restart: bool = False,
    clock: Clock | None = None,
) -> Run:
    """Train a model on a catalogue and write a run folder.

    The same call again goes on where a killed one stopped, bit for bit; a finished run is returned as it is. Processes
    that `torchrun` has started train one model together.

    Args:
        catalog: the items.
        output: the run folder: config.yaml, model.safetensors, metrics.json, report.html, README.md.
        config: all settings; `config.data` is taken from the catalogue.
        restart: begin afresh, whatever training lies there.
        clock: running since the budget began; None: it begins now.

    Raises:
        UserError: too little to train on, or the folder holds a training with other settings or data.

    Example:
        >>> import likewise as lw
        >>> catalog = lw.Catalog.read("products.csv")
        >>> small = lw.ModelSettings(text_encoder="scratch-text", image_encoder="scratch-image", dim=32)
        >>> run = lw.train(catalog, "runs/example", lw.TrainConfig(model=small, epochs=1, threads=1))
        >>> lw.Model.load(run.path).dim
        32
    """
    run = Path(output)
    config = (config or TrainConfig()).model_copy(update={"data": catalog.settings})
    clock, processes = clock or Clock(), Processes.joined(config.device)
    with nullcontext() if processes.leads else quiet(), resume.lock(run) if processes.leads else nullcontext():
        if restart and processes.leads:
            resume.clear(run)
        with processes.one_after_the_other():
            environment = resume.begin(run, config, catalog)
        if resume.is_finished(run):
            check_run(run)
            say(f"{run} is trained already (--restart begins afresh)")
            return Run(run, RunMetrics.read(run))
        with _threads(environment.threads):
            return _train(prepare(catalog, run, config, environment, processes, clock), clock)


def _train(ground: Ground, clock: Clock) -> Run:
    run, model, processes = ground.run, ground.model, ground.processes
    questions = Questions.about(ground.split.validation, ground.texts, ground.identity, ground.config.seed)
    with clock.stage("rivals"):
        contest = _contest(ground, questions)
    before = weights_of(model.network)
    state = TrainingState.read(run, model.device) or TrainingState()
    features: Features = ground.cached
    with EpochLog(run, ground.config.tensorboard and processes.leads) as log:
        for number, stage in enumerate(planned_stages(ground, clock)):
            with clock.stage("encoding"), processes.one_after_the_other():
                features = cut_encoders(model, ground.catalog, ground.texts, ground.cached, stage.config)
            if number < state.stage:
                restore(model.network, state)
                continue
            with clock.stage("training"):
                _fit(ground, stage, features, questions, state, log)
    merge_maps(model)
    with clock.stage("evaluating"):
        validate = _validation(ground, features, questions)
        frontier = interpolate(model.network, before, lambda: processes.from_leader(validate()))
        if processes.leads:
            model.save(run)
            comparison = contest.against(model.network, features)
            threshold = threshold_of(ground, features, questions)
            exhibits = exhibits_of(ground, features, contest.questions, suspects_of(ground, features))
    if processes.leads:
        metrics = metrics_of(ground, contest.questions, state, comparison, frontier, threshold, clock.seconds)
        write_report(run, metrics, exhibits)
        write_model_card(run, metrics)
        metrics.write(run)
        seal_run(run)
        resume.finish(run)
        _announce(metrics)
    processes.wait()
    return Run(run, RunMetrics.read(run))


def _contest(ground: Ground, questions: Questions) -> Contest:
    """Measure the rivals, and let the towers begin where closed forms end."""
    network, cached, texts, seed = ground.model.network, ground.cached, ground.texts, ground.config.seed
    pictured, rows = ground.data.pictured, ground.split.train
    contest = Contest(Questions.about(ground.split.test, texts, ground.identity, seed), texts, pictured, seed)
    taken: dict[str, PictureMap | KernelMap] = {}
    if ground.processes.leads:
        network.eval()
        contest.enter("untrained", network, cached)
        contest.enter_bm25(network, cached)
        pictures = titled_pictures(network, cached, texts, rows, pictured, seed)
        picture_map = None if pictures is None else linear_map(pictures)
        if picture_map is not None:
            line = picture_map.weight.detach(), picture_map.bias.detach()
            save_picture_map(ground.run, line)
            with network.with_picture_map(*line):
                contest.enter("ridge", network, cached)
        if not network.aligned:
            pairs_of = {}
            if not ground.titles_repeat and ground.config.regime == "frozen":
                pairs_of = {"image": pictures, "description": titled_descriptions(network, cached, texts, rows, seed)}
            validate = _validation(ground, cached, questions)
            taken = begin(network, picture_map, pairs_of, lambda: validate().mean, seed)
    for field, start in ground.processes.from_leader(taken).items():
        network.begin_at(field, start)
    return contest


def _fit(
    ground: Ground,
    stage: Stage,
    features: Features,
    questions: Questions,
    state: TrainingState,
    log: Callable[[dict[str, object]], None],
) -> None:
    objective = Objective(ground.model.network, features, ground.data, stage.config, ground.processes)
    objective.to(ground.model.device)
    validate = _validation(ground, features, questions)
    fit(
        objective,
        stage,
        ground.run,
        state,
        lambda: ground.processes.from_leader(validate()).flat,
        log=log,
        mine=_mining(ground, features, stage) if stage.config.hard_negatives else None,
        keep=lambda: saved_model(ground.model).save(ground.run),
    )


def _mining(ground: Ground, features: Features, stage: Stage) -> Callable[[], Rows]:
    """Finds the hard negatives of the network as it is when it is called."""

    def neighbours() -> Rows:
        rng = np.random.default_rng([stage.config.seed, 9])
        mined = None
        if ground.processes.leads:
            mined = mine(ground.model.network, features, ground.data, stage.config.hard_negatives, rng).neighbours
        return np.asarray(ground.processes.from_leader(mined))

    return neighbours


def _validation(ground: Ground, features: Features, questions: Questions) -> Callable[[], ScoresBySubset]:
    """Scores of the network as it is when it is called."""
    network, texts, pictured, config = ground.model.network, ground.texts, ground.data.pictured, ground.config
    forms = forms_of(config)

    def validate() -> ScoresBySubset:
        if not ground.processes.leads:
            return ScoresBySubset({})
        towers = network_towers(network, features, questions, texts, pictured)
        return validation_scores(network, towers, questions, config.seed, forms)

    return validate


def _announce(metrics: RunMetrics) -> None:
    if metrics.comparison is None:
        say("No verdict: the held-out rows leave nothing to ask (no titles, or nothing beside them)")
    else:
        console.print(comparison_table(metrics.comparison))


@contextmanager
def _threads(count: int) -> Iterator[None]:
    """Results depend on the number of threads to the last bit, so a run keeps the one that it began with."""
    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)

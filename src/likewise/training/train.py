"""Training: from a catalogue to a run folder with a model, its baselines and a report."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import torch
from torch import Tensor, nn

from likewise.catalog.catalog import Catalog
from likewise.config import TrainConfig
from likewise.evaluation.baselines import Baselines, measure_baselines
from likewise.evaluation.error_analysis import analyse_errors
from likewise.evaluation.evaluate import evaluate
from likewise.evaluation.report.model_card import write_model_card
from likewise.evaluation.report.report import write_report
from likewise.evaluation.report.space_map import draw_map
from likewise.evaluation.results import START, Frontier, RunMetrics
from likewise.model.closed_forms import BaseMaps
from likewise.model.run_folder import check_run, seal_run
from likewise.progress import quiet, say
from likewise.training import resume
from likewise.training.calibration import keep_thresholds, score_held_out
from likewise.training.closed_form_heads import ClosedFormHeads, choose_closed_form_heads
from likewise.training.closed_form_start import (
    choose_start,
    collect_on_leader,
    complete_closed_forms,
    fit_for_groups,
    fit_left_out_maps,
    fit_start,
    save_fits,
    set_start,
)
from likewise.training.context import Clock, TrainingContext, prepare_training
from likewise.training.distributed import Processes
from likewise.training.features import Features
from likewise.training.freezing import build_saved_model, cut_encoders, keep_columns_at_start, merge_lora_maps
from likewise.training.hard_negatives import Suspect, build_mining, draw_suspects, find_suspects
from likewise.training.initialization import ClosedForms
from likewise.training.interpolation import copy_weights, interpolate
from likewise.training.learned_items import write_learned_items
from likewise.training.left_out_maps import LeftOutMaps
from likewise.training.loop import fit, restore_weights
from likewise.training.moved_features import TRAINED, stack_moved_features
from likewise.training.objective import Objective
from likewise.training.optimizer import build_optimizer
from likewise.training.planner import Stage, plan_stages
from likewise.training.recording_centres import set_recording_centres
from likewise.training.refit import Choices, refit_heads, refit_stacked
from likewise.training.run_metrics import Outcome, build_run_metrics, print_verdict
from likewise.training.stacking import cross_validate
from likewise.training.tensorboard import EpochLog
from likewise.training.text_heads import build_left_out_towers, train_text_heads
from likewise.training.training_state import TrainingState
from likewise.training.validation import HeldOutTask, build_held_out_task, embed_held_out, score_in_all_processes


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
    started: float | None = None,
) -> Run:
    """Train a model on a catalogue and write a run folder.

    The same call again goes on where a killed one stopped, bit for bit; a finished run is returned as it is. Processes
    that `torchrun` has started train one model together.

    Args:
        catalog: the items.
        output: the run folder: config.yaml, model.safetensors, metrics.json, report.html, README.md.
        config: all settings; `config.data` is taken from the catalogue.
        restart: start over even if the folder holds a training.
        started: the `time.monotonic()` at which the budget began; None: now.

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
    clock, processes = Clock(started), Processes.join(config.device)
    with nullcontext() if processes.leads else quiet(), resume.lock(run) if processes.leads else nullcontext():
        if restart and processes.leads:
            resume.clear(run)
        with processes.one_after_the_other():
            environment = resume.open_run(run, config, catalog)
        if resume.is_finished(run):
            check_run(run)
            say(f"{run} is trained already (--restart starts over)")
            return Run(run, RunMetrics.read(run))
        with _threads(environment.threads):
            return _train(prepare_training(catalog, run, config, environment, processes, clock), clock)


@dataclass(frozen=True)
class _Trained:
    """What a way of training returns, besides the network.

    Attributes:
        features: of the encoders as they are now.
        suspects: training rows that may be the same thing, as the network with trained heads sees them; kernel ridge
            knows each of its rows by heart, and suspects none. Of the leading process.
        refit: fits the model again on all rows, saves it and returns how many rows these are, or None where it has
            seen them all; None: it stays as it is.
    """

    features: Features
    baselines: Baselines
    outcome: Outcome
    suspects: list[Suspect]
    refit: Callable[[], int | None] | None


def _train(context: TrainingContext, clock: Clock) -> Run:
    run, model, processes = context.run, context.model, context.processes
    test = build_held_out_task(context, context.split.test)
    state = TrainingState.read(run, model.device) or TrainingState()
    with EpochLog(run, context.config.tensorboard and processes.leads) as log:
        train_model = _train_stacked if context.stacked else _train_staged
        trained = train_model(context, clock, test, state, log)
    with clock.stage("evaluating"):
        if processes.leads:
            set_recording_centres(context, trained.features, context.data)
            model.save(run)
            embeddings = embed_held_out(context, trained.features, test)
            evaluation = evaluate(embeddings, test.subsets, trained.baselines, seed=context.config.seed)
            errors, space = None, None
            if evaluation is not None:
                errors = analyse_errors(evaluation, draw_suspects(context.catalog, trained.suspects))
                space = draw_map(embeddings.fuse_by_modality(evaluation.subset), fine=False)
    refit_items = None
    if trained.refit is not None:
        with clock.stage("refitting"):
            refit_items = trained.refit()
            if refit_items is not None and processes.leads:
                write_learned_items(run, context.catalog.select(context.split.unreserved))
    if processes.leads:
        comparison = None if evaluation is None else evaluation.comparison
        metrics = build_run_metrics(context, test.task, state, comparison, trained.outcome, refit_items, clock.seconds)
        write_report(run, metrics, errors, space)
        write_model_card(run, metrics)
        metrics.write(run)
        seal_run(run)
        resume.finish(run)
        print_verdict(metrics)
    processes.wait()
    return Run(run, RunMetrics.read(run))


def _train_stacked(
    context: TrainingContext,
    clock: Clock,
    test: HeldOutTask,
    state: TrainingState,
    log: Callable[[dict[str, object]], None],
) -> _Trained:
    """Choose shares by cross-validation, then train text heads above the closed-form start."""
    network, processes, [stage] = context.model.network, context.processes, plan_stages(context, clock)
    untrained = network.copy_heads()
    with clock.stage("baselines"):
        regressions = collect_on_leader(context, context.data)
        fits = fit_start(context, regressions)
        closed_forms = complete_closed_forms(context, regressions, fits)
        baselines = _measure_baselines(context, test, closed_forms)
    with clock.stage("cross-validating"):
        set_start(context, fits)
        if processes.leads and not state.stage:
            context.model.save(context.run)  # whoever stops here can search with the start
        stacking = cross_validate(context, untrained, stage)
        start = stacking.weigh_start(fits)
        set_start(context, start)
    save_fits(context, closed_forms, start)
    _measure_start(context, test, baselines)
    with clock.stage("training"):
        towers = build_left_out_towers(context, context.data, fits)
        shortened = stacking.shorten(stage)
        train_text_heads(context, context.data, towers, shortened, state, context.run, log, stacking.seeds)
    stacking.stack(context, fits)
    network.eval()
    refit = partial(refit_stacked, context, stage, stacking, untrained) if context.refits else None
    outcome = Outcome(stacking.threshold, state.best_epoch, cross_validation=stacking.validation)
    suspects = find_suspects(context, context.cached) if processes.leads else []
    return _Trained(context.cached, baselines, outcome, suspects, refit)


def _train_staged(
    context: TrainingContext,
    clock: Clock,
    test: HeldOutTask,
    state: TrainingState,
    log: Callable[[dict[str, object]], None],
) -> _Trained:
    """Train stage after stage from a closed form; validation rows choose checkpoints and what is kept in the end."""
    model, processes, untrained = context.model, context.processes, context.model.network.copy_heads()
    validation = build_held_out_task(context, context.split.validation)
    with clock.stage("baselines"):
        regressions = collect_on_leader(context, context.data)
        closed_forms = fit_for_groups(context, regressions)
        baselines = _measure_baselines(context, test, closed_forms)
        start = choose_start(context, closed_forms, validation, untrained)
        keep_columns_at_start(model.network, start, context.config)
        left_out = fit_left_out_maps(context, regressions.get("image"))
        _measure_start(context, test, baselines)
    before = copy_weights(model.network)
    features: Features = context.cached
    stages = plan_stages(context, clock)
    for number, stage in enumerate(stages):
        with clock.stage("encoding"), processes.one_after_the_other():
            features = cut_encoders(model, context.catalog, context.texts, context.cached, stage.config)
        if number < state.stage:
            restore_weights(model.network, state)
            continue
        with clock.stage("training"):
            _fit_stage(context, stage, features, validation, left_out, state, log)
    merge_lora_maps(model)
    with clock.stage("evaluating"):
        suspects = find_suspects(context, features) if processes.leads else []
        kernels = closed_forms.get("kernel ridge", {})
        kept = _choose_what_is_kept(context, features, before, untrained, kernels, validation)
        threshold = None
        if processes.leads:
            scores = score_held_out(context, kept.features, validation.rows, context.data.rows)
            threshold = keep_thresholds(context, scores)
    refit = None
    if context.refits:
        [stage], alpha = stages, 1.0 if kept.frontier is None else kept.frontier.chosen
        choices = Choices(start, state.best_epoch, alpha, kept.closed.fields)
        if kept.closed.whole:
            choices = Choices(dict.fromkeys(kept.closed.fields, "kernel ridge"), 0, 0.0)
        refit = partial(refit_heads, context, stage, choices, untrained)
    best_epoch = state.best_epoch if kept.trained else None
    outcome = Outcome(threshold, best_epoch, kept.frontier, choice=kept.choice)
    return _Trained(kept.features, baselines, outcome, suspects, refit)


@dataclass(frozen=True)
class _Kept:
    """What validation rows leave of a training.

    Attributes:
        features: of the encoders as they are now.
        frontier: of the interpolation with the start; None where nothing trained is kept, or no weight has moved.
        trained: whether any of what trained is kept.
        closed: the heads that are closed forms now.
        choice: one sentence on what took the place of what trained.
    """

    features: Features
    frontier: Frontier | None
    trained: bool
    closed: ClosedFormHeads
    choice: str | None


def _choose_what_is_kept(
    context: TrainingContext,
    features: Features,
    before: Mapping[str, Tensor],
    untrained: nn.ModuleDict,
    kernels: BaseMaps,
    validation: HeldOutTask,
) -> _Kept:
    """Interpolate between start and end, and put closed forms in the place of what finds less on validation rows.

    Args:
        features: of the encoders as they are now.
        before: `copy_weights` the network that training began with.
        untrained: heads (`Network.copy_heads`).
        kernels: kernel ridge above the untrained encoders, by field; of the leading process.
    """
    network, trained, choice = context.model.network, True, None
    frontier = interpolate(network, before, lambda: score_in_all_processes(context, features, validation))
    moved = features is not context.cached and not context.titles_repeat and not network.aligned
    last, closed = features, ClosedFormHeads()
    if moved and validation.subsets:
        last, chosen, choice = stack_moved_features(context, features, before, untrained, kernels, validation)
        trained = chosen == TRAINED
    if features is context.cached and not network.aligned:
        closed = choose_closed_form_heads(context, untrained, kernels, validation)
        choice, trained = closed.sentence, trained and not closed.whole
    return _Kept(last, frontier if trained else None, trained, closed, choice)


def _measure_start(context: TrainingContext, test: HeldOutTask, baselines: Baselines) -> None:
    """Add the network as training begins to the baselines; the leader alone."""
    if context.processes.leads:
        embedded = embed_held_out(context, context.cached, test)
        baselines[START] = embedded.evaluate(START, test.subsets)


def _measure_baselines(context: TrainingContext, test: HeldOutTask, closed_forms: ClosedForms) -> Baselines:
    """Measure closed forms and the other baselines with the untrained network; the leader alone."""
    if not context.processes.leads:
        return {}
    network = context.model.network.eval()
    embed = partial(embed_held_out, context, context.cached, test)
    return measure_baselines(test.subsets, network, embed, test.task.fields, closed_forms)


def _fit_stage(
    context: TrainingContext,
    stage: Stage,
    features: Features,
    validation: HeldOutTask,
    left_out: LeftOutMaps | None,
    state: TrainingState,
    log: Callable[[dict[str, object]], None],
) -> None:
    objective = Objective(
        context.model.network, features, context.data, stage.config, context.processes, left_out_maps=left_out
    )
    objective.to(context.model.device)
    optimizer = build_optimizer(objective, context.model.network, stage.config)
    fit(
        objective,
        optimizer,
        stage,
        context.run,
        state,
        lambda: score_in_all_processes(context, features, validation).flat,
        log=log,
        mine=build_mining(context.processes, context.model.network, features, context.data, stage.config),
        keep=lambda: build_saved_model(context.model).save(context.run),
    )


@contextmanager
def _threads(count: int) -> Iterator[None]:
    """Results depend on the number of threads to the last bit, so a run keeps the one that it began with."""
    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)

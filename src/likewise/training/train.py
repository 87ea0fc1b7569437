"""Training: from a catalogue to a run folder with a model, its baselines and a report."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from pathlib import Path

import torch
from torch import nn

from likewise.catalog.catalog import Catalog
from likewise.config import TrainConfig
from likewise.evaluation.baselines import Baselines, measure_baselines
from likewise.evaluation.error_analysis import analyse_errors
from likewise.evaluation.evaluate import evaluate
from likewise.evaluation.ranks import rank_candidates
from likewise.evaluation.report.model_card import write_model_card
from likewise.evaluation.report.report import write_report
from likewise.evaluation.report.space_map import draw_map
from likewise.evaluation.report.table import comparison_table
from likewise.evaluation.results import (
    START,
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
from likewise.evaluation.threshold import calibrate_threshold
from likewise.model.closed_forms import save_closed_forms
from likewise.model.heads import KernelMap, PictureMap
from likewise.model.matryoshka import build_variants
from likewise.model.run_folder import check_run, seal_run
from likewise.progress import console, quiet, say
from likewise.training import resume
from likewise.training.batches import Rows
from likewise.training.calibration import keep_thresholds, score_held_out
from likewise.training.closed_form_heads import ClosedFormHeads, choose_closed_form_heads
from likewise.training.context import Clock, TrainingContext, prepare_training
from likewise.training.distributed import Processes
from likewise.training.features import Features
from likewise.training.field_weights import weigh_on_validation_rows
from likewise.training.freezing import build_saved_model, cut_encoders, merge_lora_maps
from likewise.training.hard_negatives import build_mining, draw_suspects, find_suspects
from likewise.training.initialization import (
    ClosedForms,
    RegressionData,
    Regressions,
    collect_regressions,
    fit_closed_forms,
    initialise_heads,
)
from likewise.training.interpolation import copy_weights, interpolate
from likewise.training.learned_items import write_learned_items
from likewise.training.left_out_maps import LeftOutMaps
from likewise.training.loop import fit, restore_weights
from likewise.training.moved_features import TRAINED, stack_moved_features
from likewise.training.objective import Objective
from likewise.training.optimizer import build_optimizer
from likewise.training.planner import Stage, plan_stages
from likewise.training.recording_centres import set_recording_centres
from likewise.training.refit import Choices, keep_closed_forms, name_start, refit_heads, refit_stacked
from likewise.training.stacking import (
    build_left_out_towers,
    collect_start,
    cross_validate,
    fit_start,
    name_closed_forms,
    set_start,
    train_text_heads,
)
from likewise.training.tensorboard import EpochLog
from likewise.training.training_state import TrainingState
from likewise.training.validation import (
    HeldOutTask,
    ValidationScores,
    build_held_out_task,
    embed_held_out,
    score_validation,
)


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
    """What one way of training left, besides the network.

    Attributes:
        features: of the encoders as they are now.
        threshold: the score below which nothing fits; None where there was no query.
        best_epoch: whose checkpoint is kept; None where nothing that an epoch learned is.
        frontier: of the interpolation with the start; None where it is not kept either.
        validation: of the shares of a stacked training.
        choice: one sentence on what became of encoders that trained.
        refit: fits the model again on all rows, saves it and returns how many rows these are, or None where it has
            seen them all; None: it stays as it is.
    """

    features: Features
    baselines: Baselines
    threshold: Threshold | None
    best_epoch: int | None
    frontier: Frontier | None = None
    validation: CrossValidation | None = None
    refit: Callable[[], int | None] | None = None
    choice: str | None = None


def _train(context: TrainingContext, clock: Clock) -> Run:
    run, model, processes = context.run, context.model, context.processes
    test = _build_task(context, context.split.test)
    state = TrainingState.read(run, model.device) or TrainingState()
    with EpochLog(run, context.config.tensorboard and processes.leads) as log:
        train_model = _train_stacked if context.stacked else _train_staged
        trained = train_model(context, clock, test, state, log)
    with clock.stage("evaluating"):
        if processes.leads:
            set_recording_centres(context, trained.features, context.data)
            model.save(run)
            embeddings = embed_held_out(model.network, trained.features, context.data, test)
            evaluation = evaluate(embeddings, test.subsets, trained.baselines, seed=context.config.seed)
            suspects = find_suspects(context, trained.features)
            errors, space = None, None
            if evaluation is not None:
                errors = analyse_errors(evaluation, draw_suspects(context.catalog, suspects))
                space = draw_map(embeddings.fuse_by_modality(evaluation.subset), fine=False)
    refit_items = None
    if trained.refit is not None:
        with clock.stage("refitting"):
            refit_items = trained.refit()
            if refit_items is not None and processes.leads:
                write_learned_items(run, context.catalog.select(context.split.unreserved))
    if processes.leads:
        comparison = None if evaluation is None else evaluation.comparison
        metrics = _build_metrics(context, test.task, state, comparison, trained, refit_items, clock.seconds)
        write_report(run, metrics, errors, space)
        write_model_card(run, metrics)
        metrics.write(run)
        seal_run(run)
        resume.finish(run)
        _announce(metrics)
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
        regressions = collect_start(context, context.data)
        fits = fit_start(context, regressions)
        closed_forms = name_closed_forms(context, regressions, fits)
        baselines = _measure_baselines(context, test, closed_forms)
    with clock.stage("cross-validating"):
        set_start(context, fits)
        if processes.leads and not state.stage:
            context.model.save(context.run)  # whoever stops here can search with the start
        stacking = cross_validate(context, untrained, stage)
        start = stacking.weigh_start(fits)
        set_start(context, start)
    keep_closed_forms(context, closed_forms, start)
    _measure_start(context, test, baselines)
    with clock.stage("training"):
        towers = build_left_out_towers(context, context.data, fits)
        shortened = stacking.shorten(stage)
        train_text_heads(context, context.data, towers, shortened, state, context.run, log, stacking.seeds)
    stacking.stack(context, fits)
    network.eval()
    refit = partial(refit_stacked, context, stage, stacking, untrained) if context.refits else None
    return _Trained(
        context.cached, baselines, stacking.threshold, state.best_epoch, validation=stacking.validation, refit=refit
    )


def _train_staged(
    context: TrainingContext,
    clock: Clock,
    test: HeldOutTask,
    state: TrainingState,
    log: Callable[[dict[str, object]], None],
) -> _Trained:
    """Train stage after stage from a closed form; validation rows choose checkpoints and the interpolation."""
    model, processes, untrained = context.model, context.processes, context.model.network.copy_heads()
    validation = _build_task(context, context.split.validation)
    with clock.stage("baselines"):
        closed_forms: ClosedForms = {}
        regressions: Regressions = {}
        if processes.leads:
            network = model.network.eval()
            regressions = collect_regressions(network, context.cached, context.data, context.config.seed)
            closed_forms = fit_closed_forms(regressions, context.config.seed, groups=context.groups)
        baselines = _measure_baselines(context, test, closed_forms)
        start = _initialise(context, closed_forms, validation, untrained)
        left_out = _leave_out_folds(context, regressions.get("image"))
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
    choice: str | None = None
    best_epoch: int | None = state.best_epoch
    with clock.stage("evaluating"):
        validate = _build_validation(context, features, validation)
        frontier = interpolate(model.network, before, lambda: processes.from_leader(validate()))
        moved = features is not context.cached and not context.titles_repeat and not model.network.aligned
        if moved and validation.subsets:
            kernels = closed_forms.get("kernel ridge", {})
            features, chosen, choice = stack_moved_features(context, features, before, untrained, kernels, validation)
            if chosen != TRAINED:
                best_epoch = frontier = None
        closed = ClosedFormHeads()
        if context.config.regime == "frozen" and not model.network.aligned:
            kernels = closed_forms.get("kernel ridge", {})
            closed = choose_closed_form_heads(context, untrained, kernels, validation)
            choice = closed.sentence
            if closed.whole:
                best_epoch = frontier = None
        threshold = _calibrate_threshold(context, features, validation) if processes.leads else None
        if processes.leads:
            keep_thresholds(context, score_held_out(context, features, validation.rows))
    refit = None
    if context.refits:
        [stage], alpha = stages, 1.0 if frontier is None else frontier.chosen
        choices = Choices(start, state.best_epoch, alpha, closed.fields)
        if closed.whole:
            choices = Choices(dict.fromkeys(closed.fields, "kernel ridge"), 0, 0.0)
        refit = partial(refit_heads, context, stage, choices, untrained)
    return _Trained(features, baselines, threshold, best_epoch, frontier, refit=refit, choice=choice)


def _build_task(context: TrainingContext, rows: Rows) -> HeldOutTask:
    return build_held_out_task(context.catalog, rows, context.data, context.model.fields, context.config.seed)


def _measure_start(context: TrainingContext, test: HeldOutTask, baselines: Baselines) -> None:
    """Add the network as training begins to the baselines; the leader alone."""
    if context.processes.leads:
        embedded = embed_held_out(context.model.network, context.cached, context.data, test)
        baselines[START] = embedded.evaluate(START, test.subsets)


def _measure_baselines(context: TrainingContext, test: HeldOutTask, closed_forms: ClosedForms) -> Baselines:
    """Measure closed forms and the other baselines with the untrained network; the leader alone."""
    network, cached, data = context.model.network, context.cached, context.data
    if not context.processes.leads:
        return {}
    network.eval()
    embed = partial(embed_held_out, network, cached, data, test)
    return measure_baselines(test.subsets, network, embed, test.task.fields, closed_forms)


def _initialise(
    context: TrainingContext, closed_forms: ClosedForms, validation: HeldOutTask, untrained: nn.ModuleDict
) -> dict[str, str]:
    """Initialise the heads of the untrained network in closed form, weigh its fields, and keep all that in the run.

    Args:
        untrained: heads (`Network.copy_heads`), whose fusion gets the same weights.

    Returns:
        The name of the closed form that a field starts from, by field.
    """
    network, start = context.model.network, dict[str, PictureMap | KernelMap]()
    if context.processes.leads and not network.aligned:
        kernels = context.config.regime == "frozen" and not context.titles_repeat
        validate = _build_validation(context, context.cached, validation)
        start = initialise_heads(network, closed_forms, (lambda: validate().mean) if kernels else None)
    chosen: dict[str, PictureMap | KernelMap] = context.processes.from_leader(start)
    for field, base in chosen.items():
        network.set_base_map(field, base)
    weigh_on_validation_rows(context, validation, untrained)
    if context.processes.leads:
        save_closed_forms(context.run, {**closed_forms, START: start}, network.fusion.field_logits)
    return name_start(chosen)


def _leave_out_folds(context: TrainingContext, pictures: RegressionData | None) -> LeftOutMaps | None:
    """The linear start of pictures without each fold, for encoders that train; None where rows may see their own.

    Where titles repeat, a row's own title is mostly that of others, too, and training goes far beyond the start.

    Args:
        pictures: what the start was fitted to; of the leading process.
    """
    network, left_out = context.model.network, None
    frozen = context.config.regime == "frozen"
    if context.processes.leads and pictures is not None and not (frozen or context.titles_repeat or network.aligned):
        fitted = network.base_map("image")
        left_out = LeftOutMaps.fit(fitted, pictures, context.folds) if isinstance(fitted, PictureMap) else None
    shared: LeftOutMaps | None = context.processes.from_leader(left_out)
    return None if shared is None else shared.to(context.model.device)


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
    validate = _build_validation(context, features, validation)
    fit(
        objective,
        optimizer,
        stage,
        context.run,
        state,
        lambda: context.processes.from_leader(validate()).flat,
        log=log,
        mine=build_mining(context.processes, context.model.network, features, context.data, stage.config),
        keep=lambda: build_saved_model(context.model).save(context.run),
    )


def _build_validation(
    context: TrainingContext, features: Features, validation: HeldOutTask
) -> Callable[[], ValidationScores]:
    """A function that scores the network as it is when it is called."""
    variants = build_variants(context.config)

    def validate() -> ValidationScores:
        if not context.processes.leads:
            return ValidationScores({})
        embeddings = embed_held_out(context.model.network, features, context.data, validation)
        return score_validation(embeddings, validation.subsets, variants)

    return validate


def _calibrate_threshold(context: TrainingContext, features: Features, validation: HeldOutTask) -> Threshold | None:
    """The score below which nothing fits, chosen on the validation rows; None where there is no query."""
    if not validation.subsets:
        return None
    embeddings = embed_held_out(context.model.network, features, context.data, validation)
    rankings = rank_candidates(*embeddings.score(validation.subsets[0]))
    return calibrate_threshold(rankings.right, rankings.wrong)


def _build_metrics(
    context: TrainingContext,
    task: RetrievalTask,
    state: TrainingState,
    comparison: Comparison | None,
    trained: _Trained,
    refit_items: int | None,
    seconds: dict[str, float],
) -> RunMetrics:
    """The contents of `metrics.json`.

    Args:
        task: that the comparison is of.
        state: at the end of the training.
        comparison: None where there was no query.
        refit_items: rows of the model that was fitted again; None: there is none.
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
        best_epoch=trained.best_epoch,
        frontier=trained.frontier,
        cross_validation=trained.validation,
        refit_items=refit_items,
        threshold=trained.threshold,
        catalogue=catalog.report.as_dict(),
        settings=context.config.model_dump(mode="json"),
        encoders=describe_encoders(model),
        software=resume.list_software(),
        seconds={stage: round(spent, 2) for stage, spent in seconds.items()},
        notes=[f"{encoder} encoder in {precision}" for encoder, precision in model.precision.items()]
        + ([] if trained.choice is None else [trained.choice]),
    )


def _announce(metrics: RunMetrics) -> None:
    if metrics.comparison is None:
        say("No verdict: the held-out rows have no titles, or nothing but titles, so there is nothing to evaluate")
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

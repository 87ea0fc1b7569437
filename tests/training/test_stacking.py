"""Trainings of catalogues whose titles do not repeat: cross-fitted starts, shares from folds, a fit on all rows."""

import dataclasses
import itertools

import numpy as np
import pytest
import torch
from model.shape_catalogue import COLOURS, SHAPES, catalogue_of, draw
from safetensors.torch import load_file
from training.tiny_config import TINY

from likewise.errors import UserError
from likewise.evaluation.evaluate import create_untrained
from likewise.model.closed_forms import load_closed_forms
from likewise.model.model import Model
from likewise.model.run_folder import check_run
from likewise.progress import quiet
from likewise.retrieval.thresholds import Thresholds
from likewise.training import closed_form_start, folds, planner, stacking, text_heads, train
from likewise.training.split import deal_groups
from likewise.training.text_heads import Shares
from likewise.training.validation import ValidationScores

RADII = {"tiny": 8, "small": 13, "middling": 20, "large": 27}
BRIEF = TINY.model_copy(update={"split": None, "epochs": 2, "validation": 0.1, "test": 0.1, "refit": True})


@pytest.fixture(autouse=True)
def silence():
    with quiet():
        yield


@pytest.fixture(scope="module")
def catalog(tmp_path_factory):
    """120 items, each with a title of its own; some lack a description, some a picture."""
    folder = tmp_path_factory.mktemp("distinct")
    rows = []
    for number, (colour, shape, size) in enumerate(itertools.product(COLOURS, SHAPES, RADII)):
        rows.append(
            {
                "title": f"{size} {colour} {shape}",
                "description": None if number % 11 == 3 else f"A {shape}. It is {colour} all over. Its size is {size}.",
                "image_url": None if number % 13 == 5 else draw(colour, shape, RADII[size]),
                "part": {1: "test", 2: "val"}.get(number % 8, "train"),
            }
        )
    return catalogue_of(folder, rows)


@pytest.fixture(scope="module")
def stacked(catalog, tmp_path_factory):
    with quiet():
        return train.train(catalog, tmp_path_factory.mktemp("runs") / "stacked", BRIEF)


def weights_of(run):
    return load_file(run.path / "model.safetensors")


def test_every_row_that_trains_is_held_out_once_and_all_rows_are_fitted_in_the_end(stacked, catalog):
    metrics = stacked.metrics
    measured = metrics.cross_validation
    assert measured.folds == 3 and measured.queries == metrics.data.training_items
    assert metrics.data.training_items + metrics.data.test_items == len(catalog) == metrics.refit_items
    assert metrics.data.validation_items == 0 and metrics.threshold is not None
    assert set(measured.shares.values()) <= {0.0, 0.25, 0.5, 0.75, 1.0}
    assert measured.chosen >= measured.start
    assert measured.gain.mean == pytest.approx(measured.chosen - measured.start, abs=1e-6)
    assert "held back to choose" not in (stacked.path / "report.html").read_text()
    report, card = ((stacked.path / name).read_text() for name in ("report.html", "README.md"))
    assert measured.sentence in report and "then fitted with the same shares on 120 items" in " ".join(report.split())
    assert "then fitted with the same shares on 120 items" in " ".join(card.split())


def test_thresholds_are_fitted_on_the_folds_and_sealed_with_the_run(stacked):
    thresholds = Thresholds.read(stacked.path)
    assert set(thresholds.rules) == {"words", "pictures", "mixed"} and thresholds.dim == 64
    assert thresholds.rules["words"].queries >= 0.9 * stacked.metrics.cross_validation.queries
    for rule in thresholds.rules.values():
        assert 0 <= rule.false_alarms <= 0.06 and 0 <= rule.flagged <= 1
    assert "thresholds.json" in check_run(stacked.path)


def test_without_a_refit_the_measured_model_stays(stacked, catalog, tmp_path):
    kept = train.train(catalog, tmp_path / "run", BRIEF.model_copy(update={"refit": False}))
    assert kept.metrics.refit_items is None
    assert "then fitted" not in (kept.path / "report.html").read_text()
    differ = weights_of(kept)["heads.image.base.weight"].shape != weights_of(stacked)["heads.image.base.weight"].shape
    assert differ, "a refit has seen more rows"
    figures = [[system.metrics for system in subset.systems] for subset in kept.metrics.comparison.subsets]
    measured = [[system.metrics for system in subset.systems] for subset in stacked.metrics.comparison.subsets]
    assert len(figures) == len(measured) and len(figures[0]) == len(measured[0])


def test_pictures_and_fusion_stay_at_the_start_but_for_an_offset(stacked):
    weights = weights_of(stacked)
    assert not weights["heads.image.residual.2.weight"].any() and not weights["fusion.gates"].any()
    learned = stacked.metrics.cross_validation.shares["learned, items"] > 0
    assert weights["heads.image.residual.2.bias"].any() == learned


def test_rows_that_a_column_marks_as_test_never_train(catalog, tmp_path):
    run = train.train(catalog, tmp_path / "run", BRIEF.model_copy(update={"split": "part"}))
    held_out = sum(part == "test" for part in catalog.column("part"))
    assert run.metrics.data.test_items == held_out
    assert run.metrics.data.training_items == len(catalog) - held_out
    assert run.metrics.refit_items is None, "all that may train has trained already"


def test_a_share_of_nothing_is_a_fair_outcome(catalog, tmp_path, monkeypatch):
    """Text heads that learned nonsense do not enter the model, which is its start then."""
    fit = text_heads.fit

    def spoil(objective, *arguments, **options):
        fit(objective, *arguments, **options)
        with torch.no_grad():
            for head in objective.network.text_heads.values():
                head.residual[-1].weight.normal_(std=5.0, generator=torch.Generator().manual_seed(0))

    monkeypatch.setattr(text_heads, "fit", spoil)
    run = train.train(catalog, tmp_path / "run", BRIEF)
    shares = run.metrics.cross_validation.shares
    assert shares["learned, queries"] == shares["learned, items"] == 0.0
    assert run.metrics.comparison.training_verdict == "no difference"
    assert not weights_of(run)["query_head.residual.4.weight"].any()


def test_a_training_that_was_killed_at_its_end_gives_the_same_model(stacked, catalog, tmp_path, monkeypatch):
    with monkeypatch.context() as patched:
        patched.setattr(train, "refit_stacked", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):
            train.train(catalog, tmp_path / "run", BRIEF)
    assert (tmp_path / "run" / stacking.FILE).is_file()
    with monkeypatch.context() as patched:
        patched.setattr(stacking, "_choose_shares", lambda *_: pytest.fail("the shares were chosen before"))
        again = train.train(catalog, tmp_path / "run", BRIEF)
    assert weights_of(again).keys() == weights_of(stacked).keys()
    for name, weight in weights_of(stacked).items():
        assert torch.equal(weights_of(again)[name], weight), name
    assert again.metrics.comparison == stacked.metrics.comparison
    assert again.metrics.cross_validation == stacked.metrics.cross_validation


def test_damaged_shares_are_refused_in_one_sentence(catalog, tmp_path, monkeypatch):
    with monkeypatch.context() as patched:
        patched.setattr(train, "refit_stacked", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):
            train.train(catalog, tmp_path / "run", BRIEF)
    (tmp_path / "run" / stacking.FILE).write_text('{"format": 1, "description": "much"}')
    with pytest.raises(UserError, match=r"stacking\.json is damaged; start over with --restart"):
        train.train(catalog, tmp_path / "run", BRIEF)


def test_the_model_answers_as_one_that_was_loaded(stacked, catalog):
    model = Model.load(stacked.path)
    vectors = model.encode_items(catalog)
    assert np.isfinite(vectors).all()
    queries = model.encode_queries([str(title) for title in catalog.texts("title")])
    found = (queries @ vectors.T).argmax(axis=1)
    assert (found == np.arange(len(catalog))).mean() > 0.5, "items are seen with their titles"


def test_titles_that_repeat_have_validation_rows(tmp_path):
    rows = [
        {"title": f"{colour} {shape}", "image_url": draw(colour, shape, radius), "description": f"{colour} thing"}
        for colour, shape, radius in itertools.product(COLOURS, SHAPES, range(8, 28, 4))
    ]
    run = train.train(catalogue_of(tmp_path / "items", rows), tmp_path / "run", BRIEF)
    assert run.metrics.cross_validation is None and run.metrics.data.validation_items > 0


def test_folds_partition_the_rows_and_keep_groups_whole():
    groups = np.arange(500)[7:] // 2
    fold = deal_groups(groups, 3, seed=0)
    sizes = np.bincount(fold, minlength=3)
    assert sizes.sum() == len(groups) and np.ptp(sizes) <= 2
    assert all(len(set(fold[groups == group])) == 1 for group in groups)
    assert not np.array_equal(fold, deal_groups(groups, 3, seed=1))


def test_what_is_measured_on_a_fold_has_not_seen_it(catalog, tmp_path, monkeypatch):
    """Nor have the answers above which heads train: those of rows nearby would say the titles of the fold, and heads
    would learn to avoid them.
    """
    collect, cross_fit = closed_form_start.collect_regressions, closed_form_start.cross_fit_start
    collected, left_out = [], []

    def spy_rows(network, features, data, seed):
        collected.append(data.rows)
        return collect(network, features, data, seed)

    def spy_groups(regressions, groups, seed):
        left_out.append(groups)
        return cross_fit(regressions, groups, seed)

    measured, build_task = [], folds.build_held_out_task
    monkeypatch.setattr(closed_form_start, "collect_regressions", spy_rows)
    monkeypatch.setattr(closed_form_start, "cross_fit_start", spy_groups)
    monkeypatch.setattr(folds, "build_held_out_task", lambda *a: measured.append(a[1]) or build_task(*a))
    train.train(catalog, tmp_path / "run", BRIEF.model_copy(update={"refit": False}))
    (every, groups), *others = zip(collected, left_out, strict=True)
    assert len(measured) == len(others) == 3 and np.array_equal(np.sort(np.concatenate(measured)), every)
    for part, (rows, _) in zip(measured, others, strict=True):
        assert np.array_equal(rows, np.setdiff1d(every, part))
        assert len(set(groups[part])) == 2 and len(set(groups[rows])) == 4
        assert not set(groups[part]) & set(groups[rows])


def test_items_without_descriptions_have_no_share_of_their_kernel(tmp_path):
    rows = [
        {"title": f"{size} {colour} {shape}", "image_url": draw(colour, shape, RADII[size])}
        for colour, shape, size in itertools.product(COLOURS, SHAPES, RADII)
    ]
    run = train.train(catalogue_of(tmp_path / "items", rows), tmp_path / "run", BRIEF)
    assert set(run.metrics.cross_validation.shares) == {"learned, queries", "learned, items"}


def test_a_start_with_all_of_a_kernel_keeps_its_map_once(stacked):
    closed_forms = load_closed_forms(stacked.path, create_untrained(Model.load(stacked.path)).network)
    assert closed_forms["start"]["image"] is closed_forms["kernel ridge"]["image"]


def test_a_training_that_is_stopped_early_leaves_a_model_that_can_search(catalog, tmp_path, monkeypatch):
    monkeypatch.setattr(train, "cross_validate", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
    with pytest.raises(KeyboardInterrupt):
        train.train(catalog, tmp_path / "run", BRIEF)
    assert np.isfinite(Model.load(tmp_path / "run").encode_items(catalog)).all()


def test_epochs_are_logged(catalog, tmp_path, monkeypatch):
    logged = []

    class Log:
        def __init__(self, *_):
            pass

        def __enter__(self):
            return logged.append

        def __exit__(self, *_):
            return None

    monkeypatch.setattr(train, "EpochLog", Log)
    measure = stacking._ShareSearch.find_best
    monkeypatch.setattr(stacking._ShareSearch, "find_best", lambda *asked, **_: measure(*asked) and asked[1][-1])
    run = train.train(catalog, tmp_path / "run", BRIEF)
    assert [entry["epoch"] for entry in logged] == [1, 2]
    assert run.metrics.cross_validation.shares["learned, queries"] == 0.5


def test_the_trained_tower_has_a_share_of_its_own(catalog, tmp_path, monkeypatch):
    picks = iter([Shares(0.25, 0.0, 0.0), Shares(1.0, 0.5, 0.5)])
    find_best = stacking._ShareSearch.find_best

    def pick(self, candidates, **_):
        find_best(self, candidates)
        return next(shares for shares in [next(picks)] if shares in candidates)

    monkeypatch.setattr(stacking._ShareSearch, "find_best", pick)
    run = train.train(catalog, tmp_path / "run", BRIEF.model_copy(update={"refit": False}))
    model = Model.load(run.path)
    maps = load_closed_forms(run.path, create_untrained(model).network)
    whole = maps["kernel ridge"]["description"].weight
    assert torch.allclose(maps["start"]["description"].weight, whole * 0.25)
    assert torch.allclose(model.network.base_map("description").weight, whole)
    assert run.metrics.cross_validation.shares == {
        "kernel ridge of descriptions": 1.0,
        "learned, queries": 0.5,
        "learned, items": 0.5,
    }
    weights = weights_of(run)
    assert weights["query_head.residual.4.weight"].any() and weights["heads.image.residual.2.bias"].any()


def test_what_loses_on_a_field_subset_is_not_chosen():
    """However much more it finds on others."""
    rng = np.random.default_rng(0)
    luck = {subset: rng.normal(0.5, 0.2, 200) for subset in ("all", "image")}
    changes = {"ridge": (0.0, 0.0), "trade": (0.3, -0.03), "chance": (0.2, -0.003), "both": (0.05, 0.05)}

    def measure(self, context, shares):
        noise = np.random.default_rng(len(shares)).normal(0.0, 0.1, 200) * (shares != "ridge")
        parts = zip(luck.items(), changes[shares], strict=True)
        scores = {subset: values + change + noise - noise.mean() for (subset, values), change in parts}
        return ValidationScores(scores)

    search = stacking._ShareSearch(None, [type("Fold", (), {"measure": measure})()] * 2)
    assert search.find_best(list(changes)) == "trade"
    assert search.find_best(list(changes), no_worse_than=("ridge",)) == "chance"
    assert search.find_best(list(changes), no_worse_than=("ridge",), chance=0.0) == "both"
    assert search.find_best(["trade"], no_worse_than=("both", "ridge")) == "both", "nothing else is left"
    assert search.find_best(["ridge", "trade"], no_worse_than=("ridge",)) == "ridge"
    assert search.find_best(["both", "ridge", "chance"], no_worse_than=("both",)) == "both"


def test_hard_negatives_need_the_path_with_validation_rows(catalog, tmp_path):
    run = train.train(catalog, tmp_path / "run", BRIEF.model_copy(update={"hard_negatives": 2}))
    assert run.metrics.cross_validation is None and run.metrics.data.validation_items > 0


@pytest.fixture
def gaining(monkeypatch):
    """What every further seed learns scores higher, as far as folds say, and all of it is kept; there are two."""
    stack = stacking._stack_learned

    def stack_more(search, start, kernel_shares, seeds):
        found = stack(search, start, kernel_shares, seeds)
        validation = found.validation.model_copy(update={"chosen": float(seeds)})
        return dataclasses.replace(found, shares=found.shares._replace(query=1.0, texts=1.0), validation=validation)

    monkeypatch.setattr(stacking, "_stack_learned", stack_more)
    monkeypatch.setattr(planner, "_MOST_SEEDS", 2)


STANDARD = BRIEF.model_copy(update={"effort": "standard"})


def test_what_seeds_learn_is_averaged_and_a_kill_between_them_changes_nothing(catalog, tmp_path, monkeypatch, gaining):
    straight, keep, learned = tmp_path / "straight", text_heads._keep_learned, []
    with monkeypatch.context() as patched:
        patched.setattr(text_heads, "_keep_learned", lambda state: (keep(state), learned.append(state.learned[-1])))
        run = train.train(catalog, straight, STANDARD.model_copy(update={"refit": False}))
    assert run.metrics.cross_validation.seeds == 2
    assert [epoch.stage for epoch in run.metrics.history] == ["heads"] * 3 + ["heads, seed 2"] * 2
    *_, first, second = (weights["network.query_head.residual.4.weight"] for weights in learned)
    kept = weights_of(run)["query_head.residual.4.weight"]
    assert not torch.equal(first, second) and torch.allclose(kept, (first + second) / 2)
    with monkeypatch.context() as patched:
        calls = itertools.count()
        stop = lambda state: keep(state) if next(calls) < 6 else (_ for _ in ()).throw(KeyboardInterrupt)  # noqa: E731
        patched.setattr(text_heads, "_keep_learned", stop)
        with pytest.raises(KeyboardInterrupt):
            train.train(catalog, tmp_path / "killed", STANDARD.model_copy(update={"refit": False}))
    monkeypatch.setattr(stacking, "_choose_shares", lambda *_: pytest.fail("the shares were chosen before"))
    again = train.train(catalog, tmp_path / "killed", STANDARD.model_copy(update={"refit": False}))
    for name, weight in weights_of(run).items():
        assert torch.equal(weights_of(again)[name], weight), name


def test_seeds_that_gain_nothing_end_the_search(catalog, tmp_path, monkeypatch):
    stack, tried = stacking._stack_learned, []

    def no_gain(search, start, kernel_shares, seeds):
        tried.append(seeds)
        found = stack(search, start, kernel_shares, seeds)
        return dataclasses.replace(found, validation=found.validation.model_copy(update={"chosen": 0.5}))

    monkeypatch.setattr(stacking, "_stack_learned", no_gain)
    run = train.train(catalog, tmp_path / "run", STANDARD.model_copy(update={"refit": False}))
    assert tried == [1, 2, 3] and run.metrics.cross_validation.seeds == 1

"""Initialised heads: pictures and descriptions of known rows lie at their titles."""

import dataclasses
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from torch.nn import functional
from training.toy_network import toy_objective, unlike

from likewise.model.heads import KernelMap, PictureMap
from likewise.training import initialization
from likewise.training.initialization import (
    collect_regressions,
    collect_titled_pictures,
    collect_titled_values,
    cross_fit_start,
    fit_closed_forms,
    fit_picture_map,
    initialise_heads,
)

ROWS = np.arange(12)


def start(objective, *, far=False, scores=(0, 0, 0)):
    """The maps that were taken, where validation says these scores one after the other."""
    said, network = iter(scores), objective.network.eval()
    closed_forms = fit_closed_forms(collect_regressions(network, objective.features, objective.data, seed=0), seed=0)
    return initialise_heads(network, closed_forms, None if far else lambda: next(said))


def begun(objective):
    """The objective's network after its start."""
    start(objective)
    return objective.network


def cosines(network, objective):
    """Of titles with their own picture and their own description: (rows,) each."""
    features, texts = objective.features, objective.data.texts
    with torch.inference_mode():
        titles = network.query(features.texts(texts.title[ROWS], "query"))
        pictures = network.tower("image", features.pictures(ROWS))
        descriptions = network.tower("description", features.texts(texts.description[ROWS], "document"))
    return (titles * pictures).sum(-1), (titles * descriptions).sum(-1)


@pytest.fixture
def objective():
    """Rows whose titles say what pictures and descriptions show, in other words."""
    objective = toy_objective(unlike(len(ROWS)))
    features, texts = objective.features, objective.data.texts
    shown = functional.normalize(features.images.mean(dim=1), dim=-1)
    turn = torch.linalg.qr(torch.randn(shown.shape[1], shown.shape[1], generator=torch.Generator().manual_seed(2)))[0]
    features.table[texts.title[ROWS]] = shown
    features.table[texts.description[ROWS]] = shown @ turn
    return objective


def test_pictures_and_descriptions_come_to_their_titles(objective):
    before = cosines(objective.network.eval(), objective)
    after = cosines(begun(objective), objective)
    for was, now in zip(before, after, strict=True):
        assert now.mean() > was.mean() + 0.3
        assert now.mean() > 0.6


def test_queries_and_titles_stay_in_the_text_encoders_space(objective):
    texts = objective.features.texts(ROWS, "query")
    with torch.inference_mode():
        before = objective.network.eval().query(texts), objective.network.tower("title", texts)
        network = begun(objective)
        assert torch.equal(network.query(texts), before[0])
        assert torch.equal(network.tower("title", texts), before[1])


def test_what_a_description_says_by_itself_is_kept(objective):
    """Far from all known descriptions the map adds no more than what titles differ by on average."""
    far = torch.randn(1, 12, generator=torch.Generator().manual_seed(5))
    with torch.inference_mode():
        alone = objective.network.eval().tower("description", far)
        assert (begun(objective).tower("description", far) * alone).sum() > 0.5


@pytest.mark.parametrize(
    ("lacking", "left"),
    [
        ({"pictured": [False] * 11 + [True]}, {"description"}),
        ({"described": False}, {"image"}),
        ({"titled": False}, set()),
        ({"fields": ("title", "description")}, {"description"}),
        ({"fields": ("title", "image")}, {"image"}),
    ],
)
def test_without_pairs_a_tower_begins_as_it_is(lacking, left):
    assert start(toy_objective(unlike(len(ROWS)), **lacking)).keys() == left


def test_rows_that_all_show_the_same_give_no_kernel():
    objective = toy_objective(unlike(len(ROWS)), described=False)
    objective.features.images[:] = objective.features.images[0]
    assert isinstance(start(objective)["image"], PictureMap)


@pytest.mark.parametrize(
    ("scores", "kernels"),
    [
        ((0.5, 0.6, 0.7), {"image", "description"}),
        ((0.5, 0.4, 0.5), {"description"}),
        ((0.5, 0.6, 0.5), {"image"}),
        ((0.5, 0.4, 0.4), set()),
    ],
)
def test_a_kernel_that_validation_does_not_like_is_left_out(objective, scores, kernels):
    own = objective.network.base_map("description")
    taken = start(objective, scores=scores)
    assert {field for field, found in taken.items() if isinstance(found, KernelMap)} == kernels
    assert taken["image"] is objective.network.base_map("image")
    assert objective.network.base_map("description") is taken.get("description", own)


def test_before_a_long_way_pictures_begin_at_the_linear_map(objective):
    taken = start(objective, far=True)
    assert taken.keys() == {"image"}
    pictures = collect_titled_pictures(objective.network, objective.features, objective.data, 0)
    assert torch.equal(taken["image"].weight, fit_picture_map(pictures).weight)


def test_every_closed_form_is_fitted_whatever_training_starts_from(objective):
    fitted = fit_closed_forms(
        collect_regressions(objective.network.eval(), objective.features, objective.data, seed=0), seed=0
    )
    kinds = {name: {field: type(base) for field, base in maps.items()} for name, maps in fitted.items()}
    both = {"image": KernelMap, "description": KernelMap}
    assert kinds == {"ridge": {"image": PictureMap}, "kernel ridge": both}
    own = objective.network.base_map("image")
    assert initialise_heads(objective.network, fitted, None) == fitted["ridge"]
    assert objective.network.base_map("image") is fitted["ridge"]["image"] is not own
    scores = iter((0.5, 0.6, 0.7))
    assert initialise_heads(objective.network, fitted, lambda: next(scores)) == fitted["kernel ridge"]


def with_further(objective, field):
    """The objective's data, in which every row has a value of a further field."""
    texts = dataclasses.replace(objective.data.texts, further={field: ROWS})
    return dataclasses.replace(objective.data, texts=texts)


@pytest.mark.parametrize(
    ("fitted", "width", "rows"), [(True, 100, 4), (True, 1_500, len(ROWS)), (False, 192, len(ROWS))]
)
def test_only_the_few_features_of_fitted_encoders_are_regressed_on_few_rows(
    objective, monkeypatch, fitted, width, rows
):
    """Recordings have as many features as texts and pictures, also where their encoder is fitted to them."""
    monkeypatch.setattr(initialization, "_MOST_ROWS_OF_FEW", 4)
    network = SimpleNamespace(
        kinds={"spoken": "audio"},
        reads_words=lambda field: False,
        encoder=lambda field: SimpleNamespace(fitted=fitted, width=width),
        query=objective.network.query,
    )
    features = SimpleNamespace(texts=objective.features.texts, values=lambda field, numbers: torch.eye(12)[numbers])
    found = collect_titled_values(network, features, with_further(objective, "spoken"), "spoken", 0)
    assert len(found.rows) == rows


def test_words_start_at_the_same_share_of_kernel_ridge_whether_it_is_cross_fitted_or_not():
    objective = toy_objective(unlike(len(ROWS)), fields=("title", "brand"))
    network, features = objective.network.eval(), objective.features
    regressions = collect_regressions(network, features, with_further(objective, "brand"), seed=0)
    crossed = cross_fit_start(regressions, ROWS % 3, seed=0)["brand"]
    alone = fit_closed_forms(regressions, seed=0)["kernel ridge"]["brand"]
    assert crossed.share == 0.5 and alone.weight.requires_grad, "which trains on where it is not cross-fitted"
    torch.testing.assert_close(alone.weight, crossed.build_map().weight)
    torch.testing.assert_close(alone.bias, crossed.build_map().bias)

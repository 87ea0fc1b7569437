"""Training sees what a closed form says of a row without the row's group."""

import dataclasses

import numpy as np
import torch
from torch.nn import functional
from training.toy_network import toy_objective, unlike

from likewise.model.heads import GridHead
from likewise.training.batches import pair_with_rows, split_pairs
from likewise.training.initialization import collect_regressions, cross_fit_start
from likewise.training.left_out import LeftOutTowers


def left_out_towers(objective, share=1.0):
    network, groups = objective.network.eval(), np.arange(len(objective.data.texts.title)) // 2
    fits = cross_fit_start(collect_regressions(network, objective.features, objective.data, seed=0), groups, seed=0)
    for field, fit in fits.items():
        fits[field] = fit.weigh(share if field == "description" else 1.0)
        network.set_base_map(field, fits[field].build_map())
    return fits, groups, LeftOutTowers(network, objective.features, objective.data, fits, groups)


def test_a_picture_is_answered_for_without_its_group():
    objective = toy_objective(unlike(24))
    network, data = objective.network, objective.data
    fits, groups, towers = left_out_towers(objective)
    rows = data.rows[data.pictured[data.rows]]
    said = towers.embed("image", rows)
    summary = network.picture_head.summary(objective.features.pictures(rows))
    expected = functional.normalize(fits["image"].left_out.predict(summary, torch.from_numpy(groups[rows])), dim=-1)
    assert torch.allclose(said, expected, atol=1e-6)
    in_sample = network.tower("image", objective.features.pictures(rows))
    titles = network.query(objective.features.texts(data.texts.title[rows], "query"))
    assert (in_sample * titles).sum(-1).mean() > (said * titles).sum(-1).mean() + 0.05, "by heart it knows more"


def test_pictures_learn_one_offset_for_all_of_them():
    objective = toy_objective(unlike(24))
    fits, groups, towers = left_out_towers(objective)
    rows, network = objective.data.rows, objective.network
    head = network.picture_head
    with torch.no_grad():
        head.offset.add_(torch.randn(head.offset.shape, generator=torch.Generator().manual_seed(0)))
    said = towers.embed("image", rows)
    shown = objective.features.pictures(rows)
    summary = head.summary(shown)
    left_out = fits["image"].left_out.predict(summary, torch.from_numpy(groups[rows]))
    assert torch.allclose(said, functional.normalize(left_out + head.offset, dim=-1), atol=1e-6)
    in_use = functional.normalize(fits["image"].kernel(summary) + head.offset, dim=-1)  # the whole fit, the same offset
    assert torch.allclose(network.tower("image", shown), in_use, atol=1e-5)
    (said @ torch.randn(said.shape[1], 3)).sum().backward()
    assert head.offset.grad.abs().sum() > 0


def test_a_description_is_answered_for_without_its_group_and_its_residual_trains():
    objective = toy_objective(unlike(24))
    fits, groups, towers = left_out_towers(objective, share=0.5)
    network, texts = objective.network, objective.data.texts
    rows = objective.data.rows
    codes = texts.description[rows]
    said = towers.embed("description", pair_with_rows(rows, codes, len(texts.texts)))
    features = objective.features.texts(codes, "document")
    left_out = fits["description"].left_out.predict(features, torch.from_numpy(groups[rows]))
    head = network.heads["description"]
    expected = functional.normalize(head.base.base(features) + (left_out + fits["description"].middle) / 2, dim=-1)
    assert torch.allclose(said, expected, atol=1e-5)
    (said @ torch.randn(said.shape[1], 3)).sum().backward()
    assert head.residual[-1].weight.grad.abs().sum() > 0 and head.base.weight.grad is None


def test_a_share_of_a_description_leaves_the_mean_of_kernel_ridge_whole():
    objective = toy_objective(unlike(24))
    fits, _, _ = left_out_towers(objective, share=0.25)
    fit = fits["description"]
    features = objective.features.table[:5]
    expected = 0.25 * fit.kernel(features) + 0.75 * fit.middle
    assert torch.allclose(fit.build_map()(features), expected, atol=1e-6)
    pairs = collect_regressions(objective.network, objective.features, objective.data, seed=0)["description"]
    inputs = torch.from_numpy(pairs.inputs)
    found = fit.build_map()(inputs).mean(dim=0)
    assert (found - fit.middle).norm() < 0.05 * fit.middle.norm(), "however small the share"


def test_a_batch_reads_pictures_once():
    objective = toy_objective(unlike(24))
    _, _, towers = left_out_towers(objective)
    objective.left_out = towers
    before = objective.features.pictures_read
    objective.backward(objective.data.rows[:8], 0)
    assert objective.features.pictures_read == before


def test_rows_that_share_a_description_are_each_answered_for_without_themselves():
    """Descriptions are often categories; a row must not find its own title in the answer by way of another row."""
    objective = toy_objective(unlike(24))
    data, network = objective.data, objective.network.eval()
    data.texts.description[:] = data.texts.description[np.arange(24) // 6 * 6]  # four descriptions of six rows each
    groups, rows, texts = np.arange(24), np.arange(24), data.texts.description
    fits = cross_fit_start(collect_regressions(network, objective.features, data, seed=0), groups, seed=0)
    for field, fit in fits.items():
        network.set_base_map(field, fit.build_map())
    towers = LeftOutTowers(network, objective.features, data, fits, groups)
    said = towers.embed("description", pair_with_rows(rows, texts, len(data.texts.texts)))
    features = objective.features.texts(texts, "document")
    left_out = fits["description"].left_out.predict(features, torch.from_numpy(groups))
    own = network.heads["description"].base.base(features)
    assert torch.allclose(said, functional.normalize(own + left_out, dim=-1), atol=1e-5)
    assert len(torch.unique(said.detach().round(decimals=4), dim=0)) == 24, "each row has an answer of its own"
    objective.left_out = towers
    batch = objective.draw(rows, 0)
    (given,) = [each for each in batch.inputs if each.tower == "description"]
    shown = batch.items.description >= 0
    asked = np.stack(split_pairs(given.values, len(data.texts.texts)))
    assert set(zip(*asked, strict=True)) >= set(zip(batch.row[shown], batch.items.description[shown], strict=True))
    assert objective.backward(rows, 0).isfinite()


def test_a_picture_begins_at_the_names_of_its_classes_and_kernel_ridge_adds_to_them():
    objective = toy_objective(unlike(24))
    network, data, rows = objective.network, objective.data, objective.data.rows
    width, dim = objective.features.images.shape[-1], network.dim
    head = GridHead(width, dim, prefix=1, classes=width).eval()  # the first token is the logits of as many classes
    head.class_names.set_names(torch.randn(width, dim, generator=torch.Generator().manual_seed(1)))
    network.heads["image"] = head
    shown = objective.features.pictures(rows)
    own = head.zero_shot_vectors(shown)
    assert torch.allclose(network.tower("image", shown), functional.normalize(own, dim=-1), atol=1e-6)
    fits, groups, towers = left_out_towers(objective)
    left_out = fits["image"].left_out.predict(head.summary(shown), torch.from_numpy(groups[rows]))
    assert torch.allclose(towers.embed("image", rows), functional.normalize(own + left_out, dim=-1), atol=1e-5)
    with torch.no_grad():
        fitted, kernel = network.tower("image", shown), fits["image"].kernel(head.summary(shown))
    assert torch.allclose(fitted, functional.normalize(own + kernel, dim=-1), atol=1e-5)
    titles = network.query(objective.features.texts(data.texts.title[rows], "query"))
    assert (fitted * titles).sum(-1).mean() > (functional.normalize(own, dim=-1) * titles).sum(-1).mean() + 0.02


def test_further_fields_are_summed_up_as_their_towers_would_be():
    """Their vectors do not train, so that a step needs none of their towers."""
    objective = toy_objective(unlike(24), fields=("title", "brand", "description", "shape"))
    brands, shapes = np.arange(24) % 5, np.where(np.arange(24) % 3, np.arange(24) % 4 + 24, -1)
    texts = dataclasses.replace(objective.data.texts, further={"brand": brands, "shape": shapes})
    objective.data = dataclasses.replace(objective.data, texts=texts)
    with torch.no_grad():
        objective.network.fusion.field_logits.copy_(torch.tensor([0.0, -1.0, 0.0, -2.0]))
    fits, groups, towers = left_out_towers(objective)
    assert towers.further_fields == ("brand", "shape") and towers.per_row_fields == ("description",)
    objective.left_out = towers
    batch = objective.draw(np.arange(24), 0)
    assert {each.tower for each in batch.inputs} == {"query", "title", "description"}
    network, items = objective.network, batch.items
    expected = torch.zeros(len(items.row), network.dim)
    for field, weight in (("brand", 1.0), ("shape", 2.0)):
        shown = np.flatnonzero(items.further[field] >= 0)
        features = objective.features.texts(items.further[field][shown], "document")
        left_out = fits[field].left_out.predict(features, torch.from_numpy(groups[items.row[shown]]))
        own = network.head(field).base.base(features) + fits[field].share * left_out
        expected[shown] += np.exp(-weight) * functional.normalize(own, dim=-1)
    assert torch.allclose(towers.sum_further(items), expected, atol=1e-5)
    assert objective.backward(np.arange(24), 0).isfinite()

"""Only fields that are there count; one field alone is the item."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn import functional

from likewise.model.field_embeddings import FieldEmbeddings
from likewise.model.fusion import MaskedFusion


def trained_fusion(fields=3, dim=8):
    """A fusion with learned weights and gates."""
    torch.manual_seed(0)
    fusion = MaskedFusion(fields, dim)
    torch.nn.init.normal_(fusion.field_logits)
    torch.nn.init.normal_(fusion.gates)
    return fusion


def towers_of(rows, fields=3, dim=8, seed=0):
    return functional.normalize(torch.randn(rows, fields, dim, generator=torch.Generator().manual_seed(seed)), dim=-1)


masks = st.lists(st.lists(st.booleans(), min_size=3, max_size=3), min_size=1, max_size=6)


@settings(max_examples=40, deadline=None)
@given(masks, st.integers(0, 99))
def test_absent_fields_count_for_nothing_whatever_stands_there(mask, seed):
    present, towers = torch.tensor(mask), towers_of(len(mask), seed=seed)
    fusion = trained_fusion()
    zeroed = fusion(torch.where(present[..., None], towers, 0.0), present)
    poisoned = fusion(torch.where(present[..., None], towers, float("nan")), present)
    assert torch.equal(zeroed.isnan(), poisoned.isnan())
    assert torch.equal(zeroed.nan_to_num(), poisoned.nan_to_num())
    empty = ~present.any(dim=1)
    assert poisoned[empty].isnan().all() and not poisoned[~empty].isnan().any()
    assert torch.allclose(poisoned[~empty].norm(dim=-1), torch.ones(int((~empty).sum())), atol=1e-5)


@pytest.mark.parametrize("field", [0, 1, 2])
def test_an_item_with_one_field_is_that_tower_to_the_bit(field):
    towers = towers_of(5)
    present = torch.zeros(5, 3, dtype=torch.bool)
    present[:, field] = True
    assert torch.equal(trained_fusion()(towers, present), towers[:, field])


def test_untrained_fusion_is_the_mean_of_what_is_there():
    towers, present = towers_of(2), torch.tensor([[True, True, True], [True, False, True]])
    fused = MaskedFusion(3, 8)(towers, present)
    expected = torch.stack([towers[0].sum(0), towers[1, 0] + towers[1, 2]])
    assert torch.allclose(fused, functional.normalize(expected, dim=-1), atol=1e-6)


def gradients(towers, present, rows):
    """Gradients of a loss over `rows` alone, with all rows in the batch."""
    fusion = trained_fusion()
    towers = towers.clone().requires_grad_()
    target = towers_of(1, seed=7)[0, 0]
    (fusion(towers, present)[rows] @ target).sum().backward()
    return fusion.field_logits.grad, fusion.gates.grad, towers.grad[rows]


def test_an_empty_item_does_not_poison_the_gradients_of_its_neighbours():
    towers = towers_of(3)
    present = torch.tensor([[True, True, False], [False, False, False], [True, True, True]])
    beside_empty = gradients(towers, present, [0, 2])
    alone = gradients(towers[[0, 2]], present[[0, 2]], [0, 1])
    for ours, theirs in zip(beside_empty, alone, strict=True):
        assert torch.isfinite(ours).all()
        assert ours.abs().sum() > 0
        assert torch.allclose(ours, theirs, atol=1e-6)


def test_weights_and_gates_change_what_counts():
    towers, present = towers_of(1), torch.ones(1, 3, dtype=torch.bool)
    fusion = MaskedFusion(3, 8)
    with torch.no_grad():
        fusion.field_logits.copy_(torch.tensor([20.0, 0.0, 0.0]))
    assert torch.allclose(fusion(towers, present)[0], towers[0, 0], atol=1e-4)
    with torch.no_grad():
        fusion.field_logits.zero_()
        fusion.gates[2] = 50 * towers[0, 2]
    assert torch.allclose(fusion(towers, present)[0], towers[0, 2], atol=1e-4)


def values_of(seed: int, counts: list[int], places: torch.Tensor) -> tuple[list[torch.Tensor], torch.Tensor]:
    """(values, 8) unit vectors of each field, and the towers (n, fields, 8) of items that show those at some places."""
    vectors = [towers_of(count, fields=1, seed=seed + field)[:, 0] for field, count in enumerate(counts)]
    return vectors, torch.stack([each[column.clamp(min=0)] for each, column in zip(vectors, places.T, strict=True)], 1)


@settings(max_examples=60, deadline=None)
@given(st.lists(st.lists(st.integers(-1, 2), min_size=3, max_size=3), min_size=1, max_size=6), st.booleans())
def test_shared_values_are_fused_like_copies_of_them(shown, some):
    """Gradients included; also where an item has no field, or one field alone."""
    places = torch.tensor(shown)
    fields = [2, 0, 1] if some else None
    vectors, towers = values_of(1, [3, 3, 3], places)
    results = []
    for shared in (True, False):
        fusion, given = trained_fusion(), [each.clone().requires_grad_() for each in vectors]
        if shared:
            fused = fusion.fuse_values(given, places, fields)
        else:
            copies = torch.stack([each[column.clamp(min=0)] for each, column in zip(given, places.T, strict=True)], 1)
            fused = fusion(copies, places >= 0, fields)
        has_any = (places >= 0).any(dim=1)
        assert torch.isnan(fused[~has_any]).all()
        alone = (places >= 0).sum(dim=1) == 1
        assert torch.equal(fused[alone], (towers * (places >= 0)[..., None]).sum(dim=1)[alone])
        if has_any.all():
            fused[:, :4].sum().backward()
        gradients = [weight.grad for weight in (*given, fusion.gates, fusion.field_logits) if weight.grad is not None]
        results.append([fused.detach(), *gradients])
    for ours, theirs in zip(*results, strict=True):
        assert torch.allclose(ours, theirs, atol=1e-5, equal_nan=True)


def test_gradients_of_shared_values_have_the_same_bits_in_every_run():
    """At a size where several threads add up."""
    threads = torch.get_num_threads()
    torch.set_num_threads(4)
    places = torch.randint(-1, 40, (2_000, 3), generator=torch.Generator().manual_seed(0))
    places[:, 0].clamp_(min=0)
    vectors, _ = values_of(1, [40, 40, 40], places)
    found = []
    for _ in range(5):
        fusion, given = trained_fusion(), [each.clone().requires_grad_() for each in vectors]
        fusion.fuse_values(given, places)[:, :4].sum().backward()
        found.append([*(each.grad for each in given), fusion.gates.grad, fusion.field_logits.grad])
    torch.set_num_threads(threads)
    assert all(torch.equal(one, other) for run in found[1:] for one, other in zip(found[0], run, strict=True))


def test_nothing_is_fused_of_no_items_and_no_values():
    fusion, nobody = trained_fusion(), torch.empty((0, 3), dtype=torch.int64)
    vectors, _ = values_of(1, [2, 2, 2], nobody)
    assert fusion.fuse_values(vectors, nobody).shape == (0, 8)
    none = [each[:0] for each in vectors]
    assert torch.isnan(fusion.fuse_values(none, torch.full((2, 3), -1))).all()
    assert torch.equal(fusion.fuse_values(none, torch.full((2, 3), -1), None, torch.zeros(2, 8)), torch.zeros(2, 8))


def test_fields_that_are_summed_up_already_count_the_same():
    places = torch.tensor([[0, 1, 2, 0], [1, -1, -1, 1], [-1, -1, 0, 2], [2, 0, -1, -1]])
    vectors, towers = values_of(4, [3, 3, 3, 3], places)
    fusion = trained_fusion(fields=4)
    torch.nn.init.zeros_(fusion.gates[1::2])
    weights = fusion.field_logits.exp() * (places >= 0)
    others = (weights[:, 1::2, None] * towers[:, 1::2]).sum(dim=1)
    fused = fusion.fuse_values(vectors[::2], places[:, ::2], [0, 2], others)
    assert torch.allclose(fused, fusion(towers, places >= 0), atol=1e-6)


@settings(max_examples=40, deadline=None)
@given(masks, st.lists(st.integers(0, 2), min_size=1, max_size=3, unique=True))
def test_some_fields_are_fused_as_if_the_others_were_absent(mask, fields):
    present, towers, fusion = torch.tensor(mask), towers_of(len(mask)), trained_fusion()
    absent = present.clone()
    absent[:, [field for field in range(3) if field not in fields]] = False
    some = fusion(towers[:, fields], present[:, fields], fields)
    assert torch.allclose(some, fusion(towers, absent), atol=1e-6, equal_nan=True)


def test_items_that_show_no_field_are_nan():
    model = SimpleNamespace(fields=("title", "image"), dim=8, fusion=trained_fusion(2))
    items = FieldEmbeddings(("title", "image"), towers_of(3, fields=2).numpy())
    assert np.isnan(items.fuse(model, [])).all()

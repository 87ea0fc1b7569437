"""Heads begin as a map that means something, and hidden patches do not count."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from torch.nn import functional

from likewise.model.heads import GridHead, KernelMap, PictureMap, VectorHead, empty_map, isometry


def cosines(vectors):
    unit = functional.normalize(vectors, dim=-1)
    return unit @ unit.T


@settings(max_examples=25, deadline=None)
@given(width=st.integers(1, 48), more=st.integers(0, 48), seed=st.integers(0, 99))
def test_an_isometry_keeps_every_angle_where_there_is_room(width, more, seed):
    features = torch.randn(6, width, generator=torch.Generator().manual_seed(seed))
    mapped = isometry(width, width + more)(features)
    assert torch.allclose(cosines(mapped), cosines(features), atol=1e-5)
    assert torch.allclose(mapped.norm(dim=-1), features.norm(dim=-1), rtol=1e-4)


def test_a_narrower_space_is_an_orthonormal_projection():
    weight = isometry(64, 16).weight
    assert torch.allclose(weight @ weight.T, torch.eye(16), atol=1e-5)


def test_the_isometry_is_the_same_whatever_the_random_state_and_never_trains():
    torch.manual_seed(1)
    first = isometry(24, 40)
    torch.manual_seed(2)
    assert torch.equal(first.weight, isometry(24, 40).weight)
    assert not first.weight.requires_grad


def test_an_untrained_vector_head_is_its_base_of_unit_length():
    features = torch.randn(5, 24)
    head = VectorHead(24, 40, base=isometry(24, 40)).eval()
    assert torch.allclose(cosines(head(features)), cosines(features), atol=1e-5)
    assert torch.allclose(head(features).norm(dim=-1), torch.ones(5), atol=1e-5)


def test_a_picture_head_begins_at_a_given_linear_map():
    features, weight, bias = torch.randn(5, 24), torch.randn(16, 24), torch.randn(16)
    head = VectorHead(24, 16).eval()
    head.base = PictureMap.from_weights(weight, bias)
    expected = functional.normalize(features @ weight.T + bias, dim=-1)
    assert torch.allclose(head(features), expected, atol=1e-5)
    assert head.base.weight.requires_grad


def some_patches(prefix):
    seen = torch.tensor([[True] * 9, [False] * 8 + [True], [True, False, True] * 3])
    return torch.cat([torch.ones(3, prefix, dtype=torch.bool), seen], dim=1)


@pytest.mark.parametrize("prefix", [0, 1])
def test_an_untrained_grid_head_maps_the_summary_of_the_tokens_that_are_seen(prefix):
    features, seen = torch.randn(3, prefix + 9, 12), some_patches(prefix)
    head = GridHead(12, 16, prefix=prefix).eval()
    for patches in (None, seen):
        visible = torch.ones(3, 9, dtype=torch.bool) if patches is None else patches[:, prefix:]
        shown = [row[mask] for row, mask in zip(features[:, prefix:], visible, strict=True)]
        mean = torch.stack([row.mean(dim=0) for row in shown])
        spread = torch.stack([row.std(dim=0, unbiased=False).clamp(min=1e-3) for row in shown])
        summary = torch.cat([features[:, 0], mean] if prefix else [mean, spread], dim=1)
        expected = functional.normalize(head.base(summary), dim=-1)
        assert torch.allclose(head(features, patches), expected, atol=1e-5)
        if patches is None:
            assert torch.allclose(head.summary(features), summary, atol=1e-5)


@pytest.mark.parametrize("prefix", [0, 1])
def test_hidden_patches_have_no_influence_and_get_no_gradient(prefix):
    torch.manual_seed(0)
    seen = some_patches(prefix)
    head = GridHead(12, 16, prefix=prefix).eval()
    for weight in head.parameters():
        torch.nn.init.normal_(weight)  # as after training: every part of the head counts
    features = torch.randn(3, prefix + 9, 12)
    changed = torch.where(seen[..., None], features, 1e3 * torch.randn_like(features)).requires_grad_()
    output = head(changed, seen)
    assert torch.allclose(output, head(features, seen), atol=1e-5)
    (output * torch.randn_like(output)).sum().backward()
    assert changed.grad[~seen].abs().max() == 0
    assert changed.grad[seen].abs().min(dim=-1).values.max() > 0


def test_grid_heads_learn_from_every_part():
    head = GridHead(12, 16).train()
    torch.nn.init.normal_(head.residual[-1].weight)
    head(torch.randn(4, 9, 12)).sum().backward()
    assert all(weight.grad is not None and weight.grad.abs().sum() > 0 for weight in head.parameters())


def named_head():
    """Of a picture encoder with five classes, whose logits stand in one token before nine patches."""
    torch.manual_seed(0)
    head = GridHead(12, 16, prefix=1, classes=5).eval()
    head.class_names.set_names(torch.randn(5, 16))
    return head


def test_a_picture_stands_where_the_names_of_its_classes_stand_before_any_training():
    head, features = named_head(), torch.randn(5, 10, 12)
    features[:, 0, :5] = 60 * torch.eye(5)
    names = head.class_names.names
    assert torch.allclose(head(features), functional.normalize(names, dim=-1), atol=1e-4)
    features[:, 0, :5] = torch.tensor([60.0, 60.0, 0, 0, 0])
    between = functional.normalize(names[0] + names[1], dim=-1)
    assert torch.allclose(head(features), between.expand(5, 16), atol=1e-4)


def test_logits_are_no_patches():
    """All but what the names say is that of a head without classes over the patches."""
    head, seen = named_head(), some_patches(1)
    nn.init.normal_(head.residual[-1].weight)
    nn.init.normal_(head.base.weight)
    bare = GridHead(12, 16).eval()
    bare.load_state_dict({name: value for name, value in head.state_dict().items() if "class_names" not in name})
    features = torch.randn(3, 10, 12)
    assert torch.equal(head.summary(features), bare.summary(features[:, 1:]))
    assert head.zero_shot_vectors(features).abs().max() > 0.1 and bare.zero_shot_vectors(features).abs().max() == 0
    nn.init.zeros_(head.class_names.names)
    for patches in (None, seen):
        without = bare(features[:, 1:], None if patches is None else patches[:, 1:])
        assert torch.allclose(head(features, patches), without, atol=1e-5)


def filled(base=None):
    torch.manual_seed(0)
    layer = KernelMap(6, 4, 3, base)
    layer.centre.copy_(torch.randn(6))
    layer.scale.copy_(torch.rand(6) + 0.5)
    layer.examples.copy_(nn.functional.normalize(torch.randn(3, 6), dim=-1))
    with torch.no_grad():
        layer.weight.normal_()
        layer.bias.normal_()
    return layer


def test_it_is_a_gaussian_of_the_distance_on_the_unit_sphere():
    layer = filled()
    x = torch.randn(5, 6)
    unit = nn.functional.normalize((x - layer.centre) / layer.scale, dim=-1)
    likeness = torch.exp(-torch.cdist(unit, layer.examples).square())
    assert torch.allclose(layer(x), likeness @ layer.weight.T + layer.bias, atol=1e-5)


def test_a_base_is_added():
    base = nn.Linear(6, 4)
    x = torch.randn(2, 5, 6)
    assert torch.allclose(filled(base)(x), filled()(x) + base(x), atol=1e-6)


def test_weights_train_and_examples_stand_still():
    layer = filled()
    layer(torch.randn(5, 6)).square().sum().backward()
    assert {name for name, weight in layer.named_parameters() if weight.grad is not None} == {"weight", "bias"}


def test_its_size_is_read_from_saved_weights():
    weights = nn.ModuleDict({"image": filled(), "title": nn.Linear(6, 4)}).state_dict()
    assert {name: value.shape for name, value in empty_map(weights, "image", 4).state_dict().items()} == {
        name: value.shape for name, value in filled().state_dict().items()
    }
    assert empty_map(weights, "title", 4) is None


@pytest.mark.parametrize("examples", [torch.zeros(()), torch.zeros(7), torch.zeros(10**7, 1), torch.zeros(3, 2, 2)])
def test_weights_that_do_not_fit_together_get_no_room(examples):
    weights = filled().state_dict() | {"examples": examples}
    assert empty_map({f"image.{name}": value for name, value in weights.items()}, "image", 4) is None
    assert empty_map({"image.examples": examples}, "image", 4) is None


def test_a_kernel_without_examples_makes_no_room_for_its_width():
    weights = {"base.examples": torch.zeros(0, 10**13), "base.weight": torch.zeros(8, 0)}
    assert empty_map(weights, "base", 8) is None

"""The kernel layer: its formula, what is kept beside it, and what trains."""

import pytest
import torch
from torch import nn

from likewise.model.kernel import KernelMap, empty_map


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

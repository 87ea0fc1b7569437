import pytest
import torch
from torch.nn import functional

from likewise.config import TrainConfig
from likewise.model.matryoshka import build_variants

DIM = 16


def unit(rows=5, dim=DIM):
    return functional.normalize(torch.randn(rows, dim, generator=torch.Generator().manual_seed(0)), dim=-1)


@pytest.mark.parametrize("quantization", [None, "int8", "binary"])
def test_forms_are_unit_vectors_of_the_lengths_asked_for_whole_ones_first(quantization):
    vectors = unit()
    seen = [form(vectors) for form in build_variants(TrainConfig(matryoshka=(8, 4), quantization=quantization))]
    assert [one.shape[1] for one in seen] == [16, 8, 4] * (1 if quantization is None else 2)
    assert seen[0] is vectors
    for one in seen:
        assert torch.allclose(one.norm(dim=1), torch.ones(5), atol=1e-6)


def test_bits_keep_the_sign_of_each_number_and_count_0_as_negative():
    binary = build_variants(TrainConfig(quantization="binary"))[-1]
    vectors = torch.tensor([[0.6, -0.8, 0.0, 0.0]])
    assert torch.allclose(binary(vectors), torch.tensor([[0.5, -0.5, -0.5, -0.5]]))


def test_bytes_count_in_steps_of_a_127th_of_the_largest_number():
    vectors = unit(200)
    rounded = build_variants(TrainConfig(quantization="int8"))[-1](vectors)
    steps, wanted = (127 * one / one.abs().amax(dim=1, keepdim=True) for one in (rounded, vectors))
    assert torch.allclose(steps, wanted.round(), atol=1e-3) and not torch.allclose(steps, wanted, atol=0.1)


@pytest.mark.parametrize("quantization", ["int8", "binary"])
def test_gradients_pass_the_rounding(quantization):
    vectors = unit().requires_grad_()
    wanted = torch.randn(5, DIM)
    (build_variants(TrainConfig(quantization=quantization))[-1](vectors) * wanted).sum().backward()
    assert torch.equal(vectors.grad, wanted)


@pytest.mark.parametrize("quantization", [None, "int8", "binary"])
def test_what_an_item_lacks_stays_unknown(quantization):
    vectors = unit()
    vectors[2] = torch.nan
    for form in build_variants(TrainConfig(matryoshka=(4,), quantization=quantization)):
        assert form(vectors)[2].isnan().all() and form(vectors)[[0, 1, 3, 4]].isfinite().all()


@pytest.mark.parametrize("quantization", ["int8", "binary"])
def test_a_vector_of_zeros_is_no_reason_for_nan(quantization):
    for form in build_variants(TrainConfig(quantization=quantization)):
        assert form(torch.zeros(1, DIM)).isfinite().all()

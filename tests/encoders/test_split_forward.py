"""Every picture encoder can be cut between its blocks, and both sides together are the whole."""

import copy
import pickle

import numpy as np
import pytest
import torch
from encoders import tiny_models
from encoders.tiny_models import pictures

from likewise.encoders.activation import Activation
from likewise.encoders.registry import load_encoder
from likewise.errors import UserError

PACKAGED = ["lite-image", "scratch-image"]
SAVED = ["vit", "dinov2", "convnext", "resnet", "swin", "clip", "siglip", "siglip2"]


def registers(folder):
    return tiny_models.save_dinov2(folder, registers=True)


def saved(name, folder):
    return load_encoder(str(getattr(tiny_models, f"save_{name}")(folder)), "image")


@pytest.fixture(params=[*PACKAGED, *SAVED, "registers"])
def encoder(request, tmp_path):
    if request.param in PACKAGED:
        return load_encoder(request.param, "image")
    if request.param == "registers":
        return load_encoder(str(registers(tmp_path)), "image")
    return saved(request.param, tmp_path)


def prepared(encoder):
    return encoder.prepare(pictures())


def some_cuts(encoder):
    return sorted({0, encoder.blocks // 2, encoder.blocks - 1})


def test_both_sides_are_the_whole(encoder):
    inputs = prepared(encoder)
    assert encoder.blocks >= 2
    with torch.no_grad():
        whole = encoder(inputs)
        for cut in range(encoder.blocks):
            assert torch.equal(encoder.forward_from(encoder.forward_to(inputs, cut), cut), whole), cut
        assert torch.equal(encoder(inputs), whole)  # no trace of the cut is left


def test_activations_are_as_large_as_announced(encoder):
    inputs = prepared(encoder)
    for cut in some_cuts(encoder):
        activation = encoder.activation(cut)
        with torch.no_grad():
            states = encoder.forward_to(inputs, cut)
        assert states.shape == (4, *activation.shape)
        assert states.dtype == torch.float32 and activation.bytes == states[0].numel() * 2


def test_only_what_lies_behind_the_cut_trains(encoder):
    inputs = prepared(encoder)
    for cut in some_cuts(encoder):
        trained = encoder.train_above(cut)
        assert trained == [name for name, weight in encoder.named_parameters() if weight.requires_grad]
        with torch.no_grad():
            below = encoder.forward_to(inputs, cut).clone()
            before = encoder(inputs)
            for name in trained:
                encoder.get_parameter(name).mul_(3)
            assert torch.equal(encoder.forward_to(inputs, cut), below)  # what is cached stays true
            assert not torch.equal(encoder(inputs), before)
        encoder.eval()
        above = encoder.forward_from(encoder.forward_to(inputs, cut), cut)
        above.square().sum().backward()
        assert all(encoder.get_parameter(name).grad is not None for name in trained)
        assert all(weight.grad is None for name, weight in encoder.named_parameters() if name not in trained)
        encoder.zero_grad()


def test_the_later_the_cut_the_fewer_weights_train(encoder):
    counts = [len(encoder.train_above(cut)) for cut in some_cuts(encoder)]
    assert counts == sorted(counts, reverse=True) and counts[-1] > 0


def test_a_cut_that_is_not_there(encoder):
    with pytest.raises(UserError, match=rf"has {encoder.blocks} blocks: cut it at 0 to {encoder.blocks - 1}"):
        encoder.activation(encoder.blocks)


@pytest.mark.parametrize("name", ["clip", "vit", "resnet"])
def test_copies_and_pickles_have_blocks_of_their_own(tmp_path, name):
    encoder = saved(name, tmp_path)
    inputs = prepared(encoder)
    with torch.no_grad():
        encoder.forward_from(encoder.forward_to(inputs, 1), 1)
        whole = encoder(inputs)
        for twin in (copy.deepcopy(encoder), pickle.loads(pickle.dumps(encoder))):
            for weight in encoder.parameters():
                weight.add_(0.01)
            assert torch.equal(twin.forward_from(twin.forward_to(inputs, 1), 1), whole)
            for weight in encoder.parameters():
                weight.sub_(0.01)


@pytest.mark.parametrize(("name", "grid"), [("vit", (4, 4)), ("dinov2", (2, 2)), ("clip", (4, 4)), ("siglip", (4, 4))])
def test_a_transformer_reads_a_part_of_its_tokens(tmp_path, name, grid):
    encoder = saved(name, tmp_path)
    activation = encoder.activation(1)
    assert activation.grid == grid and activation.extra == (0 if name == "siglip" else 1)
    assert features_of_a_part(encoder, 1, (1, 2)).shape[0] == 4


def test_a_rectangle_of_a_grid_with_registers_keeps_its_order(tmp_path):
    encoder = load_encoder(str(registers(tmp_path)), "image")
    activation = encoder.activation(1)
    assert (activation.grid, activation.extra, encoder.prefix) == ((2, 2), 4, 1)
    assert features_of_a_part(encoder, 1, (1, 2)).shape == (4, 1 + 2, 32)
    whole = features_of_a_part(encoder, 1, (2, 2))
    with torch.no_grad():
        assert torch.allclose(whole, encoder(prepared(encoder)), atol=1e-2)  # half precision in between


@pytest.mark.parametrize("name", ["convnext", "resnet"])
def test_a_convolutional_network_reads_a_part_of_a_map(tmp_path, name):
    encoder = saved(name, tmp_path)
    activation = encoder.activation(0)
    assert activation.grid == (16, 16) and activation.step == 8
    assert features_of_a_part(encoder, 0, (8, 16)).shape == (4, 2, 24)


def test_windows_of_attention_are_only_read_whole(tmp_path):
    assert saved("swin", tmp_path).activation(1).grid is None


def features_of_a_part(encoder, cut, size):
    activation = encoder.activation(cut)
    with torch.no_grad():
        states = encoder.forward_to(prepared(encoder), cut).half().numpy()
        four, none = np.arange(4), np.zeros(4, np.int64)
        part = activation.rectangles(states, four, none, none, size)
        return encoder.forward_from(torch.from_numpy(part).float(), cut)


def test_efficientnet_before_block_11():
    encoder = load_encoder("lite-image", "image")
    assert encoder.blocks == 12
    assert encoder.activation(11) == Activation((14, 14, 112), (14, 14), extra=0, step=2)
    assert encoder.activation(11).bytes == 43_904
    assert features_of_a_part(encoder, 11, (6, 10)).shape == (4, 2 + 15, 768)


def test_efficientnet_trains_as_if_it_were_whole():
    """Above the cut, normalisation is folded at every step; the gradients are those of the plain network."""
    encoder = load_encoder("lite-image", "image")
    inputs = prepared(encoder)
    encoder.train_above(9)
    encoder.train()
    encoder.forward_from(encoder.forward_to(inputs, 9), 9).square().mean().backward()
    above = {name: weight.grad for name, weight in encoder.named_parameters() if weight.grad is not None}
    encoder.zero_grad()
    encoder(inputs).square().mean().backward()
    assert above
    for name, gradient in above.items():
        plain = encoder.get_parameter(name).grad
        # a rectifier whose input is 0 but for rounding passes a gradient in one of the two alone
        assert (gradient - plain).abs().max() < 1e-2 * plain.abs().max(), name


def test_a_network_without_blocks_cannot_be_cut(tmp_path):
    encoder = saved("vit", tmp_path)
    encoder.network.layers = torch.nn.ModuleList()
    assert encoder.blocks == 0
    with pytest.raises(UserError, match="cannot be cut between blocks; train it with --regime frozen or full"):
        encoder.activation(0)


def test_rectangles_are_copied_row_by_row():
    cache = np.arange(2 * 5 * 4 * 3, dtype=np.float16).reshape(2, 5, 4, 3)
    activation = Activation((5, 4, 3), (5, 4))
    slots, tops, lefts = np.array([1, 0, 1]), np.array([0, 2, 1]), np.array([1, 0, 2])
    cut = activation.rectangles(cache, slots, tops, lefts, (3, 2))
    assert cut.shape == (3, 3, 2, 3)
    for part, slot, top, left in zip(cut, slots, tops, lefts, strict=True):
        assert np.array_equal(part, cache[slot, top : top + 3, left : left + 2])
    tokens = np.concatenate([np.full((2, 2, 3), -1, np.float16), cache.reshape(2, 20, 3)], axis=1)
    sequence = Activation((22, 3), (5, 4), extra=2).rectangles(tokens, slots, tops, lefts, (3, 2))
    assert np.array_equal(sequence[:, 2:], cut.reshape(3, 6, 3)) and (sequence[:, :2] == -1).all()

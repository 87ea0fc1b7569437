"""LoRA changes nothing at first, trains behind the cut, and leaves a plain encoder."""

import importlib.util
import sys

import pytest
import torch
from conftest import require
from encoders.tiny_models import pictures, save_clip, save_resnet, save_vit

from likewise.encoders.lora import add_lora, merge_lora
from likewise.encoders.registry import load_encoder
from likewise.errors import UserError

FAMILIES = [save_vit, save_clip]


@pytest.fixture
def peft():
    require(importlib.util.find_spec("peft"), "peft is not installed")


@pytest.fixture(params=FAMILIES, ids=lambda save: save.__name__.removeprefix("save_"))
def encoder(request, tmp_path, peft):
    return load_encoder(str(request.param(tmp_path)), "image")


def prepared(encoder):
    return encoder.prepare(pictures())


def features(encoder):
    with torch.no_grad():
        return encoder(prepared(encoder))


def one_step(encoder, cut):
    weights = [weight for weight in encoder.parameters() if weight.requires_grad]
    optimizer = torch.optim.SGD(weights, lr=1.0)
    for _ in range(2):  # the first step only moves B, since B · A is zero
        above = encoder.forward_from(encoder.forward_to(prepared(encoder), cut), cut)
        (above * torch.linspace(-1, 1, above.shape[-1])).mean().backward()
        optimizer.step()


def test_it_starts_as_the_encoder_itself(encoder):
    before = features(encoder)
    trained = add_lora(encoder, rank=4)
    assert torch.allclose(features(encoder), before, atol=1e-6)
    assert trained == [name for name, weight in encoder.named_parameters() if weight.requires_grad]
    assert trained and all(".lora_A." in name or ".lora_B." in name for name in trained)


def test_it_trains_behind_the_cut_and_leaves_plain_weights(encoder):
    names, inputs = set(encoder.state_dict()), prepared(encoder)
    with torch.no_grad():
        before, below = features(encoder), encoder.forward_to(inputs, 1)
    fingerprint = encoder.fingerprint()
    add_lora(encoder, rank=4, cut=1)
    one_step(encoder, 1)
    trained = features(encoder)
    merge_lora(encoder)
    assert not torch.allclose(trained, before, atol=1e-4)
    assert torch.allclose(features(encoder), trained, atol=1e-5)
    with torch.no_grad():
        assert torch.equal(encoder.forward_to(inputs, 1), below)
    assert set(encoder.state_dict()) == names and encoder.fingerprint() != fingerprint
    assert "peft" not in {type(module).__module__.partition(".")[0] for module in encoder.modules()}


def test_the_seed_decides_and_the_random_state_is_left_alone(encoder):
    torch.manual_seed(3)
    expected = torch.rand(2)
    torch.manual_seed(3)
    names = add_lora(encoder, rank=2, seed=5)
    assert torch.equal(torch.rand(2), expected)
    first = [encoder.get_parameter(name).clone() for name in names]
    merge_lora(encoder)
    assert all(
        torch.equal(a, encoder.get_parameter(n)) for a, n in zip(first, add_lora(encoder, rank=2, seed=5), strict=True)
    )


def test_only_encoders_from_hugging_face(peft):
    with pytest.raises(UserError, match="LoRA is for encoders from Hugging Face: cut the encoder lite-image"):
        add_lora(load_encoder("lite-image", "image"))


def test_convolutions_are_not_adapted(tmp_path, peft):
    with pytest.raises(UserError, match="have no linear layers"):
        add_lora(load_encoder(str(save_resnet(tmp_path)), "image"))


def test_without_peft_the_extra_is_named(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "peft", None)
    with pytest.raises(UserError, match=r"peft: pip install 'likewise\[lora\]'"):
        add_lora(load_encoder(str(save_vit(tmp_path)), "image"))

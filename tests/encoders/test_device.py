"""Devices by name, and precision by measurement."""

import time

import pytest
import torch

from likewise.encoders import device as devices
from likewise.encoders.registry import load_encoder
from likewise.errors import UserError

CPU = torch.device("cpu")


def test_auto_finds_a_device_that_works():
    assert torch.ones(1, device=devices.resolve_device("auto")).item() == 1
    assert devices.resolve_device("cpu") == CPU


@pytest.mark.parametrize("name", ["cuda", "mps"])
def test_an_absent_device_is_one_sentence(name, monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: False)
    with pytest.raises(UserError, match=rf"'{name}' is not available here \(available: cpu\); use --device auto"):
        devices.resolve_device(name)


def test_float32_where_bfloat16_is_only_emulated(monkeypatch):
    monkeypatch.setattr(devices, "_processor_flags", lambda: {"avx2", "fma"})
    assert devices.inference_dtype(load_encoder("scratch-text", "text"), CPU) == torch.float32


@pytest.mark.parametrize(("slower", "expected"), [("float32", torch.bfloat16), ("bfloat16", torch.float32)])
def test_the_quicker_precision_wins(monkeypatch, slower, expected):
    monkeypatch.setattr(devices, "_processor_flags", lambda: {"avx512_bf16"})
    encoder = load_encoder("scratch-text", "text")

    def forward(inputs):
        running = "bfloat16" if torch.is_autocast_enabled("cpu") else "float32"
        time.sleep(0.03 if running == slower else 0.001)

    monkeypatch.setattr(encoder, "forward", forward)
    assert devices.inference_dtype(encoder, CPU) == expected


@pytest.mark.parametrize(("name", "modality"), [("scratch-text", "text"), ("scratch-image", "image")])
def test_every_modality_can_be_timed(monkeypatch, name, modality):
    monkeypatch.setattr(devices, "_processor_flags", lambda: {"avx512_bf16"})
    dtype = devices.inference_dtype(load_encoder(name, modality), CPU)
    assert dtype in (torch.float32, torch.bfloat16)


def test_features_are_float32_in_either_precision():
    encoder = load_encoder("scratch-text", "text")
    for dtype in (torch.float32, torch.bfloat16):
        with torch.inference_mode(), devices.precision(CPU, dtype):
            features = encoder(encoder.prepare(["red shoes"]))
        assert features.dtype == torch.float32


@pytest.mark.parametrize(("name", "modality"), [("lite-text", "text"), ("lite-image", "image")])
def test_every_device_here_gives_the_same_features(name, modality):
    encoder = load_encoder(name, modality)
    inputs = encoder.example(4)
    with torch.no_grad():
        expected = encoder(inputs)
        for device in {CPU, devices.resolve_device("auto")}:
            encoder.to(device)
            features = encoder({key: value.to(device) for key, value in inputs.items()}).cpu()
            assert torch.cosine_similarity(expected.flatten(1), features.flatten(1)).min() > 0.9999

"""A training does the same to the last bit, however its threads are scheduled.

The sizes are such that backward passes really run in two threads: below 32,768 numbers, torch takes one.
"""

import importlib.util

import pytest
import torch
import transformers
from conftest import require
from encoders.tiny_models import save_vit
from model.shape_catalogue import COLOURS, SHAPES, catalogue_of, draw
from torch.nn import functional

from likewise.config import TrainConfig
from likewise.encoders.indexing import ReproducibleIndexing, take
from likewise.model.model import Model
from likewise.progress import quiet
from likewise.training.clock import Clock
from likewise.training.distributed import Processes
from likewise.training.features import LiveFeatures
from likewise.training.ground import prepare
from likewise.training.objective import Objective
from likewise.training.regimes import cut_encoders
from likewise.training.resume import Environment
from likewise.training.train import train

REPEATS = 4


@pytest.fixture(autouse=True)
def two_threads():
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    with quiet():
        yield
    torch.set_num_threads(before)


def listings(folder, cache=None):
    """400 items of 30 kinds, each with a title that it shares with a dozen others."""
    kinds = [(colour, shape) for colour in COLOURS for shape in SHAPES]
    rows = []
    for number in range(400):
        colour, shape = kinds[number % len(kinds)]
        rows.append(
            {
                "title": f"{colour} {shape}",
                "description": f"A {colour} {shape} on white paper. Item {number // 40} of our shop. Printed by hand.",
                "image_url": draw(colour, shape, 8 + number // 30),
            }
        )
    return catalogue_of(folder, rows, cache)


@pytest.fixture(scope="module")
def catalog(tmp_path_factory):
    return listings(tmp_path_factory.mktemp("listings"))


@pytest.fixture(scope="module")
def vit(tmp_path_factory):
    return str(save_vit(tmp_path_factory.mktemp("vit")))


def settings(regime, image_encoder, **changes):
    return TrainConfig.model_validate(
        {
            "model": {"text_encoder": "scratch-text", "image_encoder": image_encoder},
            "regime": regime,
            "epochs": 1,
            "precision": "float32",
            "device": "cpu",
            "threads": 2,
            **changes,
        }
    )


def objective_of(catalog, run, config):
    run.mkdir()
    ground = prepare(catalog, run, config, Environment(threads=2), Processes.ALONE, Clock())
    features = cut_encoders(ground.model, catalog, ground.texts, ground.cached, ground.config)
    objective = Objective(ground.model.network, features, ground.data, ground.config).train()
    torch.manual_seed(0)
    with torch.no_grad():
        for weight in objective.parameters():
            weight.add_(torch.randn_like(weight) * 0.01)  # off the zeros that residuals start from
    return objective


def gradients(objective, batch):
    objective.zero_grad(set_to_none=True)
    objective.backward(batch, 3)
    return {name: weight.grad for name, weight in objective.named_parameters() if weight.grad is not None}


def assert_the_same_each_time(compute):
    first = compute()
    assert first
    for _ in range(REPEATS):
        again = compute()
        assert [name for name in first if not torch.equal(first[name], again[name])] == []


@pytest.mark.parametrize("regime", ["frozen", "partial", "full"])
def test_a_steps_gradients_are_the_same_each_time(catalog, vit, tmp_path, regime):
    objective = objective_of(catalog, tmp_path / "run", settings(regime, vit))
    batch = objective.data.rows[: objective.config.rows_per_batch]
    assert_the_same_each_time(lambda: gradients(objective, batch))


@pytest.mark.parametrize(
    "changes",
    [
        {"loss": "sigmoid", "part_size": 48},
        {"matryoshka": (256, 64), "quantization": "int8", "label_smoothing": 0.1},
    ],
    ids=lambda changes: next(iter(changes)),
)
def test_so_they_are_with_every_loss_and_memory_setting(catalog, vit, tmp_path, changes):
    objective = objective_of(catalog, tmp_path / "run", settings("frozen", vit, **changes))
    batch = objective.data.rows[:128]
    assert_the_same_each_time(lambda: gradients(objective, batch))


def test_so_they_are_with_low_rank_maps(catalog, vit, tmp_path):
    require(importlib.util.find_spec("peft"), "peft is not installed")
    objective = objective_of(catalog, tmp_path / "run", settings("partial", vit, lora=2))
    batch = objective.data.rows[:64]
    assert_the_same_each_time(lambda: gradients(objective, batch))


def save_swin(folder):
    """A Swin Transformer whose table of position biases is looked up 49 · 49 times by 24 heads."""
    torch.manual_seed(1)
    sizes = {"embed_dim": 48, "depths": [1], "num_heads": [24], "window_size": 7, "patch_size": 4}
    transformers.SwinModel(transformers.SwinConfig(image_size=56, **sizes)).save_pretrained(folder)
    transformers.ViTImageProcessorPil(size={"height": 56, "width": 56}).save_pretrained(folder)
    return folder


def test_so_they_are_of_an_encoder_that_indexes_its_position_biases(catalog, tmp_path):
    swin = str(save_swin(tmp_path / "swin"))
    opened = Model.create(settings("full", swin).model, "cpu", {"text": "float32", "image": "float32"})
    encoder, features = opened.encoder("image"), LiveFeatures(opened, catalog, [])
    rows = torch.arange(6).numpy()

    def compute():
        encoder.zero_grad(set_to_none=True)
        (features.pictures(rows) ** 3).sum().backward()
        return {name: weight.grad for name, weight in encoder.named_parameters() if weight.grad is not None}

    assert_the_same_each_time(compute)


@pytest.mark.parametrize("regime", ["frozen", "partial", "full"])
def test_two_trainings_end_in_the_same_weights(vit, tmp_path, regime):
    written = []
    for name in ("first", "second"):  # each with a cache of its own, so that all is computed twice
        run = train(listings(tmp_path / "items", tmp_path / f"cache-{name}"), tmp_path / name, settings(regime, vit))
        written.append((run.path / "model.safetensors").read_bytes())
    assert written[0] == written[1]


@pytest.mark.parametrize("dim", [0, 1, 2])
@pytest.mark.parametrize("shape", [(4,), (2, 3), (0,)])
def test_places_of_any_dimension_are_taken_as_by_indexing(dim, shape):
    tensor = torch.randn(5, 6, 7, requires_grad=True)
    places = torch.randint(0, 5, shape)
    index = (*[slice(None)] * dim, places)
    (expected,) = torch.autograd.grad(tensor[index].square().sum(), tensor)
    assert torch.equal(take(tensor, places, dim), tensor[index])
    with ReproducibleIndexing():
        found = tensor[index]
        assert "Index" not in type(found.grad_fn).__name__
        (gradient,) = torch.autograd.grad(found.square().sum(), tensor)
    assert torch.equal(found, tensor[index]) and torch.allclose(gradient, expected)


def test_other_indices_are_left_alone():
    table = torch.randn(5, 6, requires_grad=True)
    rows, columns = torch.tensor([0, 4, 4]), torch.tensor([1, 1, 5])
    with ReproducibleIndexing():
        assert torch.equal(table[rows - 5], table[rows - 5 + 5])
        found = [table[rows, columns], table[2], table[..., 1:3], table[table > 0], table[None, rows], table[()]]
    expected = [table[rows, columns], table[2], table[..., 1:3], table[table > 0], table[None, rows], table[()]]
    assert all(map(torch.equal, found, expected))
    assert torch.equal(take(table, rows), functional.embedding(rows, table))

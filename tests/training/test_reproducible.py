"""A training does the same to the last bit, however its threads are scheduled.

The sizes are such that backward passes really run in two threads: below 32,768 numbers, torch takes one.
"""

import pytest
import torch
from conftest import require_library
from encoders.tiny_models import save_vit
from model.shape_catalogue import COLOURS, SHAPES, catalogue_of, draw

from likewise.config import TrainConfig
from likewise.progress import quiet
from likewise.training.context import Clock, prepare_training
from likewise.training.distributed import Processes
from likewise.training.features import take_rows
from likewise.training.freezing import cut_encoders
from likewise.training.objective import Objective
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
    ground = prepare_training(catalog, run, config, Environment(threads=2), Processes.ALONE, Clock())
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
        {"loss": "sigmoid", "grad_cache_chunk": 48},
        {"matryoshka": (256, 64), "quantization": "int8", "label_smoothing": 0.1},
    ],
    ids=lambda changes: next(iter(changes)),
)
def test_so_they_are_with_every_loss_and_memory_setting(catalog, vit, tmp_path, changes):
    objective = objective_of(catalog, tmp_path / "run", settings("frozen", vit, **changes))
    batch = objective.data.rows[:128]
    assert_the_same_each_time(lambda: gradients(objective, batch))


def test_so_they_are_with_low_rank_maps(catalog, vit, tmp_path):
    require_library("peft")
    objective = objective_of(catalog, tmp_path / "run", settings("partial", vit, lora=2))
    batch = objective.data.rows[:64]
    assert_the_same_each_time(lambda: gradients(objective, batch))


@pytest.mark.parametrize("regime", ["frozen", "partial", "full"])
def test_two_trainings_end_in_the_same_weights(vit, tmp_path, regime):
    written = []
    for name in ("first", "second"):  # each with a cache of its own, so that all is computed twice
        run = train(listings(tmp_path / "items", tmp_path / f"cache-{name}"), tmp_path / name, settings(regime, vit))
        written.append((run.path / "model.safetensors").read_bytes())
    assert written[0] == written[1]


def test_rows_are_taken_as_by_indexing():
    vectors, places = torch.randn(5, 6, requires_grad=True), torch.tensor([4, 0, 4, 4])
    assert torch.equal(take_rows(vectors, places), vectors[places])
    ours, theirs = (
        torch.autograd.grad(rows.square().sum(), vectors)[0] for rows in (take_rows(vectors, places), vectors[places])
    )
    assert torch.allclose(ours, theirs)
    assert take_rows(vectors, places[:0]).shape == (0, 6)

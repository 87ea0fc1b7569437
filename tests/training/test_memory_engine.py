"""Gradient caching × tiles × processes: the gradients of the plain loss, in any combination."""

import itertools
import multiprocessing
from unittest import mock

import numpy as np
import pytest
import torch
from torch import nn
from training.identity_codes import identity_of
from training.toy_network import toy_objective

from likewise.evaluation.judgments.query_log import QueryLog
from likewise.training import tiled_loss
from likewise.training.distributed import Processes

ROWS = 24
BATCH = np.arange(16)
# Rows share titles, descriptions and pictures; some queries have graded answers.
IDENTITY = identity_of([n // 2 for n in range(ROWS)], [n // 3 for n in range(ROWS)], [n % 11 for n in range(ROWS)])
LOG = QueryLog.from_entries(ROWS, np.arange(ROWS).repeat(2), np.arange(2 * ROWS) % 13, 0.5 + np.arange(2 * ROWS) % 5)
LOSSES = {
    "nt-xent": {},
    "smoothed": {"label_smoothing": 0.1},
    "sigmoid": {"loss": "sigmoid"},
    "matryoshka": {"matryoshka": (8, 4)},
    "int8": {"quantization": "int8"},
    "binary": {"quantization": "binary", "matryoshka": (8,)},
}
PARTS = (None, 1, 5, 64)


def objective_of(dropout=0.0, processes=Processes.ALONE, **options):
    """An objective over rows that lack some pictures, whose weights are no longer those of the start."""
    settings = {"negatives": 20, "title_negatives": 5, "patch_dropout": 0.3, "patch_area": 0.5, **options}
    pictured = [row % 5 != 3 for row in range(ROWS)]
    objective = toy_objective(IDENTITY, pictured=pictured, asked=LOG, processes=processes, **settings).double()
    objective.features.table, objective.features.images = (
        tensor.double() for tensor in (objective.features.table, objective.features.images)
    )
    generator = torch.Generator().manual_seed(5)
    with torch.no_grad():
        for name, weight in objective.named_parameters():
            if name not in ("log_scale", "bias"):
                weight += 0.3 * torch.randn(weight.shape, generator=generator, dtype=weight.dtype)
    for module in objective.modules():
        if isinstance(module, nn.Dropout):
            module.p = dropout
    return objective.train()


def gradients(objective):
    found = {name: weight.grad for name, weight in objective.named_parameters() if weight.grad is not None}
    assert all(torch.isfinite(grad).all() for grad in found.values())
    return found


def plain_gradients(grad_cache_chunk=None, **options):
    """With all activations in memory, encoded in the same parts, since these have their own crops and dropout."""
    objective = objective_of(**options)
    plan = objective.draw(BATCH, 3)
    towers = {
        job.tower: torch.cat([objective.encode(part) for part in job.parts(grad_cache_chunk)]) for job in plan.inputs
    }
    loss = objective.loss(plan, towers)
    loss.backward()
    return loss.detach(), gradients(objective)


def assert_equal(ours, theirs):
    assert ours.keys() == theirs.keys()
    for name, gradient in theirs.items():
        assert torch.allclose(ours[name], gradient, rtol=1e-8, atol=1e-10), name


def assert_not_vacuous(loss, found):
    """All that trains gets a gradient, the temperature included; otherwise equality would say nothing."""
    assert loss > 0.05
    norms = {name: gradient.norm().item() for name, gradient in found.items()}
    assert {"log_scale", "network.fusion.gates", "network.heads.image.queries"} <= norms.keys()
    assert any(name.startswith("network.query_head") for name in norms)
    assert all(norm > 1e-7 for norm in norms.values()), norms


@pytest.mark.parametrize("loss", LOSSES)
@pytest.mark.parametrize("dropout", [0.0, 0.4])
@pytest.mark.parametrize("grad_cache_chunk", PARTS[1:])
@pytest.mark.parametrize("tile", [(3, 4), (512, 2048)])
def test_cached_gradients_equal_plain_ones(loss, dropout, grad_cache_chunk, tile):
    expected_loss, expected = plain_gradients(grad_cache_chunk, dropout=dropout, **LOSSES[loss])
    objective = objective_of(dropout, grad_cache_chunk=grad_cache_chunk, **LOSSES[loss])
    with mock.patch.dict(tiled_loss._TILES, {"cpu": tile}):
        ours = objective.backward(BATCH, 3)
    assert torch.allclose(ours, expected_loss, rtol=1e-9)
    assert_equal(gradients(objective), expected)
    assert_not_vacuous(expected_loss, expected)


def test_parts_are_parts_and_dropout_drops():
    objective = objective_of(0.4, grad_cache_chunk=5)
    plan = objective.draw(BATCH, 3)
    image = next(job for job in plan.inputs if job.tower == "image")
    assert [len(part.values) for part in image.parts(5)] == [5] * (len(image.values) // 5) + [len(image.values) % 5]
    first, again = objective.encode(image), objective.encode(image)
    assert first.equal(again)
    other = next(job for job in objective.draw(BATCH, 4).inputs if job.tower == "image")
    shared = np.intersect1d(image.values, other.values)
    places = [torch.from_numpy(np.searchsorted(job.values, shared)) for job in (image, other)]
    assert not torch.allclose(first[places[0]], objective.encode(other)[places[1]], atol=1e-3)


def test_no_more_than_a_part_is_encoded_at_a_time():
    objective = objective_of(grad_cache_chunk=4)
    with mock.patch.object(objective.features, "pictures", wraps=objective.features.pictures) as pictures:
        objective.backward(BATCH, 0)
    sizes = [len(call.args[0]) for call in pictures.call_args_list]
    assert max(sizes) == 4 and len(sizes) > 6, "each part twice"


def _train_in_process(rank, count, store, options, results):
    torch.set_num_threads(1)
    torch.distributed.init_process_group("gloo", init_method=f"file://{store}", rank=rank, world_size=count)
    objective = objective_of(processes=Processes(rank, count), **options)
    loss = objective.backward(BATCH, 3)
    trained = list(objective.named_parameters())
    objective.processes.sum_gradients(weight for _, weight in trained if weight.requires_grad)
    own = objective.draw(BATCH, 3)
    results.put(
        (rank, loss.item(), {name: grad.numpy() for name, grad in gradients(objective).items()}, len(own.items.row))
    )
    torch.distributed.barrier()
    torch.distributed.destroy_process_group()


@pytest.mark.parametrize(
    ("loss", "grad_cache_chunk"), [pair for pair in itertools.product(LOSSES, PARTS[:3]) if pair[0] != "smoothed"]
)
def test_two_processes_have_the_gradients_of_one(tmp_path, loss, grad_cache_chunk):
    options = {"grad_cache_chunk": grad_cache_chunk, "patch_area": 1.0, "patch_dropout": 0.0, **LOSSES[loss]}
    expected_loss, expected = plain_gradients(**options)
    assert_not_vacuous(expected_loss, expected)
    context = multiprocessing.get_context("fork")
    results = context.Queue()
    processes = [
        context.Process(target=_train_in_process, args=(rank, 2, tmp_path / "store", options, results))
        for rank in range(2)
    ]
    for process in processes:
        process.start()
    found = sorted(results.get(timeout=60) for _ in processes)
    for process in processes:
        process.join(timeout=60)
    assert all(count > 5 for *_, count in found), "each has a share"
    for _, their_loss, their_gradients, _ in found:
        assert their_loss == pytest.approx(expected_loss.item(), rel=1e-9)
        assert_equal({name: torch.from_numpy(grad) for name, grad in their_gradients.items()}, expected)

"""Memory and time of the tiled loss beside the plain one, and of gradient caching beside a plain step.

The loss: batch 32,768 × 512, forward and backward; the plain form holds the whole similarity matrix. The step: regime
full on photos, a batch of 128 in parts of 16 beside the whole at once, and a batch of 1,024 in parts. Every figure is
measured in a process of its own: peak resident memory beyond what it had before the step.
"""

import argparse
import gc
import json
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import torch
from measuring import options, record, run
from torch import Tensor

from likewise.catalog.catalog import Catalog
from likewise.catalog.identity import Identity
from likewise.config import ModelSettings, TrainConfig
from likewise.model.model import Model
from likewise.training.batches import TrainingSet
from likewise.training.features import LiveFeatures
from likewise.training.losses import CodedEmbeddings, ContrastiveBatch, symmetric_nt_xent
from likewise.training.objective import Objective
from likewise.training.views import RowTexts

_DIM = 512
_STEPS = {"plain, 128": (128, None), "in parts of 16, 128": (128, 16), "in parts of 16, 1,024": (1024, 16)}


def main() -> None:
    parser = options(__doc__)
    parser.add_argument("--batch", type=int, default=32_768, help="rows of the loss")
    parser.add_argument("--child", help="internal: what to measure in this process")
    arguments = parser.parse_args()
    if arguments.child:
        print(json.dumps(_measure(arguments)))
        return
    loss = {name: _in_child(arguments, name) for name in ("plain loss", "tiled loss")}
    steps = {name: _in_child(arguments, name) for name in _STEPS}
    plain, tiled = loss["plain loss"], loss["tiled loss"]
    whole, parts, large = steps.values()
    record(
        "memory",
        {
            f"the loss alone, {arguments.batch:,} × {_DIM}": loss,
            "ratio of memory (at most 0.05)": round(tiled["MB"] / plain["MB"], 4),
            "ratio of time (at most 1.3)": round(tiled["seconds"] / plain["seconds"], 2),
            "largest difference of the gradients": abs(plain["check"] - tiled["check"]),
            "a step of the regime full": steps,
            "ratio of activation memory (at most 0.25)": round(parts["MB"] / whole["MB"], 3),
            "ratio of step time (at most 1.5)": round(parts["seconds"] / whole["seconds"], 2),
            "peak GB of the whole process, batch 1,024 (at most 12)": round(large["peak MB"] / 1e3, 2),
        },
    )


def _in_child(arguments: argparse.Namespace, name: str) -> dict[str, float]:
    command = (sys.executable, __file__, "--child", name, "--data", arguments.data, "--batch", str(arguments.batch))
    return json.loads(run(*command).output)


def _measure(arguments: argparse.Namespace) -> dict[str, float]:
    if arguments.child in _STEPS:
        return _step(arguments.data, *_STEPS[arguments.child])
    return _loss(arguments.batch, tiled=arguments.child == "tiled loss")


def _loss(batch: int, tiled: bool) -> dict[str, float]:
    """Forward and backward with respect to both sides and the temperature; every row is a thing of its own."""
    generator = torch.Generator().manual_seed(0)
    sides = [torch.nn.functional.normalize(torch.randn(batch, _DIM, generator=generator), dim=-1) for _ in range(2)]
    sides[1] = torch.nn.functional.normalize(sides[0] + 0.5 * sides[1], dim=-1)
    log_scale = torch.tensor(3.0, requires_grad=True)
    codes, none = torch.arange(batch)[:, None], torch.full((batch, 1), -1)
    for vectors in sides:
        vectors.requires_grad_(True)

    def step() -> None:
        if tiled:
            contrast = ContrastiveBatch(*(CodedEmbeddings(vectors, codes, none) for vectors in sides))
            loss = symmetric_nt_xent(contrast, log_scale.exp())
        else:
            loss = _plain(sides[0], sides[1], log_scale.exp())
        for tensor in (*sides, log_scale):
            tensor.grad = None
        loss.backward()

    _warm_up()
    seconds, grown = _best_of(step, 3)
    return {"seconds": seconds, "MB": grown, "check": float(sides[0].grad.norm() + log_scale.grad)}


def _plain(anchors: Tensor, items: Tensor, scale: Tensor) -> Tensor:
    logits = scale * anchors @ items.T
    labels = torch.arange(len(logits))
    cross_entropy = torch.nn.functional.cross_entropy
    return (cross_entropy(logits, labels) + cross_entropy(logits.T, labels)) / 2


def _step(data: Path, batch: int, grad_cache_chunk: int | None) -> dict[str, float]:
    with tempfile.TemporaryDirectory() as cache:
        catalog = Catalog.read(data, max_items=batch + 64, cache=Path(cache))
        config = TrainConfig(regime="full", batch_size=batch, grad_cache_chunk=grad_cache_chunk)
        model = Model.create(ModelSettings(), "cpu", {"text": "float32", "image": "float32"})
        texts = RowTexts.collect(catalog, model.fields, 0)
        shown = np.array([bool(pictures) for pictures in catalog.pictures])
        rows = np.flatnonzero(shown)[:batch]
        data_set = TrainingSet.build(rows, texts, Identity.read(catalog), shown)
        model.network.requires_grad_(True)
        objective = Objective(model.network, LiveFeatures(model, catalog, texts.texts), data_set, config).train()
        warm = Objective(model.network, objective.features, data_set, config.model_copy(update={"grad_cache_chunk": 8}))
        warm.train().backward(rows[:8], 0)  # gradients, caches and pools of memory are there before the measurement
        seconds, grown = _best_of(lambda: objective.backward(rows, 1), 2 if batch <= 128 else 1)
    return {"seconds": seconds, "MB": grown, "peak MB": round(_memory("VmHWM") / 1e6)}


def _best_of(step, rounds: int) -> tuple[float, float]:
    """Seconds of the fastest round, and the MB by which the peak of resident memory grew."""
    gc.collect()
    Path("/proc/self/clear_refs").write_text("5")  # Linux: the peak so far is forgotten
    before = _memory("VmRSS")
    seconds = []
    for _ in range(rounds):
        started = time.perf_counter()
        step()
        seconds.append(time.perf_counter() - started)
    return round(min(seconds), 3), round((_memory("VmHWM") - before) / 1e6, 1)


def _memory(name: str) -> int:
    """Bytes, from Linux's account of this process: VmRSS is what is resident, VmHWM its peak."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith(f"{name}:"):
            return int(line.split()[1]) * 1024
    sys.exit("this benchmark reads /proc/self/status, which only Linux has")


def _warm_up() -> None:
    torch.randn(256, 256) @ torch.randn(256, 256)


if __name__ == "__main__":
    main()

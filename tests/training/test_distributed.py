"""Two processes train one model, as `torchrun` starts them."""

import subprocess
import sys

import numpy as np
from model.shape_catalogue import write_catalogue
from training.toy_network import toy_objective, unlike

from likewise.evaluation.results import RunMetrics
from likewise.model.model import Model
from likewise.training.distributed import Processes
from likewise.training.loop import fit
from likewise.training.optimizer import build_optimizer
from likewise.training.planner import Stage
from likewise.training.training_state import TrainingState


def test_two_processes_train_one_model(tmp_path, tiny):
    catalogue = write_catalogue(tmp_path / "shapes")
    tiny.write(tmp_path / "tiny.yaml")
    command = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node", "2"]
    command += ["--rdzv-backend", "c10d", "--rdzv-endpoint", "127.0.0.1:0"]
    command += ["-m", "likewise.cli", "train", str(catalogue), "--output", str(tmp_path / "run")]
    command += ["--config", str(tmp_path / "tiny.yaml"), "--cache", str(tmp_path / "cache")]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=300)
    assert done.returncode == 0, done.stderr
    assert done.stderr.count("Training on 40 items") == 1, "one of them speaks"
    metrics = RunMetrics.read(tmp_path / "run")
    image = next(subset for subset in metrics.comparison.subsets if subset.subset == "image")
    assert image.system("trained").metrics["mrr"].mean > image.system("untrained").metrics["mrr"].mean + 0.15
    assert Model.load(tmp_path / "run", "cpu").encode_queries(["red circle"]).shape == (1, 64)
    assert not list((tmp_path / "run").rglob("*.new"))


def test_alone_nothing_is_exchanged(monkeypatch, tmp_path):
    alone = Processes.join("cpu")
    assert alone == Processes.ALONE and alone.leads
    for name in ("gather", "sum_number", "sum_gradients"):
        monkeypatch.setattr(Processes, name, None)  # calling it fails
    objective = toy_objective(unlike(8), epochs=1, processes=alone)
    optimizer = build_optimizer(objective, objective.network, objective.config)
    fit(objective, optimizer, Stage("", objective.config), tmp_path, TrainingState(), lambda: np.zeros(3))
    assert alone.from_leader({"a": 1}) == {"a": 1}
    with alone.one_after_the_other():
        pass

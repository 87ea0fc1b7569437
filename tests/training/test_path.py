"""A row's way to the gradient: how many modules somebody reads who follows it from `fit` to the optimizer's step."""

import sys
from pathlib import Path

import numpy as np
import torch

import likewise
from likewise.training.context import Clock, prepare_training
from likewise.training.distributed import Processes
from likewise.training.loop import fit
from likewise.training.objective import Objective
from likewise.training.optimizer import build_optimizer
from likewise.training.planner import Stage
from likewise.training.resume import Environment
from likewise.training.training_state import TrainingState

PACKAGE = Path(likewise.__file__).parent
MOST_MODULES = 12
# One file each at the top of the package: settings, random streams, progress. They are on every way, and no stop on it.
EVERYWHERE = {"config", "seeds", "progress"}


class SteppedError(Exception):
    """The optimizer has been asked for its first step."""


def test_a_row_crosses_few_modules_from_fit_to_the_step(shapes, tiny, tmp_path, monkeypatch):
    run = tmp_path / "run"
    run.mkdir()
    environment = Environment(threads=1, precision={"text": "float32", "image": "float32"})
    context = prepare_training(shapes, run, tiny, environment, Processes.ALONE, Clock())
    objective = Objective(context.model.network, context.cached, context.data, context.config)
    optimizer = build_optimizer(objective, context.model.network, context.config)
    entered: set[str] = set()

    def note(frame, event, argument):
        path = Path(frame.f_code.co_filename)
        if event == "call" and path.is_relative_to(PACKAGE):
            entered.add(".".join(path.relative_to(PACKAGE).with_suffix("").parts))

    def step(*arguments, **options):
        sys.setprofile(None)
        assert all(group["lr"] > 0 for group in optimizer.param_groups)
        assert any(weight.grad is not None and weight.grad.any() for weight in objective.parameters())
        raise SteppedError

    monkeypatch.setattr(optimizer, "step", step)
    scores, state = np.zeros(3), TrainingState()
    sys.setprofile(note)
    try:
        fit(objective, optimizer, Stage("", context.config), run, state, lambda: scores)
    except SteppedError:
        pass
    finally:
        sys.setprofile(None)
    rooms = sorted(entered - EVERYWHERE)
    assert {"training.loop", "training.losses", "model.network"} <= set(rooms), "the step was not followed"
    assert len(rooms) <= MOST_MODULES, f"{len(rooms)} modules: {', '.join(rooms)}"
    assert torch.is_grad_enabled()

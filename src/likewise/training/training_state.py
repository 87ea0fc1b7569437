"""What a training needs to go on exactly where it was killed."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from likewise.checksums import verify_archive
from likewise.errors import UserError
from likewise.files import make_folder, replace_file

FILE = Path("training") / "state.pt"


@dataclass
class TrainingState:
    """Everything that changes while training; all of it tensors, numbers and text.

    Attributes:
        stage: of the recipe. step: steps done in it. epochs: that it lasts, as planned by now; 0 before it begins.
        weights: the trainable parameters. averaged: their moving averages. best: the averages that scored best.
        peak: (questions,) the scores of the evaluation with the highest mean.
        floor: the mean score that the stage began with.
        best_epoch: of the training as a whole, as `history` counts them.
        optimizer: AdamW's own state.
        history: one entry per epoch, as `evaluation.results.Epoch` holds them.
        neighbours: (all rows, hard_negatives) what was last mined; empty before.
        minutes: of training so far, interruptions left out.
        running_loss: sum of the losses of the epoch that is under way.
        learned: what each finished training of a stacked one learned, whose weights are averaged.
    """

    stage: int = 0
    step: int = 0
    epochs: int = 0
    weights: dict[str, Tensor] = field(default_factory=dict)
    averaged: dict[str, Tensor] = field(default_factory=dict)
    best: dict[str, Tensor] = field(default_factory=dict)
    peak: Tensor = field(default_factory=lambda: torch.zeros(0))
    floor: float = 0.0
    best_epoch: int = 0
    optimizer: dict[str, Any] = field(default_factory=dict)
    history: list[dict[str, Any]] = field(default_factory=list)
    running_loss: float = 0.0
    neighbours: Tensor = field(default_factory=lambda: torch.zeros(0, dtype=torch.long))
    minutes: float = 0.0
    learned: list[dict[str, Tensor]] = field(default_factory=list)

    def write(self, run: Path) -> None:
        """Write in one step: a kill at any moment leaves the old state or the new one."""
        target = run / FILE
        make_folder(target.parent)
        with replace_file(target, RuntimeError) as temporary, temporary.open("wb") as file:
            torch.save({name: getattr(self, name) for name in self.__dataclass_fields__}, file)

    @classmethod
    def read(cls, run: Path, device: torch.device) -> "TrainingState | None":
        """The state of an unfinished training, None if there is none.

        Raises:
            UserError: the file is damaged.
        """
        target = run / FILE
        if not target.is_file():
            return None
        try:
            verify_archive(target)
            return cls(**torch.load(target, map_location=device, weights_only=True))
        except Exception as error:  # torch raises many kinds, and each means the same to the user
            raise UserError(
                f"cannot resume from {target} ({type(error).__name__}): start over with --restart"
            ) from None

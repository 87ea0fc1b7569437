"""Early stopping: the weights with the best validation score."""

import math
from collections.abc import Mapping

import torch
from torch import Tensor, nn

from likewise.errors import UserError


class Best:
    """The best weights so far."""

    def __init__(self) -> None:
        self.score = -math.inf
        self.progress = 0.0
        self._weights: Mapping[str, Tensor] = {}

    def offer(self, score: float, module: nn.Module, progress: float) -> None:
        """Keep the module's weights if they are at least as good as any before."""
        if score >= self.score:
            self.score, self.progress = score, progress
            self._weights = {name: weight.detach().clone() for name, weight in module.state_dict().items()}

    @torch.no_grad()
    def restore(self, module: nn.Module) -> None:
        """Give the module the best weights.

        Raises:
            UserError: there are none, as the time was up before the first validation.
        """
        if not self._weights:
            raise UserError("the budget ends before the first validation; give more seconds (--budget)")
        module.load_state_dict(self._weights)

"""What all encoders from Hugging Face have in common: a network, its tokenizer or image processor, and a cut."""

from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

import torch
from pydantic import Field
from torch import Tensor

from likewise.encoders.activation import Activation
from likewise.encoders.base import Encoder, Modality
from likewise.encoders.split_forward import Blocks
from likewise.errors import UserError

Width = Annotated[int, Field(ge=1, le=65_536)]


class HuggingFaceEncoder(Encoder):
    """A transformers network and what prepares its inputs.

    A child class defines `prepare`, `forward` and `restore`, and `stand_in` where its inputs are not plain ones.

    Attributes:
        network: a transformers model.
        preparation: its tokenizer or image processor, saved with it.
    """

    def __init__(
        self,
        name: str,
        modality: Modality,
        network: Any,
        preparation: Any,
        description: dict[str, Any],
        **attributes: Any,
    ) -> None:
        super().__init__(name=name, modality=modality, **attributes)
        self.network = network
        self.preparation = preparation
        self._description = description
        self._blocks: Blocks | None = None
        self._picture: dict[str, Tensor] | None = None

    def description(self) -> dict[str, Any]:
        return self._description

    def save_files(self, folder: Path) -> None:
        self.network.config.save_pretrained(folder)
        self.preparation.save_pretrained(folder)

    @property
    def stack(self) -> Blocks:
        """The blocks of the network."""
        if self._blocks is None:
            self._blocks = Blocks(self.network)
            self._blocks.learn_to_pass(lambda: self.forward(self.example_here(1)))
        return self._blocks

    @property
    def blocks(self) -> int:
        return len(self.stack)

    def forward_to(self, inputs: dict[str, Tensor], cut: int) -> Tensor:
        states = self.stack.below(cut, lambda: self.forward(inputs)).float()
        return states.permute(0, 2, 3, 1) if states.dim() == 4 else states

    def forward_from(self, states: Tensor, cut: int) -> Tensor:
        return self.run_above(states, cut, self.forward)

    def run_above(self, states: Tensor, cut: int, run: Callable[[dict[str, Tensor]], Tensor]) -> Tensor:
        """What `run` makes of stand-in inputs when the network goes on from the states before block `cut`."""
        maps = states.permute(0, 3, 1, 2) if states.dim() == 4 else states
        return self.stack.above(cut, maps, lambda: run(self.stand_in(states)))

    def stand_in(self, states: Tensor) -> dict[str, Tensor]:
        """Inputs that send the network on its way to the cut: any one picture."""
        if self._picture is None:
            self._picture = self.example_here(1)
        return {key: value.to(states.device) for key, value in self._picture.items()}

    def measure(self, cut: int) -> Activation:
        """Shape and grid, tried on an example."""
        inputs = self.example_here(2)
        was_training = self.training
        self.eval()
        try:
            with torch.no_grad():
                activation = self._try(inputs, cut)
        finally:
            self.train(was_training)
        return activation

    def _try(self, inputs: dict[str, Tensor], cut: int) -> Activation:
        whole = self.forward(inputs)
        states = self.forward_to(inputs, cut)
        if not torch.allclose(self.forward_from(states, cut), whole, rtol=1e-3, atol=1e-3 * float(whole.abs().max())):
            raise UserError(f"the encoder {self.name} cannot be cut at {cut}; train it with --regime frozen or full")
        shape = tuple(states.shape[1:])
        grid, extra = self._find_grid(states, inputs)
        if grid is None:
            return Activation(shape)
        step = max(1, grid[0] // self.grid[0]) if self.grid is not None and len(shape) == 3 else 1
        activation = Activation(shape, grid, extra, step)
        return activation if self._accepts_rectangle(activation, states, cut) else Activation(shape)

    def _find_grid(self, states: Tensor, inputs: dict[str, Tensor]) -> tuple[tuple[int, int] | None, int]:
        """(rows, columns) of the states, and tokens before these."""
        if states.dim() == 4:
            return (states.shape[1], states.shape[2]), 0
        pixels, patch = inputs["pixel_values"], getattr(self.network.config, "patch_size", None)
        if pixels.dim() != 4 or not patch:
            return None, 0
        height, width = patch if isinstance(patch, tuple | list) else (patch, patch)
        rows, columns = pixels.shape[2] // height, pixels.shape[3] // width
        extra = states.shape[1] - rows * columns
        return ((rows, columns), extra) if extra >= 0 else (None, 0)

    def _accepts_rectangle(self, activation: Activation, states: Tensor, cut: int) -> bool:
        """Whether the network reads rectangles, too: not where position biases or windows are tied to the grid."""
        if activation.grid is None:
            return False
        rows, columns = (
            max(activation.step, side // 2 // activation.step * activation.step) for side in activation.grid
        )
        if states.dim() == 4:
            part = states[:, :rows, :columns]
        else:
            patches = states[:, activation.extra :].unflatten(1, activation.grid)[:, :rows, :columns]
            part = torch.cat([states[:, : activation.extra], patches.flatten(1, 2)], dim=1)
        try:
            self.forward_from(part, cut)
        except (RuntimeError, ValueError, AssertionError):
            return False
        return True

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_blocks": None, "_picture": None}

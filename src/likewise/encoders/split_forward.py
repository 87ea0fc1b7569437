"""A network cut between two of its blocks, whatever its architecture.

The network itself runs both times, and only its blocks are watched. Below the cut, the run is stopped where the block
at the cut is called, and what it would have read is kept. Above the cut, the run begins with stand-in inputs, earlier
blocks are passed over, and the block at the cut is given the kept states in place of what arrives. So masks, position
biases, pooling and projections are the network's own.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn


class _Reached(Exception):  # noqa: N818 - not an error: the way out of a network's forward
    def __init__(self, states: Tensor) -> None:
        super().__init__()
        self.states = states


class Blocks:
    """The blocks of a network, in the order in which they run.

    Attributes:
        blocks: the modules; none where the network has no such structure.
    """

    def __init__(self, network: nn.Module) -> None:
        self.blocks = _find_blocks(network)
        self._passed: dict[int, Callable[..., Any]] | None = None

    def __len__(self) -> int:
        return len(self.blocks)

    def below(self, cut: int, run: Callable[[], object]) -> Tensor:
        """What block `cut` reads when `run` sends inputs through the network; the rest of the network does not run."""

        def stop(block: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
            raise _Reached(args[0] if args else kwargs["hidden_states"])

        with _record_blocks(self.blocks[cut], stop):
            try:
                run()
            except _Reached as reached:
                return reached.states
        raise ValueError(f"block {cut} has not been called")

    def above(self, cut: int, states: Tensor, run: Callable[[], Tensor]) -> Tensor:
        """What `run` gives when block `cut` reads `states`, whatever the inputs are that `run` sends through."""

        def replace(block: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> tuple[Any, ...]:
            return ((states, *args[1:]), kwargs) if args else (args, kwargs | {"hidden_states": states})

        passed = {number: forward for number, forward in (self._passed or {}).items() if number < cut}
        for number, forward in passed.items():
            self.blocks[number].forward = forward  # in front of the class's own
        try:
            with _record_blocks(self.blocks[cut], replace):
                return run()
        finally:
            for number in passed:
                del self.blocks[number].forward

    def learn_to_pass(self, run: Callable[[], object]) -> None:
        """Find out which blocks can be passed over: those that give states as they read them, and nothing else.

        Others (one that also makes position biases, or halves a map) run on the stand-in.
        """
        found: dict[int, Callable[..., Any]] = {}
        with torch.no_grad():
            handles = [
                block.register_forward_hook(_watch(number, found), with_kwargs=True)
                for number, block in enumerate(self.blocks)
            ]
            try:
                run()
            finally:
                for handle in handles:
                    handle.remove()
        self._passed = found


def _watch(number: int, found: dict[int, Callable[..., Any]]) -> Callable[..., None]:
    def watch(block: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any], output: object) -> None:
        states = args[0] if args else kwargs["hidden_states"]
        first, *others = output if isinstance(output, tuple) else (output,)
        if isinstance(first, Tensor) and first.shape == states.shape and all(other is None for other in others):
            found[number] = _passing(len(others) if isinstance(output, tuple) else None)

    return watch


def _passing(others: int | None) -> Callable[..., Any]:
    def pass_over(*args: Any, **kwargs: Any) -> Any:
        states = args[0] if args else kwargs["hidden_states"]
        return states if others is None else (states, *[None] * others)

    return pass_over


@contextmanager
def _record_blocks(block: nn.Module, hook: Callable[..., Any]) -> Iterator[None]:
    handle = block.register_forward_pre_hook(hook, with_kwargs=True)
    try:
        yield
    finally:
        handle.remove()


def _find_blocks(network: nn.Module) -> list[nn.Module]:
    """The longest stack of the network: its heaviest outermost list, with the blocks of stages in place of stages."""
    stacks = list(_outermost_lists(network))
    if not stacks:
        return []
    return [block for stage in max(stacks, key=_weights) for block in _list_blocks(stage)]


def _outermost_lists(module: nn.Module) -> Iterator[nn.ModuleList]:
    for child in module.children():
        if isinstance(child, nn.ModuleList):
            yield child
        else:
            yield from _outermost_lists(child)


def _list_blocks(stage: nn.Module) -> list[nn.Module]:
    """The blocks of a stage (of ConvNeXt, ResNet, Swin); of anything else, itself."""
    stacks = [child for child in stage.children() if isinstance(child, nn.ModuleList | nn.Sequential)]
    alike = [stack for stack in stacks if len({type(block) for block in stack}) == 1]
    heaviest = max(alike, key=_weights, default=None)
    return list(heaviest) if heaviest is not None and 2 * _weights(heaviest) > _weights(stage) else [stage]


def _weights(module: nn.Module) -> int:
    return sum(weight.numel() for weight in module.parameters())

"""Networks built from a stranger's description, in no more memory than their weights take.

A description of a few bytes can ask for any number of layers of any width. So what is built is counted on the way, and
refused before it is larger than the weights that belong to it.
"""

import math
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from torch import Tensor, nn
from torch.nn.modules import module as registration
from torch.utils._python_dispatch import TorchDispatchMode

from likewise.errors import UserError

# Some networks are built with parts that are thrown away again (classes, poolers), or with tables that are not saved.
_SPARE_NUMBERS = 2**25
_SPARE_PARTS = 10_000
_PARTS_PER_TENSOR = 16
_COUNTING = ("arange", "linspace", "logspace", "range", "eye")


@contextmanager
def bound_parameters(numbers: int, tensors: int, source: str) -> Iterator[None]:
    """Let a block build networks of so many numbers at most; some to spare.

    Args:
        numbers: that the weights hold. tensors: in which they hold them.
        source: what is to blame, such as the file of the weights.

    Raises:
        UserError: the block asks for more. Nothing of that size has been allocated then.
    """
    most, most_parts = numbers + _SPARE_NUMBERS, _SPARE_PARTS + _PARTS_PER_TENSOR * tensors
    thread = threading.get_ident()
    total = parts = 0

    def count_numbers(module: nn.Module, name: str, tensor: Tensor | None) -> None:
        nonlocal total
        if threading.get_ident() == thread and tensor is not None:
            total += tensor.numel()
            if total > most:
                raise _refusal(source)

    def count_parts(module: nn.Module, name: str, part: nn.Module | None) -> None:
        nonlocal parts
        if threading.get_ident() == thread:
            parts += 1
            if parts > most_parts:
                raise _refusal(source)

    hooks = [
        registration.register_module_parameter_registration_hook(count_numbers),
        registration.register_module_buffer_registration_hook(count_numbers),
        registration.register_module_module_registration_hook(count_parts),
    ]
    try:
        with _NoLargeTensor(most, source):
            yield
    finally:
        for hook in hooks:
            hook.remove()


class _NoLargeTensor(TorchDispatchMode):
    """Refuses operations that make a tensor of more than `most` numbers, before they make it."""

    def __init__(self, most: int, source: str) -> None:
        super().__init__()
        self._most, self._source = most, source

    def __torch_dispatch__(self, func: Any, types: Any, args: Sequence[Any] = (), kwargs: Any = None) -> Any:
        counting = func.overloadpacket.__name__ in _COUNTING
        for argument in (*args, *(kwargs or {}).values()):
            if _count_requested(argument, counting) > self._most:
                raise _refusal(self._source)
        return func(*args, **(kwargs or {}))


def _count_requested(argument: Any, counting: bool) -> int:
    """How many numbers an argument may ask for: as a size, or where to count to."""
    if counting and isinstance(argument, int | float) and math.isfinite(argument):
        return int(abs(argument))
    if isinstance(argument, list | tuple) and all(isinstance(one, int) for one in argument):
        return abs(math.prod(argument))
    return 0


def _refusal(source: str) -> UserError:
    return UserError(
        f"{source} describes a network of many more numbers than its weights hold: it is damaged, or made to fill the "
        "memory; train the model again, or get it again"
    )

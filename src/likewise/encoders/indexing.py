"""Indexing whose gradient has the same bits in every run.

On the CPU, the backward pass of `tensor[places]` adds up in several threads at once, in whatever order these arrive, so
places that occur twice get gradients that differ in their last bits from call to call. The backward pass of an
embedding lookup gives every row to one thread, on the GPU it sorts the places first, and the values are the same.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional
from torch.overrides import TorchFunctionMode


def take(tensor: Tensor, places: Tensor, dim: int = 0) -> Tensor:
    """`tensor` at some places of one dimension, which the dimensions of `places` replace.

    Args:
        tensor: (…, n, …)
        places: int64 of any shape, from 0 to n − 1.
        dim: which dimension of the tensor has length n.
    """
    if tensor.ndim == 2 and dim == 0:
        return functional.embedding(places, tensor)
    rows = tensor.movedim(dim, 0)
    taken = functional.embedding(places, rows.reshape(len(rows), -1)).reshape(*places.shape, *rows.shape[1:])
    return taken.movedim(tuple(range(places.ndim)), tuple(range(dim, dim + places.ndim)))


class ReproducibleIndexing(TorchFunctionMode):
    """Within this context, whatever indexes a trained tensor of the CPU by places goes through `take`.

    It is for networks of other libraries, such as Swin and BEiT, which look position biases up by `table[places]`.
    Indexing by several tensors at once stays as it is.
    """

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Sequence[type],
        args: tuple[Any, ...] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        if func is Tensor.__getitem__ and args[0].requires_grad and args[0].device.type == "cpu":
            found = _single_lookup(args[1])
            if found is not None:
                dim, places = found
                return take(args[0], torch.where(places < 0, places + args[0].shape[dim], places), dim)
        return func(*args, **(kwargs or {}))


def _single_lookup(index: Any) -> tuple[int, Tensor] | None:
    """The dimension and the places of an index like `[places]` or `[:, places]`; None for any other."""
    parts = index if isinstance(index, tuple) else (index,)
    dim = len(parts) - 1
    places = parts[dim] if parts else None
    whole = all(isinstance(part, slice) and part == slice(None) for part in parts[:dim])
    if whole and isinstance(places, Tensor) and places.ndim and places.dtype in (torch.int32, torch.int64):
        return dim, places
    return None

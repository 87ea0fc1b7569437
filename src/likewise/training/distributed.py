"""Processes that train one model together: each encodes its share of a batch, and all vectors are negatives of all.

Started by `torchrun` or `accelerate launch`, which say in the environment who is who.
"""

import os
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
import torch.distributed as dist
from torch import Tensor

from likewise.config import Device
from likewise.encoders.device import resolve_device
from likewise.errors import MissingExtraError


@dataclass(frozen=True)
class Processes:
    """This process among those that train together.

    Attributes:
        rank: its number, from 0.
        count: how many there are.
    """

    ALONE: ClassVar["Processes"]

    rank: int = 0
    count: int = 1

    @classmethod
    def join(cls, device: Device) -> "Processes":
        """Join those that were started together; one that was started by itself is alone.

        Args:
            device: that they train on; of several GPUs, each process gets a different one.

        Raises:
            UserError: the device is not available.
            MissingExtraError: several were started, and accelerate is not installed.
        """
        if int(os.environ.get("WORLD_SIZE", "1")) <= 1:
            return cls.ALONE
        try:
            from accelerate import PartialState
        except ImportError:
            raise MissingExtraError("accelerate", "distributed") from None
        state = PartialState(cpu=resolve_device(device).type == "cpu")
        return cls(state.process_index, state.num_processes)

    @property
    def leads(self) -> bool:
        """Whether this process speaks and writes for all."""
        return self.rank == 0

    def gather(self, vectors: Tensor, shares: Sequence[int]) -> Tensor:
        """The vectors of all processes, one process after the other; gradients find their way back.

        Args:
            vectors: (shares[rank], dim).
            shares: how many vectors each process has.
        """
        if torch.is_grad_enabled() and not vectors.requires_grad:
            vectors = vectors.clone().requires_grad_()  # all processes have to meet in the backward pass
        gathered: Tensor = _Gather.apply(vectors, list(shares), self.rank)
        return gathered

    def sum_number(self, number: Tensor) -> Tensor:
        """A number added up over all processes, without its gradient."""
        total = number.detach().clone()
        dist.all_reduce(total)
        return total

    def sum_gradients(self, parameters: Iterable[Tensor]) -> None:
        """Add up every parameter's gradients over all processes; one that got none anywhere keeps none."""
        weights = list(parameters)
        used = torch.tensor([weight.grad is not None for weight in weights], dtype=torch.uint8)
        device = weights[0].device if weights else torch.device("cpu")
        used = used.to(device)
        dist.all_reduce(used, op=dist.ReduceOp.MAX)
        shared = [weight for weight, somewhere in zip(weights, used.tolist(), strict=True) if somewhere]
        if not shared:
            return
        flat = torch.cat([(torch.zeros_like(w) if w.grad is None else w.grad).reshape(-1) for w in shared])
        dist.all_reduce(flat)
        for weight, gradient in zip(shared, flat.split([weight.numel() for weight in shared]), strict=True):
            weight.grad = gradient.view_as(weight).clone()

    def from_leader(self, value: Any) -> Any:
        """What the leading process has."""
        if self.count == 1:
            return value
        box = [value if self.leads else None]
        dist.broadcast_object_list(box, src=0)
        return box[0]

    @contextmanager
    def one_after_the_other(self) -> Iterator[None]:
        """The leading process goes through the block first, so that the others find what it has written."""
        if not self.leads:
            self.wait()
        yield
        if self.leads:
            self.wait()

    def wait(self) -> None:
        """Until all are here."""
        if self.count > 1:
            dist.barrier()


Processes.ALONE = Processes()


class _Gather(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, vectors: Tensor, shares: list[int], rank: int) -> Tensor:
        ctx.shares, ctx.rank = shares, rank
        padded = vectors.new_zeros(max(shares), vectors.shape[1])
        padded[: len(vectors)] = vectors
        everyone = [torch.empty_like(padded) for _ in shares]
        dist.all_gather(everyone, padded)
        return torch.cat([part[:share] for part, share in zip(everyone, shares, strict=True)])

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None, None]:
        total = gradients[0].contiguous().clone()
        dist.all_reduce(total)  # every process has the gradients of its own share of the loss
        start = sum(ctx.shares[: ctx.rank])
        return total[start : start + ctx.shares[ctx.rank]], None, None

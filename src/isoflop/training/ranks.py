"""The processes that train one run together: one by default, all that `torchrun` started otherwise."""

import atexit
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import cache
from typing import Any, TypeVar

import torch
from accelerate import PartialState
from accelerate.utils import broadcast_object_list, gather_object

__all__ = ["Ranks", "current_ranks"]

T = TypeVar("T")

BUCKET_ITEMS = 2**23
"""Gradients are summed in buckets of this many numbers: 32 MB in fp32."""


@dataclass(frozen=True)
class Ranks:
    """One process among those that train a run together."""

    rank: int
    num_ranks: int
    device: torch.device

    @property
    def is_first(self) -> bool:
        """The rank that plans, writes and shows."""
        return self.rank == 0

    def told(self, decide: Callable[[], T]) -> T:
        """What the first rank decides, on all ranks. What it raises is raised on all."""
        if self.num_ranks == 1:
            return decide()
        message: list[Any] = [None]
        if self.is_first:
            try:
                message = [(decide(), None)]
            except Exception as raised:
                message = [(None, raised)]
        broadcast_object_list(message)
        decided, error = message[0]
        if error is not None:
            raise error
        return decided  # type: ignore[no-any-return]

    def gathered(self, items: list[T]) -> list[T]:
        """The items of all ranks, in the order of ranks."""
        return items if self.num_ranks == 1 else gather_object(items)

    def summed(self, values: Iterable[float]) -> list[float]:
        """Each number summed over ranks."""
        if self.num_ranks == 1:
            return list(values)
        tensor = torch.tensor(list(values), dtype=torch.float64, device=self.device)
        torch.distributed.all_reduce(tensor)
        return [float(value) for value in tensor.tolist()]

    def sum_gradients(self, parameters: Iterable[torch.nn.Parameter]) -> None:
        """Sum every gradient over ranks; a parameter that no rank used keeps none."""
        if self.num_ranks == 1:
            return
        for bucket in _buckets([p for p in parameters if p.requires_grad]):
            used = torch.tensor([float(p.grad is not None) for p in bucket], device=self.device)
            gradients = [torch.zeros_like(p) if p.grad is None else p.grad for p in bucket]
            flat = torch.cat([gradient.reshape(-1) for gradient in gradients])
            torch.distributed.all_reduce(flat)
            torch.distributed.all_reduce(used)
            pieces = torch.split(flat, [p.numel() for p in bucket])
            for parameter, piece, users in zip(bucket, pieces, used.tolist(), strict=True):
                parameter.grad = piece.view_as(parameter) if users else None


@cache
def current_ranks() -> Ranks:
    """The ranks of this program: set up through Accelerate, from the environment that `torchrun` leaves."""
    # Without cpu=True Accelerate runs the processes of `torchrun` apart on a machine that has no accelerator.
    state = PartialState(cpu=not (torch.cuda.is_available() or torch.backends.mps.is_available()))
    if state.num_processes > 1:
        atexit.register(_leave)
    return Ranks(state.process_index, state.num_processes, state.device)


def _leave() -> None:
    """End the group while Python still runs: a thread of it that lets go of a tensor afterwards aborts the program."""
    if torch.distributed.is_initialized():
        torch.distributed.destroy_process_group()


def _buckets(parameters: list[torch.nn.Parameter]) -> Iterable[list[torch.nn.Parameter]]:
    bucket: list[torch.nn.Parameter] = []
    for parameter in parameters:
        same = not bucket or parameter.dtype == bucket[0].dtype
        if bucket and (
            not same or sum(p.numel() for p in bucket) + parameter.numel() > BUCKET_ITEMS
        ):
            yield bucket
            bucket = []
        bucket.append(parameter)
    if bucket:
        yield bucket

"""The processes that train one run together: one by default, or all that `torchrun` started."""

import atexit
import os
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING, Generic, TypeVar

if TYPE_CHECKING:
    import torch
    from accelerate import PartialState

__all__ = ["Ranks", "current_ranks"]

T = TypeVar("T")

_SIZES = ("WORLD_SIZE", "PMI_SIZE", "OMPI_COMM_WORLD_SIZE", "MV2_COMM_WORLD_SIZE")
"""Variables in which launchers give the number of processes, as Accelerate reads them."""


@dataclass(frozen=True)
class Ranks:
    """One process among those that train a run together."""

    rank: int
    num_ranks: int

    @property
    def device(self) -> "torch.device":
        """The device of this process."""
        device: torch.device = _state().device
        return device

    @property
    def is_first(self) -> bool:
        """Whether this is the rank that plans, writes and displays."""
        return self.rank == 0

    def broadcast(self, compute: Callable[[], T]) -> T:
        """Compute a value on the first rank and return it on all; an error is raised on all."""
        if self.num_ranks == 1:
            return compute()
        message: list[_Returned[T] | Exception | None] = [None]
        if self.is_first:
            try:
                message = [_Returned(compute())]
            except Exception as raised:
                message = [raised]
        from accelerate.utils import broadcast_object_list

        broadcast_object_list(message)
        (outcome,) = message
        if isinstance(outcome, Exception):
            raise outcome
        assert outcome is not None
        return outcome.value

    def gathered(self, items: list[T]) -> list[T]:
        """The items of all ranks, in the order of ranks."""
        if self.num_ranks == 1:
            return items
        from accelerate.utils import gather_object

        gathered: list[T] = gather_object(items)
        return gathered

    def summed(self, values: Iterable[float]) -> list[float]:
        """Each number summed over ranks."""
        if self.num_ranks == 1:
            return list(values)
        import torch

        tensor = torch.tensor(list(values), dtype=torch.float64, device=self.device)
        torch.distributed.all_reduce(tensor)
        return [float(value) for value in tensor.tolist()]


@dataclass(frozen=True)
class _Returned(Generic[T]):
    """A value, apart from an error that was raised in its place."""

    value: T


@cache
def current_ranks() -> Ranks:
    """The ranks of this program, set up through Accelerate from the environment of `torchrun`.

    Where the environment names one process, torch is not loaded.
    """
    if max(int(os.environ.get(name) or 1) for name in _SIZES) == 1:
        return Ranks(0, 1)
    state = _state()
    if state.num_processes > 1:
        atexit.register(_leave)
    return Ranks(state.process_index, state.num_processes)


@cache
def _state() -> "PartialState":
    import torch
    from accelerate import PartialState

    # Without an accelerator, the processes of `torchrun` form one group only with cpu=True.
    return PartialState(cpu=not (torch.cuda.is_available() or torch.backends.mps.is_available()))


def _leave() -> None:
    """End the group while Python still runs.

    One of its threads would abort the program if it released a tensor after that.
    """
    import torch

    if torch.distributed.is_initialized():
        torch.distributed.destroy_process_group()

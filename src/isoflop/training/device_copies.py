"""Copies of batches on the device; a GPU's are made while it computes earlier steps."""

from collections import deque
from collections.abc import Generator
from contextlib import closing
from dataclasses import dataclass
from typing import Any  # batches are of the user's types

import torch

from isoflop.user_code.data import mapped, tensors_in, to_device

__all__ = ["NUM_AHEAD", "DeviceCopies"]

NUM_AHEAD = 2
"""Batches on their way to a GPU: one that waits for its step, one that is copied."""


@dataclass
class _Copied:
    """A batch and its copy; or the error in its place, which is raised in its turn."""

    batch: object = None
    copy: object = None
    done: Any = None  # an event of the stream of copies
    error: Exception | None = None


class DeviceCopies:
    """The batches of a run on its device."""

    def __init__(self, device: torch.device) -> None:
        self.device = device
        self._latest = _Copied()

    def ahead(self, batches: Generator[object, None, None]) -> Generator[object, None, None]:
        """The same batches; those for a GPU are on their way there before their step begins."""
        return batches if self.device.type != "cuda" else self._copied(batches)

    def of(self, piece: object) -> object:
        """The copy of a whole batch, or a new one of a piece of it."""
        if piece is not None and piece is self._latest.batch:
            return self._latest.copy
        return to_device(piece, self.device)

    def _copied(self, batches: Generator[object, None, None]) -> Generator[object, None, None]:
        copies = torch.cuda.Stream(self.device)  # type: ignore[no-untyped-call]
        waiting: deque[_Copied] = deque()
        with closing(batches):
            while True:
                while len(waiting) < NUM_AHEAD:
                    waiting.append(self._begun(batches, copies))
                self._latest = waiting.popleft()
                if self._latest.error is not None:
                    raise self._latest.error
                self._take(self._latest)
                yield self._latest.batch

    def _begun(self, batches: Generator[object, None, None], copies: torch.cuda.Stream) -> _Copied:
        """The next batch, whose copy has begun on the stream of copies."""
        try:
            batch = next(batches)
        except Exception as error:
            return _Copied(error=error)
        with torch.cuda.stream(copies):
            # from page-locked memory the copy runs beside the computation
            copy = to_device(mapped(batch, _pinned), self.device)
            return _Copied(batch, copy, copies.record_event())

    def _take(self, copied: _Copied) -> None:
        """Let the computation wait for the copy, and keep its memory until then."""
        computing = torch.cuda.current_stream(self.device)
        computing.wait_event(copied.done)
        for tensor in tensors_in(copied.copy):
            if tensor.is_cuda:
                tensor.record_stream(computing)


def _pinned(tensor: torch.Tensor) -> torch.Tensor:
    return tensor.pin_memory() if tensor.device.type == "cpu" else tensor

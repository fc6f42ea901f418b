"""GradientSum: sums gradients over ranks while the backward pass still computes the next ones.

PyTorch's DistributedDataParallel does the same, but an error in one rank's backward pass (lack of
memory, mostly) leaves the other ranks waiting for its sums until they time out. Here a rank that
failed, or has no examples, still takes part in every sum, so that all ranks can agree to take
smaller pieces or to end the run.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

import torch
from torch import nn

__all__ = ["GradientSum"]

MOST_ITEMS = 2**23
"""A bucket is summed in one call and has at most this many numbers: 32 MB in fp32."""

LEAST_BUCKETS = 8
"""While one bucket travels, the gradients of the others are computed."""


@dataclass
class _Bucket:
    """Parameters whose gradients lie side by side in one tensor."""

    parameters: list[nn.Parameter]
    flat: torch.Tensor
    views: list[torch.Tensor]
    num_waiting: int = 0


@dataclass
class GradientSum:
    """The sum over ranks of a model's gradients, which live in a few large buckets.

    Usage, for each batch: `start()`, the backward passes of all pieces but the last, `last()`, the
    last one, `launch_all()`, and after the ranks have agreed that none failed, `finish(used)`.

    parameters: the model's parameters; those without gradients are left out.
    overlaps: whether a bucket is sent as soon as it is complete, instead of after the pass.
    is_late: whether a gradient changed after its bucket was sent, as a parameter's does that
        several reentrant checkpoints share. The sum of this batch is then wrong.
    """

    parameters: list[nn.Parameter]
    overlaps: bool = True
    is_late: bool = False
    _buckets: list[_Bucket] = field(init=False)
    _place: dict[nn.Parameter, tuple[int, int]] = field(init=False)
    _sums: "list[torch.distributed.Work]" = field(default_factory=list, init=False)
    _is_last: bool = field(default=False, init=False)

    def __post_init__(self) -> None:
        self.parameters = [p for p in self.parameters if p.requires_grad]
        # the gradients of the last layers come first
        self._buckets = [_bucket(each) for each in _grouped(self.parameters[::-1])]
        self._place = {
            parameter: (k, index)
            for k, bucket in enumerate(self._buckets)
            for index, parameter in enumerate(bucket.parameters)
        }
        for parameter in self.parameters:
            hooked = parameter.register_post_accumulate_grad_hook
            hooked(self._accumulated)  # type: ignore[no-untyped-call]

    def start(self) -> None:
        """Begin a batch, whose gradients are all None. Waits for sums that were given up."""
        self._wait()
        self._is_last = self.is_late = False
        for bucket in self._buckets:
            bucket.num_waiting = len(bucket.parameters)

    def last(self) -> None:
        """The next backward pass is the last of this batch: send what it completes."""
        self._is_last = self.overlaps

    def launch_all(self) -> None:
        """Send the buckets that have not been sent; gradients that are missing count as zeros."""
        self._is_last = False
        for bucket in self._buckets[len(self._sums) :]:
            self._launch(bucket)

    def used(self) -> list[bool]:
        """For each parameter: whether this rank has a gradient of it."""
        return [parameter.grad is not None for parameter in self.parameters]

    def finish(self, used: Iterable[float], factor: float) -> None:
        """Leave the sums times the factor in the parameters.

        used: for each parameter, the number of ranks with a gradient; one that no rank used keeps
            no gradient.
        """
        self._wait()
        if factor != 1:
            torch._foreach_mul_([bucket.flat for bucket in self._buckets], factor)
        for parameter, users in zip(self.parameters, used, strict=True):
            k, index = self._place[parameter]
            parameter.grad = self._buckets[k].views[index] if users else None

    def _accumulated(self, parameter: torch.Tensor) -> None:
        """Called when a parameter has its gradient of a backward pass."""
        assert isinstance(parameter, nn.Parameter)
        k, index = self._place[parameter]
        bucket = self._buckets[k]
        view = bucket.views[index]
        if k < len(self._sums):
            self.is_late = True
        elif parameter.grad is not None and parameter.grad.data_ptr() != view.data_ptr():
            parameter.grad = view.copy_(parameter.grad)
        if self._is_last:
            bucket.num_waiting -= 1
            self._launch_complete()

    def _launch_complete(self) -> None:
        """Send complete buckets, in the same order on every rank."""
        while len(self._sums) < len(self._buckets):
            bucket = self._buckets[len(self._sums)]
            if bucket.num_waiting > 0:
                return
            self._launch(bucket)

    def _launch(self, bucket: _Bucket) -> None:
        for parameter, view in zip(bucket.parameters, bucket.views, strict=True):
            if parameter.grad is None:
                view.zero_()
        work = torch.distributed.all_reduce(bucket.flat, async_op=True)
        assert work is not None
        self._sums.append(work)

    def _wait(self) -> None:
        for work in self._sums:
            work.wait()
        self._sums.clear()


def _bucket(parameters: list[nn.Parameter]) -> _Bucket:
    sizes = [parameter.numel() for parameter in parameters]
    flat = torch.zeros(sum(sizes), dtype=parameters[0].dtype, device=parameters[0].device)
    views = [
        piece.view_as(parameter)
        for piece, parameter in zip(torch.split(flat, sizes), parameters, strict=True)
    ]
    return _Bucket(parameters, flat, views)


def _grouped(parameters: list[nn.Parameter]) -> Iterator[list[nn.Parameter]]:
    """Neighbours of one type, in groups of about an eighth of all, and not too large for one call.

    A larger parameter has a group of its own.
    """
    most = min(MOST_ITEMS, sum(p.numel() for p in parameters) // LEAST_BUCKETS)
    group: list[nn.Parameter] = []
    for parameter in parameters:
        size = sum(p.numel() for p in group) + parameter.numel()
        if group and (size > most or parameter.dtype != group[0].dtype):
            yield group
            group = []
        group.append(parameter)
    if group:
        yield group

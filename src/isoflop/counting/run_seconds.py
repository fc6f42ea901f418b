"""RunSeconds: the predicted time of a run in parts, and which of them binds."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal, get_args

__all__ = ["CHECKPOINT_SECONDS", "Bind", "RunSeconds", "what_binds"]

CHECKPOINT_SECONDS = 30.0
"""Interval between checkpoints of a run, unless another one is asked for."""

Bind = Literal["compute", "overhead", "data", "evaluation"]
"""What most of a run's time goes to."""


@dataclass(frozen=True, kw_only=True)
class RunSeconds:
    """Predicted seconds of a run on one worker, by what they are spent on.

    compute: arithmetic of the training steps.
    overhead: what each training step takes besides, whatever the size of the model.
    data: waiting for batches of training data.
    evaluation: the held-out loss, its data included.
    startup: building the model, starting loader workers, the first step.
    checkpoints: saving them.
    """

    compute: float
    overhead: float = 0.0
    data: float = 0.0
    evaluation: float = 0.0
    startup: float = 0.0
    checkpoints: float = 0.0

    @property
    def training(self) -> float:
        """Seconds of the training steps, as `Run.seconds` counts them."""
        return self.compute + self.overhead + self.data

    @property
    def total(self) -> float:
        """Seconds from the start of the run to its record, as `Run.wall_seconds` counts them."""
        return self.training + self.evaluation + self.startup + self.checkpoints

    @property
    def binds(self) -> Bind:
        """The part that takes most of the time."""
        return what_binds([self])

    def spent_on(self, part: Bind) -> float:
        """Seconds of a part; start-up and checkpoints count as overhead."""
        beside = self.startup + self.checkpoints if part == "overhead" else 0.0
        taken: float = getattr(self, part)
        return taken + beside


def what_binds(runs: Iterable[RunSeconds]) -> Bind:
    """The part that takes most of the time of several runs together; compute without any."""
    runs = list(runs)
    return max(get_args(Bind), key=lambda part: sum(run.spent_on(part) for run in runs))

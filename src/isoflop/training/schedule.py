"""The learning rate at each optimiser step, as a share of its peak."""

import math

from isoflop.recipe import Schedule

__all__ = ["lr_factor"]


def lr_factor(schedule: Schedule, warmup: float, step: float, num_steps: float) -> float:
    """Share of the peak learning rate at a step (counted from 0) of a run of `num_steps`.

    Rises in a line over the first `warmup` share of the steps and reaches the peak at its last; then "cosine" and
    "linear" fall to zero, which they would reach at step `num_steps`, and "constant" stays.
    """
    num_warm = warmup * num_steps
    if step + 1 <= num_warm:
        return (step + 1) / num_warm
    share = min(1.0, max(0.0, (step - num_warm) / max(1e-12, num_steps - num_warm)))
    if schedule == "cosine":
        return 0.5 * (1 + math.cos(math.pi * share))
    return 1 - share if schedule == "linear" else 1.0

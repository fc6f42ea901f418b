"""The learning rate at each optimiser step, as a share of its peak."""

import math

from isoflop.recipe import Schedule

__all__ = ["lr_factor"]


def lr_factor(
    schedule: Schedule, warmup: float, step: float, num_steps: float, cooldown: float = 0.2
) -> float:
    """Share of the peak learning rate at a step (counted from 0) of a run of `num_steps`.

    The rate rises linearly over the first `warmup` share of the steps and reaches the peak at the
    last of them. Then "cosine" and "linear" fall towards zero at step `num_steps`; "wsd" stays
    constant until the last `cooldown` share and falls along 1 - sqrt; "constant" stays constant.
    """
    num_warm = warmup * num_steps
    # rounding gives the same warm-up to the last bit in runs of other lengths
    if abs(num_warm - round(num_warm)) < 1e-6:
        num_warm = float(round(num_warm))
    if step + 1 <= num_warm:
        return (step + 1) / num_warm
    share = _share(step, num_warm, num_steps)
    if schedule == "cosine":
        return 0.5 * (1 + math.cos(math.pi * share))
    if schedule == "linear":
        return 1 - share
    if schedule == "wsd":
        return 1 - math.sqrt(_share(step, max(num_warm, (1 - cooldown) * num_steps), num_steps))
    return 1.0


def _share(step: float, first: float, last: float) -> float:
    """Position of a step between `first` (0) and `last` (1)."""
    return min(1.0, max(0.0, (step - first) / max(1e-12, last - first)))

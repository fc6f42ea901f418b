"""compare(): two systems (architectures, data, optimisers) at one budget, with paired resamples.

N params, D tokens, C FLOPs.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from isoflop import arguments
from isoflop.display.format import (
    align_columns,
    format_bullets,
    format_flops,
    format_interval,
    format_number,
    format_percent,
)
from isoflop.errors import DataError
from isoflop.fitting.approaches.base import Approach, Solved
from isoflop.fitting.approaches.parametric import Parametric
from isoflop.fitting.estimates import Estimate, estimate
from isoflop.fitting.from_name import approach_from, require_draws
from isoflop.fitting.screening.thinning import sifted
from isoflop.fitting.threads import one_blas_thread
from isoflop.laws.base import Array, CostPerToken, Law, Number
from isoflop.laws.cost import cost_for
from isoflop.laws.inverses import flops_for
from isoflop.laws.points import Points
from isoflop.notes.note import Note
from isoflop.runs import Run

__all__ = ["Comparison", "compare"]


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """The second system next to the first at one compute, each at its own optimum."""

    flops: float
    level: float
    num_params: Estimate
    """Best size of the second over that of the first."""
    num_tokens: Estimate
    loss: Estimate
    """Loss of the second minus that of the first; below 0 the second is better."""
    gain: Estimate
    """Compute-equivalent gain: FLOPs that the first needs for the second's loss, over its own.

    Infinite if the first cannot reach that loss.
    """
    paired: float
    """Share of configurations trained in both systems; their resamples move together."""
    notes: tuple[Note, ...] = ()

    def __str__(self) -> str:
        rows = [
            ("best size", *_cells(self.num_params), "times the first's"),
            ("tokens", *_cells(self.num_tokens), "times the first's"),
            ("loss", *_cells(self.loss), "minus the first's"),
            (
                "gain",
                *_cells(self.gain),
                "times the compute, for the first to reach the second's loss",
            ),
        ]
        head = (
            f"Second against first at {format_flops(self.flops)} FLOPs "
            f"({format_percent(self.level)} intervals)"
        )
        return "\n".join(
            part for part in (head, align_columns(rows, "  "), format_bullets(self.notes)) if part
        )


@one_blas_thread
@np.errstate(all="ignore")  # resamples without an answer are NaN or infinite
def compare(
    first: Iterable[Run],
    second: Iterable[Run],
    *,
    flops: float,
    approach: Approach | str | None = None,
    resamples: int = 1000,
    level: float = 0.9,
    seed: int = 0,
) -> Comparison:
    """The difference of two systems' optima at `flops`, with intervals.

    Runs of the same params, tokens and budget in both are resampled together, so that shared noise
    does not widen the difference. Losses must be of the same held-out data.

    first, second: runs of the two systems.
    flops: compute at which they are compared.
    approach, resamples, level, seed: as for `fit`, for both systems.

    Raises DataError if either set cannot be fitted, or the approach has no law for the loss.
    """
    chosen = approach_from(approach, "compare") or Parametric()
    flops = arguments.positive(flops, "compare: flops")
    resamples, level, seed = require_draws("compare", resamples, level, seed)
    points = [sifted(runs).points for runs in (first, second)]
    solved = [chosen.solve(each) for each in points]
    _require_loss_and_refit(solved)
    paired, weights = paired_weights(points, solved, resamples, seed)
    costs = [cost_for(one.law, each.runs) for one, each in zip(solved, points, strict=True)]
    now = _differences([one.law for one in solved], costs, flops)
    drawn = _differences(
        [one.refit(w) for one, w in zip(solved, weights, strict=True) if one.refit], costs, flops
    )
    N, D, loss, gain = (
        estimate(value, draws, level) for value, draws in zip(now, drawn, strict=True)
    )
    return Comparison(
        flops=flops,
        level=level,
        num_params=N,
        num_tokens=D,
        loss=loss,
        gain=gain,
        paired=paired,
        notes=tuple(_notes(points, paired, flops)),
    )


def paired_weights(
    points: list[Points], solved: list[Solved], num_resamples: int, seed: int
) -> tuple[float, list[Array]]:
    """Share of configurations in both sets, and bootstrap weights of each set.

    Runs of one configuration have the same weight in both sets.
    """
    random = np.random.default_rng(seed)
    keys = [set(each.keys) for each in points]
    number = {
        key: index for index, key in enumerate(dict.fromkeys([*points[0].keys, *points[1].keys]))
    }
    fewest = min(len(each) for each in keys)
    shape = max(1 - max(one.num_parameters for one in solved) / fewest, 0.2)
    drawn = random.gamma(shape, 1 / shape, size=(num_resamples, len(number)))
    weights = [drawn[:, [number[key] for key in each.keys]] for each in points]
    return len(keys[0] & keys[1]) / len(number), weights


def _differences(
    laws: Sequence[Law], costs: Sequence[CostPerToken | None], C: float
) -> tuple[Number, Number, Number, Number]:
    """The second law against the first: ratios of N and D, difference of the loss, and gain."""
    with np.errstate(all="ignore"):
        (N1, D1), (N2, D2) = (law.optimum(C, cost) for law, cost in zip(laws, costs, strict=True))
        L1, L2 = (law.optimal_loss(C, cost) for law, cost in zip(laws, costs, strict=True))
        assert L1 is not None
        assert L2 is not None
        needed = flops_for(laws[0], "loss", L2, costs[0])
        unreachable = np.isnan(needed) & np.less(L2, L1)
        return N2 / N1, D2 / D1, L2 - L1, np.where(unreachable, np.inf, needed / C)


def _require_loss_and_refit(solved: list[Solved]) -> None:
    for one in solved:
        if one.refit is None or one.law.optimal_loss(1e18) is None:
            raise DataError(
                "compare needs an approach that has a law for the loss and can be refitted to "
                "resampled runs, such as Parametric(), or IsoFLOP() where four budgets have a "
                "minimum."
            )


def _notes(points: list[Points], paired: float, C: float) -> Iterator[Note]:
    if paired == 0:
        text = (
            "No configuration was trained in both systems, so nothing is paired and the intervals "
            "are wider."
        )
        yield Note("unpaired", text)
    largest = min(float(each.C.max()) for each in points)
    if 30 * largest < C:
        times = format_number(C / largest, 2)
        text = f"The target is {times} times the largest run of the smaller sweep."
        yield Note("far-target", text)


def _cells(value: Estimate) -> tuple[str, str]:
    return format_number(value.value), format_interval(value.low, value.high, format_number)

"""What came out beside what was forecast: sizes, losses, and the compute that an advice wastes."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from bookkeeping import Campaign, commit_of, write
from outcomes import AtTarget

import isoflop
from isoflop.runs import Run

NEAR = 3.3
"""Factor on params, from the lowest run, within which runs lie on the parabola."""
USUAL_NOISE, LEAST_NOISE = 0.004, 0.001
"""Standard deviation of log loss between seeds: if it was not measured, and at least."""
STEP = 1.05
"""Factor on compute over which the slope of the loss is measured."""


@dataclass(frozen=True)
class Valley:
    """The parabola of log loss over log N at the target.

    coefficients: of log(N / centre), highest power first. deviation: of log `num_params`.
    """

    coefficients: tuple[float, float, float]
    centre: float
    deviation: float

    @classmethod
    def of(cls, runs: Sequence[Run], noise: float) -> "Valley | None":
        """Through the runs near the lowest; None where its minimum does not lie among the runs.

        The lowest run itself may be the smallest or largest one: runs beside a flat minimum differ
        by less than their noise.
        """
        best = min(runs, key=lambda run: run.loss)
        nearest = sorted(runs, key=lambda run: abs(math.log(run.num_params / best.num_params)))
        near = [run for run in nearest if 1 / NEAR < run.num_params / best.num_params < NEAR]
        near = near if len(near) >= 3 else nearest[:3]
        x = np.log([run.num_params / best.num_params for run in near])
        design = np.vander(x, 3)
        y = np.log([run.loss for run in near])
        a, b, c = np.linalg.lstsq(design, y, rcond=None)[0]
        if a <= 0:
            return None
        if len(near) > 3:  # a valley that is no parabola determines its minimum less well
            misfit = np.sum((design @ [a, b, c] - y) ** 2) / (len(near) - 3)
            noise = max(noise, math.sqrt(float(misfit)))
        if not x.min() < -b / (2 * a) < x.max():
            return None
        gradient = np.array([b / (2 * a**2), -1 / (2 * a), 0.0])
        variance = gradient @ np.linalg.pinv(design.T @ design) @ gradient
        return cls((a, b, c), best.num_params, noise * math.sqrt(float(variance)))

    @property
    def num_params(self) -> float:
        a, b, _ = self.coefficients
        return self.centre * math.exp(-b / (2 * a))

    def loss(self, num_params: float) -> float:
        return float(np.exp(np.polyval(self.coefficients, math.log(num_params / self.centre))))


def judge(campaign: Campaign) -> dict[str, Any] | None:
    """Write the judgement of a task; None while its runs at the target enclose no minimum."""
    target = AtTarget.of(campaign)
    runs, noise = target.runs(), noise_of(campaign.store.read_runs())
    valley = Valley.of(runs, noise) if len(runs) >= 3 else None
    if valley is None:
        print(f"{campaign.name}: the {len(runs)} runs at the target enclose no minimum yet.")
        return None
    slope = slope_at_target(campaign, runs)
    verdicts = {
        spend: verdict(campaign, spend, each, valley, slope, runs)
        for spend, each in campaign.forecasts().items()
    }
    judgement = {
        "task": campaign.name,
        "about": campaign.case.about,
        "target": campaign.case.target,
        "runs": [
            {"size": run.size, "num_params": run.num_params, "loss": run.loss} for run in runs
        ],
        "best num_params": valley.num_params,
        "deviation of log num_params": valley.deviation,
        "lowest loss": valley.loss(valley.num_params),
        "noise of log loss": noise,
        "slope": slope,
        "verdicts": verdicts,
    }
    write(campaign.judgement, judgement)
    return judgement


def verdict(
    campaign: Campaign,
    spend: str,
    forecast: dict[str, Any],
    valley: Valley,
    slope: float,
    runs: Sequence[Run],
) -> dict[str, Any]:
    """One forecast beside what came out."""
    advice = forecast["advice"]
    at_size = next((run.loss for run in runs if run.size == advice["size"]), None)
    loss = valley.loss(advice["size_num_params"]) if at_size is None else at_size
    grid = forecast["grid"]
    followed = {
        "advice": advice["size_num_params"],
        **({} if grid is None else {"grid": grid["size_num_params"]}),
        "20 tokens per param": forecast["20 tokens per param"],
    }
    return {
        "registered": commit_of(campaign.forecast(spend)),
        "num_params": advice["num_params"],
        "best num_params": valley.num_params,
        "num_params covered": inside(valley.num_params, advice["num_params"]),
        "loss": advice["loss"],
        "loss of the advice": loss,
        "loss covered": inside(loss, advice["loss"]),
        "lowest loss covered": inside(valley.loss(valley.num_params), advice["loss"]),
        "expected waste": advice["regret"]["value"],
        "grid covered": grid is not None and inside(valley.num_params, grid["num_params"]),
        "followed": followed,
        "waste": {name: waste(valley, N, slope) for name, N in followed.items()},
        "outside": [name for name, N in followed.items() if not is_between(N, runs)],
    }


def inside(value: float, interval: dict[str, float]) -> bool:
    return interval["low"] <= value <= interval["high"]


def is_between(num_params: float, runs: Sequence[Run]) -> bool:
    """Whether a size lies among the trained ones; elsewhere the parabola is extrapolated."""
    return runs[0].num_params <= num_params <= runs[-1].num_params


def waste(valley: Valley, num_params: float, slope: float) -> float:
    """Share of the target's compute that training so many params wastes, as isoflop.laws.waste.

    The excess of the loss is that of the parabola: a single run has the noise of its seed.
    """
    excess = valley.loss(num_params) - valley.loss(valley.num_params)
    return 1 - math.exp(-excess / slope)


def slope_at_target(campaign: Campaign, runs: Sequence[Run]) -> float:
    """Fall of the lowest loss per unit of log compute, by isoflop's law of all runs of the sweeps

    and of those at the target.
    """
    used = {run_id for each in campaign.forecasts().values() for run_id in each["runs"]}
    swept = [run for run in campaign.store.read_runs() if run.id in used]
    law, target = isoflop.fit([*swept, *runs]).law, campaign.case.target
    before, after = (law.optimal_loss(target * factor) for factor in (1 / STEP, STEP))
    return float((before - after) / (2 * math.log(STEP)))


def noise_of(runs: Sequence[Run]) -> float:
    """Standard deviation of log loss between the seeds of one cell."""
    cells: dict[tuple[object, ...], list[float]] = {}
    for run in runs:
        if run.status == "completed":
            cell = (run.size, run.spec.num_tokens, run.spec.lr, run.budget)
            cells.setdefault(cell, []).append(math.log(run.loss))
    repeated = [losses for losses in cells.values() if len(losses) > 2]
    if not repeated:
        return USUAL_NOISE
    variance = np.mean([np.var(losses, ddof=1) for losses in repeated])
    return max(math.sqrt(float(variance)), LEAST_NOISE)

"""Sweeps in a world with a known law: stages are planned, and simulated with noise, one after the other."""

import math

import numpy as np

from isoflop.laws.additive import ChinchillaLaw
from isoflop.planning.candidates import Ladder
from isoflop.runs import Run, RunSpec

LAW = ChinchillaLaw(E=1.8, A=480.0, B=2100.0, alpha=0.35, beta=0.37)
SIZES = np.geomspace(1e5, 1e11, 90)
LADDER = Ladder(SIZES, 6 * SIZES, sizes=tuple(SIZES.tolist()))
TARGET, SPEND = 1e22, 1e20
TRUE_N = float(LAW.optimum(TARGET)[0])


def made(places, seed=0, status="completed"):
    """Runs at places, with noise of 0.2 % that depends on the seed and the place."""
    return [_made(place, seed, status) for place in places]


def _made(place, seed, status):
    draw = np.random.default_rng(
        [seed, int(place.num_params), int(place.num_tokens)]
    ).standard_normal()
    loss = float(LAW.loss(place.num_params, place.num_tokens)) * math.exp(0.002 * draw)
    spec = RunSpec(
        num_params=place.num_params,
        num_tokens=place.num_tokens,
        flops=place.flops,
        budget=place.budget,
        size=place.num_params,
    )
    if status == "completed":
        return Run(
            spec=spec, status=status, loss=loss, num_tokens=place.num_tokens, flops=place.flops
        )
    return Run(spec=spec, status=status, loss=math.nan, num_tokens=0.0, flops=0.0)


def swept(stage_after, seed=0):
    """All runs of a sweep, and its last stage; stage_after(runs) plans."""
    runs = []
    for _ in range(50):
        stage = stage_after(runs)
        if stage.finished:
            return runs, stage
        runs += made(stage.places, seed)
    raise AssertionError("the sweep has no end")

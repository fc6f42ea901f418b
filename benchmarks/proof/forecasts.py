"""The forecasts of a task: tuned, swept and answered before anything near the target is trained."""

import datetime
import json
import math
from collections.abc import Callable, Sequence
from dataclasses import asdict, replace
from functools import cache
from typing import Any

import numpy as np
import torch
from bookkeeping import SPENDS, Campaign, git, read, write

import isoflop
from isoflop.counting.sizes_of import sizes_of
from isoflop.laws.base import TOKENS_PER_PARAM
from isoflop.planning.stage import Design
from isoflop.recipe import PowerRule, Rule
from isoflop.reporting.json_output import to_json
from isoflop.runs import Run

TUNING = 0.006
"""Share of the target's FLOPs that tuning may cost; it counts in both spends."""
SLACK = 0.975
"""Share of a spend that is planned: a sequential sweep may overrun by 2 % in whole batches."""
GRID_BUDGETS, GRID_RATIO = 3, math.sqrt((SPENDS["10pct"] - TUNING) / (SPENDS["2pct"] - TUNING))
"""Of the plain grid: budgets, and the factor between them. The largest budget of the smaller spend
is the smallest one of the larger, so that its runs are trained once."""


def make_forecasts(campaign: Campaign) -> None:
    """Write the forecasts that are still missing."""
    for spend in SPENDS:
        if not campaign.has(spend):
            write(campaign.forecast(spend), forecast(campaign, spend))


def tuned_task(campaign: Campaign) -> isoflop.Task:
    """The task with its tuned learning rate, which is tuned at the first call."""
    if not campaign.tuning.exists():
        write(campaign.tuning, tune(campaign, campaign.case.task()))
    return _at_rate(campaign.case.task, PowerRule(**read(campaign.tuning)["lr"]))


@cache
def _at_rate(make: Callable[[], isoflop.Task], lr: PowerRule) -> isoflop.Task:
    """Made once, because the sizes of each task are counted anew."""
    task = make()
    return replace(task, recipe=replace(task.recipe, lr=lr))


def tune(campaign: Campaign, task: isoflop.Task) -> dict[str, Any]:
    """The rule of the learning rate, from runs that cost TUNING of the target at most."""
    target = campaign.case.target
    specs = [
        replace(spec, num_tokens=campaign.case.tuned_at * spec.num_params)
        for spec in grid(task, target, "10pct").specs
    ]
    sweep = isoflop.Sweep(specs=tuple(specs), unit=task.unit)
    tuning = isoflop.tune(
        task,
        sweep,
        store=campaign.store,
        executor=campaign.executor,
        share=TUNING * target / sweep.flops,
        progress=False,
    )
    for run in campaign.store.read_runs():
        campaign.record(run)
    return {
        "lr": asdict(at_level(task.recipe.lr, tuning)),
        "flops": tuning.flops,
        "told": str(tuning).splitlines(),
    }


def at_level(rule: Rule, tuning: isoflop.Tuning) -> PowerRule:
    """The recipe's own rule, moved to the level of the tuned one in the cells.

    So small a share pays for cells that differ by a factor of two or three in params and tokens.
    They show the level, but no exponents that would hold at 50 times the params.
    """
    at = [(cell.place.num_params, cell.place.num_tokens) for cell in tuning.cells]
    level = math.exp(np.mean([math.log(tuning.lr.rule(*place) / rule(*place)) for place in at]))
    assert isinstance(rule, PowerRule)
    return replace(rule, coefficient=float(f"{rule.coefficient * level:.4g}"))


def grid(task: isoflop.Task, target: float, spend: str) -> isoflop.Sweep:
    """A plain IsoFLOP grid of three budgets with seven sizes each, within a spend."""
    left = after_tuning(target, spend)
    shares = GRID_RATIO ** -np.arange(GRID_BUDGETS)
    # seven sizes, and two runs more at the smallest budget that measure the noise
    largest = left / (7 * shares.sum() + 2 * shares[-1])
    # four digits, for equal ids of the budget that both grids have
    budgets = [float(f"{largest * share:.4g}") for share in shares]
    return isoflop.plan(task, budgets=budgets, check_rates=None)  # tuned before


def swept_runs(
    campaign: Campaign, task: isoflop.Task, spend: float, design: Design = "auto"
) -> list[Run]:
    """The runs of a sweep for the target, stage after stage."""
    runs: list[Run] = []
    while True:
        sweep = isoflop.plan(
            task,
            target=campaign.case.target,
            spend=spend,
            runs=runs,
            design=design,
            check_rates=None,
        )
        new = [spec for spec in sweep.specs if spec.id not in {run.id for run in runs}]
        if not new:
            return runs
        runs += campaign.train(task, new)


def forecast(campaign: Campaign, spend: str) -> dict[str, Any]:
    """What is expected at the target, by isoflop and by the two alternatives."""
    task, target = tuned_task(campaign), campaign.case.target
    tuning = read(campaign.tuning)["flops"]
    left = after_tuning(target, spend)
    swept = swept_runs(campaign, task, left)
    fit = isoflop.fit(swept)
    advice = isoflop.predict(fit, flops=target, task=task)
    plain = campaign.train(task, grid(task, target, spend).specs)
    return {
        "task": campaign.name,
        "about": campaign.case.about,
        "target": target,
        "spend": SPENDS[spend] * target,
        "spent": tuning + spent(swept),
        "spent on tuning": tuning,
        "spent by the grid": tuning + spent(plain),
        **provenance(campaign),
        "advice": json.loads(to_json(advice)),
        "law": repr(fit.law),
        "runs": [run.id for run in swept],
        "largest run": max(run.flops for run in swept),
        "grid": answer_of_grid(plain, target, task),
        "grid runs": [run.id for run in plain],
        "20 tokens per param": twenty_per_param(task, target),
    }


def answer_of_grid(runs: Sequence[Run], target: float, task: isoflop.Task) -> dict[str, Any] | None:
    """The answer of Approach 2; None where it refuses the runs, which is an outcome, too."""
    try:
        fit = isoflop.fit(runs, approach=isoflop.IsoFLOP())
    except isoflop.DataError as error:
        print(f"The plain grid gives no answer: {error}")
        return None
    return json.loads(to_json(isoflop.predict(fit, flops=target, task=task)))


def after_tuning(target: float, spend: str) -> float:
    """FLOPs of a spend for a sweep or a grid."""
    return SLACK * (SPENDS[spend] - TUNING) * target


def spent(runs: Sequence[Run]) -> float:
    return sum(run.flops for run in runs)


def twenty_per_param(task: isoflop.Task, target: float) -> float:
    """N at which the target pays for 20 tokens per param, between the task's sizes."""
    sizes = sizes_of(task)
    counts = [sizes.count(size) for size in task.sizes or ()]
    ratio = [math.log(target / one.flops_per_token / one.num_params) for one in counts]
    log_N = [math.log(one.num_params) for one in counts]
    return math.exp(np.interp(-math.log(TOKENS_PER_PARAM), -np.array(ratio), log_N))


def provenance(campaign: Campaign) -> dict[str, Any]:
    return {
        "date": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        "isoflop": isoflop.__version__,
        "code": git("rev-parse", "HEAD"),
        "torch": torch.__version__,
        "data": campaign.case.digest(),
    }

import math

import pytest
from golden_task import task

import isoflop

COLUMNS = ("size", "num_params", "num_tokens", "flops", "budget", "batch", "lr", "seed")
BUDGETS = [1e6, 3e6, 1e7]


@pytest.fixture(scope="module")
def grid():
    return isoflop.plan(task(), budgets=BUDGETS)


def test_a_plan_of_budgets_stays(golden, grid):
    golden("plan-grid.json", rows(grid.specs))


def test_what_a_plan_is_expected_to_show_stays(golden, grid):
    forecast = grid.with_forecast().forecast
    golden("forecast.json", [forecast.target, forecast.factor, forecast.waste])


def test_a_plan_that_follows_runs_stays(golden, grid):
    golden(
        "plan-after-runs.json",
        rows(isoflop.plan(task(), budgets=[3e7], runs=map(made, grid.specs)).specs),
    )


@pytest.mark.parametrize("design", ["sequential", "lean"])
def test_the_stages_of_a_design_stay(golden, design):
    runs, stages = [], []
    while len(stages) < 10:
        sweep = isoflop.plan(task(), target=1e11, spend=1e9, runs=runs, design=design)
        if not sweep.specs:
            break
        stages.append(rows(sweep.specs))
        runs += map(made, sweep.specs)
    golden(f"plan-{design}.json", stages)


def test_ids_of_runs_stay(golden, grid):
    """Or every store would be trained again."""
    golden("ids.json", [spec.id for spec in grid.specs])


def test_losses_of_a_trained_sweep_stay(golden):
    sweep = isoflop.plan(task(), budgets=BUDGETS[:2])
    runs = isoflop.train(task(), sweep, store=isoflop.MemoryStore(), progress=False)
    golden(
        "losses.json",
        [[run.size, run.num_tokens, run.loss, run.loss_stderr] for run in runs],
        rel=1e-5,
    )


def rows(specs):
    return [[getattr(spec, name) for name in COLUMNS] for spec in specs]


def made(spec):
    """A run of a known law, a little off it in a way that only its params and tokens decide."""
    off = 1 + 0.003 * math.sin(977 * math.log(spec.num_params) + 613 * math.log(spec.num_tokens))
    loss = off * (0.3 + 3 / spec.num_params**0.4 + 12 / spec.num_tokens**0.4)
    return isoflop.Run(
        spec=spec, status="completed", loss=loss, num_tokens=spec.num_tokens, flops=spec.flops
    )

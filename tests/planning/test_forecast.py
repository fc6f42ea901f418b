import math
from dataclasses import replace
from html import unescape

import numpy as np
import pytest
from staged import LADDER, LAW, TARGET, made

import isoflop
from isoflop.planning import forecast
from isoflop.planning.forecast import NO_LAW, NOTHING_TO_TRAIN, Simulation
from isoflop.planning.sequential import Known, next_stage
from tasks import mlp_task


def pilot(spend):
    return [run.spec for run in made(next_stage([], LADDER, target=TARGET, spend=spend).places)]


def expected(spend):
    return Simulation(TARGET, LADDER, spend=spend).forecast(pilot(spend))


def grid(factors, budgets=(1e18, 3e18, 1e19, 3e19)):
    places = [
        LADDER.near(float(LAW.optimum(C)[0]) * factor, C) for C in budgets for factor in factors
    ]
    return [replace(run.spec, budget=run.flops) for run in made(places)]


WIDE = [0.25, 0.5, 1, 2, 4]


@pytest.fixture(scope="module")
def wide():
    """What a wide grid will tell."""
    return Simulation(TARGET, LADDER).forecast(grid(WIDE))


@pytest.fixture(scope="module")
def sweep():
    return isoflop.plan(mlp_task(), target=1e11, spend=1e9)


@pytest.fixture
def few_worlds(monkeypatch):
    """Half as many worlds, for what any number of them shows: those of all stages take seconds."""
    monkeypatch.setattr(forecast, "NUM_WORLDS", forecast.NUM_WORLDS // 2)


@pytest.fixture(scope="module")
def foretold(sweep):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(forecast, "NUM_WORLDS", 3)
        return sweep.with_forecast()


def test_what_a_sweep_will_tell_is_finite_and_wastes_less_for_ten_times_the_spend(few_worlds):
    small, large = expected(1e19), expected(1e20)
    for one in (small, large):
        assert 1 < one.factor < 2.5
        assert 0 < one.waste < 0.2
    assert large.waste < small.waste


def test_data_that_allow_no_run_of_a_stage_end_the_simulation():
    little = replace(LADDER, most_tokens=1e3)
    assert Simulation(TARGET, little, spend=1e18).forecast(pilot(1e18)[:2]) is NO_LAW


def test_laws_without_an_optimum_promise_nothing():
    nowhere = Known(LAW, replace(LAW, A=np.full(3, np.nan)), LADDER.cost, TARGET)
    assert nowhere.factor(0.9) == math.inf


def test_the_expectation_is_the_same_each_time(wide):
    assert Simulation(TARGET, LADDER).forecast(grid(WIDE)) == wide


def test_a_wide_grid_tells_more_than_a_narrow_one(wide):
    narrow = Simulation(TARGET, LADDER).forecast(grid([0.8, 0.9, 1, 1.1, 1.25]))
    assert wide.factor < narrow.factor


def test_runs_so_far_count():
    earlier = [run for run in made([LADDER.near(s.num_params, s.flops) for s in grid(WIDE)])]
    last = grid([0.5, 1, 2], budgets=(1e20,))
    alone = Simulation(TARGET, LADDER).forecast(last)
    together = Simulation(TARGET, LADDER, tuple(earlier)).forecast(last)
    assert alone is NO_LAW
    assert math.isfinite(together.factor)


def test_runs_that_scatter_more_leave_more_doubt():
    places = [LADDER.near(spec.num_params, spec.flops) for spec in grid(WIDE)]
    quiet = made(places)
    loud = [
        replace(run, loss=run.loss * math.exp(0.02 * math.sin(7 * k)))
        for k, run in enumerate(quiet)
    ]
    last = grid([0.5, 1, 2], budgets=(1e20,))
    near = TARGET / 10
    little, much = (Simulation(near, LADDER, tuple(runs)).forecast(last) for runs in (quiet, loud))
    assert math.log(much.factor) > 1.2 * math.log(little.factor)


def test_the_interval_foretold_holds_what_such_sweeps_find(wide):
    places = [LADDER.near(spec.num_params, spec.flops) for spec in grid(WIDE)]
    true = float(LAW.optimum(TARGET)[0])
    found = [
        isoflop.predict(isoflop.fit(made(places, seed)), flops=TARGET).num_params.value
        for seed in range(5)
    ]
    assert max(np.abs(np.log(np.array(found) / true))) < 1.5 * math.log(wide.factor)


def test_a_plan_prints_what_it_will_tell_in_a_terminal_and_a_notebook(foretold):
    sentence = str(foretold.forecast)
    assert "Expected precision at 1e+11 FLOPs: best N to within a factor of " in sentence
    assert "(90 % interval); expected waste" in sentence
    assert sentence in " ".join(str(foretold).split())
    assert sentence in unescape(foretold._repr_html_())


def test_the_first_budget_of_a_lean_sweep_tells_what_all_four_will(few_worlds):
    first = isoflop.plan(mlp_task(), target=1e10, spend=1e9, design="lean")
    assert 1 < first.with_forecast().forecast.factor < 2


def test_a_grid_prints_the_condition_number_of_its_design():
    text = str(isoflop.plan(mlp_task(), budgets=[1e6, 1e7], target=1e8, forecast=True))
    assert "Condition number of the design: " in text
    assert "Expected precision at 1e+08 FLOPs" in text


def test_a_sweep_without_runs_expects_nothing(sweep):
    assert replace(sweep, specs=()).with_forecast().forecast is NOTHING_TO_TRAIN


def test_printing_a_sweep_never_simulates(sweep, foretold, monkeypatch):
    monkeypatch.setattr(Simulation, "forecast", None)
    assert "sweep.with_forecast()" in str(sweep)
    for text in (str(foretold), foretold._repr_html_()):
        assert "Expected precision at 1e+11 FLOPs" in text
    assert foretold.with_forecast() is foretold

from dataclasses import replace

import numpy as np
import pytest
from sweeps import LAW, a_run, a_sweep

from isoflop.answers.predict import predict
from isoflop.errors import DataError
from isoflop.fitting.approaches.isoflop import IsoFLOP, valleys
from isoflop.fitting.fit import fit


def test_three_budgets_of_a_noise_free_law_give_three_optima_on_the_true_line():
    budgets = (1e18, 1e19, 1e20)
    found = valleys(a_sweep(budgets=budgets, reach=4))
    true = [LAW.optimum(budget)[0] for budget in budgets]
    assert [valley.num_params for valley in found] == pytest.approx(true, rel=0.01)
    law = fit(a_sweep(budgets=budgets), IsoFLOP()).law
    assert [law.num_params(budget) for budget in budgets] == pytest.approx(true, rel=0.01)
    assert law.num_params.exponent == pytest.approx(LAW.exponent, abs=0.005)


def test_sizes_that_are_the_same_at_every_budget_still_give_different_optima():
    sizes = np.geomspace(1e8, 4e9, 9)
    runs = [
        a_run(N, C / (6 * N), LAW.loss(N, C / (6 * N)), budget=C)
        for C in (1e19, 2e19, 4e19)
        for N in sizes
    ]
    found = [valley.num_params for valley in valleys(runs)]
    assert found == pytest.approx([LAW.optimum(C)[0] for C in (1e19, 2e19, 4e19)], rel=0.03)


def test_a_valley_knows_its_curve_its_runs_and_its_loss():
    (first, *_) = valleys(a_sweep())
    assert first.interior
    assert first.reason == ""
    assert first.budget == 1e18
    assert [run.num_params for run in first.runs] == sorted(run.num_params for run in first.runs)
    assert first.loss_at(first.num_params) == pytest.approx(first.loss)
    assert (first.loss_at(np.array([0.5, 2.0]) * first.num_params) > first.loss).all()
    assert first.loss == pytest.approx(LAW.optimal_loss(1e18), rel=1e-3)
    assert first.num_tokens == pytest.approx(LAW.optimum(1e18)[1], rel=0.01)


def test_budgets_that_differ_by_rounding_are_one_curve():
    runs = a_sweep()
    rounded = [
        replace(run, spec=replace(run.spec, budget=run.budget * (1 + 1e-3 * (k % 3))))
        for k, run in enumerate(runs)
    ]
    assert [len(valley.runs) for valley in valleys(rounded)] == [
        len(valley.runs) for valley in valleys(runs)
    ]


def test_a_minimum_at_the_edge_is_not_used_and_says_which_sizes_to_add():
    runs = [
        run
        for run in a_sweep(budgets=(1e18, 1e19, 1e20))
        if run.budget < 1e20 or run.num_params < LAW.optimum(1e20)[0]
    ]
    *_, last = valleys(runs)
    assert not last.interior
    assert "Budget 1e+20 has its lowest loss at the largest size" in last.reason
    assert last.reason.endswith("add larger sizes.")
    assert last.reason in fit(runs, IsoFLOP()).notes


def test_a_budget_with_too_few_sizes_has_no_curve_and_says_so():
    runs = [
        run for run in a_sweep() if run.budget > 1e18 or run.num_params > LAW.optimum(1e18)[0] * 2
    ]
    first, *_ = valleys(runs)
    assert first.reason == "Budget 1e+18 has 2 sizes, and a parabola needs 3; add sizes to it."
    assert np.isnan(first.loss_at([1e9, 2e9])).all()
    assert np.isnan(first.num_params)


def test_a_budget_that_bends_down_has_no_minimum():
    hill = [
        a_run(N, 1e17 / (6 * N), 3 - 0.1 * np.log(N / 1e8) ** 2, budget=1e17)
        for N in np.geomspace(2.5e7, 4e8, 5)
    ]
    first, *_ = valleys(hill + a_sweep())
    assert "Budget 1e+17 has no minimum (its curve bends down or is flat)" in first.reason


@pytest.mark.parametrize("curve", ["parabola", "cubic"])
@pytest.mark.parametrize("loss", [2.05, 1e-3, 0.1])
def test_equal_losses_have_no_minimum_wherever_they_are_rounded(curve, loss):
    for count in range(4, 12):
        for scale in (1.0, 1.3, 1.7):
            sizes = scale * np.geomspace(1e3, 1e8, count)
            [valley] = valleys(
                [a_run(N, 1e17 / 6 / N, loss, budget=1e17) for N in sizes], curve=curve
            )
            assert "bends down or is flat" in valley.reason


def test_runs_of_no_budget_and_runs_without_a_loss_are_not_drawn():
    strays = [
        a_run(1e9, 1e10, 2.5),
        a_run(1e9, 1e10, np.nan, budget=1e18),
        a_run(1e9, 1e10, 2.5, budget=1e18, status="failed"),
    ]
    assert len(valleys(a_sweep() + strays)[0].runs) == 7


def test_one_budget_is_refused_with_the_remedy():
    with pytest.raises(
        DataError,
        match=r"Approach 2 needs at least 2 budgets, but got 0; add runs at another budget",
    ):
        fit([a_run(run.num_params, run.num_tokens, run.loss) for run in a_sweep()], IsoFLOP())


def test_budgets_without_bracketed_minima_are_refused_naming_them():
    runs = [run for run in a_sweep() if run.num_params < LAW.optimum(run.budget)[0]]
    with pytest.raises(
        DataError,
        match=r"at least 2 budgets with a minimum between their sizes, but got 0\. Budget 1e\+18 has",
    ):
        fit(runs, IsoFLOP())


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"window": 0.5}, "window must be above 1, but got 0.5; None uses every run"),
        ({"curve": "line"}, "curve must be 'parabola' or.*but got 'line'"),
    ],
)
def test_an_impossible_argument_is_refused(arguments, message):
    with pytest.raises(DataError, match=message):
        IsoFLOP(**arguments)


def test_the_window_leaves_out_far_sizes_but_keeps_as_many_as_a_curve_needs():
    narrow = valleys(a_sweep(reach=100, sizes=9), window=4)[0]
    assert narrow.window[1] / narrow.window[0] < 16.1
    sparse = valleys(a_sweep(reach=100, sizes=3), window=1.5)[0]
    assert sparse.window[1] / sparse.window[0] == pytest.approx(1e4)


@pytest.mark.parametrize("budgets", [(1e18, 1e19), (1e18, 3e18, 1e19)])
def test_few_budgets_give_a_size_and_no_loss(budgets):
    found = fit(a_sweep(budgets=budgets, noise=0.002), IsoFLOP(), resamples=20)
    best = predict(found, flops=1e21)
    assert best.loss is None
    assert best.num_params.value == pytest.approx(LAW.optimum(1e21)[0], rel=0.15)
    assert any(
        f"Approach 2 gives no loss from {len(budgets)} budgets" in note for note in best.notes
    )
    assert (
        predict(
            fit(a_sweep(budgets=(1e18, 3e18, 1e19, 3e19)), IsoFLOP(), resamples=20), flops=1e21
        ).loss
        is not None
    )

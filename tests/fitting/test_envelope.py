from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
from scipy.spatial import ConvexHull
from sweeps import LAW, a_run, a_sweep, published

from isoflop.answers.predict import predict
from isoflop.errors import DataError
from isoflop.fitting.approaches.envelope import Envelope, lower_hull
from isoflop.fitting.fit import fit


def checkpoints(sizes=9):
    """Runs of several sizes, each with rows along its training, that lie on a law."""
    return [
        a_run(N, D, float(LAW.loss(N, D)), group=f"run {number}")
        for number, N in enumerate(np.geomspace(3e7, 3e9, sizes))
        for D in N * np.geomspace(2, 200, 60)
    ]


def test_gemstones_has_the_published_frontier_to_four_digits():
    law = fit(published("gemstones_curves_hot.csv"), Envelope()).law
    assert law.num_params.exponent == pytest.approx(0.49938, abs=5e-6)
    assert np.log(law.num_params.coefficient) == pytest.approx(-2.8451, abs=5e-5)
    assert law.num_tokens.exponent == pytest.approx(0.48099, abs=5e-6)
    assert np.log(law.num_tokens.coefficient) == pytest.approx(1.8963, abs=5e-5)


def test_the_lower_hull_is_that_of_an_independent_implementation():
    x, y = np.random.default_rng(0).random((2, 200))
    hull = lower_hull(x, y)
    assert set(hull) <= set(ConvexHull(np.c_[x, y]).vertices)
    edges = pairwise(hull)
    assert all(
        ((y - y[a]) * (x[b] - x[a]) >= (y[b] - y[a]) * (x - x[a]) - 1e-12).all() for a, b in edges
    )
    assert (np.diff(y[hull]) < 0).all()


@pytest.mark.parametrize("approach", [None, "isoflop", "envelope"])
def test_equal_losses_give_one_answer_in_whatever_order_the_rows_are(approach):
    runs = [replace(run, loss=round(run.loss, 1)) for run in a_sweep()]
    here, there = (fit(rows, approach, resamples=20).law for rows in (runs, runs[::-1]))
    assert here.optimum(1e21)[0] == pytest.approx(there.optimum(1e21)[0], rel=1e-6)


def test_checkpoints_of_a_law_lie_near_its_true_frontier():
    law = fit(checkpoints(25), Envelope()).law
    assert law.num_params.exponent == pytest.approx(LAW.exponent, abs=0.1)
    assert law.num_params(1e19) == pytest.approx(LAW.optimum(1e19)[0], rel=0.3)


def test_curves_of_the_runs_serve_as_their_checkpoints():
    rows = checkpoints()
    runs = []
    for name in dict.fromkeys(row.group for row in rows):
        *_, last = mine = [row for row in rows if row.group == name]
        runs.append(replace(last, curve=tuple((row.num_tokens, row.loss) for row in mine)))
    ours, theirs = fit(runs, Envelope(), resamples=20).law, fit(rows, Envelope(), resamples=20).law
    assert ours.num_params.exponent == pytest.approx(theirs.num_params.exponent, rel=1e-9)
    assert ours.num_tokens(1e20) == pytest.approx(theirs.num_tokens(1e20), rel=1e-9)


def test_it_says_nothing_about_the_loss_and_its_intervals_hold_the_value():
    best = predict(
        fit(published("gemstones_curves_hot.csv"), Envelope(), resamples=200), flops=1e21
    )
    assert best.loss is None
    assert best.band is None
    assert np.isnan(best.regret.value)
    assert best.num_params.low < best.num_params.value < best.num_params.high
    with pytest.raises(
        DataError,
        match="this approach has no law for the loss; give flops, num_params or num_tokens instead",
    ):
        predict(fit(published("gemstones_curves_hot.csv"), Envelope(), resamples=20), loss=2.5)


def test_a_hull_without_corners_is_refused():
    line = [a_run(1e8, D, loss) for D, loss in ((1e9, 3.0), (1e10, 2.0), (1e11, 2.5))]
    with pytest.raises(
        DataError,
        match="Approach 1 needs at least 3 corners .* but got 2; add checkpoints of runs at other sizes",
    ):
        fit([*line, a_run(2e8, 1e10, 9.0), a_run(4e8, 1e10, 9.0)], Envelope())


def test_a_hull_that_touches_two_models_only_says_so():
    runs = [run for run in checkpoints() if run.group in ("run 0", "run 1")]
    assert any(
        "The hull touches 2 of the trained models only" in note
        for note in fit(runs, Envelope(), resamples=20).notes
    )


def test_isoflop_runs_make_a_frontier_too():
    law = fit(a_sweep(budgets=np.geomspace(1e18, 1e21, 7)), Envelope(), resamples=20).law
    assert law.num_params.exponent == pytest.approx(LAW.exponent, abs=0.1)

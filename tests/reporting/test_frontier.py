import math
from dataclasses import replace

import numpy as np
import pytest
from made import make_run

from isoflop.answers.frontier import frontier
from isoflop.answers.predict import predict
from isoflop.fitting.approaches.envelope import Envelope
from isoflop.fitting.approaches.isoflop import IsoFLOP
from isoflop.fitting.approaches.parametric import Parametric
from isoflop.fitting.fit import fit
from known_law import a_sweep

FLOPS = np.geomspace(3e16, 3e20, 121)


def assert_as_predicted(fitted, found, places, *, ends):
    for place in places:
        asked = predict(fitted, flops=float(found.flops[place]))
        for column, estimate in (
            (found.num_params, asked.num_params), (found.num_tokens, asked.num_tokens), (found.loss, asked.loss)
        ):  # fmt: skip
            if estimate is None:
                assert column is None
                continue
            assert column[place, 0] == pytest.approx(estimate.value, rel=1e-9)
            assert column[place, 1:] == pytest.approx((estimate.low, estimate.high), rel=ends)
        assert (found.band is None) == (asked.band is None)
        if asked.band is not None:
            assert found.band[place] == pytest.approx(asked.band, rel=5e-3)


@pytest.mark.parametrize(
    ("approach", "ends"),
    [(None, 5e-3), (Parametric(), 1e-3), (IsoFLOP(), 1e-3), (Envelope(), 1e-3)],
    ids=repr,
)
def test_every_answer_is_what_predict_says(sweep, approach, ends):
    fitted = fit(sweep, approach)

    assert_as_predicted(fitted, frontier(fitted, FLOPS), (0, 17, 60, 61, 90, 120), ends=ends)


def test_flops_that_the_runs_counted_are_respected(sweep):
    dear = [
        make_run(run.num_params, run.num_tokens, run.loss, budget=run.budget, per_token=8)
        for run in sweep
    ]
    fitted = fit(dear)

    assert_as_predicted(fitted, frontier(fitted, FLOPS), (5, 100), ends=5e-3)


def test_a_few_answers_need_no_spline(fitted):
    assert_as_predicted(fitted, frontier(fitted, [1e18, 1e20, 1e21]), range(3), ends=1e-9)


def test_a_law_without_a_loss_says_nothing_about_it(sweep):
    found = frontier(fit(sweep, Envelope()), FLOPS)

    assert found.loss is None
    assert found.band is None
    assert all(math.isfinite(value) for value in found.num_params.ravel())


def test_draws_without_an_optimum_give_no_warning():
    fitted = fit(a_sweep(), Parametric(), resamples=20)
    law = fitted.resamples
    draws = replace(law, A=np.where(np.arange(20) < 2, 0.0, law.A))
    found = frontier(replace(fitted, resamples=draws), [1e19, 1e20, 1e21])
    assert (found.num_params[:, 1] <= found.num_params[:, 2]).all()

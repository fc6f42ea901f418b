import numpy as np
import pytest
from scipy.interpolate import Akima1DInterpolator
from sweeps import LAW, a_sweep, published

from isoflop.fitting.approaches.curves import akima, cubic, parabola
from isoflop.fitting.approaches.isoflop import IsoFLOP, valleys
from isoflop.fitting.fit import fit

X = np.linspace(18.0, 22.0, 9)
ONES = np.ones((1, 9))


@pytest.mark.parametrize("shape", [parabola, cubic])
def test_a_parabola_is_found_exactly_by_both_polynomials(shape):
    curve = shape(X, 2.5 + 0.1 * (X - 20.3) ** 2, ONES)
    assert curve.minimum[0] == pytest.approx(20.3)
    assert curve.lowest[0] == pytest.approx(2.5)
    assert curve.curvature[0] == pytest.approx(0.2)
    assert curve.at(np.array([21.3])) == pytest.approx(2.6)


def test_a_cubic_follows_a_valley_that_is_steeper_on_one_side():
    def loss(x):
        return 2.5 + 0.1 * (x - 20) ** 2 - 0.02 * (x - 20) ** 3

    curve = cubic(X, loss(X), ONES)
    assert curve.minimum[0] == pytest.approx(20.0)
    assert curve.curvature[0] == pytest.approx(0.2)


def test_akima_is_the_interpolation_of_log_loss():
    loss = np.exp(0.8 + 0.05 * np.abs(X - 19.9) ** 1.7)
    curve, independent = akima(X, loss, ONES), Akima1DInterpolator(X, np.log(loss))
    fine = np.linspace(18, 22, 100_001)
    assert curve.minimum[0] == pytest.approx(fine[independent(fine).argmin()], abs=2e-3)
    assert curve.at(np.array([18.7])) == pytest.approx(np.exp(independent(18.7)))


def test_akima_takes_replicates_at_their_mean():
    twice = akima(
        np.r_[X, X[0]], np.r_[np.exp((X - 20) ** 2), np.exp((X[0] - 20) ** 2)], np.ones((1, 10))
    )
    assert twice.minimum[0] == pytest.approx(
        akima(X, np.exp((X - 20) ** 2), ONES).minimum[0], abs=1e-9
    )


@pytest.mark.parametrize("shape", [parabola, cubic, akima])
def test_a_hill_has_no_minimum_and_weights_move_one_that_noise_has_hidden(shape):
    assert np.isnan(shape(X, 2.5 - 0.1 * (X - 20) ** 2, ONES).minimum[0])
    noisy = 2.5 + 0.1 * (X - 20) ** 2 + 0.02 * np.random.default_rng(0).standard_normal(9)
    moved = shape(X, noisy, np.random.default_rng(1).exponential(size=(50, 9))).minimum
    assert 0.01 < np.nanstd(moved) < 0.5


@pytest.mark.parametrize("curve", ["cubic", "akima"])
def test_other_curves_give_the_true_optima_of_a_law_closer_than_a_parabola_on_wide_grids(curve):
    runs = a_sweep(reach=16, sizes=15)
    true = np.log([LAW.optimum(budget)[0] for budget in (1e18, 1e19, 1e20)])
    error = {
        name: np.abs(np.log([v.num_params for v in valleys(runs, None, name)]) - true).max()
        for name in ("parabola", curve)
    }
    assert error[curve] < 0.5 * error["parabola"]


PORIAN = {
    "porian_rw_1_kaplan_repro.csv": (0.8353, 3.14e8),
    "porian_rw_2_lastlayer.csv": (0.7065, 3.37e8),
    "porian_rw_3_warmup.csv": (0.6020, 3.92e8),
    "porian_rw_4_cosine.csv": (0.5715, 3.44e8),
    "porian_rw_5_tuned.csv": (0.4969, 3.28e8),
}


@pytest.mark.parametrize("name", PORIAN)
def test_akima_gives_porians_exponents_within_a_hundredth_and_their_sizes_within_two_percent(name):
    law = fit(published(name), IsoFLOP(window=None, curve="akima"), resamples=20).law
    exponent, size = PORIAN[name]
    assert law.num_params.exponent == pytest.approx(exponent, abs=0.01)
    assert law.num_params(1e19) == pytest.approx(size, rel=0.02)

import numpy as np
import pytest
from as_people_have_them import a_swept_table, a_table, public

from isoflop.errors import DataError
from isoflop.fitting.rates import fit_rates
from isoflop.fitting.vertices import fit_paraboloid
from isoflop.storage.tables import read_runs


def test_the_exponents_of_the_best_rate_and_batch_are_recovered():
    rates = fit_rates(read_runs(a_swept_table(shift=1.0, noise=0.0005)))
    assert (rates.lr.rule.num_params, rates.lr.rule.num_tokens) == pytest.approx(
        (-0.7, 0.3), abs=0.03
    )
    assert rates.batch.rule.num_tokens == pytest.approx(0.55, abs=0.03)
    assert rates.batch.rule.num_params == 0
    assert (rates.cells, rates.swept) == (21, 21)


def test_step_laws_published_exponents_are_recovered():
    rates = fit_rates(read_runs(public("steplaw_all.csv")))
    assert rates.lr.rule.num_params == pytest.approx(-0.713, abs=0.08)
    assert rates.lr.rule.num_tokens == pytest.approx(0.307, abs=0.08)
    assert rates.batch.rule.num_tokens == pytest.approx(0.571, abs=0.08)
    assert "with both it goes as" in str(rates)


def test_a_table_without_sweeps_has_no_rates():
    with pytest.raises(DataError, match="fit_rates needs at least 4 sizes"):
        fit_rates(read_runs(a_table().assign(lr=1e-3)))


def test_a_paraboloid_has_the_minimum_of_two_settings_that_interact():
    z = np.array([(i, j) for i in range(-2, 3) for j in range(-2, 3)], dtype=float) * 0.4
    u = z - [0.1, -0.2]
    y = 1 + 0.01 * u[:, 0] ** 2 + 0.02 * u[:, 1] ** 2 + 0.01 * u[:, 0] * u[:, 1]
    found = fit_paraboloid(z, y)
    assert found.at == pytest.approx([0.1, -0.2])
    assert found.log_loss == pytest.approx(1.0)
    assert found.inside


def test_a_saddle_has_no_minimum():
    z = np.array([(i, j) for i in range(-2, 3) for j in range(-2, 3)], dtype=float) * 0.2
    assert fit_paraboloid(z, 1 + 0.01 * z[:, 0] ** 2 - 0.01 * z[:, 1] ** 2) is None

import numpy as np
import pytest
from scipy.optimize import minimize_scalar

from isoflop.laws.additive import ChinchillaLaw
from isoflop.laws.base import PowerLaw, entry
from isoflop.laws.frontier import FrontierLaw

LAW = ChinchillaLaw(E=1.8, A=480.0, B=2100.0, alpha=0.35, beta=0.37)


def test_the_optimum_has_the_lowest_loss_that_its_compute_pays_for():
    N, D = LAW.optimum(1e21)
    found = minimize_scalar(
        lambda x: LAW.loss(np.exp(x), 1e21 / (6 * np.exp(x))), bounds=(10, 40), method="bounded"
    )
    assert np.log(N) == pytest.approx(found.x, abs=1e-4)
    assert 6 * N * D == pytest.approx(1e21)  # noqa: SIM300


def test_the_optimum_under_a_cost_of_6n_is_the_closed_form():
    assert LAW.optimum(1e21, lambda N: 6 * N) == pytest.approx(LAW.optimum(1e21), rel=1e-6)


def test_dearer_small_models_move_the_optimum_up_and_spend_the_compute_exactly():
    def cost(N):
        return 6 * N * (1 + (1e9 / N) ** 0.5)

    N, D = LAW.optimum(1e20, cost)
    assert N > LAW.optimum(1e20)[0]  # noqa: SIM300
    assert cost(N) * D == pytest.approx(1e20)
    beside = np.array([0.99, 1.01]) * N
    assert (LAW.loss(beside, 1e20 / cost(beside)) > LAW.loss(N, D)).all()


def test_a_batch_of_laws_answers_like_each_of_its_laws():
    batch = ChinchillaLaw(
        np.array([1.7, 1.9]),
        np.array([400.0, 500.0]),
        2000.0,
        np.array([0.34, 0.36]),
        np.array([0.36, 0.38]),
    )
    for cost in (None, lambda N: 7 * N**0.99):
        N, D = batch.optimum(1e22, cost)
        for row in (0, 1):
            assert entry(batch, row).optimum(1e22, cost) == pytest.approx(
                (N[row], D[row]), rel=1e-6
            )


def test_a_power_law_is_evaluated_at_scalars_and_arrays():
    law = PowerLaw(2.0, 0.5)
    assert law(16.0) == pytest.approx(8.0)
    assert law(np.array([1.0, 4.0])) == pytest.approx([2.0, 4.0])


def test_a_frontier_trains_what_the_compute_pays_for_where_the_cost_of_a_token_is_known():
    law = FrontierLaw(PowerLaw(0.1, 0.5), PowerLaw(1.0, 0.5))
    N, D = law.optimum(1e20, lambda N: 8 * N)
    assert 8 * N * D == pytest.approx(1e20)  # noqa: SIM300
    assert law.optimal_loss(1e20) is None

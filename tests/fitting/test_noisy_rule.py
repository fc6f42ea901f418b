"""The rule of a setting through cells of noisy runs: nearer than through their lowest losses, and honest."""

import math

import numpy as np
import pytest

from isoflop.fitting.noisy_rule import Tried, TriedCell, fit_noisy_rule
from isoflop.fitting.setting_rule import PRIOR_DEVIATION, fit_rule, fit_vertex
from isoflop.recipe import PowerRule

TRUE = PowerRule(0.5, num_params=-0.6, num_tokens=0.1)
PRIOR = (-0.45, 0.2)
OWN = PowerRule(0.1, num_params=PRIOR[0], num_tokens=PRIOR[1])
PLACES = [(N, D) for N in (2e3, 8e3) for D in (1e4, 4e4)]
FAR = (4e4, 1e5)
FACTORS = (0.25, 0.5, 1, 2, 4)


def cell(place, rng, noise=0.0, curvature=0.05, true=TRUE):
    rates = [factor * OWN(*place) for factor in FACTORS]
    away = np.log(np.array(rates) / true(*place))
    losses = 2.0 * np.exp(0.5 * curvature * away**2 + rng.normal(0, noise, len(rates)))
    return TriedCell(*place, list(map(Tried, rates, losses.tolist())))


def test_exact_losses_give_the_rule():
    rng = np.random.default_rng(0)
    found = fit_noisy_rule([cell(place, rng) for place in PLACES], OWN, PRIOR).law
    for place in PLACES:
        assert found.rule(*place) == pytest.approx(TRUE(*place), rel=0.05)
    assert found.curvature == pytest.approx(0.05, rel=0.2)
    assert found.noise < 0.002


@pytest.mark.parametrize("noise", [0.01, 0.03])
def test_noisy_losses_give_a_nearer_rule_than_their_vertices_and_its_doubt(noise):
    rng = np.random.default_rng(1)
    errors, errors_of_vertices, deviations = [], [], []
    for _ in range(100):
        b, c = rng.normal(PRIOR, PRIOR_DEVIATION)
        middle = PowerRule(1.0, num_params=b, num_tokens=c)(4e3, 2e4)
        true = PowerRule(OWN(4e3, 2e4) / middle * rng.lognormal(0, 0.7), num_params=b, num_tokens=c)
        cells = [cell(place, rng, noise, true=true) for place in PLACES]
        found = fit_noisy_rule(cells, OWN, PRIOR).law
        vertices = [fit_vertex(*list(zip(*one.tried, strict=True))[:2]) for one in cells]
        errors.append(math.log(found.rule(*FAR) / true(*FAR)))
        errors_of_vertices.append(
            math.log(fit_rule(PLACES, vertices, PRIOR).rule(*FAR) / true(*FAR))
        )
        deviations.append(found.deviation(*FAR))
    rms, rms_of_vertices = (np.sqrt(np.mean(np.square(e))) for e in (errors, errors_of_vertices))
    assert rms < 0.9 * rms_of_vertices, (rms, rms_of_vertices)
    assert 0.5 < np.sqrt(np.mean(np.square(np.array(errors) / deviations))) < 1.2


def test_the_best_rate_is_below_those_that_diverge():
    falling = [
        TriedCell(
            *place, [Tried(f * OWN(*place), 2.0 - 0.1 * f if f < 2 else math.inf) for f in FACTORS]
        )
        for place in PLACES
    ]
    found = fit_noisy_rule(falling, OWN, PRIOR).law.rule
    assert all(0.5 * OWN(*place) < found(*place) < 2.01 * OWN(*place) for place in PLACES)
    # a cell without any finite loss only bounds its rate
    sound = [cell(place, np.random.default_rng(2)) for place in PLACES[:3]]
    lost = TriedCell(*PLACES[3], [Tried(factor * OWN(*PLACES[3]), math.inf) for factor in FACTORS])
    found = fit_noisy_rule([*sound, lost], OWN, PRIOR).law.rule
    assert found(*PLACES[0]) == pytest.approx(TRUE(*PLACES[0]), rel=0.1)


@pytest.mark.parametrize(
    ("noise", "least", "most"),
    [pytest.param(0.02, 0.3, 0.75, id="noise"), pytest.param(0.0, 0.55, 1.05, id="misfit-alone")],
)
def test_more_seeds_make_a_noisy_rule_surer_but_not_one_whose_parabola_misses(noise, least, most):
    rng = np.random.default_rng(3)
    seeds = [[cell(place, rng, noise) for place in PLACES] for _ in range(4)]
    together = [
        one[0]._replace(
            tried=[t._replace(seed=k) for k, each in enumerate(one) for t in each.tried]
        )
        for one in zip(*seeds, strict=True)
    ]
    one, four = (fit_noisy_rule(cells, OWN, PRIOR).best for cells in (seeds[0], together))
    assert (
        least < np.mean([b.deviation / a.deviation for a, b in zip(one, four, strict=True)]) < most
    )


def test_a_noisy_cell_is_unsure_beside_quiet_ones_which_stay_sure():
    rng = np.random.default_rng(6)
    noises = (0.1, 0.002, 0.002, 0.002)
    found = [
        fit_noisy_rule(
            [cell(place, rng, noise) for place, noise in zip(PLACES, noises, strict=True)],
            OWN,
            PRIOR,
        ).best
        for _ in range(40)
    ]
    error = np.log([[one.value for one in best] for best in found])
    error -= np.log([TRUE(*place) for place in PLACES])
    doubt = np.array([[one.deviation for one in best] for best in found])
    noisy, *quiet = np.sqrt(np.mean((error / doubt) ** 2, axis=0))
    assert noisy < 1.5
    assert max(quiet) < 1
    assert np.median(doubt[:, 0] / doubt[:, 1:].max(axis=1)) > 2


def test_the_level_of_a_seed_says_nothing_of_its_settings():
    rng = np.random.default_rng(4)
    one = [cell(place, rng, 0.005) for place in PLACES]
    other = [cell(place, rng, 0.005) for place in PLACES]

    def both(level):
        return [
            a._replace(
                tried=[*a.tried, *(t._replace(loss=level * t.loss, seed=1) for t in b.tried)]
            )
            for a, b in zip(one, other, strict=True)
        ]

    found, moved = (fit_noisy_rule(both(level), OWN, PRIOR) for level in (1.0, 1.02))
    assert moved.law.rule(*FAR) == pytest.approx(found.law.rule(*FAR), rel=0.05)
    assert moved.law.noise == pytest.approx(found.law.noise, rel=0.2)


def test_what_a_setting_costs():
    best = fit_noisy_rule([cell(place, np.random.default_rng(5)) for place in PLACES], OWN, PRIOR)
    one = best.best[0]
    assert one.value == pytest.approx(TRUE(*PLACES[0]), rel=0.05)
    assert one.cost(one.value) == 0
    assert one.cost(2 * one.value) == pytest.approx(math.expm1(0.025 * math.log(2) ** 2), rel=0.2)

"""What is true in the simulated worlds, and what an oracle could know of it."""

import math

import numpy as np
import pytest


def test_the_best_size_of_a_world_is_that_of_its_law():
    from fixed_worlds import LAW, optimum

    for C in (1e17, 1e21):
        log_N, loss = optimum(LAW.loss, C)
        assert log_N == pytest.approx(math.log(LAW.optimum(C)[0]), abs=1e-5)
        assert loss == pytest.approx(LAW.optimal_loss(C))


def test_waste_is_what_the_optimum_would_need_to_climb_to_that_loss():
    from fixed_worlds import LAW, truth

    found = truth(LAW.loss, 1e20)
    N = math.exp(found.log_N + 0.3)
    paid = 1e20 * (1 - found.wasted(found.log_N + 0.3))
    assert found.wasted(found.log_N) == pytest.approx(0, abs=1e-9)
    assert LAW.optimal_loss(paid) == pytest.approx(float(LAW.loss(N, 1e20 / 6 / N)), rel=1e-4)


def test_a_seed_gives_the_same_sweep_again():
    import drawn_worlds
    import fixed_worlds

    world = fixed_worlds.HELD["10 % of runs 5 % high"]
    first, again = (fixed_worlds.simulated(world, 3) for _ in range(2))
    assert first.runs == again.runs
    first, again = (
        drawn_worlds.simulated(drawn_worlds.WORLDS["mild misfit"], np.random.default_rng(3))
        for _ in range(2)
    )
    assert first.runs == again.runs


def test_an_oracle_knows_less_where_the_law_is_off_and_farther_away():
    import drawn_worlds
    import oracle

    def found(name):
        world, random = drawn_worlds.WORLDS[name], np.random.default_rng(0)
        law = drawn_worlds.drawn_law(random)
        return oracle.deviations(law, world, drawn_worlds.of_law(law, world, random))

    clean, mild, strong = (
        found(name) for name in ("clean, noise .2 %", "mild misfit", "strong misfit")
    )
    for distance in (10, 100):
        assert clean[distance] < mild[distance] < strong[distance]
    assert mild[10] < mild[100]

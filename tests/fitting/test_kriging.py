import time
from dataclasses import replace

import numpy as np
import pytest
from sweeps import LAW, a_run, a_sweep, published

from isoflop.answers.predict import predict
from isoflop.errors import DataError
from isoflop.fitting.approaches.base import NoLawError
from isoflop.fitting.fit import fit
from isoflop.fitting.kriging.approach import KrigedLaw, Kriging
from isoflop.fitting.kriging.discrepancy import Plane
from isoflop.fitting.kriging.exponents import restricted_alone
from isoflop.fitting.kriging.outliers import find_outliers
from isoflop.laws.additive import ChinchillaLaw
from isoflop.laws.points import Points

BUDGETS = tuple(np.geomspace(1e18, 1e20, 5))


def solve(runs):
    return Kriging().solve(Points.of(runs))


def with_losses(runs, factor):
    """The same runs with each loss times factor(run's number)."""
    return [
        a_run(run.num_params, run.num_tokens, run.loss * factor(number), budget=run.budget)
        for number, run in enumerate(runs)
    ]


def bumped(size, seed, length=1.8):
    """A law whose reducible loss is off by a smooth random surface, and its optimum at a target, found on a grid."""
    random = np.random.default_rng(seed)
    waves, phases = random.normal(0, 1 / length, (200, 2)), random.uniform(0, 2 * np.pi, 200)

    def loss(N, D):
        place = np.log([N / 1e9, D / 2e10])
        bump = (
            size
            * np.sqrt(2 / 200)
            * np.cos(waves @ place.reshape(2, -1) + phases[:, None]).sum(0).reshape(np.shape(N))
        )
        return LAW.E + (LAW.loss(N, D) - LAW.E) * np.exp(bump)

    def best(C):
        sizes = LAW.optimum(C)[0] * np.geomspace(1 / 3, 3, 3001)
        return sizes[np.argmin(loss(sizes, C / (6 * sizes)))]

    noise = np.random.default_rng(seed + 1000)
    runs = [
        a_run(
            N,
            D,
            float(loss(np.array(N), np.array(D)) * np.exp(0.002 * noise.standard_normal())),
            budget=C,
        )
        for C in BUDGETS
        for N in LAW.optimum(C)[0] * np.geomspace(1 / 5, 5, 8)
        for D in (C / (6 * N),)
    ]
    return runs, best


def test_three_noise_free_budgets_give_three_optima_on_the_true_line_and_the_one_a_hundred_times_beyond():
    law = solve(a_sweep(budgets=(1e18, 1e19, 1e20))).law
    for C in (1e18, 1e19, 1e20, 1e22):
        assert law.optimum(C)[0] == pytest.approx(LAW.optimum(C)[0], rel=0.01)
        assert law.optimal_loss(C) == pytest.approx(LAW.optimal_loss(C), rel=1e-3)


def test_clean_sweeps_give_the_size_within_2_percent_ten_times_beyond():
    errors = [
        np.log(
            solve(a_sweep(budgets=BUDGETS, sizes=8, noise=0.002, seed=seed)).law.optimum(1e21)[0]
            / LAW.optimum(1e21)[0]
        )
        for seed in range(20)
    ]
    assert np.median(np.abs(errors)) < 0.02


def test_intervals_cover_the_optimum_of_laws_that_are_smoothly_wrong():
    hits = []
    for seed in range(40):
        runs, best = bumped(0.008, seed)
        low, high = np.quantile(
            solve(runs).draw(200, np.random.default_rng(0)).optimum(1e21)[0], [0.05, 0.95]
        )
        hits.append(low < best(1e21) < high)
    assert 0.75 <= np.mean(hits) < 1


def test_three_runs_that_are_5_percent_too_high_are_named_and_move_nothing():
    runs = a_sweep(budgets=BUDGETS, sizes=8, noise=0.002, seed=3)
    bad = {11, 20, 29}
    spoilt = with_losses(runs, lambda number: 1.05 if number in bad else 1.0)
    assert set(np.flatnonzero(find_outliers(Points.of(spoilt)))) == bad
    found = fit(spoilt, Kriging(), resamples=50)
    (note,) = [note for note in found.notes if "neither the law" in note]
    assert note.startswith("3 runs")
    assert "do not count" in note
    clean = solve(runs).law
    assert found.law.optimum(1e21)[0] == pytest.approx(clean.optimum(1e21)[0], rel=0.02)


def test_a_run_that_is_3_percent_better_than_the_others_say_is_spoilt_too():
    runs = with_losses(
        a_sweep(budgets=BUDGETS, sizes=8, noise=0.002, seed=4),
        lambda number: 0.97 if number == 20 else 1,
    )
    assert np.flatnonzero(find_outliers(Points.of(runs))).tolist() == [20]


def test_clean_runs_are_almost_never_called_spoilt():
    sweeps = [a_sweep(budgets=BUDGETS, sizes=8, noise=0.002, seed=seed) for seed in range(20)]
    assert sum(find_outliers(Points.of(runs)).sum() for runs in sweeps) <= 8


def test_an_interval_widens_with_distance_and_with_noise():
    def width(noise, C):
        found = solve(a_sweep(budgets=BUDGETS, noise=noise, seed=1)).draw(
            400, np.random.default_rng(0)
        )
        return np.log(found.optimum(C)[0]).std()

    assert width(0.002, 1e20) < width(0.002, 1e21) < width(0.002, 1e23)
    assert width(0.002, 1e21) < width(0.02, 1e21)


def test_the_same_seed_gives_the_same_draws_and_another_seed_others():
    solved = solve(a_sweep(noise=0.003))
    first, again, other = (
        solved.draw(50, np.random.default_rng(seed)).optimum(1e21)[0] for seed in (1, 1, 2)
    )
    assert (first == again).all()
    assert (first != other).any()


def test_the_point_lies_in_the_middle_of_the_draws():
    solved = solve(a_sweep(noise=0.003))
    draws = solved.draw(2000, np.random.default_rng(0))
    for C in (1e19, 1e21, 1e22):
        assert solved.law.optimum(C)[0] == pytest.approx(np.median(draws.optimum(C)[0]), rel=0.02)
        low, high = np.quantile(draws.optimal_loss(C), [0.15, 0.85])
        assert low < solved.law.optimal_loss(C) < high


def test_the_optimum_is_where_the_loss_along_the_isoflop_is_lowest():
    law = solve(a_sweep(noise=0.003)).law
    N, D = law.optimum(1e21)
    assert law.loss(N, D) == pytest.approx(law.optimal_loss(1e21), rel=1e-9)
    for factor in (0.5, 0.9, 1.1, 2.0):
        assert law.loss(N * factor, D / factor) > law.optimal_loss(1e21)


@pytest.mark.parametrize("many", [False, True])
def test_under_another_cost_the_optimum_is_the_law_s_under_that_cost(many):
    def cost(N):
        return 6 * N * (1 + (1e9 / N) ** 0.4)

    solved = solve(a_sweep(budgets=BUDGETS, sizes=8))
    law = solved.draw(20, np.random.default_rng(0)) if many else solved.law
    N, D = law.optimum(1e20, cost)
    assert pytest.approx(LAW.optimum(1e20, cost)[0] * np.ones(np.shape(N)), rel=0.01) == N
    assert cost(N) * D == pytest.approx(1e20 * np.ones(np.shape(N)))


def test_arrays_of_flops_give_arrays_of_optima():
    solved = solve(a_sweep(noise=0.003))
    C = np.array([1e19, 1e20, 1e21])
    assert solved.law.optimum(C)[0].shape == (3,)
    draws = solved.draw(25, np.random.default_rng(0))
    assert draws.optimum(C[:, None])[0].shape == (3, 25)
    assert draws.optimum(C[:, None])[0][1] == pytest.approx(draws.optimum(1e20)[0])


def test_every_question_of_predict_is_answered():
    found = fit(a_sweep(budgets=BUDGETS, noise=0.002), Kriging(), resamples=100)
    best = predict(found, flops=1e21)
    assert best.loss is not None
    assert best.band is not None
    assert best.num_params.low < LAW.optimum(1e21)[0] < best.num_params.high
    assert best.loss.low < LAW.optimal_loss(1e21) < best.loss.high
    assert 0 < best.regret.value < 0.05
    assert predict(found, num_params=best.num_params.value).flops == pytest.approx(1e21, rel=1e-3)
    assert predict(found, loss=best.loss.value).flops == pytest.approx(1e21, rel=1e-3)
    assert "smooth discrepancy" in str(found.law)


def test_runs_without_budgets_are_enough():
    runs = [
        a_run(run.num_params, run.num_tokens, run.loss)
        for run in a_sweep(budgets=BUDGETS, noise=0.002)
    ]
    assert solve(runs).law.optimum(1e21)[0] == pytest.approx(LAW.optimum(1e21)[0], rel=0.1)


def test_rows_of_one_trained_model_share_their_noise_so_the_interval_is_wider():
    runs = a_sweep(budgets=BUDGETS, noise=0.004, seed=2)
    sizes = sorted({run.num_params for run in runs})
    grouped = [
        a_run(
            run.num_params,
            run.num_tokens,
            run.loss,
            budget=run.budget,
            group=f"trunk {sizes.index(run.num_params) // 7}",
        )
        for run in runs
    ]
    alone, shared = (
        solve(each).draw(400, np.random.default_rng(0)).optimum(1e21)[0] for each in (runs, grouped)
    )
    assert np.isfinite(shared).all()
    assert np.log(shared).std() != pytest.approx(np.log(alone).std(), rel=0.02)


def test_a_thousand_runs_are_thinned_to_those_that_count_and_said_so():
    runs = a_sweep(budgets=tuple(np.geomspace(1e18, 1e20, 20)), sizes=20, noise=0.003)
    solved = solve(runs)
    assert any("The 300 of 400 runs" in note for note in solved.notes)
    assert solved.law.optimum(1e21)[0] == pytest.approx(LAW.optimum(1e21)[0], rel=0.05)


def test_a_large_smooth_misfit_is_told():
    runs, _ = bumped(0.06, 1, length=1.2)
    assert any("beyond noise, smoothly" in note for note in solve(runs).notes)
    assert not any(
        "beyond noise" in note for note in solve(a_sweep(budgets=BUDGETS, noise=0.002)).notes
    )


@pytest.mark.parametrize("noise", [0.001, 0.004])
def test_the_draws_tell_the_noise_of_the_runs(noise):
    found, misfit = (
        solve(a_sweep(budgets=BUDGETS, noise=noise, seed=2))
        .draw(200, np.random.default_rng(0))
        .errors
    )
    assert found == pytest.approx(noise, rel=0.3)
    assert misfit < noise


def test_the_draws_tell_a_smooth_misfit():
    noise, misfit = solve(bumped(0.06, 1, length=1.2)[0]).draw(200, np.random.default_rng(0)).errors
    assert misfit > 2 * noise


def test_forty_runs_take_milliseconds():
    points = Points.of(a_sweep(budgets=BUDGETS, sizes=8, noise=0.002))
    times = []
    for _ in range(5):
        start = time.process_time()
        Kriging().solve(points)
        times.append(time.process_time() - start)
    assert min(times) < 0.1  # 9 ms on an idle core


@pytest.mark.parametrize(
    ("runs", "sentence"),
    [
        (
            a_sweep(sizes=5)[:5],
            "Kriging needs at least 6 runs of different size or tokens, but got 5",
        ),
        (
            [a_run(N, D, 3.0) for N in (1e8, 2e8) for D in (1e9, 2e9, 3e9)],
            "at least 3 different sizes, but got 2",
        ),
        (
            [a_run(N, D, 3.0) for D in (1e9, 2e9) for N in (1e8, 2e8, 3e8)],
            "3 different numbers of tokens, but got 2",
        ),
        (
            with_losses(a_sweep(), lambda number: 10 / a_sweep()[number].loss ** 2),
            "no law whose loss falls with both",
        ),
    ],
)
def test_runs_that_cannot_answer_are_refused(runs, sentence):
    with pytest.raises(DataError, match=sentence):
        solve(runs)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"lengths": ()}, "lengths must have at least one value"),
        ({"ratios": (0.0, 1.0)}, "ratios must be numbers from 0.001 to 1000, but got 0.0"),
    ],
)
def test_lengths_and_ratios_must_be_numbers_above_zero(arguments, message):
    with pytest.raises(DataError, match=message):
        Kriging(**arguments)


def test_marin_optimal_runs_are_foretold_within_1_2_percent():
    law = solve(published("marin_comma.csv")).law
    runs = [
        run for run in published("marin_comma_validation_optimal.csv") if 6e18 < run.flops < 1.1e20
    ]
    errors = [law.loss(run.num_params, run.num_tokens) / run.loss - 1 for run in runs]
    assert len(errors) == 5
    assert max(np.abs(errors)) < 0.012


def test_the_largest_run_of_gadre_et_al_is_foretold_within_3_percent():
    runs = published("gadre_rpj.csv")
    largest = max(runs, key=lambda run: run.flops)
    law = solve([run for run in runs if run.flops < 1e20]).law
    assert law.loss(largest.num_params, largest.num_tokens) == pytest.approx(largest.loss, rel=0.03)
    assert isinstance(law, KrigedLaw)


def a_floorless_sweep(E=0.0, *, noise=0.002, seed=1):
    """Four budgets of a law whose loss falls towards E, and that law."""
    law = ChinchillaLaw(0.0, 62.0, 152.0, 0.35, 0.37)
    random = np.random.default_rng(seed)
    runs = []
    for budget in (1e9, 1e10, 1e11, 1e12):
        for N in law.optimum(budget)[0] * np.geomspace(1 / 4, 4, 7):
            loss = float(law.loss(N, budget / 6 / N)) + E
            runs.append(
                a_run(
                    N,
                    budget / 6 / N,
                    loss * np.exp(noise * random.standard_normal()),
                    budget=budget,
                )
            )
    return runs, law


@pytest.mark.parametrize(("E", "noise"), [(0.0, 0.002), (0.0, 0.02), (-0.1, 0.002)])
def test_runs_without_an_irreducible_loss_are_kriged_with_none(E, noise):
    runs, law = a_floorless_sweep(E, noise=noise)
    fitted = fit(runs, Kriging())
    N, D = law.optimum(1e13)
    inside = [
        np.quantile(drawn, 0.05) < true < np.quantile(drawn, 0.95)
        for drawn, true in (
            (fitted.resamples.optimum(1e13)[0], N),
            (fitted.resamples.optimal_loss(1e13), law.loss(N, D) + E),
        )
    ]
    assert isinstance(fitted.law, KrigedLaw)
    assert all(inside)
    assert fitted.law.E < 0.1


def test_that_no_irreducible_loss_shows_is_said():
    assert any(
        "The runs show no irreducible loss" in note
        for note in fit(a_floorless_sweep(-0.1)[0], Kriging()).notes
    )
    assert not any(
        "no irreducible loss" in note for note in fit(a_sweep(noise=0.002), Kriging()).notes
    )


def test_answers_move_little_while_the_best_floor_passes_zero():
    sizes = [
        fit(a_floorless_sweep(E, noise=0)[0], Kriging()).law.optimum(1e13)[0]
        for E in (-0.004, -0.002, 0.0, 0.002, 0.004)
    ]
    assert np.abs(np.diff(np.log(sizes))).max() < 0.03


def test_the_likelihood_of_exponents_is_continuous_where_the_best_floor_is_zero():
    plane = Plane.of(Points.of(a_floorless_sweep()[0]))
    axis = np.log(np.linspace(0.34, 0.4, 400))
    found = restricted_alone(0.01 * plane.loss, plane.x, plane.y, plane.loss, axis)
    E = np.diagonal(found.amplitudes[0, :, :, 0])
    likelihood = np.diagonal(found.log_likelihood[0])
    assert (E == 0).any()
    assert (E > 0).any()
    assert np.abs(np.diff(likelihood, 2)).max() < 0.05


UNDETERMINED = [
    (600, 5e9, 7000), (500, 7e10, 0.04), (2e8, 4e10, 0.001), (3e6, 3000, 1), (1e13, 8e11, 6e5),
    (9e6, 2e11, 8e-9), (1000, 2000, 0.0008), (30, 6e12, 500), (3e9, 1e10, 10), (7e6, 3000, 5),
    (2e8, 100, 4), (3e4, 8e6, 0.2), (600, 6e8, 20), (2e4, 1e7, 10),
]  # fmt: skip
"""(params, tokens, loss): the amplitudes' covariance is not positive definite in floating point."""
SINGULAR = [
    (9e9, 1e28, 20), (3e10, 9e9, 0.3), (60, 1e4, 0.5), (3e20, 2e17, 2e-7),
    (1e12, 2e26, 0.5), (2e20, 1e28, 1), (1e27, 6e8, 40), (2e18, 3e10, 40),
]  # fmt: skip
"""The equations of the amplitudes are singular in floating point."""


def test_draws_from_runs_that_determine_no_amplitudes_say_so():
    runs = [a_run(*row) for row in UNDETERMINED]
    with pytest.raises(NoLawError, match="since the equations for it have no solution; look for"):
        fit(runs, Kriging(), keep="all", resamples=50)
    with np.errstate(all="ignore"), pytest.raises(NoLawError, match="have no solution"):
        solve([a_run(*row) for row in SINGULAR])


@pytest.mark.parametrize("scale", [1 / np.log(2), 1e-3])
def test_an_answer_does_not_depend_on_the_unit_of_the_loss(scale):
    random = np.random.default_rng(7)  # some of its draws have an amplitude below 0
    sizes, ratios = 10 ** random.uniform(4, 9, 12), 10 ** random.uniform(-1, 3, 12)
    runs = [
        a_run(N, N * ratio, float(LAW.loss(N, N * ratio) * np.exp(0.3 * random.normal())))
        for N, ratio in zip(sizes, ratios, strict=True)
    ]
    scaled = [replace(run, loss=scale * run.loss) for run in runs]
    here, there = (predict(fit(rows, resamples=100), flops=1e19) for rows in (runs, scaled))
    for name in ("value", "low", "high"):
        pair = [getattr(answer.num_params, name) for answer in (here, there)]
        assert pair[0] == pytest.approx(pair[1], rel=1e-5)
    assert here.loss.value * scale == pytest.approx(there.loss.value)

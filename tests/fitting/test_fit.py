import math
from dataclasses import replace

import numpy as np
import pytest
from sweeps import LAW, a_run, a_sweep

from isoflop.errors import DataError
from isoflop.fitting.approaches.isoflop import IsoFLOP
from isoflop.fitting.approaches.parametric import Parametric
from isoflop.fitting.doubt.influence import Influence
from isoflop.fitting.fit import fit
from isoflop.fitting.kriging.approach import Kriging
from isoflop.laws.additive import ChinchillaLaw
from isoflop.laws.points import Points


def test_a_measure_that_rises_with_compute_is_refused_as_no_loss():
    runs = [replace(run, loss=math.exp(-run.loss)) for run in a_sweep()]
    for approach in (None, Parametric()):
        with pytest.raises(DataError, match="needs a loss, which falls with compute, but .* rises"):
            fit(runs, approach, resamples=20)


def test_the_same_seed_gives_the_same_intervals_and_another_seed_others():
    runs = a_sweep(noise=0.01)
    first, again, other = (fit(runs, resamples=50, seed=seed).resamples.alpha for seed in (1, 1, 2))
    assert (first == again).all()
    assert (first != other).any()


APPROACHES = [Parametric(), Parametric(delta=math.inf), IsoFLOP()]


@pytest.mark.parametrize("approach", APPROACHES)
def test_intervals_are_as_wide_as_what_is_found_scatters_around_the_truth(approach):
    ends = np.log([interval(approach, seed) for seed in range(12)]) - math.log(LAW.optimum(1e21)[0])
    errors = 1.645 * ends.sum(axis=1) / (ends[:, 1] - ends[:, 0])
    assert 0.6 < np.sqrt(np.mean(errors**2)) < 1.5


@pytest.mark.slow
@pytest.mark.parametrize("approach", APPROACHES)
def test_intervals_of_a_clean_law_cover_the_truth_about_as_often_as_they_say(approach):
    ends = [interval(approach, seed) for seed in range(50)]
    assert 39 <= sum(low < LAW.optimum(1e21)[0] < high for low, high in ends) <= 49


def interval(approach, seed):
    runs = a_sweep(budgets=np.geomspace(1e18, 1e21, 5), noise=0.005, seed=seed)
    found = fit(runs, approach, resamples=200)
    return np.quantile(found.resamples.optimum(1e21)[0], [0.05, 0.95])


def test_fields_of_a_law_that_are_given_are_held_and_the_others_fitted():
    law = fit(
        a_sweep(noise=0.003),
        Parametric(law=ChinchillaLaw(E=1.75, beta=0.4), delta=math.inf),
        resamples=20,
    ).law
    assert (law.E, law.beta) == (1.75, 0.4)
    true = fit(a_sweep(), Parametric(law=ChinchillaLaw(E=1.8, alpha=0.35)), resamples=20).law
    assert (true.A, true.B, true.beta) == pytest.approx((480.0, 2100.0, 0.37), rel=1e-4)


def test_a_given_amplitude_is_refused():
    with pytest.raises(
        DataError, match="E, alpha and beta can be held at a value, but A or B was given"
    ):
        fit(a_sweep(), Parametric(law=ChinchillaLaw(A=400.0)))


def test_three_spoilt_runs_are_named_and_hardly_move_the_answer():
    runs = a_sweep(budgets=np.geomspace(1e18, 1e21, 5), sizes=8, noise=0.002, seed=4)
    spoilt = [3, 17, 30]
    bad = [
        a_run(r.num_params, r.num_tokens, r.loss * (1.05 if i in spoilt else 1), budget=r.budget)
        for i, r in enumerate(runs)
    ]
    found = fit(bad, Parametric(), resamples=20)
    assert found.law.optimum(1e21)[0] == pytest.approx(
        fit(runs, Parametric(), resamples=20).law.optimum(1e21)[0], rel=0.06
    )
    assert found.influence is not None
    assert {run.id for run in found.influence.runs} == {bad[i].id for i in spoilt}
    assert any("standard deviations off the law of the others" in note for note in found.notes)


def test_runs_are_named_even_where_one_law_alone_has_no_best_size():
    class NoValley:
        def optimum(self, flops):
            return 0.0, math.inf

    law, other = (
        ChinchillaLaw(1.8, 480, 2085, 0.35, 0.37),
        ChinchillaLaw(1.8, 400, 2085, 0.35, 0.37),
    )
    odd = Influence((a_run(1e8, 1e9, 3.0),), law, other, plain=(NoValley(), other))

    assert "instead of" in odd.note(1e21)
    assert "one law alone" not in odd.note(1e21)
    assert "would be" in replace(odd, law=NoValley()).note(1e21)


def test_a_clean_sweep_has_nothing_to_doubt():
    assert fit(a_sweep(budgets=np.geomspace(1e18, 1e21, 5), noise=0.002), Parametric()).notes == ()


def test_diverged_failed_and_infinite_runs_are_set_aside_with_their_reason():
    strays = [
        a_run(1e9, 1e10, math.nan, status="diverged", error="the loss became NaN at step 300"),
        a_run(2e9, 1e10, math.nan, status="failed"),
        a_run(3e9, 1e10, math.inf),
    ]
    found = fit(a_sweep() + strays, resamples=20)
    assert [item.reason for item in found.set_aside] == [
        "diverged: the loss became NaN at step 300",
        "failed",
        "its loss is not finite",
    ]
    assert "1 run set aside (failed): 2.00B params on 10.0B tokens." in found.notes
    assert len(found.runs) == 21


def test_copied_rows_count_once_and_replicates_as_points_that_move_together():
    runs = a_sweep(noise=0.01)
    copied = fit([*runs, runs[0], runs[0]], resamples=20)
    assert "2 runs repeat another row in every number and count once." in copied.notes
    assert copied.runs == tuple(runs)
    assert copied.law.optimum(1e21) == fit(runs, resamples=20).law.optimum(1e21)
    again = a_run(
        runs[0].num_params, runs[0].num_tokens, runs[0].loss + 0.01, budget=runs[0].budget
    )
    assert any(
        "22 rows are 21 independent configurations: replicates" in note
        for note in fit([*runs, again], resamples=20).notes
    )


def test_rows_of_one_trained_model_make_one_configuration():
    runs = [
        a_run(r.num_params, r.num_tokens, r.loss, group=f"{r.num_params:.3g}")
        for r in a_sweep(budgets=(1e18, 1e19, 1e20))
    ]
    groups = len({run.group for run in runs})
    assert any(f"21 rows are {groups} independent" in n for n in fit(runs, resamples=20).notes) == (
        groups < 21
    )


def a_ladder(ratio=20.0, *, spread=1.0):
    """Sizes on one number of tokens per param, off by x/÷spread by turns."""
    sizes = np.geomspace(1e7, 1e10, 9)
    pairs = [(N, ratio * N * spread ** (-1) ** number) for number, N in enumerate(sizes)]
    return [a_run(N, D, float(LAW.loss(N, D))) for N, D in pairs]


@pytest.mark.parametrize(("approach", "name"), [(None, "fit"), (Parametric(), "Approach 3")])
def test_a_ladder_of_one_tokens_per_param_ratio_is_refused_with_the_runs_that_repair_it(
    approach, name
):
    with pytest.raises(DataError) as caught:
        fit(a_ladder(), approach)
    assert str(caught.value) == (
        f"{name} needs sizes trained on different numbers of tokens to separate size from data, but in all 9 runs "
        f"the tokens follow from the params (20.0 tokens per param); add runs at three sizes or more, such as 316M params "
        f"on 1.58B and on 25.3B tokens."
    )


def test_the_runs_that_a_ladder_asks_for_do_repair_it():
    added = [(N, ratio * N) for N in (1e8, 316e6, 1e9) for ratio in (5, 80)]
    fitted = fit([*a_ladder(), *(a_run(N, D, float(LAW.loss(N, D))) for N, D in added)])
    assert fitted.law.optimum(1e22)[0] == pytest.approx(LAW.optimum(1e22)[0], rel=0.02)


def test_a_ladder_under_given_exponents_says_that_they_decide():
    held = Parametric(ChinchillaLaw(alpha=0.35, beta=0.37))
    known = Parametric(prior={"alpha": (0.35, 0.01), "beta": (0.37, 0.01)})
    for approach in (held, known):
        assert any(
            "comes from the given exponents" in note for note in fit(a_ladder(), approach).notes
        )


def test_a_ladder_with_a_little_spread_is_doubted():
    notes = fit(a_ladder(spread=1.2), resamples=20).notes
    assert any("All runs train 16.7 to 24.0 tokens per param" in note for note in notes)


def test_repeated_and_fresh_data_are_no_replicates():
    fresh, repeated = a_run(1e8, 1e10, 3.0), a_run(1e8, 1e10, 3.1, epochs=8.0)
    assert len(set(Points.of([fresh, repeated]).keys)) == 2
    assert len(set(Points.of([fresh, a_run(1e8, 1e10, 3.01)]).keys)) == 1


def test_two_budgets_and_few_sizes_are_said_so():
    notes = fit(a_sweep(budgets=(1e18, 1e20), sizes=4), resamples=20).notes
    assert any("There are 2 budgets only" in note for note in notes)
    assert (
        "Each of the budgets 1e+18 and 1e+20 has 4 sizes; 7 would show whether its minimum is real."
        in notes
    )


def test_a_parameter_at_its_bound_is_said_so():
    flat = ChinchillaLaw(0.0, 10.0, 20.0, 0.05, 0.06)
    notes = fit(a_sweep(flat, noise=0.02, seed=3), Parametric(delta=math.inf), resamples=20).notes
    assert any(note.startswith("E ended at the bound of its range") for note in notes)


@pytest.mark.parametrize(
    ("runs", "message"),
    [
        ([], "fit needs at least 6 runs, but got none."),
        (
            "table.csv",
            "fit needs runs, but got str; read a table or a store with isoflop.read_runs\\(\\) first",
        ),
        (["1e9"], "fit needs runs, but got str"),
        ([a_run(1e9, 1e10, math.nan)], "none of those given completed with a finite loss"),
        (
            a_sweep(budgets=(1e19,)),
            "2 or more budgets .* but all 7 runs have one budget \\(1e\\+19 FLOPs\\); add runs",
        ),
        (a_sweep()[:7] + a_sweep()[:1], "all 7 runs have one budget"),
        (
            [a_run(1e9, 1e10, 2.5), a_run(2e9, 4e10, 2.4)],
            "needs at least 6 runs of different size or tokens.* but got 2",
        ),
        (
            [*a_sweep(), a_run(1e9, 1e10, -0.3)],
            "loss must be above 0 and finite, but the run with 1.00B params on 10.0B tokens has -0.3",
        ),
        ([*a_sweep(), a_run(1e9, 1e10, 0.0)], "loss must be above 0 and finite"),
        (
            [*a_sweep(), a_run(1e9, 0, 2.0, flops=1e18)],
            "tokens must be above 0 and finite, but the run with 1.00B params on 0 tokens has 0",
        ),
        ([*a_sweep(), a_run(0, 1e9, 2.0, flops=1e18)], "params must be above 0"),
        ([*a_sweep(), a_run(1e9, 1e9, 2.0, flops=-1.0)], "FLOPs must be above 0"),
        (
            [a_run(N, D, 2.0 + 1e9 / D) for N in (1e8, 2e8) for D in (1e9, 2e9, 4e9, 8e9)],
            "at least 3 different sizes, but got 2",
        ),
        (
            [a_run(N, D, 2.0 + 1e9 / D) for N in (1e8, 2e8, 4e8, 8e8) for D in (1e9, 2e9)],
            "at least 3 different numbers of tokens, but got 2",
        ),
    ],
)
def test_runs_that_cannot_answer_are_refused_in_one_sentence(runs, message):
    with pytest.raises(DataError, match=message):
        fit(runs)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"level": 1.0}, "level must be between 0 and 1, but got 1.0"),
        ({"resamples": 3}, "resamples must be a whole number from 20 to 100000, but got 3"),
    ],
)
def test_impossible_settings_are_refused(arguments, message):
    with pytest.raises(DataError, match=message):
        fit(a_sweep(), **arguments)


@pytest.mark.parametrize(
    ("runs", "message"),
    [
        (
            [a_run(1e9, 1e10, 2.5), a_run(2e9, 4e10, 2.4)],
            "Approach 3 needs at least 6 runs .* to fit 5 numbers, but got 2",
        ),
        (
            [a_run(N, D, 2.0 + 1e9 / D) for N in (1e8, 2e8) for D in (1e9, 2e9, 4e9, 8e9)],
            "Approach 3 needs at least 3 different sizes, but got 2",
        ),
        (
            [a_run(N, D, 2.0 + 1e9 / D) for N in (1e8, 2e8, 4e8, 8e8) for D in (1e9, 2e9)],
            "at least 3 different numbers of tokens, but got 2",
        ),
    ],
)
def test_too_few_runs_for_one_law_are_refused(runs, message):
    with pytest.raises(DataError, match=message):
        fit(runs, Parametric())


def test_a_delta_of_zero_is_refused():
    with pytest.raises(DataError, match="delta must be above 0, but got 0"):
        Parametric(delta=0)


def test_a_fit_prints_its_law_its_runs_and_its_doubt():
    printed = str(fit([*a_sweep(), a_run(1e9, 1e10, math.inf)], resamples=20))
    assert "alpha     0.3500" in printed
    assert "runs      21, 1 set aside, up to 1e+20 FLOPs" in printed
    assert "  - 1 run set aside" in printed
    assert "num_params  " in str(fit(a_sweep(), IsoFLOP(), resamples=20))


def test_where_the_default_finds_no_law_approach_3_answers_and_the_fit_says_so(monkeypatch):
    import isoflop
    from isoflop.fitting import default as home

    def refuse(self, points):
        raise home.NoLawError("These runs show no law", "look at the runs")

    specs = [
        isoflop.RunSpec(num_params=n, num_tokens=c / (6 * n), flops=c, budget=c)
        for c in (1e18, 1e19, 1e20)
        for n in (1e8, 2e8, 4e8, 8e8)
    ]
    law = isoflop.ChinchillaLaw(E=1.5, A=300.0, B=600.0, alpha=0.35, beta=0.36)
    runs = [
        isoflop.Run(
            spec=s,
            status="completed",
            loss=law.loss(s.num_params, s.num_tokens),
            num_tokens=s.num_tokens,
            flops=s.flops,
        )
        for s in specs
    ]
    monkeypatch.setattr(home.Bayesian, "solve", refuse)
    found = isoflop.fit(runs)
    assert isinstance(found.approach, isoflop.Parametric)
    assert found.notes[0].startswith("These runs show no law: the answer is of Approach 3 alone")


@pytest.mark.parametrize(
    "runs",
    [
        [a_run(N, 20 * N, 1 + 3 * N**-0.1) for N in (1e7, 1e8, 1e9)],
        [a_run(N, 20 * N, 1 + 3 * N**-0.1) for N in (1e7, 2e7, 4e7, 8e7, 1e8, 2e8, 4e8)],
    ],
    ids=["few", "on a line"],
)
def test_the_default_refuses_runs_without_naming_an_approach(runs):
    with pytest.raises(DataError, match=r"^fit needs "):
        fit(runs)
    with pytest.raises(DataError, match=r"^Kriging needs "):
        fit(runs, Kriging())

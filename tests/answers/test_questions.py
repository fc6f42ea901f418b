import dataclasses
import math
from functools import cache

import pytest
from brute_force import best_at, cheapest_for, compute_where, repeating

from isoflop.answers.predict import predict
from isoflop.errors import DataError
from isoflop.fitting.approaches.isoflop import IsoFLOP
from isoflop.fitting.approaches.parametric import Parametric
from isoflop.fitting.estimates import Estimate
from isoflop.fitting.fit import fit
from isoflop.fitting.kriging.approach import Kriging
from isoflop.laws.cost import measured_cost
from isoflop.laws.other_laws import DataConstrainedLaw
from known_law import a_wide_sweep

SERVED, UNIQUE = 1e12, 2e10
QUESTIONS = {
    "flops": {"flops": 1e22},
    "params": {"num_params": 8e9},
    "tokens": {"num_tokens": 2e11},
    "loss": {"loss": 2.15},
    "loss and serving": {"loss": 2.2, "served_tokens": SERVED},
    "flops and serving": {"flops": 1e22, "served_tokens": SERVED},
    "flops and unique tokens": {"flops": 1e22, "unique_tokens": UNIQUE},
}


def six(N):
    return 6 * N


@pytest.fixture(scope="module", params=["six flops per param", "counted flops"])
def fits(request):
    """A fit of each approach that has a surface, and what a token costs in its answers."""
    counted = request.param == "counted flops"
    runs = a_wide_sweep(
        noise=0.004, dearer=(lambda N: 1.6 * (N / 1e9) ** -0.1) if counted else (lambda N: 1.0)
    )
    cost = measured_cost(runs) if counted else six
    return [(fit(runs, approach, resamples=40), cost) for approach in (Parametric(), Kriging())]


@pytest.fixture(scope="module")
def answers(fits):
    """The answers of those fits to a question, by its name."""
    return cache(lambda name: [predict(fitted, **QUESTIONS[name]) for fitted, _ in fits])


def searched(question, loss, cost):
    """C, N and D of a question by brute force."""
    served = question.get("served_tokens", 0.0)
    if "unique_tokens" in question:
        loss = repeating(loss, cost, question["unique_tokens"])
    if "loss" in question:
        N, D = cheapest_for(loss, cost, question["loss"], served)
        return cost(N) * D, N, D
    if "flops" in question:
        C = question["flops"]
    else:
        number = 0 if "num_params" in question else 1
        C = compute_where(loss, cost, number, next(iter(question.values())))
    N, D = best_at(loss, cost, C, served)
    return cost(N) * D, N, D


@pytest.mark.parametrize("name", QUESTIONS)
def test_the_answer_is_the_one_that_a_search_over_the_law_finds_to_three_digits(
    fits, answers, name
):
    for (fitted, cost), best in zip(fits, answers(name), strict=True):
        C, N, D = searched(QUESTIONS[name], fitted.law.loss, cost)
        assert best.flops == pytest.approx(C, rel=1e-3), fitted.approach
        assert best.num_params.value == pytest.approx(N, rel=1e-3), fitted.approach
        assert best.num_tokens.value == pytest.approx(D, rel=1e-3), fitted.approach


def estimates(value):
    """Every estimate of an answer and of what is in it."""
    for field in dataclasses.fields(value):
        part = getattr(value, field.name)
        if isinstance(part, Estimate):
            yield field.name, part
        elif field.name == "effects":
            for effect in part.values():
                yield from estimates(effect)


@pytest.mark.parametrize("name", QUESTIONS)
def test_every_interval_holds_its_value_and_what_was_asked_has_none(answers, name):
    for best in answers(name):
        given = {name: value for name, value in QUESTIONS[name].items() if hasattr(best, name)}
        for part, found in estimates(best):
            assert found.low <= found.value <= found.high, part
            if part in given:
                assert found.high / found.low == pytest.approx(1, abs=1e-6), part
        assert best.num_params.low < best.num_params.high or "num_params" in given


@pytest.fixture(scope="module")
def exact():
    return fit(a_wide_sweep(), Parametric(), resamples=20)


def test_serving_almost_nothing_changes_nothing(exact):
    plain, served = predict(exact, flops=1e22), predict(exact, flops=1e22, served_tokens=1.0)
    assert served.num_params.value == pytest.approx(plain.num_params.value, rel=1e-5)
    assert served.serving.overtraining.value == pytest.approx(1, rel=1e-5)
    assert served.serving.extra_training.value == pytest.approx(0, abs=1e-6)


def test_more_serving_gives_smaller_models_trained_longer_which_cost_more_to_train_and_less_in_all(
    exact,
):
    little, much = (predict(exact, loss=2.2, served_tokens=served) for served in (1e11, 1e13))
    assert much.num_params.value < little.num_params.value
    assert much.num_tokens.value > little.num_tokens.value
    assert much.serving.overtraining.value > little.serving.overtraining.value > 1
    assert much.serving.extra_training.value > little.serving.extra_training.value > 0
    assert much.serving.saved.value > little.serving.saved.value > 0


def test_what_over_training_costs_and_saves_is_told_against_the_compute_optimal_run_of_the_same_loss(
    exact,
):
    served, plain = predict(exact, loss=2.2, served_tokens=SERVED), predict(exact, loss=2.2)
    prices = served.serving
    ratio = (
        served.num_tokens.value
        / served.num_params.value
        / (plain.num_tokens.value / plain.num_params.value)
    )
    in_all = (
        6 * plain.num_params.value * plain.num_tokens.value + 2 * plain.num_params.value * SERVED
    )
    assert prices.overtraining.value == pytest.approx(ratio, rel=1e-6)
    assert prices.extra_training.value == pytest.approx(served.flops / plain.flops - 1, rel=1e-6)
    assert prices.serving.value == pytest.approx(2 * served.num_params.value * SERVED, rel=1e-6)
    assert prices.total.value == pytest.approx(served.flops + prices.serving.value)
    assert prices.saved.value == pytest.approx(1 - prices.total.value / in_all, rel=1e-5)


def test_tokens_per_param_that_no_run_has_are_a_note(exact):
    far = predict(exact, loss=2.2, served_tokens=1e14)
    assert any("tokens per param, the runs" in note for note in far.notes)
    assert not any(
        "tokens per param, the runs" in note
        for note in predict(exact, loss=2.2, served_tokens=1e9).notes
    )


def test_enough_unique_tokens_change_nothing(exact):
    plain = predict(exact, flops=1e22)
    enough = predict(exact, flops=1e22, unique_tokens=1.001 * plain.num_tokens.value)
    assert enough.num_params == plain.num_params
    assert enough.loss.value == pytest.approx(plain.loss.value)
    assert enough.repetition.epochs.value == pytest.approx(1 / 1.001)
    assert enough.repetition.worth.value == pytest.approx(plain.num_tokens.value)
    assert enough.notes == plain.notes


def test_finite_tokens_are_repeated_at_a_loss_and_beyond_four_epochs_with_a_note(exact):
    few, fewer = (predict(exact, flops=1e22, unique_tokens=tokens) for tokens in (1e11, 2e10))
    assert few.repetition.epochs.value == pytest.approx(few.num_tokens.value / 1e11)
    assert 1 < few.repetition.epochs.value < 4 < fewer.repetition.epochs.value
    assert predict(exact, flops=1e22).loss.value < few.loss.value < fewer.loss.value
    assert not any("beyond 4 epochs" in note for note in few.notes)
    assert any("beyond 4 epochs" in note for note in fewer.notes)
    assert any("R_D 15.39, R_N 5.31), not measured in these runs" in note for note in few.notes)


def test_data_that_have_nothing_left_to_teach_are_a_note_and_no_nonsense(exact):
    best = predict(exact, flops=1e24, unique_tokens=1e9)
    (note,) = [note for note in best.notes if note.startswith("The data are used up")]
    enough = float(note.split(": ")[1].split(" FLOPs")[0])
    less = predict(exact, flops=enough, unique_tokens=1e9)
    assert enough < 1e24 / 3
    assert best.loss.value < less.loss.value < 1.002 * best.loss.value
    assert math.isnan(best.regret.value) or 0 <= best.regret.value <= 1
    assert not any(
        "used up" in note for note in predict(exact, flops=1e22, unique_tokens=2e10).notes
    )


def test_a_law_of_repeated_data_brings_its_own_worth_of_a_repetition(exact):
    own = dataclasses.replace(
        exact,
        law=DataConstrainedLaw(**dataclasses.asdict(exact.law), R_D=5.0),
        resamples=DataConstrainedLaw(**dataclasses.asdict(exact.resamples), R_D=5.0),
    )
    question = {"flops": 1e22, "unique_tokens": UNIQUE}
    steeper, published = predict(own, **question), predict(exact, **question)
    assert steeper.repetition.epochs.value < published.repetition.epochs.value
    assert steeper.loss.value > published.loss.value
    assert not any("not measured in these runs" in note for note in steeper.notes)
    never = dataclasses.replace(exact, law=DataConstrainedLaw(**dataclasses.asdict(exact.law)))
    assert any("not measured in these runs" in note for note in predict(never, **question).notes)


def test_a_loss_that_repeated_data_cannot_reach_is_refused(exact):
    with pytest.raises(DataError, match=r"no compute gives loss 1\.90; the law goes from"):
        predict(exact, loss=1.9, unique_tokens=1e9)


@pytest.mark.parametrize("name", ["served_tokens", "unique_tokens"])
def test_conditions_that_cannot_be_are_refused(exact, name):
    with pytest.raises(DataError, match=f"{name} must be from 1 to 1e\\+60, but got -1"):
        predict(exact, flops=1e22, **{name: -1.0})
    with pytest.raises(
        DataError, match=f"{name} needs a law of the loss at any params and tokens, but IsoFLOP"
    ):
        predict(fit(a_wide_sweep(), IsoFLOP(), resamples=20), flops=1e22, **{name: 1e12})


def test_profile_intervals_hold_for_served_answers_too():
    found = fit(a_wide_sweep(noise=0.005), Parametric(), resamples=50, intervals="profile")
    best = predict(found, flops=1e22, served_tokens=SERVED)
    assert best.num_params.low < best.num_params.value < best.num_params.high
    assert best.num_tokens.low < best.num_tokens.value < best.num_tokens.high
    assert math.log(best.num_params.high / best.num_params.low) < 1


def test_a_served_answer_says_what_is_paid_for_what(exact):
    lines = str(predict(exact, flops=1e22, served_tokens=SERVED)).splitlines()
    assert (
        lines[0]
        == "Cheapest to train and to serve 1.00T tokens: 1e+22 FLOPs in all (90 % intervals)"
    )
    heads = [line.strip().split("  ")[0] for line in lines[1:7]]
    assert heads == [
        "FLOPs in all",
        "of training",
        "of serving",
        "over-training",
        "extra training",
        "saved in all",
    ]


def test_an_answer_from_finite_data_says_how_often_they_are_passed_over(exact):
    lines = str(predict(exact, flops=1e22, unique_tokens=UNIQUE)).splitlines()
    assert [line.strip().split("  ")[0] for line in lines[3:5]] == ["epochs", "effective tokens"]

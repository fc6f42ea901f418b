"""Every argument of every public function takes hostile values: an answer, or one sentence."""

import math
import os
import random
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import isoflop
from attack import hostile, rule
from isoflop.answers.possible import EXACT_NOTE

ALL = (*hostile.TEXTS, *hostile.NUMBERS)
SEED = 20_261_128


@pytest.fixture(scope="module", autouse=True)
def _elsewhere(tmp_path_factory):
    """A folder of the test's own, as some of the values are paths."""
    before = os.getcwd()
    os.chdir(tmp_path_factory.mktemp("elsewhere"))
    yield
    os.chdir(before)


def keeps_the_rule(call, value: Any) -> None:
    found = rule.outcome(lambda: call(value))
    if isinstance(found, isoflop.Optimum):
        rule.check_answer(found)
        rule.check_width(found)
        rule.outcome(
            lambda: (str(found), found._repr_html_(), found.to_markdown(), found.to_latex())
        )


def cases(calls) -> list[tuple[str, Any]]:
    values = [*ALL, *(make() for make in hostile.OBJECTS)]
    return [(name, value) for name in calls for value in values]


def test_every_value_that_a_question_is_asked_with_is_checked_when_it_is_made():
    calls = hostile.makers()
    for name, value in random.Random(SEED).sample(cases(calls), 2000):
        keeps_the_rule(calls[name], value)


def test_questions_answer_or_refuse_in_a_sentence():
    calls = {name: call for name, call in hostile.questions().items() if not name.startswith(SLOW)}
    for name, value in random.Random(SEED).sample(cases(calls), 60):
        keeps_the_rule(calls[name], value)


SLOW = ("report", "fit(resamples", "fit(seed", "fit(level", "compare", "fit_systems", "fit_metric")
"""Questions whose answers take more than a tenth of a second where the value is one that they take."""


@pytest.mark.slow
@settings(max_examples=1500, derandomize=True, deadline=None, database=None)
@given(data=st.data())
def test_values_of_any_kind_answer_or_are_refused(data):
    calls = {**hostile.makers(), **hostile.questions()}
    name = data.draw(st.sampled_from(sorted(calls)))
    keeps_the_rule(calls[name], data.draw(hostile.values()))


@pytest.mark.slow
@settings(max_examples=200, derandomize=True, deadline=None, database=None)
@given(data=st.data())
def test_plans_and_trainings_are_made_or_refused(data):
    calls = hostile.doings()
    name = data.draw(st.sampled_from(sorted(calls)))
    keeps_the_rule(calls[name], data.draw(hostile.values()))


@pytest.mark.parametrize(
    ("question", "same"),
    [
        ({"num_params": "70B"}, {"num_params": 7e10}),
        ({"num_tokens": "1.5T tokens"}, {"num_tokens": 1.5e12}),
        ({"flops": "1e22"}, {"flops": 1e22}),
    ],
)
def test_words_whose_meaning_is_plain_are_taken(question, same):
    assert isoflop.predict(hostile.fitted(), **question) == isoflop.predict(
        hostile.fitted(), **same
    )


@pytest.mark.parametrize("approach", ["kriging", "Kriging", isoflop.Kriging, isoflop.Kriging()])
def test_an_approach_may_be_its_name_or_its_class(approach):
    found = isoflop.fit(hostile.runs(), approach, resamples=20)
    assert found.approach == isoflop.Kriging()


@pytest.mark.parametrize(
    ("question", "says"),
    [
        ({"flops": 100.0}, "which no model can have"),
        ({"flops": 1e300}, "between 1e-60 and 1e+60"),
        ({"flops": 5e-324}, "between 1e-60 and 1e+60"),
        ({"flops": 1e22, "device_memory": 80}, "must be '80 GB', 'H100' or bytes from 1e3"),
        ({"flops": 1e22, "served_tokens": 1e25}, "give more compute, or fewer served_tokens"),
        ({"flops": []}, "flops must have at least one value"),
        (
            {"num_params": [1e9, "a lot"]},
            "predict: num_params must be above 0 and finite, but got 'a lot'",
        ),
    ],
)
def test_what_no_model_could_be_is_refused(question, says):
    fit = isoflop.fit(hostile.runs(), "parametric", resamples=20)
    error = rule.outcome(lambda: isoflop.predict(fit, **question))
    assert isinstance(error, isoflop.IsoflopError)
    assert says in str(error)


def test_a_law_without_a_best_size_says_so():
    runs = [replace(run, loss=3 + 0.1 * (k % 2)) for k, run in enumerate(hostile.runs())]
    fit = isoflop.fit(runs, "parametric", resamples=20)
    with pytest.raises(isoflop.DataError, match="this law has no best size at 1e\\+19 FLOPs, as"):
        isoflop.predict(fit, flops=1e19)


def test_a_target_below_the_runs_says_so():
    answer = isoflop.predict(hostile.fitted(), flops=1e15)
    assert answer.extrapolation == pytest.approx(-3, abs=0.01)
    assert any("a 1000th of the smallest run's 1e+18 FLOPs" in note for note in answer.notes)
    assert "the target lies within the runs" not in str(answer)
    assert "of the FLOPs of the smallest run" in str(answer)


def test_intervals_without_a_width_say_why():
    exact = isoflop.fit(hostile.exact_runs(), "parametric", resamples=20)
    answer = isoflop.predict(exact, flops=1e22)
    assert EXACT_NOTE in answer.notes
    assert not any(math.isnan(end) for end in (answer.num_params.low, answer.num_params.high))

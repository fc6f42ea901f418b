import numpy as np
import pytest

import isoflop
from isoflop.compute.budget import flops_of, spend_of
from isoflop.compute.compute import HOUR
from isoflop.planning.question import sweep_question

pytestmark = pytest.mark.train
HOURS = "1000 H100-hours at 40% MFU"
FLOPS = 1000 * HOUR * 0.4 * 989.4e12


def test_numbers_stay_as_they_are():
    question = sweep_question(budgets=[1e17, 3e17])
    assert (question.budgets, question.target, question.spend) == ((1e17, 3e17), None, None)
    question = sweep_question(target=1e18, spend=0.5)
    assert (question.budgets, question.target, question.spend) == (None, 1e18, 0.5)


@pytest.mark.parametrize("value", [0, -1.0, float("nan"), float("inf"), 1e300, 5e-324])
def test_what_no_compute_is_is_refused(value):
    with pytest.raises(isoflop.PlanError, match="target must be"):
        flops_of(value)


def test_phrases_become_flops():
    assert sweep_question(budgets=["1e17", HOURS]).budgets == pytest.approx((1e17, FLOPS))
    question = sweep_question(target=HOURS, spend=HOURS)
    assert question.target == question.spend == pytest.approx(FLOPS)


def test_a_share_of_the_target_may_be_percent():
    assert spend_of("1%") == pytest.approx(0.01)
    assert spend_of("0.02") == pytest.approx(0.02)


def test_what_was_assumed_is_told_once():
    question = sweep_question(target="8xH100 for 3 days", spend="100 H100-hours")
    assert len(question.notes) == 1
    assert "MFU" in question.notes[0]
    assert sweep_question(target=HOURS, spend="1%").notes == ()


def test_a_phrase_that_cannot_be_read_is_refused():
    with pytest.raises(isoflop.PlanError, match="is none of these"):
        sweep_question(budgets=["a lot"])


def test_one_budget_in_words_needs_no_list():
    assert sweep_question(budgets="1e17").budgets == (1e17,)


@pytest.mark.parametrize("spend", ["150%", "0%"])
def test_a_share_is_at_most_the_target_itself(spend):
    with pytest.raises(isoflop.PlanError, match="up to 100%"):
        spend_of(spend)


@pytest.mark.parametrize(
    "budgets",
    [
        np.array([3e6, 1e7]),
        (budget for budget in (3e6, 1e7)),
        (3e6, 1e7),
        np.array([3 * 10**6, 10**7]),
    ],
)
def test_budgets_may_be_any_iterable_of_numbers(budgets):
    found = sweep_question(budgets=budgets).budgets
    assert found == (3e6, 1e7)
    assert {type(budget) for budget in found} == {float}


def test_one_budget_as_a_number_needs_no_list():
    assert sweep_question(budgets=1e7).budgets == (1e7,)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("target", [1e10]),
        ("target", True),
        ("spend", [1e8]),
        ("budgets", [None]),
        ("budgets", [True]),
    ],
)
def test_what_is_neither_number_nor_phrase_is_refused_by_name(name, value):
    question = {"budgets": None, "target": None, "spend": None, name: value}
    with pytest.raises(
        isoflop.PlanError,
        match=f"{name} must be FLOPs above 0, as a number or a phrase such as '1e21', but",
    ):
        sweep_question(**question)


@pytest.mark.parametrize("name", ["allow_far", "forecast"])
def test_what_is_neither_true_nor_false_is_refused_by_name(name):
    with pytest.raises(isoflop.PlanError, match=f"{name} must be True or False, but got 'no'"):
        sweep_question(budgets=[1e6], **{name: "no"})

"""What is taken for a number, a whole number, a share or a name, and what is refused."""

from decimal import Decimal
from fractions import Fraction

import numpy as np
import pytest
import torch

from isoflop import arguments
from isoflop.errors import ContractError, DataError


@pytest.mark.parametrize(
    ("written", "value"),
    [
        (7e10, 7e10),
        (3, 3),
        ("70B", 7e10),
        ("70 b", 7e10),
        ("1T", 1e12),
        ("1.5 trillion tokens", 1.5e12),
        ("350M params", 3.5e8),
        ("300k", 3e5),
        ("1e21", 1e21),
        ("1,300,000", 1_300_000),
        ("1_000", 1000),
        (".5", 0.5),
        (Decimal("1e21"), 1e21),
        (Fraction(1, 4), 0.25),
        (np.float32(0.5), 0.5),
        (np.int64(7), 7),
        (np.array(2.0), 2.0),
        (torch.tensor(3), 3),
    ],
)
def test_numbers_are_taken_however_they_are_written(written, value):
    found = arguments.number(written, "predict: num_params")
    assert found == pytest.approx(value)
    assert type(found) in (int, float)


@pytest.mark.parametrize(
    "written",
    ["", "B", "70X", "1,3", "1,30,000", "1.2.3", "e5", "a lot", None, True, np.bool_(True), 1j, [1.0], {"a": 1},
     np.array([1.0]), b"1", float("nan"), float("inf"), 10**400, Decimal("1e400"), Fraction(10**400, 3), int],
    ids=str,
)  # fmt: skip
def test_what_is_no_finite_number_is_refused(written):
    with pytest.raises(
        DataError, match=r"^predict: num_params must be a finite number, but got .*\.$"
    ):
        arguments.number(written, "predict: num_params")


@pytest.mark.parametrize("value", [0, -1, "-70B", 1e300, 5e-324])
def test_counts_lie_above_zero_and_within_reason(value):
    with pytest.raises(
        ContractError, match=r"must be (above 0 and finite|between 1e-60 and 1e\+60)"
    ):
        arguments.positive(value, "Task: size", error=ContractError)


@pytest.mark.parametrize(
    ("value", "found"), [("90%", 0.9), ("90 %", 0.9), (0.5, 0.5), ("0.5", 0.5)]
)
def test_shares_may_be_percent(value, found):
    assert arguments.share(value, "fit: level") == found


@pytest.mark.parametrize("value", [0, 1, 90, "110%", "%", None])
def test_shares_lie_between_nothing_and_all(value):
    with pytest.raises(DataError, match="must be between 0 and 1"):
        arguments.share(value, "fit: level")


@pytest.mark.parametrize("value", [1.5, -1, 101, "1k"])
def test_whole_numbers_lie_between_their_ends(value):
    with pytest.raises(DataError, match="a whole number from 0 to 100, but got"):
        arguments.whole(value, "fit: seed", most=100)


def test_names_are_known_in_any_case():
    assert arguments.one_of(" Kriging ", "approach", ["bayesian", "kriging"]) == "kriging"
    with pytest.raises(DataError, match="approach must be 'bayesian' or 'kriging', but got 'krig'"):
        arguments.one_of("krig", "approach", ["bayesian", "kriging"])


@pytest.mark.parametrize(
    ("value", "found"),
    [
        (1e21, [1e21]),
        ("1e21", ["1e21"]),
        (np.array(3.0), [np.array(3.0)]),
        ((1, 2), [1, 2]),
        (range(2), [0, 1]),
    ],
)
def test_one_value_needs_no_list(value, found):
    assert arguments.listed(value, "flops") == found


def test_an_empty_list_is_refused():
    with pytest.raises(DataError, match="flops must have at least one value, but got none"):
        arguments.listed([], "flops")

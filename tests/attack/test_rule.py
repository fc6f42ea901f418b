"""The rule itself finds what it is there to find."""

import time
import warnings

import pytest

from attack import rule
from isoflop.errors import DataError


def _raise(error):
    raise error


def test_a_value_and_a_sentence_keep_the_rule():
    assert rule.outcome(lambda: 3) == 3
    assert isinstance(
        rule.outcome(lambda: _raise(DataError("A rule, a value, a remedy."))), DataError
    )


@pytest.mark.parametrize(
    "call",
    [
        lambda: _raise(TypeError("unsupported operand")),
        lambda: warnings.warn("overflow", RuntimeWarning, stacklevel=1),
        lambda: _raise(DataError("long" * 100)),
        lambda: rule.check_sentence("two\nlines"),
        lambda: _raise(DataError("")),
    ],
    ids=["another error", "a warning", "too long", "two lines", "empty"],
)
def test_a_call_that_breaks_the_rule_fails(call):
    with pytest.raises(AssertionError):
        rule.outcome(call)


def test_a_hang_fails(monkeypatch):
    monkeypatch.setattr(rule, "MOST_SECONDS", 1)
    with pytest.raises(AssertionError, match="more than 1 s"):
        rule.outcome(lambda: time.sleep(5))

"""The rule that hostile input is held to: a right answer with its notes, or one readable sentence.

No traceback, no warning, no NaN in an answer, nothing that runs for more than 20 seconds.
"""

import math
import signal
import traceback
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from isoflop.errors import CUT, IsoflopError

MOST_SECONDS = 20
MOST_CHARACTERS = 300


class Hang(BaseException):
    """Raised inside a call that runs for too long; no `except Exception` of the code under test swallows it."""


def outcome(call: Callable[[], Any]) -> Any:
    """The value of a call that keeps the rule, or the IsoflopError that it raised; fails the test otherwise."""
    try:
        with _time_limit(), warnings.catch_warnings():
            warnings.simplefilter("error")
            return call()
    except IsoflopError as error:
        check_sentence(str(error))
        return error
    except Hang:
        raise AssertionError(f"the call ran for more than {MOST_SECONDS} s") from None
    except Exception as error:
        where = "".join(traceback.format_tb(error.__traceback__)[-3:])
        raise AssertionError(f"raised {type(error).__name__}: {error}\n{where}") from error


def check_sentence(message: str) -> None:
    """Fail unless a message is one that a person reads: not empty, one paragraph, short, no control characters."""
    assert message.strip(), "the message is empty"
    assert len(message) <= MOST_CHARACTERS, (
        f"the message has {len(message)} characters: {message[:400]}"
    )
    assert CUT not in message, (
        f"the message was longer than {MOST_CHARACTERS} characters: {message}"
    )
    assert message.isprintable(), f"the message has control characters or line breaks: {message!r}"


def check_answer(answer: Any) -> None:
    """Fail unless an answer's numbers are ones that a model could have, inside intervals that have a width."""
    for name in ("num_params", "num_tokens", "loss"):
        estimate = getattr(answer, name)
        if estimate is None:  # some approaches say nothing about the loss
            continue
        value = estimate.value
        assert not math.isnan(value), f"{name} is NaN"
        assert math.isnan(estimate.low) == math.isnan(estimate.high), f"{name} has half an interval"
        if not math.isnan(estimate.low):
            assert estimate.low <= value <= estimate.high, (
                f"{name}: {value} outside {estimate.low} to {estimate.high}"
            )
        if name != "loss":
            assert value >= 1, f"{name} is {value}"


def check_width(answer: Any) -> None:
    """Fail unless every interval has a width, but for what the question fixed, or the answer says that it has none."""
    said = any(
        "no width" in note or "do not differ" in note or "device's memory" in note
        for note in answer.notes
    )
    widths = [
        getattr(answer, name).high - getattr(answer, name).low
        for name in ("num_params", "num_tokens")
    ]
    assert said or sum(width == 0 for width in widths) <= 1, (
        f"no width: {answer.num_params}, {answer.num_tokens}"
    )


@contextmanager
def _time_limit() -> Iterator[None]:
    def stop(*_: object) -> None:
        raise Hang

    before = signal.signal(signal.SIGALRM, stop)
    signal.alarm(MOST_SECONDS)
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)

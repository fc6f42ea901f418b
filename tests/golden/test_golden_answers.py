from functools import cache

import pytest
from golden_tables import PUBLIC, SIMULATED, runs_of

import isoflop

APPROACHES = {
    "default": None,
    "approach 1": isoflop.Envelope(),
    "approach 2": isoflop.IsoFLOP(),
    "approach 3": isoflop.Parametric(),
    "kriging": isoflop.Kriging(),
}
QUESTIONS = {
    "params": {"num_params": 1e9},
    "tokens": {"num_tokens": 2e10},
    "loss": {"loss": 2.3},
    "served": {"flops": 1e21, "served_tokens": 1e11},
    "unique": {"flops": 1e21, "unique_tokens": 5e9},
    "memory": {"flops": 1e21, "device_memory": 16e9},
}


@pytest.mark.parametrize("name", [*SIMULATED, *PUBLIC])
def test_answers_of_every_approach_stay(golden, name):
    golden(f"answers-{name}.json", {title: of_approach(name, title) for title in APPROACHES})


@pytest.mark.parametrize("title", ["default", "approach 3"])
def test_answers_to_every_question_stay(golden, title):
    fit = fitted("plain", title)
    golden(
        f"questions-{title}.json",
        {name: numbers(isoflop.predict(fit, **ask)) for name, ask in QUESTIONS.items()},
    )


@pytest.mark.parametrize("intervals", ["bootstrap", "delta", "profile"])
def test_intervals_of_every_kind_stay(golden, intervals):
    fit = isoflop.fit(table("plain"), isoflop.Parametric(), intervals=intervals)
    golden(f"intervals-{intervals}.json", numbers(isoflop.predict(fit, flops=1e22)))


@cache
def table(name):
    return runs_of(name)


@cache
def fitted(name, title):
    return isoflop.fit(table(name), APPROACHES[title])


def of_approach(name, title):
    try:
        fit = fitted(name, title)
    except isoflop.IsoflopError as error:
        return {"refused": type(error).__name__}
    used = {
        "runs": len(fit.runs),
        "set aside": len(fit.set_aside),
        "held out": held_out(fit.holdout),
    }
    law = dict(zip(fit.table().names(), zip(*fit.table().values(), strict=True), strict=True))
    within, beyond = (
        numbers(isoflop.predict(fit, flops=factor * fit.largest)) for factor in (0.3, 10)
    )
    return {**used, "law": law, "within": within, "beyond": beyond}


def held_out(held):
    return (
        None
        if held is None
        else [[at.budget, at.num_params, at.num_tokens, at.loss] for at in held.budgets]
    )


def numbers(answer):
    """Value, low and high of each estimate, and the other numbers of an answer."""
    estimates = {
        name: getattr(answer, name)
        for name in ("num_params", "num_tokens", "loss", "regret", "flops_needed")
    }
    return {
        "flops": answer.flops,
        **{name: at and [at.value, at.low, at.high] for name, at in estimates.items()},
        "band": answer.band and list(answer.band),
        "extrapolation": answer.extrapolation,
    }

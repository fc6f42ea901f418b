"""Kinds of note on an answer, and on a metric that follows its loss."""

from isoflop.notes.kind import Kind

__all__ = ["KINDS"]

KINDS = (
    Kind(
        "wide-interval",
        "answer",
        "doubt",
        "*The interval of params is wider than x/÷…*",
        "add a budget three times the largest, or sizes that bracket the minima",
    ),
    Kind(
        "wasteful-doubt",
        "answer",
        "doubt",
        "*Doubt about the optimum is expected to waste …*",
        "spend up to that share of the target's compute on a larger sweep",
    ),
    Kind(
        "waste-unknown",
        "answer",
        "doubt",
        "*The law's loss does not fall with compute at …*",
        "do not use the answer; look for what changes between the budgets, or add larger ones",
    ),
    Kind(
        "far-target",
        "answer",
        "doubt",
        "*times the largest run*",
        "train a larger budget first: beyond 30 times, published laws have often failed",
    ),
    Kind(
        "memory-limited",
        "answer",
        "info",
        "*The size is what the device's memory holds, …; the best size, … needs …*",
        (
            "shard the states or take a larger device, if the compute that the limit costs is "
            "worth it"
        ),
    ),
    Kind(
        "ratio-outside-runs",
        "answer",
        "doubt",
        (
            "*tokens per param, the runs …: how the loss goes on outside of that is the law's "
            "form alone*"
        ),
        "train a run or two at that ratio before relying on it",
    ),
    Kind(
        "many-epochs",
        "answer",
        "doubt",
        "*epochs repeated tokens are worth much less than new ones*",
        "find more data, or a smaller compute for these; regularise",
    ),
    Kind(
        "published-repetition",
        "answer",
        "info",
        "*What repeated tokens are worth is as published*",
        (
            "sweep the epochs, `plan(epochs=…)`, and hold the rate that they show: "
            "`Parametric(law=DataConstrainedLaw(R_D=…))`"
        ),
    ),
    Kind(
        "data-used-up",
        "answer",
        "doubt",
        "*The data are used up*",
        "bring more data, or spend what the note says is enough",
    ),
    Kind(
        "other-task",
        "answer",
        "doubt",
        "*The runs are not of the task that is named*",
        "name the task as it was when they were trained, or train again with the new one",
    ),
    Kind(
        "unreached",
        "answer",
        "doubt",
        "*of the resamples never reach it; the intervals are of the others*",
        "the loss is near the irreducible one: give a higher one",
    ),
    Kind(
        "weak-metric",
        "metric",
        "doubt",
        "*The loss explains … of the variance of … among the runs*",
        "measure the metric on more examples; or do not predict it from the loss",
    ),
    Kind(
        "correlated-metric-residuals",
        "metric",
        "doubt",
        "*Neighbouring runs err alike around the sigmoid of …*",
        "fit the runs near the target alone",
    ),
    Kind(
        "middle-outside-runs",
        "metric",
        "doubt",
        "*The middle of the sigmoid of …, loss …, lies … every run's*",
        "give the end that is known: `fit_metric(…, best=1.0)`; or train larger runs",
    ),
    Kind(
        "runs-without-metric",
        "metric",
        "info",
        "*runs without … were left out*",
        "nothing, or train them again with `Task(metrics=…)`",
    ),
    Kind(
        "metric-outside-limits",
        "metric",
        "info",
        "*runs whose … is not between its limits were left out*",
        "nothing, or give the limits as `worst=` and `best=`",
    ),
    Kind(
        "metric-unreached",
        "metric",
        "doubt",
        "*of the resamples never reach it; the intervals are of the others*",
        "the requested loss is near the irreducible one: give a higher one",
    ),
    Kind(
        "far-smaller",
        "answer",
        "doubt",
        (
            "*times fewer than the smallest run's …: how the loss goes on there is the law's "
            "form alone*"
        ),
        "train a small run or two before relying on it",
    ),
    Kind(
        "below-runs",
        "answer",
        "doubt",
        "*no run shows how size and loss go on down there*",
        "train a budget near the target: it is cheap",
    ),
    Kind(
        "exact-law",
        "answer",
        "doubt",
        "*The law goes through the runs exactly*",
        "check the runs: measured losses carry noise, and more runs than parameters show it",
    ),
    Kind(
        "no-width",
        "answer",
        "doubt",
        "*The resamples do not differ in …, so how sure … is unknown*",
        "add runs that vary more",
    ),
    Kind(
        "no-size-near",
        "answer",
        "info",
        "*The nearest size that can be built, …, has …*",
        "name a nearer size in `Task(sizes=…)`, or let the model build it",
    ),
)

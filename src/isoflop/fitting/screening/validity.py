"""Runs that cannot be trusted as points of a law: cut short, mistuned, or with an unusual curve."""

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import groupby

import numpy as np

from isoflop.display.format import format_count, format_percent
from isoflop.fitting.screening.collapse import curve_distance, loss_distance
from isoflop.runs import Run

__all__ = ["invalid"]

FAR = 3.3
"""Largest distance of a curve from the common shape in robust standard deviations.

Of 371 good runs of 14 sweeps of perceptrons the farthest lay at 3.1, and at 1.8 of those with a
raised loss. At ten times the learning rate, 17 of the 19 whose loss was raised lay beyond 3.6.
"""
RAISED = 0.5
"""Least distance of a loss above the others' surface for a curve to count against its run.

A run that was mistuned or went wrong has a higher loss, too. The shape alone also changes where
models begin to learn something new, as transformers do with enough tokens.
"""
BEST = 1 / 3
"""Share of a budget's runs, those of lowest loss, that are sound whatever their curve's shape."""
AT_MOST = 0.2
"""Largest share of runs set aside for their curves; beyond it there is no common shape."""
ENDED = 0.9
"""Share of its tokens that a run's curve must reach."""
MISTUNED = 0.01
"""Relative excess of loss over the best learning rate above which a run is mistuned.

Runs of the same size and tokens are compared; the noise between seeds is .002 to .008.
"""


def invalid(runs: Iterable[Run]) -> Mapping[str, str]:
    """The reason why each run that cannot be trusted should not enter a fit, by run id.

    A run is checked for its planned tokens, for a curve that is finite and reaches the end of the
    schedule, for another learning rate that did better at the same size and tokens, and for a curve
    of the common shape, as far as the scatter of seeds, sizes and tokens shows one. A run whose
    loss is as low as the others predict, or among the best of its budget, is kept whatever the
    shape of its curve. A record without a curve or a learning rate is not held against a run.

    >>> from isoflop import Run, RunSpec
    >>> spec = RunSpec(num_params=1e6, num_tokens=2e7, flops=1.2e14)
    >>> short = Run(spec=spec, status="completed", loss=3.0, num_tokens=1.2e7, flops=7.2e13)
    >>> list(invalid([short]).values())
    ['it trained 12.0M of its 20.0M planned tokens']
    """
    given = [*runs]
    if not any(map(_has_details, given)):
        return {}
    completed = [run for run in given if run.status == "completed" and _is_possible(run)]
    reasons: dict[str, str] = {}
    for run in completed:
        reason = _unfinished(run)
        if reason:
            reasons[run.id] = reason
    for check in (_mistuned, _unlike):
        rest = [run for run in completed if not reasons or run.id not in reasons]
        reasons.update((run.id, reason) for run, reason in check(rest))
    return reasons


def _has_details(run: Run) -> bool:
    """True if a record holds more about the training than a row of a table does."""
    tuned = run.spec.lr is not None and bool(run.spec.fingerprint)
    return bool(run.curve) or tuned or run.num_tokens < run.spec.num_tokens


def _is_possible(run: Run) -> bool:
    return all(0 < value < math.inf for value in (run.loss, run.num_params, run.num_tokens))


def _unfinished(run: Run) -> str:
    """The reason why a run did not finish as planned; empty if it did."""
    spec = run.spec
    batch = (spec.batch or 0) * (spec.tokens_per_example or 0)
    if run.num_tokens < spec.num_tokens - max(batch, 0.005 * spec.num_tokens):
        return (
            f"it trained {format_count(run.num_tokens)} of its {format_count(spec.num_tokens)} "
            f"planned tokens"
        )
    if len(run.curve) < 3:
        return ""
    tokens, losses = np.array(run.curve).T
    if not np.isfinite(losses).all():
        return "its training curve is not finite"
    last = float(tokens.max())
    if last < ENDED * run.num_tokens and run.num_tokens - last > 3 * float(
        np.median(np.diff(np.sort(tokens)))
    ):
        return (
            f"its training curve ends at {format_percent(last / run.num_tokens)} of its tokens, "
            f"so its schedule did not end"
        )
    return ""


def _mistuned(runs: Sequence[Run]) -> Iterator[tuple[Run, str]]:
    """Runs at a learning rate that was beaten at the same size, tokens and batch.

    Rows of a table with a sweep of rates are no faults: `selection` takes the best of each.
    """
    recorded = any(run.curve for run in runs)
    tuned = sorted(
        (run for run in runs if run.spec.lr is not None and (run.spec.fingerprint or recorded)),
        key=lambda run: repr(_cell(run)),
    )
    for _, members in groupby(tuned, key=_cell):
        cell = list(members)
        rates = sorted({run.spec.lr or 0.0 for run in cell})
        losses = {
            rate: float(np.mean([run.loss for run in cell if run.spec.lr == rate]))
            for rate in rates
        }
        best = min(losses.values())
        for run in cell:
            if losses[run.spec.lr or 0.0] > (1 + MISTUNED) * best:
                yield run, "another learning rate did better at the same size and tokens"


def _cell(run: Run) -> tuple[object, ...]:
    spec = run.spec
    return (
        run.budget,
        spec.fingerprint,
        run.num_params,
        spec.num_tokens,
        spec.unique_tokens,
        spec.batch,
        spec.schedule,
        spec.weight_decay,
    )


def _unlike(runs: Sequence[Run]) -> Iterator[tuple[Run, str]]:
    """Runs with a curve of an unusual shape and a high loss that is not among the best."""
    distance = curve_distance(runs)
    if not 0 < (distance > FAR).sum() <= max(1.0, AT_MOST * (distance > 0).sum()):
        return
    above = loss_distance(runs)
    for run, away, raised in zip(runs, distance.tolist(), above.tolist(), strict=True):
        if away > FAR and raised > RAISED and not _is_among_best(run, runs):
            reason = (
                f"its training curve lies {away:.0f} standard deviations from the others' shape, "
                f"and its loss {raised:.0f} above theirs"
            )
            yield run, reason


def _is_among_best(run: Run, runs: Sequence[Run]) -> bool:
    """True if the run is in the best third of its budget.

    Without a budget: if no run did better with as few FLOPs.
    """
    if run.budget is None:
        return not any(other.flops <= run.flops and other.loss < run.loss for other in runs)
    losses = [other.loss for other in runs if other.budget == run.budget]
    return sum(loss < run.loss for loss in losses) < BEST * len(losses)

"""The cost of one size of a task's model: params, FLOPs of a batch, and FLOPs of a token."""

import math
from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from torch import nn

from isoflop import arguments
from isoflop.counting.batch_cost import EXACT, BatchCost, Terms, exact_terms, fitted_cost
from isoflop.counting.flops import StepCost
from isoflop.counting.lattice import smallest_size
from isoflop.counting.sample import Sample, sample_of
from isoflop.counting.sizes import SizeCount
from isoflop.counting.tokens import token_supply
from isoflop.counting.trials import (
    FIRST,
    MAX_CPU_PARAMS,
    count_on,
    counting_batches,
    is_large,
    params_at,
    trial,
    trial_of,
)
from isoflop.display.format import format_percent, join_words, quoted
from isoflop.errors import ContractError
from isoflop.laws.base import TOKENS_PER_PARAM
from isoflop.notes.note import Note
from isoflop.per_task import per_task
from isoflop.runs import SizeValue
from isoflop.task import Task
from isoflop.user_code.data import dimensions
from isoflop.user_code.isolation import isolated
from isoflop.user_code.loss import count_tokens
from isoflop.user_code.model import build

__all__ = [
    "BatchCounter",
    "batch_sample",
    "count_size",
    "flops_per_token_at",
]

SAME = 1e-3
"""Relative difference up to which two counts are the same."""
EVERY_BATCH = 8
"""Largest number of examples up to which each batch size has its own sample.

Beyond it, FLOPs per token are interpolated over half octaves.
"""
VISIBLE = 0.01
"""Least relative error of a count that is noted."""


@per_task
def count_size(task: Task, size: SizeValue | None) -> SizeCount:
    """Params and FLOPs of a size.

    The count runs on the meta device, which takes no memory. A model that needs values is counted
    on the CPU; above MAX_CPU_PARAMS, values are assumed if that gives the right count at the
    smallest size.

    Raises ContractError if the batch or the loss breaks the contract, and whatever the model raises
    at a size that it does not support.
    """
    num_params, params = params_at(task, size)
    counted = SizeCount(size=size, num_params=num_params, flops_per_token=0.0, params=params)
    variables, own = counting_batches(task).variables, task.flops_per_token
    terms = None if own is not None else terms_of(task)
    more = variables.shape[1] > 1
    rows = FIRST if terms is None else tuple(terms.informative(variables, more=more))
    costs = _costs(task, size, rows)
    if costs is not None:
        kept = _bytes_per_example(costs, variables[list(rows)])
        counted = replace(counted, activation_bytes=kept)
    if own is not None:
        return replace(counted, flops_per_token=_own_flops_per_token(task, size, own))
    if costs is None or terms is None:
        return _by_six_n(
            counted,
            f"it cannot run on the meta device and has more than {MAX_CPU_PARAMS:.0e} params",
        )
    counted = replace(counted, notes=_uncounted_notes(costs))
    flops = np.array([cost.flops for cost in costs], dtype=float)
    if not flops.all():
        return _by_six_n(counted, "no operation of this model reports its own")
    cost = fitted_cost(counting_batches(task).reading, terms, variables[list(rows)], flops)
    return _checked_count(_in_usual_batches(task, replace(counted, cost=cost)))


def _own_flops_per_token(
    task: Task, size: SizeValue | None, count: Callable[[nn.Module], float]
) -> float:
    """The FLOPs of `Task.flops_per_token`. Raises ContractError unless they are above 0."""
    name, must = f"Task: flops_per_token of size {quoted(size, 40)}", "a number above 0"
    given = count(build(task, size, "meta"))
    return float(arguments.positive(given, name, must=must, error=ContractError))


def _in_usual_batches(task: Task, counted: SizeCount) -> SizeCount:
    """The count with FLOPs per token in the batches of a run on 20 tokens per param."""
    num_tokens = TOKENS_PER_PARAM * counted.num_params
    batch = token_supply(task).batch(task.recipe, counted.num_params, num_tokens)
    return replace(counted, flops_per_token=flops_per_token_at(task, counted, batch))


def _costs(
    task: Task, size: SizeValue | None, rows: tuple[int, ...]
) -> tuple[StepCost, ...] | None:
    """The costs of a size's steps; None if they cannot even be counted with assumed values."""
    costs = trial(task, size, rows)
    if costs is None and task.flops_per_token is None and _values_can_be_assumed(task):
        chosen = [counting_batches(task).batches[row] for row in rows]
        return count_on(task, size, "meta", chosen, assume_values=True)
    return costs


def _bytes_per_example(costs: tuple[StepCost, ...], variables: NDArray[np.float64]) -> float | None:
    """The most bytes that any of the batches keeps per example; None if one is unknown."""
    kept = [cost.activation_bytes for cost in costs]
    known = [num_bytes for num_bytes in kept if num_bytes is not None]
    if len(known) < len(kept):
        return None
    return max(n / float(row[0]) for n, row in zip(known, variables, strict=True))


@per_task
def terms_of(task: Task) -> Terms | None:
    """The terms of a batch's FLOPs, from the smallest size; None if it cannot be counted."""
    batches, size = counting_batches(task), smallest_size(task)
    variables = batches.variables
    by_example = Terms(((1, *(0 for _ in range(variables.shape[1] - 1))),))
    if variables.shape[1] == 1 and _grows_with_examples(task, size, variables):
        return by_example
    costs = trial(task, size, tuple(range(len(variables))))
    if costs is None:
        return None
    flops = np.array([cost.flops for cost in costs], dtype=float)
    return exact_terms(variables, flops) if flops.all() else by_example


def _grows_with_examples(
    task: Task, size: SizeValue | None, variables: NDArray[np.float64]
) -> bool:
    """True if the cost of batches of one shape is proportional to their examples, as it usually is.

    One more count shows it.
    """
    first, second = (
        trial(task, size, FIRST),
        trial(task, size, (1,)) if len(variables) > 1 else None,
    )
    if first is None or second is None:
        return len(variables) == 1
    return bool(
        np.isclose(second[0].flops * variables[0, 0], first[0].flops * variables[1, 0], rtol=EXACT)
    )


# -- FLOPs per token ------------------------------------------------------------------------------


def flops_per_token_at(task: Task, counted: SizeCount, batch: int) -> float:
    """FLOPs of forward and backward for one loss target in batches of a size, padding included."""
    if counted.cost is None:
        return counted.flops_per_token
    if (
        sample_of(task).in_batches
        or counted.cost.reading.num_variables == 1
        or batch <= EVERY_BATCH
    ):
        return _per_token(task, counted.cost, batch)
    half_octave = math.floor(2 * math.log2(batch / EVERY_BATCH))
    below, above = (round(EVERY_BATCH * 2 ** ((half_octave + k) / 2)) for k in (0, 1))
    ends = [_per_token(task, counted.cost, node) for node in (below, above)]
    return float(np.interp(math.log(batch), np.log([below, above]), ends))


def _per_token(task: Task, cost: BatchCost, batch: int) -> float:
    flops = float(cost.of(batch_sample(task, batch).variables).mean())
    supply = token_supply(task)
    per_token = flops / ((supply.fixed_batch or batch) * supply.tokens_per_example)
    # Equal on all machines, whose sums may differ in the last bits.
    return float(f"{per_token:.12g}")


@dataclass(frozen=True, eq=False)
class BatchSample:
    """Batches of a sample of the data, with variables, shape (batches, variables), and tokens."""

    sample: Sample
    variables: NDArray[np.float64]
    tokens: NDArray[np.float64]

    def error(self, cost: BatchCost) -> float:
        """Relative standard error of FLOPs per token.

        At least that of the examples: large batches are few and less informative.
        """
        flops = cost.of(self.variables)
        spread = np.std(flops / flops.mean() - self.tokens / self.tokens.mean())
        own = float(spread / math.sqrt(len(flops)))
        return max(own * math.sqrt(self.sample.unseen), self.sample.error) + cost.error


@per_task
def batch_sample(task: Task, batch: int) -> BatchSample:
    """Batches of `batch` examples from the sample; one stands for all that are alike."""
    sample, reading = sample_of(task), counting_batches(task).reading
    if reading.num_variables == 1 and not sample.in_batches:
        return BatchSample(
            sample, np.array([[float(batch)]]), np.array([batch * float(sample.tokens.mean())])
        )
    with isolated(0):
        read = [(reading(one), float(count_tokens(task, one))) for one in sample.batches(batch)]
    return BatchSample(
        sample,
        np.array([variables for variables, _ in read]),
        np.array([num_tokens for _, num_tokens in read]),
    )


class BatchCounter:
    """Counts the FLOPs of a size's batches one by one, also of batches unlike any sampled."""

    def __init__(self, task: Task, size: SizeValue | None, flops_per_token: float) -> None:
        self._task, self._size, self._flops_per_token = task, size, flops_per_token
        self._cost = count_size(task, size).cost
        self._known: dict[tuple[int, ...], float] = {}

    def flops(self, batch: object, num_tokens: int) -> float:
        """FLOPs of a step on a batch, from its dimensions if possible and else from its tokens."""
        if self._cost is None:
            return self._flops_per_token * num_tokens
        shape = dimensions(batch)
        if shape not in self._known:
            self._known[shape] = self._counted(self._cost, batch, num_tokens)
        return self._known[shape]

    def _counted(self, cost: BatchCost, batch: object, num_tokens: int) -> float:
        if cost.reading.fits(batch):
            return cost.of_batch(batch)
        counted = trial_of(self._task, self._size, batch)
        return self._flops_per_token * num_tokens if counted is None else float(counted.flops)


# -- counts that may be wrong ---------------------------------------------------------------------


def _uncounted_notes(costs: tuple[StepCost, ...]) -> tuple[Note, ...]:
    """A note on operations that may multiply tensors but have no formula for their FLOPs."""
    names = sorted({name for cost in costs for name in cost.uncounted})
    if not names:
        return ()
    text = (
        f"FLOPs of {join_words(names)} are not counted, for lack of a formula; give "
        f"Task(flops_per_token=), or a formula to "
        f"torch.utils.flop_counter.register_flop_formula."
    )
    return (Note("uncounted-operator", text),)


def _checked_count(counted: SizeCount) -> SizeCount:
    """The count, with notes if it looks too small or is not exact."""
    notes = list(counted.notes)
    if counted.cost is not None and counted.cost.error > VISIBLE:
        text = (
            f"FLOPs of a batch of size {counted.size} are known to "
            f"{format_percent(counted.cost.error)} only: they are no polynomial in its dimensions."
        )
        notes.append(Note("batch-flops-uncertain", text))
    idle = counted.params["total"] - counted.params.get("active", counted.params["total"])
    share = counted.flops_per_token / (6 * max(1, counted.params["matmul"] - idle))
    if share < 0.5 and not counted.notes:
        text = (
            f"Counted FLOPs per token are only {share:.2f} of 6 x the params in matrix products: a "
            f"fused layer was missed, so give Task(flops_per_token=), or experts are idle and the "
            f"model has no num_active_params()."
        )
        notes.append(Note("few-flops-counted", text))
    return replace(counted, notes=tuple(notes))


def _by_six_n(counted: SizeCount, reason: str) -> SizeCount:
    which = "6 x active params x D" if "active" in counted.params else "6 N D"
    text = f"FLOPs of this model are taken as {which}, since {reason}; give Task(flops_per_token=)."
    note = Note("flops-assumed", text)
    per_token = 6.0 * counted.params.get("active", counted.num_params)
    return replace(counted, flops_per_token=per_token, notes=(note, *counted.notes))


@per_task
def _values_can_be_assumed(task: Task) -> bool:
    """True if a count with assumed values equals the real count at the smallest size."""
    size = smallest_size(task)
    if is_large(task, size):
        return False
    first = counting_batches(task).batches[:1]
    try:
        assumed = count_on(task, size, "meta", first, assume_values=True)[0].flops
    except Exception:  # the model lacks more than values there
        return False
    return math.isclose(assumed, count_on(task, size, "cpu", first)[0].flops, rel_tol=SAME)

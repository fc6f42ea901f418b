"""What trainers of other frameworks share: settings of a spec, and refusals of what they cannot."""

from collections.abc import Iterable, Mapping, Sequence

from isoflop import arguments
from isoflop.display.format import format_number, join_words
from isoflop.errors import ContractError
from isoflop.runs import RunSpec

__all__ = [
    "check_batch",
    "check_names",
    "check_passes",
    "check_specs",
    "largest_divisor",
    "lr_factor_of",
    "num_targets_in",
    "steps_of",
]

IGNORED = -100
PASSES_OFF = 1.05
"""Times the planned passes over the data that a run may take: sizes of data are rounded."""


def _check_spec(spec: RunSpec, trainer: str) -> None:
    """Raise PlanError for a setting that a spec leaves open, ContractError for one out of reach."""
    _ = spec.settings
    if spec.ema is not None:
        raise ContractError(
            f"{trainer} evaluates the last weights, but the recipe asks for an average "
            f"(ema={format_number(spec.ema)}); plan with Recipe(ema=None)."
        )
    if spec.trunk is not None:
        raise ContractError(
            f"{trainer} trains each run by itself, but run {spec.id} branches off a trunk; plan "
            "with Recipe(branches=False)."
        )


def steps_of(spec: RunSpec) -> int:
    """Steps of the optimiser, whole."""
    return max(1, round(spec.num_steps))


def lr_factor_of(spec: RunSpec, step: int) -> float:
    """Share of the peak learning rate at a step counted from 0, as in isoflop's own training."""
    from isoflop.training.schedule import lr_factor

    own = spec.settings
    return lr_factor(own.schedule, own.warmup, step, steps_of(spec), own.cooldown)


def largest_divisor(batch: int, most: int | None) -> int:
    """Examples at once: the largest divisor of a batch that is at most `most`."""
    if most is None or most >= batch:
        return batch
    return next(size for size in range(most, 0, -1) if batch % size == 0)


def check_names(given: Mapping[str, object], decided: Iterable[str], what: str) -> None:
    """Raise ContractError for arguments of the user's that the spec of a run decides."""
    arguments.mapping(given, what, "a dict, name -> value", error=ContractError)
    taken = sorted({*given} & {*decided})
    if taken:
        raise ContractError(
            f"{what}: {join_words(taken)} {'is' if len(taken) == 1 else 'are'} decided by each "
            "run; leave them out, and change the recipe or the family."
        )


def check_passes(spec: RunSpec, num_examples: int | None) -> None:
    """Raise ContractError where a run would pass over its data more often than planned."""
    if num_examples is None:
        return
    passes = spec.num_tokens / (num_examples * spec.settings.tokens_per_example)
    allowed = max(1.0, spec.epochs or 1.0)
    if passes > PASSES_OFF * allowed:
        tokens = num_examples * spec.settings.tokens_per_example
        raise ContractError(
            f"A run must pass over its data the planned {allowed:.3g} times, but run {spec.id} "
            f"needs {passes:.3g} passes over {num_examples} examples; plan with "
            f"Family(unique_tokens={tokens:.12g})."
        )


def check_batch(spec: RunSpec, batch: object, num_examples: int) -> None:
    """Raise ContractError where a batch has other numbers of examples or targets than the plan.

    Half and double of the targets are let pass: lengths differ between examples.
    """
    from isoflop.user_code.data import num_examples_in

    found = num_examples_in(batch)
    if found != num_examples:
        raise ContractError(
            f"Training data must come in batches of the {num_examples} examples that are asked "
            f"for, but the first one has {found}; pass batch_size on to the loader."
        )
    targets, planned = num_targets_in(batch), spec.settings.tokens_per_example
    each = None if targets is None else targets / num_examples
    if each is not None and not planned / 2 <= each <= planned * 2:
        raise ContractError(
            f"An example must have about the planned {planned:.6g} targets, but "
            f"those of the first batch have {each:.6g}; plan with "
            f"Family(tokens_per_example={each:.6g})."
        )


def num_targets_in(batch: object) -> int | None:
    """Integer targets of a batch that are not -100; None where it shows none."""
    import torch

    targets: object = None
    if isinstance(batch, Mapping):
        targets = batch.get("labels")
    elif isinstance(batch, list | tuple) and len(batch) == 2:
        targets = batch[1]
    if not isinstance(targets, torch.Tensor) or targets.is_floating_point():
        return None
    return int((targets != IGNORED).sum())


def check_specs(specs: Sequence[RunSpec], trainer: str) -> None:
    """Raise ContractError, or PlanError, for the first spec that a trainer cannot obey."""
    for spec in specs:
        _check_spec(spec, trainer)

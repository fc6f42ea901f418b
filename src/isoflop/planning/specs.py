"""make_spec(): the spec of one size and its tokens, with the recipe's settings."""

import math
from dataclasses import replace

from isoflop.counting.sizes import SizeCount, Sizes, TokenSupply
from isoflop.recipe import Recipe
from isoflop.runs import RunSpec

__all__ = ["in_batches_of", "make_spec", "paid_tokens"]

MOST_TURNS = 8
"""Most rounds of choosing a batch and the tokens that it leaves room for; two or three suffice."""


def paid_tokens(sizes: Sizes, sized: SizeCount, flops: float) -> float:
    """Tokens that some FLOPs pay for at a size, in the recipe's batches for so many tokens."""
    num_tokens, batch = flops / sized.flops_per_token, 0
    if sized.cost is None:  # a token costs the same in all batches
        return num_tokens
    supply = sizes.supply
    for _ in range(MOST_TURNS):
        before, batch = batch, supply.batch(sizes.recipe, sized.num_params, num_tokens)
        if batch == before:
            break
        num_tokens = flops / sizes.flops_per_token(sized, batch)
    return num_tokens


def in_batches_of(
    step_tokens: float, recipe: Recipe, num_params: float, num_tokens: float
) -> Recipe:
    """The recipe of a run in other batches, with a rate that goes with their square root.

    The rule is Adam's (Malladi et al. 2022, 2205.10287).
    """
    at = (num_params, num_tokens)
    root = math.sqrt(step_tokens / recipe.tokens_per_step(*at))
    return replace(recipe, batch_tokens=step_tokens, lr=root * recipe.peak_lr(*at))


def make_spec(
    sizes: Sizes,
    supply: TokenSupply,
    task_fingerprint: str,
    sized: SizeCount,
    wanted_tokens: float,
    *,
    seed: int = 0,
    budget: float | None = None,
    recipe: Recipe | None = None,
    epochs: float | None = None,
) -> RunSpec:
    """The run of a size on about `wanted_tokens`, rounded to whole batches.

    task_fingerprint: as given by `Sizes.fingerprint`.
    recipe: in place of the task's.
    epochs: passes over the part of the training data that gives those tokens; None for all data.
    """
    recipe = recipe or sizes.recipe
    batch = supply.batch(recipe, sized.num_params, wanted_tokens)
    step_tokens = batch * supply.tokens_per_example
    num_tokens = round(max(1, round(wanted_tokens / step_tokens)) * step_tokens)
    unique = supply.unique_tokens
    if epochs is not None:
        unique = (
            max(1, round(num_tokens / epochs / supply.tokens_per_example))
            * supply.tokens_per_example
        )
    return RunSpec(
        size=sized.size,
        arguments=dict(sized.arguments),
        num_params=sized.num_params,
        param_counts=dict(sized.params),
        num_tokens=num_tokens,
        flops=sizes.flops_per_token(sized, batch) * num_tokens,
        budget=budget,
        batch=batch,
        tokens_per_example=supply.tokens_per_example,
        **recipe.settings(sized.num_params, num_tokens, step_tokens),
        epochs=num_tokens / unique if unique else None,
        unique_tokens=None if epochs is None else unique,
        seed=seed,
        fingerprint=task_fingerprint,
    )

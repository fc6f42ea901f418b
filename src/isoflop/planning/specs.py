"""make_spec(): one size and its tokens become a run that is asked for, with all that the recipe decides."""

from isoflop.planning.sizing import SizeCount
from isoflop.planning.tokens import TokenSupply
from isoflop.recipe import Recipe
from isoflop.runs import RunSpec
from isoflop.task import Task

__all__ = ["make_spec"]


def make_spec(
    task: Task,
    supply: TokenSupply,
    mark: str,
    sized: SizeCount,
    wanted_tokens: float,
    *,
    seed: int = 0,
    budget: float | None = None,
    recipe: Recipe | None = None,
    epochs: float | None = None,
) -> RunSpec:
    """The run of a size on about `wanted_tokens`, rounded to whole batches.

    mark: the task's fingerprint.
    recipe: in place of the task's.
    epochs: passes to take over as much of the training data as gives those tokens; None for all of the data.
    """
    recipe = recipe or task.recipe
    per_step = recipe.tokens_per_step(sized.num_params, wanted_tokens)
    batch = supply.fixed_batch or max(recipe.min_batch, round(per_step / supply.tokens_per_example))
    step_tokens = batch * supply.tokens_per_example
    num_tokens = round(max(1, round(wanted_tokens / step_tokens)) * step_tokens)
    unique = supply.unique_tokens
    if epochs is not None:
        unique = max(1, round(num_tokens / epochs / supply.tokens_per_example)) * supply.tokens_per_example
    return RunSpec(
        size=sized.size,
        num_params=sized.num_params,
        param_counts=dict(sized.params),
        num_tokens=num_tokens,
        flops=sized.flops_per_token * num_tokens,
        budget=budget,
        batch=batch,
        tokens_per_example=supply.tokens_per_example,
        **recipe.settings(sized.num_params, num_tokens, step_tokens),
        epochs=num_tokens / unique if unique else None,
        unique_tokens=None if epochs is None else unique,
        seed=seed,
        fingerprint=mark,
    )

"""Passes of runs over the training data: what is allowed, what is requested, what is there."""

import math
from collections.abc import Sequence

from isoflop import arguments
from isoflop.counting.sizes import Sizes, TokenSupply
from isoflop.display.format import (
    format_count,
    format_flops,
    format_items,
    format_number,
    join_words,
)
from isoflop.errors import PlanError
from isoflop.notes.note import Note
from isoflop.runs import RunSpec

__all__ = ["batch_notes", "check_data", "epoch_notes", "epochs_to_sweep", "loader_notes"]


def epochs_to_sweep(sizes: Sizes, epochs: Sequence[float] | float | None) -> Sequence[float | None]:
    """The numbers of passes to sweep, rising; [None] where they are not swept."""
    if epochs is None:
        return [None]
    must = "a number of passes from 1 to 1e6"
    listed = arguments.listed(epochs, "epochs", error=PlanError)
    counts = sorted(
        {
            float(arguments.number(one, "epochs", must=must, holds=_are, error=PlanError))
            for one in listed
        }
    )
    if not sizes.has_parts or sizes.recipe.branches:
        raise PlanError(
            "A sweep over epochs takes parts of the training data, so these must be a map-style "
            "dataset, and branches of one trunk cannot see different parts; give such data and "
            "Recipe(branches=False)."
        )
    return counts


def _are(passes: float) -> bool:
    return 1 <= passes <= 1e6


def check_data(sizes: Sizes, supply: TokenSupply, specs: Sequence[RunSpec]) -> None:
    """Raise PlanError where a run needs more data or more passes than are allowed."""
    lacking = [
        spec
        for spec in specs
        if (spec.unique_tokens or 0) > (supply.unique_tokens or math.inf) * (1 + 1e-9)
    ]
    if lacking:
        worst = max(lacking, key=lambda spec: spec.unique_tokens or 0)
        raise PlanError(
            f"{format_number(worst.epochs or 1, 2)} passes of size {worst.size} need "
            f"{format_count(worst.unique_tokens or 0)} different {sizes.unit}s, but the training "
            f"data have {format_count(supply.unique_tokens or 0)}; sweep more epochs, bring more "
            f"data, or lower the budgets."
        )
    # passes that a sweep over epochs requests are allowed
    specs = [spec for spec in specs if spec.unique_tokens is None]
    allowed = sizes.recipe.epochs
    if allowed is None or supply.unique_tokens is None:
        return
    over = [
        spec for spec in specs if spec.epochs is not None and spec.epochs > allowed * (1 + 1e-9)
    ]
    if not over:
        return
    worst = max(over, key=lambda spec: spec.num_tokens)
    named = ", ".join(f"size {spec.size} at {format_flops(spec.budget or 0)}" for spec in over[:5])
    more = f" and {len(over) - 5} more" if len(over) > 5 else ""
    need = "needs" if len(over) == 1 else "need"
    raise PlanError(
        f"The recipe allows {format_number(allowed, 2)} pass{'es' if allowed > 1 else ''} over "
        f"{format_count(supply.unique_tokens)} {sizes.unit}s, but "
        f"{format_items(len(over), 'run')} {need} more ({named}{more}; the longest "
        f"{format_count(worst.num_tokens)}, {format_number(worst.epochs or 0, 2)} passes); allow "
        f"it with Recipe(epochs=None), bring more data, or lower the budgets."
    )


def batch_notes(sizes: Sizes, specs: Sequence[RunSpec]) -> list[Note]:
    """A note if runs are trained with another batch size than the user's own loader."""
    own = sizes.own_batch
    batches = sorted({spec.batch for spec in specs if spec.batch is not None})
    if own is None or not batches or batches == [own]:
        return []
    planned = f"{batches[0]}" if len(batches) == 1 else f"{batches[0]} to {batches[-1]}"
    tokens = own * sizes.supply.tokens_per_example
    kept = f"batch_tokens={tokens:g}" + (
        f", min_batch={own}" if own < sizes.recipe.min_batch else ""
    )
    text = (
        f"The batch_size={own} of train_data is replaced by the recipe's, {planned} examples per "
        f"step; Recipe({kept}) keeps it."
    )
    return [Note("loader-batch-replaced", text)]


def loader_notes(sizes: Sizes) -> list[Note]:
    """Notes if the user's own loader has settings that isoflop's order of examples replaces."""
    return [*_unused_settings(sizes), *_idle_workers(sizes)]


def _idle_workers(sizes: Sizes) -> list[Note]:
    used, number = sizes.used_workers
    if used == number:
        return []
    readers = f"{used} worker{'s' if used > 1 else ''}"
    text = (
        f"train_data is a stream whose order is that of {readers} at most: {number - used} of its "
        f"DataLoader's {number} read nothing."
    )
    return [Note("stream-workers-idle", text)]


def _unused_settings(sizes: Sizes) -> list[Note]:
    names = list(sizes.unused_settings)
    if not names:
        return []
    has = "have" if len(names) > 1 else "has"
    text = (
        f"The {join_words(names)} of train_data's DataLoader {has} no effect: isoflop orders and "
        f"batches its examples itself."
    )
    return [Note("loader-settings-unused", text)]


def epoch_notes(sizes: Sizes, specs: Sequence[RunSpec]) -> list[Note]:
    """A note on more than four passes over the data (Muennighoff et al. 2023)."""
    most = max((spec.epochs or 0 for spec in specs), default=0)
    if round(most, 1) <= 4:
        return []
    text = (
        f"Runs take up to {format_number(most, 2)} passes over the data; beyond 4, repeated "
        f"{sizes.unit}s teach less."
    )
    return [Note("repeated-data", text)]

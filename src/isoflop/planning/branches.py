"""Cooldown branches: runs of one size that share a constant-rate trunk (Hägele et al. 2405.18392).

They differ in where their cooldown begins. A branch is an ordinary wsd run; only its warm-up is
counted in steps that all branches have in common. So a trunk is trained once, by its longest
branch, and the others begin at its checkpoints.
"""

import hashlib
import json
import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, replace

from isoflop.display.format import format_number, format_percent
from isoflop.errors import PlanError
from isoflop.notes.note import Note
from isoflop.recipe import Recipe
from isoflop.runs import RunSpec

__all__ = ["branch_notes", "branched", "on_lattice", "shared"]

_OWN = ("num_tokens", "flops", "budget", "epochs", "warmup", "trunk")
"""What branches of one trunk may differ in."""
_ALIKE = {
    "batch_tokens": "batch",
    "lr": "lr",
    "weight_decay": "weight_decay",
}
"""Rule -> what it decides."""


def branched(recipe: Recipe, specs: Sequence[RunSpec]) -> list[RunSpec]:
    """The same runs as branches of one trunk for each size and seed.

    Raises PlanError where a rule gives runs of one size different settings: they could not share a
    trunk.
    """
    by_size: dict[tuple[object, int], list[RunSpec]] = {}
    for spec in specs:
        by_size.setdefault((spec.size, spec.seed), []).append(spec)
    done = {}
    for members in by_size.values():
        _check_alike(members)
        shortest = min(members, key=lambda spec: spec.num_tokens)
        num_warm = round(shortest.settings.warmup * shortest.num_steps)
        for spec in members:
            warmed = replace(spec, warmup=num_warm / spec.num_steps)
            done[spec.id] = replace(warmed, trunk=_trunk(warmed, num_warm))
        if num_warm > (1 - recipe.cooldown) * shortest.num_steps:
            raise PlanError(
                f"The shortest branch of size {shortest.size} would cool down before it is warm; "
                f"choose a shorter warm-up or cooldown."
            )
    return [done[spec.id] for spec in specs]


def _trunk(spec: RunSpec, num_warm: int) -> str:
    """Hash of all that branches have in common."""
    common = {name: value for name, value in asdict(spec).items() if name not in _OWN}
    text = json.dumps({**common, "num_warm": num_warm}, sort_keys=True, default=str)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def _check_alike(members: Sequence[RunSpec]) -> None:
    low, high = (pick(members, key=lambda spec: spec.num_tokens) for pick in (min, max))
    for rule, name in _ALIKE.items():
        first, last = getattr(low, name), getattr(high, name)
        if first != last:
            raise PlanError(
                f"Branches of one trunk must have one {name}, but Recipe({rule}=) gives size "
                f"{low.size} a {name} of {format_number(first, 3)} on {low.num_tokens:.3g} tokens "
                f"and {format_number(last, 3)} on {high.num_tokens:.3g}; give a number, or a rule "
                f"of the params alone{_instead(rule, low)}."
            )


def _instead(rule: str, spec: RunSpec) -> str:
    """A remedy that can be typed."""
    if rule == "batch_tokens":
        return f", such as Recipe(batch_tokens={spec.step_tokens:g})"
    return ", and no decay_timescale" if rule == "weight_decay" else ""


def shared(specs: Iterable[RunSpec], cost: Callable[[RunSpec], float]) -> float:
    """Cost that branches save: the longest of each trunk has trained all but their cooldown."""
    trunks: dict[str, list[RunSpec]] = {}
    for spec in {spec.id: spec for spec in specs}.values():
        if spec.trunk is not None:
            trunks.setdefault(spec.trunk, []).append(spec)
    saved = 0.0
    for members in trunks.values():
        longest = max(members, key=lambda spec: spec.num_tokens)
        saved += sum(
            cost(spec) * (1 - spec.settings.cooldown) for spec in members if spec is not longest
        )
    return saved


def branch_notes(specs: Sequence[RunSpec]) -> list[Note]:
    """How many trunks there are, and what they save."""
    total, saved = sum(spec.flops for spec in specs), shared(specs, lambda spec: spec.flops)
    trunks = len({spec.trunk for spec in specs})
    text = (
        f"{len(specs)} cooldowns branch off {trunks} trunks, which saves "
        f"{format_percent(saved / total)} of the FLOPs; branches of a trunk share its noise, so "
        f"fits count them as one trained model."
    )
    return [Note("cooldown-branches", text)]


def on_lattice(centre: float, spread: float, num_sizes: int) -> float:
    """The middle of a budget's sizes, moved so that budgets have sizes in common."""
    step = 2 * math.log(spread) / (num_sizes - 1)
    return math.exp(step * round(math.log(centre) / step))

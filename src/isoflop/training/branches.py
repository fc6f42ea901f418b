"""Cooldown branches: a trunk's longest run trains first and saves a checkpoint for each branch."""

from collections.abc import Mapping, Sequence

from isoflop.runs import RunSpec
from isoflop.storage.store import Store
from isoflop.training.state import State, save

__all__ = ["branch_off", "branches_of", "waiting_branches", "waves"]


def waves(specs: Sequence[RunSpec]) -> tuple[list[RunSpec], list[RunSpec]]:
    """The runs to train first (one per trunk, and all without one), and the branches after them."""
    longest: dict[str, RunSpec] = {}
    for spec in specs:
        if spec.trunk is not None:
            known = longest.get(spec.trunk)
            if known is None or spec.num_tokens > known.num_tokens:
                longest[spec.trunk] = spec
    first = [spec for spec in specs if spec.trunk is None or longest[spec.trunk].id == spec.id]
    ids = {spec.id for spec in first}
    return first, [spec for spec in specs if spec.id not in ids]


def branches_of(
    trunks: Sequence[RunSpec], later: Sequence[RunSpec]
) -> Mapping[str, tuple[RunSpec, ...]]:
    """By id of the run that trains a trunk: the runs that branch off it."""
    by_trunk = {
        trunk.id: tuple(spec for spec in later if spec.trunk == trunk.trunk)
        for trunk in trunks
        if trunk.trunk
    }
    return {run_id: branches for run_id, branches in by_trunk.items() if branches}


def waiting_branches(branches: Sequence[RunSpec], state: State, store: Store) -> list[RunSpec]:
    """Branches that a trunk has not reached, the shortest first, without those already begun."""
    ahead = [
        spec
        for spec in branches
        if leaves_at(spec) >= state.num_tokens and not _has_begun(spec, store)
    ]
    return sorted(ahead, key=leaves_at)


def leaves_at(spec: RunSpec) -> float:
    """Tokens at which a branch's cooldown begins."""
    return spec.num_tokens * (1 - spec.settings.cooldown)


def branch_off(
    waiting: list[RunSpec], state: State, store: Store, *, is_first: bool, is_sharded: bool
) -> bool:
    """Write the checkpoints of branches that leave before the next step ends; True if any does."""
    step_tokens = state.num_tokens / max(1, state.step)
    any_left = False
    while waiting and leaves_at(waiting[0]) < state.num_tokens + step_tokens * (1 - 1e-9):
        spec = waiting.pop(0)
        any_left = True
        if state.num_tokens > leaves_at(spec) * (1 + 1e-12):
            continue
        if is_first:
            store.write_spec(spec)
        if is_first or is_sharded:
            save(state, spec, store, is_first=is_first)
    return any_left


def _has_begun(spec: RunSpec, store: Store) -> bool:
    checkpoint = store.checkpoint(spec.id)
    return checkpoint is None or checkpoint.exists() or store.read_run(spec.id) is not None

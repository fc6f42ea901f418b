"""Cooldown branches in training: a trunk's longest run goes first and leaves a checkpoint where each other begins."""

from collections.abc import Mapping, Sequence

from isoflop.runs import RunSpec
from isoflop.storage.store import Store
from isoflop.training.state import State, save

__all__ = ["branch_off", "branches_of", "waiting_branches", "waves"]


def waves(specs: Sequence[RunSpec]) -> tuple[list[RunSpec], list[RunSpec]]:
    """The runs to train first, one per trunk and all that have none, and those that branch off them afterwards."""
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
    """By id of the run that trains a trunk: those that branch off it."""
    found = {
        trunk.id: tuple(spec for spec in later if spec.trunk == trunk.trunk)
        for trunk in trunks
        if trunk.trunk
    }
    return {run_id: branches for run_id, branches in found.items() if branches}


def waiting_branches(branches: Sequence[RunSpec], state: State, store: Store) -> list[RunSpec]:
    """The branches that a trunk has still to pass, the shortest first; those that have begun need it no longer."""
    ahead = [
        spec
        for spec in branches
        if leaves_at(spec) >= state.num_tokens and not _has_begun(spec, store)
    ]
    return sorted(ahead, key=leaves_at)


def leaves_at(spec: RunSpec) -> float:
    """Tokens at which a branch's cooldown begins."""
    return float(spec.num_tokens * (1 - spec.given("cooldown")))


def branch_off(waiting: list[RunSpec], state: State, store: Store, is_first: bool) -> bool:
    """Write the checkpoints of the branches that leave before the next step ends; gives whether there were any."""
    step_tokens = state.num_tokens / max(1, state.step)
    left = False
    while waiting and leaves_at(waiting[0]) < state.num_tokens + step_tokens * (1 - 1e-9):
        spec = waiting.pop(0)
        left = True
        if is_first and state.num_tokens <= leaves_at(spec) * (1 + 1e-12):
            store.write_spec(spec)
            save(state, spec, store)
    return left


def _has_begun(spec: RunSpec, store: Store) -> bool:
    checkpoint = store.checkpoint(spec.id)
    return checkpoint is None or checkpoint.exists() or store.read_run(spec.id) is not None

"""Telling: a store that takes results of runs which somebody else trained."""

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Protocol

from isoflop import arguments
from isoflop.display.format import format_number, one_line, quoted
from isoflop.errors import DataError
from isoflop.results import run_of, tokens_off
from isoflop.runs import CurvePoint, Run, RunSpec, Status

__all__ = ["Telling"]

STRANGE = 30.0
"""Times the losses of the other runs from which a loss is in another unit, or another quantity."""


class _Store(Protocol):
    def read_spec(self, run_id: str) -> RunSpec | None: ...
    def read_specs(self) -> list[RunSpec]: ...
    def read_stages(self) -> Mapping[str, tuple[Sequence[RunSpec], object]]: ...
    def read_run(self, run_id: str) -> Run | None: ...
    def read_runs(self) -> list[Run]: ...
    def write_spec(self, spec: RunSpec) -> None: ...
    def write_run(self, run: Run) -> None: ...
    def tell_all(
        self, runs: Sequence[Run], *, any_tokens: bool = False, again: bool = False
    ) -> list[Run]: ...


class Telling:
    """A store with `tell`."""

    def read_spec(self: _Store, run_id: str) -> RunSpec | None:
        """The spec of a run that has started or is planned in a stage; None for any other id."""
        planned = (spec for specs, _ in self.read_stages().values() for spec in specs)
        return next((spec for spec in (*self.read_specs(), *planned) if spec.id == run_id), None)

    def tell(
        self: _Store,
        spec_or_id: RunSpec | str,
        *,
        loss: float | None = None,
        num_tokens: float | None = None,
        flops: float | None = None,
        loss_stderr: float | None = None,
        metrics: Mapping[str, float] | None = None,
        curve: Iterable[CurvePoint] | None = None,
        seconds: float | None = None,
        status: Status = "completed",
        error: str | None = None,
        any_tokens: bool = False,
        again: bool = False,
    ) -> Run:
        """Record the result of a run that another program trained, and return it.

        spec_or_id: the spec, or its id where the store has the plan (`Sweep.save`).
        loss: on held-out data, not needed for a run that diverged or failed; NaN is one that
            diverged.
        num_tokens: tokens trained; None for those planned. More than 2 % off the plan is refused
            without `any_tokens=True`, since it is mostly a slip of units.
        flops: None for the planned FLOPs per token times the tokens.
        metrics: other held-out measures by name.
        curve: pairs of tokens and training loss.
        status, error: "completed", "diverged" or "failed", and why.
        again: replace an earlier record with another loss.

        Raises DataError for an unknown id, a loss that is missing, or values that contradict the
        plan, the record or the other runs; StoreError where the store cannot be written.
        """
        spec = _spec(self, spec_or_id)
        arguments.one_of(status, "tell: status", ("completed", "diverged", "failed"))
        if status == "completed":
            if loss is None:
                raise DataError(
                    "tell: a completed run must have a loss, the one on held-out data; give loss=, "
                    "or status='diverged' or 'failed'."
                )
            values = {
                "loss": loss,
                "num_tokens": num_tokens,
                "flops": flops,
                "loss_stderr": loss_stderr,
                "metrics": metrics,
                "curve": curve,
                "seconds": seconds,
            }
            run = run_of(spec, values)
        else:
            run = Run(
                spec=spec,
                status=status,
                num_tokens=num_tokens or 0.0,
                flops=flops or 0.0,
                seconds=seconds,
                error=error or f"told as {status}",
            )
        (told,) = self.tell_all([run], any_tokens=any_tokens, again=again)
        return told

    def tell_all(
        self: _Store, runs: Sequence[Run], *, any_tokens: bool = False, again: bool = False
    ) -> list[Run]:
        """Record runs as `tell` does, all or, where one is refused, none; return them."""
        others = self.read_runs()
        for run in runs:
            _check(run, [*others, *runs], any_tokens=any_tokens)
            _check_again(self.read_run(run.id), run, again=again)
        for run in runs:
            self.write_spec(run.spec)
            self.write_run(run)
        return [*runs]


def _spec(store: _Store, spec_or_id: RunSpec | str) -> RunSpec:
    if isinstance(spec_or_id, RunSpec):
        return spec_or_id
    if not isinstance(spec_or_id, str):
        raise arguments.refused(spec_or_id, "tell: spec_or_id", "a RunSpec or its id")
    spec = store.read_spec(spec_or_id.strip())
    if spec is None:
        raise DataError(
            f"tell: there must be a run of this id in the store, but it has no "
            f"{quoted(spec_or_id, 40)}; give the spec itself, or save the plan there with "
            "sweep.save(store)."
        )
    return spec


def _check(run: Run, runs: Iterable[Run], *, any_tokens: bool) -> None:
    """Raise DataError where a result contradicts the plan or the losses of the other runs."""
    if run.status != "completed":
        return
    off = tokens_off(run.spec, run.num_tokens)
    if off and not any_tokens:
        raise DataError(
            f"tell: {off}; correct num_tokens, or give any_tokens=True to record the run as it was "
            "trained."
        )
    others = sorted(
        other.loss
        for other in runs
        if other.status == "completed"
        and other.spec.fingerprint == run.spec.fingerprint
        and other.id != run.id
        and math.isfinite(other.loss)
    )
    if others and not others[0] / STRANGE < run.loss < others[-1] * STRANGE:
        raise DataError(
            f"tell: a loss must be in the unit of the other runs ({format_number(others[0], 4)} to "
            f"{format_number(others[-1], 4)}), but got {format_number(run.loss, 4)}; tell the mean "
            "over tokens, as for them."
        )


def _check_again(before: Run | None, run: Run, *, again: bool) -> None:
    """Raise DataError where a record would be replaced by another loss."""
    if before is None or again or before.status == "failed":
        return
    same = (before.status, before.loss) == (run.status, run.loss)
    if not same and not (math.isnan(before.loss) and math.isnan(run.loss)):
        was = f"{before.status} with loss {format_number(before.loss, 4)}"
        raise DataError(
            f"tell: run {one_line(run.id)} is recorded as {was}; give again=True to replace that."
        )

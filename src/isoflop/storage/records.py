"""Specs and runs as JSON texts with a schema number, and back."""

import json
import math
from collections.abc import Mapping
from dataclasses import asdict, fields
from typing import Any, TypeVar

from isoflop.errors import StoreError
from isoflop.runs import Run, RunSpec

__all__ = [
    "SCHEMA",
    "TornRecord",
    "dump_run",
    "dump_spec",
    "dump_specs",
    "load_run",
    "load_spec",
    "load_specs",
]

T = TypeVar("T", Run, RunSpec)


class TornRecord(StoreError):
    """A text that is no whole record: half-written, or damaged later."""


SCHEMA = 1
"""Raised whenever a record changes so that an older isoflop would misread it."""


def dump_spec(spec: RunSpec) -> str:
    """A spec as JSON text."""
    return _dump({"spec": asdict(spec)})


def load_spec(text: str) -> RunSpec:
    """The spec that `dump_spec` wrote. Raises StoreError where the text is no such record."""
    return _spec(_part(_load(text), "spec"))


def dump_specs(specs: tuple[RunSpec, ...], plan: Mapping[str, Any]) -> str:
    """The specs of one stage and what else its plan says as JSON text."""
    return _dump({**plan, "specs": [asdict(spec) for spec in specs]})


def load_specs(text: str) -> tuple[tuple[RunSpec, ...], dict[str, Any]]:
    """The specs and the plan that `dump_specs` wrote."""
    data = _load(text)
    specs = tuple(_spec(spec) for spec in data.pop("specs"))
    del data["schema"]
    return specs, data


def dump_run(run: Run) -> str:
    """A run as JSON text; numbers that are not finite become null. The curve is kept beside the record, not in it."""
    data = {
        field.name: getattr(run, field.name)
        for field in fields(run)
        if field.name not in ("spec", "curve")
    }
    if not run.metrics:  # a record without metrics is one that any isoflop of this schema reads
        del data["metrics"]
    return _dump({**data, "versions": dict(run.versions), "spec": asdict(run.spec)})


def load_run(text: str, curve: tuple[tuple[float, float], ...] = ()) -> Run:
    """The run that `dump_run` wrote. Raises StoreError where the text is no such record."""
    data = _load(text)
    data.pop("schema")
    spec = _spec(_part(data, "spec"))
    del data["spec"]
    metrics = {name: _number(value) for name, value in data.pop("metrics", {}).items()}
    loss = _number(_part(data, "loss"))
    return _build(Run, {**data, "spec": spec, "loss": loss, "metrics": metrics, "curve": curve})


def _part(data: Mapping[str, Any], name: str) -> Any:
    if name not in data:
        raise TornRecord(f"A record is not what isoflop writes: it has no {name!r}.")
    return data[name]


def _number(value: float | None) -> float:
    return math.nan if value is None else value


def _spec(data: Mapping[str, Any]) -> RunSpec:
    size = data.get("size")
    return _build(RunSpec, {**data, "size": tuple(size) if isinstance(size, list) else size})


def _build(kind: type[T], data: Mapping[str, Any]) -> T:
    try:
        return kind(**data)
    except TypeError as error:
        raise StoreError(
            f"A record does not have the fields of a {kind.__name__}: {error}."
        ) from error


def _dump(data: Mapping[str, Any]) -> str:
    return json.dumps(_finite({"schema": SCHEMA, **data}), indent=1, allow_nan=False) + "\n"


def _load(text: str) -> dict[str, Any]:
    try:
        data: dict[str, Any] = json.loads(text)
        schema = data["schema"]
    except (ValueError, KeyError, TypeError) as error:
        raise TornRecord(f"A record is not the JSON that isoflop writes: {error!r}.") from error
    if schema != SCHEMA:
        raise StoreError(
            f"A record has schema {schema}, but this isoflop reads schema {SCHEMA}; use the version that wrote it."
        )
    return data


def _finite(value: Any) -> Any:
    """The value with null for every number that JSON cannot hold."""
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, Mapping):
        return {key: _finite(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(item) for item in value]
    return value

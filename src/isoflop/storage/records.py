"""Specs and runs as JSON texts with a schema number and a digest, and back.

A text is UTF-8 and holds no NaN. Its digest is of all its other values, however they are laid out, so that a digit that
a disk or a hand has changed is found; a text without a digest is taken at its word, where its fields are those of a
record.
"""

import hashlib
import json
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, fields
from typing import Any, NamedTuple, NoReturn

import numpy as np
import numpy.typing as npt

from isoflop.display.format import one_line, quoted
from isoflop.errors import StoreError
from isoflop.runs import CurvePoint, Run, RunSpec
from isoflop.storage.fields import check_run, check_spec
from isoflop.storage.files import Damaged, Unopened

__all__ = [
    "SCHEMA",
    "Curve",
    "DamagedCurve",
    "UnopenedCurve",
    "dump_curve",
    "dump_run",
    "dump_spec",
    "dump_specs",
    "load_curve",
    "load_run",
    "load_spec",
    "load_specs",
    "load_values",
]

SCHEMA = 1
"""Raised whenever a record changes so that an older isoflop would misread it."""

_DIGITS = 16
_SPEC_FIELDS = {field.name for field in fields(RunSpec)}


def dump_spec(spec: RunSpec) -> str:
    """A spec as JSON text."""
    return _dump({"spec": _spec_values(spec)})


def load_spec(data: bytes, run_id: str) -> RunSpec:
    """The spec that `dump_spec` wrote, or that of a record. Raises Damaged where it is not that of the run."""
    values, is_whole = load_values(data)
    return _spec(values.get("spec"), is_whole, run_id)


def dump_specs(specs: tuple[RunSpec, ...], plan: Mapping[str, Any]) -> str:
    """The specs of one stage and what else its plan says as JSON text."""
    return _dump({**plan, "specs": [_spec_values(spec) for spec in specs]})


def load_specs(data: bytes) -> tuple[tuple[RunSpec, ...], dict[str, Any]]:
    """The specs and the plan that `dump_specs` wrote, to the letter. Raises Damaged where they are not."""
    values, is_whole = load_values(data)
    if not is_whole:
        raise Damaged("it has no digest")
    specs = tuple(_spec(spec, is_whole) for spec in values.pop("specs"))
    del values["schema"]
    return specs, values


def dump_run(run: Run) -> str:
    """A run as JSON text; numbers that are not finite become null. The curve is kept beside it, here is its digest."""
    values = {
        field.name: getattr(run, field.name)
        for field in fields(Run)
        if field.name not in ("spec", "curve")
    }
    curve = (
        None if run.status == "failed" else _curve_digest(run.curve)
    )  # of a run that failed it may still grow
    return _dump(
        {**values, "versions": dict(run.versions), "curve": curve, "spec": _spec_values(run.spec)}
    )


def load_run(data: bytes, run_id: str, curve: "Curve | None" = None) -> Run:
    """The run that `dump_run` wrote, with its curve.

    Raises Damaged where the text is no record, or another run's; DamagedCurve where the curve is torn or another's,
    but for a run that failed while it wrote it.
    """
    values, is_whole = load_values(data)
    spec, digest = _spec(values.pop("spec", None), is_whole, run_id), values.pop("curve", None)
    del values["schema"]
    check_run(values)
    if curve is not None and values["status"] != "failed":
        _check_curve(curve, digest)
    metrics = {name: _number(value) for name, value in values["metrics"].items()}
    points = () if curve is None else curve.points
    return Run(
        **{
            **values,
            "spec": spec,
            "loss": _number(values["loss"]),
            "metrics": metrics,
            "curve": points,
        }
    )


def dump_curve(points: Iterable[CurvePoint]) -> str:
    """Points of a curve, a line for each; losses that are not finite become null."""
    return "".join(json.dumps([_finite(value) for value in point]) + "\n" for point in points)


class DamagedCurve(Damaged):
    """The curve beside a record is not what isoflop wrote."""


class UnopenedCurve(DamagedCurve, Unopened):
    """The curve beside a record is there, but the system does not give it."""


class Curve(NamedTuple):
    """The points of a curve up to the first line that is none, as one that a dying process tore."""

    points: tuple[CurvePoint, ...]
    damage: str
    """What is wrong with that line; empty where all are whole."""
    digest: str


def load_curve(data: bytes) -> Curve:
    """The curve that `dump_curve` wrote."""
    lines = data.decode(errors="replace").splitlines()
    try:
        points = _parsed(f"[{','.join(lines)}]")
    except Damaged:
        return _whole_points(lines)
    found = _array(points)
    return (
        _whole_points(lines)
        if found is None
        else Curve(tuple(map(tuple, points)), "", _array_digest(found))
    )


def load_values(data: bytes) -> tuple[dict[str, Any], bool]:
    """The object that a JSON text of ours holds, and whether a digest says that nothing in it has changed.

    Raises Damaged where it is none, or has changed.
    """
    try:
        values = _parsed(data.decode())
    except UnicodeDecodeError as error:
        raise Damaged(f"byte {error.start + 1} is no UTF-8") from error
    if not isinstance(values, dict) or "schema" not in values:
        raise Damaged(f"it holds {quoted(values)}, not what isoflop writes")
    schema, digest = values["schema"], values.pop("digest", None)
    if schema != SCHEMA or type(schema) is not int:
        raise Damaged(f"it has schema {quoted(schema)}, but this isoflop reads schema {SCHEMA}")
    if digest is not None and digest != _digest(values):
        raise Damaged("its contents are not those that were written: its digest is of others")
    return values, digest is not None


def _spec_values(spec: RunSpec) -> dict[str, Any]:
    """A spec's values. Raises StoreError for one that a file cannot hold, so that its id would change."""
    values = asdict(spec)
    try:
        check_spec(json.loads(json.dumps(values)))
    except (Damaged, TypeError, ValueError) as error:
        raise StoreError(
            f"A run to be kept in a store must have plain finite numbers, but {one_line(error)}."
        ) from error
    return values


def _spec(values: Any, is_whole: bool, run_id: str | None = None) -> RunSpec:
    if not (
        is_whole and isinstance(values, dict) and values.keys() == _SPEC_FIELDS
    ):  # what we wrote was checked then
        check_spec(values)
    size = values["size"]
    spec = RunSpec(**{**values, "size": tuple(size) if isinstance(size, list) else size})
    if run_id is not None and spec.id != run_id:
        raise Damaged(f"it is of the run {spec.id}")
    return spec


def _number(value: float | None) -> float:
    return math.nan if value is None else value


def _dump(values: Mapping[str, Any]) -> str:
    held = json.loads(
        json.dumps(_finite({"schema": SCHEMA, **values}), allow_nan=False)
    )  # as it will be read
    return json.dumps({**held, "digest": _digest(held)}, indent=1) + "\n"


def _digest(values: Mapping[str, Any]) -> str:
    return hashlib.sha256(json.dumps(values, sort_keys=True).encode()).hexdigest()[:_DIGITS]


def _curve_digest(points: Sequence[CurvePoint]) -> str:
    return _array_digest(np.array(points, float))


def _array_digest(points: npt.NDArray[np.float64]) -> str:
    finite = np.where(np.isfinite(points), points, np.nan).astype("<f8")
    return hashlib.sha256(finite.tobytes()).hexdigest()[:_DIGITS]


def _check_curve(curve: Curve, digest: Any) -> None:
    if curve.damage:
        raise DamagedCurve(curve.damage)
    if curve.points and digest not in (None, curve.digest):  # one that was removed may be missing
        raise DamagedCurve("its points are not those of the record")


def _parsed(text: str) -> Any:
    try:
        return _DECODER.decode(text)
    except RecursionError:
        raise Damaged("its JSON is nested too deeply") from None
    except ValueError as error:
        raise Damaged(
            f"it is no JSON ({one_line(error, 80)})" if text.strip() else "it is empty"
        ) from error


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is no JSON number")


_DECODER = json.JSONDecoder(parse_constant=_refuse_constant)


def _array(points: Any) -> npt.NDArray[np.float64] | None:
    """Pairs of finite numbers; None where they are anything else."""
    try:
        found = np.array(points)
    except (ValueError, OverflowError):  # of unequal lengths
        return None
    if not points:
        return found
    are_pairs = found.dtype.kind in "fi" and found.shape == (len(points), 2)
    return found.astype(float) if are_pairs and np.isfinite(found).all() else None


def _whole_points(lines: Sequence[str]) -> Curve:
    points: list[CurvePoint] = []
    damage = ""
    for number, line in enumerate(lines, 1):
        try:
            num_tokens, loss = _parsed(line)
        except (Damaged, TypeError, ValueError):
            num_tokens = loss = ""
        if _array([[num_tokens, 0.0 if loss is None else loss]]) is None:
            damage = f"line {number} is no pair of numbers"
            break
        points.append((num_tokens, _number(loss)))
    return Curve(tuple(points), damage, _curve_digest(points))


def _finite(value: Any) -> Any:
    """The value with null for every number that JSON cannot hold."""
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, Mapping):
        return {key: _finite(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(item) for item in value]
    return value

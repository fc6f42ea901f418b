"""Specs and runs as JSON texts with a schema number and a digest, and back.

A text is UTF-8 and holds no NaN. The digest covers all other values, whatever their layout, so that
a changed digit is detected. A text without a digest is accepted where its fields pass the checks of
a record.
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
"""Increased whenever a record changes in a way that an older isoflop would misread."""

_DIGITS = 16
_SPEC_FIELDS = {field.name for field in fields(RunSpec)}


def dump_spec(spec: RunSpec) -> str:
    """A spec as JSON text."""
    return _dump({"spec": _spec_values(spec)})


def load_spec(data: bytes, run_id: str) -> RunSpec:
    """The spec in a spec file or a record. Raises Damaged where it is not the run's spec."""
    values, is_whole = load_values(data)
    return _spec(values.get("spec"), is_whole, run_id)


def dump_specs(specs: tuple[RunSpec, ...], plan: Mapping[str, object]) -> str:
    """The specs of a stage and the rest of its plan as JSON text."""
    return _dump({**plan, "specs": [_spec_values(spec) for spec in specs]})


def load_specs(data: bytes) -> tuple[tuple[RunSpec, ...], dict[str, object]]:
    """The specs and the plan that `dump_specs` wrote. Raises Damaged for any other text."""
    values, is_whole = load_values(data)
    if not is_whole:
        raise Damaged("it has no digest")
    specs = values.pop("specs", None)
    if not isinstance(specs, list):
        raise Damaged("it has no list of specs")
    del values["schema"]
    return tuple(_spec(spec, is_whole) for spec in specs), values


def dump_run(run: Run) -> str:
    """A run as JSON text; numbers that are not finite become null.

    The curve is kept in a file of its own; the record holds its digest.
    """
    values = {
        field.name: getattr(run, field.name)
        for field in fields(Run)
        if field.name not in ("spec", "curve")
    }
    # the curve of a failed run may still grow
    curve = None if run.status == "failed" else _curve_digest(run.curve)
    return _dump(
        {**values, "versions": dict(run.versions), "curve": curve, "spec": _spec_values(run.spec)}
    )


def load_run(data: bytes, run_id: str, curve: "Curve | None" = None) -> Run:
    """The run that `dump_run` wrote, with its curve.

    Raises Damaged where the text is no record, or another run's; DamagedCurve where the curve is
    torn or another run's. A failed run may have a torn curve.
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
    """Points of a curve, one per line; losses that are not finite become null."""
    return "".join(json.dumps([_finite(value) for value in point]) + "\n" for point in points)


class DamagedCurve(Damaged):
    """The curve beside a record is not the one that isoflop wrote."""


class UnopenedCurve(DamagedCurve, Unopened):
    """The curve beside a record exists but cannot be opened."""


class Curve(NamedTuple):
    """The points of a curve up to the first invalid line, such as one torn by a killed process."""

    points: tuple[CurvePoint, ...]
    damage: str
    """Fault of the invalid line; empty where all lines are valid."""
    digest: str


def load_curve(data: bytes) -> Curve:
    """The curve that `dump_curve` wrote."""
    lines = data.decode(errors="replace").splitlines()
    try:
        points = _parsed(f"[{','.join(lines)}]")
    except Damaged:
        return _whole_points(lines)
    array = _array(points)
    if array is None:
        return _whole_points(lines)
    return Curve(tuple(map(tuple, points)), "", _array_digest(array))


def load_values(data: bytes) -> tuple[dict[str, Any], bool]:
    """The JSON object in a text, and whether a digest confirms that it has not changed.

    Raises Damaged where the text is no such object, or has changed.
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
        raise Damaged("its contents have changed: they do not match its digest")
    return values, digest is not None


def _spec_values(spec: RunSpec) -> dict[str, Any]:
    """A spec's values. Raises StoreError where JSON cannot hold them without changing the id."""
    values = asdict(spec)
    try:
        check_spec(json.loads(json.dumps(values)))
    except (Damaged, TypeError, ValueError) as error:
        raise StoreError(
            f"A run to be kept in a store must have plain finite numbers, but {one_line(error)}."
        ) from error
    return values


def _spec(values: Any, is_whole: bool, run_id: str | None = None) -> RunSpec:
    # a text with a digest was checked when it was written
    if not (is_whole and isinstance(values, dict) and values.keys() == _SPEC_FIELDS):
        check_spec(values)
    size = values["size"]
    spec = RunSpec(**{**values, "size": tuple(size) if isinstance(size, list) else size})
    if run_id is not None and spec.id != run_id:
        raise Damaged(f"it is of the run {spec.id}")
    return spec


def _number(value: float | None) -> float:
    return math.nan if value is None else value


def _dump(values: Mapping[str, object]) -> str:
    # the digest is of the values as they will be read
    read = json.loads(json.dumps(_finite({"schema": SCHEMA, **values}), allow_nan=False))
    return json.dumps({**read, "digest": _digest(read)}, indent=1) + "\n"


def _digest(values: Mapping[str, object]) -> str:
    return hashlib.sha256(json.dumps(values, sort_keys=True).encode()).hexdigest()[:_DIGITS]


def _curve_digest(points: Sequence[CurvePoint]) -> str:
    return _array_digest(np.array(points, float))


def _array_digest(points: npt.NDArray[np.float64]) -> str:
    finite = np.where(np.isfinite(points), points, np.nan).astype("<f8")
    return hashlib.sha256(finite.tobytes()).hexdigest()[:_DIGITS]


def _check_curve(curve: Curve, digest: object) -> None:
    if curve.damage:
        raise DamagedCurve(curve.damage)
    if curve.points and digest not in (None, curve.digest):  # a removed curve is no fault
        raise DamagedCurve("its points are not those of the record")


def _parsed(text: str) -> Any:
    try:
        return _DECODER.decode(text)
    except RecursionError:
        raise Damaged("its JSON is nested too deeply") from None
    except ValueError as error:
        reason = f"it is no JSON ({one_line(error, 80)})" if text.strip() else "it is empty"
        raise Damaged(reason) from error


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is no JSON number")


_DECODER = json.JSONDecoder(parse_constant=_refuse_constant)


def _array(points: Sequence[Sequence[object]]) -> npt.NDArray[np.float64] | None:
    """Pairs of finite numbers as an array; None for anything else."""
    try:
        array = np.array(points)
    except (ValueError, OverflowError):  # of unequal lengths
        return None
    if not points:
        return array
    are_pairs = array.dtype.kind in "fi" and array.shape == (len(points), 2)
    return array.astype(float) if are_pairs and np.isfinite(array).all() else None


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


def _finite(value: object) -> object:
    """The value with None for every number that JSON cannot hold."""
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, Mapping):
        return {key: _finite(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(item) for item in value]
    return value

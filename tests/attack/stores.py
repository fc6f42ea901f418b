"""A small store made by hand, and what disks and people do to its files."""

import json
import os
import random
import shutil
from dataclasses import dataclass
from pathlib import Path

from isoflop.runs import Run, RunSpec
from isoflop.storage.directory import DirectoryStore

BUDGETS = (1e17, 3e17, 1e18)
VALUES = (
    None, True, -1, 0, 2.5, 1e308, 5e-324, 10**400, "abc", "", "\x1b[2J\x1b[31mred", "\ud800", "2.5", [], {}, [1, 2],
    {"a": {"b": []}}, float("nan"), float("inf"), "x" * 100_000, "completed", "../../etc", "two\nlines",
)  # fmt: skip
"""What fields are given in place of their own values."""

JSON_FILES = ("record.json", "spec.json")
FILES = (*JSON_FILES, "curve.jsonl")


def run_of(budget, num_params, mark, **changes):
    num_tokens = budget / 6 / num_params
    spec = RunSpec(
        num_params=num_params, num_tokens=num_tokens, flops=budget, budget=budget, size=int(num_params // 1000),
        param_counts={"total": int(num_params)}, batch=8, tokens_per_example=16, lr=0.01, beta1=0.9, beta2=0.95,
        weight_decay=0.1, warmup=0.02, schedule="cosine", precision="auto", clip=1.0, epochs=0.1, fingerprint=mark,
    )  # fmt: skip
    loss = 1.7 + 406.4 / num_params**0.34 + 410.7 / num_tokens**0.28
    ended = {
        "status": "completed",
        "loss": loss,
        "loss_stderr": 0.003,
        "metrics": {"accuracy": 1 / loss},
    }
    curve = tuple((num_tokens * k / 8, loss + 2 / k) for k in range(1, 9))
    took = {
        "seconds": 1.5,
        "peak_flops_per_second": 1e12,
        "device": "cpu",
        "versions": {"torch": "2"},
    }
    return Run(
        spec=spec, num_tokens=num_tokens, flops=budget, curve=curve, **{**ended, **took, **changes}
    )


def make_store(path, mark="f" * 16):
    """Three curves of three runs, one failed run, one that was begun and one that waits, in one stage."""
    store = DirectoryStore(path)
    runs = [
        run_of(budget, (budget / 120) ** 0.5 * side, mark)
        for budget in BUDGETS
        for side in (0.4, 1.0, 2.5)
    ]
    failed = run_of(
        1e17,
        1e7,
        mark,
        status="failed",
        loss=float("nan"),
        loss_stderr=None,
        metrics={},
        error="OSError: disk",
    )
    begun, waiting = run_of(1e17, 2e7, mark).spec, run_of(1e17, 3e7, mark).spec
    store.write_task({"model": "GPT", "fingerprint": mark})
    specs = (*(run.spec for run in (*runs, failed)), begun, waiting)
    plan = {
        "notes": ["A note."],
        "seconds": {},
        "memory_bytes": {},
        "mfu": {},
        "binds": None,
        "unit": "token",
        "hardware": None,
    }
    store.write_stage(
        "first",
        specs,
        {"purpose": "budget 1e17 FLOPs", **plan, "simulation": None, "forecast": None},
    )
    store.write_spec(begun)
    store.append_curve(begun.id, [(1.0, 5.0)])
    for run in (*runs, failed):
        store.write_spec(run.spec)
        store.write_run(run)
    return store


@dataclass(frozen=True)
class Harm:
    """One thing done to one file of a store; all that is left open follows from the seed."""

    kind: str
    file: str
    seed: int

    def do(self, root):
        """Do it; gives the names of the run folders that it touches."""
        draw = random.Random(self.seed)
        path = self._path(root, draw)
        touched = {
            path.parent.name if path.name in FILES or path.name.startswith("lease") else path.name
        }
        touched |= {made for made in _HARMS[self.kind](path, draw) or () if made}
        return touched

    def _path(self, root, draw):
        runs = sorted(
            entry.name for entry in os.scandir(root) if (Path(entry.path) / "record.json").is_file()
        )
        run = root / draw.choice(runs) if runs else root / "0123456789abcdef"
        return {
            "stage": root / "stages" / "first.json", "task.json": root / "task.json", "run": run, "lease": run / "lease-0",
        }.get(self.file, run / self.file)  # fmt: skip


def _read(path):
    """What a harm before this one left, where it is a file; a pipe would let us wait."""
    if not path.is_file():
        raise FileNotFoundError(path)
    return path.read_bytes()


def _flip(path, draw):
    data = bytearray(_read(path))
    data[draw.randrange(len(data))] = draw.randrange(256)
    path.write_bytes(data)


def _insert(path, draw):
    data, at = _read(path), draw.random()
    cut = int(at * len(data))
    path.write_bytes(
        data[:cut] + bytes(draw.randrange(256) for _ in range(draw.choice((1, 1, 4)))) + data[cut:]
    )


def _field(path, draw):
    """Give one field another value, take it away, or add one."""
    values = _json_of(path)
    if (
        isinstance(values, dict) and draw.random() < 0.5
    ):  # as a hand does it that wants to be believed
        values.pop("digest", None)
    place, key = draw.choice(list(_places(values)))
    way = draw.random()
    if way < 0.2:
        del place[key]
    elif way < 0.3 and isinstance(place, dict):
        place[draw.choice(("extra", "\x1b[2J", "a" * 1000))] = draw.choice(VALUES)
    else:
        place[key] = draw.choice(VALUES)
    _write_json(path, values)


def _json_of(path):
    if path.name == "curve.jsonl":
        return [json.loads(line) for line in _read(path).splitlines()]
    return json.loads(_read(path))


def _write_json(path, values):
    lines = map(json.dumps, values) if path.name == "curve.jsonl" else [json.dumps(values)]
    path.write_text("".join(f"{line}\n" for line in lines))


def _places(values):
    """Every list or object in a value that holds something, with each of its keys."""
    keys = (
        values
        if isinstance(values, dict)
        else range(len(values))
        if isinstance(values, list)
        else ()
    )
    for key in keys:
        yield values, key
        yield from _places(values[key])


def _swap(path, make):
    if path.is_dir():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)
    make(path)


def _write(*texts):
    def harm(path, draw):
        path.parent.mkdir(exist_ok=True)
        if path.is_dir():
            shutil.rmtree(path)
        path.unlink(missing_ok=True)
        path.write_bytes(draw.choice(texts))

    return harm


def _rename(path, draw):
    """A run's folder under another id, or another run's."""
    others = [other.name for other in path.parent.iterdir() if (other / "record.json").is_file()]
    name = draw.choice(
        (f"{draw.randrange(16**16):016x}", f"{path.name} copy", path.name[:15], draw.choice(others))
    )
    if draw.random() < 0.5:
        shutil.copytree(path, path.parent / name, dirs_exist_ok=True)
    elif name != path.name:
        shutil.rmtree(path.parent / name, ignore_errors=True)
        path.rename(path.parent / name)
    return {name}


def _exchange(path, draw):
    """A file of another run in its place."""
    others = sorted(other for other in path.parent.parent.glob(f"*/{path.name}"))
    other = draw.choice(others)
    data, _ = _read(other), _read(path)
    path.write_bytes(data)


_WHOLE = (
    b"",
    b" ",
    b"\n",
    b"null",
    b"[]",
    b"{}",
    b"3",
    b'"text"',
    b'{"schema": 1}',
    b'{"schema": 99}',
    b"\0" * 300,
)
_HARMS = {
    "flip": _flip,
    "insert": _insert,
    "cut": lambda path, draw: os.truncate(path, draw.randrange(path.stat().st_size)),
    "field": _field,
    "whole": _write(*_WHOLE, "{}".encode("utf-16"), b"\xff\xfe" * 9, b"[" * 100_000, b'{"a":' * 50_000),
    "folder": lambda path, draw: _swap(path, Path.mkdir),
    "link": lambda path, draw: _swap(path, lambda place: place.symlink_to(draw.choice(("/nowhere/at/all", path.name)))),
    "pipe": lambda path, draw: _swap(path, os.mkfifo),
    "gone": lambda path, draw: _swap(path, lambda place: None),
    "file": lambda path, draw: _swap(path, lambda place: place.write_text("a file")),
    "renamed": _rename,
    "exchanged": _exchange,
}  # fmt: skip

OF_FILES = ("flip", "insert", "cut", "field", "whole", "folder", "link", "pipe", "gone")
KINDS = [
    *((kind, file) for file in (*FILES, "stage", "task.json") for kind in OF_FILES),
    *(("exchanged", file) for file in FILES),
    *((kind, "run") for kind in ("renamed", "file", "link", "gone", "pipe")),
    *((kind, "lease") for kind in ("whole", "folder", "link", "pipe")),
]
"""Every harm with every kind of file that it can be done to."""

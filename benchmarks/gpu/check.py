"""What training reaches on one large GPU, in under eight minutes: one table.

    python benchmarks/gpu/check.py [--only NAME ...] [--out FILE] [--tiny]

Each section is a row; one that fails says why in its row, and the others go on. `--tiny` runs every
section on toy sizes in seconds, on any machine: its figures mean nothing. Needs torch and
accelerate, no network and nothing else.
"""

import argparse
import datetime
import platform
import signal
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import torch

ROOT = Path(__file__).parents[2]
sys.path[:0] = [str(ROOT / "src"), str(ROOT / "examples"), str(Path(__file__).parent)]
import sections  # noqa: E402
from scale import FULL, TINY, Scale  # noqa: E402

RESULTS = ROOT / "benchmarks" / "results" / "gpu-check.md"

SECTIONS: dict[str, tuple[Callable[[Scale], str], int]] = {
    "gpt": (sections.utilisation_of_a_gpt, 110),
    "images": (sections.images_against_a_bare_loop, 60),
    "packed": (sections.tiny_runs_packed, 40),
    "graphs": (sections.a_tiny_run_from_graphs, 60),
    "together": (sections.tiny_runs_together, 60),
    "resume": (sections.a_resumed_run, 30),
    "memory": (sections.a_batch_that_does_not_fit, 30),
    "sweep": (sections.a_small_sweep, 150),
}
"""By name: the section, and the seconds after which it is ended."""


@dataclass(frozen=True)
class Row:
    name: str
    result: str
    seconds: float
    has_failed: bool = False


def row_of(name: str, scale: Scale) -> Row:
    began = time.perf_counter()
    try:
        section, limit = SECTIONS[name]
        with limited(limit):
            result, has_failed = section(scale), False
    except Exception as error:
        result, has_failed = f"FAILED: {type(error).__name__}: {error}".splitlines()[0], True
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
    return Row(name, result, time.perf_counter() - began, has_failed)


@contextmanager
def limited(seconds: int) -> Iterator[None]:
    """Raise TimeoutError in the block after so many seconds."""

    def end(number: int, frame: object) -> None:
        raise TimeoutError(f"it took longer than {seconds} s")

    before = signal.signal(signal.SIGALRM, end)
    signal.alarm(seconds)
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)


def table(rows: Sequence[Row]) -> str:
    lines = [f"| {row.name} | {row.result} | {row.seconds:.0f} s |" for row in rows]
    return "\n".join(["| section | result | took |", "| --- | --- | --- |", *lines])


def head(is_tiny: bool) -> str:
    device = torch.cuda.get_device_name() if torch.cuda.is_available() else "no GPU"
    toy = "\n\nToy sizes (`--tiny`): the figures show only that every section runs." * is_tiny
    return (
        f"# Training on one GPU\n\n{datetime.date.today()}, {device}, {platform.machine()}, "
        f"Python {platform.python_version()}, torch {torch.__version__}. "
        f"`python benchmarks/gpu/check.py`{toy}"
    )


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--only", nargs="+", choices=SECTIONS, default=list(SECTIONS))
    parser.add_argument("--out", type=Path, default=RESULTS, help="file for the table")
    parser.add_argument("--tiny", action="store_true", help="toy sizes, in seconds, on a CPU too")
    given = parser.parse_args(arguments)
    if not (given.tiny or torch.cuda.is_available()):
        parser.error("there is no GPU here; --tiny runs every section on toy sizes")
    rows = []
    for name in given.only:
        rows.append(row_of(name, TINY if given.tiny else FULL))
        print(f"{rows[-1].name}: {rows[-1].result} ({rows[-1].seconds:.0f} s)", flush=True)
        # written after each section: a run that is cut off keeps what it has measured
        given.out.parent.mkdir(parents=True, exist_ok=True)
        given.out.write_text(f"{head(given.tiny)}\n\n{table(rows)}\n")
    print(f"\n{table(rows)}")
    return int(any(row.has_failed for row in rows))


if __name__ == "__main__":
    sys.exit(main())

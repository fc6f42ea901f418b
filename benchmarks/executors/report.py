"""Tables of benchmarks as Markdown, with the date and the machine in words."""

import datetime
import os
import platform
from collections.abc import Sequence
from pathlib import Path

RESULTS = Path(__file__).parents[1] / "results"


def machine() -> str:
    family = platform.machine().replace("_64", "")
    return f"{os.cpu_count()}-core {family} {platform.system()} machine, CPU only"


def table(rows: Sequence[Sequence[str]]) -> str:
    head, *body = rows
    return "\n".join("| " + " | ".join(row) + " |" for row in (head, ["---"] * len(head), *body))


def publish(name: str, title: str, parts: Sequence[str], write: bool) -> None:
    """Print a page; with `write`, also keep it among the results."""
    date = datetime.date.today().isoformat()
    text = (
        "\n\n".join(
            [f"# {title}", f"{date}, {machine()}, Python {platform.python_version()}.", *parts]
        )
        + "\n"
    )
    print(text)
    if write:
        (RESULTS / f"{name}.md").write_text(text)

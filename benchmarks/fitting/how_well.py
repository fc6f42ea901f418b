"""Figures and tables of the page "How well do scaling laws predict?" (`docs/how_well.md`).

    ISOFLOP_DATA=<folder of the tables> python benchmarks/fitting/how_well.py
    ... --method mine.py:forecast      shows a method of yours too (methods.py)

Writes `docs/how_well/`: figures, and tables in Markdown that the page includes.
"""

from pathlib import Path

import how_well_figures
import how_well_tables
from held_out import methods_asked, results
from matplotlib import rc_context
from matplotlib.figure import Figure
from windows import ALL_BELOW, cases

PAGE = Path(__file__).parents[2] / "docs" / "how_well"


def save(figure: Figure, name: str) -> None:
    """The same bytes for the same numbers."""
    with rc_context({"svg.hashsalt": "isoflop"}):
        figure.savefig(PAGE / name, metadata={"Date": None})


def save_table(name: str, table: str) -> None:
    (PAGE / f"{name}.txt").write_text(table + "\n")
    print(table, end="\n\n")


def main() -> None:
    known = cases()
    found = results(methods_asked(), known)
    windows = {
        name: [one for one in scores if one.case.num_seen != ALL_BELOW]
        for name, scores in found.items()
    }
    PAGE.mkdir(exist_ok=True)
    save(how_well_figures.calibration(windows), "calibration.svg")
    save(how_well_figures.distance(windows), "distance.svg")
    save_table("misses", how_well_tables.misses(found["default"]))
    save_table("summary", how_well_tables.in_short(found, len(known)))
    save_table("sweeps", how_well_tables.sweeps(windows))


if __name__ == "__main__":
    main()

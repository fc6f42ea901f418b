"""The numbers of the default Prior beside those that public sweeps teach, and how well they do.

    ISOFLOP_DATA=<folder of the tables> python benchmarks/fitting/prior.py      (half an hour)

Windows of 3, 4 and 5 budgets of ten families of sweeps: those of the public tables, and of the
minima in `more_minima.csv`. Numbers are learned (`prior_learning.py`) from all families, and from
all but the one that is judged, so that no family judges what it taught.
"""

import math
from collections.abc import Iterable, Mapping, Sequence

import numpy as np
from held_out import Result, results
from held_out_tables import COVERED, cells_of
from held_out_tables import mean as mean_of
from methods import BASELINE, METHODS, of_approach
from prior_cases import Window, windows
from prior_learning import LOSS, PARAMS, Forecasts, Judged, cells, judge, learn, mean
from scores import geometric_mean
from tables import markdown, write
from windows import ALL_BELOW, cases

from isoflop.fitting.bayesian.prior import Prior

DEFAULT, LEARNED, FLAT = "default", "without its family", "flat"


def learned(known: Sequence[Window]) -> Prior:
    """The prior that some windows teach; what they say nothing of is the default's."""
    prior = Prior()
    for search in (PARAMS, LOSS):
        prior = learn(known, search, prior)
    return prior


def without_each(known: Sequence[Window]) -> dict[str, Prior]:
    """Family -> the prior that all others teach."""
    found = {}
    for family in dict.fromkeys(window.family for window in known):
        found[family] = learned([window for window in known if window.family != family])
        print(f"without {family}: {found[family]}", flush=True)
    return found


def numbers(priors: Mapping[str, Prior]) -> str:
    """A column for each number of the prior."""
    columns = {
        "standard deviation of the slope": lambda prior: _deviations(prior.slope),
        "its change over one unit of log C": lambda prior: f"{prior.slope_drift:.3f}",
        "scatter of log N": lambda prior: _scale(prior.scatter),
        "share of the loss that stays": lambda prior: _parts(prior.floor[:1]),
        "decay of the rest": lambda prior: f"{prior.decay[0][1]:.3f}",
        "its standard deviation": lambda prior: _deviations(prior.decay),
        "its reach in log C": lambda prior: f"{prior.decay_reach:.0f}",
        "scatter of log loss": lambda prior: _scale(prior.loss_scatter, 1e4) + " e-4",
    }
    rows = [[name, *(tell(prior) for tell in columns.values())] for name, prior in priors.items()]
    return markdown(["learned", *columns], rows)


def _deviations(parts: Iterable[tuple[float, float, float]]) -> str:
    return ", ".join(f"{deviation:.3f}".rstrip("0") for _, _, deviation in parts)


def _parts(parts: Iterable[tuple[float, float, float]]) -> str:
    return ", ".join(f"{mean:.2f} ± {deviation:.3f}" for _, mean, deviation in parts)


def _scale(scale: tuple[float, float], unit: float = 1.0) -> str:
    digits = 3 if unit == 1 else 1
    return f"{unit * scale[0]:.{digits}f} x/÷{math.exp(scale[1]):.1f}"


def by_family(
    known: Sequence[Window], without: Mapping[str, Prior], forecasts: Forecasts, digits: int
) -> str:
    """Scores of each family under the default, what the others teach, and a flat prior."""
    rows = []
    for family, taught in without.items():
        part = [window for window in known if window.family == family]
        judged = {
            name: judge(part, prior, forecasts)
            for name, prior in ((DEFAULT, Prior()), (LEARNED, taught), (FLAT, Prior.flat()))
        }
        count = len(judged[DEFAULT])
        sweeps = len({window.sweep for window in part})
        rows.append([family, sweeps, count, *(_in_short(one, digits) for one in judged.values())])
    return markdown(["family", "sweeps", "cases", DEFAULT, LEARNED, FLAT], rows)


def _in_short(found: Sequence[Judged], digits: int) -> str:
    """Geometric mean over cells of the interval score, and share covered."""
    parts = cells(found) or [list(found)]
    score = geometric_mean([mean(part, "interval") for part in parts])
    return f"{score:.{digits}f} ({np.mean([one.is_covered for one in found]):.2f})"


def of_open_sweeps(without: Mapping[str, Prior]) -> str:
    """The whole answer of fit() on the ten sweeps of the public tables, by prior."""
    known = [case for case in cases() if case.num_seen != ALL_BELOW]
    taught = {family: of_approach(None, prior) for family, prior in without.items()}
    flat = of_approach(None, Prior.flat())
    found = results({BASELINE: METHODS[BASELINE], DEFAULT: METHODS[DEFAULT], FLAT: flat}, known)
    found[LEARNED] = [
        one
        for family in dict.fromkeys(case.family for case in known)
        for one in results(
            {LEARNED: taught[family]}, [case for case in known if case.family == family]
        )[LEARNED]
    ]
    head = ["prior", "N: score / baseline", "cells covered", "loss: score / default's", "covered"]
    rows = [
        [
            name,
            *_against(found[name], found[BASELINE], "N"),
            *_against(found[name], found[DEFAULT], "loss"),
        ]
        for name in (DEFAULT, LEARNED, FLAT)
    ]
    return markdown(head, rows)


def _against(found: Sequence[Result], other: Sequence[Result], of: str) -> tuple[str, str]:
    """Geometric mean over cells of the ratio of scores, and cells that are covered."""
    theirs = {one.case: one for one in other}
    parts = cells_of([one for one in found if one.case in theirs]).values()
    ratios = [
        mean_of(part, lambda one: getattr(one, of).interval)
        / mean_of(part, lambda one: getattr(theirs[one.case], of).interval)
        for part in parts
    ]
    all_parts = cells_of(found).values()
    covered = [mean_of(part, lambda one: getattr(one, of).is_covered()) for part in all_parts]
    enough = sum(share >= COVERED for share in covered)
    return f"{geometric_mean(ratios):.2f}", f"{enough} of {len(covered)}"


def in_all(known: Sequence[Window], priors: Mapping[str, Prior]) -> str:
    """Scores of some priors over all families, as learning sees them."""
    rows = []
    for name, prior in priors.items():
        row: list[object] = [name]
        for forecasts, digits in ((PARAMS.forecasts, 3), (LOSS.forecasts, 4)):
            parts = cells(judge(known, prior, forecasts))
            score = geometric_mean([mean(part, "interval") for part in parts])
            covered = sum(mean(part, "is_covered") >= COVERED for part in parts)
            row += [f"{score:.{digits}f}", f"{covered} of {len(parts)}"]
        rows.append(row)
    return markdown(["prior", "N: score", "cells covered", "loss: score", "cells covered"], rows)


def main() -> None:
    known = windows()
    everything = learned(known)
    without = without_each(known)
    shown = {"the default": Prior(), "from all": everything}
    shown |= {f"without {family}": prior for family, prior in without.items()}
    write(
        "fitting-prior.md",
        "The default's prior, learned again",
        "python benchmarks/fitting/prior.py",
        __doc__.rsplit("\n\n", 1)[1].strip(),
        "**The ten sweeps of the public tables, by the whole answer of `fit()`.** Geometric mean "
        "over the 15 cells of windows x distance; a cell is covered where 90 % intervals hold "
        f"{COVERED:g} or more.",
        of_open_sweeps(without),
        "**All families, by the two paths alone**, from minima and their errors: geometric mean "
        "over the cells of the mean interval score, families alike.",
        in_all(known, {"default": Prior(), "learned from all": everything, "flat": Prior.flat()}),
        "**Numbers.** Of a slope the standard deviations of its four parts (mean .5); of a scatter "
        "its median and its spread.",
        numbers(shown),
        "**Log N, each family by itself**: geometric mean over cells of the interval score "
        "(share covered).",
        by_family(known, without, PARAMS.forecasts, 2),
        "**Log loss, each family by itself.**",
        by_family(known, without, LOSS.forecasts, 3),
    )


if __name__ == "__main__":
    main()

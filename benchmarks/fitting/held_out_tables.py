"""Tables of held-out scores: rows are what was seen and how far the target is, columns methods."""

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from methods import BASELINE
from scores import average, geometric_mean, middle
from tables import markdown
from windows import ALL_BELOW, BANDS, WIDTHS, Case

from isoflop.display.format import format_percent

LEAST_CASES = 4
"""Fewer in a cell say nothing."""
COVERED = 0.82
"""Share from which a cell of 90 % intervals counts as covered: it is a few dozen cases."""

Cell = tuple[int, tuple[float, float]]
"""Number of seen budgets, and band."""
CELLS: list[Cell] = [(width, band) for width in (*WIDTHS, ALL_BELOW) for band in BANDS]
WINDOW_CELLS = [cell for cell in CELLS if cell[0] != ALL_BELOW]


def page(found: Mapping[str, list[Any]], cases: Sequence[Case]) -> list[str]:
    """The paragraphs of the page."""
    by_cell = {name: cells_of(scores) for name, scores in found.items()}
    with_loss = {name: cells for name, cells in by_cell.items() if _has_loss(found[name])}
    return [
        f"**In short.** Interval score of N over that of the {BASELINE}, geometric mean over the "
        "15 cells of windows of 3, 4 and 5 budgets, in cases that both answer; lower is better. A "
        f"cell is covered where 90 % intervals hold {COVERED:g} or more.",
        markdown(*summary(found, len(cases))),
        "**Best size: interval score of log N (share covered).** Here and below a method's numbers "
        "are over the cases that it answers, and `cases` is the most that any answers.",
        table(by_cell, lambda part: scored(part, "N")),
        "**Best size: CRPS of log N.**",
        table(by_cell, lambda part: f"{mean(part, lambda one: one.N.crps):.3f}"),
        "**Best size: median half-width of the interval, and median error of log N.**",
        table(by_cell, sizes),
        "**Loss there: interval score of log loss (share covered).** "
        "The envelope and the baseline give no loss.",
        table(with_loss, lambda part: scored(part, "loss")),
        "**Loss there: CRPS of log loss, and median error.**",
        table(with_loss, losses),
        "**Waste: told, and real.** Real is 1 - exp(-(alpha + beta) / 2 x^2) for an answer that is "
        "x off in log N, with alpha + beta from the bend and fall of the sweep's own minima.",
        table(with_loss, wastes),
    ]


def cells_of(scores: Sequence[Any]) -> dict[Cell, list[Any]]:
    found: dict[Cell, list[Any]] = {cell: [] for cell in CELLS}
    for one in scores:
        found[one.case.num_seen, one.case.band].append(one)
    return {cell: part for cell, part in found.items() if len(part) >= LEAST_CASES}


def mean(part: Sequence[Any], value: Callable[[Any], float]) -> float:
    return average([value(one) for one in part], [one.case.family for one in part])


def median(part: Sequence[Any], value: Callable[[Any], float]) -> float:
    return middle([value(one) for one in part], [one.case.family for one in part])


def table(by_method: Mapping[str, dict[Cell, list[Any]]], cell: Callable[[Any], str]) -> str:
    rows = []
    for seen, band in CELLS:
        parts = [cells.get((seen, band), []) for cells in by_method.values()]
        if any(parts):
            most = max(len(part) for part in parts)
            shown = [cell(part) if part else "-" for part in parts]
            rows.append([window(seen), f"{band[0]:g}-{band[1]:g}x", most, *shown])
    return markdown(["seen", "beyond", "cases", *by_method], rows)


def window(seen: int) -> str:
    return "all below" if seen == ALL_BELOW else f"{seen} budgets"


def scored(part: Sequence[Any], of: str) -> str:
    value = mean(part, lambda one: getattr(one, of).interval)
    covered = mean(part, lambda one: getattr(one, of).is_covered())
    digits = 2 if of == "N" else 3
    return f"{value:.{digits}f} ({covered:.2f})"


def sizes(part: Sequence[Any]) -> str:
    width = math.exp(median(part, lambda one: one.N.half_width))
    return f"x/÷{width:.3g}, {format_percent(median(part, lambda one: abs(one.error)))}"


def losses(part: Sequence[Any]) -> str:
    value = mean(part, lambda one: one.loss.crps)
    return f"{value:.4f}, {format_percent(median(part, lambda one: abs(one.loss.error)))}"


def wastes(part: Sequence[Any]) -> str:
    told = [one for one in part if math.isfinite(one.told)]
    if not told:
        return "-"
    both = (mean(told, lambda one: one.told), mean(told, lambda one: one.real))
    return " / ".join(format_percent(value) for value in both)


def summary(found: Mapping[str, list[Any]], num_cases: int) -> tuple[list[str], list[list[object]]]:
    head = ["method", "score / baseline", "cells covered", "better than baseline in", "refused"]
    rows = []
    for name, scores in found.items():
        ratios = list(against(scores, found[BASELINE]).values())
        parts = {cell: part for cell, part in cells_of(scores).items() if cell in WINDOW_CELLS}
        covered = [mean(part, lambda one: one.N.is_covered()) >= COVERED for part in parts.values()]
        better = sum(ratio < 1 for ratio in ratios)
        rows.append(
            [
                name,
                f"{geometric_mean(ratios):.2f}",
                f"{sum(covered)} of {len(covered)}",
                "" if name == BASELINE else f"{better} of {len(ratios)}",
                f"{num_cases - len(scores)} of {num_cases}",
            ]
        )
    return head, rows


def against(scores: Sequence[Any], baseline: Sequence[Any]) -> dict[Cell, float]:
    """Interval score over the baseline's for each cell of windows, in cases that both answer."""
    theirs = {one.case: one for one in baseline}
    both = [one for one in scores if one.case in theirs]
    return {
        cell: mean(part, lambda one: one.N.interval)
        / mean(part, lambda one: theirs[one.case].N.interval)
        for cell, part in cells_of(both).items()
        if cell in WINDOW_CELLS
    }


def _has_loss(scores: Sequence[Any]) -> bool:
    return bool(scores) and scores[0].loss is not None


GROUP_HEAD = [
    "predicted",
    "approach",
    "cases",
    "N score",
    "N median",
    "N 9 of 10",
    "N covered",
    "N interval",
    "loss score",
    "loss median",
    "loss 9 of 10",
    "loss covered",
    "waste told",
    "waste real",
]


def group_row(group: str, name: str, scores: Sequence[Any]) -> list[object]:
    errors = np.abs([one.error for one in scores])
    shown = [group, name, len(scores), f"{np.mean([one.N.interval for one in scores]):.2f}"]
    shown += [format_percent(value) for value in (np.median(errors), np.quantile(errors, 0.9))]
    shown.append(f"{np.mean([one.N.is_covered() for one in scores]):.2f}")
    shown.append(f"x/÷{math.exp(np.median([one.N.half_width for one in scores])):.2f}")
    if not _has_loss(scores):
        return [*shown, *[""] * 4, "", format_percent(np.mean([one.real for one in scores]))]
    off = np.abs([one.loss.error for one in scores])
    told, real = (np.mean([getattr(one, kind) for one in scores]) for kind in ("told", "real"))
    return [
        *shown,
        f"{np.mean([one.loss.interval for one in scores]):.3f}",
        *(format_percent(value) for value in (np.median(off), np.quantile(off, 0.9))),
        f"{np.mean([one.loss.is_covered() for one in scores]):.2f}",
        *(format_percent(value) if math.isfinite(value) else "" for value in (told, real)),
    ]

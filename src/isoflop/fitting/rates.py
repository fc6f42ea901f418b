"""fit_rates(): the law of the best learning rate and batch, from runs that sweep them.

N params, D tokens.
"""

import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from isoflop.display.format import align_columns, format_bullets, format_number, join_words
from isoflop.errors import DataError
from isoflop.fitting.cells import Cell, swept_cells
from isoflop.fitting.setting_rule import Fitted, Vertex, fit_rule
from isoflop.notes.note import Note
from isoflop.recipe import PowerRule
from isoflop.runs import Run, runs_of

__all__ = ["Rates", "fit_rates", "rates_of"]

FEWEST = 4
"""Fewest cells with a minimum inside: a law has three numbers."""
PRIOR: dict[str, tuple[float, float]] = {"lr": (-0.31, 0.0), "batch": (0.0, 0.5)}
"""Exponents of the default recipe's own rules, which few and noisy cells fall back on."""
SURE = 3.0
"""Standard deviations beyond which the best batch depends on the params, too."""


@dataclass(frozen=True, kw_only=True)
class Rates:
    """The laws of the best learning rate and batch, with their precision.

    lr: law a N^b D^c of the best learning rate; None where no cells sweep it.
    batch: law a D^c of the best batch, in the table's unit (examples or tokens); None where no
        cells sweep it. The best batch follows the data, not the size (Zhang et al. 2024,
        2410.21676; Li et al. 2025, 2503.04715).
    cells: number of cells whose minimum lies inside their sweep, of `swept` in all.
    """

    lr: Fitted | None
    batch: Fitted | None
    cells: int
    swept: int
    notes: tuple[Note, ...] = ()

    def __str__(self) -> str:
        rows = [
            (name, str(law.rule), f"exponents within {_deviations(law)}")
            for name, law in (("lr", self.lr), ("batch", self.batch))
            if law is not None
        ]
        head = f"Best settings from {self.cells} of {self.swept} cells with a minimum inside"
        return "\n".join([head, align_columns(rows), *filter(None, [format_bullets(self.notes)])])


def fit_rates(runs: Iterable[Run]) -> Rates:
    """The law of the best learning rate and batch, from runs of which several share N and D.

    In each cell (N, D) a paraboloid over the logs of the settings gives their best values; power
    laws go through those of all cells.

    Raises DataError where fewer than four cells have a minimum inside their sweep.

    >>> from isoflop import Run, RunSpec
    >>> runs = []
    >>> for n in (1e7, 1e8):
    ...     for d in (1e9, 1e10):
    ...         for step in range(-3, 4):
    ...             lr = n**-0.7 * d**0.3 * 2**step
    ...             spec = RunSpec(num_params=n, num_tokens=d, flops=6 * n * d, lr=lr)
    ...             loss = 3 + 0.01 * step**2
    ...             runs.append(Run(spec=spec, status="completed", loss=loss, num_tokens=d,
    ...                             flops=6 * n * d))
    >>> rule = fit_rates(runs).lr.rule
    >>> print(f"{rule.num_params:.2f} {rule.num_tokens:.2f}")
    -0.70 0.30
    """
    given = [
        run
        for run in runs_of(runs, "fit_rates")
        if run.status == "completed" and 0 < run.loss < math.inf
    ]
    cells = swept_cells(given)
    rates = rates_of(cells)
    if rates is None:
        raise DataError(
            f"fit_rates needs at least {FEWEST} sizes and numbers of tokens at which the best of "
            f"three learning rates or batches or more lies inside those tried, but got "
            f"{len([*_found(cells, 'lr')]) or len([*_found(cells, 'batch')])} of {len(cells)}; "
            f"sweep further out."
        )
    return rates


def rates_of(cells: Sequence[Cell]) -> Rates | None:
    """The same from cells; None where too few of them have a minimum inside their sweep."""
    lr, batch = (_law(cells, name) for name in ("lr", "batch"))
    if lr is None and batch is None:
        return None
    inside = {cell.rows for name in ("lr", "batch") for cell, _ in _found(cells, name)}
    alone, notes = batch, tuple[Note, ...]()
    if batch is not None:
        alone, notes = _without_params(batch, [*_found(cells, "batch")])
    return Rates(lr=lr, batch=alone, cells=len(inside), swept=len(cells), notes=notes)


def _found(cells: Sequence[Cell], name: str) -> Iterator[tuple[Cell, Vertex]]:
    """Cells with a minimum inside the values tried of a setting."""
    for cell in cells:
        if name in cell.swept and cell.paraboloid is not None and cell.paraboloid.inside:
            yield cell, cell.paraboloid.vertex(cell.swept.index(name))


def _law(cells: Sequence[Cell], name: str) -> Fitted | None:
    found = [*_found(cells, name)]
    if len(found) < FEWEST:
        return None
    places = [(cell.runs[0].num_params, cell.runs[0].num_tokens) for cell, _ in found]
    return fit_rule(places, [vertex for _, vertex in found], PRIOR[name])


def _without_params(
    both: Fitted, found: Sequence[tuple[Cell, Vertex]]
) -> tuple[Fitted, tuple[Note, ...]]:
    """The law of the batch in tokens alone, and a note where it depends on the params, too."""
    places = [(1.0, cell.runs[0].num_tokens) for cell, _ in found]
    alone = fit_rule(places, [vertex for _, vertex in found], (0.0, PRIOR["batch"][1]))
    rule = PowerRule(alone.rule.coefficient, num_tokens=alone.rule.num_tokens)
    alone = Fitted(
        rule, alone.noise, alone.curvature, (0.0, alone.exponent_deviations[1]), alone.deviation
    )
    exponent, deviation = both.rule.num_params, both.exponent_deviations[0]
    if abs(exponent) < SURE * deviation:
        return alone, ()
    text = (
        f"The best batch depends on the params, too: with both it goes as {both.rule}; published "
        f"laws are in tokens alone."
    )
    return alone, (Note("batch-with-params", text),)


def _deviations(law: Fitted) -> str:
    return join_words(
        [f"±{format_number(each, 2)}" for each in law.exponent_deviations if np.isfinite(each)]
    )

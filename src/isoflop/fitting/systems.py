"""fit_systems(): several systems (optimisers, data, architectures) with shared exponents.

N params, D tokens, L loss; L = E_s + A_s / N^alpha + B_s / D^beta for system s. Separate fits of
small sweeps are ill-conditioned in the exponents; shared exponents make the amplitudes comparable
(Volkova et al. 2026).
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import cast

import numpy as np

from isoflop import arguments
from isoflop.errors import DataError
from isoflop.fitting.approaches.base import Solved
from isoflop.fitting.approaches.parametric import Parametric
from isoflop.fitting.fit import Fit
from isoflop.fitting.from_name import require_draws
from isoflop.fitting.screening.thinning import sifted
from isoflop.fitting.uncertainty import resampled_law
from isoflop.laws.additive import ChinchillaLaw
from isoflop.laws.base import Array
from isoflop.laws.objective import Posed, Term
from isoflop.laws.points import Points
from isoflop.notes.note import Note
from isoflop.runs import Run

__all__ = ["fit_systems"]


@dataclass(frozen=True, eq=False)
class _SharedExponents:
    """The law of several systems.

    system: number of each point's system, from 0 to count - 1; shape (n,).
    """

    system: Array
    count: int

    def pose(self, points: Points) -> Posed:
        """Three terms for each system, zero elsewhere, and two exponents for all."""
        x, y = np.log(points.N), np.log(points.D)
        middle_x, middle_y = x.mean(), y.mean()
        masks = [(self.system == number).astype(float) for number in range(self.count)]
        terms = [
            term
            for mask in masks
            for term in (Term(mask), Term(mask, 0, x - middle_x), Term(mask, 1, y - middle_y))
        ]
        names = [
            f"{letter} of system {number + 1}" for number in range(self.count) for letter in "EAB"
        ]

        def laws(parameters: Array) -> list[ChinchillaLaw]:
            alpha, beta = parameters[..., -2], parameters[..., -1]
            amplitudes = np.moveaxis(parameters[..., :-2], -1, 0).reshape(
                self.count, 3, *alpha.shape
            )
            rise_x, rise_y = np.exp(alpha * middle_x), np.exp(beta * middle_y)
            return [ChinchillaLaw(E, a * rise_x, b * rise_y, alpha, beta) for E, a, b in amplitudes]

        return Posed(tuple(terms), (*names, "alpha", "beta"), laws)  # type: ignore[arg-type]


@np.errstate(all="ignore")  # resamples without an answer are NaN or infinite
def fit_systems(
    systems: Mapping[str, Iterable[Run]],
    *,
    delta: float | None = None,
    resamples: int = 1000,
    level: float = 0.9,
    seed: int = 0,
) -> dict[str, Fit]:
    """A fit for each named system, with its own amplitudes and with exponents shared by all.

    Resamples are joint.

    systems: name -> runs, for at least two systems.
    delta: as in Parametric.
    resamples, level, seed: as for `fit`.

    Raises DataError for fewer than two systems, or if the runs of one cannot be fitted.
    """
    must = "a dict of at least 2 systems, name -> runs"
    arguments.mapping(systems, "fit_systems: systems", must)
    resamples, level, seed = require_draws("fit_systems", resamples, level, seed)
    if len(systems) < 2:
        raise DataError(
            f"fit_systems needs at least 2 systems, but got {len(systems)}; use fit() for one."
        )
    screened = {name: sifted(runs) for name, runs in systems.items()}
    system = np.concatenate(
        [np.full(len(each.points), number) for number, each in enumerate(screened.values())]
    )
    together = Points.of([run for each in screened.values() for run in each.points.runs])
    approach = Parametric(law=_SharedExponents(system.astype(float), len(systems)), delta=delta)
    solved = approach.solve(together)
    laws = cast("list[ChinchillaLaw]", solved.law)
    drawn = cast("list[ChinchillaLaw]", resampled_law(solved, together, resamples, seed))
    return {
        name: Fit(
            approach=Parametric(delta=delta),
            law=laws[number],
            runs=each.points.runs,
            set_aside=each.set_aside,
            resamples=drawn[number],
            level=level,
            objective=solved.objective,
            notes=(*each.notes, *_notes(solved, len(systems))),
            diagnostics=solved.diagnostics,
        )
        for number, (name, each) in enumerate(screened.items())
    }


def _notes(solved: Solved, num_systems: int) -> Iterator[Note]:
    text = (
        f"The exponents are shared by {num_systems} systems, and the objective is of all their "
        f"runs."
    )
    yield Note("shared-exponents", text)
    for name in solved.diagnostics.at_bound:
        text = f"{name} ended at the bound of its range: the runs do not determine it."
        yield Note("at-bound", text)

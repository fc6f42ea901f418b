"""RatesChecked: what the check of the learning rates shows, and what it does to a law.

What remains unknown of what the rates cost widens the interval of the answer.
"""

from dataclasses import dataclass

from isoflop.display.format import format_count, format_percent
from isoflop.fitting.approaches.base import Approach
from isoflop.fitting.checked_rates import RateFinding
from isoflop.fitting.doubt.checked_points import CheckedPoints, corrected
from isoflop.fitting.doubt.other_laws import OtherLaws, other_laws
from isoflop.fitting.setting_offsets import Offsets
from isoflop.laws.base import Law
from isoflop.laws.points import Points
from isoflop.notes.note import Note

__all__ = ["RatesChecked", "rates_checked"]


@dataclass(frozen=True, eq=False)
class RatesChecked(OtherLaws):
    """What a check shows, and the laws that other losses at the right rates would give.

    others: those of losses corrected for more, less or no cost of the rates.
    cost: share of the loss that the rates cost at the reach of the finding.
    """

    finding: RateFinding
    is_corrected: bool
    cost: float

    def _effect(self, answer: str) -> Note:
        share, size = format_percent(self.cost), format_count(self.finding.reach)
        if self.is_corrected:
            text = (
                f"The losses are corrected for their learning rates, by {share} at {size} params; "
                f"as they were measured, {answer}."
            )
            return Note("rates-corrected", text)
        text = (
            f"The learning rates may cost about {share} of the loss at {size} params, which widens "
            f"the interval: corrected for it, {answer}."
        )
        return Note("rates-widened", text)


def rates_checked(checked: CheckedPoints, law: Law, approach: Approach) -> RatesChecked | None:
    """What a check does to the law of the points; None without a check."""
    finding = checked.rates
    if finding is None:
        return None
    offsets = checked.offsets
    if offsets is None or finding.verdict == "holds":
        return RatesChecked(law, (), finding, False, 0.0)
    variants = _variants(offsets, checked)
    others = other_laws(variants, approach)
    cost = offsets.lost(finding.reach)[0]
    return RatesChecked(law, others, finding, checked.is_corrected, cost)


def _variants(offsets: Offsets, checked: CheckedPoints) -> list[Points]:
    """The points as other costs of the rates would have them, the simplest last."""
    measured = checked.measured
    if not checked.is_corrected:
        return [corrected(measured, lambda spec: offsets.mean_lost(spec.num_params))]

    def with_more(deviations: float) -> Points:
        return corrected(measured, lambda spec: offsets.shifted_lost(spec.num_params, deviations))

    return [with_more(-1.0), with_more(1.0), measured]

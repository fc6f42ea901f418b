"""BatchesChecked: what the check of the batches shows, and what it does to an answer.

No loss is corrected for its batch, since a large one may be meant, to save time.
"""

from dataclasses import dataclass

from isoflop.display.format import format_count, format_percent
from isoflop.fitting.approaches.base import Approach
from isoflop.fitting.checked_batches import BatchFinding
from isoflop.fitting.doubt.checked_points import CheckedPoints, corrected
from isoflop.fitting.doubt.other_laws import OtherLaws, other_laws
from isoflop.laws.base import Law
from isoflop.notes.note import Note

__all__ = ["BatchesChecked", "batches_checked"]


@dataclass(frozen=True, eq=False)
class BatchesChecked(OtherLaws):
    """What a check shows, and the law of losses corrected for what the batches may cost."""

    finding: BatchFinding

    def _effect(self, answer: str) -> Note:
        share, tokens = format_percent(self.finding.lost[0]), self.finding.reach.num_tokens
        text = (
            f"The batches may cost about {share} of the loss on {format_count(tokens)} tokens, "
            f"which widens the interval: with the best ones {answer}."
        )
        return Note("batches-widened", text)


def batches_checked(checked: CheckedPoints, law: Law, approach: Approach) -> BatchesChecked | None:
    """What a check of the batches does to the law of the points; None without one."""
    finding = checked.batches
    if finding is None:
        return None
    if finding.verdict == "holds":
        return BatchesChecked(law, (), finding)
    return BatchesChecked(
        law, other_laws([corrected(checked.points, finding.mean_lost)], approach), finding
    )

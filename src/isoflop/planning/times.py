"""What the predicted time of a sweep goes to, in words."""

from collections.abc import Collection, Mapping

from isoflop.counting.run_seconds import Bind, RunSeconds, what_binds
from isoflop.display.format import format_duration, format_percent
from isoflop.notes.note import Note

__all__ = ["goes_to", "time_notes"]

WORTH_SECONDS = 60.0
"""Least time of a note: less is not worth a change."""
LEAST_SHARE = 0.5

_WORDS: Mapping[Bind, str] = {
    "data": "reading data",
    "overhead": "what a step takes at any size",
    "evaluation": "the held-out loss",
}
_REMEDIES: Mapping[Bind, str] = {
    "data": (
        "give train_data as a DataLoader(num_workers=), or prepare the examples once and store them"
    ),
    "overhead": "take larger sizes or batches, or train several runs at a time: Processes()",
    "evaluation": "take fewer held-out tokens: Recipe(eval_tokens=)",
}


def goes_to(binds: Bind | None) -> str:
    """The end of a sentence on a time, empty where most of it goes to compute or is unknown."""
    return "" if binds is None or binds == "compute" else f", mostly {_WORDS[binds]}"


def time_notes(times: Collection[RunSeconds]) -> tuple[Note, ...]:
    """A note if most of a sweep's time goes to something other than compute."""
    total, binds = sum(run.total for run in times), what_binds(times)
    spent = sum(run.spent_on(binds) for run in times)
    if binds == "compute" or spent < max(WORTH_SECONDS, LEAST_SHARE * total):
        return ()
    text = (
        f"About {format_percent(spent / total)} of {format_duration(total)} goes to "
        f"{_WORDS[binds]}; {_REMEDIES[binds]}."
    )
    return (Note(f"{binds}-bound", text),)

"""Kinds of note on the learning rates of a sweep."""

from isoflop.notes.kind import Kind

__all__ = ["KINDS"]

KINDS = (
    Kind(
        "rates-checked",
        "plan",
        "info",
        "*short runs more, which check the learning rates*",
        "nothing; `plan(check_rates=None)` leaves them out",
    ),
    Kind(
        "rates-unchecked",
        "plan",
        "doubt",
        "*The learning rates are not checked*",
        (
            "spend more, or allow smaller sizes; find out why runs failed; or find the rule with "
            "`isoflop.tune`"
        ),
    ),
    Kind(
        "rates-holds",
        "law",
        "info",
        "*The rule of the learning rate holds at sizes … and …*",
        "nothing",
    ),
    Kind(
        "rates-open",
        "law",
        "doubt",
        "*The check of the learning rates is open*",
        (
            "train with more seeds or on more held-out data, so that the check's losses differ by "
            "more than noise; or find the rule with `isoflop.tune`"
        ),
    ),
    Kind(
        "rates-wrong",
        "law",
        "doubt",
        "*the optimum moves*; *The planned learning rate is about … times too high*",
        "find the rule with `isoflop.tune`, and sweep again with its recipe",
    ),
    Kind(
        "rates-corrected",
        "law",
        "doubt",
        "*The losses are corrected for their learning rates*",
        "find the rule with `isoflop.tune`, and sweep again with its recipe",
    ),
    Kind(
        "rates-widened",
        "law",
        "doubt",
        "*The learning rates may cost about … of the loss … which widens the interval*",
        "find the rule with `isoflop.tune`, and sweep again with its recipe",
    ),
    Kind(
        "rates-tuned",
        "answer",
        "info",
        "*the learning rates were tuned*",
        "train the final model with the rule that the note names",
    ),
)

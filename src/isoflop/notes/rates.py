"""Kinds of note on the learning rates and batches of a sweep."""

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
            "spend more, or allow smaller sizes or batches; find out why runs failed; or find the "
            "rule with `isoflop.tune`"
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
        "batches-holds",
        "law",
        "info",
        "*The rule of the batch holds at sizes … and …*",
        "nothing",
    ),
    Kind(
        "batches-open",
        "law",
        "doubt",
        "*The check of the batches is open*",
        (
            "train with more seeds or on more held-out data; or find the rule with "
            "`isoflop.tune(batch=True)`"
        ),
    ),
    Kind(
        "batches-wrong",
        "law",
        "doubt",
        "*the planned batch is about … times too large*, or *too small*",
        (
            "find the rule with `isoflop.tune(batch=True)`, and sweep again with its recipe; or "
            "keep a large batch for the time that it saves"
        ),
    ),
    Kind(
        "batches-widened",
        "law",
        "doubt",
        "*The batches may cost about … of the loss … which widens the interval*",
        "as for `batches-wrong`",
    ),
    Kind(
        "rates-tuned",
        "answer",
        "info",
        "*The check found the recipe's … wrong*",
        "train the final model with the rules that the note names",
    ),
)

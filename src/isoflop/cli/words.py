"""Sentences written for a Python user, in the words of the command line."""

import re
from collections.abc import Sequence

import typer

from isoflop.display.format import format_bullets

__all__ = ["echo_notes", "json_with_options", "with_options"]

_OPTIONS = (
    (r"columns=\{[^}]*\} \((--column [^)]*)\)", r"\1"),  # both are named: the option is enough
    (r"columns=\{'(\w+)': '([^']*)'\}", r"--column '\1=\2'"),
    (r"isoflop\.read_groups\(table, by='(\w+)'\)", r"`isoflop fit --by \1`"),
    (r"\(isoflop\.read_groups\)", "(`isoflop fit --by`)"),
    (r"`read_groups\(table, by=…\)`(, then `fit` or `fit_systems`)?", "`isoflop fit --by …`"),
    (r"\b(?:fit|read_runs)\((?:runs|\.\.\.), (keep|vocabulary)=\"?(\w+)\"?\)", r"--\1 \2"),
    (r'\bkeep="all"', "--keep all"),
    (r"plan\(check_rates=None\)", "--no-check-rates"),
    (r"plan\(hardware=…\)", "--hardware"),
    (r"train\(trainer=\), a function .* or an isoflop\.Command", "--command and --result"),
    (r"(?<=at a time: )Processes\(\)", "--processes"),
    (r"(?<=at a time: `)Processes\(…\)", "--processes"),
    (r"loss=, or status='diverged' or 'failed'", "--loss, or --status diverged or failed"),
    (r"leave out device_memory", "leave out --device-memory"),
    (r"give the spec itself, or save", "save"),
    (
        r"\(flops, num_params, num_tokens or loss\), but got",
        "(--flops, --params, --tokens or --loss), but got",
    ),
    (r"predict\(\.\.\., task=task\) \(--task\)", "--task"),
    (r"train\(store=\.\.\.\)", "`isoflop train --store`"),
    (r"read_runs\(\.\.\., schedule=\"(\w+)\"\)", r"--schedule \1"),
    (r"isoflop\.read_runs\(\.\.\.\)", "--runs"),
    (r"\ballow_far=True", "--allow-far"),
    (r"\bisoflop\.tune\(batch=True\)", "isoflop tune --batch"),
    (r"\bisoflop\.tune\b", "isoflop tune"),
    (r"\bany_tokens=True", "--any-tokens"),
    (r"\bagain=True", "--again"),
    (r"\btokens_per_example=(?=,)", "--set tokens_per_example=1024"),
    (r"correct num_tokens, or", "correct --tokens, or"),
    (r"sweep\.save\(store\)", "`isoflop plan --store`"),
    (r"sweep\.to_csv\(\)", "`isoflop plan --format csv`"),
    (r"\bbudgets=\[(?:\.\.\.|…)\]", "--budget"),
    (r"\bcolumns=(?=[\s,;.)`])", "--column"),
    (
        r"\b(target|spend|hardware|design|runs|task|approach|prior|level|store|executor|share"
        r"|vocabulary)=(?=[\s,;.)`])",
        r"--\1",
    ),
    (r"\b(target|spend|share)=(?=['\d])", r"--\1 "),
)
"""Python arguments in sentences, and the options of the command line in their place."""

_APPROACH = r"(?:Bayesian|Kriging|Parametric|IsoFLOP|Envelope)\(\)"


_LISTED = re.compile(r"^  - .*(?:\n    .*)*", re.MULTILINE)
"""A sentence of a list, wrapped as `format_bullets` does it."""


def with_options(text: str) -> str:
    """Sentences with options in place of Python arguments; those of a list are wrapped anew."""
    return _replaced(_LISTED.sub(_listed, text))


def json_with_options(value: object) -> str:
    """A value as JSON, with options in place of Python arguments in its notes."""
    from isoflop.reporting.json_output import to_json

    return to_json(value, with_options)


def echo_notes(notes: Sequence[str]) -> None:
    """Print notes on stderr, where a program reads stdout."""
    for note in notes:
        typer.echo(with_options(note), err=True)


def _listed(wrapped: re.Match[str]) -> str:
    """One sentence of a list: words that a line's end parts are still found."""
    lines = re.sub(r"(?<=\w-)\n +", "", wrapped[0])  # a word that was broken at its hyphen
    return format_bullets([_replaced(re.sub(r"\n +", " ", lines).removeprefix("  - "))])


def _replaced(text: str) -> str:
    for argument, option in _OPTIONS:
        text = re.sub(argument, option, text)
    after = r"(?:(?<=with |.use )|(?<=such as ))"
    return re.sub(rf"{after}{_APPROACH}(?:(?:, or |, | or ){_APPROACH})*", _approaches, text)


def _approaches(names: re.Match[str]) -> str:
    return re.sub(_APPROACH, lambda one: f"--approach {one[0][:-2].lower()}", names[0])

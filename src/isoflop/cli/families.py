"""Tables of sizes on the command line: families from files, and plans in a trainer's form."""

from collections.abc import Sequence
from dataclasses import fields
from pathlib import Path
from typing import TYPE_CHECKING

from isoflop.display.format import join_words, quoted
from isoflop.errors import DataError

if TYPE_CHECKING:
    from isoflop.family import Family
    from isoflop.planning.sweep import Sweep
    from isoflop.training.command import Command

__all__ = ["FORMS", "family_of", "handed_out", "is_table", "trainer_of"]

SUFFIXES = (".csv", ".tsv", ".parquet", ".pq")
FORMS = ("text", "json", "csv", "commands")
_OF_FAMILY = (
    "name",
    "unit",
    "loss_unit",
    "bytes_per_token",
    "tokens_per_example",
    "unique_tokens",
    "size_param",
)


def is_table(address: str) -> bool:
    """Whether an argument names a table of sizes rather than a task."""
    return Path(address).suffix.lower() in SUFFIXES


def family_of(address: str, settings: Sequence[str] | None) -> "Family":
    """The family of a table of sizes, with fields of it and of its recipe as name=value.

    Raises DataError for a name that is no field, and the errors of `Family` and `Recipe`.
    """
    from isoflop.family import Family
    from isoflop.recipe import Recipe

    of_recipe = [each.name for each in fields(Recipe)]
    given: dict[str, object] = {}
    recipe: dict[str, object] = {}
    for pair in settings or ():
        name, equals, value = (part.strip() for part in pair.partition("="))
        if not equals or name not in (*_OF_FAMILY, *of_recipe):
            raise DataError(
                f"--set must be name=value with one of {join_words([*_OF_FAMILY, *of_recipe])}, "
                f"but got {quoted(pair)}."
            )
        (given if name in _OF_FAMILY else recipe)[name] = _value(name, value)
    return Family(address, recipe=Recipe(**recipe), **given)  # type: ignore[arg-type]


def _value(name: str, text: str) -> object:
    if name in ("name", "unit", "loss_unit", "size_param"):
        return text
    if text.lower() == "none":
        return None
    if name == "seeds":
        return tuple(int(seed) if seed.strip().isdecimal() else seed for seed in text.split(","))
    return text


def handed_out(sweep: "Sweep", form: str, command: str | None) -> str:
    """A plan in the form that a trainer reads. Raises DataError for an unknown form."""
    if form not in FORMS:
        raise DataError(f"--format must be {' or '.join(FORMS)}, but got {quoted(form)}.")
    if command is not None and form != "commands":
        raise DataError("--command is for --format commands; give both, or neither.")
    if form == "json":
        return sweep.to_json().rstrip("\n")
    if form == "csv":
        return sweep.to_csv().rstrip("\n")
    if form == "commands":
        if command is None:
            raise DataError(
                "--format commands needs --command, such as "
                "'python train.py --width {size} --steps {num_steps} --out {folder}'."
            )
        return "\n".join(sweep.commands(command))
    return str(sweep)


def trainer_of(command: str | None, result: str | None) -> "Command | None":
    """The trainer of --command and --result. Raises DataError where one is missing."""
    if command is None and result is None:
        return None
    from isoflop.training.command import Command

    if command is None or result is None:
        raise DataError(
            "--command and --result belong together: the command of each run, and where it leaves "
            "its loss."
        )
    return Command(command, result=result)

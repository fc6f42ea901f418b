"""Columns of a table by field: by the user's own names, the usual names, or one letter."""

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from difflib import get_close_matches
from itertools import accumulate
from shlex import quote

from isoflop.display.format import one_line, quoted
from isoflop.errors import DataError
from isoflop.storage.measures import PERPLEXITY, plain_name, refuse_measure
from isoflop.storage.numbers import holds_counts
from isoflop.storage.sheet import Cells
from isoflop.storage.units import COUNTS, parted, unit_of_name

__all__ = [
    "FIELDS",
    "SETTINGS",
    "Column",
    "find_columns",
    "find_metrics",
    "has_field",
    "is_setting",
]

# Names are compared in lower case, with every run of other signs as one underscore: "val/loss" is
# "val_loss".
_NAMES: Mapping[str, tuple[str, ...]] = {
    "params": (
        "params", "num_params", "n_params", "nparams", "parameters", "num_parameters",
        "n_parameters", "total_params", "total_parameters", "param_count", "parameter_count",
        "model_params", "model_parameters",
    ),
    "tokens": (
        "tokens", "num_tokens", "n_tokens", "ntokens", "total_tokens", "train_tokens",
        "training_tokens", "tokens_seen", "tokens_trained", "num_train_tokens",
        "num_input_tokens_seen", "train_tokens_seen", "throughput_total_tokens",
    ),
    "flops": (
        "flops", "num_flops", "n_flops", "total_flops", "train_flops", "training_flops", "compute",
        "total_flos", "train_total_flos",
    ),
    "loss": (
        "loss", "val_loss", "valid_loss", "validation_loss", "eval_loss", "final_loss",
        "final_val_loss", "heldout_loss", "held_out_loss",
    ),
    "compute_budget": (
        "compute_budget", "budget", "flops_budget", "flop_budget", "budget_flops",
        "isoflop_budget", "isoflop",
    ),
    "run": ("run", "run_name", "group"),
    "loss_stderr": ("loss_stderr", "loss_se", "val_loss_stderr", "eval_loss_stderr"),
    "size": ("size",),
    "status": ("status", "state"),
    "lr": (
        "lr", "learning_rate", "peak_lr", "lr_peak", "max_lr", "peak_learning_rate",
        "max_learning_rate", "base_lr",
    ),
    "batch": (
        "batch", "batch_size", "bsz", "bs", "gbs", "global_batch_size", "global_batch",
        "total_batch_size", "train_batch_size", "batch_tokens", "tokens_per_batch",
        "tokens_per_step",
    ),
    "weight_decay": ("weight_decay", "wd"),
    "seed": ("seed", "random_seed"),
    "schedule": ("schedule", "lr_schedule", "lr_scheduler", "lr_scheduler_type"),
    "epochs": ("epochs", "num_epochs", "n_epochs", "num_train_epochs"),
    "unique_tokens": ("unique_tokens", "num_unique_tokens", "n_unique_tokens", "distinct_tokens"),
    "vocabulary": ("vocabulary", "vocab", "vocab_size", "vocabulary_size", "n_vocab"),
}  # fmt: skip

SETTINGS = (
    "lr", "batch", "weight_decay", "seed", "schedule", "epochs", "unique_tokens", "vocabulary",
)  # fmt: skip
"""Fields of how a run was trained, read where a table has them and ignored where it does not."""

# Parts of names that suggest a column in a remedy, but do not select it.
_PARTS = {
    "params": ("param", "size"),
    "tokens": ("token", "data", "samples"),
    "loss": ("loss", "nll", "entropy", "bpb", "bits_per", "bpc"),
}

_LOG, _REST = re.compile(r"log\((.+)\)"), re.compile(r"1\s*-\s*(.+)")

_WITH_UNITS = (*COUNTS, "batch", "unique_tokens")

# Letters of the papers, read only where no column has a usual name.
_LETTERS = {"params": "n", "tokens": "d", "flops": "c", "loss": "l"}

FIELDS = tuple(_NAMES)
"""Fields of a table, by the names that isoflop itself writes."""


# A column whose name is this near to a usual one, and to no other field's, is read as that field:
# parms, Token, val_los.
_NEEDED, _NEAR = ("params", "tokens", "flops", "loss"), 0.86


@dataclass(frozen=True)
class Column:
    """Column of a field, and the factor of its numbers."""

    name: str
    unit: float = 1.0
    stated: bool = False
    """Whether the user gave the unit, so that the unit in the name does not count."""
    near: bool = False
    """Whether the name only resembles a usual one."""
    is_log: bool = False
    """Whether the field is the logarithm of its numbers, as for a perplexity."""
    is_rest: bool = False
    """Whether the field is 1 minus its numbers, as for an accuracy."""

    def note(self, field: str) -> str:
        """How the column was read; empty for a usual name without a unit."""
        if not (self.near or (self.unit != 1 and not self.stated)):
            return ""
        reading = field if self.unit == 1 else f"{field} in units of {self.unit:g}"
        return f"{self.name!r} as {reading}"


def find_columns(table: Cells, columns: Mapping[str, str] | None, source: str) -> dict[str, Column]:
    """Column of each field that the table has.

    columns: field -> column name, with a factor where numbers are in a unit ("N * 1e6"), as the
        logarithm of a perplexity ("log(ppl)") or the rest of an accuracy ("1 - acc"). It takes
        precedence over the usual names; names that are no field are left to `find_metrics`.

    Raises DataError where a field has two candidates, a named column is missing, or the columns are
    not enough for a run.
    """
    names = list(table)
    named = {
        field: text for name, text in (columns or {}).items() if (field := _field(name)) is not None
    }
    chosen = {field: _stated(field, text, names, source) for field, text in named.items()}
    for field in FIELDS:
        if (
            field not in chosen
            and (name := _usual_column(field, names, chosen, source)) is not None
        ):
            chosen[field] = Column(name, _unit(field, name))
    for field in _NEEDED:
        name = None if field in chosen else _near_column(field, names, chosen)
        if name is not None and (field == "loss" or _may_hold(name, table[name])):
            chosen[field] = Column(name, _unit(field, name), near=True)
    _check_enough(chosen, table, source)
    return chosen


def find_metrics(
    names: Sequence[str], columns: Mapping[str, str] | None, source: str
) -> dict[str, str]:
    """Column of each metric, such as accuracy, that `columns` names besides the fields."""
    named = {metric: text for metric, text in (columns or {}).items() if _field(metric) is None}
    return {metric: _stated(metric, text, names, source).name for metric, text in named.items()}


def has_field(field: str, names: Iterable[str]) -> bool:
    """Whether one of the columns has a usual name of a field."""
    usual = {plain_name(name) for name in _NAMES[field]}
    return any(plain_name(name) in usual for name in names)


def _field(name: str) -> str | None:
    """Field of a usual name, such as num_params; None for a metric. Raises DataError for a typo."""
    field = next(
        (field for field, names in _NAMES.items() if name == field or plain_name(name) in names),
        None,
    )
    measured = [known for known in FIELDS if known not in SETTINGS]
    if field is None and (guess := _guess(name, measured)):
        raise DataError(
            f"columns= may name {_listed(measured)} and metrics of your own, but got "
            f"{quoted(name, 30)}{guess}."
        )
    return field


def _stated(field: str, text: str, names: Sequence[str], source: str) -> Column:
    """The column that the user names for a field."""
    if field == "loss" and text not in names:
        if inside := _LOG.fullmatch(text):
            return replace(_column(field, inside[1].strip(), names, source), is_log=True)
        if inside := _REST.fullmatch(text):
            return replace(_column(field, inside[1].strip(), names, source), is_rest=True)
    column = _column(field, text, names, source)
    if field == "loss":
        refuse_measure(column.name)
    return column


def _column(field: str, text: str, names: Sequence[str], source: str) -> Column:
    """The column of a text, with its factor."""
    name, unit = parted(text, names)
    if name not in names:
        raise DataError(
            f"{one_line(source, 30)} has no column {quoted(name, 30)}{_guess(name, names)}; it has "
            f"{_listed(names)}."
        )
    if unit is None:
        return Column(name, _unit(field, name))
    if field not in _WITH_UNITS:
        raise DataError(
            f"columns= may give a factor for {_listed(_WITH_UNITS)}, but got {quoted(text, 40)} "
            f"for {one_line(field, 30)}; leave it out."
        )
    return Column(name, unit, stated=True)


def _unit(field: str, name: str) -> float:
    return unit_of_name(name)[1] if field in _WITH_UNITS else 1.0


def _bare(field: str, name: str) -> str:
    """A column's name for comparison, without the unit of a count."""
    return plain_name(unit_of_name(name)[0] if field in _WITH_UNITS else name)


def _usual_column(
    field: str, names: Sequence[str], chosen: Mapping[str, Column], source: str
) -> str | None:
    """The free column with a usual name of the field, or with its letter; None for none."""
    free = _free(names, chosen)
    usual = [
        column for column in free if {plain_name(column), _bare(field, column)} & set(_NAMES[field])
    ]
    candidates = usual or [column for column in free if _bare(field, column) == _LETTERS.get(field)]
    if field in SETTINGS:
        return min(candidates, key=lambda column: _rank(field, column), default=None)
    if len(candidates) > 1:
        raise DataError(
            f"{one_line(source, 30)} has several columns that could be the {field}: "
            f"{_listed(candidates)}; choose one with columns={{{field!r}: "
            f"{_code(candidates[-1])!r}}} ({_option(field, candidates[-1])})."
        )
    return candidates[0] if candidates else None


def is_setting(column: str) -> bool:
    """Whether a column has a usual name of a setting, such as the learning rate."""
    return any(plain_name(column) in _NAMES[field] for field in SETTINGS)


def _rank(field: str, column: str) -> int:
    """Place of a column's name among the usual ones of its field."""
    usual = _NAMES[field]
    return min(
        usual.index(name) for name in (plain_name(column), _bare(field, column)) if name in usual
    )


def _near_column(field: str, names: Sequence[str], chosen: Mapping[str, Column]) -> str | None:
    """The only free column whose name resembles the field's and no other's; None otherwise."""
    near = [column for column in _free(names, chosen) if _is_near(field, column)]
    if len(near) != 1 or any(_is_near(other, near[0]) for other in _NEEDED if other != field):
        return None
    return near[0]


def _is_near(field: str, column: str) -> bool:
    plain = _bare(field, column)
    # A letter in front is more often a unit than a typo: gflops, mparams.
    return plain[1:] not in _NAMES[field] and bool(
        get_close_matches(plain, _NAMES[field], n=1, cutoff=_NEAR)
    )


def _free(names: Sequence[str], chosen: Mapping[str, Column]) -> list[str]:
    """Names of columns that no field has taken."""
    taken = {column.name for column in chosen.values()}
    return [column for column in names if column not in taken]


def _check_enough(chosen: Mapping[str, Column], table: Cells, source: str) -> None:
    """Raise DataError without params or loss, or without any of tokens, FLOPs and budgets."""
    has_tokens = not chosen.keys().isdisjoint({"tokens", "flops", "compute_budget"})
    missing = [field for field in ("params", "loss") if field not in chosen]
    missing += [] if has_tokens else ["tokens"]
    if missing:
        field = missing[0]
        likely = _likely(field, {name: table[name] for name in _free(list(table), chosen)})
        raise DataError(
            f"{one_line(source, 30)} has no column for {_listed(missing, 'or')}; it has "
            f"{_listed(list(table))}. Name the column, as in columns={{{field!r}: "
            f"{_code(likely)!r}}} ({_option(field, likely)})."
        )


def _option(field: str, column: str) -> str:
    """The same choice as an option of the command line, quoted for a shell."""
    return f"--column {quote(f'{field}={_code(column)}')}"


def _code(column: str, most: int = 24) -> str:
    """A name that is short and legible enough for a remedy; a placeholder for any other."""
    return column if len(column) <= most and column.isprintable() else "my_column"


def _likely(field: str, table: Cells) -> str:
    """Column whose name is closest to a name of the field, among those with suitable cells."""
    plain = {
        plain_name(column): column
        for column, cells in table.items()
        if field == "loss" or _may_hold(column, cells)
    }
    if field == "loss":
        ratios = [column for name, column in plain.items() if PERPLEXITY.search(name)]
        plain = {name: column for name, column in plain.items() if column not in ratios}
    for cutoff in (0.8, 0.6):
        for name in _NAMES[field]:
            if close := get_close_matches(name, plain, n=1, cutoff=cutoff):
                return plain[close[0]]
    parts = _PARTS.get(field, (field,))
    containing = [column for name, column in plain.items() if any(part in name for part in parts)]
    if not containing and field == "loss":
        containing = [f"log({column})" for column in ratios]
    return containing[0] if containing else "my_column"


def _may_hold(column: str, cells: Sequence[object]) -> bool:
    """Whether a column's cells, in the unit of its name, may be params or tokens."""
    return holds_counts(cells, unit_of_name(column)[1])


def _guess(name: str, known: Sequence[str]) -> str:
    close = get_close_matches(plain_name(name), {plain_name(other): other for other in known}, n=1)
    meant = next((other for other in known if close and plain_name(other) == close[0]), None)
    return f" (did you mean {quoted(meant, 30)}?)" if meant else ""


def _listed(names: Sequence[str], word: str = "and", most: int = 12, room: int = 90) -> str:
    """As many names as fit, as prose; the others are counted."""
    short = [one_line(name, 24) for name in names]
    ends = accumulate(len(name) + 2 for name in short)
    number = min(sum(end <= room for end in ends), most)
    shown = short[:number] + ([f"{len(names) - number} more"] if len(names) > number else [])
    if len(shown) < 2:
        return "".join(shown) or "no columns"
    return f"{', '.join(shown[:-1])} {word} {shown[-1]}"

"""Which column of a table holds what: the user's own names, the usual names, and one letter beside them."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from difflib import get_close_matches
from itertools import accumulate
from shlex import quote

from isoflop.display.format import one_line, quoted
from isoflop.errors import DataError
from isoflop.storage.numbers import holds_counts
from isoflop.storage.sheet import Cells
from isoflop.storage.units import COUNTS, parted, unit_of_name

__all__ = ["FIELDS", "Column", "find_columns", "find_metrics"]

# What trackers put before a name: config.n_params of W&B, params.n_params and metrics.eval_loss of MLflow.
_PREFIX = re.compile(r"(config|summary|params|metrics|hparams?)[./]", re.IGNORECASE)

# Names are compared without case, and with every run of other signs as one underscore: "val/loss" is "val_loss".
_NAMES: Mapping[str, tuple[str, ...]] = {
    "params": (
        "params", "num_params", "n_params", "nparams", "parameters", "num_parameters", "n_parameters", "total_params",
        "total_parameters", "param_count", "parameter_count", "model_params", "model_parameters",
    ),
    "tokens": (
        "tokens", "num_tokens", "n_tokens", "ntokens", "total_tokens", "train_tokens", "training_tokens",
        "tokens_seen", "tokens_trained", "num_train_tokens", "num_input_tokens_seen", "train_tokens_seen",
        "throughput_total_tokens",
    ),
    "flops": (
        "flops", "num_flops", "n_flops", "total_flops", "train_flops", "training_flops", "compute", "total_flos",
        "train_total_flos",
    ),
    "loss": (
        "loss", "val_loss", "valid_loss", "validation_loss", "eval_loss", "final_loss", "final_val_loss",
        "heldout_loss", "held_out_loss",
    ),
    "compute_budget": (
        "compute_budget", "budget", "flops_budget", "flop_budget", "budget_flops", "isoflop_budget", "isoflop",
    ),
    "run": ("run", "run_name", "group"),
    "loss_stderr": ("loss_stderr", "loss_se", "val_loss_stderr", "eval_loss_stderr"),
    "size": ("size",),
    "status": ("status", "state"),
}  # fmt: skip

# Parts of names that suggest a column, but not enough to take it.
_PARTS = {
    "params": ("param", "size"),
    "tokens": ("token", "data", "samples"),
    "loss": ("loss", "nll", "entropy", "bpb", "bits_per", "bpc"),
}

_PERPLEXITY = re.compile(r"(^|_)(ppl|perplexity)($|_)")
_LOG = re.compile(r"log\((.+)\)")

# Letters of the papers; read only where no word says more.
_LETTERS = {"params": "n", "tokens": "d", "flops": "c", "loss": "l"}

FIELDS = tuple(_NAMES)
"""What a table may hold, by the names that isoflop itself writes."""


# A column whose name is so near to a usual one, and to no other field's, is taken for it: parms, Token, val_los.
_NEEDED, _NEAR = ("params", "tokens", "flops", "loss"), 0.86


@dataclass(frozen=True)
class Column:
    """Where a field stands, and what its numbers are multiplied by."""

    name: str
    unit: float = 1.0
    stated: bool = False
    """Whether the user gave the unit, so that the name's is not looked at."""
    near: bool = False
    """Whether the name is only near to a usual one."""
    is_log: bool = False
    """Whether the logarithm of its numbers is meant, as of a perplexity."""

    def note(self, field: str) -> str:
        """What was understood, where that is more than a usual name; empty where it is not."""
        as_what = field if self.unit == 1 else f"{field} in units of {self.unit:g}"
        return (
            f"{self.name!r} as {as_what}"
            if self.near or (self.unit != 1 and not self.stated)
            else ""
        )


def find_columns(table: Cells, columns: Mapping[str, str] | None, source: str) -> dict[str, Column]:
    """The table's column for each field that it has.

    `columns` maps fields to column names, with a factor where numbers are in a unit ("N * 1e6") or as the logarithm of
    a perplexity ("log(ppl)"), and goes before the usual names; names that are no field are left to `find_metrics`.
    Raises DataError where a field has two candidates, a named column is missing, or what is there cannot make a run.
    """
    found = list(table)
    named = {
        field: asked
        for name, asked in (columns or {}).items()
        if (field := _field(name)) is not None
    }
    chosen = {field: _stated(field, asked, found, source) for field, asked in named.items()}
    for field in FIELDS:
        if (
            field not in chosen
            and (name := _usual_column(field, found, chosen, source)) is not None
        ):
            chosen[field] = Column(name, _unit(field, name))
    for field in _NEEDED:
        name = None if field in chosen else _near_column(field, found, chosen)
        if name is not None and (field == "loss" or _may_hold(name, table[name])):
            chosen[field] = Column(name, _unit(field, name), near=True)
    _check_enough(chosen, table, source)
    return chosen


def find_metrics(
    found: Sequence[str], columns: Mapping[str, str] | None, source: str
) -> dict[str, str]:
    """The column of each metric that `columns` names beside the fields, such as accuracy."""
    named = {name: asked for name, asked in (columns or {}).items() if _field(name) is None}
    return {name: _stated(name, asked, found, source).name for name, asked in named.items()}


def _field(name: str) -> str | None:
    """The field of a usual name, such as num_params; None for a metric. Raises DataError for a slip of the pen."""
    field = next(
        (field for field, names in _NAMES.items() if name == field or _plain(name) in names), None
    )
    if field is None and (guess := _guess(name, FIELDS)):
        raise DataError(
            f"columns= may name {_listed(FIELDS)} and metrics of your own, but got {quoted(name, 30)}{guess}."
        )
    return field


def _stated(field: str, asked: str, found: Sequence[str], source: str) -> Column:
    if field == "loss" and asked not in found and (inside := _LOG.fullmatch(asked)):
        return replace(_stated(field, inside[1].strip(), found, source), is_log=True)
    name, unit = parted(asked, found)
    if name not in found:
        raise DataError(
            f"{one_line(source, 30)} has no column {quoted(name, 30)}{_guess(name, found)}; it has {_listed(found)}."
        )
    if unit is None:
        return Column(name, _unit(field, name))
    if field not in COUNTS:
        raise DataError(
            f"columns= may give a factor for {_listed(COUNTS)}, but got {quoted(asked, 40)} for {one_line(field, 30)}; "
            f"leave it out."
        )
    return Column(name, unit, stated=True)


def _unit(field: str, name: str) -> float:
    return unit_of_name(name)[1] if field in COUNTS else 1.0


def _bare(field: str, name: str) -> str:
    """A column's name as it is compared, without the unit that a count may have."""
    return _plain(unit_of_name(name)[0] if field in COUNTS else name)


def _usual_column(
    field: str, found: Sequence[str], chosen: Mapping[str, Column], source: str
) -> str | None:
    free = _free(found, chosen)
    words = [
        column for column in free if {_plain(column), _bare(field, column)} & set(_NAMES[field])
    ]
    candidates = words or [column for column in free if _bare(field, column) == _LETTERS.get(field)]
    if len(candidates) > 1:
        raise DataError(
            f"{one_line(source, 30)} has several columns that could be the {field}: {_listed(candidates)}; say which "
            f"one with columns={{{field!r}: {_code(candidates[-1])!r}}} ({_option(field, candidates[-1])})."
        )
    return candidates[0] if candidates else None


def _near_column(field: str, found: Sequence[str], chosen: Mapping[str, Column]) -> str | None:
    """The only column with a name near to the field's and to no other's; None where none or several are."""
    near = [column for column in _free(found, chosen) if _is_near(field, column)]
    if len(near) != 1 or any(_is_near(other, near[0]) for other in _NEEDED if other != field):
        return None
    return near[0]


def _is_near(field: str, column: str) -> bool:
    plain = _bare(field, column)
    # A letter in front is a unit more often than a slip: gflops, mparams.
    return plain[1:] not in _NAMES[field] and bool(
        get_close_matches(plain, _NAMES[field], n=1, cutoff=_NEAR)
    )


def _free(found: Sequence[str], chosen: Mapping[str, Column]) -> list[str]:
    taken = {column.name for column in chosen.values()}
    return [column for column in found if column not in taken]


def _check_enough(chosen: Mapping[str, Column], table: Cells, source: str) -> None:
    """Params and loss must stand in the table; tokens may follow from FLOPs or the budget, and FLOPs from tokens."""
    has_tokens = not chosen.keys().isdisjoint({"tokens", "flops", "compute_budget"})
    missing = [field for field in ("params", "loss") if field not in chosen]
    missing += [] if has_tokens else ["tokens"]
    if missing:
        field = missing[0]
        likely = _likely(field, {name: table[name] for name in _free(list(table), chosen)})
        raise DataError(
            f"{one_line(source, 30)} has no column for {_listed(missing, 'or')}; it has {_listed(list(table))}. Say "
            f"which column it is, as in columns={{{field!r}: {_code(likely)!r}}} ({_option(field, likely)})."
        )


def _option(field: str, column: str) -> str:
    """The same on the command line, as a shell takes it."""
    return f"--column {quote(f'{field}={_code(column)}')}"


def _code(column: str, most: int = 24) -> str:
    """A name that is short and legible enough to be repeated in a remedy; a stand-in for any other."""
    return column if len(column) <= most and column.isprintable() else "my_column"


def _plain(name: str) -> str:
    bare = _PREFIX.sub("", name, count=1) if _PREFIX.match(name) else name
    return re.sub(r"[^a-z0-9]+", "_", bare.lower()).strip("_")


def _likely(field: str, table: Cells) -> str:
    """The column whose name is closest to any name of the field, among those whose cells may be the field's."""
    plain = {
        _plain(column): column
        for column, cells in table.items()
        if field == "loss" or _may_hold(column, cells)
    }
    if field == "loss":
        ratios = [column for name, column in plain.items() if _PERPLEXITY.search(name)]
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
    close = get_close_matches(_plain(name), {_plain(other): other for other in known}, n=1)
    meant = next((other for other in known if close and _plain(other) == close[0]), None)
    return f" (did you mean {quoted(meant, 30)}?)" if meant else ""


def _listed(names: Sequence[str], word: str = "and", most: int = 12, room: int = 90) -> str:
    """Names as prose, as many as there is room for; the others are counted."""
    short = [one_line(name, 24) for name in names]
    ends = accumulate(len(name) + 2 for name in short)
    number = min(sum(end <= room for end in ends), most)
    shown = short[:number] + ([f"{len(names) - number} more"] if len(names) > number else [])
    return (
        f"{', '.join(shown[:-1])} {word} {shown[-1]}"
        if len(shown) > 1
        else "".join(shown) or "no columns"
    )

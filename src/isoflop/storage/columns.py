"""Which column of a table holds what: the usual names, the user's own names, and a guess where none fits."""

import re
from collections.abc import Mapping, Sequence
from difflib import get_close_matches

from isoflop.errors import DataError

__all__ = ["FIELDS", "find_columns"]

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

# Letters of the papers; read only where no word says more.
_LETTERS = {"params": "n", "tokens": "d", "flops": "c", "loss": "l"}

FIELDS = tuple(_NAMES)
"""What a table may hold, by the names that isoflop itself writes."""


def find_columns(found: Sequence[str], columns: Mapping[str, str] | None, source: str) -> dict[str, str]:
    """The table's column for each field that it has.

    `columns` maps fields to column names and goes before the usual names. Raises DataError where a field has two
    candidates, a named column is missing, or what is there cannot make a run.
    """
    chosen = dict(columns or {})
    _check_chosen(chosen, found, source)
    for field in FIELDS:
        if field not in chosen and (column := _usual_column(field, found, chosen, source)) is not None:
            chosen[field] = column
    _check_enough(chosen, found, source)
    return chosen


def _check_chosen(chosen: Mapping[str, str], found: Sequence[str], source: str) -> None:
    for field, column in chosen.items():
        if field not in FIELDS:
            raise DataError(f"columns= may name {_listed(FIELDS)}, but got {field!r}{_guess(field, FIELDS)}.")
        if column not in found:
            raise DataError(f"{source} has no column {column!r}{_guess(column, found)}; it has {_listed(found)}.")


def _usual_column(field: str, found: Sequence[str], chosen: Mapping[str, str], source: str) -> str | None:
    free = [column for column in found if column not in chosen.values()]
    words = [column for column in free if _plain(column) in _NAMES[field]]
    candidates = words or [column for column in free if _plain(column) == _LETTERS.get(field)]
    if len(candidates) > 1:
        raise DataError(
            f"{source} has several columns that could be the {field}: {_listed(candidates)}; say which one with "
            f"columns={{{field!r}: {candidates[-1]!r}}} (--column {field}={candidates[-1]})."
        )
    return candidates[0] if candidates else None


def _check_enough(chosen: Mapping[str, str], found: Sequence[str], source: str) -> None:
    """Params and loss must stand in the table; tokens may follow from FLOPs or the budget, and FLOPs from tokens."""
    has_tokens = not chosen.keys().isdisjoint({"tokens", "flops", "compute_budget"})
    missing = [field for field in ("params", "loss") if field not in chosen]
    missing += [] if has_tokens else ["tokens"]
    if missing:
        field = missing[0]
        raise DataError(
            f"{source} has no column for {_listed(missing, 'or')}; it has {_listed(found)}. Say which column it is, as "
            f"in columns={{{field!r}: {_likely(field, found)!r}}} (--column {field}={_likely(field, found)})."
        )


def _plain(name: str) -> str:
    return re.sub(r"[^a-z0-9]+", "_", name.lower()).strip("_")


def _likely(field: str, found: Sequence[str]) -> str:
    """The column whose name is closest to any name of the field."""
    plain = {_plain(column): column for column in found}
    for cutoff in (0.8, 0.6):
        for name in _NAMES[field]:
            if close := get_close_matches(name, plain, n=1, cutoff=cutoff):
                return plain[close[0]]
    containing = (column for name, column in plain.items() if field.rstrip("s") in name)
    return next(containing, "my_column")


def _guess(name: str, known: Sequence[str]) -> str:
    close = get_close_matches(_plain(name), {_plain(other): other for other in known}, n=1)
    meant = next((other for other in known if close and _plain(other) == close[0]), None)
    return f" (did you mean {meant!r}?)" if meant else ""


def _listed(names: Sequence[str], word: str = "and", most: int = 12) -> str:
    shown = list(names[:most]) + ([f"{len(names) - most} more"] if len(names) > most else [])
    return f"{', '.join(shown[:-1])} {word} {shown[-1]}" if len(shown) > 1 else "".join(shown) or "no columns"

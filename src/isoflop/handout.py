"""What a trainer needs of each spec: names and values, in tables, files and command lines."""

import shlex
import string
from collections.abc import Iterable, Mapping
from typing import Any

from isoflop.display.format import join_words, quoted
from isoflop.errors import ContractError
from isoflop.runs import RunSpec

__all__ = ["command_line", "filled", "spec_values"]

Value = int | float | str | None


def spec_values(spec: RunSpec) -> dict[str, Value]:
    """Everything that a trainer needs of a spec, by name; None for what the spec leaves open.

    Arguments of the size come first after it. `warmup_steps` and `cooldown_steps` are steps of the
    optimiser, `warmup` and `cooldown` shares of the run.
    """
    has_batch = spec.batch is not None and spec.tokens_per_example is not None
    steps = max(1, round(spec.num_steps)) if has_batch else None
    own: dict[str, Value] = {
        "num_params": spec.num_params,
        "num_tokens": _whole(spec.num_tokens),
        "num_steps": steps,
        "flops": spec.flops,
        "flops_per_token": spec.flops_per_token,
        "budget": spec.budget,
        "batch": spec.batch,
        "batch_tokens": _whole(spec.step_tokens) if has_batch else None,
        "tokens_per_example": _whole(spec.tokens_per_example),
        "lr": spec.lr,
        "beta1": spec.beta1,
        "beta2": spec.beta2,
        "weight_decay": spec.weight_decay,
        "clip": spec.clip,
        "schedule": spec.schedule,
        "warmup": spec.warmup,
        "warmup_steps": _share(spec.warmup, steps),
        "cooldown": spec.cooldown,
        "cooldown_steps": _share(spec.cooldown, steps),
        "precision": spec.precision,
        "ema": spec.ema,
        "epochs": spec.epochs,
        "unique_tokens": _whole(spec.unique_tokens),
        "seed": spec.seed,
    }
    size = spec.size if not isinstance(spec.size, tuple) else " ".join(map(str, spec.size))
    sized = {name: value for name, value in spec.arguments.items() if name not in own}
    return {"id": spec.id, "size": size, **sized, **own}


def command_line(template: str, values: Mapping[str, Value]) -> str:
    """A command with its placeholders filled in, each value quoted for a shell where needed.

    Raises ContractError for a placeholder that names no value.
    """
    return _filled(template, values, _Quoting())


def filled(template: str, values: Mapping[str, Value]) -> str:
    """A text with its placeholders filled in, such as {folder}/result.json."""
    return _filled(template, values, string.Formatter())


def _filled(template: str, values: Mapping[str, Value], formatter: string.Formatter) -> str:
    try:
        names = [name for _, name, _, _ in formatter.parse(template) if name is not None]
    except ValueError as error:
        raise ContractError(
            f"A template must have its braces in pairs, but {quoted(template, 100)} has not "
            f"({error}); write {{{{ and }}}} for braces of the command's own."
        ) from None
    for name in names:
        if name not in values:
            raise ContractError(
                f"A template's placeholders must be among {_known(values)}, but got "
                f"{{{name}}}; write {{{{ and }}}} for braces of the command's own."
            )
        if values[name] is None:
            raise ContractError(
                f"A template's placeholder {{{name}}} must have a value for each run, but run "
                f"{values.get('id')} leaves it open; leave it out, or set it in the recipe."
            )
    try:
        return formatter.vformat(template, (), values)
    except (ValueError, TypeError, KeyError, IndexError, AttributeError) as error:
        raise ContractError(
            f"A template's formats must fit their values, but {quoted(template, 100)} does not "
            f"({error})."
        ) from None


class _Quoting(string.Formatter):
    """Quotes what it fills in for a shell."""

    def format_field(self, value: Any, format_spec: str) -> str:
        formatted: str = super().format_field(value, format_spec)
        return shlex.quote(formatted)


def _known(names: Iterable[str]) -> str:
    return join_words([*names])


def _whole(value: float | None) -> float | int | None:
    return int(value) if value is not None and value == int(value) else value


def _share(share: float | None, steps: int | None) -> int | None:
    return None if share is None or steps is None else round(share * steps)

"""The section on method and reproduction: law, counts, versions and hashes behind an answer."""

import hashlib
import platform
import re
from collections.abc import Iterable, Sequence
from dataclasses import fields, is_dataclass
from importlib.metadata import version

from isoflop.answers.by_approach import arguments_of
from isoflop.answers.predict import Optimum
from isoflop.display.format import format_interval, format_number, format_percent, join_words
from isoflop.display.html import Html, join, tag
from isoflop.fitting.bayesian.approach import Bayesian
from isoflop.fitting.bayesian.prior import Prior
from isoflop.fitting.conventions import exponents_by_convention
from isoflop.fitting.fit import Fit
from isoflop.fitting.screening.seeds import seed_noise
from isoflop.laws.base import Law
from isoflop.reporting.sections import section
from isoflop.runs import Run

__all__ = ["facts", "formula", "method"]

# What papers on scaling laws omit most often (Li et al. 2025, "(Mis)Fitting"); the page names those
# that are unknown.
_DISCLOSED = {
    "batch": "batch size",
    "lr": "learning rate",
    "schedule": "schedule",
    "epochs": "epochs",
}
_PACKAGES = ("isoflop", "numpy", "scipy")


def method(fit: Fit, optimum: Optimum, start: str | None = None) -> Html:
    """The section on method and reproduction.

    start: the rule for the learning rate in words, where it is isoflop's own.
    """
    known = facts(fit) | ({"Learning rate": start} if start else {})
    rows = [part for name, value in known.items() for part in (tag("dt", name), tag("dd", value))]
    approach = re.sub(r"\b([A-Z]\w*)\(", r"isoflop.\1(", repr(fit.approach))
    call = (
        f"fit = isoflop.fit(runs, {approach}, level={fit.level:g})\n"
        f"isoflop.predict(fit, {_arguments(optimum)})"
    )
    return section("Method", tag("dl", *rows, class_="facts"), tag("pre", tag("code", call)))


def _arguments(optimum: Optimum) -> str:
    """Arguments of predict that reproduce the answer."""
    return ", ".join(f"{name}={value!r}" for name, value in arguments_of(optimum).items())


def facts(fit: Fit) -> dict[str, str]:
    """Facts to disclose, by name."""
    runs = fit.runs
    return {
        "Approach": repr(fit.approach),
        **_prior(fit.approach),
        "Law": formula(fit.law),
        "Its numbers": tag("code", _numbers(fit.law)),
        "Objective": format_number(fit.objective, 6),
        "Intervals": f"{format_percent(fit.level)}, over the laws that the runs allow",
        "Runs": f"{len(runs)} used, {len(fit.set_aside)} set aside",
        "Params": _span(run.num_params for run in runs),
        "Tokens": _span(run.num_tokens for run in runs),
        "Tokens per param": _span(run.num_tokens / run.num_params for run in runs),
        "FLOPs": _flops_convention(runs),
        "Exponent by what is counted": _exponents(runs),
        "Training": _training(runs),
        "Seeds": _seeds(runs),
        "Trained with": _trained_with(runs),
        "Fitted with": _fitted_with(),
        "Hash of the runs": _digest(runs),
    }


def _prior(approach: object) -> dict[str, str]:
    """The numbers of the prior, for Bayesian fits."""
    if not isinstance(approach, Bayesian):
        return {}
    lines = "; ".join(f"{name} {value}" for name, value in approach.prior.lines().items())
    source = "learned from public sweeps" if approach.prior == Prior() else "given"
    return {
        "Prior": f"{lines} ({source}; mean ± standard deviation, with probabilities where there "
        f"are several)"
    }


def _exponents(runs: Sequence[Run]) -> str:
    """The exponent of N_opt in C under each convention of counting params, by Approach 2."""
    exponents = exponents_by_convention(runs)
    shown = [
        f"{format_number(exponent)} ({name.replace('_', '-')} params)"
        for name, exponent in exponents.items()
    ]
    return join_words(shown) if shown else "not known: the runs carry one count of params"


def formula(law: Law) -> Html:
    """The law as a formula with rounded numbers, followed by its other lines."""
    lines = [tag("div", _in_print(line), class_="formula") for line in law.formula().splitlines()]
    return join(*lines)


def _in_print(line: str) -> Html:
    """A formula with its letters in italics and its exponents raised."""
    parts = re.split(r"(\^-?[\d.]+|\b[NDCL]\b)", line)
    return join(*[_printed(part.replace("-", "−")) for part in parts])


def _printed(part: str) -> str:
    if part.startswith("^"):
        return tag("sup", part[1:])
    return tag("i", part) if part in ("N", "D", "C", "L") else part


def _numbers(law: object) -> str:
    """The law's numbers in full, by name: rounded exponents would change the answer."""
    if not is_dataclass(law):
        return str(law)
    values = {part.name: getattr(law, part.name) for part in fields(law)}
    shown = {
        name: _numbers(value) if is_dataclass(value) else f"{value}"
        for name, value in values.items()
    }
    return ", ".join(f"{name} {value}" for name, value in shown.items() if value != "None")


def _seeds(runs: Iterable[Run]) -> str:
    """Seeds of the runs trained with isoflop, and the noise between them."""
    trained = [run for run in runs if run.spec.fingerprint]
    seeds = join_words([str(seed) for seed in sorted({run.spec.seed for run in trained})])
    noise = seed_noise(trained)
    differs = (
        f", between which a run differs by {format_percent(noise)} of its loss" if noise else ""
    )
    return seeds + differs or "not recorded"


def _span(values: Iterable[float]) -> str:
    values = list(values)
    return format_interval(min(values), max(values))


def _flops_convention(runs: Iterable[Run]) -> str:
    ratios = [run.flops / (6 * run.num_params * run.num_tokens) for run in runs]
    if max(abs(ratio - 1) for ratio in ratios) < 1e-6:
        return "6·N·D, forward and backward"
    span = format_interval(min(ratios), max(ratios), lambda ratio: format_number(ratio, 3))
    return f"counted, {span} times 6·N·D"


def _training(runs: Iterable[Run]) -> str:
    unknown = [
        word
        for name, word in _DISCLOSED.items()
        if all(getattr(run.spec, name) is None for run in runs)
    ]
    known = [word for word in _DISCLOSED.values() if word not in unknown]
    parts = [f"{join_words(known)} recorded with each run"] * bool(known)
    return "; ".join(parts + [f"{join_words(unknown)} not recorded"] * bool(unknown))


def _trained_with(runs: Iterable[Run]) -> str:
    versions = sorted({f"{name} {number}" for run in runs for name, number in run.versions.items()})
    devices = sorted({run.device for run in runs if run.device})
    return join_words([*versions, *devices], most=12) or "not recorded"


def _fitted_with() -> str:
    return join_words(
        [f"{name} {version(name)}" for name in _PACKAGES] + [f"Python {platform.python_version()}"]
    )


def _digest(runs: Iterable[Run]) -> str:
    """Hash of the runs' specs and results, independent of their order."""
    lines = sorted(f"{run.id} {run.num_tokens!r} {run.flops!r} {run.loss!r}" for run in runs)
    return hashlib.sha256("\n".join(lines).encode()).hexdigest()[:16]

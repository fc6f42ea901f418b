"""The tables of the campaign: misses first, then what is still outstanding."""

import statistics
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from bookkeeping import HERE, SPENDS, Campaign, commit_of, read
from cases import CASES

from isoflop.display.format import format_count, format_flops, format_percent

Row = tuple[str, str, dict[str, Any]]
"""Name of the task, spend, verdict."""
WASTES = ("advice", "grid", "20 tokens per param")


def write_page(campaigns: Sequence[Campaign] | None = None, folder: Path = HERE) -> str:
    """Write results.md from the forecasts and judgements of all tasks, and return it."""
    campaigns = [Campaign.of(name) for name in CASES] if campaigns is None else campaigns
    judged = {each.name: read(each.judgement) for each in campaigns if each.judgement.exists()}
    rows = [
        (name, spend, verdict)
        for name, each in judged.items()
        for spend, verdict in each["verdicts"].items()
    ]
    parts = [
        _summary(rows),
        *([_outcomes(rows), _wastes(rows)] if rows else []),
        *(_curve(each) for each in judged.values()),
        _registered(campaigns),
        _outstanding(campaigns, judged.keys()),
    ]
    text = "\n\n".join(part for part in parts if part) + "\n"
    (folder / "results.md").write_text(text)
    return text


def misses(verdict: dict[str, Any]) -> int:
    return sum(not verdict[f"{name} covered"] for name in ("num_params", "loss"))


def _summary(rows: Sequence[Row]) -> str:
    if not rows:
        return "No forecast has been judged yet."
    verdicts = [verdict for _, _, verdict in rows]
    covered = {
        name: sum(each[f"{name} covered"] for each in verdicts)
        for name in ("num_params", "loss", "grid")
    }
    medians = {name: _median(verdicts, name) for name in WASTES}
    return (
        f"**{len(rows)} forecasts judged.** The 90 % interval of the params holds the best size in "
        f"{covered['num_params']} of {len(rows)}, that of the loss the loss of the advised run in "
        f"{covered['loss']} of {len(rows)}. The plain grid's interval of the params holds it in "
        f"{covered['grid']}.\n\n"
        f"Median waste of the target's compute: {format_percent(medians['advice'])} with isoflop's "
        f"advice, {format_percent(medians['grid'])} with a plain grid and Approach 2 for the same "
        f"spend (all of it where that gives no answer), "
        f"{format_percent(medians['20 tokens per param'])} with 20 tokens per param."
    )


def _median(verdicts: Sequence[dict[str, Any]], name: str) -> float:
    """The median; an advice that was refused wastes everything."""
    return statistics.median(each["waste"].get(name, 1.0) for each in verdicts)


def _outcomes(rows: Sequence[Row]) -> str:
    head = (
        "task",
        "spend",
        "params forecast",
        "best size",
        "inside",
        "loss forecast",
        "loss trained",
        "inside",
        "registered",
    )
    ordered = sorted(rows, key=lambda row: -misses(row[2]))
    return _table(head, (_outcome(*row) for row in ordered))


def _outcome(name: str, spend: str, verdict: dict[str, Any]) -> tuple[str, ...]:
    return (
        name,
        _spend(spend),
        _interval(verdict["num_params"], format_count),
        format_count(verdict["best num_params"]),
        _yes(verdict["num_params covered"]),
        _interval(verdict["loss"], "{:.3f}".format),
        f"{verdict['loss of the advice']:.3f}",
        _yes(verdict["loss covered"]),
        verdict["registered"].split()[0] if verdict["registered"] else "no",
    )


def _wastes(rows: Sequence[Row]) -> str:
    head = ("task", "spend", "expected", "advice", "plain grid", "20 tokens per param")
    ordered = sorted(rows, key=lambda row: -row[2]["waste"]["advice"])
    return "Waste of the target's compute, the largest first:\n\n" + _table(
        head,
        (
            (
                name,
                _spend(spend),
                format_percent(verdict["expected waste"]),
                *(_waste(verdict, each) for each in WASTES),
            )
            for name, spend, verdict in ordered
        ),
    )


def _waste(verdict: dict[str, Any], name: str) -> str:
    if name not in verdict["waste"]:
        return "no answer"
    mark = " (beyond the sizes trained)" if name in verdict["outside"] else ""
    return format_percent(verdict["waste"][name]) + mark


def _curve(judgement: dict[str, Any]) -> str:
    losses = ", ".join(
        f"{format_count(run['num_params'])}: {run['loss']:.4f}" for run in judgement["runs"]
    )
    deviation = judgement["deviation of log num_params"]
    return (
        f"`{judgement['task']}` at {format_flops(judgement['target'])} FLOPs, params and loss: "
        f"{losses}. Minimum {judgement['lowest loss']:.4f} at "
        f"{format_count(judgement['best num_params'])} params, to {format_percent(deviation)}."
    )


def _registered(campaigns: Sequence[Campaign]) -> str:
    rows = [_forecast(each, spend) for each in campaigns for spend in SPENDS if each.has(spend)]
    if not rows:
        return ""
    head = ("task", "spend", "FLOPs spent", "params", "loss", "expected waste", "commit", "date")
    return "Registered forecasts, with 90 % intervals:\n\n" + _table(head, rows)


def _forecast(campaign: Campaign, spend: str) -> tuple[str, ...]:
    values = read(campaign.forecast(spend))
    advice, commit = values["advice"], commit_of(campaign.forecast(spend))
    return (
        campaign.name,
        _spend(spend),
        format_flops(values["spent"]),
        _interval(advice["num_params"], format_count),
        _interval(advice["loss"], "{:.3f}".format),
        format_percent(advice["regret"]["value"]),
        commit.split()[0] if commit else "not yet",
        values["date"][:16].replace("T", " "),
    )


def _outstanding(campaigns: Sequence[Campaign], judged: Iterable[str]) -> str:
    open_ = [each for each in campaigns if each.name not in set(judged)]
    if not open_:
        return ""
    lines = [f"- `{each.name}`, {each.case.about}: {_what_is_missing(each)}" for each in open_]
    return "Outstanding:\n\n" + "\n".join(lines)


def _what_is_missing(campaign: Campaign) -> str:
    missing = [_spend(spend) for spend in SPENDS if not campaign.has(spend)]
    if missing:
        return f"the forecast for {' and '.join(missing)}."
    return f"the runs at its target, `python benchmarks/proof/campaign.py {campaign.name}`."


def _interval(value: dict[str, float], write: Any) -> str:
    return f"{write(value['value'])} ({write(value['low'])} to {write(value['high'])})"


def _spend(name: str) -> str:
    return format_percent(SPENDS[name])


def _yes(value: bool) -> str:
    return "yes" if value else "**no**"


def _table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)

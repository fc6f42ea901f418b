"""Doubts about what a table's numbers measure: its losses, and its FLOPs.

N params, D tokens, C FLOPs, L loss.
"""

import math
from collections.abc import Hashable, Iterator

import numpy as np

from isoflop.display.format import (
    format_count,
    format_flops,
    format_number,
    format_percent,
    join_words,
)
from isoflop.fitting.screening.screen import describe
from isoflop.fitting.screening.seeds import USUAL as USUAL_NOISE
from isoflop.laws.base import Array
from isoflop.laws.points import Points
from isoflop.notes.note import Note

__all__ = ["implausible"]

HIGH_LOSS = 7.0
"""Lowest loss in nats above which it is no mean per token of a trained model: at 7, it is as unsure
as among 1,100 equally likely tokens. The lowest of 20 public sweeps is at most 3.8."""
CHANCE = math.log(2**18)
"""Loss of guessing among the tokens of the largest usual vocabulary."""
HARDLY = -0.3
"""Rank correlation of loss with FLOPs above which losses hardly fall; public sweeps have -.74 and
less."""
ENOUGH = 12
"""Fewest runs whose rank correlation says something."""
FEW_FLOPS, MANY_FLOPS = 0.7, 4.0
"""FLOPs over 6 N D at the median beyond which a count of another kind is likely; sweeps of language
models have .75 to 1.7."""
EQUAL_SIZE = 0.05
"""Log N within which sizes count as equal."""
SPREAD = 2.0
"""Ratio of FLOPs per param and token among equal sizes above which FLOPs do not follow from N."""
FEW_REPLICATES, MORE_THAN_SEEDS = 3, 0.01
"""Fewest degrees of freedom of replicates, and their spread above which they are none."""
BITS = math.log(1 / math.log(2))
"""Log of the ratio of bits and nats."""
CLEARLY, LEAST_SQUARE = 2.0, 1e-6
"""Factor by which a conversion must lower the mean square about a surface, and the square below
which all surfaces are equally smooth. In 12 public sweeps it raises it 1.6 times at least."""
MOST_BUDGETS = 30
NEAR = 0.06
"""Relative distance from a ratio that has a usual cause."""
USUAL: tuple[tuple[float, str], ...] = (
    (1 / 2, "multiply-accumulates count as one FLOP; multiply by 2"),
    (1 / 3, "only the forward pass is counted; multiply by 3"),
    (1 / 6, "multiply-accumulates of the forward pass alone are counted; multiply by 6"),
)


def implausible(points: Points) -> Iterator[Note]:
    """Notes on losses and FLOPs that are unlikely in the units of a fit."""
    yield from _loss_notes(points)
    yield from _unit_notes(points)
    ratio = points.C / (6 * points.N * points.D)
    yield from _flops_notes(float(np.median(ratio)))
    yield from _family_notes(points, ratio)
    yield from _replicate_notes(points)


def _loss_notes(points: Points) -> Iterator[Note]:
    lowest = float(points.L.min())
    above = int(np.sum(points.L > CHANCE))
    if lowest > HIGH_LOSS:
        text = (
            f"The lowest loss is {format_number(lowest, 4)}, too high for a mean per token in "
            f"nats: a perplexity needs its log, as in columns={{'loss': 'log(ppl)'}}, and a sum "
            f"over tokens a division by their number."
        )
        yield Note("high-loss", text)
    elif above:
        runs = "1 run has a loss" if above == 1 else f"{above} runs have losses"
        text = (
            f"{runs} above {CHANCE:.1f}, worse than guessing among {2**18:,} tokens (up to "
            f"{format_number(float(points.L.max()), 4)}); leave them out, or give the vocabulary, "
            f"as in read_runs(..., vocabulary=50_257), where losses are in nats per token."
        )
        yield Note("above-chance", text)
    if len(points) >= ENOUGH:
        rank = _rank_correlation(points.C, points.L)
        if rank > HARDLY:
            text = (
                f"The losses hardly fall with compute (rank correlation {rank:.2f}): they may be "
                f"another measure than a loss, or of runs that were not trained alike."
            )
            yield Note("hardly-falls", text)


def _rank_correlation(x: Array, y: Array) -> float:
    ranks = [np.unique(values, return_inverse=True)[1].astype(float) for values in (x, y)]
    if any(np.ptp(rank) == 0 for rank in ranks):
        return 0.0
    return float(np.corrcoef(ranks[0], ranks[1])[0, 1])


def _unit_notes(points: Points) -> Iterator[Note]:
    """A note on budgets whose losses lie off the others' by the ratio of nats and bits.

    The losses of one budget, or of all up to one, are converted; they are in another unit where a
    smooth surface then passes far nearer to all losses.
    """
    budgets = points.budgets
    if not 3 <= len(budgets) <= MOST_BUDGETS or len(points) < ENOUGH:
        return
    sets = [points.budget == budget for budget in budgets]
    sets += [points.budget <= budget for budget in budgets[1:-1]]
    plain = _roughness(points, np.zeros(len(points)))
    tried = [
        (_roughness(points, sign * BITS * rows), rows, sign) for rows in sets for sign in (1, -1)
    ]
    best, rows, sign = min(tried, key=lambda each: each[0])
    if not best < plain / CLEARLY:
        return
    if rows.sum() > len(points) / 2:
        rows, sign = ~rows, -sign
    names = join_words([format_flops(each) for each in np.unique(points.budget[rows])], most=3)
    unit, usual, factor = ("bits", "nats", "0.693") if sign < 0 else ("nats", "bits", "1.443")
    runs = [run for run, is_odd in zip(points.runs, rows, strict=True) if is_odd]
    text = (
        f"The {len(runs)} losses of budget {names} seem to be in {unit} and the others in {usual} "
        f"({join_words([describe(run) for run in runs], most=3)}): multiply them by {factor}."
    )
    yield Note("mixed-units", text)


def _roughness(points: Points, moved: Array) -> float:
    """Mean square of log losses, moved by so much, about a valley that falls evenly with N D."""
    across, along = np.log(points.N / points.D), np.log(points.N * points.D)
    across, along, z = across - across.mean(), along - along.mean(), np.log(points.L) + moved
    design = np.stack([np.ones(len(z)), across, along, across**2, across * along], axis=1)
    residual = z - design @ np.linalg.lstsq(design, z, rcond=None)[0]
    return float(np.mean(residual**2)) + LEAST_SQUARE


def _flops_notes(ratio: float) -> Iterator[Note]:
    if FEW_FLOPS <= ratio <= MANY_FLOPS:
        return
    head = f"FLOPs are {format_number(ratio, 3)} times 6·N·D at the median"
    if ratio > MANY_FLOPS:
        text = (
            f"{head}: usual where a token is an example of many patches, pixels or frames, and "
            f"then D counts examples; otherwise one of the three is in another unit, or tokens are "
            f"those of one device of several."
        )
    else:
        cause = next((why for usual, why in USUAL if abs(ratio / usual - 1) < NEAR), None)
        text = (
            f"{head}, as if {cause}."
            if cause
            else f"{head}, less than training costs: tokens may include padding or masked ones, "
            f"params may include embeddings or experts that do no work on a token, or FLOPs may "
            f"leave parts out."
        )
    yield Note("odd-flops", text)


def _family_notes(points: Points, ratio: Array) -> Iterator[Note]:
    """A note where FLOPs over 6 N D differ among equal sizes, or leave their trend over sizes."""
    order = np.argsort(points.N, kind="stable")
    log_N, log_ratio = np.log(points.N[order]), np.log(ratio[order])
    last = np.searchsorted(log_N, log_N + EQUAL_SIZE, side="right")
    spreads = np.array([np.ptp(log_ratio[first:end]) for first, end in enumerate(last)])
    widest = int(np.argmax(spreads))
    if spreads[widest] > math.log(SPREAD):
        window = slice(widest, last[widest])
        low, high = (float(np.exp(f(log_ratio[window]))) for f in (np.min, np.max))
        where = f"at {format_count(points.N[order][widest])} params they are"
    else:
        steps = np.abs(np.diff(log_ratio))
        place = int(np.argmax(steps)) if len(steps) else 0
        if not len(steps) or steps[place] <= math.log(SPREAD):
            return
        low, high = sorted(np.exp(log_ratio[place : place + 2]).tolist())
        ends = " and ".join(format_count(N) for N in points.N[order][place : place + 2])
        where = f"at {ends} params they are"
    text = (
        f"FLOPs do not follow from params: {where} {format_number(low, 3)} and "
        f"{format_number(high, 3)} times 6·N·D. Runs of several families have no one best size: "
        f"fit each by itself, as in isoflop.read_groups(table, by='arch'); within one family, some "
        f"tokens or FLOPs are wrong."
    )
    yield Note("flops-not-of-params", text)


def _replicate_notes(points: Points) -> Iterator[Note]:
    """A note where rows of one size on the same tokens differ by more than seeds do."""
    cells: dict[Hashable, list[float]] = {}
    for run, unique in zip(points.runs, points.unique.tolist(), strict=True):
        key = (run.num_params, run.num_tokens, unique)
        cells.setdefault(key, []).append(math.log(run.loss))
    repeated = [np.array(losses) for losses in cells.values() if len(losses) > 1]
    free = sum(len(losses) - 1 for losses in repeated)
    if free < FEW_REPLICATES:
        return
    squares = sum(float(np.sum((losses - losses.mean()) ** 2)) for losses in repeated)
    spread = math.sqrt(squares / free)
    if spread > MORE_THAN_SEEDS:
        text = (
            f"Rows of the same params and tokens differ by {format_percent(spread)} of their loss, "
            f"and seeds by {format_percent(USUAL_NOISE)} at most: they differ in something else, "
            f"such as the data, the recipe or the evaluation; fit each kind by itself "
            f"(isoflop.read_groups)."
        )
        yield Note("replicates-differ", text)

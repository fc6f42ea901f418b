"""Runs whose FLOPs contradict 6 N D or the budget are set aside or refused, and ways to count FLOPs are not."""

from dataclasses import replace

import numpy as np
import pytest
from sweeps import LAW, a_run, a_sweep

import isoflop
from isoflop.errors import DataError
from isoflop.fitting.approaches.curves import parabola
from isoflop.fitting.approaches.parametric import Parametric
from isoflop.fitting.fit import fit

SWEEP = a_sweep(noise=0.002)


def refitted(runs, **options):
    return fit(runs, Parametric(), resamples=20, **options)


def best(fitted):
    return float(fitted.law.optimum(1e22)[0])


def with_numbers(run, *, N=1.0, D=1.0, C=1.0, budget=1.0):
    """A run with some of its numbers in another unit."""
    spec = run.spec
    changed = replace(
        spec, num_params=spec.num_params * N, num_tokens=spec.num_tokens * D, flops=spec.flops * C,
        budget=spec.budget * budget if spec.budget else None,
    )  # fmt: skip
    return replace(run, spec=changed, num_tokens=run.num_tokens * D, flops=run.flops * C)


def refusal(runs, **options):
    with pytest.raises(DataError) as caught:
        refitted(runs, **options)
    assert len(str(caught.value)) <= 300
    return str(caught.value)


@pytest.mark.parametrize(
    "change",
    [
        {"N": 1e-6},
        {"D": 1e-6},
        {"D": 1e-3},
        {"C": 1e-9},
        {"C": 1e3},
        {"budget": 1e-9, "C": 1e-9},
        {"N": 1e3, "D": 1e3},
    ],
    ids=str,
)
def test_one_run_in_another_unit_is_set_aside_with_the_reason_and_moves_nothing(change):
    odd = with_numbers(SWEEP[10], **change)
    found = refitted([*SWEEP[:10], odd, *SWEEP[11:]])
    assert [item.run for item in found.set_aside] == [odd]
    assert any(note.startswith("1 run set aside (its ") for note in found.notes)
    assert best(found) == best(refitted([*SWEEP[:10], *SWEEP[11:]]))
    assert found.restored is None


def test_one_run_of_5_tokens_moves_nothing():
    odd = a_run(1e9, 5.0, 3.1)
    free = [replace(run, spec=replace(run.spec, budget=None)) for run in SWEEP]
    found = refitted([*free, odd])
    assert [(item.run, item.reason) for item in found.set_aside] == [
        (odd, "its tokens do not go with its params")
    ]
    assert best(found) == best(refitted(free))


def test_a_budget_in_another_unit_is_set_aside_in_one_run_and_refused_in_all():
    odd = with_numbers(SWEEP[10], budget=1e-3)
    assert (
        refitted([*SWEEP[:10], odd, *SWEEP[11:]])
        .set_aside[0]
        .reason.startswith("its FLOPs are not those of its budget")
    )
    assert "the FLOPs of the middle run are 1e+18 times the budget" in refusal(
        [with_numbers(run, budget=1e-18) for run in SWEEP]
    )


@pytest.mark.parametrize(
    "change", [{"N": 1e-6}, {"N": 1e-3, "D": 1e-6}, {"C": 1e-15}, {"C": 1e9}], ids=str
)
def test_a_sweep_in_another_unit_is_refused(change):
    assert "A run's params, tokens and FLOPs must be plain counts" in refusal(
        [with_numbers(run, **change) for run in SWEEP]
    )


def test_params_in_billions_are_refused():
    runs = [a_run(run.num_params / 1e9, run.num_tokens, run.loss, flops=run.flops) for run in SWEEP]
    assert "must be 1 or more" in refusal(runs)


def test_so_many_runs_in_another_unit_that_it_is_open_which_are_wrong_are_refused():
    mixed = [with_numbers(run, D=1e-3) if k % 3 == 0 else run for k, run in enumerate(SWEEP)]
    assert f"but those of 7 of {len(SWEEP)} runs do not" in refusal(mixed)


def test_they_can_be_kept():
    odd = with_numbers(SWEEP[10], C=1e3)
    assert len(refitted([*SWEEP[:10], odd, *SWEEP[11:]], keep="all").runs) == len(SWEEP)


@pytest.mark.parametrize("factor", [1 / 50, 0.3, 3.0, 2000.0])
def test_a_factor_that_all_runs_share_contradicts_nothing(factor):
    runs = [
        a_run(run.num_params, run.num_tokens, run.loss, flops=run.flops * factor) for run in SWEEP
    ]
    assert not refitted(runs).set_aside


def test_embeddings_that_are_left_out_of_small_models_contradict_nothing():
    sizes = np.geomspace(1e3, 1e9, 30)
    runs = []
    for k, N in enumerate(sizes.tolist()):
        full, D = N + 5e4 * 8 * N**0.25, 20 * N * (1 + k % 3)
        runs.append(a_run(N, D, float(LAW.loss(N, D)), flops=6 * full * D))
    ratios = [run.flops / 6 / run.num_params / run.num_tokens for run in runs]
    assert max(ratios) > 1000 * min(ratios)
    assert not refitted(runs).set_aside


def test_the_command_line_and_python_read_a_table_alike(tmp_path):
    rows = [(run.num_params, run.num_tokens, run.flops, run.budget, run.loss) for run in SWEEP]
    rows[4] = (rows[4][0], 5.0, *rows[4][2:])
    path = tmp_path / "runs.csv"
    lines = [",".join(map(repr, map(float, row))) for row in rows]
    path.write_text("params,tokens,flops,compute_budget,loss\n" + "\n".join(lines))
    found = refitted(isoflop.read_runs(path))
    assert [item.run.num_tokens for item in found.set_aside] == [5.0]
    assert best(found) == pytest.approx(best(refitted([*SWEEP[:4], *SWEEP[5:]])), rel=1e-9)


def test_budgets_of_equal_losses_are_answered_by_a_law_alone_and_said():
    sizes = (
        (2.11e7, 7.899e9),
        (3.3761e8, 4.94e8),
        (3.711e7, 1.3473e10),
        (5.9374e8, 8.42e8),
        (6.889e7, 2.4193e10),
    )
    rows = [*sizes, (1.1023e9, 1.512e9)]
    losses = [4.0, 4.0, 3.0, 3.0, 3.0, 3.0]
    budgets = [1e18, 1e18, 3e18, 3e18, 1e19, 1e19]
    runs = [a_run(N, D, L, budget=C) for (N, D), L, C in zip(rows, losses, budgets, strict=True)]
    assert fit(runs, resamples=20).notes[0] == (
        "The default approach finds no path that these runs allow: the answer is of Approach 3 alone, whose intervals "
        "take its law for true."
    )


def test_a_budget_of_one_size_has_no_minimum():
    curve = parabola(np.full(3, 20.0), np.array([3.0, 2.9, 3.1]), np.ones((2, 3)))
    assert np.isnan(curve.minimum).all()

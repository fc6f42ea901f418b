"""Rows that are no clean runs are screened once, for every approach, and a note says so."""

import math

import numpy as np
import pytest
from as_people_have_them import (
    TARGET,
    a_swept_table,
    a_table,
    checkpoints,
    public,
)
from sweeps import LAW

from isoflop.answers.predict import predict
from isoflop.errors import DataError
from isoflop.fitting.approaches.envelope import Envelope
from isoflop.fitting.approaches.isoflop import valleys
from isoflop.fitting.approaches.parametric import Parametric
from isoflop.fitting.fit import fit
from isoflop.laws.other_laws import DataConstrainedLaw
from isoflop.storage.tables import read_runs

APPROACHES = (None, "parametric", "isoflop", "kriging")


def best_size(runs, approach=None, flops=TARGET):
    return predict(fit(runs, approach, resamples=20), flops=flops).num_params.value


def note_of(fitted, code):
    (note,) = [note for note in fitted.notes if note.code == code]
    return note


def codes(fitted):
    return {note.code for note in fitted.notes}


# -- diverged runs -------------------------------------------------------------------------------


def a_diverged_table():
    table = a_table(budgets=np.geomspace(1e18, 1e20, 5), noise=0.002)
    for row, loss in ((4, 7.6), (22, 9.1), (38, 10.8)):
        table.loc[row, "loss"] = loss
    return table


@pytest.mark.parametrize("approach", APPROACHES)
def test_diverged_runs_with_finite_losses_change_no_approach(approach):
    clean, fitted = (
        fit(read_runs(table), approach, resamples=20)
        for table in (a_diverged_table().drop(index=[4, 22, 38]), a_diverged_table())
    )
    assert len(fitted.set_aside) == 3
    found, expected = (predict(one, flops=TARGET).num_params.value for one in (fitted, clean))
    assert found == expected
    assert fitted.holdout == clean.holdout
    assert "3 runs set aside (its loss is far above" in note_of(fitted, "set-aside")


def test_keep_all_uses_diverged_runs():
    assert len(fit(read_runs(a_diverged_table()), keep="all", resamples=20).runs) == 45


def test_losses_half_as_high_again_are_left_to_the_approaches():
    table = a_table(noise=0.002)
    table.loc[4, "loss"] *= 1.4
    assert not fit(read_runs(table), resamples=20).set_aside


# -- sweeps of settings --------------------------------------------------------------------------


@pytest.mark.parametrize("approach", APPROACHES)
def test_a_sweep_of_rates_and_batches_answers_as_the_best_of_each_cell(approach):
    swept = a_swept_table(noise=0.001)
    best = swept.loc[swept.groupby(["params", "tokens"]).loss.idxmin()]
    assert best_size(read_runs(swept), approach) == pytest.approx(
        best_size(read_runs(best[["compute_budget", "params", "tokens", "loss"]]), approach)
    )


def test_the_note_on_a_sweep_gives_rows_edges_and_the_law_of_the_best_settings():
    note = note_of(fit(read_runs(a_swept_table()), resamples=20), "best-settings")
    assert note.startswith("525 rows sweep lr and batch at 21 sizes and numbers of tokens")
    assert "2 values from the edge of its grid at the median, 2 at least" in note
    assert "lr goes as" in note
    assert "N^-0.7 D^0.3" in note


def test_a_coarse_grid_counts_with_the_minimum_between_its_settings():
    fitted = fit(read_runs(a_swept_table(step=4.0, shift=1.0)), "parametric", resamples=20)
    assert "with the minimum between its settings" in note_of(fitted, "best-settings")
    assert predict(fitted, flops=TARGET).num_params.value == pytest.approx(
        LAW.optimum(TARGET)[0], rel=0.02
    )


def test_a_best_rate_at_the_edge_is_a_note():
    swept = a_swept_table()
    swept = swept[swept.groupby(["params", "tokens"]).lr.rank(method="dense") >= 3]
    note = note_of(fit(read_runs(swept), resamples=20), "settings-at-edge")
    assert "the best lr is the smallest or the largest tried" in note


def test_seeds_of_one_setting_are_replicates_not_a_sweep():
    table = a_table(noise=0.002)
    twice = table.assign(seed=0), table.assign(seed=1, loss=table.loss * 1.001)
    fitted = fit(read_runs(_concatenated(twice).assign(lr=1e-3)), resamples=20)
    assert len(fitted.runs) == 2 * len(table)
    assert "best-settings" not in codes(fitted)


def test_the_seeds_of_the_best_setting_all_count():
    swept = a_swept_table()
    both = _concatenated((swept.assign(seed=0), swept.assign(seed=1, loss=swept.loss * 1.002)))
    assert len(fit(read_runs(both), resamples=20).runs) == 2 * 21


def test_one_rerun_at_another_rate_makes_no_sweep():
    table = a_table(noise=0.002).assign(lr=1e-3)
    again = table.iloc[[3]].assign(lr=2e-3, loss=table.loss[3] * 1.01)
    fitted = fit(read_runs(_concatenated((table, again))), resamples=20)
    assert len(fitted.runs) == len(table) + 1


def _concatenated(tables):
    import pandas as pd

    return pd.concat(tables, ignore_index=True)


def test_step_laws_sweep_answers_as_its_best_runs():
    every, best = (
        predict(fit(read_runs(public(f"steplaw_{name}.csv"))), flops=1e21)
        for name in ("all", "best")
    )
    assert every.num_params.value == pytest.approx(best.num_params.value, rel=0.05)
    assert every.num_tokens.value == pytest.approx(best.num_tokens.value, rel=0.05)


# -- checkpoints of unfinished schedules ---------------------------------------------------------


@pytest.mark.parametrize("approach", [None, "parametric", "kriging"])
def test_only_the_last_row_of_a_run_counts_where_its_rate_decays(approach):
    fitted = fit(read_runs(checkpoints()), approach, resamples=20)
    assert len(fitted.runs) == 6
    assert "24 rows of runs before their last are left out" in note_of(fitted, "unfinished-rows")
    assert predict(fitted, flops=TARGET).num_params.value == pytest.approx(
        LAW.optimum(TARGET)[0], rel=0.02
    )


@pytest.mark.parametrize("word", ["constant", "decayed"])
def test_rows_before_the_last_count_where_the_schedule_says_so(word):
    table = checkpoints(penalty=0.0)
    for runs in (read_runs(table, schedule=word), read_runs(table.assign(schedule=word))):
        fitted = fit(runs, resamples=20)
        assert len(fitted.runs) == 30
        assert "unfinished-rows" not in codes(fitted)


def test_a_cosine_in_the_column_leaves_rows_before_the_last_out():
    runs = read_runs(checkpoints().assign(schedule="cosine"))
    assert len(fit(runs, resamples=20).runs) == 6


def equal_ends(penalty):
    rows = checkpoints(penalty, num=8, shares=(0.1, 0.2, 0.4, 0.6, 0.8, 1.0))
    last = rows.groupby("run").tokens.transform("max")
    rows["tokens"] = 2e10 * rows.tokens / last
    share = rows.tokens / 2e10
    rows["loss"] = LAW.loss(rows.params, rows.tokens) + penalty * (1 - share)
    return rows


def test_rows_of_equally_long_runs_are_used_where_they_fall_as_under_a_constant_rate():
    fitted = fit(read_runs(equal_ends(0.0)), "parametric", resamples=20)
    assert len(fitted.runs) == 48
    assert "schedule is unknown" in note_of(fitted, "checkpoints-used")


def test_rows_of_equally_long_runs_are_refused_where_they_fall_as_under_a_decay():
    with pytest.raises(DataError, match="needs finished runs, but 40 of 48 rows"):
        fit(read_runs(equal_ends(0.5)), "parametric")


def test_approach_1_uses_the_curves_of_its_runs():
    table = checkpoints(penalty=0.0, num=8, shares=np.geomspace(0.02, 1, 20))
    assert len(fit(read_runs(table), Envelope(), resamples=20).runs) == 160


# -- repeated data -------------------------------------------------------------------------------

REPEATED = DataConstrainedLaw(1.8, 480.0, 2100.0, 0.35, 0.37, R_D=12.0, R_N=1e6)


def a_repeated_table():
    table = a_table(budgets=np.geomspace(1e18, 1e20, 4), sizes=7)
    parts = []
    for epochs in (1.0, 2.0, 6.0, 12.0, 40.0):
        part = table.assign(unique_tokens=table.tokens / epochs)
        losses = REPEATED.chinchilla.loss(
            *REPEATED.effective(part.params, part.tokens, part.unique_tokens)
        )
        parts.append(part.assign(loss=losses))
    return _concatenated(parts)


def test_rows_that_repeat_their_data_often_are_left_out_with_a_note():
    fitted = fit(read_runs(a_repeated_table()), resamples=20)
    assert len(fitted.runs) == 56
    assert "84 of 140 rows repeat their data more than 4 times, up to 40" in note_of(
        fitted, "repeated-rows"
    )
    assert predict(fitted, flops=TARGET).num_params.value == pytest.approx(
        LAW.optimum(TARGET)[0], rel=0.05
    )


def test_r_d_is_fitted_from_rows_that_differ_in_their_distinct_tokens():
    fitted = fit(read_runs(a_repeated_table()), Parametric(DataConstrainedLaw()), resamples=50)
    assert pytest.approx(12.0, rel=0.06) == fitted.law.R_D
    assert (fitted.law.alpha, fitted.law.beta) == pytest.approx((0.35, 0.37), rel=1e-3)
    assert "more than 16 times" in note_of(fitted, "repeated-rows")
    assert fitted.resamples.R_D.shape == (50,)


def test_a_given_r_d_is_held():
    law = fit(
        read_runs(a_repeated_table()), Parametric(DataConstrainedLaw(R_D=10.0)), resamples=20
    ).law
    assert law.R_D == 10.0


def test_datablations_r_d_is_the_published_one_to_a_factor_of_1_3():
    fitted = fit(read_runs(public("datablations.csv")), Parametric(DataConstrainedLaw()))
    assert 15.39 / 1.3 < fitted.law.R_D < 15.39 * 1.3
    low, high = np.quantile(fitted.resamples.R_D, [0.05, 0.95])
    assert low < 15.39 < high


# -- losses and FLOPs in unlikely units ----------------------------------------------------------


@pytest.mark.parametrize(
    "convert", [np.exp, lambda loss: 512 * loss], ids=("perplexity", "sum over tokens")
)
def test_a_perplexity_or_a_sum_is_doubted(convert):
    table = a_table()
    note = note_of(
        fit(read_runs(table.assign(loss=convert(table.loss))), resamples=20), "high-loss"
    )
    assert "log(ppl)" in note


def test_equal_losses_are_refused():
    with pytest.raises(DataError, match="losses that differ, but those of all 27 runs are 2.5"):
        fit(read_runs(a_table().assign(loss=2.5)))


def test_losses_that_hardly_fall_are_doubted():
    random = np.random.default_rng(0)
    table = a_table()
    flat = table.assign(loss=3 + 0.01 * random.standard_normal(len(table)))
    flat = flat[["compute_budget", "params", "tokens", "loss"]]
    assert "hardly-falls" in codes(fit(read_runs(flat), "parametric", resamples=20))


@pytest.mark.parametrize("budget", [1e18, 1e19, 1e20, 1e21])
def test_one_budget_in_bits_is_named(budget):
    table = a_table(budgets=(1e18, 1e19, 1e20, 1e21), noise=0.002)
    table.loc[table.compute_budget == budget, "loss"] /= math.log(2)
    note = note_of(fit(read_runs(table), "parametric", resamples=20), "mixed-units")
    assert f"The 9 losses of budget {budget:.0e}" in note
    assert "in bits and the others in nats" in note
    assert "multiply them by 0.693" in note


def test_a_held_out_budget_that_contradicts_the_others_is_named():
    table = a_table(budgets=np.geomspace(1e18, 1e21, 5), noise=0.001)
    table.loc[table.compute_budget == 1e21, "loss"] *= 1.1
    note = note_of(fit(read_runs(table), resamples=20), "held-out-miss")
    assert note.startswith("The largest budget contradicts the smaller ones: its loss is")
    assert "tokens" in note


def test_a_held_out_budget_that_agrees_is_no_note():
    table = a_table(budgets=np.geomspace(1e18, 1e21, 5), noise=0.001)
    assert "held-out-miss" not in codes(fit(read_runs(table), resamples=20))


@pytest.mark.parametrize(
    ("factor", "cause"),
    [
        (0.5, "multiply-accumulates count as one FLOP; multiply by 2"),
        (1 / 3, "only the forward pass is counted; multiply by 3"),
        (0.63, "tokens may include padding"),
        (768, "usual where a token is an example of many patches, pixels or frames"),
    ],
)
def test_flops_of_another_kind_are_doubted_with_their_usual_cause(factor, cause):
    table = a_table()
    table["flops"] = table.compute_budget * factor
    table["compute_budget"] *= factor
    assert cause in note_of(fit(read_runs(table), resamples=20), "odd-flops")


@pytest.mark.parametrize("factor", [0.75, 1.0, 1.33, 1.7])
def test_usual_flops_are_not_doubted(factor):
    table = a_table()
    table["flops"] = table.compute_budget * factor
    table["compute_budget"] *= factor
    assert "odd-flops" not in codes(fit(read_runs(table), resamples=20))


def test_losses_far_below_the_others_are_set_aside():
    table = a_table(noise=0.002)
    table.loc[4, "loss"] /= 2
    fitted = fit(read_runs(table), resamples=20)
    assert "far below that of runs like it" in note_of(fitted, "set-aside")
    assert len(fitted.runs) == len(table) - 1


def test_two_data_sets_in_one_table_are_doubted():
    table = a_table(noise=0.002)
    both = _concatenated((table, table.assign(loss=table.loss * 1.1)))
    note = note_of(fit(read_runs(both), resamples=20), "replicates-differ")
    assert "differ by 6.7 % of their loss" in note


def test_seeds_are_no_doubt():
    table = a_table(noise=0.002)
    both = _concatenated((table, table.assign(loss=table.loss * 1.004)))
    assert "replicates-differ" not in codes(fit(read_runs(both), resamples=20))


def test_tokens_of_one_device_in_one_budget_are_named():
    table = a_table(budgets=np.geomspace(1e18, 1e20, 5))
    table["flops"] = table.compute_budget
    table.loc[table.compute_budget == 1e19, "tokens"] /= 8
    note = note_of(fit(read_runs(table), resamples=20), "flops-not-of-params")
    assert "8.00 times 6·N·D" in note
    assert "some tokens or FLOPs are wrong" in note


def test_flops_that_do_not_follow_from_params_are_named():
    table = a_table()
    table["flops"] = 6 * table.params * table.tokens * np.where(np.arange(len(table)) % 2, 1, 4)
    both = _concatenated((table, table.assign(flops=table.flops * 4, loss=table.loss * 0.98)))
    note = note_of(
        fit(read_runs(both.drop(columns="compute_budget")), resamples=20), "flops-not-of-params"
    )
    assert "read_groups" in note


def test_diverged_runs_shape_no_valley():
    clean = read_runs(a_diverged_table().drop(index=[4, 22, 38]))
    assert [each.num_params for each in valleys(read_runs(a_diverged_table()))] == [
        each.num_params for each in valleys(clean)
    ]

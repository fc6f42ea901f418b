"""Curves of a run that is still training, against the forecast of its final loss."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

import isoflop
from fitting.sweeps import published
from isoflop.answers.watch import watch
from isoflop.errors import DataError
from isoflop.fitting.approaches.parametric import Parametric
from isoflop.fitting.fit import fit
from isoflop.storage.curve_file import read_curve
from isoflop.storage.records import dump_curve
from known_law import LAW, a_sweep

N, D = (float(each) for each in LAW.optimum(1e21))
FINAL = float(LAW.loss(N, D))


def reducible(share):
    """What a cosine schedule holds back, as a share of the loss above the floor."""
    return 0.25 * (1 - share) ** 1.2


def stable_then_decayed(share):
    return 0.2 * np.minimum(1, (1 - share) / 0.2)


def curve_of(num_params, num_tokens, until=1.0, factor=1.0, seed=0, held=reducible):
    """Training losses of a run of the known law, with noise of 1 % at each of 200 points."""
    share = np.linspace(0.005, until, round(200 * until))
    noise = np.random.default_rng([seed, round(num_params)]).standard_normal(len(share))
    law = LAW.loss(num_params, num_tokens * share)
    losses = factor * (law + held(share) * (law - LAW.E)) * np.exp(0.01 * noise)
    return tuple(zip((share * num_tokens).tolist(), losses.tolist(), strict=True))


def a_fit(seed=0, held=reducible):
    runs = [
        replace(
            run,
            curve=curve_of(
                run.num_params,
                run.num_tokens,
                factor=run.loss / float(LAW.loss(run.num_params, run.num_tokens)),
                seed=seed,
                held=held,
            ),
        )
        for run in a_sweep(noise=0.003, seed=seed)
    ]
    return fit(runs, Parametric(), resamples=200)


@pytest.fixture(scope="module")
def fitted():
    return a_fit()


@pytest.fixture(scope="module")
def without_curves():
    return fit(a_sweep(noise=0.003), Parametric(), resamples=200)


@pytest.mark.parametrize("until", [0.2, 0.5, 0.9, 1.0])
def test_a_run_of_the_law_is_on_course_and_its_final_loss_in_the_interval(fitted, until):
    watched = watch(fitted, curve_of(N, D, until, seed=1), num_params=N, num_tokens=D)

    assert watched.course == "on course"
    assert watched.projected.low <= FINAL <= watched.projected.high
    assert watched.projected.value == pytest.approx(FINAL, rel=0.015)
    assert watched.num_curves == len(fitted.runs) == 21
    assert watched.share == pytest.approx(until)


@pytest.mark.parametrize("until", [0.2, 0.5, 0.9, 1.0])
def test_a_loss_five_percent_too_high_is_seen(fitted, until):
    curve = curve_of(N, D, until, factor=1.05, seed=1)
    watched = watch(fitted, curve, num_params=N, num_tokens=D)

    assert watched.course == "above"
    assert watched.unseen_excess < 0.05
    assert "Off course" in str(watched)


def test_a_loss_five_percent_too_low_is_seen(fitted):
    curve = curve_of(N, D, 0.5, factor=0.95, seed=1)
    assert watch(fitted, curve, num_params=N, num_tokens=D).course == "below"


@pytest.mark.parametrize("held", [reducible, stable_then_decayed])
def test_intervals_hold_the_final_loss_as_often_as_they_say(held):
    inside = 0
    for seed in range(5):
        found = a_fit(seed, held)
        for until in (0.15, 0.4, 0.7, 0.9):
            curve = curve_of(N, D, until, seed=seed + 50, held=held)
            projected = watch(found, curve, num_params=N, num_tokens=D).projected
            inside += projected.low <= FINAL <= projected.high
    assert inside >= 16  # of 20, at a level of 90 %


def test_the_interval_narrows_towards_the_end(fitted):
    widths = [
        np.log(projected.high / projected.low)
        for until in (0.2, 0.5, 1.0)
        for projected in [
            watch(fitted, curve_of(N, D, until, seed=1), num_params=N, num_tokens=D).projected
        ]
    ]
    assert widths == sorted(widths, reverse=True)


def test_curves_of_another_schedule_are_left_out():
    found = a_fit()
    runs = [
        replace(run, spec=replace(run.spec, schedule="cosine" if row < 15 else "constant"))
        for row, run in enumerate(found.runs)
    ]
    watched = watch(
        replace(found, runs=tuple(runs)), curve_of(N, D, 0.5), num_params=N, num_tokens=D
    )
    assert watched.num_curves == 15
    assert "their schedule, cosine," in watched.reason


def test_warm_up_is_too_early(fitted):
    watched = watch(fitted, curve_of(N, D, 0.08), num_params=N, num_tokens=D)
    assert (watched.course, watched.projected) == ("unknown", None)
    assert "Too early" in watched.reason


def test_a_diverged_run_is_off_course(fitted):
    curve = (*curve_of(N, D, 0.5), (0.51 * D, float("nan")))
    watched = watch(fitted, curve, num_params=N, num_tokens=D)
    assert (watched.course, watched.projected) == ("above", None)
    assert "diverged" in str(watched)


def test_without_curves_only_what_is_certain_is_said(without_curves):
    def course(until, factor):
        curve = curve_of(N, D, until, factor=factor, seed=1)
        watched = watch(without_curves, curve, num_params=N, num_tokens=D)
        assert watched.projected is None
        return watched.course

    assert [course(0.5, factor) for factor in (1.0, 1.3)] == ["unknown", "unknown"]
    assert course(0.9, 0.7) == "below"
    assert [course(1.0, factor) for factor in (1.0, 1.1)] == ["on course", "above"]
    watched = watch(without_curves, curve_of(N, D, 0.5), num_params=N, num_tokens=D)
    assert "cannot be judged before its end" in str(watched)


def test_few_curves_are_counted(fitted):
    runs = [run if row < 5 else replace(run, curve=()) for row, run in enumerate(fitted.runs)]
    few = replace(fitted, runs=tuple(runs))
    watched = watch(few, curve_of(N, D, 0.5), num_params=N, num_tokens=D)
    assert watched.course == "unknown"
    assert "only 5 of its runs have" in watched.reason


def test_a_curve_longer_than_its_run_is_refused(fitted):
    with pytest.raises(DataError, match="check num_tokens"):
        watch(fitted, curve_of(N, D), num_params=N, num_tokens=D / 2)


def test_the_table_has_the_printed_numbers(fitted):
    watched = watch(fitted, curve_of(N, D, 0.5), num_params=N, num_tokens=D)
    (row,) = watched.to_frame().to_dict("records")
    assert row["projected_low"] == watched.projected.low
    assert row["course"] == watched.course


def test_a_curve_is_read_from_a_table_a_frame_pairs_and_a_stored_file(tmp_path):
    points = ((1e6, 5.0), (2e6, 4.0), (3e6, 3.5))
    csv, stored = tmp_path / "curve.csv", tmp_path / "curve.jsonl"
    csv.write_text("step,tokens_M,train/loss\n1,1,5\n2,2,\n2,2,4\n3,3,3.5\n")
    stored.write_text(dump_curve(points))
    frame = pd.DataFrame({"Tokens": [1e6, 2e6, 2.5e6, 3e6], "loss": [5.0, 4.0, np.nan, 3.5]})

    assert read_curve(csv) == read_curve(stored) == read_curve(frame) == points
    assert read_curve(points) == points
    assert read_curve(csv, {"tokens": "step * 1e6"}) == points


def test_points_that_a_resumed_run_trained_again_count_once():
    points = [(1.0, 5.0), (2.0, 9.0), (3.0, 9.0), (2.0, 4.0), (3.0, 3.5)]
    assert read_curve(points) == ((1.0, 5.0), (2.0, 4.0), (3.0, 3.5))


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("step,loss\n1,2\n", "has no column 'tokens'; it has step and loss"),
        ("tokens,val_loss\n1,2\n", "--curve-column loss="),
        ("tokens,loss\n1e6,\n", "has none"),
    ],
)
def test_a_table_without_a_curve_is_one_sentence(tmp_path, text, sentence):
    path = tmp_path / "curve.csv"
    path.write_text(text)
    with pytest.raises(DataError, match="^[^\n]*$") as caught:
        read_curve(path)
    assert sentence in str(caught.value)


@pytest.mark.parametrize("wrong", [3, [1.0, 2.0], "nowhere.csv"])
def test_what_is_no_curve_is_refused(wrong):
    with pytest.raises(isoflop.IsoflopError):
        read_curve(wrong)


@pytest.fixture(scope="module")
def gemstones():
    """Published runs of one trunk each at a constant rate, with fifty checkpoints, by size."""
    rows = published("gemstones_curves_hot.csv")
    runs = []
    for name in dict.fromkeys(row.group for row in rows):
        mine = sorted((row for row in rows if row.group == name), key=lambda row: row.num_tokens)
        curve = tuple((row.num_tokens, row.loss) for row in mine)
        runs.append(replace(mine[-1], curve=curve))
    return sorted(runs, key=lambda run: run.num_params)


@pytest.mark.parametrize("until", [0.2, 0.4, 0.6, 0.8, 0.95])
def test_published_runs_of_up_to_2b_params_end_where_those_of_a_quarter_say(gemstones, until):
    smaller, larger = gemstones[:-6], gemstones[-6:]
    assert smaller[-1].num_params < 0.6e9 < 1e9 < larger[0].num_params
    law = fit(a_sweep(), Parametric(), resamples=20)  # of the forecast alone, not the projection
    found = replace(law, runs=tuple(smaller))
    for run in larger:
        curve = [point for point in run.curve if point[0] <= until * run.num_tokens]
        projected = watch(
            found, curve, num_params=run.num_params, num_tokens=run.num_tokens
        ).projected
        assert projected.low <= run.loss <= projected.high
        assert projected.value == pytest.approx(run.loss, rel=0.01)
        assert projected.high / projected.low < 1.04

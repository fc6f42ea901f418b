import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest
from made import BUDGETS, make_run
from matplotlib.figure import Figure

from isoflop.answers.predict import predict
from isoflop.errors import DataError
from isoflop.figures import isoflop_curves, optimum_law, valleys_of
from isoflop.fitting.approaches.isoflop import IsoFLOP, valleys
from isoflop.fitting.approaches.parametric import Parametric
from isoflop.fitting.fit import fit
from isoflop.reporting.axes import scientific
from isoflop.reporting.colours import ramp


def texts(ax):
    return [text.get_text() for text in ax.texts]


def test_each_run_is_a_point_of_its_budget(fitted):
    points = [line for line in isoflop_curves(fitted).lines if line.get_marker() == "o"]

    drawn = sorted(tuple(xy) for line in points for xy in line.get_xydata())

    assert drawn == sorted((run.num_params, run.loss) for run in fitted.runs)
    assert [line.get_color() for line in points] == ramp(len(BUDGETS))


def test_curves_and_minima_are_those_of_the_fit(fitted):
    ax = isoflop_curves(fitted)
    marks = [line for line in ax.lines if line.get_marker() == "D"]
    curves = [
        line for line in ax.lines if line.get_linestyle() == "-" and len(line.get_xdata()) == 100
    ]

    for valley, mark, curve in zip(valleys(fitted.runs), marks, curves, strict=True):
        assert (mark.get_xdata()[0], mark.get_ydata()[0]) == (valley.num_params, valley.loss)
        np.testing.assert_array_equal(curve.get_ydata(), valley.loss_at(curve.get_xdata()))
        assert (curve.get_xdata()[0], curve.get_xdata()[-1]) == pytest.approx(valley.window)


def test_the_dashed_line_is_what_predict_answers(fitted):
    (path,) = [line for line in isoflop_curves(fitted).lines if line.get_linestyle() == "--"]
    answer = predict(fitted, flops=BUDGETS[-1])

    assert path.get_xdata()[-1] == pytest.approx(answer.num_params.value)
    assert path.get_ydata()[-1] == pytest.approx(answer.loss.value)


def test_budgets_are_named_from_the_smallest_down(fitted):
    assert texts(isoflop_curves(fitted)) == ["3×10¹⁸", "10¹⁸", "3×10¹⁷", "10¹⁷", "FLOPs"]


def test_a_minimum_that_is_not_bracketed_is_a_hollow_mark_on_the_lowest_run(sweep):
    cut = [*sweep[:21], *sweep[24:]]  # the largest budget keeps the sizes from its best one on
    ax = isoflop_curves(fit(cut, Parametric()))
    marks = [line for line in ax.lines if line.get_marker() == "D"]
    lowest = min((run for run in cut if run.budget == 3e18), key=lambda run: run.loss)

    assert tuple(marks[-1].get_xydata()[0]) == (lowest.num_params, lowest.loss)
    assert marks[-1].get_markerfacecolor() != marks[-1].get_markeredgecolor() == ramp(4)[-1]


def test_runs_far_above_the_curves_are_counted_and_not_drawn(sweep):
    budget = BUDGETS[-1]
    far = [make_run(1e10, budget / 6e10, loss, budget=budget) for loss in (9.0, 9.1)]
    ax = isoflop_curves(fit([*sweep, *far], Parametric()))

    assert "2 runs lie above" in texts(ax)
    assert ax.get_ylim()[1] < 9


def test_very_many_runs_are_small_points_in_one_picture(fitted):
    crowd = fitted.runs[0:7] * 200
    points = isoflop_curves(replace(fitted, runs=crowd)).lines[0]

    assert points.get_rasterized()
    assert points.get_markersize() < 2


def test_curves_are_drawn_as_the_approach_fitted_them(sweep):
    drawn = valleys_of(fit(sweep, IsoFLOP(window=None)))

    assert [valley.window for valley in drawn] == [
        valley.window for valley in valleys(sweep, window=None)
    ]


def test_curves_without_budgets_are_refused(sweep):
    free = [make_run(run.num_params, run.num_tokens, run.loss) for run in sweep]

    with pytest.raises(
        DataError, match="need runs that share a compute budget, but no run of the fit has one"
    ):
        isoflop_curves(fit(free, Parametric()))


def test_the_band_is_the_interval_that_predict_gives(fitted, answer):
    ax = optimum_law(fitted, answer)
    tokens, params = (line for line in ax.lines if len(line.get_xdata()) == 25)
    flops = params.get_xdata()[7]
    expected = predict(fitted, flops=float(flops))

    assert params.get_ydata()[7] == pytest.approx(expected.num_params.value)
    assert tokens.get_ydata()[7] == pytest.approx(expected.num_tokens.value)
    band = ax.collections[1].get_paths()[0].vertices
    heights = band[np.isclose(band[:, 0], flops), 1]
    assert (heights.min(), heights.max()) == pytest.approx(
        (expected.num_params.low, expected.num_params.high)
    )


def test_the_answer_is_marked_with_its_numbers(fitted, answer):
    ax = optimum_law(fitted, answer)
    marks = {line.get_ydata()[0] for line in ax.lines if line.get_markersize() == 9}

    assert marks == {answer.num_params.value, answer.num_tokens.value}
    assert {"params", "tokens", "measured"} < set(texts(ax))


def test_the_law_is_drawn_without_an_answer_too(fitted_by_valleys):
    ax = optimum_law(fitted_by_valleys)

    assert ax.get_xlim()[0] < BUDGETS[0]
    assert ax.get_xlim()[1] > BUDGETS[-1]


def test_the_runs_range_is_shaded(fitted):
    left, right = (f(run.flops for run in fitted.runs) for f in (min, max))
    shade = optimum_law(fitted).patches[0]

    assert (shade.get_x(), shade.get_x() + shade.get_width()) == pytest.approx((left, right))


@pytest.mark.parametrize("draw", [isoflop_curves, optimum_law])
def test_figures_are_drawn_where_the_caller_wants_them(fitted, draw):
    ax = Figure().subplots()

    assert draw(fitted, ax=ax) is ax


def test_drawing_leaves_pyplot_alone():
    code = "import sys, isoflop.reporting.page; print('matplotlib.pyplot' in sys.modules, 'torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)

    assert done.stdout.split() == ["False", "False"]


def test_large_numbers_are_written_with_powers():
    assert [scientific(value) for value in (1e19, 5.76e23, 2.5e-3)] == [
        "10¹⁹",
        "5.76×10²³",
        "2.5×10⁻³",
    ]


def test_budgets_too_small_for_a_curve_show_their_runs(fitted, sweep):
    pairs = tuple(run for i, run in enumerate(sweep) if i % 7 < 2)
    ax = isoflop_curves(replace(fitted, runs=pairs))
    low, high = ax.get_ylim()

    assert low < min(run.loss for run in pairs) < max(run.loss for run in pairs) < high
    assert not any("above" in text for text in texts(ax))


def test_the_default_approach_can_be_drawn(sweep):
    fitted = fit(sweep)

    assert isoflop_curves(fitted).lines
    assert optimum_law(fitted, predict(fitted, flops=1e20)).lines

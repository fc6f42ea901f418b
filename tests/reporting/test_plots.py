import math
from dataclasses import replace

import numpy as np
import pytest
from made import make_run
from matplotlib.figure import Figure

from isoflop.answers.by_approach import answers_by_approach
from isoflop.answers.frontier import frontier
from isoflop.answers.predict import predict
from isoflop.errors import DataError
from isoflop.figures import (
    collapse_plot,
    loss_frontier,
    loss_surface,
    optimum_law,
    regret_curve,
    residuals,
    side_by_side,
)
from isoflop.fitting.approaches.envelope import Envelope
from isoflop.fitting.approaches.isoflop import IsoFLOP
from isoflop.fitting.approaches.parametric import Parametric
from isoflop.fitting.fit import fit
from isoflop.reporting.figures.collapse import collapsed
from isoflop.reporting.figures.law import reach
from isoflop.reporting.figures.residuals import misses
from isoflop.reporting.figures.surface import losses_over
from isoflop.reporting.figures.waste import wastes


def texts(ax):
    return [text.get_text() for text in ax.texts]


def with_curves(runs, *, odd=None):
    """Runs whose training loss falls along one line to their own; the odd one's stays high."""
    share = np.linspace(0.01, 1, 100)
    told = []
    for number, run in enumerate(runs):
        run = replace(run, loss=1.05 * run.loss) if number == odd else run
        relative = 0.3 * (1 - share) ** 2 + (0.2 * (share < 0.8) if number == odd else 0)
        told.append(
            replace(
                run,
                curve=tuple(zip(share * run.num_tokens, run.loss * (1 + relative), strict=True)),
            )
        )
    return told


def test_the_loss_frontier_is_what_predict_says(fitted, answer):
    ax = loss_frontier(fitted, answer)
    line = next(line for line in ax.lines if len(line.get_xdata()) == 25)
    mark = next(line for line in ax.lines if line.get_markersize() == 9)

    for flops, loss in list(zip(line.get_xdata(), line.get_ydata(), strict=True))[::6]:
        assert loss == pytest.approx(predict(fitted, flops=float(flops)).loss.value)
    assert mark.get_ydata()[0] == answer.loss.value


def test_known_answers_are_drawn_as_they_are(fitted, answer):
    along = frontier(fitted, np.geomspace(1e17, 1e21, 7))

    for draw in (optimum_law, loss_frontier):
        assert any(len(line.get_xdata()) == 7 for line in draw(fitted, answer, along=along).lines)


def test_waste_is_nothing_at_the_best_size_and_as_the_answer_expects(fitted, answer):
    best = answer.num_params.value
    (sure, expected, low, high), (twice, *_) = wastes(
        fitted, answer.flops, np.array([best, 2 * best])
    )

    assert sure == pytest.approx(0, abs=1e-9)
    assert expected == pytest.approx(answer.regret.value, rel=1e-6)
    assert low <= high
    alpha, beta = fitted.law.alpha, fitted.law.beta
    assert twice == pytest.approx(
        0.5 * (alpha + beta) * math.log(2) ** 2, rel=0.2
    )  # to second order


def test_the_regret_curve_shades_the_band_of_the_answer(fitted, answer):
    ax = regret_curve(fitted, answer.flops)
    shade = ax.patches[0]

    assert (shade.get_x(), shade.get_x() + shade.get_width()) == pytest.approx(answer.band)
    assert {"if the law is right", "expected, over the doubt"} <= set(texts(ax))


def test_residuals_are_of_the_law_and_far_ones_are_counted(sweep, fitted):
    ax = residuals(fitted)
    drawn = sorted(y for line in ax.lines if line.get_marker() == "o" for y in line.get_ydata())
    expected = [
        run.loss / fitted.law.loss(run.num_params, run.num_tokens) - 1 for run in fitted.runs
    ]

    assert drawn == pytest.approx(sorted(expected))
    assert misses(fitted) == pytest.approx(expected)
    odd = fit([*sweep, make_run(1e8, 1e9, 9.0, budget=6e17)], Parametric(), keep="all")
    assert any("beyond" in text for text in texts(residuals(odd)))


def test_the_surface_is_the_laws_loss_with_the_frontier_on_it(fitted, answer):
    losses = losses_over(fitted, np.array([1e8, 1e9]), np.array([1e9, 1e10, 1e11]))

    assert losses.shape == (3, 2)
    assert losses[2, 0] == pytest.approx(float(fitted.law.loss(1e8, 1e11)))
    ax = loss_surface(fitted, answer)
    assert "the answer" in texts(ax)
    line = next(line for line in ax.lines if len(line.get_xdata()) == 25)
    assert line.get_xdata()[-1] == pytest.approx(
        float(fitted.law.optimum(frontier_end(fitted, answer))[0])
    )


def frontier_end(fitted, answer):
    return reach(fitted, answer)[-1]


def test_curves_of_well_scaled_runs_collapse_and_an_odd_one_is_named(sweep):
    assert not collapsed(with_curves(sweep)).strange.any()
    found = collapsed(with_curves(sweep, odd=5))

    assert np.flatnonzero(found.strange).tolist() == [5]
    assert found.relative.shape == (28, len(found.share))
    named = texts(collapse_plot(with_curves(sweep, odd=5)))
    assert sum("params," in text and "tokens" in text for text in named) == 1


def test_runs_without_curves_cannot_collapse(sweep):
    with pytest.raises(
        DataError, match="at least 3 runs with a training curve of 20 points, but got 0"
    ):
        collapse_plot(sweep)


def test_every_approach_is_asked_and_says_why_it_has_no_answer(sweep):
    free = fit([make_run(run.num_params, run.num_tokens, run.loss) for run in sweep], Parametric())
    asked = answers_by_approach(free, predict(free, flops=1e20))

    assert asked[0].is_the_answer
    assert [one.name.partition(":")[0] for one in asked] == [
        "Approach 3",
        "Bayesian",
        "Kriging",
        "Approach 2",
        "Approach 1",
    ]
    assert asked[3].optimum is None
    assert "at least 2 budgets" in asked[3].reason


def test_every_approach_is_asked_under_the_conditions_of_the_answer(sweep):
    law = fit(sweep, Parametric(), resamples=50)
    served = predict(law, flops=1e20, served_tokens=1e13)
    asked = {one.name.partition(":")[0]: one.optimum for one in answers_by_approach(law, served)}
    plain = predict(law, flops=served.flops).num_params.value

    assert asked["Kriging"].serving.tokens == 1e13
    assert asked["Kriging"].num_params.value == pytest.approx(served.num_params.value, rel=0.2)
    assert plain > 1.5 * served.num_params.value
    assert asked["Approach 2"] is None


def test_answers_stand_side_by_side(fitted, answer):
    asked = answers_by_approach(fitted, answer)
    ax = side_by_side(asked)
    drawn = [line.get_xdata()[0] for line in ax.lines if line.get_marker() == "o"]

    assert drawn == [one.optimum.num_params.value for one in asked if one.optimum is not None]
    assert ax.patches[0].get_x() == pytest.approx(answer.num_params.low)


@pytest.mark.parametrize(
    ("approach", "draw"),
    [
        (Envelope(), lambda fitted: loss_frontier(fitted)),
        (Envelope(), lambda fitted: regret_curve(fitted, 1e20)),
        (IsoFLOP(), lambda fitted: residuals(fitted)),
        (IsoFLOP(), lambda fitted: loss_surface(fitted)),
    ],
)
def test_figures_that_an_approach_cannot_fill_are_refused(sweep, approach, draw):
    with pytest.raises(DataError, match="has no law for the loss"):
        draw(fit(sweep, approach))


def test_no_answers_cannot_stand_side_by_side():
    with pytest.raises(DataError, match="No approach has an answer"):
        side_by_side([])


def test_every_figure_is_drawn_where_the_caller_wants_it(fitted, answer, sweep):
    draws = [
        lambda ax: loss_frontier(fitted, ax=ax), lambda ax: regret_curve(fitted, 1e20, ax=ax),
        lambda ax: residuals(fitted, ax=ax), lambda ax: loss_surface(fitted, ax=ax),
        lambda ax: collapse_plot(with_curves(sweep), ax=ax), lambda ax: side_by_side(answers_by_approach(fitted, answer), ax=ax),
    ]  # fmt: skip
    for draw in draws:
        ax = Figure().subplots()
        assert draw(ax) is ax

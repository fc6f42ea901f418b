"""A law, an approach, a condition or a figure is added in one file; nothing else of the library changes."""

import json

import pytest

import isoflop
from extending.own_approach import LowestLoss
from extending.own_condition import NoisyData
from extending.own_figure import tokens_per_param
from extending.own_law import HalfLaw
from isoflop.reporting.json_output import to_json
from known_law import a_sweep

TRUE = HalfLaw(E=1.7, A=400.0, B=60.0, alpha=0.36)


def runs_of(law):
    return a_sweep(law, (1e17, 1e18, 1e19, 1e20), reach=5.0, noise=1e-4)


def test_a_law_of_ones_own_is_fitted_predicted_printed_and_reported(tmp_path):
    fit = isoflop.fit(runs_of(TRUE), isoflop.Parametric(law=HalfLaw()), resamples=50)
    assert fit.law.alpha == pytest.approx(TRUE.alpha, rel=0.05)
    answer = isoflop.predict(fit, flops=1e21)
    assert answer.num_params.value == pytest.approx(float(TRUE.optimum(1e21)[0]), rel=0.1)
    assert answer.num_params.low < answer.num_params.high
    assert answer.regret.value < 0.05
    assert fit.table().values()[3][0] == "alpha"
    page = isoflop.report(fit, answer, path=tmp_path / "page.html").read_text()
    assert "<sup>0.3" in page


def test_a_law_of_ones_own_takes_the_conditions_of_a_question():
    fit = isoflop.fit(runs_of(TRUE), isoflop.Parametric(law=HalfLaw()), resamples=50)
    plain = isoflop.predict(fit, flops=1e21)
    served = isoflop.predict(fit, flops=1e21, served_tokens=1e12)
    assert served.num_params.value < plain.num_params.value


def test_a_condition_of_ones_own_is_answered_printed_and_written_beside_the_others():
    fit = isoflop.fit(runs_of(TRUE), isoflop.Parametric(law=HalfLaw()), resamples=50)
    plain = isoflop.predict(fit, flops=1e21)
    same = isoflop.predict(fit, flops=1e21, conditions=[NoisyData(1.0)])
    assert same.num_params.value == pytest.approx(plain.num_params.value)
    noisy = isoflop.predict(fit, flops=1e21, served_tokens=1e11, conditions=[NoisyData(0.5)])
    clean = isoflop.predict(fit, flops=1e21, served_tokens=1e11)
    assert noisy.loss.value > clean.loss.value
    assert noisy.num_tokens.value > clean.num_tokens.value
    assert noisy.effects["noise"].useful.value == pytest.approx(noisy.num_tokens.value / 2)
    assert "useful tokens" in str(noisy)
    values = json.loads(to_json(noisy))
    assert values["noise"]["useful"]["value"] == noisy.effects["noise"].useful.value
    assert values["serving"]["tokens"] == 1e11


def test_an_impossible_condition_of_ones_own_is_refused():
    fit = isoflop.fit(runs_of(TRUE), isoflop.Parametric(law=HalfLaw()), resamples=50)
    with pytest.raises(isoflop.DataError, match=r"share must be in \(0, 1\]"):
        isoflop.predict(fit, flops=1e21, conditions=[NoisyData(2.0)])
    with pytest.raises(isoflop.DataError, match="each of conditions must be an instance"):
        isoflop.predict(fit, flops=1e21, conditions=["noisy"])


def test_an_approach_of_ones_own_gives_a_fit_and_an_answer_with_an_interval():
    fit = isoflop.fit(runs_of(TRUE), LowestLoss(), resamples=200)
    answer = isoflop.predict(fit, flops=1e21)
    assert answer.num_params.low < answer.num_params.value < answer.num_params.high
    assert answer.loss is None
    assert answer.num_params.value == pytest.approx(float(TRUE.optimum(1e21)[0]), rel=1.0)


def test_a_figure_of_ones_own_draws_what_predict_answers():
    fit = isoflop.fit(runs_of(TRUE), isoflop.Parametric(law=HalfLaw()), resamples=50)
    (line,) = tokens_per_param(fit).lines
    flops, ratios = line.get_data()
    answer = isoflop.predict(fit, flops=float(flops[-1]))
    assert flops[-1] == pytest.approx(1e21)
    assert ratios[-1] == pytest.approx(answer.num_tokens.value / answer.num_params.value, rel=1e-6)

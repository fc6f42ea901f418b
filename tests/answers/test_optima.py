import pytest

from isoflop.answers.predict import Optima, predict
from isoflop.errors import DataError
from isoflop.fitting.approaches.isoflop import IsoFLOP
from isoflop.fitting.approaches.parametric import Parametric
from isoflop.fitting.fit import fit
from known_law import a_wide_sweep

COMPUTES = [1e20, 1e21, 1e23]


@pytest.fixture(scope="module")
def fitted():
    return fit(a_wide_sweep(noise=0.005), Parametric(), resamples=50)


@pytest.fixture(scope="module")
def table(fitted):
    return predict(fitted, flops=COMPUTES)


def test_several_computes_give_the_answers_to_each_in_their_order(fitted, table):
    assert isinstance(table, Optima)
    assert list(table) == [predict(fitted, flops=flops) for flops in COMPUTES]
    assert table[1:] == Optima(tuple(predict(fitted, flops=flops) for flops in COMPUTES[1:]))


def test_they_print_as_the_compute_optimal_table_with_the_doubts_of_the_farthest(table):
    lines = str(table).splitlines()
    assert lines[0].split() == [
        "FLOPs",
        "params",
        "90",
        "%",
        "tokens",
        "90",
        "%",
        "loss",
        "90",
        "%",
    ]
    assert [line.split()[0] for line in lines[1:4]] == ["1e+20", "1e+21", "1e+23"]
    assert lines[4].startswith("  - The target is 100 times the largest run")


def test_doubts_of_another_answer_than_the_farthest_are_told_with_its_compute(fitted):
    table = predict(fitted, flops=[1e20, 1e15, 1e14, 1e23])
    codes = [note.code for note in table.notes]
    assert codes.count("below-runs") == 1
    (below,) = [note for note in table.notes if note.code == "below-runs"]
    assert below.startswith("At 1e+14 FLOPs: The target is a 10000th of the smallest run's")
    assert below in " ".join(str(table).split())


def test_a_notebook_shows_the_same_cells(table):
    shown = table._repr_html_()
    assert shown.startswith("<p><b>3 answers (90 % intervals)</b></p><table>")
    assert all(f">{cell}</td>" in shown for row in table.table().cells() for cell in row)


def test_markdown_latex_and_the_frame_hold_a_row_for_each(table):
    assert table.to_markdown().splitlines()[1].count(":") == 7
    assert len(table.to_markdown().splitlines()) == 5
    assert r"$10^{20}$ & " in table.to_latex()
    frame = table.to_frame()
    assert frame["flops"].tolist() == COMPUTES
    assert frame["params_low"].tolist() == [optimum.num_params.low for optimum in table]


@pytest.mark.parametrize("question", ["num_params", "num_tokens", "loss"])
def test_every_question_can_be_asked_of_several_values(fitted, question):
    asked = [getattr(predict(fitted, flops=flops), question).value for flops in COMPUTES]
    frame = predict(fitted, **{question: asked}).to_frame()
    assert frame["flops"].tolist() == pytest.approx(COMPUTES, rel=1e-6)
    assert (frame["flops_low"] < frame["flops"]).all()
    assert (frame["flops"] < frame["flops_high"]).all()


def test_serving_and_finite_data_have_columns_of_their_own(fitted):
    served = predict(fitted, flops=COMPUTES, served_tokens=1e12, unique_tokens=1e10).to_frame()
    assert served["total_flops"].tolist() == COMPUTES
    assert {"epochs", "overtraining"} < set(served.columns)
    assert (served["overtraining"] > 1).all()


def test_one_answer_and_a_fit_have_tables_too(fitted, table):
    assert table[0].to_frame().iloc[0].to_dict() == table.to_frame().iloc[0].to_dict()
    numbers = fitted.to_frame().set_index("number")
    assert list(numbers.index) == ["E", "A", "B", "alpha", "beta"]
    assert numbers.loc["alpha", "value"] == fitted.law.alpha
    assert (numbers["low"] < numbers["value"]).all()
    assert (numbers["value"] < numbers["high"]).all()


def test_the_table_of_a_frontier_names_the_numbers_of_its_power_laws():
    numbers = fit(a_wide_sweep(), IsoFLOP(), resamples=20).to_frame()["number"].tolist()
    assert numbers[:3] == ["num_params.coefficient", "num_params.exponent", "num_params.offset"]


def test_values_that_cannot_be_are_refused(fitted):
    with pytest.raises(DataError, match="flops must have at least one value, but got none"):
        predict(fitted, flops=[])
    with pytest.raises(DataError, match="flops must be above 0 and finite, but got -1"):
        predict(fitted, flops=[1e20, -1.0])

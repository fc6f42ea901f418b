import math
from dataclasses import replace
from io import StringIO

from made import SCRIPT, make_run
from rich.console import Console

from isoflop.answers.predict import predict
from isoflop.fitting.approaches.isoflop import valleys
from isoflop.fitting.fit import SetAside
from isoflop.reporting.tables import (
    optima_table,
    runs_table,
    specs_table,
    to_frame,
    to_html,
    to_latex,
    to_markdown,
    to_rich,
    to_text,
    valleys_table,
)
from isoflop.storage.tables import read_runs


def test_runs_line_up_with_numbers_to_the_right():
    runs = [make_run(1e6, 2e7, 4.5, budget=1e14), make_run(2.5e8, 1e9, 3.25, budget=3e18)]

    assert to_text(runs_table(runs)).splitlines() == [
        "params  tokens    FLOPs  budget   loss",
        " 1.00M   20.0M  1.2e+14   1e+14  4.500",
        "  250M   1.00B  1.5e+18   3e+18  3.250",
    ]


def test_losses_line_up_at_the_point():
    runs = [make_run(1e6, 2e7, loss) for loss in (11.25, 0.9876, 0.0123)]

    assert [row.split()[-1] for row in to_text(runs_table(runs)).splitlines()[1:]] == [
        "11.250",
        "0.988",
        "0.0123",
    ]


def test_metrics_have_a_column_each_that_read_runs_reads_back():
    runs = [replace(make_run(1e6, 2e7, 4.5), metrics={"accuracy": 0.25}), make_run(2e6, 2e7, 4.0)]
    table = runs_table(runs)

    assert table.headings() == ["params", "tokens", "FLOPs", "loss", "accuracy"]
    assert [row[-1] for row in table.cells()] == ["0.250", ""]
    again = read_runs(to_frame(table), columns={"accuracy": "accuracy"})
    assert [run.metrics for run in again] == [{"accuracy": 0.25}, {}]


def test_columns_that_no_run_fills_are_left_out():
    headings = runs_table([make_run(1e6, 2e7, 4.5)]).headings()

    assert headings == ["params", "tokens", "FLOPs", "loss"]


def test_runs_that_were_set_aside_come_last_with_the_reason():
    aside = SetAside(make_run(1e6, 2e7, math.nan), "its loss is not a number")

    rows = to_text(runs_table([make_run(1e6, 2e7, 4.5)], [aside])).splitlines()

    assert rows[-1].endswith("none  its loss is not a number")


def test_runs_that_failed_say_why():
    text = to_text(
        runs_table([make_run(1e6, 2e7, math.nan, status="diverged", error="loss became infinite")])
    )

    assert "diverged  loss became infinite" in text


def test_a_frame_of_runs_is_read_back_without_loss(sweep):
    frame = to_frame(runs_table(sweep))

    assert read_runs(frame) == sweep


def test_markdown_is_a_table_whose_cells_cannot_break_it():
    lines = to_markdown(runs_table([make_run(1e6, 2e7, 4.5, group="a|b")])).splitlines()

    assert lines[:2] == [
        "| run | params | tokens | FLOPs | loss |",
        "| :--- | ---: | ---: | ---: | ---: |",
    ]
    assert lines[2].startswith("| a\\|b | 1.00M |")


def test_a_rich_table_shows_names_without_obeying_them():
    console = Console(width=100, record=True, file=StringIO())

    console.print(
        to_rich(runs_table([make_run(1e6, 2e7, 4.5, group="[red]a[/red]")]), title="Runs")
    )

    assert "[red]a[/red]" in console.export_text()


def test_specs_show_what_a_sweep_asks_for(sweep):
    text = to_text(specs_table(run.spec for run in sweep[:1]))

    assert text.splitlines()[0].split() == ["budget", "params", "tokens", "per", "param", "FLOPs"]


def test_epochs_and_seeds_are_shown_where_they_tell_runs_apart(sweep):
    spec = replace(sweep[0].spec, batch=8, tokens_per_example=100.0, epochs=0.5)
    headings = specs_table([spec, replace(spec, seed=1)]).headings()
    assert "seed" in headings
    assert "epochs" not in headings
    assert "epochs" in specs_table([replace(spec, epochs=2.0)]).headings()
    assert specs_table([replace(spec, num_tokens=3200.0)], {}, {}).cells()[0][-3:-1] == ["4", "8"]


def test_valleys_show_minima_that_runs_bracket(sweep):
    rows = to_text(valleys_table(valleys(sweep))).splitlines()

    assert len(rows) == 5
    assert all(row.endswith(" bracketed") for row in rows[1:])


def test_a_minimum_that_no_runs_bracket_is_not_shown_as_a_number(sweep):
    (row,) = valleys_table(valleys(sweep[3:7])).rows  # sizes from the best one on

    assert row[3:] == (None, None, None, None, False)


def test_optima_over_budgets_have_their_intervals(fitted):
    optima = [predict(fitted, flops=flops) for flops in (1e19, 1e20)]

    frame = to_frame(optima_table(optima))

    assert list(frame["params"]) == [optimum.num_params.value for optimum in optima]
    assert (frame["loss_low"][1], frame["loss_high"][1]) == (
        optima[1].loss.low,
        optima[1].loss.high,
    )
    assert "90 %" in to_text(optima_table(optima))


def test_no_optima_make_an_empty_table():
    assert optima_table([]).rows == ()


def test_what_a_run_is_called_stays_as_it_is():
    assert SCRIPT in to_text(runs_table([make_run(1e6, 2e7, 4.5, group=SCRIPT)]))
    assert "&lt;script&gt;" in to_markdown(runs_table([make_run(1e6, 2e7, 4.5, group=SCRIPT)]))


def test_latex_writes_powers_as_print_does_and_its_own_signs_as_signs():
    lines = to_latex(runs_table([make_run(1e6, 2e7, 4.5, group="a_b & 10 %")])).splitlines()

    assert lines[0] == r"\begin{tabular}{lrrrr}"
    assert lines[4] == r"a\_b \& 10 \% & 1.00M & 20.0M & $1.2 \times 10^{14}$ & 4.500 \\"
    assert lines[-1] == r"\end{tabular}"


def test_html_shows_names_without_obeying_them():
    shown = to_html(runs_table([make_run(1e6, 2e7, 4.5, group=SCRIPT)]))

    assert SCRIPT not in shown
    assert "&lt;script&gt;" in shown
    assert '<td style="text-align: right">1.00M</td>' in shown


def test_notebooks_show_fits_and_answers_as_tables(fitted, answer):
    assert "<table>" in fitted._repr_html_()
    assert "best params" in fitted._repr_html_()
    assert answer._repr_html_().startswith("<p><b>Compute-optimal at 1e+20 FLOPs")
    assert all(note.split("<")[0][:40] in answer._repr_html_() for note in answer.notes)

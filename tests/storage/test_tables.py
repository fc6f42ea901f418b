import ast
import math
import shlex
import subprocess
import sys
import time

import numpy as np
import pandas as pd
import pytest

from isoflop.errors import DataError, StoreError
from isoflop.runs import Run, RunSpec
from isoflop.storage.directory import DirectoryStore
from isoflop.storage.store import MemoryStore
from isoflop.storage.tables import read_runs, read_table, table_notes

TABLE = "params,tokens,flops,loss,compute_budget\n1e6,2e7,1.3e14,4.5,1e14\n2e6,1e7,1.2e14,4.6,\n"

SIZES = [301_001, 604_003, 1_203_007, 2_404_001, 4_801_003, 9_600_007, 19_000_001]


@pytest.fixture
def write(tmp_path):
    def write(text, name="runs.csv"):
        path = tmp_path / name
        path.write_text(text, encoding="utf-8")
        return path

    return write


def refusal(source, **options):
    with pytest.raises(DataError) as caught:
        read_runs(source, **options)
    return str(caught.value)


def test_a_row_is_a_completed_run_with_its_numbers(write):
    first, second = read_runs(write(TABLE))

    assert (first.num_params, first.num_tokens, first.flops, first.loss, first.budget) == (
        1e6,
        2e7,
        1.3e14,
        4.5,
        1e14,
    )
    assert first.status == second.status == "completed"
    assert (first.spec.num_tokens, first.spec.flops) == (2e7, 1.3e14)


def test_an_empty_budget_is_no_budget(write):
    assert read_runs(write(TABLE))[1].budget is None


@pytest.mark.parametrize(
    "header",
    [
        "N,D,C,L,budget",
        "n,d,c,l,Compute_Budget",
        "num_params,num_tokens,total_flops,val_loss,flop_budget",
        "Parameters,Tokens Seen,Training FLOPs,val/loss,IsoFLOP budget",
        "param_count,train/tokens_seen,compute,eval.loss,budget",
    ],
)
def test_usual_names_are_understood_whatever_their_case(write, header):
    runs = read_runs(write(TABLE.replace("params,tokens,flops,loss,compute_budget", header)))

    assert runs == read_runs(write(TABLE))


def test_a_word_goes_before_a_letter(write):
    runs = read_runs(write("params,tokens,loss,c,n\n1e6,2e7,4.5,3e14,12\n"))

    assert (runs[0].num_params, runs[0].flops) == (1e6, 3e14)


def test_own_names_are_mapped_and_go_before_the_usual_ones(write):
    path = write("size_m,tokens,eval/nll,loss\n1e6,2e7,4.5,3.0\n")

    (run,) = read_runs(path, columns={"params": "size_m", "loss": "eval/nll"})

    assert (run.num_params, run.loss) == (1e6, 4.5)


def test_flops_default_to_six_n_d_without_overflow():
    frame = pd.DataFrame(
        {"params": [70_000_000_000], "tokens": [15_000_000_000_000], "loss": [1.9]}
    )  # int64

    assert read_runs(frame)[0].flops == pytest.approx(6.3e24)


def test_tokens_follow_from_flops_or_from_the_budget(write):
    from_flops = read_runs(write("params,flops,loss\n1e6,1.2e14,4.5\n"))
    from_budget = read_runs(write("parameters,compute_budget,final_loss\n1e6,1.2e14,4.5\n"))

    assert from_flops[0].num_tokens == from_budget[0].num_tokens == 2e7
    assert from_budget[0].budget == from_budget[0].flops == 1.2e14


def test_digits_of_a_table_are_kept_exactly(write):
    text = "0.1234567890123456789"

    assert read_runs(write(f"params,tokens,loss\n1e6,2e7,{text}\n"))[0].loss == float(text)


@pytest.mark.parametrize("cell", ["", "nan", "NaN", "inf", "-inf", "N/A"])
def test_a_row_without_a_loss_stays_a_run_with_loss_nan(write, cell):
    (run,) = read_runs(write(f"params,tokens,loss\n1e6,2e7,{cell}\n"))

    assert math.isnan(run.loss)
    assert run.status == "completed"


def test_a_row_without_params_is_a_run_that_failed(write):
    _, run = read_runs(write("params,tokens,loss\n1e6,2e7,4.5\n,2e7,4.5\n"))

    assert (run.status, run.error) == ("failed", "the table leaves out its params, tokens or FLOPs")


def test_what_a_tracker_calls_crashed_or_running_did_not_complete(write):
    states = ["finished", "crashed", "running", "diverged"]
    runs = read_runs(
        write("State,params,tokens,val_loss\n" + "".join(f"{s},1e6,2e7,4.5\n" for s in states))
    )

    assert [run.status for run in runs] == ["completed", "failed", "failed", "diverged"]
    assert runs[1].error == "its state is 'crashed'"


def test_the_run_column_groups_rows_of_one_trained_model(write):
    runs = read_runs(write("params,tokens,loss,run\n1e6,1e7,4.9,a\n1e6,2e7,4.5,a\n2e6,1e7,4.6,\n"))

    assert [run.group for run in runs] == ["a", "a", None]


def test_sizes_and_standard_errors_are_kept(write):
    runs = read_runs(
        write(
            "params,tokens,loss,size,loss_stderr\n1e6,1e7,4.9,64,0.01\n1e6,2e7,4.5,tiny,\n2,3,4,,\n"
        )
    )

    assert [run.size for run in runs] == [64, "tiny", None]
    assert [run.loss_stderr for run in runs] == [0.01, None, None]


@pytest.mark.parametrize(
    ("name", "sign"), [("runs.tsv", "\t"), ("runs.csv", ";"), ("runs.csv", ","), ("runs.txt", "\t")]
)
def test_tabs_and_semicolons_part_cells_too(write, name, sign):
    assert read_runs(write(TABLE.replace(",", sign), name)) == read_runs(write(TABLE, "plain.csv"))


def test_quotes_blank_lines_and_byte_order_marks_do_no_harm(write):
    text = '\ufeff"params","tokens","loss","run"\r\n\r\n1e6,2e7,4.5,"a, b\nc"\r\n,,,\r\n'

    (run,) = read_runs(write(text))

    assert run.group == "a, b\nc"


def test_a_frame_gives_the_same_runs_as_its_csv(write):
    path = write(TABLE)

    assert read_runs(pd.read_csv(path)) == read_runs(path)


def test_a_frame_of_nullable_numbers_is_read():
    frame = pd.DataFrame(
        {"params": [1e6, 2e6], "tokens": [2e7, 2e7], "loss": [4.5, None]}
    ).convert_dtypes()

    assert math.isnan(read_runs(frame)[1].loss)


def test_runs_are_given_back_as_they_are(write):
    runs = read_runs(write(TABLE))

    assert read_runs(tuple(runs)) == runs


def test_stores_are_read_by_folder_or_as_objects(tmp_path):
    spec = RunSpec(num_params=1e6, num_tokens=2e7, flops=1.2e14, budget=1e14)
    run = Run(spec=spec, status="completed", loss=4.5, num_tokens=2e7, flops=1.2e14)
    for store in (DirectoryStore(tmp_path / "store"), MemoryStore()):
        store.write_run(run)
        assert read_runs(store) == [run]

    assert read_runs(tmp_path / "store") == read_runs(str(tmp_path / "store")) == [run]


def test_a_folder_without_runs_is_refused(tmp_path):
    assert "holds no finished runs" in refusal(tmp_path)


def test_a_file_that_is_not_there_is_refused_with_where_it_was_looked_for(tmp_path):
    with pytest.raises(
        StoreError, match=r"no file or store .*missing\.csv; check the path, which is read from"
    ):
        read_runs(tmp_path / "missing.csv")


def test_a_file_of_another_kind_is_refused(write):
    assert "or .parquet file, but got runs.ods" in refusal(write("", "runs.ods"))


def test_a_file_that_is_not_text_is_refused(tmp_path):
    path = tmp_path / "runs.csv"
    path.write_bytes(b"params,tokens\n\xff\xfe")

    assert "must be UTF-8 text, but byte 14 is not" in refusal(path)


def test_a_broken_parquet_file_is_refused(write):
    assert "runs.parquet" in refusal(write("no parquet", "runs.parquet"))


def test_something_else_is_refused_by_its_type():
    assert "but got dict" in refusal({"params": [1]})
    assert "but got list" in refusal([1, 2])


@pytest.mark.parametrize("text", ["", "\n", "params,tokens,loss\n", "params,tokens,loss\n,,\n"])
def test_an_empty_table_is_refused(write, text):
    assert "must have at least one row of measurements, but runs.csv has none" in refusal(
        write(text)
    )


def test_missing_columns_are_named_with_what_was_found_and_a_guess(write):
    message = refusal(write("model params used,tokens,loss\n1e6,2e7,4.5\n"))

    assert message == (
        "runs.csv has no column for params; it has model params used, tokens and loss. Name the column, as in "
        "columns={'params': 'model params used'} (--column 'params=model params used')."
    )


@pytest.mark.parametrize(
    "header", ["parms,Token,val_los", "parameter,tokens,finl_loss", "num_parms,n_token,eval_los"]
)
def test_a_name_that_is_near_to_one_field_alone_is_taken_for_it_and_said(write, header):
    table = read_table(write(f"{header}\n1e6,2e7,4.5\n"))

    assert [(run.num_params, run.num_tokens, run.loss) for run in table.runs] == [(1e6, 2e7, 4.5)]
    assert "Columns of the table were read as follows: " in table.notes[0]
    assert repr(header.split(",")[0]) in table.notes[0]


@pytest.mark.parametrize(
    "header", ["mparams,tokens,loss", "params,mtokens,loss", "parms,params2,tokens,loss"]
)
def test_a_name_that_is_near_but_may_mean_something_else_is_refused(write, header):
    message = refusal(write(f"{header}\n{','.join('1234')[: 2 * header.count(',') + 1]}\n"))

    assert "has no column for" in message
    assert header.split(",")[0] in message


@pytest.mark.parametrize(
    "header",
    [
        "N (M),tokens_B,loss",
        "params [in millions],Tokens (1e9),loss",
        "n_params_M,train tokens in billions,loss",
    ],
)
def test_units_in_the_names_of_columns_are_used_and_said(write, header):
    table = read_table(write(f"{header}\n350,7,2.9\n"))

    assert [(run.num_params, run.num_tokens) for run in table.runs] == [(3.5e8, 7e9)]
    assert "params in units of 1e+06" in table.notes[0]
    assert "tokens in units of 1e+09" in table.notes[0]


def test_a_factor_in_the_mapping_goes_before_the_unit_of_the_name(write):
    path = write("N (M),D,loss,eval\n350,7,2.9,3\n")

    plain = read_table(path, columns={"params": "N (M)", "num_tokens": "D * 1e9"})
    stated = read_runs(path, columns={"params": "N (M) * 1e3", "tokens": "D*1e9"})

    assert (plain.runs[0].num_params, plain.runs[0].num_tokens) == (3.5e8, 7e9)
    assert "'D'" not in plain.notes[0]
    assert stated[0].num_params == 3.5e5


def test_a_column_whose_own_name_holds_a_product_is_that_column(write):
    assert (
        read_runs(write("N * 2,D,loss\n350,7,2.9\n"), columns={"params": "N * 2"})[0].num_params
        == 350
    )


def test_a_factor_for_the_loss_is_refused(write):
    assert "may give a factor for params, tokens" in refusal(
        write(TABLE), columns={"loss": "loss * 2"}
    )


def test_a_unit_in_a_name_that_makes_the_counts_impossible_is_refused(write):
    message = refusal(write("params (M),tokens,loss\n350000000,7e9,2.9\n1300000000,7e9,2.7\n"))

    assert "'params (M)' has the unit 1e+06 in its name, which makes the middle row" in message
    assert "columns={'params': 'params (M) * 1'}" in message
    assert "(--column 'params=params (M) * 1')" in message


def test_a_remedy_with_a_quote_in_a_name_can_be_pasted(write):
    table = write("GPT's params (M),tokens,loss\n350000000,7e9,2.9\n1300000000,7e9,2.7\n")
    message = refusal(table, columns={"params": "GPT's params (M)"})

    given = message.partition("columns=")[2].partition(" (--column ")
    assert ast.literal_eval(given[0]) == {"params": "GPT's params (M) * 1"}
    option = given[2].removesuffix(").")
    assert shlex.split(option) == ["params=GPT's params (M) * 1"]


def test_a_factor_that_makes_the_counts_impossible_is_not_laid_to_the_name(write):
    table = write("N,tokens,loss\n350000000,7e9,2.9\n1300000000,7e9,2.7\n")
    message = refusal(table, columns={"params": "N * 1e9"})

    assert "'N' has the unit 1e+09, which makes the middle row" in message
    assert "columns={'params': 'N * 1'}" in message


def test_all_missing_columns_are_named_at_once(write):
    message = refusal(write("a,b\n1,2\n"))

    assert "no column for params, loss or tokens" in message
    assert "columns={'params': 'my_column'}" in message


def test_a_guess_may_come_from_a_part_of_the_name(write):
    assert "columns={'loss': 'the held out loss of c4'}" in refusal(
        write("N,D,the held out loss of c4\n1,2,3\n")
    )


def test_a_table_with_very_many_columns_is_listed_shortly(write):
    assert "and 88 more" in refusal(
        write(",".join(f"x{i}" for i in range(100)) + "\n" + "1," * 99 + "1\n")
    )


def test_two_columns_that_could_be_the_loss_are_asked_about(write):
    message = refusal(write("params,tokens,loss,val_loss\n1e6,2e7,4.5,4.6\n"))

    assert "several columns that could be the loss: loss and val_loss" in message
    assert "--column loss=val_loss" in message


def test_an_unknown_field_in_columns_is_refused_with_the_closest(write):
    assert "but got 'param' (did you mean 'params'?)" in refusal(
        write(TABLE), columns={"param": "N"}
    )


def test_a_column_that_is_not_there_is_refused_with_the_closest(write):
    assert "no column 'Tokns' (did you mean 'tokens'?)" in refusal(
        write(TABLE), columns={"tokens": "Tokns"}
    )


@pytest.mark.parametrize(
    ("cell", "params"),
    [
        ("1.3B", 1.3e9),
        ("350M", 3.5e8),
        ("350 m", 3.5e8),
        ("2.5e9 ", 2.5e9),
        ('"1,300,000"', 1.3e6),
        ("7k", 7e3),
    ],
)
def test_counts_are_read_as_people_write_them(write, cell, params):
    assert read_runs(write(f"params,tokens,loss\n{cell},2T,4.5\n"))[0].num_params == params


def test_a_cell_with_a_unit_of_its_own_leaves_that_of_the_name(write):
    runs = read_runs(write("params (M),tokens,loss\n350,2e10,3\n1.3B,2e10,2.8\n"))

    assert [run.num_params for run in runs] == [3.5e8, 1.3e9]


def test_a_loss_has_no_unit(write):
    assert "loss must hold numbers, but row 2 of runs.csv has '4.5k'" in refusal(
        write("N,D,loss\n1e6,2e7,4.5k\n")
    )


def test_text_in_some_rows_sets_them_aside_with_the_reason(write):
    runs = read_runs(
        write(TABLE + "big,2e7,1e14,4.5,\n3e6,2e7,1e14,diverged,\n5e6,2e7,1e14,2.9,\n")
    )

    assert [run.status for run in runs] == [
        "completed",
        "completed",
        "failed",
        "failed",
        "completed",
    ]
    assert runs[2].error == "the table has text for its params"
    assert runs[3].error == "the table has text for its loss"


def test_a_column_of_text_is_refused_with_its_first_row_and_their_number(write):
    message = refusal(
        write("params,tokens,loss\n1e6,2e7,4.5\ntiny,2e7,4.5\nsmall,1e7,4.6\nbase,1e7,4.2\n")
    )

    assert message == (
        "params must hold numbers, but row 3 of runs.csv has 'tiny' and 2 more rows have text; write numbers as in "
        "1.3e9 or 1.3B, or name another column."
    )


def mixed(unit, field):
    """A table of 40 rows, of which every other one has its params or tokens in a unit."""
    rows = ["params,tokens,loss"]
    for number in range(40):
        counts = {"params": 1e7 * 1.2**number, "tokens": 2e8 * 1.2**number}
        counts[field] /= unit if number % 2 else 1
        rows.append(f"{counts['params']!r},{counts['tokens']!r},3.5")
    return "\n".join(rows)


@pytest.mark.parametrize(("unit", "field"), [(1e6, "params"), (1e9, "params"), (1e9, "tokens")])
def test_a_column_in_two_units_is_refused_with_the_rows_that_differ(write, unit, field):
    message = refusal(write(mixed(unit, field)))

    assert f"{field} must be in one unit, but rows 3, 5, 7 and 17 more of runs.csv have" in message


def test_counted_flops_that_are_in_another_unit_in_some_rows_are_refused(write):
    rows = [
        f"{N!r},{20 * N!r},{120 * N * N * (1e-15 if N > 2e8 else 1)!r},3.5"
        for N in (1e7, 1e8, 1.5e8, 3e8, 4e8)
    ]
    message = refusal(write("params,tokens,flops,loss\n" + "\n".join(rows)))

    assert (
        "FLOPs are about 1e-15 times 6·N·D in rows 5 and 6 of runs.csv and 1 times in the others"
        in message
    )


def test_sizes_that_span_six_decades_are_in_one_unit(write):
    rows = [f"{10**k},{20 * 10**k},{8 - k / 2}" for k in range(4, 11)]

    assert len(read_runs(write("params,tokens,loss\n" + "\n".join(rows)))) == 7


def test_budgets_that_differ_by_rounding_are_one_budget(write):
    flops = [6.0 * N * round(C / (6 * N)) for C in (1e15, 3e15, 1e16, 3e16, 1e17) for N in SIZES]
    rows = [f"{N},{C / 6 / N:.0f},{3 + 1 / k},{C!r}" for k, (N, C) in enumerate(
        zip(SIZES * 5, flops, strict=True), 1)]  # fmt: skip
    runs = read_runs(write("\n".join(["params,tokens,loss,budget", *rows])))
    assert len(set(flops)) > 30
    assert len({run.budget for run in runs}) == 5


def test_a_budget_that_every_row_has_for_itself_is_no_budget(write):
    rows = [f"{1e6 * 1.1**k!r},2e9,{4 - k / 99},{1.2e16 * 1.1**k!r}" for k in range(90)]

    assert {run.budget for run in read_runs(write("N,D,L,compute_budget\n" + "\n".join(rows)))} == {
        None
    }


@pytest.mark.parametrize("cell", ["0", "-5", "inf"])
def test_counts_that_cannot_be_are_refused_with_their_row(write, cell):
    message = refusal(write(f"params,tokens,loss\n1e6,2e7,4.5\n{cell},2e7,4.5\n"))

    assert "params must be a finite number above 0, but row 3 of runs.csv has" in message


def test_a_column_that_is_empty_throughout_is_refused(write):
    assert "tokens must hold numbers, but it is empty in every row" in refusal(
        write("N,tokens,loss\n1,,3\n2,,3\n")
    )


def test_rows_of_a_frame_count_from_zero():
    frame = pd.DataFrame({"params": [1e6, "big"], "tokens": [2e7, 2e7], "loss": [4.5, 4.4]})

    assert "row 1 of the data frame has 'big'" in refusal(frame)


def test_a_row_of_another_length_is_refused(write):
    assert "header's 3 cells, but row 3 has 4" in refusal(write("N,D,L\n1,2,3\n1,2,3,4\n"))


def test_two_columns_of_one_name_are_refused(write):
    assert "'loss' appears twice" in refusal(write("params,tokens,loss,loss\n1,2,3,4\n"))


def test_a_note_says_that_flops_are_six_n_d(write):
    assert (
        "FLOPs are 6·N·D in every row" in table_notes(read_runs(write("N,D,L\n1e6,2e7,4.5\n")))[0]
    )


def test_a_note_says_that_units_do_not_fit(write):
    in_millions = write("N,D,C,L\n1,20,1.2e14,4.5\n")
    plain = {"params": "N * 1", "tokens": "D * 1", "flops": "C * 1"}

    assert (
        "FLOPs are 1e+12 times 6·N·D at the median"
        in table_notes(read_runs(in_millions, columns=plain))[0]
    )


def test_counted_flops_need_no_note(write):
    assert table_notes(read_runs(write(TABLE))) == table_notes([]) == ()


def test_a_hundred_thousand_rows_take_a_few_seconds(write):
    rng = np.random.default_rng(0)
    rows = rng.uniform(1e6, 1e9, size=(100_000, 2)).tolist()
    path = write(
        "params,tokens,loss,compute_budget\n" + "".join(f"{n!r},{d!r},3.5,1e18\n" for n, d in rows)
    )
    start = time.process_time()

    runs = read_runs(path)

    assert time.process_time() - start < 10
    assert (len(runs), runs[-1].num_params) == (100_000, rows[-1][0])


def test_reading_a_csv_imports_neither_pandas_nor_torch(write):
    code = "import sys, isoflop; isoflop.read_runs(sys.argv[1]); print([m for m in ('pandas', 'torch') if m in sys.modules])"
    done = subprocess.run(
        [sys.executable, "-c", code, str(write(TABLE))], capture_output=True, text=True, check=True
    )

    assert done.stdout.strip() == "[]"


def test_other_names_in_columns_are_metrics_of_the_runs(write):
    path = write("N,D,loss,eval/acc,f1\n1e6,2e7,3.0,0.4,\n2e6,2e7,2.9,45 %,0.3\n")
    first, second = read_runs(path, columns={"accuracy": "eval/acc", "F1": "f1"})
    assert first.metrics == {"accuracy": 0.4}
    assert second.metrics["F1"] == 0.3
    assert read_runs(path)[0].metrics == {}


def test_a_metric_without_its_column_is_refused(write):
    assert "has no column 'eval/ac' (did you mean 'eval/acc'?)" in refusal(
        write("N,D,loss,eval/acc\n1e6,2e7,3.0,0.4\n"), columns={"accuracy": "eval/ac"}
    )

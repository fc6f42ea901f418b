import json

import pytest

from isoflop.errors import DataError
from isoflop.storage.tables import read_runs, read_table
from storage.readers.recorded import COLUMNS, STEPS, check, check_answer, sweep


def write_lines(path, rows):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(f"{json.dumps(row)}\n" for row in rows))
    return path


def rows_of(one, steps=range(1, STEPS + 1), **more):
    return [
        {"run": one.name, "config": one.config, "step": step, **one.row(step), **more}
        for step in steps
    ]


def test_lines_of_many_runs_are_one_run_each(tmp_path):
    recorded = sweep()
    rows = [row for rows in zip(*map(rows_of, recorded), strict=True) for row in rows]
    runs = read_runs(write_lines(tmp_path / "log.jsonl", rows), columns=COLUMNS)

    check(runs, recorded)
    assert [run.group for run in runs] == [one.name for one in recorded]
    check_answer(runs)


def test_the_usual_names_need_no_mapping(tmp_path):
    recorded = sweep()
    rows = [
        {"name": one.name, "params": one.params, "iteration": step, "tokens": one.tokens_at(step),
         "val_loss": one.eval_loss(step), "train_loss": one.train_loss(step)}
        for one in recorded for step in range(1, STEPS + 1)
    ]  # fmt: skip

    check(read_runs(write_lines(tmp_path / "log.jsonl", rows)), recorded)


@pytest.mark.parametrize("place", ["{}.jsonl", "{}/metrics.jsonl"])
def test_each_file_of_a_folder_is_a_run(tmp_path, place):
    recorded = sweep()
    for one in recorded:
        rows = [{key: value for key, value in row.items() if key != "run"} for row in rows_of(one)]
        write_lines(tmp_path / place.format(one.name), rows)
    runs = read_runs(tmp_path, columns=COLUMNS)

    check(runs, recorded)
    assert {run.group for run in runs} == {one.name for one in recorded}


def test_settings_may_stand_in_a_json_file_beside_each_log(tmp_path):
    recorded = sweep()
    for one in recorded:
        rows = [{"step": step, **one.row(step)} for step in range(1, STEPS + 1)]
        write_lines(tmp_path / one.name / "log.jsonl", rows)
        (tmp_path / one.name / "config.json").write_text(json.dumps({"model": one.config}))

    check(read_runs(tmp_path, columns={**COLUMNS, "params": "model.n_params"}), recorded)


@pytest.mark.parametrize("name", ["table.jsonl", "table.json"])
def test_without_runs_and_steps_each_object_is_a_run(tmp_path, name):
    recorded = sweep()
    rows = [
        {"params": one.params, "tokens": one.tokens, "loss": one.loss, "shape": [1, 2]}
        for one in recorded
    ]
    path = tmp_path / name
    if path.suffix == ".json":
        path.write_text(json.dumps(rows))
    else:
        write_lines(path, rows)

    check(read_runs(path), recorded, curves=False)


def test_units_are_those_of_tables(tmp_path):
    recorded = sweep()
    rows = [
        {"id": one.name, "size (M)": one.params / 1e6, "step": step,
         "tokens_B": one.tokens_at(step) / 1e9, "val_loss": one.eval_loss(step),
         "train_loss": one.train_loss(step)}
        for one in recorded for step in range(1, STEPS + 1)
    ]  # fmt: skip
    path = write_lines(tmp_path / "log.jsonl", rows)
    runs = read_runs(path, columns={"params": "size (M)"})

    assert [round(run.num_params) for run in runs] == [one.params for one in recorded]
    assert runs[0].curve[-1] == pytest.approx((recorded[0].tokens, recorded[0].train_loss(STEPS)))
    with pytest.raises(DataError, match=r"tokens \* 1e9"):
        plain = [
            {"tokens" if key == "tokens_B" else key: v for key, v in row.items()} for row in rows
        ]
        read_runs(write_lines(tmp_path / "plain.jsonl", plain), columns={"params": "size (M)"})


def test_a_run_that_was_resumed_in_its_file_goes_on_from_its_checkpoint(tmp_path):
    recorded = sweep()
    one, *others = recorded
    spoilt = [{**row, "train/loss": 9.0} for row in rows_of(one, range(21, 26))]
    rows = [*rows_of(one, range(1, 21)), *spoilt, *rows_of(one, range(21, STEPS + 1))]
    path = write_lines(
        tmp_path / "log.jsonl", [*rows, *(row for o in others for row in rows_of(o))]
    )

    check(read_runs(path, columns=COLUMNS), recorded)


def test_a_step_counter_that_starts_again_goes_on(tmp_path):
    recorded = sweep()
    rows = [
        {**row, "step": row["step"] % 10} for one in recorded for row in rows_of(one)
    ]  # steps within an epoch
    path = write_lines(tmp_path / "log.jsonl", rows)

    check(read_runs(path, columns=COLUMNS), recorded)


def test_runs_that_did_not_finish_are_no_data(tmp_path):
    recorded = sweep()
    crashed, diverged, running, *others = recorded
    rows = [row for one in others for row in rows_of(one, status="finished")]
    rows += rows_of(crashed, range(1, 21), status="crashed")
    rows += [{**row, "eval/loss": "NaN"} for row in rows_of(diverged, status="failed")]
    rows += rows_of(running, range(1, 21), status="RUNNING")
    runs = read_runs(write_lines(tmp_path / "log.jsonl", rows), columns=COLUMNS)

    state = {run.group: (run.status, run.error) for run in runs if run.status != "completed"}
    assert state == {
        crashed.name: ("failed", "its state is 'crashed'"),
        diverged.name: ("diverged", "it diverged"),
        running.name: ("failed", "its state is 'running'"),
    }
    check([run for run in runs if run.status == "completed"], others)


def test_a_loss_from_before_the_end_is_noted_and_one_from_long_before_is_no_data(tmp_path):
    recorded = sweep()
    early, late, *others = recorded
    rows = [row for one in others for row in rows_of(one)]
    for one, last in ((early, 20), (late, 38)):
        for row in rows_of(one):
            row.pop("eval/loss", None)
            rows.append(row | ({"eval/loss": one.eval_loss(last)} if row["step"] == last else {}))
    table = read_table(write_lines(tmp_path / "log.jsonl", rows), columns=COLUMNS)

    states = {run.group: (run.status, run.error) for run in table.runs}
    assert states[early.name] == ("failed", "its last loss is from step 20 of 40")
    assert states[late.name] == ("completed", None)
    (note,) = (note for note in table.notes if note.code == "early-end")
    assert note == (
        f"The loss is from step 20 of 40 in {early.name} and ends early in 2 runs, 1 of which are "
        "set aside."
    )


def test_a_loss_that_ends_as_no_number_is_none(tmp_path):
    recorded = sweep()
    rows = [row for one in recorded for row in rows_of(one)]
    rows[STEPS - 1]["eval/loss"] = "NaN"
    rows[2 * STEPS - 1]["eval/loss"] = float("inf")
    runs = read_runs(write_lines(tmp_path / "log.jsonl", rows), columns=COLUMNS)

    assert [run.loss for run in runs[:2]] == pytest.approx([float("nan")] * 2, nan_ok=True)
    check(runs[2:], recorded[2:])


def test_a_line_that_was_cut_off_is_left_out_and_a_damaged_one_is_refused(tmp_path):
    recorded = sweep()
    path = write_lines(tmp_path / "log.jsonl", [row for one in recorded for row in rows_of(one)])
    path.write_text(path.read_text() + '{"run": "ru')
    check(read_runs(path, columns=COLUMNS), recorded)

    path.write_text(path.read_text() + "\n" + json.dumps(rows_of(recorded[0])[0]) + "\n")
    with pytest.raises(DataError, match=rf"Line {12 * STEPS + 1} of .*log.jsonl is no JSON"):
        read_runs(path, columns=COLUMNS)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "must have runs, but it has no runs"),
        ("[1, 2]\n", "must be a JSON object, but line 1 is not"),
        ('{"a": 1}\n', "has no column for params, loss or tokens"),
    ],
)
def test_a_file_without_runs_is_refused_in_a_sentence(tmp_path, text, message):
    path = tmp_path / "log.jsonl"
    path.write_text(text)
    with pytest.raises(DataError, match=message):
        read_runs(path)


def test_a_json_file_of_another_kind_is_refused(tmp_path):
    path = tmp_path / "log.json"
    path.write_text('{"params": 1}')
    with pytest.raises(DataError, match="must be a list of objects"):
        read_runs(path)

import json
import math

import pytest

from isoflop.errors import DataError
from isoflop.storage.tables import read_runs
from storage.readers.recorded import STEPS, check, check_answer, sweep

COLUMNS = {"params": "config.n_params", "tokens": "num_input_tokens_seen", "loss": "eval_loss"}


def write_state(folder, one, step=STEPS, *, last=STEPS, tokens_in_log=True):
    """The state as the Trainer writes it at a step."""
    log = []
    for each in range(1, step + 1):
        seen = {"num_input_tokens_seen": one.tokens_at(each)} if tokens_in_log else {}
        log.append({"epoch": each / last, "loss": one.train_loss(each), "step": each, **seen})
        if each % 10 == 0:
            log.append({"epoch": each / last, "eval_loss": one.eval_loss(each), "step": each})
    state = {
        "global_step": step, "max_steps": last, "num_input_tokens_seen": one.tokens_at(step),
        "total_flos": 6 * one.params * one.tokens_at(step), "log_history": log, "stateful_callbacks": {},
    }  # fmt: skip
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "trainer_state.json").write_text(json.dumps(state))
    return state


def write_run(folder, one, checkpoints=(20, STEPS)):
    for step in checkpoints:
        write_state(folder / f"checkpoint-{step}", one, step)
        (folder / f"checkpoint-{step}" / "config.json").write_text(json.dumps(one.config))


def test_the_last_checkpoint_of_each_folder_is_a_run(tmp_path):
    recorded = sweep()
    for one in recorded:
        write_run(tmp_path / one.name, one)
    runs = read_runs(tmp_path, columns=COLUMNS)

    check(runs, recorded)
    assert {run.group for run in runs} == {one.name for one in recorded}
    check_answer(runs)


def test_the_state_of_a_finished_run_is_read_before_its_checkpoints(tmp_path):
    recorded = sweep()
    for one in recorded:
        write_run(tmp_path / one.name, one, checkpoints=(20,))
        write_state(tmp_path / one.name, one)
        (tmp_path / one.name / "args.json").write_text(json.dumps(one.config))

    check(read_runs(tmp_path, columns=COLUMNS), recorded)


def test_a_state_may_be_read_alone(tmp_path):
    one = sweep()[0]
    write_run(tmp_path, one)

    check(read_runs(tmp_path / f"checkpoint-{STEPS}/trainer_state.json", columns=COLUMNS), [one])
    check(read_runs(tmp_path / f"checkpoint-{STEPS}", columns=COLUMNS), [one])


def test_a_run_whose_last_checkpoint_is_before_its_end_is_no_data(tmp_path):
    one, other = sweep()[:2]
    write_run(tmp_path / one.name, one)
    write_run(tmp_path / other.name, other, checkpoints=(10, 20))
    runs = {run.group: run for run in read_runs(tmp_path, columns=COLUMNS)}

    check([runs[one.name]], [one])
    assert (runs[other.name].status, runs[other.name].error) == (
        "failed",
        "its state is 'at step 20 of 40'",
    )


def test_tokens_that_the_state_alone_counts_are_those_of_the_run_without_a_curve(tmp_path):
    recorded = sweep()
    for one in recorded:
        write_state(tmp_path / one.name, one, tokens_in_log=False)
        (tmp_path / one.name / "config.json").write_text(json.dumps(one.config))
    runs = read_runs(tmp_path, columns=COLUMNS)

    check(runs, recorded, curves=False)
    assert all(run.curve == () for run in runs)


def test_params_without_embeddings_follow_from_the_counts_of_the_trainer(tmp_path):
    recorded = sweep()
    for one in recorded:
        write_state(tmp_path / one.name, one)
    with pytest.raises(DataError, match="columns={'params': 'non_embedding_params'}"):
        read_runs(tmp_path)
    runs = read_runs(tmp_path, columns={**COLUMNS, "params": "non_embedding_params"})

    found = {run.group: (run.num_params, run.loss) for run in runs}
    assert found == {one.name: (pytest.approx(one.params), one.loss) for one in recorded}


def test_numbers_that_json_does_not_have_are_read(tmp_path):
    one = sweep()[0]
    state = write_state(tmp_path, one)
    state["log_history"][-1]["eval_loss"] = float("nan")
    (tmp_path / "trainer_state.json").write_text(json.dumps(state))
    (tmp_path / "config.json").write_text(json.dumps(one.config))
    (run,) = read_runs(tmp_path, columns=COLUMNS)

    assert math.isnan(run.loss)


@pytest.mark.train
def test_the_states_that_a_trainer_wrote_are_read(tmp_path):
    transformers = pytest.importorskip("transformers", reason="needs isoflop[hf]")
    import torch

    class Model(torch.nn.Module):
        def __init__(self, width):
            super().__init__()
            self.layer = torch.nn.Linear(width, 1)

        def forward(self, input_ids, labels=None):
            out = self.layer(input_ids.float())
            return {"loss": ((out - labels[:, None].float()) ** 2).mean(), "logits": out}

    data = [{"input_ids": torch.arange(8) / 8, "labels": torch.tensor(0.5)} for _ in range(32)]
    arguments = transformers.TrainingArguments(
        output_dir=str(tmp_path / "run"), max_steps=20, per_device_train_batch_size=4,
        logging_steps=1, eval_strategy="steps", eval_steps=10, save_steps=10, report_to=[],
        include_num_input_tokens_seen="all", use_cpu=True, disable_tqdm=True,
    )  # fmt: skip
    trainer = transformers.Trainer(Model(8), arguments, train_dataset=data, eval_dataset=data)
    trainer.train()
    (tmp_path / "run" / "hparams.json").write_text('{"n_params": 9}')
    last = [row for row in trainer.state.log_history if "eval_loss" in row][-1]
    columns = {**COLUMNS, "params": "n_params * 1", "tokens": "num_input_tokens_seen * 1"}
    (run,) = read_runs(tmp_path, columns=columns)

    assert (run.status, run.num_params, run.num_tokens) == ("completed", 9, 20 * 4 * 8)
    assert run.loss == last["eval_loss"]
    assert len(run.curve) == 20


@pytest.mark.parametrize("text", ["{}", "[]", "no json", '{"log_history": 1}'])
def test_a_file_that_is_no_state_is_refused_in_a_sentence(tmp_path, text):
    (tmp_path / "trainer_state.json").write_text(text)
    with pytest.raises(DataError, match="must be the state of a Trainer|is no JSON file"):
        read_runs(tmp_path)

"""Trainers that others wrote, unmodified, each through a whole sweep (examples/*_trainer.py, litgpt_command.py)."""

import importlib
import sys
import time
from pathlib import Path

import pytest

pytestmark = pytest.mark.train
sys.path.insert(0, str(Path(__file__).parents[2] / "examples"))

PROGRAMS = {
    "hf_trainer": "transformers",
    "lightning_trainer": "lightning",
    "jax_trainer": "flax",
    "litgpt_command": "litgpt",
}
SECONDS = 600
"""Time in which a sweep of 2 budgets and at least 5 sizes must end on a CPU."""


def example(name):
    pytest.importorskip(PROGRAMS[name], reason=f"{PROGRAMS[name]} is not installed")
    return importlib.import_module(name)


def assert_trained(runs):
    assert [run.status for run in runs] == ["completed"] * len(runs), [run.error for run in runs]
    for run in runs:
        step_tokens = run.spec.batch * run.spec.tokens_per_example
        assert abs(run.num_tokens - run.spec.num_tokens) <= step_tokens


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")  # those of other libraries among themselves
@pytest.mark.parametrize("name", PROGRAMS)
def test_a_sweep_by_another_trainer_is_fitted_and_answers(name, tmp_path, capsys):
    began = time.process_time()
    runs = example(name).main(["--store", str(tmp_path)])
    assert time.process_time() - began < SECONDS
    assert len({run.budget for run in runs}) == 2
    assert all(
        len({run.size for run in runs if run.budget == b}) >= 5 for b in {r.budget for r in runs}
    )
    assert_trained(runs)
    shown = capsys.readouterr().out
    assert "Compute-optimal at 1.2e+11 FLOPs" in shown


@pytest.mark.parametrize("name", PROGRAMS)
def test_every_size_of_an_example_can_be_planned(name):
    program = example(name)
    import isoflop

    sweep = isoflop.plan(program.family(), budgets=program.BUDGETS)
    assert {spec.size for spec in sweep.specs} == {*program.SIZES}
    assert min(round(s.num_tokens / s.batch / s.tokens_per_example) for s in sweep.specs) >= 10

"""The Hydra and the argparse program: what they read, and that they run, alone and under torchrun."""

import subprocess
import sys
from functools import partial
from pathlib import Path

import pytest

import isoflop

EXAMPLES = Path(__file__).parents[2] / "examples"
TINY = ["budgets=[1e8,2e8]", "+recipe.eval_tokens=2048"]


@pytest.fixture
def hydra_sweep():
    pytest.importorskip("hydra", reason="the extra hydra is not installed")
    import hydra_sweep

    return hydra_sweep


def test_the_configuration_is_plain_values(hydra_sweep):
    config = hydra_sweep.configuration([])
    assert type(config) is dict
    assert config["budgets"] == [2e10, 6e10, 2e11]
    assert config["store"] == "runs/hydra-gpt"


def test_overrides_reach_the_task(hydra_sweep):
    config = hydra_sweep.configuration(["model=llama", "budgets=[1e9]", "recipe.seeds=[0,1]"])
    task = hydra_sweep.task_of(config)
    assert task.model_kwargs["num_layers"] == 4
    assert task.recipe.seeds == (0, 1)
    assert config["budgets"] == [1e9]
    assert config["store"] == "runs/hydra-llama"


@pytest.mark.parametrize(
    "family", sorted(path.stem for path in (EXAMPLES / "config" / "model").iterdir())
)
def test_every_model_of_the_configuration_is_one(hydra_sweep, family):
    assert hydra_sweep.task_of(hydra_sweep.configuration([f"model={family}"])).size_param


def test_a_misspelt_override_is_refused(hydra_sweep):
    from hydra.errors import ConfigCompositionException

    with pytest.raises(ConfigCompositionException, match="budget"):
        hydra_sweep.configuration(["budget=[1e9]"])


@pytest.mark.parametrize(
    "launcher",
    [
        pytest.param([], id="alone"),
        pytest.param(
            ["-m", "torch.distributed.run", "--nproc_per_node=2"],
            id="torchrun",
            marks=pytest.mark.slow,
        ),
    ],
)
def test_one_output_folder_alone_and_under_torchrun(warm_python, hydra_sweep, launcher, tmp_path):
    program = [sys.executable, *launcher, str(EXAMPLES / "hydra_sweep.py"), *TINY, "store=out"]
    done = subprocess.run(program, cwd=tmp_path, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    assert [path.name for path in tmp_path.iterdir()] == ["out"]
    assert (tmp_path / "out" / "config.yaml").exists()
    runs = isoflop.read_runs(tmp_path / "out")
    assert {run.status for run in runs} == {"completed"}
    assert all(run.device.startswith("2 x") for run in runs) == bool(launcher)
    assert done.stdout.count("params") >= 1


def test_the_argparse_program_names_its_executor(tmp_path, monkeypatch, capsys):
    import argparse_sweep

    monkeypatch.chdir(tmp_path)
    given = argparse_sweep.parser().parse_args(
        ["--executor", "ray://head:10001", "--budgets", "1e9", "3e9"]
    )
    assert given.executor == isoflop.Ray("ray://head:10001")
    assert given.budgets == [1e9, 3e9]
    monkeypatch.setattr(isoflop, "Recipe", partial(isoflop.Recipe, eval_tokens=2**11))
    argparse_sweep.main(["--budgets", "1e8", "2e8", "--executor", "in-process", "--store", "out"])
    assert "tokens" in capsys.readouterr().out
    assert len(isoflop.read_runs("out")) >= 10

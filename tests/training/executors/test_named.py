import pytest

import isoflop
from isoflop.training.executors.from_string import executor_from


@pytest.mark.parametrize(
    ("text", "executor"),
    [
        ("in-process", isoflop.InProcess()),
        ("processes", isoflop.Processes()),
        ("processes:8", isoflop.Processes(8)),
        ("ray", isoflop.Ray()),
        ("ray:auto", isoflop.Ray("auto")),
        ("ray:head:6379", isoflop.Ray("head:6379")),
        ("ray://head:10001", isoflop.Ray("ray://head:10001")),
    ],
)
def test_a_text_names_an_executor(text, executor):
    assert executor_from(text) == executor


def test_slurm_is_followed_by_its_partition_or_by_options_of_sbatch():
    assert executor_from("slurm:gpu").sbatch == {"partition": "gpu"}
    named = executor_from("slurm:gpu,time=04:00:00,gres=gpu:1,mem-per-cpu=4G")
    assert named.sbatch == {
        "partition": "gpu",
        "time": "04:00:00",
        "gres": "gpu:1",
        "mem_per_cpu": "4G",
    }


@pytest.mark.parametrize(
    "text",
    ["", "dask", "processes:", "processes:many", "processes:-1", "ray:", "slurm:", "in-process:2"],
)
def test_any_other_text_is_refused_with_the_names_there_are(text):
    with pytest.raises(
        isoflop.PlanError, match="An executor is named as one of in-process, processes"
    ):
        executor_from(text)


def test_no_worker_is_refused():
    with pytest.raises(
        isoflop.PlanError, match="num_workers must be a whole number from 1 to 10000, but got 0"
    ):
        executor_from("processes:0")

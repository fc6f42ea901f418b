import json
import os
import shutil
import signal
import stat
import sys
import threading
import time

import promises
import pytest

import isoflop
from isoflop.training.executors.slurm import Slurm, _minutes
from isoflop.training.executors.work import TaskWork
from tasks import mlp_task

FAKE = {
    # Starts every job of the array at once.
    "sbatch": f"""#!{sys.executable}
import os, re, shutil, subprocess, sys
script = sys.argv[-1]
shutil.copy(script, os.environ["FAKE_SLURM"] + "/submitted.sh")
array = re.search(r"--array=0-([0-9]+)", open(script).read())
for k in range(int(array[1]) + 1 if array else 1):
    task = {{"SLURM_ARRAY_JOB_ID": "77", "SLURM_ARRAY_TASK_ID": str(k)}} if array else {{}}
    env = {{**os.environ, **task, "SLURM_JOB_ID": str(77 + k), "SLURM_NTASKS": "1", "SLURM_JOB_NUM_NODES": "1",
           "SLURM_NODEID": "0", "SLURM_PROCID": "0", "SLURM_LOCALID": "0", "SLURM_JOB_NODELIST": "here"}}
    log = open(os.environ["FAKE_SLURM"] + f"/job-{{k}}.log", "w")
    subprocess.Popen(["bash", script], env=env, start_new_session=True, stdout=log, stderr=log)
print("Submitted batch job 77")
""",
    "srun": """#!/bin/bash
while [[ "$1" == --* ]]; do if [[ "$1" == --unbuffered ]]; then shift; else shift 2; fi; done
exec "$@"
""",
    "sacct": "#!/bin/bash\necho 'JobID|State|NodeList'; for k in 0 1 2; do echo \"77_$k|RUNNING|here\"; done\n",
    "scancel": "#!/bin/bash\n",
}


@pytest.fixture
def fake_slurm(tmp_path, monkeypatch):
    folder = tmp_path / "bin"
    folder.mkdir()
    for name, text in FAKE.items():
        (folder / name).write_text(text)
        (folder / name).chmod(stat.S_IRWXU)
    monkeypatch.setenv("PATH", f"{folder}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.setenv("FAKE_SLURM", str(folder))
    return folder


def test_a_stage_is_one_job_array_with_the_options_that_were_given(
    warm_python, fake_slurm, tmp_path
):
    executor = Slurm(
        partition="gpu", gres="gpu:1", time="04:00:00", cpus_per_task=8, mem="64G", account="lab",
        array_parallelism=2, setup=["export READY=1"], look_seconds=0.1,
    )  # fmt: skip
    store = isoflop.DirectoryStore(tmp_path / "store")
    specs = list(promises.specs())[:2]
    runs = list(executor.map(TaskWork(mlp_task(), store), specs))
    assert {run.id: run.loss for run in runs} == {
        spec.id: promises.expected_losses()[spec.id] for spec in specs
    }
    script = (fake_slurm / "submitted.sh").read_text()
    for option in (
        "partition=gpu",
        "gres=gpu:1",
        "time=240",
        "cpus-per-task=8",
        "mem=64G",
        "account=lab",
        "requeue",
    ):
        assert f"#SBATCH --{option}\n" in script
    assert "#SBATCH --array=0-1%2\n" in script
    assert "export READY=1\n" in script
    assert (tmp_path / "store" / "slurm").is_dir()
    assert len(store.read_runs()) == 2


def test_a_preempted_job_saves_is_requeued_and_goes_on_to_the_same_loss(
    warm_python, local_slurm, tmp_path
):
    store, spec = isoflop.DirectoryStore(tmp_path / "store"), promises.long_spec()
    executor = Slurm(tmp_path / "jobs", cluster="local", look_seconds=0.05, retries=0)
    runs = []
    work = TaskWork(mlp_task(model=promises.Slow), store, checkpoint_seconds=1000.0)
    sweep = threading.Thread(target=lambda: runs.extend(executor.map(work, [spec])))
    sweep.start()
    lease = tmp_path / "store" / spec.id / "lease-0"
    wait_for(lease.exists)
    time.sleep(0.3)
    os.kill(json.loads(lease.read_text())["pid"], signal.SIGUSR2)
    wait_for((tmp_path / "store" / spec.id / "checkpoint").exists)
    sweep.join()
    assert [run.loss for run in runs] == [promises.long_losses()[spec.id]]
    logs = "".join(path.read_text() for path in (tmp_path / "jobs").glob("*_log.err"))
    assert "this job is preempted" in logs


def wait_for(condition, seconds=60):
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.01)


@pytest.mark.parametrize(
    ("limit", "minutes"),
    [(90, 90), ("90", 90), ("04:00:00", 240), ("1-12", 2160), ("1-00:30", 1470), ("10:30", 11)],
)
def test_a_time_limit_is_what_sbatch_takes(limit, minutes):
    assert _minutes(limit) == minutes


def test_what_makes_no_sense_is_refused(tmp_path, monkeypatch):
    with pytest.raises(isoflop.PlanError, match="time must be minutes or as in"):
        Slurm(time="tomorrow")
    with pytest.raises(isoflop.PlanError, match="cluster must be 'slurm' or 'local'"):
        Slurm(cluster="pbs")
    with pytest.raises(isoflop.PlanError, match="needs a store in a folder that all nodes share"):
        list(Slurm().map(TaskWork(mlp_task(), isoflop.MemoryStore()), list(promises.specs())))
    monkeypatch.setattr(shutil, "which", lambda name: None)
    with pytest.raises(isoflop.IsoflopError, match="needs the commands sbatch and srun"):
        list(
            Slurm(tmp_path).map(TaskWork(mlp_task(), isoflop.MemoryStore()), list(promises.specs()))
        )

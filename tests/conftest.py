import gc
import importlib.util
import multiprocessing.spawn
import os
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

# One thread, as runs are trained: on a busy machine more are slower, and results do not depend on the machine.
os.environ.setdefault("OMP_NUM_THREADS", "1")

import pytest

MEMORY = "/dev/shm"


def _holds_files(folder):
    """Whether there is room for the files of all tests, and programs among them may be run."""
    if not os.path.isdir(folder) or os.statvfs(folder).f_flag & os.ST_NOEXEC:
        return False
    return os.access(folder, os.W_OK) and shutil.disk_usage(folder).free > 2**30


# Every record and checkpoint is forced to its disk, and some disks take a hundredth of a second each time.
if _holds_files(MEMORY):
    os.environ.setdefault("PYTEST_DEBUG_TEMPROOT", MEMORY)

sys.path.insert(0, str(Path(__file__).parent))

HAS_TORCH = importlib.util.find_spec("torch") is not None  # `make test-light` goes without it
NEEDS_TORCH = re.compile(
    r"(?m)^((import|from) (torch|tasks|golden_task|rank_cases)\b|from attack import hostile\b|pytestmark = pytest.mark.train$)"
)
if HAS_TORCH:
    import torch

    torch.set_num_threads(1)

TASK = f"""
import sys
sys.path.insert(0, {str(Path(__file__).parent)!r})
from tasks import mlp_task

task = mlp_task()
"""


def pytest_ignore_collect(collection_path):
    """True, without torch, for folders that are all about training and modules that need it."""
    if HAS_TORCH:
        return None
    if collection_path.is_dir():
        return collection_path.name in ("docs", "examples", "executors") or None
    return NEEDS_TORCH.search(collection_path.read_text()) is not None or None


def pytest_runtest_setup(item):
    """Without torch, tests that are marked `train` are skipped."""
    if not HAS_TORCH and item.get_closest_marker("train"):
        pytest.skip("needs torch")


def pytest_runtest_teardown(item, nextitem):
    """A Ray cluster ends with the last of its tests: its idle processes take time from all others."""
    if (
        "ray" in sys.modules
        and _group(item.nodeid) == "ray"
        and (nextitem is None or _group(nextitem.nodeid) != "ray")
    ):
        sys.modules["ray"].shutdown()


def pytest_addoption(parser):
    parser.addoption(
        "--rewrite-golden",
        action="store_true",
        help="write what tests/golden holds isoflop to anew",
    )


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config, log):
    """Each group of tests to one worker (make test). Marks of groups reach no scheduler from pytest 9.2 on."""
    from xdist.scheduler import LoadScopeScheduling

    class LoadGroups(LoadScopeScheduling):
        def _split_scope(self, nodeid):
            return _group(nodeid)

    return LoadGroups(config, log)


def pytest_collection_modifyitems(items):
    """The groups that take longest begin."""
    items.sort(key=lambda item: _rank(_group(item.nodeid)))
    gc.collect()
    gc.freeze()  # so that no later collection goes through all that is imported by now
    gc.set_threshold(20_000, 20, 20)  # collections take 6 % of the time of tests otherwise


LONGEST = (
    "ray",
    "test_find_optimal",
    "training/test_packed",
    "examples/test_programs",
    "planning/test_stages",
    "training/test_data_workers",
    "training/test_rank_cases",
    "training/test_recipe_options",
    "test_cli_answers",
    "benchmarks/test_gpu_check",
    "training/test_loop",
    "reporting/test_page",
    "planning/test_forecast",
    "answers/test_questions",
    "examples/test_sweeps",
    "planning/test_grid",
    "training/test_disks",
    "training/test_executors",
    "attack/test_edited_code",
    "slurm",
    "planning/test_flops",
    "test_cli",
    "training/test_checked_sweeps",
    "training/test_sharing",
    "planning/test_found_early",
    "training/test_trained_stages",
    "training/test_outcomes",
    "training/test_isolation",
    "families/test_trainers",
    "families/test_transformers",
    "golden/test_golden_sweeps",
    "training/test_step",
    "training/executors/test_contract",
    "fitting/test_uncertainty",
    "training/test_hanging",
    "test_without_torch",
    "planning/test_sweep",
    "fitting/test_doubt",
    "training/test_tuning",
    "golden/test_golden_answers",
    "extending/test_extending_training",
    "planning/test_design",
    "fitting/test_table_kinds",
    "training/test_evaluation",
    "training/executors/test_slurm",
    "planning/test_first_rate",
    "processes",
    "planning/test_whole_batches",
    "benchmarks/test_proof",
    "training/test_epochs",
    "training/test_streams",
    "fitting/test_bayesian",
    "reporting/test_method",
)
"""Groups that take longest: none of them is left to one worker in the end."""


def _rank(group):
    return LONGEST.index(group) if group in LONGEST else len(LONGEST)


def _group(nodeid):
    """A file; but Ray starves where two clusters share two cores, and other executors are a group each."""
    file = nodeid.split("::")[0].removeprefix("tests/").removesuffix(".py")
    by_executor = file.endswith(("executors/test_contract", "executors/test_trainers_of_users"))
    executor = re.search(r"\[(ray|slurm|processes)-", nodeid) if by_executor else None
    if file.endswith(("executors/test_ray", "executors/test_devices")):
        return "ray"
    return executor[1] if executor else file


@pytest.fixture(scope="session")
def _warm_python():
    """A stand-in of python whose programs have loaded torch when they begin (warm/server.py)."""
    if torch.cuda.is_available():  # a fork could not use it
        yield sys.executable
        return
    from warm.server import write_python

    folder = Path(tempfile.mkdtemp(prefix="warm-"))  # the address of a socket must be short
    command = [sys.executable, Path(__file__).parent / "warm" / "server.py", folder]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as server:
        assert server.stdout.readline() == b"ready\n"
        yield str(write_python(folder))
        server.stdin.close()
    shutil.rmtree(folder)


@pytest.fixture(scope="module")
def warm_python(_warm_python):
    """Programs, workers and jobs that the tests of a module start begin at once."""
    before = multiprocessing.spawn.get_executable()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "executable", _warm_python)
        multiprocessing.set_executable(_warm_python)
        yield
    multiprocessing.set_executable(before)


@pytest.fixture
def run(tmp_path, monkeypatch, capsys):
    """Exit code, stdout and stderr of a command in a folder with a task of its own."""
    from isoflop.cli import app as cli

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [*sys.path])
    monkeypatch.delitem(sys.modules, "owned", raising=False)
    Path("owned.py").write_text(TASK)

    def call(*arguments):
        with pytest.raises(SystemExit) as exit_:
            cli.main([str(argument) for argument in arguments])
        out, err = capsys.readouterr()
        return exit_.value.code or 0, out, err

    return call

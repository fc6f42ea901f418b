"""What a release holds, and that its wheel fits and reports where torch is not installed."""

import json
import os
import re
import subprocess
import sys
import tarfile
import venv
import zipfile
from pathlib import Path

import pytest

import isoflop
from isoflop.extras import TRAIN
from isoflop.laws.additive import ChinchillaLaw

ROOT = Path(__file__).parent.parent
LAW = ChinchillaLaw(E=1.8, A=480.0, B=2100.0, alpha=0.35, beta=0.37)
SOURCE = ROOT / "src" / "isoflop"
EXTRA = re.compile(r'extra == "(\w+)"')
TRACKED = {".py", ".js", ".css", ".txt", ".typed"}
MOST_MEGABYTES = 370
"""On disk, of an installation without extras: 342 with Python 3.11, half of it SciPy and NumPy."""


def modules():
    files = [path for path in SOURCE.rglob("*") if path.suffix in TRACKED]
    return {path.relative_to(SOURCE).as_posix() for path in files}


def build(kind, root, folder):
    """A package that hatchling builds of a folder, as pip and `python -m build` do."""
    command = [sys.executable, "-m", "hatchling", "build", "-t", kind, "-d", str(folder)]
    subprocess.run(command, cwd=root, capture_output=True, text=True, check=True)
    return next(folder.glob("*.whl" if kind == "wheel" else "*.tar.gz"))


@pytest.fixture(scope="module")
def sdist(tmp_path_factory):
    pytest.importorskip("hatchling")
    return build("sdist", ROOT, tmp_path_factory.mktemp("sdist"))


@pytest.fixture(scope="module")
def wheel(sdist, tmp_path_factory):
    """Built of the unpacked sdist, as others would."""
    folder = tmp_path_factory.mktemp("unpacked")
    with tarfile.open(sdist) as archive:
        # extractall(filter=) is not in Python 3.11.0 to 3.11.3
        archive.extraction_filter = getattr(tarfile, "data_filter", lambda member, _: member)
        archive.extractall(folder)
    return build("wheel", next(folder.iterdir()), tmp_path_factory.mktemp("wheel"))


@pytest.fixture
def metadata(wheel):
    with zipfile.ZipFile(wheel) as archive:
        text = archive.read(f"isoflop-{isoflop.__version__}.dist-info/METADATA")
    return pytest.importorskip("packaging.metadata").Metadata.from_email(text, validate=True)


def test_the_sdist_holds_the_package_and_its_papers_and_nothing_else(sdist):
    with tarfile.open(sdist) as archive:
        names = {name.partition("/")[2] for name in archive.getnames()}
    papers = {
        "README.md",
        "LICENSE",
        "CHANGELOG.md",
        "CITATION.cff",
        "pyproject.toml",
        "PKG-INFO",
        ".gitignore",
    }
    assert names == {f"src/isoflop/{name}" for name in modules()} | papers


def test_the_wheel_holds_the_package_its_types_and_its_licence_and_nothing_else(wheel):
    with zipfile.ZipFile(wheel) as archive:
        names = set(archive.namelist())
    info = f"isoflop-{isoflop.__version__}.dist-info"
    about = ("METADATA", "WHEEL", "RECORD", "entry_points.txt", "licenses/LICENSE")
    expected = [f"isoflop/{name}" for name in modules()] + [f"{info}/{name}" for name in about]
    assert names == set(expected)
    assert "isoflop/py.typed" in names


def test_metadata_are_valid_and_name_the_licence_and_the_readme(metadata):
    assert str(metadata.version) == isoflop.__version__
    assert metadata.license_expression == "MIT"
    assert metadata.description_content_type == "text/markdown"
    assert metadata.description.startswith("# isoflop")


WITHOUT_TORCH = {
    "datasets",
    "test",
    "wandb",
    "mlflow",
    "tensorboard",
    "lightning",
    "excel",
    "tables",
}


def test_torch_is_required_by_the_extras_that_train_alone(metadata):
    needed = [one for one in metadata.requires_dist if one.name in TRAIN]
    assert not [one for one in needed if one.marker is None]
    training = {extra for one in needed for extra in EXTRA.findall(str(one.marker))}
    assert training == set(metadata.provides_extra) - WITHOUT_TORCH


def test_pandas_is_required_by_extras_alone(metadata):
    needed = [one for one in metadata.requires_dist if one.name in ("pandas", "pyarrow")]
    assert needed
    assert all(EXTRA.findall(str(one.marker)) for one in needed)


@pytest.mark.slow  # downloads NumPy, SciPy and the others into an environment of their own
def test_a_wheel_installed_without_torch_fits_answers_and_writes_a_page(wheel, tmp_path):
    venv.create(tmp_path / "venv", with_pip=True)
    python = tmp_path / "venv" / "bin" / "python"
    already = _megabytes(python)
    subprocess.run([python, "-m", "pip", "install", "--quiet", wheel], check=True)
    table = tmp_path / "runs.csv"
    table.write_text(_rows())

    alone = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}

    def run(*arguments):
        program = [python, "-m", "isoflop.cli.app", *arguments]
        return subprocess.run(program, cwd=tmp_path, env=alone, capture_output=True, text=True)

    answer = json.loads(run("fit", table, "--target", "1e20", "--json").stdout)["optimum"]
    assert answer["num_params"]["value"] == pytest.approx(LAW.optimum(1e20)[0], rel=0.02)
    assert "Compute-optimal" in run("predict", table, "--flops", "1e20").stdout
    assert run("report", table, "--target", "1e20", "--path", "page.html").returncode == 0
    assert (tmp_path / "page.html").read_text().count("<svg") >= 3
    refused = run("plan", "json:dumps", "--budget", "1e9")
    assert (refused.returncode, refused.stderr.count("pip install 'isoflop[train]'")) == (2, 1)
    assert not list((tmp_path / "venv").rglob("site-packages/torch"))
    assert _megabytes(python) - already < MOST_MEGABYTES


def _rows():
    rows = ["params,tokens,flops,loss,compute_budget"]
    for budget in (1e17, 3e17, 1e18, 3e18):
        best = 0.17 * (budget / 6) ** 0.51
        for size in (best / 5, best / 2, best, best * 2, best * 5):
            tokens = budget / 6 / size
            rows.append(f"{size},{tokens},{budget},{LAW.loss(size, tokens)},{budget}")
    return "\n".join(rows)


def _megabytes(python):
    """Size on disk of what is installed for an interpreter."""
    folder = subprocess.run(
        [python, "-c", "import sysconfig; print(sysconfig.get_path('purelib'))"],
        capture_output=True,
        text=True,
        check=True,
    ).stdout.strip()
    return sum(path.stat().st_blocks * 512 for path in Path(folder).rglob("*")) / 2**20

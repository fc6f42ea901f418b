"""The check for a machine with one GPU runs every section on toy sizes."""

import re
import subprocess
import sys
import time
from pathlib import Path

import pytest

pytest.importorskip("torch", reason="training needs torch")
CHECK = Path(__file__).parents[2] / "benchmarks" / "gpu" / "check.py"
FIGURES = {
    "gpt": r"MFU \*\*\d+%\*\*.*tokens/s.*loss \d",
    "images": r"images/s with 1 workers.*of the bare loop's speed",
    "packed": r"2 runs of width 8: .* packed, \*\*\d.*; final losses at most \de[-+]\d+ apart",
    "graphs": r'width 8: .* tokens/s, .* with compile="reduce-overhead", \*\*\d',
    "together": r"2 runs of width 8: .* at once, \*\*\d",
    "resume": r"stopped at step \d+: .*equal bit for bit",
    "memory": r"a batch of 24 was taken in pieces of at most 6: ",
    "sweep": r"\d+ runs to 2e\+08 FLOPs .*; at ten times that N ",
}


def test_every_section_runs_on_toy_sizes(warm_python, tmp_path):
    out = tmp_path / "check.md"
    command = [sys.executable, str(CHECK), "--tiny", "--out", str(out)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300)
    text = out.read_text()
    assert done.returncode == 0, text + done.stderr[-2000:]
    rows = re.findall(r"^\| (\w+) \| (.*) \| \d+ s \|$", text, re.MULTILINE)
    assert {name for name, _ in rows} == set(FIGURES)
    for name, result in rows:
        assert re.search(FIGURES[name], result), (name, result)
        assert "NOT equal" not in result


def test_a_section_that_fails_says_why_in_its_row(monkeypatch, tmp_path):
    monkeypatch.syspath_prepend(str(CHECK.parent))
    import check

    def failing(scale):
        raise ValueError("no such thing")

    monkeypatch.setitem(check.SECTIONS, "gpt", (failing, 5))
    out = tmp_path / "check.md"
    assert check.main(["--tiny", "--only", "gpt", "--out", str(out)]) == 1
    assert "| gpt | FAILED: ValueError: no such thing |" in out.read_text()


def test_a_section_that_takes_too_long_is_ended(monkeypatch, tmp_path):
    monkeypatch.syspath_prepend(str(CHECK.parent))
    import check

    monkeypatch.setitem(check.SECTIONS, "gpt", (lambda scale: time.sleep(30), 1))
    out = tmp_path / "check.md"
    assert check.main(["--tiny", "--only", "gpt", "--out", str(out)]) == 1
    assert "| gpt | FAILED: TimeoutError: it took longer than 1 s |" in out.read_text()

"""What a refactoring must leave as it was: the numbers and texts in `expected/`.

Where a change is meant, `python -m pytest tests/golden --rewrite-golden` writes anew the files
that differ; the commit that carries them says why they changed.
"""

import json
from pathlib import Path

import pytest
from golden_values import differences, plain

EXPECTED = Path(__file__).parent / "expected"
REMEDY = "where meant, run `python -m pytest tests/golden --rewrite-golden`, say why in the commit"


@pytest.fixture
def golden(request):
    """A function that holds a value to a file: numbers within `rel`, all else exactly."""
    rewrite = request.config.getoption("--rewrite-golden")

    def hold(name, value, rel=1e-6):
        path = EXPECTED / name
        is_text = isinstance(value, str)
        if not path.exists() and not rewrite:
            pytest.fail(f"there is no {path.name} yet; {REMEDY}")
        before = (
            None
            if not path.exists()
            else path.read_text()
            if is_text
            else json.loads(path.read_text())
        )
        now = value if is_text else plain(value)
        differing = list(differences(before, now, rel))
        if not differing:
            return
        if not rewrite:
            pytest.fail("\n".join([f"{path.name}: {REMEDY}", *differing[:20]]))
        EXPECTED.mkdir(exist_ok=True)
        path.write_text(now if is_text else json.dumps(now, indent=1, ensure_ascii=False) + "\n")

    return hold

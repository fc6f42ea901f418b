# `make demo` runs the main job on real data; `make test` runs the tests. Both need only Python 3.11+ and make.
PYTHON ?= python3
BIN := .venv/bin

.PHONY: setup demo test campaigns check docs

# The environment of the demo: the core dependencies alone.
.venv/core: pyproject.toml requirements.lock
	test -x $(BIN)/python || $(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint requirements.lock --editable .
	touch $@

# Everything that tests and checks need.
.venv/dev: .venv/core
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint requirements.lock --editable ".[dev,hf,ray,slurm,hydra]"
	touch $@

setup: .venv/dev

demo: .venv/core
	$(BIN)/python examples/python_source_gpt.py

# Two workers: each file is of one of them, and what shares a resource is of the same one (tests/conftest.py).
test: .venv/dev
	$(BIN)/python -m pytest --numprocesses 2 --dist loadgroup --no-loadscope-reorder --durations 10

# Tests that take minutes to hours.
campaigns: .venv/dev
	$(BIN)/python -m pytest -m slow

check: .venv/dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

.venv/docs: .venv/core
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint requirements.lock --editable ".[docs,ray,slurm]"
	touch $@

# Every example in the pages runs; a warning is an error.
docs: .venv/docs
	$(BIN)/sphinx-build -W --keep-going --nitpicky -j 2 docs docs/_build/html

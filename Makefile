# `make demo` runs the main job on real data; `make test` runs the tests. Both need only Python 3.11+ and make.
PYTHON ?= python3
BIN := .venv/bin
LIGHT := .venv-light
# Versions to install: those tested together, or the lowest allowed (LOCK=requirements.lowest).
LOCK ?= requirements.lock
PIP_INSTALL := -m pip install --quiet --disable-pip-version-check --constraint $(LOCK)

.PHONY: setup demo picture test test-light test-trackers campaigns check docs dist

# The environment of the demo: what training needs.
.venv/core: pyproject.toml $(LOCK)
	test -x $(BIN)/python || $(PYTHON) -m venv .venv
	$(BIN)/python $(PIP_INSTALL) --editable ".[train]"
	touch $@

# Everything that tests and checks need.
.venv/dev: .venv/core
	$(BIN)/python $(PIP_INSTALL) --editable ".[dev,hf,ray,slurm,hydra]"
	touch $@

setup: .venv/dev

demo: .venv/core
	$(BIN)/python examples/python_source_gpt.py

# The picture of the demo's answer in README.md and docs/index.md.
picture: demo
	$(BIN)/python docs/demo_picture.py

# Programs that tests start load what an earlier one has compiled, wherever this is off by default.
test test-light test-trackers campaigns: export PYTHONDONTWRITEBYTECODE :=

# Two workers: each file is of one of them, and what shares a resource is of the same one (tests/conftest.py).
test: .venv/dev
	$(BIN)/python -m pytest --numprocesses 2 --dist loadscope --no-loadscope-reorder --durations 10

# The tests that need no torch, in an environment without it: make test-light PYTHON=python3.13
$(LIGHT)/done: pyproject.toml $(LOCK)
	test -x $(LIGHT)/bin/python || $(PYTHON) -m venv $(LIGHT)
	$(LIGHT)/bin/python $(PIP_INSTALL) --editable ".[test]"
	touch $@

test-light: $(LIGHT)/done
	$(LIGHT)/bin/python -m pytest

# The readers of logs that W&B and MLflow write, which are too large for every environment.
.venv-trackers/done: pyproject.toml $(LOCK)
	test -x .venv-trackers/bin/python || $(PYTHON) -m venv .venv-trackers
	.venv-trackers/bin/python $(PIP_INSTALL) --editable ".[test,wandb,mlflow,tensorboard,lightning,excel]"
	touch $@

test-trackers: .venv-trackers/done
	.venv-trackers/bin/python -m pytest tests/storage/readers

# Tests that take minutes to hours.
campaigns: .venv/dev
	$(BIN)/python -m pytest -m slow

check: .venv/dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

.venv/docs: .venv/core
	$(BIN)/python $(PIP_INSTALL) --editable ".[docs,ray,slurm]"
	touch $@

# Every example in the pages runs; a warning is an error.
docs: .venv/docs
	$(BIN)/sphinx-build -W --keep-going --nitpicky -j 2 docs docs/_build/html

# The packages of a release, with their metadata checked.
dist: .venv/dev
	$(BIN)/python $(PIP_INSTALL) build twine
	rm -rf dist
	$(BIN)/python -m build
	$(BIN)/python -m twine check --strict dist/*

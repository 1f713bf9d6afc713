# Every target installs its dependencies: a fresh clone only needs Python 3.11 and make.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready

.DEFAULT_GOAL := help
.PHONY: help setup train test test-all test-slurm check format bench ui docs docs-serve

help: ## list the targets
	@grep -E '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## (.*)/  \1\t\2/' | expand -t 14

$(READY): pyproject.toml constraints.txt
	$(PYTHON) -c 'import sys; sys.exit(0 if (3, 11) <= sys.version_info[:2] < (3, 14) else "facelab needs Python 3.11 (3.12 and 3.13 should work), but $(PYTHON) is %d.%d. Name another one: make PYTHON=python3.11 ..." % sys.version_info[:2])'
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable '.[dev]'
	touch $@

setup: $(READY) ## create .venv and install facelab with pinned dependencies

train: setup ## train the default CNN on the AT&T faces: python train.py model=cnn
	$(BIN)/python train.py model=cnn

test: setup ## run the tests, except slow ones
	$(BIN)/python -m pytest -m "not slow" --numprocesses 2 --dist loadfile --no-loadscope-reorder

test-all: setup ## run all tests
	$(BIN)/python -m pytest

test-slurm: setup ## test sweeps on a local one-node SLURM cluster (Debian, as root)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable '.[dev,slurm]'
	$(BIN)/python -m pytest tests/slurm/sweeps.py

check: setup ## run ruff and mypy (strict)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

format: setup ## sort imports and format the code with ruff
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

bench: setup ## benchmark the speed as ratios (about 20 minutes)
	$(BIN)/python -m tests.bench

ui: setup ## start MLflow's UI for the runs in this folder
	$(BIN)/facelab ui

docs: setup ## build the documentation into site/, and fail on a broken link
	NO_MKDOCS_2_WARNING=1 $(BIN)/python -m mkdocs build --strict

docs-serve: setup ## serve the documentation on 127.0.0.1:8000 while you edit it
	NO_MKDOCS_2_WARNING=1 $(BIN)/python -m mkdocs serve --dev-addr 127.0.0.1:8000

# Everything happens in .venv, which is made anew whenever pyproject.toml or constraints.txt changed.

PYTHON ?= python3
JOBS ?= 2
OUT ?= flowopt-out

BIN := .venv/bin
INSTALL := $(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt

.DEFAULT_GOAL := help
.PHONY: help demo test quick lint format build clean

help:  ## list the targets
	@sed -n 's/^\([a-z]*\):.*## /\1\t/p' $(MAKEFILE_LIST)

demo: .venv/for-use  ## set up, compare the methods on Rosenbrock's valley, say where the pictures are
	$(BIN)/flowopt compare rosenbrock --out $(OUT)
	@echo "The picture lies in $(abspath $(OUT))."

test: lint  ## set up for development, check style and types, run all tests, examples and notebooks
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest --numprocesses $(JOBS) --dist worksteal

quick: .venv/for-development  ## run the tests that are not slow
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest --numprocesses $(JOBS) --dist worksteal -m "not slow"

lint: .venv/for-development  ## check style and types
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy

format: .venv/for-development  ## mend what can be mended of the style
	$(BIN)/ruff check --fix-only
	$(BIN)/ruff format

build: .venv/for-development  ## make the source distribution and the wheel, in dist
	$(BIN)/python -m build

clean:  ## remove everything that was made here
	rm -rf .venv $(OUT) build dist *.egg-info .mypy_cache .ruff_cache .pytest_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

.venv/pyvenv.cfg: pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.version_info >= (3, 11) or sys.exit("flowopt needs Python 3.11 or newer: make PYTHON=python3.11 ...")'
	$(PYTHON) -m venv --clear .venv

.venv/for-use: .venv/pyvenv.cfg
	@echo "Installing flowopt into .venv; the first time this takes a minute or a few."
	$(INSTALL) --editable .
	@touch $@

.venv/for-development: .venv/pyvenv.cfg
	@echo "Installing flowopt and its development tools into .venv; the first time this takes a minute or a few."
	$(INSTALL) --editable '.[dev]'
	@touch $@ .venv/for-use

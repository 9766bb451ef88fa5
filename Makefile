# Everything happens in .venv; each target does its own set-up on a machine that has Python 3.11 or 3.12 and nothing else.
PYTHON ?= $(shell command -v python3.11 || command -v python3.12 || command -v python3)
BIN := .venv/bin
READY := .venv/.ready

.PHONY: setup demo screenshots test lint format clean

setup: $(READY)

# torch goes first and from the constraints file: left to the other packages, pip would take a build with CUDA.
$(READY): pyproject.toml constraints.txt
	test -x $(BIN)/python || $(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --constraint constraints.txt torch
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable ".[test,lint]"
	touch $(READY)

demo: $(READY)
	$(BIN)/sslseg demo --output build/demo

# The pictures of the README: of COHORT, a folder with a model, or of phantoms.
screenshots: $(READY)
	PYTHONPATH=Testing $(BIN)/python -m screenshots $(if $(COHORT),--cohort "$(COHORT)")

test: $(READY)
	$(BIN)/python -m pytest

lint: $(READY)
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy

format: $(READY)
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

clean:
	rm -rf build .pytest_cache .mypy_cache .ruff_cache

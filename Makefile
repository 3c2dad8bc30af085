# make demo: set up and do the main job.  make test: set up and run all tests.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
PIP := $(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt

.PHONY: demo test lint lab setup clean

demo: setup
	$(BIN)/python notebooks/run_demo.py

test: setup
	$(BIN)/python -m pytest

lint: setup
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

lab: setup
	$(BIN)/jupyter lab notebooks/01_quickstart.ipynb

setup: $(STAMP)

# torch first and pinned: a CPU build where there is one, and nothing later replaces it.
# llama-models holds the Llama 3 tokenizer for tests; its own dependencies are not needed.
$(STAMP): pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(PIP) --upgrade pip
	$(PIP) "torch==$$(sed -n 's/^torch==//p' constraints.txt)"
	$(PIP) --no-deps llama-models
	$(PIP) --group dev -e .
	touch $(STAMP)

clean:
	rm -rf $(VENV) build dist

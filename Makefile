# Every target sets itself up: a machine with Python 3.11 or later and make is enough.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
BENCH_VENV ?= .venv-bench
BENCH_BIN := $(BENCH_VENV)/bin
FIGURES ?=
RESULTS ?= bench-results/results.json
PLOTS ?= bench-results
PYTEST_ARGS ?=
WORKERS ?= 2
MINUTES ?= 15
RUNS ?= 1000000
SEED ?=

.PHONY: help demo test test-all check format bench bench-quick soak fuzz model clean

help:  ## what can be made
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed 's/:.*##/\t/' | expand -t 14

demo: $(VENV)/.demo  ## watch this machine's processes through a tap
	$(BIN)/python examples/demo.py

test: $(VENV)/.test  ## the tests, WORKERS at a time
	$(BIN)/python -m pytest -n $(WORKERS) $(PYTEST_ARGS)

test-all:  ## the tests on every CPython from 3.11 up that this machine has
	tools/test_all.sh $(PYTEST_ARGS)

check: $(VENV)/.dev  ## lint, format, types
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

format: $(VENV)/.dev  ## put the code in its format
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

bench: $(BENCH_VENV)/.bench  ## what a tap costs, beside other ways: RESULTS (JSON), PLOTS (a folder)
	$(BENCH_BIN)/python -m benchmarks $(FIGURES) --json $(RESULTS)
	$(BENCH_BIN)/python -m benchmarks.plots $(RESULTS) --to $(PLOTS)

bench-quick: $(BENCH_VENV)/.bench  ## the same with fewer repetitions
	$(BENCH_BIN)/python -m benchmarks $(FIGURES) --quick --json $(RESULTS)
	$(BENCH_BIN)/python -m benchmarks.plots $(RESULTS) --to $(PLOTS)

soak: $(VENV)/.test  ## kill, stop, fill and fork for MINUTES, and check every ledger; SEED=N again
	$(BIN)/python -m tests.proofs.soak --minutes $(MINUTES) $(if $(SEED),--seed $(SEED))

fuzz: $(VENV)/.test  ## RUNS mutations of each thing that is read from shared memory: an hour
	for target in reader writer attach registry; do \
		$(BIN)/python -m tests.proofs.fuzz $$target --runs $(RUNS) $(if $(SEED),--seed $(SEED)) || exit 1; \
	done

model: $(VENV)/.test  ## every interleaving of larger models than the tests'
	$(BIN)/python -m tests.proofs.model --long

clean:  ## remove what the targets made
	rm -rf $(VENV) $(BENCH_VENV) .venvs bench-results
	rm -rf .mypy_cache .ruff_cache .pytest_cache .hypothesis dist build

$(VENV)/bin/python $(BENCH_BIN)/python:
	$(PYTHON) -m venv $(@D)/..

$(VENV)/.demo: pyproject.toml | $(VENV)/bin/python
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -e '.[demo]'
	@touch $@

$(BENCH_VENV)/.bench: pyproject.toml | $(BENCH_BIN)/python
	$(BENCH_BIN)/python -m pip install --quiet --disable-pip-version-check -e '.[bench]'
	@touch $@

$(VENV)/.test: pyproject.toml | $(VENV)/bin/python
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -e '.[test,demo]'
	@touch $@

$(VENV)/.dev: pyproject.toml | $(VENV)/bin/python
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -e '.[test,demo,dev]'
	@touch $@

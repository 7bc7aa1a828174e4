# Every target installs what it needs. You need Python 3.11 or later, and make.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
BENCH_VENV ?= .venv-bench
BENCH_BIN := $(BENCH_VENV)/bin
FIGURES ?=
RESULTS ?= bench-results/results.json
PLOTS ?= bench-results
PYTEST_ARGS ?=
# One more than two cores: many tests wait for processes.
WORKERS ?= 3
RUN ?= $(BIN)/python -m
MINUTES ?= 15
RUNS ?= 1000000
SEED ?=
MUTANTS ?= 200
MODULES ?=
NOTES ?=
TESTS ?= all

.PHONY: help demo test test-all test-sid coverage package check types format bench bench-quick soak fuzz model mutants clean

help:  ## list the targets
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed 's/:.*##/\t/' | expand -t 14

demo: $(VENV)/.demo  ## tap an example engine that watches this machine's processes
	$(BIN)/python examples/demo.py

test: $(VENV)/.test  ## run the tests, WORKERS at a time; PYTEST_ARGS=--long runs the exhaustive proofs whole
	$(RUN) pytest -n $(WORKERS) $(PYTEST_ARGS)

test-all:  ## run the tests on every CPython from 3.11 up that this machine has
	tools/test_all.sh $(PYTEST_ARGS)

test-sid:  ## run the tests on the CPython versions of Debian sid (as root, on Debian)
	tools/sid.sh $(PYTEST_ARGS)

coverage: $(VENV)/.dev  ## run the tests and list the lines that they do not reach
	rm -f .coverage .coverage.*
	$(MAKE) --no-print-directory test RUN="$(BIN)/python -m coverage run -m"
	$(BIN)/python -m coverage combine --quiet
	$(BIN)/python -m coverage report

package: $(VENV)/.dev  ## build the sdist and the wheel into dist/, and try both
	tools/package.sh $(BIN)/python

check: $(VENV)/.dev  ## lint, and check formatting and types
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/mypy --implicit-reexport --explicit-package-bases --cache-dir .mypy_cache/tests tests
	cd tests/typing && $(abspath $(BIN))/mypy .
	$(BIN)/basedpyright --pythonpath $(BIN)/python -p tests/typing

types: $(VENV)/.dev  ## list what is public and has no type that every type checker infers alike
	PATH="$(abspath $(BIN)):$$PATH" basedpyright --pythonplatform Linux --ignoreexternal --verifytypes tapring

format: $(VENV)/.dev  ## reformat the code
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

bench: $(BENCH_VENV)/.bench  ## measure what a tap costs; writes RESULTS (JSON) and PLOTS (a folder)
	$(BENCH_BIN)/python -m benchmarks $(FIGURES) --json $(RESULTS)
	$(BENCH_BIN)/python -m benchmarks.plots $(RESULTS) --to $(PLOTS)

bench-quick: $(BENCH_VENV)/.bench  ## measure with fewer repetitions
	$(BENCH_BIN)/python -m benchmarks $(FIGURES) --quick --json $(RESULTS)
	$(BENCH_BIN)/python -m benchmarks.plots $(RESULTS) --to $(PLOTS)

soak: $(VENV)/.test  ## kill, stop, fork, recycle and disturb for MINUTES, and check all counts and recordings; SEED=N repeats a run
	$(BIN)/python -m tests.proofs.soak --minutes $(MINUTES) $(if $(SEED),--seed $(SEED))

fuzz: $(VENV)/.test  ## fuzz the code that reads shared memory, and batches, RUNS times a target (two hours)
	for target in reader writer attach recording registry batches hooks; do \
		$(BIN)/python -m tests.proofs.fuzz $$target --runs $(RUNS) $(if $(SEED),--seed $(SEED)) || exit 1; \
	done

model: $(VENV)/.test  ## explore every interleaving of larger models than those in the tests
	$(BIN)/python -m tests.proofs.model --long

mutants: $(VENV)/.test  ## change the code at MUTANTS random places, and print the changes that no test notices
	$(BIN)/python -m tools.mutants --mutants $(MUTANTS) --tests $(TESTS) $(if $(SEED),--seed $(SEED)) \
		$(if $(MODULES),--modules $(MODULES)) $(if $(NOTES),--notes $(NOTES))

clean:  ## remove everything that these targets made
	rm -rf $(VENV) $(BENCH_VENV) .venvs bench-results
	rm -rf .mypy_cache .ruff_cache .pytest_cache .hypothesis .coverage .coverage.* dist build

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

# Two commands set everything up: `make bench` and `make test`.

PYTHON ?= $(firstword $(foreach p,python3.11 python3.12 python3.13 python3.14 python3,$(shell command -v $(p))))
VENV ?= .venv
BIN := $(VENV)/bin
# Never part of a name on this machine: the stamp says what is installed in VENV.
STAMP := $(VENV)/.installed

.PHONY: bench bench-full test lint unit soak clean

BENCH := $(BIN)/taskbridge-bench
RESULTS ?= .benchmarks
# Status 1: a contender failed, which the report says; what the others did is valid.
REPORTED := [ $$? -eq 1 ]

bench: $(STAMP)  ## compare the backends: native, bridge and durable; 5 minutes
	@$(BENCH) run --quick --storage $(RESULTS) --html $(RESULTS)/quick.html

# What is in each: MODES in bench/taskbridge_bench/plan.py. A run that was interrupted:
# taskbridge-bench run --resume FILE, and then the last line.
bench-full: $(STAMP)  ## all libraries and scenarios on SQLite and PostgreSQL; 90 minutes
	@$(BENCH) run --full --json $(RESULTS)/full-sqlite.json || $(REPORTED)
	@$(BENCH) run --full --database postgresql --json $(RESULTS)/full-postgresql.json || $(REPORTED)
	@$(BENCH) report $(RESULTS)/full-sqlite.json $(RESULTS)/full-postgresql.json --html $(RESULTS)/full.html --markdown $(RESULTS)/full.md --json $(RESULTS)/full.json

# Most tests wait for worker processes most of the time: three at once for two cores.
test: $(STAMP)  ## all tests
	@$(BIN)/python -m pytest -n 3 --ignore tests/faults
	@$(BIN)/python -m pytest -n 2 tests/faults

unit: $(STAMP)  ## the tests that take seconds
	@$(BIN)/python -m pytest tests/unit

SOAK_S ?= 1800

soak: $(STAMP)  ## kills and outages with new random moments, for SOAK_S seconds
	@TASKBRIDGE_SOAK=$(SOAK_S) $(BIN)/python -m pytest tests/faults/test_soak.py -s

lint: $(STAMP)  ## style, types and architecture
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/mypy tests/unit/test_typing.py
	$(BIN)/lint-imports --no-cache

$(STAMP): pyproject.toml
	@test -n "$(PYTHON)" || { echo "TaskBridge needs Python 3.11 or newer: set PYTHON=..."; exit 1; }
	@$(PYTHON) -c 'import sys; v = sys.version_info; sys.exit(v < (3, 11) and f"TaskBridge needs Python 3.11 or newer, and $(PYTHON) is {v.major}.{v.minor}: set PYTHON=...")'
	@echo "Installing into $(VENV) (once; a minute or two) ..."
	@$(PYTHON) -m venv --clear $(VENV)
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[dev]'
	@touch $@

clean:  ## remove what `make` has made
	rm -rf $(VENV) .benchmarks .mypy_cache .pytest_cache .ruff_cache

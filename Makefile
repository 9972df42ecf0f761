# `make bench` and `make test` set up all that they need.

PYTHON ?= $(firstword $(foreach p,python3.11 python3.12 python3.13 python3.14 python3,$(shell command -v $(p))))
VENV ?= .venv
BIN := $(VENV)/bin
# Newer than pyproject.toml: what it asks for is installed in VENV.
STAMP := $(VENV)/.installed

.PHONY: bench bench-full micro test test-all test-newest test-databases lint unit features soak clean

BENCH := $(BIN)/taskbridge-bench
RESULTS ?= .benchmarks
# Status 1: a contender failed. The report says so; the results of the others are valid.
REPORTED := [ $$? -eq 1 ]

bench: $(STAMP)  ## compare the three libraries, with and without TaskBridge; 5 minutes
	@$(BENCH) run --quick --storage $(RESULTS) --html $(RESULTS)/quick.html

# MODES in bench/taskbridge_bench/plan.py says what is in each run. If one is interrupted,
# continue it by `taskbridge-bench run --resume FILE`, and then run the last line.
bench-full: $(STAMP)  ## compare all libraries in all scenarios, on SQLite and PostgreSQL; at most 90 minutes
	@$(BENCH) run --full --json $(RESULTS)/full-sqlite.json || $(REPORTED)
	@$(BENCH) run --full --database postgresql --json $(RESULTS)/full-postgresql.json || $(REPORTED)
	@$(BENCH) report $(RESULTS)/full-sqlite.json $(RESULTS)/full-postgresql.json --html $(RESULTS)/full.html --markdown $(RESULTS)/full.md --json $(RESULTS)/full.json

# The tests count statements without timing anything; this does both.
micro: $(STAMP)  ## time single steps, and count their statements, on SQLite and PostgreSQL; one minute
	@mkdir -p $(RESULTS)
	@$(BIN)/python -m pytest bench/micro --benchmark-json $(RESULTS)/micro-sqlite.json
	@$(BIN)/python -m taskbridge.testing.services postgresql -- $(BIN)/python -m pytest bench/micro --benchmark-json $(RESULTS)/micro-postgresql.json

# CI sets RERUNS: see CONTRIBUTING.md.
RERUNS ?=

# Tests mostly wait for worker processes, so three at once suit two cores.
test: $(STAMP)  ## run all tests, on SQLite and with one Python; half an hour
	@$(BIN)/python -m pytest $(RERUNS) -n 3 --ignore tests/faults
	@$(BIN)/python -m pytest $(RERUNS) -n 2 tests/faults

test-all: lint test test-newest test-databases  ## the whole matrix: each feature on each queue and database, and on the newest Python; 90 minutes

# Without the example of docs/adapters.md, which is about the contract and not Django.
test-newest:  ## unit and contract tests on the newest other Python, hence with Django 6
	@newest=$$($(FIND_NEWEST)); \
	if [ -z "$$newest" ]; then echo "No newer Python was found: Django 6 was not tested."; exit; fi; \
	$(MAKE) PYTHON="$$newest" VENV=$(NEWEST) $(NEWEST)/.installed && \
	$(NEWEST)/bin/python -c 'import sys, django; print("Python", sys.version.split()[0], "with Django", django.__version__)' && \
	$(NEWEST)/bin/python -m pytest $(RERUNS) -n 3 $(NEWEST_TESTS) --ignore tests/contract/test_example_adapter.py

NEWEST := .venv-newest
NEWEST_TESTS ?= tests/unit tests/contract
# What `command -v` finds may be a shim of pyenv without such a Python behind it.
define FIND_NEWEST
for version in 3.14 3.13 3.12; do \
  for python in "$$(command -v python$$version)" $${PYENV_ROOT:-$$HOME/.pyenv}/versions/$$version.*/bin/python; do \
    "$$python" -c 'import ssl, venv, ensurepip' 2>/dev/null && echo "$$python" && exit; \
  done; \
done
endef

# CONTRACTS chooses queues by their class in the second file, as -k of pytest does.
test-databases: $(STAMP)  ## what uses the project's database, on PostgreSQL and on MariaDB
	@for database in postgresql mariadb; do \
	  on_database="$(BIN)/python -m taskbridge.testing.services $$database -- $(BIN)/python -m pytest $(RERUNS) -n 3"; \
	  $$on_database tests/unit/test_store_database.py tests/unit/test_plans.py tests/unit/durable tests/unit/test_before_the_move.py && \
	  $$on_database tests/contract/test_kept_connections.py tests/contract/test_wakeups.py bench/micro && \
	  $$on_database tests/faults/test_writes.py -k "not repeated" && \
	  $$on_database tests/contract/test_backends.py -k "$(CONTRACTS)" || exit; \
	done

unit: $(STAMP)  ## run the unit tests
	@$(BIN)/python -m pytest tests/unit

# Ten minutes: an answer is written only if it was seen in real workers.
features: $(STAMP)  ## what each backend can do: docs/features.json and its tables
	@TASKBRIDGE_WRITE_FEATURES=1 $(BIN)/python -m pytest -n 2 tests/contract/test_backends.py
	@$(BIN)/python -m tests.contract.observations

SOAK_S ?= 1800

soak: $(STAMP)  ## all faults at random, on each queue and database, for SOAK_S seconds
	@TASKBRIDGE_SOAK=$(SOAK_S) $(BIN)/python -m pytest tests/faults/test_soak.py -s

# The types of Django 6, which needs Python 3.12; what we override has others there.
AS_ON_DJANGO_6 := --python-version 3.13 --disable-error-code override

lint: $(STAMP)  ## check style, types and the order of imports
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/mypy tests/unit/test_typing.py
	$(BIN)/mypy $(AS_ON_DJANGO_6)
	$(BIN)/mypy $(AS_ON_DJANGO_6) tests/unit/test_typing.py
	$(BIN)/lint-imports --no-cache

$(STAMP): pyproject.toml
	@test -n "$(PYTHON)" || { echo "TaskBridge needs Python 3.11 or newer: set PYTHON=..."; exit 1; }
	@$(PYTHON) -c 'import sys; v = sys.version_info; sys.exit(v < (3, 11) and f"TaskBridge needs Python 3.11 or newer, and $(PYTHON) is {v.major}.{v.minor}: set PYTHON=...")'
	@echo "Installing into $(VENV) (once; a minute or two) ..."
	@$(PYTHON) -m venv --clear $(VENV)
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[dev]'
	@touch $@

clean:  ## remove everything that `make` has made
	rm -rf $(VENV) $(NEWEST) .benchmarks .mypy_cache .pytest_cache .ruff_cache

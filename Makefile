# Tidemark's tasks. `make` alone explains them. Everything is installed below this folder: .uv/, .venv/, .venv-sql/.

SHELL := bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
MAKEFLAGS += --no-print-directory

# The Pythons that pyproject.toml promises, as pip and uv read them: >=3.11,<3.15 is 3.11 to 3.14.
PYTHONS := $(shell sed -n 's/^requires-python = "\(.*\)"$$/\1/p' pyproject.toml)
# The interpreter to take; empty: the first on PATH that fits, else one that uv fetches.
PYTHON ?=
# The user's uv, by name, as make can name no file whose path has a space; else one of our own in a private folder.
UV := $(or $(shell uv --version >/dev/null 2>&1 && echo uv),.uv/bin/uv)
OWN_UV := $(filter .uv/bin/uv,$(UV))
BIN := .venv/bin
TIDEMARK := $(BIN)/tidemark
SQL := dbt_project/models dbt_project/macros */migrations tidemark/access

export UV_LINK_MODE ?= copy
export UV_PYTHON_PREFERENCE ?= system
# Where the home cannot be written, uv's cache is below this folder too.
WRITABLE := dir="$${XDG_CACHE_HOME:-$$(echo ~)/.cache}/uv"; until [ -e "$$dir" ]; do dir=$$(dirname "$$dir"); done; \
	[ -d "$$dir" ] && [ -w "$$dir" ] && echo yes
ifeq ($(UV_CACHE_DIR)$(shell $(WRITABLE)),)
export UV_CACHE_DIR := $(CURDIR)/.uv/cache
endif

COMPILE := $(UV) pip compile -q --universal --python-version 3.11 --generate-hashes --no-emit-index-url --no-header

# Says by its exit code whether the interpreter that runs it is among the Pythons in its argument.
FITS := import re, sys; low, end = map(int, re.findall("3[.]([0-9]+)", sys.argv[1])); \
	sys.exit(not (3, low) <= sys.version_info[:2] < (3, end))

.PHONY: help
help: ## Explain these targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-12s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)
	@echo "PYTHON=python3.12 make ... chooses the interpreter ($(PYTHONS)) when .venv is made."

.PHONY: setup
setup: .venv/.installed ## Install everything into .venv, from requirements.lock

.PHONY: demo
demo: setup ## Run the main job on recorded or generated sessions, and leave the stack up to look at
	@$(TIDEMARK) demo

# make test is two sessions at once, each on a stack of its own, which take about as long: what fills the warehouse, with
# the demo and the upgrades, and all others.
WAREHOUSE := $(addprefix tests/,catalog dbt_project demo flows ingest migrations)
SHORT := -m "not faults and not pythons" --durations=15

.PHONY: test
test: lint ## Run the linters, then all tests but the long loops
	@$(MAKE) -j 2 test-warehouse test-others

.PHONY: test-warehouse test-others
test-warehouse: setup
	@$(BIN)/python -m pytest $(SHORT) $(WAREHOUSE)

# What it says is printed when it has ended, whole.
test-others: setup
	@said=$$($(BIN)/python -m pytest $(SHORT) $(addprefix --ignore=,$(WAREHOUSE)) 2>&1) && code=0 || code=$$?; echo "$$said"; exit $$code

# Two sessions at once too: they mostly wait.
FAULTS := -m faults --timeout 1800 --durations=15
OF_THE_LANE := tests/stream_shim tests/watch

.PHONY: test-faults
test-faults: setup ## Run the long loops, as two sessions
	@$(MAKE) -j 2 faults-of-the-lane other-faults

.PHONY: faults-of-the-lane other-faults
faults-of-the-lane: setup
	@$(BIN)/python -m pytest $(FAULTS) $(OF_THE_LANE)

other-faults: setup
	@said=$$($(BIN)/python -m pytest $(FAULTS) $(addprefix --ignore=,$(OF_THE_LANE)) 2>&1) && code=0 || code=$$?; echo "$$said"; exit $$code

.PHONY: demo-pythons
demo-pythons: setup ## Run the demo on every promised Python that is here; ONLY=newest takes the newest but .venv's own
	@$(BIN)/python -m tests.pythons
	@$(BIN)/python -m pytest -m pythons --timeout 1800

.PHONY: bench-stream
bench-stream: setup ## Measure the streaming lane against its peers; BENCH="--records 100000 --rounds 1" makes it smaller
	@$(BIN)/python -m bench stream $(BENCH)

.PHONY: bench-marts
bench-marts: setup ## Measure what new rows cost the marts; BENCH="--held 200000 --fresh 10000 --many 20000" makes it smaller
	@$(BIN)/python -m bench marts $(BENCH)

.PHONY: bench-warehouse
bench-warehouse: setup ## Measure builds of the warehouse, new ticks and as-of queries; BENCH="--held 200000 --fresh 50000 --vintages 50000" makes it smaller
	@$(BIN)/python -m bench warehouse $(BENCH)

.PHONY: bench-api
bench-api: setup ## Measure the read API across the tidemark; BENCH="--ticks 100000 --rounds 1" makes it smaller
	@$(BIN)/python -m bench api $(BENCH)

.PHONY: bench-demo
bench-demo: setup ## Measure the demo, and the stack at rest; BENCH="--rounds 3"
	@$(BIN)/python -m bench demo $(BENCH)

.PHONY: lint
lint: setup .venv-sql/.installed ## Check style, types, import rules, YAML and SQL
	@$(BIN)/ruff check
	@$(BIN)/ruff format --check
	@$(BIN)/mypy
	@$(BIN)/lint-imports
	@$(BIN)/yamllint --strict .
	@.venv-sql/bin/sqlfluff lint --disable-progress-bar $(SQL)

.PHONY: format
format: setup .venv-sql/.installed ## Format Python and SQL
	@$(BIN)/ruff check --fix-only
	@$(BIN)/ruff format
	@.venv-sql/bin/sqlfluff fix --disable-progress-bar $(SQL)

.PHONY: docs
docs: setup ## Write docs/configuration.md from the settings
	@$(BIN)/python -m tidemark.configuration

.PHONY: down
down: ## End the local servers; what they hold stays
	@if [ -x $(TIDEMARK) ]; then $(TIDEMARK) down; fi

.PHONY: clean
clean: down ## Remove what setup and the tools made; the state folder stays
	@rm -rf .uv .venv .venv-sql .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache *.egg-info
	@rm -rf dbt_project/target dbt_project/logs

.PHONY: lock
lock: setup ## Resolve every dependency anew: Python, the SQL linter, Kafka's jars
	@$(COMPILE) --upgrade --all-extras pyproject.toml -o requirements.lock
	@$(COMPILE) --upgrade requirements-sql.in -o requirements-sql.lock
	@$(BIN)/python -m tidemark.stack.jars

# An environment whose interpreter left with an upgrade of the system is made anew.
GONE := $(shell [ -x $(BIN)/python ] || echo gone)
.PHONY: gone
gone:

.venv/.installed: $(GONE) requirements.lock pyproject.toml | $(OWN_UV) $(BIN)/python
	@echo "installing what requirements.lock names into .venv"
	@$(UV) pip sync -q --python $(BIN)/python --require-hashes requirements.lock
	@$(UV) pip install -q --python $(BIN)/python --no-deps --no-build-isolation -e .
	@touch $@

.venv-sql/.installed: $(GONE) requirements-sql.lock | $(OWN_UV) $(BIN)/python
	@[ -x .venv-sql/bin/python ] || { rm -rf .venv-sql; $(UV) venv -q --python $(BIN)/python .venv-sql; }
	@$(UV) pip sync -q --python .venv-sql/bin/python --require-hashes requirements-sql.lock
	@touch $@

$(BIN)/python: | $(OWN_UV)
	@rm -rf .venv; python="$(PYTHON)"; \
	if [ -n "$$python" ]; then \
		"$$python" -c '$(FITS)' "$(PYTHONS)" 2>/dev/null || { \
			echo "make: expected Python $(PYTHONS), found $$("$$python" --version 2>&1 | head -n 1) as PYTHON: set it to another, or not at all" >&2; \
			exit 1; }; \
	else \
		python=$$($(UV) python find --system --no-python-downloads "$(PYTHONS)" 2>/dev/null) || $(FETCH_PYTHON); \
	fi; \
	$(UV) venv -q --python "$$python" .venv

# Below this folder, unless the user's uv keeps its Pythons elsewhere.
FETCH_PYTHON = { \
	export UV_PYTHON_INSTALL_DIR="$${UV_PYTHON_INSTALL_DIR:-$(CURDIR)/.uv/python}"; \
	case "$${UV_PYTHON_DOWNLOADS:-}" in never|manual|false) why="UV_PYTHON_DOWNLOADS=$$UV_PYTHON_DOWNLOADS";; \
	*) echo "found no Python $(PYTHONS): uv fetches one into $$UV_PYTHON_INSTALL_DIR"; \
		why=$$($(UV) venv -q --python "$(PYTHONS)" .venv 2>&1 | head -n 1) && exit 0;; esac; \
	echo "make: expected Python $(PYTHONS) on PATH or from uv, found neither ($$why): install one, or set PYTHON to one" >&2; \
	exit 1; }

# Any Python that has pip brings uv, also one that does not fit. Where it comes without venv, pip alone does.
# The user's own settings of pip would put it elsewhere.
.uv/bin/uv: export PIP_USER := 0
.uv/bin/uv: export PIP_TARGET :=
.uv/bin/uv: export PIP_PREFIX :=
.uv/bin/uv:
	@echo "installing uv into .uv"
	@why="no Python"; \
	for python in $(PYTHON) python3 $$(compgen -c python3. | grep -xE 'python3[.][0-9]+' | sort -Vru); do \
		"$$python" -c '' 2>/dev/null || continue; \
		{ "$$python" -m venv .uv && .uv/bin/python -m pip install -q --disable-pip-version-check uv; } >/dev/null 2>&1 && exit 0; \
		rm -rf .uv; \
		why=$$("$$python" -m pip install -q --disable-pip-version-check --target .uv uv 2>&1 | tail -n 1) && exit 0; \
		rm -rf .uv; \
	done; \
	echo "make: expected uv on PATH, or a Python with pip to install it, found neither ($$why): install uv or python3-pip" >&2; \
	exit 1

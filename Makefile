# Tidemark's tasks. `make` alone explains them. Everything is installed below this folder: .uv/, .venv/, .venv-sql/.

SHELL := bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
MAKEFLAGS += --no-print-directory

PYTHON ?= python3
# The user's uv, else one of our own in a private folder.
UV := $(or $(shell command -v uv),.uv/bin/uv)
BIN := .venv/bin
TIDEMARK := $(BIN)/tidemark

# The interpreter is the one that PYTHON names: uv must not fetch another.
export UV_PYTHON_DOWNLOADS := never
export UV_LINK_MODE ?= copy

COMPILE := $(UV) pip compile -q --universal --python-version 3.11 --generate-hashes --no-emit-index-url --no-header

REQUIRE_PYTHON := $(PYTHON) -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 13))' 2>/dev/null || { \
	echo "make: expected Python 3.11 to 3.13, found $$($(PYTHON) --version 2>&1): set PYTHON to another" >&2; exit 1; }

.PHONY: help
help: ## Explain these targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-12s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)
	@echo "PYTHON=python3.12 make ... chooses the interpreter (3.11 to 3.13)."

.PHONY: setup
setup: .venv/.installed ## Install everything into .venv, from requirements.lock

.PHONY: demo
demo: setup ## Run the main job on recorded or generated sessions, and leave the stack up to look at
	@$(TIDEMARK) demo

.PHONY: test
test: lint ## Run the linters, then all tests but the long fault loops, on a stack of their own
	@$(BIN)/python -m pytest -m "not faults"

.PHONY: test-faults
test-faults: setup ## Run the long fault loops
	@$(BIN)/python -m pytest -m faults --timeout 1800

.PHONY: bench-stream
bench-stream: setup ## Measure the streaming lane against its peers; BENCH="--records 100000 --rounds 1" makes it smaller
	@$(BIN)/python -m bench stream $(BENCH)

.PHONY: bench-marts
bench-marts: setup ## Measure what new rows cost the marts; BENCH="--held 200000 --fresh 10000 --many 20000" makes it smaller
	@$(BIN)/python -m bench marts $(BENCH)

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
	@.venv-sql/bin/sqlfluff lint --disable-progress-bar dbt_project/models tidemark/access

.PHONY: format
format: setup .venv-sql/.installed ## Format Python and SQL
	@$(BIN)/ruff check --fix-only
	@$(BIN)/ruff format
	@.venv-sql/bin/sqlfluff fix --disable-progress-bar dbt_project/models tidemark/access

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

.venv/.installed: requirements.lock pyproject.toml | $(UV)
	@[ -x $(BIN)/python ] || { $(REQUIRE_PYTHON); $(UV) venv -q --python "$(PYTHON)" .venv; }
	@echo "installing what requirements.lock names into .venv"
	@$(UV) pip sync -q --python $(BIN)/python --require-hashes requirements.lock
	@$(UV) pip install -q --python $(BIN)/python --no-deps --no-build-isolation -e .
	@touch $@

.venv-sql/.installed: requirements-sql.lock | $(UV)
	@[ -x .venv-sql/bin/python ] || $(UV) venv -q --python "$(PYTHON)" .venv-sql
	@$(UV) pip sync -q --python .venv-sql/bin/python --require-hashes requirements-sql.lock
	@touch $@

# Where Python comes without venv, pip alone does.
.uv/bin/uv:
	@$(REQUIRE_PYTHON)
	@echo "installing uv into .uv"
	@{ $(PYTHON) -m venv .uv && .uv/bin/python -m pip install -q --disable-pip-version-check uv; } 2>/dev/null \
		|| { rm -rf .uv; $(PYTHON) -m pip install -q --disable-pip-version-check --target .uv uv; }

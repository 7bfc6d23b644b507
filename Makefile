# Everything a newcomer needs: `make demo`. Needs python3.11 (or newer) and make, nothing else.
SHELL := /bin/bash
VENV ?= .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
DOCS_STAMP := $(VENV)/.docs-installed
PYTHON ?= $(shell for p in python3.11 python3; do if $$p -c '' >/dev/null 2>&1; then echo $$p; break; fi; done)
JOBS ?= 3
STARTED := $(shell date +%s)
CODE := mjx_s2r train benchmarks tests docs

.PHONY: help venv demo reach test test-all versions check format bench docs studies studies-full clean

help:
	@echo "make demo      train with and without randomization, judge on simulated robots, small budget"
	@echo "make reach     the same with the full budget"
	@echo "make test      the tests, without the slow ones (make test-all: all of them)"
	@echo "make versions  a part of the tests on the oldest and newest jax and on mujoco 4 (half an hour)"
	@echo "make check     format, lint, types, layout"
	@echo "make format    rewrite the code in the project's format"
	@echo "make bench     the benchmarks"
	@echo "make studies   every study in its small form, each with a page (an hour; studies-full: days)"
	@echo "make docs      the documentation as a site, in site/"
	@echo "make venv      only the environment, in $(VENV)"
	@echo "make clean     remove caches and build products (not runs/)"

venv: $(STAMP)

$(STAMP): pyproject.toml constraints.txt
	@if [ -z "$(PYTHON)" ]; then echo "no python3 found; install Python 3.11" >&2; exit 1; fi
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { \
	  echo "$$($(PYTHON) --version) is too old; install Python 3.11 or say make PYTHON=/path/to/python3.11" >&2; exit 1; }
	@echo "installing into $(VENV), 1.8 GB, one or two minutes ..."
	@[ -x $(BIN)/python ] || $(PYTHON) -m venv $(VENV) || { \
	  echo "$(PYTHON) cannot make an environment; on Debian: apt-get install python3-venv" >&2; exit 1; }
	@$(BIN)/python -m pip install -qq --disable-pip-version-check --no-compile -c constraints.txt -e '.[train,robot,model,logs,dev]'
	@touch $@

demo: $(STAMP)
	MJX_S2R_STARTED=$(STARTED) $(BIN)/python -m train demo

reach: $(STAMP)
	MJX_S2R_STARTED=$(STARTED) $(BIN)/python -m train demo --budget full --run runs/reach

# A file is one worker's, so that what it compiles it compiles once; tests/conftest.py orders them.
SHARED := -n $(JOBS) --dist loadfile --no-loadscope-reorder

test: $(STAMP)
	$(BIN)/python -m pytest -q $(SHARED) -m "not slow" --timeout 300

# Compiled as users compile, and not as fast as can be.
test-all: $(STAMP)
	JAX_DISABLE_MOST_OPTIMIZATIONS=0 $(BIN)/python -m pytest -q $(SHARED)

versions:
	PYTHON="$(PYTHON)" .ci/versions

check: $(STAMP)
	$(BIN)/ruff format --check $(CODE)
	$(BIN)/ruff check $(CODE)
	$(BIN)/mypy
	$(BIN)/python -m pytest -q tests/test_layout.py

format: $(STAMP)
	$(BIN)/ruff check --quiet --fix-only $(CODE)
	$(BIN)/ruff format --quiet $(CODE)

bench: $(STAMP)
	$(BIN)/python -m benchmarks

# Each goes on where it was stopped; one that cannot run here says why, and the others go on.
STUDIES := strength gap adr randomized cloning approaches critical finetune adaptation cotraining

studies: $(STAMP)
	@for name in $(STUDIES); do $(BIN)/python -m train study $$name || failed="$$failed $$name"; done; \
	if [ -n "$$failed" ]; then echo "not finished:$$failed" >&2; exit 1; fi

studies-full: $(STAMP)
	@for name in $(STUDIES); do \
	  $(BIN)/python -m train study $$name --size full || failed="$$failed $$name"; \
	done; \
	$(BIN)/python -m train study payoff || failed="$$failed payoff"; \
	$(BIN)/python -m train study curricula || failed="$$failed curricula"; \
	if [ -n "$$failed" ]; then echo "not finished:$$failed" >&2; exit 1; fi

$(DOCS_STAMP): $(STAMP)
	@$(BIN)/python -m pip install -qq --disable-pip-version-check --no-compile -c constraints.txt -e '.[docs]'
	@touch $@

docs: $(DOCS_STAMP)
	$(BIN)/python -m docs.site.build

clean:
	rm -rf site .cache .mypy_cache .pytest_cache .ruff_cache .ci/cache build dist *.egg-info
	find . -name __pycache__ -not -path '*/.venv/*' -not -path './.ci/venv*' -prune -exec rm -rf {} +

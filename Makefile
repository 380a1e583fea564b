# make data | demo | test | test-all | lint | venv | clean. Needs Python 3.11 or newer, git, and a package index.

.DEFAULT_GOAL := help
SHELL := bash
.SHELLFLAGS := -euo pipefail -c
.PHONY: help venv data demo test test-all lint clean

# nothing that is started here reports home
export DO_NOT_TRACK = true
export DVC_NO_ANALYTICS = 1
export MLFLOW_DISABLE_TELEMETRY = true
export PREFECT_SERVER_ANALYTICS_ENABLED = false
export RAY_USAGE_STATS_ENABLED = 0

VENV := .venv
IN_VENV := $(VENV)/bin/python
# The stamp's name says for which place and which lock the environment was made: scripts inside it hold the
# place as an absolute path, so a moved folder needs another environment, and a changed lock only an update.
PLACE := $(shell pwd -P | sha256sum | cut -c 1-8)
LOCK := $(shell cat pyproject.toml constraints.txt | sha256sum | cut -c 1-16)
STAMP := $(VENV)/.installed-$(PLACE)-$(LOCK)

help:
	@echo "make demo      the whole pipeline on the sample photographs (about 5 minutes the first time)"
	@echo "make data      the photographs and shards of params.yaml, verified; goes on where it was stopped"
	@echo "make test      all tests but the slow ones, without a network"
	@echo "make test-all  every test (about an hour)"
	@echo "make lint      ruff, ruff format, mypy, codespell"
	@echo "make venv      the virtual environment .venv; the others make it themselves"
	@echo "make clean     removes caches and .venv; data/ stays"

venv: $(STAMP)

# Without a stamp of this place the environment is absent or half made: it is then made from nothing.
# torch comes first and alone: the extras would have pip look at other versions of it.
$(STAMP): pyproject.toml constraints.txt
	@if ls $(VENV)/.installed-$(PLACE)-* > /dev/null 2>&1; then \
	    echo "venv: pyproject.toml or constraints.txt changed, updating $(VENV) (about a minute)"; \
	    rm -f $(VENV)/.installed-*; \
	else \
	    echo "venv: making $(VENV) and installing the pinned packages (2 to 5 minutes, 2.8 GB)"; \
	    for python in $(PYTHON) python3.11 python3 python3.12 python3.13; do \
	        if "$$python" -c 'import sys, ensurepip, venv; sys.exit(sys.version_info < (3, 11))' 2> /dev/null; \
	        then found=$$python; break; fi; \
	    done; \
	    test -n "$${found:-}" || { echo "venv: no Python 3.11 or newer with venv found: install one," \
	        "or name it with make PYTHON=/path/to/python3.11" >&2; exit 1; }; \
	    "$$found" -m venv --clear $(VENV); \
	fi
	@echo "venv: 1/3 torch"
	@$(PIP_INSTALL) torch==2.13.0 setuptools
	@echo "venv: 2/3 the project with its extras sample, pipeline, serve, onnx, dev"
	@$(PIP_INSTALL) --no-build-isolation -e '.[sample,pipeline,serve,onnx,dev]'
	@echo "venv: 3/3 byte code"
	@$(IN_VENV) -m compileall -qq -j 0 -x '/(tests?|rllib)/' $(VENV)/lib || true
	@touch $@

# pip compiles with one process, in twice the time
PIP_INSTALL := $(IN_VENV) -m pip install -qq --disable-pip-version-check --no-input --no-compile -c constraints.txt

data: venv
	@$(IN_VENV) -m flows.prepare

demo: venv
	@$(IN_VENV) -m flows.train edsr

test: venv
	@$(IN_VENV) tests/no_leftovers.py $(IN_VENV) tests/side_by_side.py -m "not slow"

test-all: venv
	@$(IN_VENV) tests/no_leftovers.py $(IN_VENV) tests/side_by_side.py

lint: venv
	@$(IN_VENV) -m ruff check
	@$(IN_VENV) -m ruff format --check
	@$(IN_VENV) -m mypy
	@$(VENV)/bin/codespell

clean:
	rm -rf $(VENV) build .pytest_cache .mypy_cache .ruff_cache *.egg-info
	find . -name __pycache__ -not -path './.git/*' -prune -exec rm -rf {} +

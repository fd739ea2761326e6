# The two commands: `make demo` (the whole story) and `make test`. `make help` lists the rest.
# The pattern rules are the data flow: checkpoint -> bundle -> archive.

SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
# Every command writes by rename and resumes: what an interrupted one left is whole, so make must not delete it.
.PRECIOUS: artifacts/checkpoints/%/checkpoint.json artifacts/bundles/%/manifest.json
.PHONY: help setup demo test test-all test-fast test-long test-browser test-slowest lint format up serve bench \
  bench-extras clean distclean

PYTHON ?= python3.11
PY := .venv/bin/python
RECIPE ?= dcgan
PRESET ?= demo
INSTALLED := .venv/installed
MORE := browser or db or node or fuzz# needs programs that pip does not install, or minutes
HERE := not ($(MORE)) and not gpu
BOTH := --numprocesses=2 --dist=loadfile # a file's tests stay together, with the servers that they share
BENCHMARKS ?= export serve gateway moderation steps text audio faults soak

help: ## what can be made
	@sed -n 's/^\([a-z][a-z-]*\):.*## /\1\t/p' Makefile | column -t -s $$'\t'
	@echo "artifacts/checkpoints/NAME/checkpoint.json, artifacts/bundles/NAME/manifest.json, artifacts/archived/NAME"
	@echo "  train, export, archive a model called NAME (RECIPE=$(RECIPE) PRESET=$(PRESET))"

setup: $(INSTALLED) ## create .venv with everything in it

$(INSTALLED): requirements/install.sh $(wildcard requirements/*.txt)
	PYTHON=$(PYTHON) requirements/install.sh
	@touch $@

demo: $(INSTALLED) ## train, export, archive, serve; fetch 16 faces and a text: out/dcgan.png, out/charlm.txt
	./demo.sh

test: $(INSTALLED) ## all tests that need no browser, database or GPU, but for the long ones
	$(PY) -m pytest -m "$(HERE) and not long" $(BOTH)

test-all: $(INSTALLED) ## what `make test` leaves: browser, MariaDB, S3, node, fuzzing; .ci/run installs its programs
	$(PY) -m pytest -m "($(MORE)) and not gpu and not long" $(BOTH)

test-fast: $(INSTALLED) ## those of them that start no server and build no model
	$(PY) -m pytest -m "$(HERE) and not long and not server and not slow" $(BOTH)

test-long: $(INSTALLED) ## the long ones: the same again, many times
	$(PY) -m pytest -m "$(HERE) and long"

test-browser: $(INSTALLED) ## those of the page, in a real Chromium; ATELIER_CHROMIUM=/path names one
	$(PY) -m pytest -m browser

test-slowest: $(INSTALLED) ## as `make test`, and at the end the 20 slowest
	$(PY) -m pytest -m "$(HERE) and not long" --durations=20

lint: $(INSTALLED) ## ruff and mypy
	$(PY) -m ruff check .
	$(PY) -m ruff format --check .
	$(PY) -m mypy

format: $(INSTALLED) ## let ruff rewrite the sources
	$(PY) -m ruff check --fix .
	$(PY) -m ruff format .

up: $(INSTALLED) ## serve every archive of model_store/ at http://127.0.0.1:8080 until Ctrl-C
	$(PY) -m serving up --gateway

serve: up ## the same

bench: $(INSTALLED) ## all benchmarks, quick; BENCHMARKS="serve steps" for some
	for name in $(BENCHMARKS); do $(PY) -m benchmarks $$name --quick --json; done

bench-extras: $(INSTALLED) ## install what the serve benchmark compares with: FastAPI, uvicorn, LitServe
	$(PY) -m pip install --quiet -r requirements/bench.txt

artifacts/checkpoints/%/checkpoint.json: | $(INSTALLED)
	$(PY) -m training $(RECIPE) --name $* --preset $(PRESET)

artifacts/bundles/%/manifest.json: artifacts/checkpoints/%/checkpoint.json
	$(PY) -m export build $*

artifacts/archived/%: artifacts/bundles/%/manifest.json $(wildcard handlers/*.py handlers/*/*.py)
	$(PY) -m export archive $*
	@mkdir -p $(@D) && touch $@

# What can be made again in minutes. Checkpoints, runs, bundles, archives and a server's state are not among it.
REBUILT := out $(addprefix artifacts/,builds cache engines reports) .pytest_cache .mypy_cache .ruff_cache .hypothesis
define remove-rebuilt
rm -rf $(REBUILT)
find . -name __pycache__ -not -path './.venv/*' -prune -exec rm -rf {} +
endef
KEPT = $(wildcard artifacts/checkpoints/* artifacts/runs/* artifacts/bundles/* model_store/*.mar .venv)

clean: ## remove caches, reports and build notes; checkpoints, runs, bundles, archives and .venv stay
	$(remove-rebuilt)

distclean: ## remove those, too: lists them with their sizes, then asks (YES=1: does not ask)
	@if [ -e artifacts/serving/lock ] && ! flock --nonblock artifacts/serving/lock true; then \
	  echo 'error: a server runs here; stop it first: $(PY) -m serving down' >&2; exit 1; fi
	@echo 'This deletes, besides what `make clean` deletes:'
	@du -shc $(or $(KEPT),/dev/null) | sed 's/^/  /'
	@if [ '$(YES)' != 1 ]; then \
	  if [ ! -t 0 ]; then echo 'error: nothing was deleted; to delete it: make distclean YES=1' >&2; exit 1; fi; \
	  read -r -p 'Delete it? [y/N] ' answer; \
	  if [ "$$answer" != y ]; then echo 'nothing was deleted' >&2; exit 1; fi; fi
	rm -rf artifacts model_store/*.mar .venv
	$(remove-rebuilt)

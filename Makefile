# procrop-data: see README.md. Everything runs from a checkout; `make help` lists the targets.
PYTHON ?= python3
VENV ?= .venv
WORK ?= work
DEMO_WORK ?= work-demo
CONFIG ?=
BIN = $(VENV)/bin
RUN = $(BIN)/procrop-data
AT = --work $(WORK) $(if $(CONFIG),--config $(CONFIG))
READY = $(VENV)/.ready

PYTEST = $(BIN)/python -m pytest --numprocesses 2 --dist worksteal

.PHONY: help setup test test-long check bench eval report clean demo outpaint refine-proposals build train-weak

help: ## this list
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "  make %-18s %s\n", $$1, $$2}'
	@echo "  options: WORK=folder (default work) CONFIG=recipe (default: default, or what WORK was made with)"

$(READY): pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable '.[dev]'
	@touch $(READY)

setup: $(READY) ## make .venv with pinned, tested versions

demo: setup ## photographs to dataset to cropper to report, about 5 minutes
	$(RUN) run --config demo --work $(DEMO_WORK)
	$(RUN) train --work $(DEMO_WORK)
	$(RUN) eval --work $(DEMO_WORK)
	$(RUN) report --work $(DEMO_WORK)
	@echo "look at $(DEMO_WORK)/report/index.html; the dataset is $(DEMO_WORK)/dataset, the cropper $(DEMO_WORK)/models/cropper/cropper"

outpaint: setup ## ingest, caption, outpaint
	$(RUN) run --until outpaint $(AT)

refine-proposals: setup ## propose, refine, filter
	$(RUN) propose $(AT)
	$(RUN) refine $(AT)
	$(RUN) filter $(AT)

build: setup ## the final shards
	$(RUN) build $(AT)

train-weak: setup ## embed, retrieve, train the cropper
	$(RUN) embed $(AT)
	$(RUN) retrieve $(AT)
	$(RUN) train $(AT)

eval: setup ## the cropper on held-out photographs, beside baselines
	$(RUN) eval $(AT)

report: setup ## one HTML page about the run
	$(RUN) report --work $(WORK)

test: setup ## the quick tests, about 5 minutes
	$(PYTEST) -m "not long"

test-long: setup ## the long tests, about 5 minutes
	$(PYTEST) -m long

check: setup ## format, lint, types
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy

bench: setup ## every benchmark, one RESULT line each (long: see BENCHMARKS.md)
	PYTHONPATH=. $(BIN)/python benchmarks/outpaint_card.py
	@for name in $$($(RUN) bench --names); do $(RUN) bench $$name || exit 1; done

clean: ## remove run directories of this Makefile, keep .venv
	rm -rf $(WORK) $(DEMO_WORK) crops .pytest_cache .mypy_cache .ruff_cache

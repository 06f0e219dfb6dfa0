# procrop-data: see README.md. Everything runs from a checkout; `make help` lists the targets.
PYTHON ?= python3
VENV ?= .venv
WORK ?= work
DEMO_WORK ?= work-demo
CONFIG ?=
PHOTOS ?= assets:photos
MODEL ?= models/bundled
BIN = $(VENV)/bin
RUN = $(BIN)/procrop-data
AT = --work $(WORK) $(if $(CONFIG),--config $(CONFIG))
READY = $(VENV)/.ready
READY_DEV = $(VENV)/.ready-dev
CONSTRAINTS ?= constraints.txt
# pip's own settings hold (PIP_INDEX_URL, PIP_EXTRA_INDEX_URL, PIP_FIND_LINKS, pip.conf). Not compiled: the demo imports a tenth of it.
INSTALL = $(BIN)/python -m pip install --quiet --disable-pip-version-check --no-compile --constraint $(CONSTRAINTS) --editable

PYTEST = $(BIN)/python -m pytest --numprocesses 2 --dist loadfile
# Compiled modules are kept: without them each of the many processes that tests and runs start takes 3 to 4 processor seconds more.
unexport PYTHONDONTWRITEBYTECODE

.PHONY: help setup setup-models setup-dev test test-long check docs bench eval report clean demo outpaint refine-proposals build train-weak bundled-models

help: ## this list
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "  make %-18s %s\n", $$1, $$2}'
	@echo "  options: WORK=folder (default work) CONFIG=recipe (default: default, or what WORK was made with)"
	@echo "  of bundled-models: PHOTOS=folders (default assets:photos) MODEL=folder (default models/bundled)"
	@echo "  of set-up: CONSTRAINTS=file (default constraints.txt) VENV=folder (default .venv) PYTHON=interpreter; docs/setup.md"

$(READY): pyproject.toml $(CONSTRAINTS)
	$(PYTHON) -m venv $(VENV)
	$(INSTALL) .
	@touch $@

$(READY_DEV): pyproject.toml $(CONSTRAINTS)
	$(PYTHON) -m venv $(VENV)
	$(INSTALL) '.[dev]'
	@touch $(READY) $@

setup: $(READY) ## make .venv with what running needs: pinned, tested versions

setup-models: $(READY) ## add SAM's own checkpoints, NIMA and timm backbones
	$(INSTALL) '.[models]'

setup-dev: $(READY_DEV) ## add what tests, checks and benchmarks need

demo: setup ## photographs to dataset to cropper to report, 2.5 to 5 minutes
	$(RUN) demo --work $(DEMO_WORK)

outpaint: setup ## ingest, perceive, caption, outpaint
	$(RUN) run --until outpaint $(AT)

refine-proposals: setup ## perceive, propose, refine, filter
	$(RUN) perceive $(AT)
	$(RUN) propose $(AT)
	$(RUN) refine $(AT)
	$(RUN) filter $(AT)

build: setup ## the final shards
	$(RUN) build $(AT)

train-weak: setup ## embed, retrieve, train the cropper
	$(RUN) embed $(AT)
	$(RUN) retrieve $(AT)
	$(RUN) train $(AT)

bundled-models: setup ## the bundled cropper again, from PHOTOS="DIR DIR2"
	$(RUN) train-bundled $(foreach folder,$(PHOTOS),--photos '$(folder)') --work $(WORK) --out $(MODEL)

eval: setup ## the cropper on held-out photographs, beside baselines
	$(RUN) eval $(AT)

report: setup ## one HTML page about the run
	$(RUN) report --work $(WORK)

test: setup-dev ## the quick tests, about 9 processor minutes, 5 on two idle cores
	$(PYTEST) -m "not long"

test-long: setup-dev ## the long tests, about 9 processor minutes
	$(PYTEST) -m long $$(grep -rl --include='test_*.py' 'mark\.long' tests)

check: setup-dev ## format, lint, types, links and reference of the documentation
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/python -m pytest -q tests/test_site.py

docs: setup-dev ## write the reference from the code, and the documentation as a site: site/index.html
	PYTHONPATH=. $(BIN)/python -m docs.reference_pages
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict --quiet
	@echo "read it: site/index.html"

bench: setup-dev ## every benchmark, one RESULT line each (long: see BENCHMARKS.md)
	PYTHONPATH=. $(BIN)/python benchmarks/outpaint_card.py
	@for name in $$($(RUN) bench --names); do $(RUN) bench $$name || exit 1; done

clean: ## remove run directories of this Makefile, keep .venv
	rm -rf $(WORK) $(DEMO_WORK) crops site .pytest_cache .mypy_cache .ruff_cache

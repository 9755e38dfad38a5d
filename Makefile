# Needs Python 3.11+, git and make; everything else is set up in .tools/ and .venv/ on the first run.
PYTHON ?= python3
UV_VERSION := 0.13.8
UV := .tools/uv-$(UV_VERSION)
BIN := .venv/bin
ARGS ?=

# Without compiled bytecode every start would take seconds longer.
unexport PYTHONDONTWRITEBYTECODE
export UV_PYTHON_DOWNLOADS ?= never
export UV_PROJECT_ENVIRONMENT := .venv

SYNC := $(UV) sync --quiet --locked --python $(PYTHON)

.DEFAULT_GOAL := help
.PHONY: help docs image-test bundle bundle-test audit sbom serve test test-slow test-upgrade fuzz soak bench-leave-one-out bench-predict bench-arrays bench-growth bench-batching bench-serving bench-dask bench-indexing openapi lint format lock hooks setup-service setup-cluster setup-browser setup-promtool setup clean

help: ## Show this help
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 16

serve: setup-service ## Set up what serving needs (no TensorFlow) and serve on 127.0.0.1:8000
	@exec $(BIN)/python -m app serve $(ARGS)

test: setup setup-browser setup-promtool ## Set up everything and run the tests; ARGS="-k name" selects
	@$(BIN)/python -m pytest -m "not slow" $(ARGS)

test-slow: setup ## Run the tests that take minutes
	@$(BIN)/python -m pytest -m slow $(ARGS)

test-upgrade: setup ## Run the commands of docs/upgrade.md and the releases side by side (minutes the first time)
	@$(BIN)/python -m pytest tests/upgrade $(ARGS)

fuzz: setup ## Try the service with requests made from its OpenAPI document; ARGS="--minutes 60 --seed 7"
	@$(BIN)/python -m tests.attacks.fuzz $(ARGS)

soak: setup ## Half an hour of mixed load, model swaps and kills; ARGS="--minutes 2"
	@$(BIN)/python -m benchmarks.soak $(ARGS)

bench-leave-one-out: setup ## Print the leave-one-out table of the polarization models (about half an hour the first time)
	@$(BIN)/python -m benchmarks.polarization_leave_one_out $(ARGS)

bench-predict: setup-service ## Requests per second of the polarization endpoint beside a bare echo
	@$(BIN)/python -m benchmarks.serving_polarization $(ARGS)

bench-arrays: setup-service ## Latency of the waveform and aggregates endpoints beside a bare echo of the same body
	@$(BIN)/python -m benchmarks.serving_arrays $(ARGS)

bench-growth: setup-service ## Start, memory, and how cost grows with items, workers and requests; ARGS="start items"
	@$(BIN)/python -m benchmarks.serving_growth $(ARGS)

bench-batching: setup-service ## What answering together what waits gains, and what threads do
	@OMP_NUM_THREADS=1 $(BIN)/python -m benchmarks.micro_batching $(ARGS)

bench-serving: setup ## The service beside other model servers, each installed from PyPI; ARGS="--quick --peers mlserver"
	@$(BIN)/python -m benchmarks.serving $(ARGS)

bench-dask: setup ## A batch of powder patterns on one and two Dask workers, and on embedded ones
	@$(BIN)/python -m benchmarks.dask_batch $(ARGS)

BENCH_CASES ?= ../shared/data/indexing/simulated.json ../shared/data/indexing/measured.json
bench-indexing: setup ## How often and how fast known cells are found; ARGS="--peer fox --budgets 0.1,1,10"
	@$(BIN)/python -m benchmarks.indexing --cases $(BENCH_CASES) $(ARGS)

docs: setup ## Build the documentation site into dist/docs, with its links checked
	@$(SYNC) --inexact --no-default-groups --group docs
	@NO_MKDOCS_2_WARNING=1 PYTHONPATH=. $(BIN)/mkdocs build --strict

openapi: setup-service ## Write docs/openapi.json, the interface of this version; refuses where that has not been raised
	@$(BIN)/python tools/openapi.py

lint: setup ## Check format, style, types and layers
	$(BIN)/ruff format --check
	$(BIN)/ruff check
	$(BIN)/basedpyright
	PYTHONPATH=. $(BIN)/lint-imports
	$(BIN)/shellcheck clients/shell/watch-folder

format: setup ## Format the code and mend what ruff can mend
	$(BIN)/ruff format
	$(BIN)/ruff check --fix

# Tools that look at the project from outside have a locked environment of their own.
SUPPLY := $(UV) run --quiet --no-project --isolated --python $(PYTHON) --with-requirements tools/supply/requirements.txt

audit: $(UV) ## Look up every locked package for known vulnerabilities; ARGS="--report" never fails
	@$(SUPPLY) python tools/supply/audit.py --uv $(UV) $(ARGS)

VERSION = $(shell sed -n 's/^__version__ = "\(.*\)"/\1/p' app/__init__.py)
sbom: $(UV) ## Write what a serving machine runs to dist/, as CycloneDX JSON
	@UV_PROJECT_ENVIRONMENT=.tools/service $(SYNC) --no-default-groups --group service
	@$(SUPPLY) python tools/supply/sbom.py --python .tools/service/bin/python --output dist/beamline-model-server-$(VERSION).cdx.json

image-test: setup-service ## Build the image without a container engine, run it hardened and ask it (root; a few minutes)
	@$(BIN)/python tools/image_test.py $(ARGS)

bundle: setup-service ## Gather all that an installation without a network needs into one tar; ARGS='--pythons "3.11 3.12"'
	@$(BIN)/python tools/bundle.py --uv $(UV) $(ARGS)

bundle-test: setup-service ## Make the bundle, install it with the network cut, and ask what was installed
	@$(BIN)/python tools/bundle_test.py --uv $(UV) $(ARGS)

lock: $(UV) ## Lock the newest versions that pyproject.toml allows
	$(UV) lock --upgrade

hooks: setup ## Run the checks before every commit
	$(BIN)/pre-commit install

# --inexact: leaves alone what `make test` has installed.
setup-service: $(UV)
	@$(SYNC) --inexact --no-default-groups --group service

setup-cluster: $(UV) ## Set up what serving needs, and Dask, to run jobs on a cluster
	@$(SYNC) --inexact --no-default-groups --group service --group cluster

setup: $(UV)
	@$(SYNC)

setup-browser:
	@tools/get-browser

setup-promtool:
	@test -x .tools/promtool || tools/get-promtool .tools/promtool

$(UV):
	@PYTHON="$(PYTHON)" tools/get-uv $(UV_VERSION) $@

clean: ## Remove everything that make has set up
	rm -rf .venv .tools .pytest_cache .ruff_cache .import_linter_cache .hypothesis

# Everything a newcomer runs. Needs Python 3.11 or newer, make and access to the package registries.
# Nothing is written outside this checkout: the virtual environment is .venv, the rest is runs/.

PYTHON ?=
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
DISK_NEEDED_MB := 8000

export PYTHONUNBUFFERED := 1
export PIP_DISABLE_PIP_VERSION_CHECK := 1
export TOKENIZERS_PARALLELISM := false
export HF_HUB_DISABLE_TELEMETRY := 1
export DO_NOT_TRACK := 1

.DEFAULT_GOAL := help
.PHONY: help setup transformers4 demo demo-seeds test test-long check format up bench-streams bench chaos fuzz suites screenshots clean

help: ## Show these verbs
	@awk -F':.*## ' '/^[a-z-]+:.*## / {printf "  make %-14s %s\n", $$1, $$2}' Makefile

setup: $(STAMP) ## Make .venv with the pinned dependencies

$(STAMP): pyproject.toml constraints.txt scripts/setup.sh
	@PYTHON="$(PYTHON)" VENV="$(VENV)" DISK_NEEDED_MB="$(DISK_NEEDED_MB)" sh scripts/setup.sh
	@touch "$(STAMP)"

transformers4: ## Make .venv-transformers4, in which tests load our models as transformers 4 does
	@python3 -m venv .venv-transformers4 && .venv-transformers4/bin/pip install -q "transformers==4.57.*" torch

demo: $(STAMP) ## Run the whole loop once against simulated users and write runs/demo/report.html
	@HF_HUB_OFFLINE=1 $(BIN)/python -m rluf demo

demo-seeds: $(STAMP) ## Run the demo for each of SEEDS="1 2 3"; writes runs/demo-seeds/report.json and prints a table
	@HF_HUB_OFFLINE=1 $(BIN)/python -m rluf.demo.seeds $(SEEDS)

up: $(STAMP) ## Start broker, worker, API and scheduler; Ctrl-C stops them
	@$(BIN)/python -m rluf up

# Several processes of tests (a file stays in one), one thread of torch in each of them: on two cores
# four of them, as much of what they do is to wait for brokers and for silences.
TEST_PROCESSES ?= 4
PYTEST = mkdir -p runs/cache && HF_HUB_OFFLINE=1 HF_HOME="$(CURDIR)/runs/cache/hf" \
	MPLCONFIGDIR="$(CURDIR)/runs/cache/matplotlib" OMP_NUM_THREADS=1 \
	$(BIN)/python -m pytest -n $(TEST_PROCESSES) --dist loadfile --no-loadscope-reorder

test: $(STAMP) ## Run the tests (one of them: .venv/bin/python -m pytest PATH)
	@$(PYTEST) -m "not long" $(PYTEST_ARGUMENTS)

test-long: $(STAMP) ## Run all tests: properties with all their examples, chaos and soaks too
	@$(PYTEST) --hypothesis-profile long $(PYTEST_ARGUMENTS)

check: $(STAMP) ## Run ruff and mypy --strict
	@$(BIN)/python -m ruff check .
	@$(BIN)/python -m ruff format --check .
	@$(BIN)/python -m mypy

format: $(STAMP) ## Let ruff format the code and sort the imports
	@$(BIN)/python -m ruff check --fix .
	@$(BIN)/python -m ruff format .

bench-streams: $(STAMP) ## Measure the worker beside its peers; writes benchmarks/results/streams.json
	@$(BIN)/python -m benchmarks.streams

bench: bench-streams ## All of that, and latency, memory of ids, scaling, redaction, guard
	@$(BIN)/python -m benchmarks.latency
	@$(BIN)/python -m benchmarks.dedup
	@$(BIN)/python -m benchmarks.scaling --quick
	@$(BIN)/python -m benchmarks.redaction
	@$(BIN)/python -m benchmarks.guard

chaos: $(STAMP) ## Kill workers, brokers and the disk under 500,000 events; writes runs/chaos/report.json
	@$(BIN)/python -m tests.chaos

fuzz: $(STAMP) ## Throw ten million hostile records at codec and pipeline; writes runs/fuzz/report.json
	@$(BIN)/python -m fuzz

suites: $(STAMP) ## Run other people's clients against rluf (ONLY=openai-python,kcat); needs the registries
	@$(BIN)/python -m suites --only "$(ONLY)"

screenshots: $(STAMP) ## Take docs/images/*.png from a finished demo (needs a Chromium)
	@HF_HUB_OFFLINE=1 $(BIN)/python scripts/screenshots.py

clean: ## Remove what the demo wrote (not the virtual environment, not the cached downloads)
	@rm -rf runs/demo

# `make` lists the targets. Each sets up what it needs in .venv, and is quick the second time.

PYTHON ?= python3
# A CPU build of torch where the package index offers one, else the usual build.
TORCH ?= 2.13.0
BIN := .venv/bin
MINILM := .assets/ms-marco-MiniLM-L-12-v2-int8/model.onnx
PIP := $(BIN)/python -m pip install --quiet --disable-pip-version-check
BENCH_PIP = $(@D)/bin/python -m pip install --quiet --disable-pip-version-check

.DEFAULT_GOAL := help
.PHONY: help demo test check check-deploy format bench mini clean

help: ## list the targets
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed 's/:.*## /\t/' | expand -t 12

demo: .venv/base ## set up, and rank real text with a real model
	@$(BIN)/finerank demo $(if $(LANG_),--lang $(LANG_))

test: .venv/dev .venv/chromium $(MINILM) .assets/xlm-roberta-tokenizer/tokenizer.json ## set up, and run every test
	@$(BIN)/pytest -q $(ARGS)

check: .venv/dev ## formatting, lint, types and the import rule
	@$(BIN)/ruff format --check .
	@$(BIN)/ruff check .
	@$(BIN)/mypy
	@$(BIN)/lint-imports --no-cache

check-deploy: .venv/deploy ## images, chart, compose file and workflows, with the tools that know them
	@$(BIN)/pytest -q tests/deploy $(ARGS)

format: .venv/dev ## format the code and fix what ruff can fix
	@$(BIN)/ruff format .
	@$(BIN)/ruff check --fix .

bench: .venv-bench/ready .venv-bench-optimum/ready $(MINILM) .assets/xlm-roberta-tokenizer/tokenizer.json ## compare with the peers; prints tables, writes benchmarks/results/
	@.venv-bench/bin/python -m benchmarks.compare $(ARGS)
	@.venv-bench/bin/python -m benchmarks.gpu

RUN ?= runs/mini
mini: .venv/dev ## make finerank-mini anew; needs ENCODER= and DATA=, see recipes/finerank-mini
	@test -n "$(ENCODER)" -a -n "$(DATA)" || (echo "give ENCODER=folder of multilingual-e5-small and DATA=folder of training data" && exit 1)
	@$(MAKE) -f recipes/finerank-mini/Makefile ENCODER="$(ENCODER)" DATA="$(DATA)" RUN="$(RUN)" PYTHON=$(BIN)/python

clean: ## remove what the other targets made
	rm -rf .venv .venv-bench .venv-bench-optimum .assets

$(MINILM): | .venv/base
	@$(BIN)/python tools/fetch_assets.py minilm

.assets/xlm-roberta-tokenizer/tokenizer.json: | .venv/base
	@$(BIN)/python tools/fetch_assets.py tokenizer

.venv/bin/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || (echo "Python 3.11 or newer is needed: make PYTHON=python3.11 ..." && exit 1)
	@$(PYTHON) -m venv .venv || (echo "the venv module is missing: apt-get install python3-venv" && exit 1)

.venv/base: pyproject.toml | .venv/bin/python
	@echo "installing finerank into .venv"
	@$(PIP) -e .
	@touch $@

.venv/dev: .venv/base
	@echo "installing the development tools, torch among them, into .venv"
	@$(PIP) "torch==$(TORCH)+cpu" 2>/dev/null || $(PIP) "torch==$(TORCH)"
	@$(PIP) -e '.[dev]'
	@touch $@

.venv/deploy: .venv/dev
	@echo "installing the tools that check deploy/ into .venv"
	@$(PIP) -e '.[deploy]'
	@touch $@

# The page's tests drive Debian's Chromium, or the browser at CHROMIUM; they are skipped, and say so, without one.
APT := $(if $(filter 0,$(shell id -u)),,sudo -n )env DEBIAN_FRONTEND=noninteractive apt-get
.venv/chromium: | .venv/bin/python
	@if command -v "$${CHROMIUM:-chromium}" >/dev/null; then touch $@; \
	else echo "installing chromium"; $(APT) update -qq >/dev/null && $(APT) install -y -qq chromium >/dev/null && touch $@ || \
	  echo "no Chromium: the page's tests are skipped; install it, or set CHROMIUM to a browser's path"; fi

# A peer that cannot be installed is left out, and the comparison says so.
.venv-bench/ready: benchmarks/requirements.txt pyproject.toml
	@echo "installing finerank and its peers into .venv-bench"
	@$(PYTHON) -m venv $(@D)
	@$(BENCH_PIP) "torch==$(TORCH)+cpu" 2>/dev/null || $(BENCH_PIP) "torch==$(TORCH)"
	@$(BENCH_PIP) -e '.[all]'
	@$(BENCH_PIP) -r $< || grep -v '^#' $< | xargs -n 1 $(BENCH_PIP) || true
	@touch $@

.venv-bench-optimum/ready: benchmarks/requirements-optimum.txt
	@echo "installing sentence-transformers' ONNX and OpenVINO backends into .venv-bench-optimum"
	@$(PYTHON) -m venv $(@D)
	@$(BENCH_PIP) "torch==$(TORCH)+cpu" 2>/dev/null || $(BENCH_PIP) "torch==$(TORCH)"
	@$(BENCH_PIP) -r $< || true
	@touch $@

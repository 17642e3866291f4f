# Every target makes the environment in $(VENV) first; a second time that takes no time.
# STACK=onedl takes the maintained fork of the OpenMMLab libraries instead, in $(VENV) of
# its own.
STACK ?= openmmlab
VENV ?= .venv$(patsubst %,-%,$(filter-out openmmlab,$(STACK)))
PYTHON ?= python3

RUN := $(VENV)/bin/python
# OpenMMLab's and pip's own switches (MMCV_FIND_LINKS, PIP_FIND_LINKS) pass through.
# One thread a test process, and a process a core: more threads than cores hold each
# other up. The tests of a file share what they make: `worksteal` keeps them together
# as long as no process is idle. Unlike `loadfile` it does not give a test that ended
# its process to the next one, and then to the next.
TEST = OMP_NUM_THREADS=1 $(RUN) -m pytest -n auto --maxprocesses 4 --dist worksteal \
	--max-worker-restart 8
NO_PYTHON = error: $(PYTHON) missing: install it with "apt-get install python3-venv"
SETUP = $(PYTHON) dev/setup_env.py --venv $(VENV) --stack $(STACK)

.NOTPARALLEL:
.PHONY: help demo quickstart test test-all docs lint format setup setup-tests \
	setup-formats setup-docs python clean

help:  ## list the targets
	@sed -n 's/^\([a-z-]*\):.*  ## /\1\t/p' $(MAKEFILE_LIST) | expand -t 14

demo: setup  ## train a small segmenter for a minute and draw what it sees
	@$(RUN) -m dev.demo

quickstart: setup  ## train and test two small models, print a table, draw pictures
	@$(RUN) -m dev.quickstart

test: lint  ## lint, then run all tests but the slow ones
	@$(TEST) -m "not slow" --timeout 600 -o faulthandler_timeout=700

test-all: lint setup-formats  ## lint, then run all tests
	@$(TEST)

# Not --quiet, which hides warnings from --strict.
docs: setup-docs  ## build the site, with the reference of the API
	@NO_MKDOCS_2_WARNING=1 $(RUN) -m mkdocs build --strict

lint: setup-tests  ## check style and formatting
	@$(RUN) -m ruff check .
	@$(RUN) -m ruff format --check .

format: setup-tests  ## correct style and formatting where ruff can
	@$(RUN) -m ruff check --fix .
	@$(RUN) -m ruff format .

setup: python  ## make the environment
	@$(SETUP)

setup-tests: python
	@$(SETUP) --extras tests sam onnx openvino coreml ncnn

setup-formats: setup-tests
	@$(SETUP) --extras formats

setup-docs: python
	@$(SETUP) --extras docs

python:
	@command -v $(PYTHON) >/dev/null || { echo '$(NO_PYTHON)' >&2; exit 1; }

clean:  ## remove what builds and tests leave; the environment and work_dirs stay
	rm -rf build dist .pytest_cache .ruff_cache .hypothesis
	find mmrapidnet configs tools dev tests -name __pycache__ -exec rm -rf {} +

# `make demo` and `make test` set up what they need, in $(VENV). PIP_ARGS reaches pip, for instance
#   make demo PIP_ARGS="--extra-index-url ..."   (pytorch.org names the index of each build)
PYTHON ?= python3
VENV ?= .venv
PIP_ARGS ?=
PYTEST_ARGS ?=
WORKERS ?= 2
MINUTES ?= 60
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check install -q -c constraints.txt $(PIP_ARGS)
# A file's tests run in one process: they share servers, browsers and models. Files start in the order of their names.
PARALLEL = -n $(WORKERS) --dist loadfile --no-loadscope-reorder
SOURCES := pyproject.toml constraints.txt hatch_build.py build_editor.py

.DEFAULT_GOAL := help
.PHONY: help demo editor editor-api test test-full lint types imports bench bench-gpu soak clean

help: ## list the targets
	@sed -n 's/^\([a-z-]*\):.*## /\1 - /p' $(MAKEFILE_LIST)

demo: $(VENV)/.runtime ## make a picture with the embedded model, in demo/
	$(BIN)/loom run txt2img --prompt "a large red circle above a small blue square on a white background" --seed 7 --out demo

editor: $(VENV)/.backend ## build the web editor
	$(BIN)/python build_editor.py

editor-api: $(VENV)/.dev ## write the editor's types anew, from the API's description
	$(BIN)/python tests/openapi_document.py > web/editor/openapi.json
	$(BIN)/python build_editor.py run api -- openapi.json --output src/api/schema.ts
	rm web/editor/openapi.json

test: $(VENV)/.dev editor ## run the tests in WORKERS (2) processes
	$(BIN)/pytest -m "not full" $(PARALLEL) $(PYTEST_ARGS)

test-full: $(VENV)/.dev editor ## run the tests, the long ones too
	LATENTLOOM_FULL_TESTS=1 $(BIN)/pytest $(PARALLEL) $(PYTEST_ARGS)

lint: $(VENV)/.dev ## check style and format
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: $(VENV)/.dev ## check types, the calls of tests and the editor too
	$(BIN)/mypy
	$(BIN)/mypy --config-file tests/mypy.ini
	$(BIN)/python build_editor.py run types

imports: $(VENV)/.dev ## check who imports whom
	$(BIN)/lint-imports

bench: $(VENV)/.runtime ## run the benchmarks
	@set -e; for file in benchmarks/*_bench.py; do $(BIN)/python $$file; done

bench-gpu: $(VENV)/.runtime ## measure a card against diffusers' pipeline
	$(BIN)/python benchmarks/gpu_bench.py

soak: $(VENV)/.dev ## kill, stop and interrupt servers and sessions at random for MINUTES (60) and count what was lost
	$(BIN)/python tests/soak.py --minutes $(MINUTES)

clean: ## remove what make and the tools made
	rm -rf $(VENV) .dev demo dist build web/dist web/editor/node_modules .pytest_cache .mypy_cache .ruff_cache .hypothesis .import_linter_cache

# The build backend comes first, from constraints.txt, because an isolated build would fetch one that nobody pinned.
$(VENV)/.backend: constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Latentloom needs Python 3.11 or newer: make PYTHON=python3.12")'
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV) || \
	  { rm -rf $(VENV); echo "python3 cannot make a virtual environment; on Debian: apt-get install python3-venv" >&2; exit 1; }
	@echo "Setting up $(VENV); the first time takes minutes, most of it PyTorch"
	$(PIP) hatchling editables $$($(BIN)/python build_editor.py --needs)
	@touch $@

$(VENV)/.runtime: $(VENV)/.backend $(SOURCES)
	$(PIP) --no-build-isolation -e .
	@touch $@

# Tests of spandrel look there: a torchvision that was built for another torch must not be seen by all the others.
$(VENV)/.dev: $(VENV)/.runtime
	$(PIP) --no-build-isolation -e ".[dev]"
	$(PIP) --upgrade --no-deps --target $(VENV)/spandrel spandrel torchvision einops
	@touch $@

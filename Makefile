# Everything sets itself up: Python >= 3.11, git and make are all it needs.

PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin
READY  := $(VENV)/.ready

.PHONY: demo test check lint types layers format notebooks browser coverage clean

demo: $(READY)            ## the main job on a bundled recording of a real server
	$(BIN)/sessionstreams watch tests/recordings/compaction.jsonl.gz --speed 5 --limit acme/kestrel-tight=32000

test: $(READY)            ## all tests that need no server
	$(BIN)/pytest -q

check: lint types layers  ## what CI asks besides the tests

lint: $(READY)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: $(READY)
	$(BIN)/pyright --pythonpath $(BIN)/python

layers: $(READY)
	$(BIN)/lint-imports

format: $(READY)
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

notebooks: $(READY)       ## execute all notebooks
	$(BIN)/python tests/notebooks/run.py

browser: $(READY)         ## the report in headless Chromium
	$(BIN)/python -m pip install --quiet --group browser
	tests/browser/install
	$(BIN)/pytest -q tests/browser

coverage: $(READY)        ## branch coverage of streams/ and operators/
	$(BIN)/coverage run -m pytest -q
	$(BIN)/coverage report

clean:
	rm -rf $(VENV) .cache .pytest_cache .ruff_cache .hypothesis .import_linter_cache .benchmarks

$(READY): pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
	  || { echo "sessionstreams needs Python 3.11 or later; set PYTHON=/path/to/python3.11" >&2; exit 1; }
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade 'pip>=25.1'
	$(BIN)/python -m pip install --quiet --editable '.[cli,opencode]' --group dev
	touch $@

# Everything sets itself up: Python >= 3.11, git and make are all it needs.

PYTHON ?= python3
MUTANTS ?=
VENV   := .venv
BIN    := $(VENV)/bin
READY  := $(VENV)/.ready
BENCH  := $(VENV)/.bench

.PHONY: demo test check lint types layers format
.PHONY: notebooks browser postgres cluster cluster-bench e2e pictures coverage field-failures
.PHONY: soak kill fuzz mutation audit bench bench-quick clean

demo: $(READY)            ## the main job on a bundled recording of a real server
	$(BIN)/sessionstreams watch tests/recordings/compaction.jsonl.gz --speed 5 --limit acme/kestrel-tight=32000

test: $(READY)            ## all tests that need no server
	$(BIN)/pytest -q

e2e: $(READY)             ## against opencode itself, from npm; skipped where npm cannot be reached, but with CI=true
	$(BIN)/python -m pip install --quiet --editable '.[cluster]'
	$(BIN)/pytest -q -rs tests/e2e

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

postgres: $(READY)        ## checkpoints in a PostgreSQL server of the tests' own
	tests/support/install-package initdb postgresql
	$(BIN)/pytest -q -rs tests/postgres

cluster: $(READY)         ## what breaks in a cluster, broken: Ray and PostgreSQL on this machine
	$(BIN)/python -m pip install --quiet --editable '.[cluster,postgres]'
	tests/support/install-package initdb postgresql
	$(BIN)/pytest -q -rs tests/matrix
	$(BIN)/python tests/matrix/matrix.py

cluster-bench: $(READY)   ## events a second of one process, and of one, two and four owners
	$(BIN)/python -m pip install --quiet --editable '.[cluster,postgres]'
	tests/support/install-package initdb postgresql
	$(BIN)/python tests/matrix/bench.py

pictures: $(READY)        ## draw the README's pictures anew
	$(BIN)/python tests/pictures.py

coverage: $(READY)        ## branch coverage of streams/ and operators/
	tests/support/install-package initdb postgresql
	$(BIN)/coverage run -m pytest -q
	$(BIN)/coverage run --append -m pytest -q tests/postgres
	$(BIN)/coverage report

mutation: $(READY)        ## change operators/ one place at a time, and see a test fail: tests/MUTATION.md
	$(BIN)/python -m pip install --quiet --group mutation
	$(BIN)/mutmut run --max-children 1 $(MUTANTS)
	@results=$$($(BIN)/mutmut results) && \
	  { echo "$$results" | grep -v ": not checked$$" || echo "all that was run was killed"; }

audit: $(READY)           ## known vulnerabilities of what a user installs
	$(BIN)/python .ci/audit.py

soak: $(READY)            ## a day of sessions in two minutes; the whole of it: python tests/soak.py
	$(BIN)/python tests/soak.py --events 600000 --sessions 1000

kill: $(READY)            ## kill -9 a process with every sink open, 200 times
	$(BIN)/python tests/killed.py --kills 200

fuzz: $(READY)            ## 1 000 000 inputs for every reader of bytes; takes about an hour
	$(BIN)/python tests/fuzz/run.py --inputs 1000000

field-failures: $(READY)  ## write tests/FIELD_FAILURES.md: which test proves what
	$(BIN)/python tests/field_failures.py

bench: $(BENCH)           ## all comparisons and figures; fails where a target is missed
	PYTHONPATH=. $(BIN)/python tests/benchmarks/run.py

bench-quick: $(BENCH)     ## the regression check: ratios only, with slack for noise
	PYTHONPATH=. $(BIN)/python tests/benchmarks/run.py --quick

clean:
	rm -rf $(VENV) .cache .pytest_cache .ruff_cache .hypothesis .import_linter_cache .benchmarks mutants

$(READY): pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
	  || { echo "sessionstreams needs Python 3.11 or later; set PYTHON=/path/to/python3.11" >&2; exit 1; }
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade 'pip>=25.1'
	$(BIN)/python -m pip install --quiet --editable '.[cli,opencode,postgres]' --group dev
	touch $@

$(BENCH): $(READY)
	$(BIN)/python -m pip install --quiet --group bench
	touch $@

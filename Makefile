# Every target does its own set-up in .venv, with plain venv and pip. Nothing is installed outside of this folder.
#
#   make demo     sample catalogue, training, index, page on http://127.0.0.1:7860  (PORT=…; HEADLESS=1 stops once it serves)
#   make photos   a page over your own pictures, without training: make photos DIR=~/Pictures  (PORT=…; HEADLESS=1)
#   make serve    an HTTP API over the same, with the page, on http://127.0.0.1:8000  (PORT=…)
#   make test     the tests, on all cores  (ARGS="tests/model -k fusion" for some of them; JOBS=0 in one process)
#   make lint     style, import order, types
#   make damage   every damage to a file, and every fault of a disk, in ten minutes
#   make fuzz     every reader of strangers' bytes, MINUTES=10 each, by atheris; what is found stays in tests/fuzz/corpus
#   make audit    known advisories for the tested versions in constraints.txt, by pip-audit, which needs a network
#   make clean    remove what these made

PYTHON ?= python3
HEADLESS ?=
ARGS ?=
JOBS ?= logical
MINUTES ?= 10

BIN := .venv/bin
DEMO_CSV := demo/openmoji/openmoji.csv

.PHONY: demo photos serve test lint damage fuzz audit clean

define build_demo
	$(BIN)/likewise sample openmoji demo/openmoji
	$(BIN)/likewise train $(DEMO_CSV) --output demo/run
	$(BIN)/likewise index demo/run --data $(DEMO_CSV)
endef

demo: PORT ?= 7860
demo: .venv/installed
	$(build_demo)
	$(BIN)/likewise demo demo/run --port $(PORT) $(if $(filter-out 0,$(HEADLESS)),--check)

photos: PORT ?= 7860
photos: .venv/installed
	@test -n "$(DIR)" || { echo "name your folder of pictures: make photos DIR=~/Pictures" >&2; exit 1; }
	$(BIN)/likewise photos "$(DIR)" --port $(PORT) $(if $(filter-out 0,$(HEADLESS)),--check)

serve: PORT ?= 8000
serve: .venv/installed-serve demo/run/store.json
	$(BIN)/likewise serve demo/run --port $(PORT)

# Written last, when there is an index.
demo/run/store.json: | .venv/installed
	$(build_demo)

test: .venv/installed-dev
	$(BIN)/python -m pytest -rs --numprocesses $(JOBS) --maxprocesses 8 --dist worksteal $(ARGS)

lint: .venv/installed-dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/lint-imports
	$(BIN)/mypy

damage: .venv/installed-dev
	LIKEWISE_DAMAGE=all $(BIN)/python -m pytest -rs tests/damage/test_damage.py tests/faults/test_faults.py

fuzz: .venv/installed-dev
	$(BIN)/python tests/fuzz/fuzz_readers.py --minutes $(MINUTES)

audit:
	@if [ -x $(BIN)/pip-audit ]; then audit=$(BIN)/pip-audit; else audit=pip-audit; fi; \
	command -v $$audit >/dev/null || { \
		echo "pip-audit is not installed: pipx install pip-audit, or pip install it into $(BIN)" >&2; \
		exit 1; }; \
	$$audit --requirement constraints.txt --no-deps --disable-pip

clean:
	rm -rf .venv demo build dist src/*.egg-info .pytest_cache .mypy_cache .ruff_cache .import_linter_cache .hypothesis

define build_environment
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { \
		echo "likewise needs Python 3.11 or newer as $(PYTHON); name another one: make $(MAKECMDGOALS) PYTHON=python3.12" >&2; \
		exit 1; }
	$(PYTHON) -m venv .venv
endef

# The stamps are touched last, so that an interrupted set-up is taken up again.
.venv/installed: requirements.txt pyproject.toml
	$(build_environment)
	$(BIN)/pip install --quiet --editable .
	@touch $@

.venv/installed-serve: .venv/installed
	$(BIN)/pip install --quiet --editable '.[serve]'
	@touch $@

# The versions that are tested: pip need not search for some that fit together, which takes it minutes.
.venv/installed-dev: requirements.txt pyproject.toml constraints.txt
	$(build_environment)
	$(BIN)/pip install --quiet --no-compile --constraint constraints.txt --editable '.[dev]'
	@touch .venv/installed $@

# Two commands do all the set-up: `make demo` and `make test`.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin

.PHONY: demo test lint types contracts unit bench bench-learn clean

$(VENV)/.installed: pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[plots]'
	touch $@

$(VENV)/.installed-dev: $(VENV)/.installed
	$(BIN)/pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[dev]'
	touch $@

demo: $(VENV)/.installed
	$(BIN)/defectdb demo demo-out

test: lint types contracts unit

lint: $(VENV)/.installed-dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: $(VENV)/.installed-dev
	$(BIN)/mypy

contracts: $(VENV)/.installed-dev
	$(BIN)/lint-imports --no-cache

# one worker per core: threads inside the workers would only compete
unit: export OMP_NUM_THREADS = 1
unit: $(VENV)/.installed-dev
	$(BIN)/pytest -n auto --dist worksteal

bench: $(VENV)/.installed-dev
	$(BIN)/python -m benchmarks

# $DEFECTDB_PEERS may name a Python with pyoperon and gplearn, to be measured beside
bench-learn: $(VENV)/.installed-dev
	$(BIN)/python -m benchmarks learn

clean:
	rm -rf $(VENV) demo-out

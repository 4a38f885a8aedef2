# Two commands do all the set-up: `make demo` and `make test`.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin

.PHONY: demo dist docs man test lint types contracts unit site-assets bench bench-learn clean

$(VENV)/.installed: pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[learn,plots]'
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

# the explorer's scripts, bundled from npm packages into the package's own data: what `defectdb site` writes
site-assets:
	cd explorer && npm ci --no-audit --no-fund && npm run build

# the pages of docs/ with those made from the code, into build/docs: open build/docs/index.html
docs: export NO_MKDOCS_2_WARNING = 1
docs: $(VENV)/.installed-dev
	$(BIN)/mkdocs build --strict

# the manual page: man -l build/man/defectdb.1
man: $(VENV)/.installed-dev
	$(BIN)/python docs/hooks/man_page.py build/man/defectdb.1

# wheel and sdist, the explorer in both, the manual page in the wheel
dist: $(VENV)/.installed-dev site-assets man
	rm -rf dist
	$(BIN)/python -m hatchling build -d dist
	$(BIN)/pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[release]'
	$(BIN)/python -m twine check --strict dist/*
	$(BIN)/python -m zipfile -t dist/*.whl
	$(BIN)/python -m zipfile -l dist/*.whl | grep -q site/assets/explorer.js
	tar -tzf dist/*.tar.gz | grep -q site/assets/explorer.js

bench: $(VENV)/.installed-dev
	$(BIN)/python -m benchmarks

# the peers, pyoperon and gplearn, live in an environment of their own; $DEFECTDB_PEERS may name another one's Python
DEFECTDB_PEERS ?= $(CURDIR)/.venv-peers/bin/python
bench-learn: export DEFECTDB_PEERS := $(DEFECTDB_PEERS)
bench-learn: $(VENV)/.installed-dev $(DEFECTDB_PEERS)
	$(BIN)/python -m benchmarks learn kernels peers

.venv-peers/bin/python $(CURDIR)/.venv-peers/bin/python:
	$(PYTHON) -m venv .venv-peers
	.venv-peers/bin/pip install --quiet --disable-pip-version-check pyoperon gplearn

clean:
	rm -rf $(VENV) .venv-peers demo-out

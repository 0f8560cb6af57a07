# make demo   train real GPTs on real text and print the table (about five minutes on two cores)
# make test   the tests that a user needs to trust the install
# make check  everything that a change must pass: style, types, import rules, docs, tests
# make slow   the long tests: kills, coverage, several processes
# make docs   the documentation, warnings as errors
# make bench  measurements, as ratios against peers
#
# Each works on a bare clone: it makes $(VENV) first. On Linux, a CPU build of torch:
#   make demo PIP_ARGS="--extra-index-url https://download.pytorch.org/whl/cpu"

PYTHON ?= python3
VENV ?= .venv
PIP_ARGS ?=
RUN := $(VENV)/bin/
INSTALLED := $(VENV)/.installed

.PHONY: demo test slow check style types imports docs bench clean

demo: $(INSTALLED)
	$(RUN)python examples/01_demo.py

test: $(INSTALLED)
	$(RUN)python -m pytest

slow: $(INSTALLED)
	$(RUN)python -m pytest -m slow

check: style types imports docs test

style: $(INSTALLED)
	$(RUN)ruff check .
	$(RUN)ruff format --check .

types: $(INSTALLED)
	$(RUN)mypy

imports: $(INSTALLED)
	$(RUN)lint-imports

docs: $(INSTALLED)
	$(RUN)python -m sphinx -W --keep-going -b html docs docs/_build/html

bench: $(INSTALLED)
	$(RUN)python -m pip install --quiet -c requirements/dev.txt chinchilla  # a peer to measure against
	for script in tests/benchmarks/bench_*.py; do echo "== $$script"; $(RUN)python $$script || exit 1; done

clean:
	rm -rf $(VENV) docs/_build outputs .pytest_cache .mypy_cache .ruff_cache

$(INSTALLED): pyproject.toml requirements/dev.txt
	$(PYTHON) -c "import sys; sys.exit(sys.version_info < (3, 11) and 'flops-fit needs Python 3.11 or newer: make PYTHON=python3.11')"
	$(PYTHON) -m venv $(VENV)
	$(RUN)python -m pip install --quiet --upgrade pip
	$(RUN)python -m pip install --quiet $(PIP_ARGS) -c requirements/dev.txt -e ".[dev]"
	touch $@

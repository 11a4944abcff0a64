# Two commands: `make report` and `make test`. Both make their own environment in .venv.

VENV := .venv
BIN := $(VENV)/bin
STUDY ?= helm-classic
PYTHON ?= $(shell for p in python3 python3.14 python3.13 python3.12 python; do \
	  $$p -c 'import sys; sys.exit(sys.version_info < (3, 12))' >/dev/null 2>&1 && echo $$p && break; done)

.PHONY: report test test-slow test-pages calibrate lint clean
.DELETE_ON_ERROR:

report: $(VENV)/installed
	@$(BIN)/safetystats run $(STUDY)

test: $(VENV)/installed-dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	OMP_NUM_THREADS=1 $(BIN)/pytest

# Long sampling studies: simulation-based calibration and fits of the direct models.
test-slow: $(VENV)/installed-dev
	OMP_NUM_THREADS=1 $(BIN)/pytest -m slow

# Pages in a headless Chromium, and LaTeX compiled by pdflatex: both must be on the machine (Debian: chromium, texlive-latex-recommended, lmodern).
test-pages: $(VENV)/installed-dev
	OMP_NUM_THREADS=1 $(BIN)/pytest -m 'browser or latex'

# Simulation-based calibration of every factor spec: many hours. Finished simulations are kept in .cache/calibration, so
# that it can be stopped and goes on; needs ren2024 (`safetystats data fetch ren2024`, or SAFETYSTATS_DATA).
calibrate: $(VENV)/installed
	OMP_NUM_THREADS=1 $(BIN)/python benchmarks/calibration.py --simulations $(or $(SIMULATIONS),500) --workers $(or $(WORKERS),2)

lint: $(VENV)/installed-dev
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

$(VENV)/python: .python-version
ifeq ($(strip $(PYTHON)),)
	@echo "safetystats needs Python 3.12 or newer; none was found (install one, or name it: make $(firstword $(MAKECMDGOALS)) PYTHON=/path/to/python3.12)" >&2; exit 1
else
	@$(PYTHON) -c 'import sys; sys.exit(0 if sys.version_info >= (3, 12) else "safetystats needs Python 3.12 or newer; this is " + sys.version.split()[0])'
	@echo "Making the environment $(VENV) ..." >&2
	@$(PYTHON) -m venv $(VENV)
	@touch $@
endif

$(VENV)/installed: pyproject.toml $(VENV)/python
	@echo "Installing safetystats and what it needs (a minute or two; the first study takes ten minutes or more) ..." >&2
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable .
	@touch $@

$(VENV)/installed-dev: pyproject.toml $(VENV)/installed
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check 'pip>=25.1'
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable . --group dev
	@touch $@

clean:
	rm -rf $(VENV) .mypy_cache .ruff_cache .pytest_cache .hypothesis

# Everything runs in .venv, which the first target that needs it makes; `make help` lists the targets.

PYTHON ?= python3
VENV := .venv
DOCS := .venv-docs
BENCH := .venv-bench
RUN := $(VENV)/bin/python
PIP := $(RUN) -m pip --disable-pip-version-check
METADATA := pyproject.toml setup.py
ARGS ?=

# Containers like to set it; each of the hundreds of processes in the tests would compile everything anew.
unexport PYTHONDONTWRITEBYTECODE

.DEFAULT_GOAL := help
.PHONY: help demo test format lint types check resolve bench docs clean
.DELETE_ON_ERROR:

help: ## list the targets
	@grep -E '^[a-z]+:.*##' $(MAKEFILE_LIST) | sed -E 's/^([a-z]+):.*## (.*)/\1\t\2/' | expand -t 10

demo: $(VENV)/installed ## train NCP with DeACL's objective on digits, judge it and write a report page
	$(VENV)/bin/robustcl compose --generator ncp --objective deacl $(ARGS)

test: $(VENV)/installed-test ## run the tests; ARGS="-k silhouette" chooses some
	$(RUN) -m pytest -n auto --maxprocesses 4 --dist loadfile $(ARGS)

format: $(VENV)/installed-dev ## rewrite the sources in the house's format
	$(RUN) -m ruff check --fix .
	$(RUN) -m ruff format .

lint: $(VENV)/installed-dev ## look for mistakes and other formats
	$(RUN) -m ruff check .
	$(RUN) -m ruff format --check .

types: $(VENV)/installed-dev ## check the types
	$(RUN) -m mypy

check: lint types ## what the pre-commit hooks and the continuous integration ask before the tests

resolve: $(VENV)/installed-dev ## ask pip whether each extra can stand beside what is installed; downloads, installs nothing
	@for extra in art cuml slurm ray test bench dev; do \
		echo "== .[$$extra]"; $(PIP) install --dry-run --quiet ".[$$extra]" || exit 1; \
	done

bench: $(BENCH)/installed ## run every benchmark beside its peers; fails if one does, after the others have run
	@failed=""; \
	for script in $(filter-out benchmarks/_%,$(sort $(wildcard benchmarks/*.py))); do \
		echo "== $$script"; $(BENCH)/bin/python $$script || failed="$$failed $$script"; \
	done; \
	if [ -n "$$failed" ]; then echo "failed:$$failed" >&2; exit 1; fi

docs: $(VENV)/installed $(DOCS)/installed ## build the documentation into site/
	$(RUN) docs/generate.py
	$(DOCS)/bin/zensical build --clean --strict

clean: ## remove what was built; environments, runs and data stay
	rm -rf build dist site docs/kinds docs/methods *.egg-info .mypy_cache .pytest_cache .ruff_cache .hypothesis
	find robustcl plugins tests benchmarks docs -name __pycache__ -prune -exec rm -rf {} +

# The install is editable: sources are used where they lie, and only new metadata asks for a new install.
$(VENV)/installed: $(METADATA) | $(VENV)/bin/pip
	$(PIP) install --editable .
	@touch $@

# torchattacks asks for libraries of 2020 that it does not import, so it comes without what it asks for.
$(VENV)/installed-test: $(METADATA) | $(VENV)/bin/pip
	$(PIP) install --editable '.[test]'
	$(PIP) install --no-deps 'torchattacks>=3.5'
	@touch $@ $(VENV)/installed

$(VENV)/installed-dev: $(METADATA) | $(VENV)/bin/pip
	$(PIP) install --editable '.[dev]'
	$(PIP) install --no-deps 'torchattacks>=3.5'
	@touch $@ $(VENV)/installed-test $(VENV)/installed

# The peers pin old libraries, so they have an environment of their own.
$(BENCH)/installed: $(METADATA) | $(BENCH)/bin/pip
	$(BENCH)/bin/python -m pip --disable-pip-version-check install --editable '.[bench]'
	$(BENCH)/bin/python -m pip --disable-pip-version-check install --no-deps 'torchattacks>=3.5'
	@touch $@

$(DOCS)/installed: docs/requirements.txt | $(DOCS)/bin/pip
	$(DOCS)/bin/python -m pip --disable-pip-version-check install --requirement docs/requirements.txt
	@touch $@

# pip is the last thing that venv brings: an environment without it was cut off, and is made again.
$(VENV)/bin/pip $(DOCS)/bin/pip $(BENCH)/bin/pip:
	@command -v $(PYTHON) > /dev/null || { \
		echo "robustcl needs Python 3.11 or newer, and there is no $(PYTHON): install it, or name another, e.g. make PYTHON=python3.12 $(MAKECMDGOALS)" >&2; exit 1; }
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { \
		echo "robustcl needs Python 3.11 or newer, and $(PYTHON) is $$($(PYTHON) -V 2>&1): name another, e.g. make PYTHON=python3.12 $(MAKECMDGOALS)" >&2; exit 1; }
	@$(PYTHON) -c 'import ensurepip, venv' 2> /dev/null || { \
		echo "$(PYTHON) cannot make environments: install its venv module (Debian: apt-get install python3-venv)" >&2; exit 1; }
	$(PYTHON) -m venv $(@D)/..

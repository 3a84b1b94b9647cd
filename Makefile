# make demo   from a clone to a figure of real training runs
# make test   everything that must hold before a change is done

PYTHON ?= python3
CORES ?= 2
VENV ?= .venv

BIN := $(abspath $(VENV))/bin
STAMP := $(VENV)/installed
# What the environment was made from; `make` compares content, since a clone's times say nothing.
STATE := $(CURDIR) $(shell cat requirements.lock requirements-slurm.lock pyproject.toml | cksum)
SNAKEMAKE := $(BIN)/snakemake --profile workflow/profiles/workstation --cores $(CORES)

export PATH := $(BIN):$(PATH)

.PHONY: demo test install lint unit lock clean

demo: install
	$(SNAKEMAKE) demo --quiet rules
	$(SNAKEMAKE) demo --report results/report.html --quiet all
	@echo
	@echo "Figures: $$(ls results/figures/*/*.png | tr '\n' ' ')"
	@echo "Report:  results/report.html (one file, for any browser)"

test: lint unit

lint: install
	ruff format --check .
	ruff check .
	mypy
	snakefmt --check Snakefile workflow
	snakemake --lint

unit: install
	pytest

install:
	@$(PYTHON) -c 'import sys; sys.exit(0 if sys.version_info >= (3, 11) else "tasktrace needs Python 3.11 or newer, \
	found " + sys.version.split()[0] + "; choose another with: make PYTHON=python3.12 ...")'
	@if [ "$$(cat $(STAMP) 2>/dev/null)" != "$(STATE)" ]; then $(MAKE) --no-print-directory environment; fi

.PHONY: environment
environment:
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --disable-pip-version-check --require-hashes -r requirements.lock
	$(BIN)/pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation --editable .
	# For the tests, beside the environment: within it, every start of Snakemake would ask SLURM's controller.
	$(BIN)/pip install --quiet --disable-pip-version-check --require-hashes --no-deps --upgrade \
		--target $(VENV)/slurm -r requirements-slurm.lock
	@echo "$(STATE)" > $(STAMP)

# What the extra `slurm` brings beside the packages of requirements.lock.
SLURM := snakemake-executor-plugin-slurm snakemake-executor-plugin-slurm-jobstep throttler

# Needs uv (https://docs.astral.sh/uv): exact versions with hashes, for every supported Python.
lock:
	uv pip compile pyproject.toml --extra dev --universal --python-version 3.11 --generate-hashes \
		--no-header --no-emit-index-url --output-file requirements.lock
	printf '%s\n' $(SLURM) | uv pip compile - --no-deps --universal --python-version 3.11 --generate-hashes \
		--no-header --no-emit-index-url --no-annotate --output-file requirements-slurm.lock

clean:
	rm -rf results logs checkpoints .snakemake data/prepared

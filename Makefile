# tubepet: `make run` does everything, `make test` proves it, `make help` lists the rest.
PYTHON ?= python3
CORES ?= $(shell nproc)
TORCH_INDEX ?=
BIN := .venv/bin
INSTALLED := .venv/.installed
DEVELOPING := .venv/.developing
PIP = $(BIN)/pip install --quiet --disable-pip-version-check --no-deps $(if $(TORCH_INDEX),--extra-index-url $(TORCH_INDEX))
SNAKEMAKE := $(BIN)/snakemake --cores $(CORES)
export PATH := $(CURDIR)/$(BIN):$(PATH)

.DEFAULT_GOAL := help
.PHONY: help install develop run provenance crate status smoke test first-contact slurm-smoke chaos fuzz lint format reference bench clean

help: ## show this list
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:[^#]*## /\t/' | expand -t 12

install: $(INSTALLED) ## create .venv from the lock (automatic, quick when it exists)

$(INSTALLED): requirements.lock pyproject.toml
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "tubepet needs Python >= 3.11")'
	$(PYTHON) -m venv .venv
	$(PIP) -r requirements.lock
	$(PIP) --no-build-isolation --editable .
	touch $@

develop: $(DEVELOPING) ## what tests, lint and benchmarks need on top (automatic, too)

$(DEVELOPING): requirements-dev.lock $(INSTALLED)
	$(PIP) -r requirements-dev.lock
	touch $@

run: install ## the whole chain with config/config.yaml; ends with results/report.html
	$(SNAKEMAKE)

provenance: install ## results/provenance.html: code, log and figures of every job of a finished run
	$(SNAKEMAKE) --report results/provenance.html

crate: install ## results/ro-crate-metadata.json: a finished run as an RO-Crate, for an archive
	$(SNAKEMAKE) crate

smoke: install ## the whole chain at toy size, in results_smoke/ (about two minutes)
	@mkdir -p results_smoke
	$(SNAKEMAKE) --directory results_smoke --configfile config/smoke.yaml

status: install ## what is done, running, outdated and missing
	@$(BIN)/tubepet status

test: develop ## all tests
	$(BIN)/pytest -n 2 --dist loadgroup

first-contact: ## every command of README and docs, typed into a fresh clone (fifteen minutes)
	$(PYTHON) tests/first_contact.py

slurm-smoke: develop ## a real Slurm of one node (root, Debian): the smoke chain and all faults, ten minutes
	@command -v slurmctld >/dev/null && command -v munged >/dev/null || \
	  { echo "slurm-smoke needs Debian's packages slurm-wlm and munge" >&2; exit 1; }
	TUBEPET_SLURM=full $(BIN)/pytest -rP tests/workflow/test_slurm.py

chaos: develop ## 100 kills, full disks, damaged files and more over the smoke chain (half an hour), see docs/faults.md
	$(BIN)/python -u -m tests.chaos.campaign --output results_chaos.json

fuzz: develop ## coverage-guided fuzzing of every reader (an hour), see docs/faults.md
	$(PIP) atheris==3.0.0
	$(BIN)/python -m tests.fuzz.fuzz

lint: develop ## ruff, snakefmt, mypy, snakemake --lint
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/snakefmt --check Snakefile workflow/rules
	$(BIN)/mypy
	$(BIN)/snakemake --lint

format: develop ## rewrite the sources in the house style
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .
	$(BIN)/snakefmt Snakefile workflow/rules

reference: develop ## config/README.md from the schema, docs/commands.md from --help, docs/licences.md from the locks, docs/speed.md from benchmarks/results.jsonl
	$(BIN)/python -m tubepet.report.reference
	$(BIN)/python -m tubepet.cli.reference
	$(BIN)/python -m tests.licences
	$(BIN)/python benchmarks/record.py

bench: develop ## measure against a named peer: all, or one with NAME=mlem
	@for script in $(or $(NAME:%=benchmarks/%.py),$(filter-out benchmarks/record.py,$(wildcard benchmarks/*.py))); do \
	  $(BIN)/python $$script || exit 1; done

clean: ## remove results, logs and caches (not .venv)
	rm -rf results results_smoke logs .snakemake .pytest_cache .mypy_cache .ruff_cache .hypothesis
	find src tests -name __pycache__ -prune -exec rm -rf {} +

# make lab    opens the course;  make test    checks everything.  Both do all the set-up first.

SHELL    := /bin/bash
PYTHON   ?= $(shell .ci/find-python)
VENV     := .venv
BIN      := $(VENV)/bin
LAB_ARGS ?=
STEPS    := lint types contract unit architecture system api engines notebooks vm guest browser

.PHONY: lab test hub venv compile packages requirements clean help $(STEPS)

help:
	@echo "make lab                 JupyterLab on the first notebook (LAB_ARGS=--no-browser passes options on)"
	@echo "make test                everything below, and the system packages of binder/apt.txt where that is allowed"
	@for step in $(STEPS); do echo "make $$step"; done
	@echo "make hub                 the image of binder/Dockerfile, and notebooks in it: minutes, and downloads"
	@echo "make venv                only the virtual environment, in $(VENV)"
	@echo "make requirements        the pinned requirements again, from pyproject.toml (needs uv)"
	@echo "make clean               removes $(VENV) and what tools cached"

lab: $(VENV)/.lab compile
	@$(BIN)/labcontainer doctor || true
	@exec $(BIN)/jupyter lab $(if $(filter 0,$(shell id -u)),--allow-root) $(LAB_ARGS) notebooks/00_start_here.ipynb

test: venv packages
	@$(BIN)/python tests/run.py $(STEPS)

$(STEPS) hub: venv
	@$(BIN)/python tests/run.py $@

venv: $(VENV)/.tests compile

# The environment is made once, and brought up to date when a list of packages changes.
$(BIN)/python:
	@.ci/check-python "$(PYTHON)"
	@"$(PYTHON)" -m venv $(VENV)

$(VENV)/.lab: pyproject.toml requirements.txt binder/overrides.json | $(BIN)/python
	@echo "Installing the lab into $(VENV)"
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check -r requirements.txt -e .
	@$(BIN)/python -m compileall -q $(VENV)/lib || true
	@install -D -m 644 binder/overrides.json $(VENV)/share/jupyter/lab/settings/overrides.json
	@touch $@

$(VENV)/.tests: $(VENV)/.lab tests/requirements.txt
	@echo "Installing what the tests use"
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check -r tests/requirements.txt
	@touch $@

# Every start of a container is a start of Python: with PYTHONDONTWRITEBYTECODE=1, or a checkout
# that the user cannot write, each of them would compile the sources again. The launchers compile
# them, and replace pip's scripts, which would load site-packages.
compile: $(VENV)/.lab
	@$(BIN)/python -m labcontainer.runtime.launcher $(BIN)/labcontainer-oci
	@$(BIN)/python -m labcontainer.cli.launcher $(BIN)/labcontainer

packages: venv
	@.ci/packages binder/apt.txt
	@$(BIN)/labcontainer vm kernel || echo "No kernel for QEMU: the tests that boot one are skipped."
	@$(BIN)/labcontainer vm kernel --general || echo "None with 9p: the tests that share directories are skipped."

requirements:
	uv pip compile -q --universal --python-version 3.11 --no-annotate --custom-compile-command "make requirements" pyproject.toml -o requirements.txt
	uv pip compile -q --universal --python-version 3.11 --no-annotate --custom-compile-command "make requirements" pyproject.toml --extra dev -c requirements.txt -o tests/requirements.txt

clean:
	rm -rf $(VENV) .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache .test-reports

# Two commands matter: `make run` and `make test`. Both do all set-up on a machine with Python 3.11, pip and make.
PYTHON ?= python3
VENV   ?= .venv
BIN    := $(VENV)/bin
DATA   ?= meshcentral-data
export UV_PYTHON_DOWNLOADS := never
export UV_NO_PROGRESS := 1

MEMBERS  := . protocol plugins/agents plugins/control cli
PROJECTS := pyproject.toml $(wildcard protocol/pyproject.toml cli/pyproject.toml plugins/*/pyproject.toml)
SOURCES  := meshcentral protocol cli plugins tests bench

.PHONY: help setup run test check lint types unit bench peer lock clean
help:           ## list the targets
	@grep -hE '^[a-z]+:.*##' $(MAKEFILE_LIST) | sed 's/:.*## /\t/'

setup: $(VENV)/.synced   ## make the virtual environment

$(VENV)/.synced: $(PROJECTS) requirements.lock requirements-dev.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check uv
	VIRTUAL_ENV=$(VENV) $(BIN)/uv pip install --quiet -r requirements.lock
	VIRTUAL_ENV=$(VENV) $(BIN)/uv pip install --quiet --no-build-isolation --no-deps -r requirements-dev.txt
	@touch $@

lock: $(VENV)/.synced   ## resolve requirements.lock anew (hashes, no addresses)
	$(BIN)/uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-emit-index-url \
	  --no-emit-find-links --no-emit-package meshcentral --no-emit-package meshcentral-protocol \
	  --no-emit-package meshcentral-cli --no-emit-package meshcentral-agents --no-emit-package meshcentral-control \
	  --no-annotate --custom-compile-command "make lock" --all-extras --group dev \
	  --output-file requirements.lock pyproject.toml

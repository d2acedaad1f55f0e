# Two commands matter: `make run` and `make test`. Both do all set-up on a machine with Python 3.11, pip and make.
PYTHON   ?= python3
VENV     ?= .venv
BIN      := $(VENV)/bin
PYTEST   := $(BIN)/python -m pytest

# `make run` and where its server lives. NAME is what agents and browsers call it by.
DATA     ?= meshcentral-data
NAME     ?= localhost
BIND     ?= 127.0.0.1
PORT     ?= 8443
REDIRECT ?= 8080
MPS      ?= 4433
ADMIN    ?= admin

# The peer (real agents, MeshCtrl) is kept outside the repository, one folder for each lock file.
CACHE    ?= $(if $(XDG_CACHE_HOME),$(XDG_CACHE_HOME),$(HOME)/.cache)/mesh-peer
PEER     := $(CACHE)/$(shell cksum < tests/peer/package-lock.json | cut -d' ' -f1)
export MESH_PEER_DIR ?= $(PEER)/node_modules/meshcentral
export UV_PYTHON_DOWNLOADS := never
export UV_NO_PROGRESS := 1
# Without cached byte code every start pays seconds for compiling the libraries.
export UV_COMPILE_BYTECODE := 1
unexport PYTHONDONTWRITEBYTECODE

SOURCES  := meshcentral protocol cli plugins tests bench
PROJECTS := pyproject.toml $(wildcard protocol/pyproject.toml cli/pyproject.toml plugins/*/pyproject.toml)

.PHONY: help setup run test check lint types unit bench docs peer lock clean
help:           ## list the targets
	@grep -hE '^[a-z]+:.*##' $(MAKEFILE_LIST) | sed 's/:.*## /\t/'

setup: $(VENV)/.synced   ## make the virtual environment

$(VENV)/.synced: $(PROJECTS) requirements.lock requirements-uv.lock requirements-dev.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements-uv.lock
	VIRTUAL_ENV=$(VENV) $(BIN)/uv pip install --quiet -r requirements.lock
	VIRTUAL_ENV=$(VENV) $(BIN)/uv pip install --quiet --no-build-isolation --no-deps -r requirements-dev.txt
	@$(BIN)/python -m compileall -q meshcentral protocol/src cli/src plugins
	@touch $@

run: setup      ## a listening server with an administrator, made on first use
	@$(BIN)/mesh --data $(DATA) init --if-missing --cert-name $(NAME) \
	  --port $(PORT) --redirect-port $(REDIRECT) --mps-port $(MPS)
	@$(BIN)/mesh --data $(DATA) user add $(ADMIN) --site-admin --random-password --if-missing
	@exec $(BIN)/mesh --data $(DATA) serve --bind $(BIND) --port $(PORT) --redirect-port $(REDIRECT) --mps-port $(MPS)

test: lint types   ## everything: lint, types, all tests (the peer is fetched when npm is there)
	@$(MAKE) --no-print-directory peer || echo "make test: no peer, the tests that need it are skipped"
	$(PYTEST) $(ARGS)

check: lint types unit   ## what to run all the time, under two minutes

lint: setup     ## ruff
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: setup    ## mypy, strict
	$(BIN)/mypy meshcentral protocol/src cli/src plugins/agents/src plugins/control/src bench

unit: setup     ## tests that take seconds and need nothing but Python
	$(PYTEST) -m "not slow and not peer" $(ARGS)

peer:           ## fetch the npm package with the real agents and MeshCtrl into the cache
	@test -f $(MESH_PEER_DIR)/package.json || { \
	  command -v npm >/dev/null || { echo "make peer: npm is not installed" >&2; exit 1; }; \
	  rm -rf $(PEER) && mkdir -p $(PEER) && cp tests/peer/package.json tests/peer/package-lock.json $(PEER)/ && \
	  cd $(PEER) && npm ci --ignore-scripts --no-audit --no-fund --loglevel=error >&2; }
	@echo "make peer: $(MESH_PEER_DIR)"

docs: setup     ## write the reference pages anew from the code
	$(BIN)/python docs/generate.py

bench: setup peer  ## storm, memory, start, micro beside the peer in one alternating run
	$(BIN)/python -m bench $(ARGS)

lock: $(VENV)/.synced   ## resolve the locks anew (hashes, no addresses)
	echo uv | $(BIN)/uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-emit-index-url \
	  --no-emit-find-links --no-annotate --custom-compile-command "make lock" --output-file requirements-uv.lock -
	$(BIN)/uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-emit-index-url \
	  --no-emit-find-links --no-emit-package meshcentral --no-emit-package meshcentral-protocol \
	  --no-emit-package meshcentral-cli --no-emit-package meshcentral-agents --no-emit-package meshcentral-control \
	  --no-annotate --custom-compile-command "make lock" --all-extras --group dev \
	  --output-file requirements.lock pyproject.toml

clean:          ## remove what the other targets made inside the clone
	rm -rf $(VENV) .mypy_cache .ruff_cache .pytest_cache .hypothesis

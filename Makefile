# Each target sets up all it needs in .venv, once; needs make and Python 3.11 or newer.
PYTHON ?= $(shell for p in python3 python3.14 python3.13 python3.12 python3.11; do \
    $$p -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && echo $$p && break; done)
VENV ?= .venv
BIN := $(VENV)/bin

.PHONY: demo test bench clean

demo: $(VENV)/.run
	$(BIN)/ntsim run osr-vtx-0x4a
	$(BIN)/ntsim run osr-vtx-0x4a --fixed

test: $(VENV)/.dev
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports --no-cache
	$(BIN)/pytest -n auto

bench: $(VENV)/.run
	$(BIN)/python -m benchmarks

clean:
	rm -rf $(VENV)

# A stamp is renewed when pyproject.toml changes: the install is editable, sources need no new one.
$(VENV)/.run: pyproject.toml
	$(call setup,.)

$(VENV)/.dev: pyproject.toml
	$(call setup,.[dev])
	@touch $(VENV)/.run

# Quiet unless it fails: then the whole log is shown.
define setup
@test -n "$(PYTHON)" || { echo "ntsim needs Python 3.11 or newer: make PYTHON=/path/to/python3" >&2; exit 1; }
@echo "Setting up $(VENV) ..." && mkdir -p $(VENV)
@{ $(PYTHON) -m venv $(VENV) && $(BIN)/python -m pip install --disable-pip-version-check -e '$(1)'; } \
    > $@.log 2>&1 || { cat $@.log >&2; exit 1; }
@mv $@.log $@
endef

# make run, make test: all a newcomer needs. Python 3.11 or newer with venv and pip is the only requirement.
PYTHON ?= python3
BIN := .venv/bin

.PHONY: run test check demo lint lock clean

run: .venv/installed
	@$(BIN)/claimprint serve

test: .venv/dev
	@$(BIN)/pytest

# Exactly what CI runs.
check: lint test

lint: .venv/dev
	$(BIN)/ruff format --check
	$(BIN)/ruff check
	$(BIN)/mypy
	$(BIN)/lint-imports

demo: .venv/dev
	@$(BIN)/python -m examples.demo

# Versions and hashes only: no index and no download address is ever written. What tests need may hold a version
# back (moto: python-dateutil), so theirs are chosen first.
lock: .venv/dev
	$(BIN)/uv pip compile -q --universal --generate-hashes --no-header pyproject.toml --group build --group dev -o requirements-dev.lock
	$(BIN)/uv pip compile -q --universal --generate-hashes --no-header pyproject.toml --group build -c requirements-dev.lock -o requirements.lock

clean:
	rm -rf .venv

.venv/bin/python:
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Claimprint needs Python 3.11 or newer; name one: make PYTHON=python3.12 ...")'
	$(PYTHON) -m venv .venv

# The last step compiles the kernels, so that no request ever waits for a compiler.
.venv/installed: requirements.lock pyproject.toml | .venv/bin/python
	$(BIN)/pip install -q --disable-pip-version-check --require-hashes -r requirements.lock
	$(BIN)/pip install -q --disable-pip-version-check --no-deps --no-build-isolation --no-index -e .
	$(BIN)/python -m app.kernels
	@touch $@

.venv/dev: requirements-dev.lock .venv/installed
	$(BIN)/pip install -q --disable-pip-version-check --require-hashes -r requirements-dev.lock
	@touch $@

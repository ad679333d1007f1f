# Every target sets up .venv by itself. `make demo` needs the App's packages only; lint and test those of developers too.

PYTHON ?= python3
SHELL = /bin/sh
PY = .venv/bin/python
PIP = $(PY) -m pip install -qq --no-input --disable-pip-version-check --progress-bar off --require-hashes
# KEEP=1: the demo stays up after its story. ARGS: more arguments for the command behind a target.
KEEP ?=
ARGS ?=

# A Python path of the caller's must not reach into our environment.
unexport PYTHONPATH
unexport PYTHONHOME
unexport VIRTUAL_ENV

.PHONY: help demo serve bench test soak lint format lock schema

help:
	@echo 'make demo      one learner, real pushes, on this machine only (KEEP=1: stays up afterwards)'
	@echo 'make serve     the App, configured by the environment or .env (docs/settings.md)'
	@echo 'make bench     measures speed and memory, each against its reference (ARGS="judge --small")'
	@echo 'make test      all tests'
	@echo 'make soak      all tests, property tests ten times as hard'
	@echo 'make lint      style, types, import directions'
	@echo 'make format    rewrites the files in the common style'
	@echo 'make lock      makes requirements*.txt anew from requirements*.in (needs uv)'
	@echo 'make schema    makes the generated files anew: rules/steps.schema.json, docs/settings.md'

demo: .venv/.ready
	@$(PY) app.py demo $(if $(filter-out 0,$(KEEP)),--keep) $(ARGS)

serve: .venv/.ready
	@$(PY) app.py serve $(ARGS)

bench: .venv/.ready
	@$(PY) -m bench $(ARGS)

# The rules are covered to the last branch by tests of their own. ARGS runs what it names, and only that.
test: .venv/.ready-dev
ifeq ($(strip $(ARGS)),)
	@$(PY) -m pytest -n auto --dist worksteal tests/rules --cov=rules --cov-branch --cov-fail-under=100 \
	  --cov-report=term-missing:skip-covered
	@$(PY) -m pytest -n auto --dist worksteal --ignore=tests/rules
else
	@$(PY) -m pytest -n auto --dist worksteal $(ARGS)
endif

# Property tests with ten times as many examples; not part of CI.
soak: .venv/.ready-dev
	@SOAK=1 $(PY) -m pytest -n auto --dist worksteal --timeout 1200 $(ARGS)

lint: .venv/.ready-dev
	@$(PY) -m ruff check .
	@$(PY) -m ruff format --check .
	@$(PY) -m mypy --strict --explicit-package-bases .
	@$(PY) -c 'from importlinter.cli import lint_imports_command; lint_imports_command()'

format: .venv/.ready-dev
	@$(PY) -m ruff check --fix .
	@$(PY) -m ruff format .

schema: .venv/.ready
	@$(PY) -c 'from pathlib import Path; from rules.labfile import schema_text; \
	Path("rules/steps.schema.json").write_text(schema_text(), encoding="utf-8")'
	@$(PY) -c 'from pathlib import Path; from cli.settings_document import settings_document; \
	Path("docs/settings.md").write_text(settings_document(), encoding="utf-8")'

LOCK = uv pip compile --quiet --universal --python-version 3.11 --generate-hashes \
	--no-emit-index-url --no-emit-find-links --no-header

lock:
	@command -v uv >/dev/null 2>&1 || { echo 'make lock needs uv: pip install uv' >&2; exit 1; }
	@$(LOCK) requirements.in -o requirements.txt
	@$(LOCK) requirements-dev.in -o requirements-dev.txt

# The stamps are written last, so that an interrupted set-up is repeated. pip stays quiet but for errors.
.venv/.ready: requirements.txt .ci/prerequisites
	@python=$$(PYTHON='$(PYTHON)' $(SHELL) .ci/prerequisites) || exit 1; \
	if ! $(PY) -c 'import sys, pip; sys.exit(sys.version_info < (3, 11))' >/dev/null 2>&1; then \
	  rm -rf .venv && "$$python" -m venv .venv || exit 1; \
	fi; \
	echo 'Setting up .venv (once, about a minute) ...'; \
	$(PIP) -r requirements.txt && touch $@

.venv/.ready-dev: requirements-dev.txt .venv/.ready
	@echo 'Setting up the tools for tests and checks (once) ...'
	@$(PIP) -r requirements-dev.txt && touch $@

# Every target sets up .venv by itself. `make demo` needs the App's packages only; lint and test those of developers too.

PYTHON ?= python3
SHELL = /bin/sh
PY = .venv/bin/python
PIP = $(PY) -m pip install -qq --no-input --disable-pip-version-check --progress-bar off --require-hashes
# KEEP=1: the demo stays up after its story. ARGS: more arguments for the command behind a target.
KEEP ?=
ARGS ?=

# Tests wait for PostgreSQL, git and browsers for a part of their time: two workers more than there are processors.
export PYTEST_XDIST_AUTO_NUM_WORKERS ?= $(shell echo $$(( $$(getconf _NPROCESSORS_ONLN) + 2 )))

# A Python path of the caller's must not reach into our environment.
unexport PYTHONPATH
unexport PYTHONHOME
unexport VIRTUAL_ENV
# Tests start hundreds of processes: each would compile everything again.
unexport PYTHONDONTWRITEBYTECODE

.PHONY: help demo serve live bench test soak lint format lock schema screenshots

help:
	@echo 'make demo      one learner, real pushes, on this machine only (KEEP=1: stays up afterwards)'
	@echo 'make serve     the App, configured by the environment or .env (docs/settings.md)'
	@echo 'make live      the story of the demo on the real GitHub, with your own App and account (docs/live.md)'
	@echo 'make bench     measures speed and memory, each against its reference (ARGS="judge --small")'
	@echo 'make test      all tests; those in a browser, if a Chromium is found (REQUIRE_BROWSER=1: fails without)'
	@echo 'make soak      long campaigns and whole sizes, hours (CONTRIBUTING.md; ARGS="tests/bot": of these)'
	@echo 'make lint      style, types, import directions'
	@echo 'make format    rewrites the files in the common style'
	@echo 'make lock      makes requirements*.txt anew from requirements*.in (needs uv)'
	@echo 'make schema    makes the generated files anew: schemas, docs/settings.md, docs/commands.md, tables in docs'
	@echo 'make screenshots  makes the pictures in docs/images anew (needs a Chromium)'

demo: .venv/.ready
	@$(PY) app.py demo $(if $(filter-out 0,$(KEEP)),--keep) $(ARGS)

serve: .venv/.ready
	@$(PY) app.py serve $(ARGS)

# On the real GitHub, with an App and an account of one's own: docs/live.md. Never part of CI.
live: .venv/.ready
	@$(PY) -m cli.live $(ARGS)

bench: .venv/.ready
	@$(PY) -m bench $(ARGS)

# The rules are covered to the last branch by tests of their own; the heaviest of these are not needed for that, and
# run without tracing. ARGS runs what it names, and only that.
test: .venv/.ready-dev
	@if $(SHELL) .ci/browser find >/dev/null; then \
	  { $(MAKE) --no-print-directory .venv/.ready-browser && $(SHELL) .ci/browser axe; } || true; \
	fi
ifeq ($(strip $(ARGS)),)
	@$(PY) -m pytest -n auto --dist worksteal tests/rules -m "not heavy" --cov=rules --cov-branch --cov-fail-under=100 \
	  --cov-report=term-missing:skip-covered
	@$(PY) -m pytest -n auto --dist worksteal -m "heavy or not rules"
else
	@$(PY) -m pytest -n auto --dist worksteal $(ARGS)
endif

# Pictures of the pages, from a class that a test plays.
screenshots: .venv/.ready-browser
	@SCREENSHOTS=docs/images $(PY) -m pytest -q tests/browser/test_screenshots.py

# What try harder, or at whole size, when SOAK is set: the modules of tests that ask for it. Not part of CI.
soak: .venv/.ready-dev
	@SOAK=1 $(PY) -m pytest -n auto --dist worksteal --timeout 1800 \
	  $$(grep -rlE 'SOAK|effort' --include='test_*.py' $(or $(strip $(ARGS)),tests) | grep -v test_makefile | sort)

lint: .venv/.ready-dev
	@$(PY) -m ruff check .
	@$(PY) -m ruff format --check .
	@$(PY) -m mypy --strict --explicit-package-bases .
	@$(PY) -c 'from importlinter.cli import lint_imports_command; lint_imports_command()'

format: .venv/.ready-dev
	@$(PY) -m ruff check --fix .
	@$(PY) -m ruff format .

schema: .venv/.ready
	@$(PY) -c 'from pathlib import Path; from rules.labfile_schema import schema_text; \
	Path("rules/steps.schema.json").write_text(schema_text(), encoding="utf-8")'
	@$(PY) -c 'from pathlib import Path; from cli.settings_document import settings_document; \
	Path("docs/settings.md").write_text(settings_document(), encoding="utf-8")'
	@$(PY) -c 'from pathlib import Path; import app; from cli.commands_document import commands_document; \
	Path("docs/commands.md").write_text(commands_document(app.cli), encoding="utf-8")'
	@$(PY) -c 'from pathlib import Path; from cli.authoring_document import authoring_document; \
	manual = Path("docs/authoring.md"); \
	manual.write_text(authoring_document(manual.read_text(encoding="utf-8")), encoding="utf-8")'
	@$(PY) -c 'from pathlib import Path; from cli.audit_document import audit_document; \
	from rules.audit_schema import schema_text; \
	Path("docs/audit-event.schema.json").write_text(schema_text(), encoding="utf-8"); \
	events = Path("docs/audit-events.md"); \
	events.write_text(audit_document(events.read_text(encoding="utf-8")), encoding="utf-8")'

LOCK = uv pip compile --quiet --universal --python-version 3.11 --generate-hashes \
	--no-emit-index-url --no-emit-find-links --no-header

lock:
	@command -v uv >/dev/null 2>&1 || { echo 'make lock needs uv: pip install uv' >&2; exit 1; }
	@$(LOCK) requirements.in -o requirements.txt
	@$(LOCK) requirements-dev.in -o requirements-dev.txt
	@$(LOCK) requirements-browser.in -o requirements-browser.txt

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

.venv/.ready-browser: requirements-browser.txt .venv/.ready-dev
	@echo 'Setting up what drives the browser in tests (once) ...'
	@$(PIP) -r requirements-browser.txt && touch $@

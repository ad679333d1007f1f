"""Whether tests can drive a real browser here, and what a run without one says. A plugin of pytest.

Needed: a Chromium of the system's ($CHROMIUM, or found on the PATH by .ci/browser) and playwright (`make test` sets it
up when there is a Chromium). With REQUIRE_BROWSER=1 a run over tests/browser fails if none of these tests ran.
"""

from __future__ import annotations

import importlib.util
import os
import shutil
import subprocess
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
FOLDER = ROOT / "tests" / "browser"
SCRIPT = ROOT / ".ci" / "browser"
SH = shutil.which("sh") or "/bin/sh"


def required() -> bool:
    """Whether a run without browser tests is a failure."""
    return os.environ.get("REQUIRE_BROWSER", "") not in {"", "0"}


@cache
def chromium() -> str:
    """The path of a Chromium; nothing if there is none."""
    return _script("find")


@cache
def missing() -> str:
    """Why no browser can be driven here, with the remedy; nothing if one can."""
    if not chromium():
        return f"no Chromium was found; to have one: {_script('how')}"
    if importlib.util.find_spec("playwright") is None:
        return "playwright is not set up in .venv; to have it: make test"
    return ""


def _script(word: str) -> str:
    done = subprocess.run([SH, str(SCRIPT), word], capture_output=True, text=True, timeout=30, check=False)
    return done.stdout.strip()


class Gate:
    """Counts browser tests that ran in this run, wherever xdist ran them."""

    def __init__(self, config: pytest.Config) -> None:
        self._config = config
        self._ran = 0

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Count a test that got as far as running."""
        self._ran += report.when == "call" and not report.skipped and report.nodeid.startswith("tests/browser/")

    @property
    def _lack(self) -> str:
        """What is to be told: browser tests belong to this run, and none ran."""
        asked = any(FOLDER.is_relative_to(path) or path.is_relative_to(FOLDER) for path in _paths(self._config))
        options = self._config.option
        if not asked or self._ran or options.collectonly or options.keyword or options.markexpr:
            return ""
        return missing() or "none was run"

    @pytest.hookimpl(trylast=True)
    def pytest_sessionfinish(self, session: pytest.Session) -> None:
        """Fail a run that had to have browser tests; let one pass that left out all it was asked for."""
        if self._lack and required():
            session.exitstatus = pytest.ExitCode.TESTS_FAILED
        elif self._lack and session.exitstatus == pytest.ExitCode.NO_TESTS_COLLECTED:
            session.exitstatus = pytest.ExitCode.OK

    @pytest.hookimpl(trylast=True)
    def pytest_terminal_summary(self, terminalreporter: pytest.TerminalReporter) -> None:
        """Say in one line at the end that browser tests were left out, and why."""
        if lack := self._lack:
            word = "FAILED (REQUIRE_BROWSER=1)" if required() else "LEFT OUT"
            terminalreporter.write_line(f"{word}: tests in a browser: {lack}", red=required(), yellow=not required())


def pytest_configure(config: pytest.Config) -> None:
    """Watch over the run; under xdist only in the process that hears of all tests."""
    if not hasattr(config, "workerinput"):
        config.pluginmanager.register(Gate(config), "browser-gate")


def _paths(config: pytest.Config) -> list[Path]:
    return [(config.invocation_params.dir / argument.partition("::")[0]).resolve() for argument in config.args]

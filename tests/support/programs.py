"""Programs that some tests need and that not every machine has: promtool and pgbouncer (.ci/tools brings them)."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
SCRIPT = ROOT / ".ci" / "tools"
SH = shutil.which("sh") or "/bin/sh"


def program(name: str) -> str:
    """The path of a program. Without it the test that asks is skipped; with REQUIRE_TOOLS=1 it fails."""
    if path := _script("find", name):
        return path
    lack = f"no {name} was found; to have it: {_script('how')}"
    if os.environ.get("REQUIRE_TOOLS", "") not in {"", "0"}:
        pytest.fail(f"REQUIRE_TOOLS=1: {lack}", pytrace=False)
    pytest.skip(lack)


def _script(*words: str) -> str:
    done = subprocess.run([SH, str(SCRIPT), *words], cwd=ROOT, capture_output=True, text=True, timeout=30, check=False)
    return done.stdout.strip()

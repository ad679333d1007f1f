"""Fixtures of all tests: a real PostgreSQL for each, never the developer's own settings."""

from __future__ import annotations

import gc
import os

import pytest

pytest_plugins = ["tests.support.postgres", "tests.support.browser_gate"]

# Tests say what they need: a developer's environment must not leak into them.
for name in list(os.environ):
    if name.startswith(("GITHUB_", "STEPGATE_", "PG")) or name in {"DATABASE_URL", "PORT", "PUBLIC_URL"}:
        del os.environ[name]


def pytest_collection_finish(session: pytest.Session) -> None:
    """Keep the thousands of collected tests out of each garbage collection."""
    gc.collect()
    gc.freeze()

"""Fixtures of all tests: a real PostgreSQL for each, never the developer's own settings."""

from __future__ import annotations

import contextlib
import gc
import os

import pytest
from _pytest.pathlib import import_path

pytest_plugins = ["tests.support.postgres", "tests.support.browser_gate"]

# Tests say what they need: a developer's environment must not leak into them.
for name in list(os.environ):
    if name.startswith(("GITHUB_", "STEPGATE_", "PG")) or name in {"DATABASE_URL", "PORT", "PUBLIC_URL"}:
        del os.environ[name]


@pytest.hookimpl(tryfirst=True)
def pytest_collection(session: pytest.Session) -> None:
    """Let each of pytest-xdist's workers begin with other modules than the rest.

    All import all of them, in one order: in a fresh clone each would compile all, at the same time as the others. What
    one has compiled the others only read. A module that cannot be imported is reported when it is collected.
    """
    worker = getattr(session.config, "workerinput", None)
    if worker is None:
        return
    root = session.config.rootpath
    folders = [path for path in (root / word for word in session.config.args) if path.is_dir()]
    modules = sorted(path for folder in folders for path in folder.rglob("test_*.py") if path.parent.name != "browser")
    for module in modules[int(worker["workerid"].removeprefix("gw")) :: worker["workercount"]]:
        with contextlib.suppress(Exception, pytest.skip.Exception):
            import_path(module, mode="importlib", root=root, consider_namespace_packages=False)


def pytest_collection_finish(session: pytest.Session) -> None:
    """Keep the thousands of collected tests out of each garbage collection."""
    gc.collect()
    gc.freeze()

"""Marks the tests of rules/, which run by themselves, with coverage."""

from __future__ import annotations

from pathlib import Path

import pytest

HERE = Path(__file__).parent


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark what stands below this folder (the hook is given all tests)."""
    for item in items:
        if HERE in item.path.parents:
            item.add_marker("rules")

"""A plugin: homes with real data for the tests of the embedded PostgreSQL."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from storage import embedded_place
from storage.embedded import running
from tests.support.embedded_server import open_folder, query


@pytest.fixture
def folder(monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A folder that root's server may enter; what root cannot keep at home goes there too."""
    with open_folder() as path:
        monkeypatch.setattr(embedded_place, "ROOT_STATE", (path / "state",))
        yield path


@pytest.fixture(scope="session")
def homes() -> Iterator[dict[int, Path]]:
    """One home per major version with a table, stopped; tests that use it leave both as they were."""
    with open_folder() as path:
        for major in (16, 18):
            with running(path / str(major), major=major) as server:
                query(server.dsn, "CREATE TABLE kept AS SELECT 1 AS number")
        yield {major: path / str(major) for major in (16, 18)}


@pytest.fixture
def home(homes: dict[int, Path]) -> Path:
    """The home with PostgreSQL 18."""
    return homes[18]

"""A pool on a fresh database, and an empty database, for tests of storage."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from uuid import uuid4

import asyncpg
import pytest

from storage.database import Pool, open_pool
from tests.support.postgres import database_dsn


@pytest.fixture
async def pool(fresh_database: str) -> AsyncIterator[Pool]:
    """A pool on a migrated database of this test's own."""
    opened = await open_pool(fresh_database, min_size=1, max_size=8)
    try:
        yield opened
    finally:
        await asyncio.wait_for(opened.close(), 10)


@pytest.fixture
async def empty_database(postgres_dsn: str) -> AsyncIterator[str]:
    """Address of a database without any schema."""
    name = f"test_{uuid4().hex}"
    link = await asyncpg.connect(postgres_dsn)
    try:
        await link.execute(f"CREATE DATABASE {name}")
        yield database_dsn(postgres_dsn, name)
        await link.execute(f"DROP DATABASE {name} WITH (FORCE)")
    finally:
        await link.close()

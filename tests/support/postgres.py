"""Databases for tests: `postgres_dsn` (one server per run), `fresh_database` (a migrated database per test),
`module_database` (one for all tests of a file).

Use it as a plugin: `pytest_plugins = ["tests.support.postgres"]`. TEST_DATABASE_URL names a server to use instead of
the embedded one; its role must be allowed to create databases. Workers of pytest-xdist share one embedded server.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import os
import shutil
import tempfile
from collections.abc import Coroutine, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import urlsplit, urlunsplit
from uuid import uuid4

import asyncpg
import pytest

from storage import embedded

T = TypeVar("T")
#: Where this run keeps its server; xdist's workers inherit it from the process that starts them.
RUN_FOLDER = "TEST_RUN_FOLDER"
#: Tests may lose their data in a crash, but not their time.
SETTINGS = {
    "fsync": "off",
    "synchronous_commit": "off",
    "full_page_writes": "off",
    "autovacuum": "off",
    "max_wal_size": "256MB",
}
#: In memory, a copy of the template takes 20 ms; on some disks 400 ms, because a database is 300 files.
MEMORY, MEMORY_BYTES = Path("/dev/shm"), 1 << 30
#: Key of the advisory lock under which workers make the template; any constant will do.
TEMPLATE_LOCK = 7_318_204_115


def pytest_configure(config: pytest.Config) -> None:
    """Choose the folder of the run: root's unprivileged server may enter it, while pytest's own folders are private."""
    if not hasattr(config, "workerinput"):
        memory = MEMORY if os.access(MEMORY, os.W_OK) and shutil.disk_usage(MEMORY).free >= MEMORY_BYTES else None
        folder = tempfile.mkdtemp(prefix="stepgate-tests-", dir=memory)
        Path(folder).chmod(0o711)
        os.environ[RUN_FOLDER] = folder


def pytest_unconfigure(config: pytest.Config) -> None:
    """Remove the folder of the run; end a server that a killed worker left behind."""
    if not hasattr(config, "workerinput") and (name := os.environ.pop(RUN_FOLDER, "")):
        folder = Path(name)
        if any(folder.glob("*/data/postmaster.pid")):
            with contextlib.suppress(embedded.EmbeddedError), embedded.running(folder):
                pass
        shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture(scope="session")
def postgres_dsn() -> Iterator[str]:
    """Address of a server whose role may create databases."""
    if dsn := os.environ.get("TEST_DATABASE_URL"):
        with _caretaker(dsn):
            yield dsn
        return
    with embedded.running(Path(os.environ[RUN_FOLDER]), settings=SETTINGS) as server, _caretaker(server.dsn):
        yield server.dsn


@pytest.fixture(scope="session")
def template_database(postgres_dsn: str) -> str:
    """Name of a migrated database to copy; made by the first worker, and again when the schema's files change."""
    storage = Path(embedded.__file__).parent
    parts = [storage / "migrate.py", *sorted(storage.glob("migrations/**/*.sql"))]
    version = hashlib.sha256(b"\0".join(part.read_bytes() for part in parts)).hexdigest()[:16]
    return _finish(_make_template(postgres_dsn, f"template_stepgate_{version}"))


@pytest.fixture
def fresh_database(postgres_dsn: str, template_database: str) -> Iterator[str]:
    """Address of an empty, migrated database that is dropped after the test."""
    with new_database(postgres_dsn, template_database) as dsn:
        yield dsn


@pytest.fixture(scope="module")
def module_database(postgres_dsn: str, template_database: str) -> Iterator[str]:
    """Address of an empty, migrated database for all tests of a file; its line, if it has one, runs on it."""
    with new_database(postgres_dsn, template_database) as dsn:
        yield dsn


@contextlib.contextmanager
def new_database(postgres_dsn: str, template_database: str) -> Iterator[str]:
    """Address of an empty, migrated database that is dropped at the end, for fixtures of any scope."""
    name, caretaker = f"test_{uuid4().hex}", _caretakers[postgres_dsn]
    caretaker.copy(name, template_database)
    try:
        yield database_dsn(postgres_dsn, name)
    finally:
        caretaker.drop(name)


def database_dsn(dsn: str, name: str) -> str:
    """The address of another database of the same server."""
    return urlunsplit(urlsplit(dsn)._replace(path=f"/{name}"))


class _Caretaker:
    """Makes and drops databases over one connection, in a thread and loop of its own: tests have loops of theirs."""

    def __init__(self, dsn: str) -> None:
        self._dsn = dsn
        self._thread = ThreadPoolExecutor(1)
        self._runner = asyncio.Runner()
        self._link: asyncpg.Connection[asyncpg.Record] | None = None

    def copy(self, name: str, template: str) -> None:
        """Copy a database file by file: a third of the time that PostgreSQL 15 and later take by their default."""
        self._finish(self._copy(name, template))

    def drop(self, name: str) -> None:
        """Drop a database, whoever is connected to it."""
        self._finish(self._execute(f"DROP DATABASE {name} WITH (FORCE)"))

    def close(self) -> None:
        """Hang up."""
        self._finish(self._hang_up())
        self._thread.submit(self._runner.close).result()
        self._thread.shutdown()

    def _finish(self, work: Coroutine[Any, Any, None]) -> None:
        self._thread.submit(self._runner.run, work).result()

    async def _connected(self) -> asyncpg.Connection[asyncpg.Record]:
        if self._link is None or self._link.is_closed():
            self._link = await asyncpg.connect(self._dsn)
        return self._link

    async def _copy(self, name: str, template: str) -> None:
        link = await self._connected()
        how = " STRATEGY file_copy" if link.get_server_version().major >= 15 else ""  # before, there is no other way
        await link.execute(f"CREATE DATABASE {name} TEMPLATE {template}{how}")

    async def _execute(self, statement: str) -> None:
        await (await self._connected()).execute(statement)

    async def _hang_up(self) -> None:
        if self._link is not None:
            await self._link.close()


#: By the address of their server.
_caretakers: dict[str, _Caretaker] = {}


@contextlib.contextmanager
def _caretaker(dsn: str) -> Iterator[None]:
    """Somebody makes and drops databases of this server, for the time of the block."""
    _caretakers[dsn] = _Caretaker(dsn)
    try:
        yield
    finally:
        _caretakers.pop(dsn).close()


async def _make_template(dsn: str, name: str) -> str:
    """Create and migrate the template once; it gets its name when it is complete."""
    from storage.migrate import migrate

    link = await asyncpg.connect(dsn)
    try:
        await link.execute("SELECT pg_advisory_lock($1)", TEMPLATE_LOCK)
        if not await link.fetchval("SELECT true FROM pg_database WHERE datname = $1", name):
            await link.execute(f"DROP DATABASE IF EXISTS {name}_new WITH (FORCE)")
            await link.execute(f"CREATE DATABASE {name}_new")
            await migrate(database_dsn(dsn, f"{name}_new"))
            await link.execute(f"ALTER DATABASE {name}_new RENAME TO {name}")
    finally:
        await link.close()  # and with it the lock
    return name


def _finish(work: Coroutine[Any, Any, T]) -> T:
    """Run a coroutine to its end from a fixture, whatever event loop the test itself uses."""
    with ThreadPoolExecutor(1) as thread:
        return thread.submit(asyncio.run, work).result()

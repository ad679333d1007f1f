"""The connection pool: codecs, time-outs, and what a failure means.

PostgreSQL 14 or newer. Every public function of storage takes the pool and costs one round trip.
"""

from __future__ import annotations

import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta
from typing import TYPE_CHECKING, Any
from uuid import UUID

import asyncpg
import orjson

from storage import migrate
from storage.errors import StorageError

if TYPE_CHECKING:
    Pool = asyncpg.Pool[asyncpg.Record]
    _Connection = asyncpg.Connection[asyncpg.Record]
else:  # asyncpg's classes take no parameters at run time
    Pool = asyncpg.Pool
    _Connection = asyncpg.Connection

#: Longest time that one statement may run and wait for locks, and that a forgotten transaction may stay open.
STATEMENT_TIMEOUT = timedelta(seconds=15)
LOCK_TIMEOUT = timedelta(seconds=5)
IDLE_TRANSACTION_TIMEOUT = timedelta(seconds=10)

SESSION_SETTINGS = {
    "application_name": "stepgate",
    "timezone": "UTC",
    "jit": "off",  # compiling costs more than any of our statements
    # Our statements find rows by their keys, whatever the values: planning one anew for each call costs more than most
    # calls (measured: 1.1 ms of the 1.3 ms of reading the state of judging).
    "plan_cache_mode": "force_generic_plan",
    "statement_timeout": str(int(STATEMENT_TIMEOUT.total_seconds() * 1000)),
    "lock_timeout": str(int(LOCK_TIMEOUT.total_seconds() * 1000)),
    "idle_in_transaction_session_timeout": str(int(IDLE_TRANSACTION_TIMEOUT.total_seconds() * 1000)),
}

# Class 53: too many connections, disk full, out of memory; 57P01-57P03: shutting down, crashed, starting up;
# 25006: read-only, a standby after a failover (PostgreSQL docs, appendix A, "Error Codes").
_DOWN_STATES = ("08", "53", "57P01", "57P02", "57P03", "25006")
# 40: serialization failure and deadlock; 55P03: lock time-out; 57014: statement time-out.
_TRANSIENT_STATES = ("40", "55P03", "57014")

_UNSTORABLE = re.compile("[\x00\ud800-\udfff]")


class SchemaError(StorageError):
    """The database's schema does not fit this code. The operator's: one sentence that says what to do."""


class PooledConnection(_Connection):
    """A connection that leaves nothing behind, so that returning it to the pool costs no round trip."""

    def get_reset_query(self) -> str:
        """No query: nobody sets session state, takes session locks or listens on a pooled connection."""
        return ""


class _Pool(Pool):
    """A pool that caches can be attached to."""

    __slots__ = ("__weakref__",)


def storable(text: str) -> str:
    """`text` as PostgreSQL can store it: NUL and lone surrogates become U+FFFD."""
    return _UNSTORABLE.sub("\ufffd", text)


def _clean(value: Any) -> Any:
    if isinstance(value, str):
        return storable(value)
    if isinstance(value, dict):
        return {storable(str(key)): _clean(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_clean(item) for item in value]
    return value


def dump_json(value: Any) -> bytes:
    """`value` as JSON that the type jsonb takes; what it cannot hold (NUL, lone surrogates) becomes U+FFFD."""
    try:
        data = orjson.dumps(value)
    except TypeError:
        return orjson.dumps(_clean(value))
    return orjson.dumps(_clean(value)) if b"\\u0000" in data else data


async def _set_codecs(connection: _Connection) -> None:
    # The binary form of jsonb is a version byte, 1, and the text (PostgreSQL source, jsonb_recv).
    await connection.set_type_codec(
        "jsonb",
        schema="pg_catalog",
        encoder=lambda value: b"\x01" + dump_json(value),
        decoder=lambda data: orjson.loads(data[1:]),
        format="binary",
    )
    # asyncpg's own UUID is a subclass that JSON encoders do not know.
    await connection.set_type_codec(
        "uuid",
        schema="pg_catalog",
        encoder=lambda value: value.bytes,
        decoder=lambda data: UUID(bytes=bytes(data)),
        format="binary",
    )


async def open_pool(dsn: str, *, min_size: int = 1, max_size: int = 10) -> Pool:
    """Open a pool of `min_size` to `max_size` connections; jsonb values are Python values, uuids are `uuid.UUID`.

    Raises what `is_down` recognises when the server cannot be reached. Close it with `await pool.close()`.
    """
    return await _Pool(
        dsn,
        connection_class=PooledConnection,
        record_class=asyncpg.Record,
        min_size=min_size,
        max_size=max_size,
        max_queries=50_000,
        max_inactive_connection_lifetime=300,
        connect=None,
        setup=None,
        init=_set_codecs,
        reset=None,
        loop=None,
        server_settings=SESSION_SETTINGS,
        timeout=10,
        # The server gives up first; this is for a server that does not answer at all.
        command_timeout=STATEMENT_TIMEOUT.total_seconds() + 5,
    )


@asynccontextmanager
async def session_connection(dsn: str) -> AsyncIterator[_Connection]:
    """A connection of its own, outside of any pool, closed at the end: for what needs a session (PgQueuer)."""
    connection = await asyncpg.connect(dsn, timeout=10, server_settings={"application_name": "stepgate schedules"})
    try:
        yield connection
    finally:
        connection.terminate()


async def check_schema(pool: Pool) -> None:
    """Raise SchemaError when the database is older than this code, or newer and says that this code is too old for it.

    A newer one is what a running release sees while its successor is being rolled out (storage/migrate.py). Also raises
    it for a pooler that gives each transaction another connection.
    """
    await _refuse_transaction_pooling(pool)
    fit = migrate.compare(migrate.available(), await migrate.read_applied(pool))
    if fit.too_old:
        raise SchemaError(fit.too_old)
    if fit.missing:
        raise SchemaError(f"the database lacks migration {fit.missing[0]:04d}: run `python app.py migrate`")


async def _refuse_transaction_pooling(pool: Pool) -> None:
    """Prepared statements and LISTEN need a connection that stays the same (PgBouncer docs, "Features").

    Behind a pooler another process answers than the one that was connected to; behind one that gives each transaction
    another connection, ours is given away as soon as it is idle.
    """
    async with pool.acquire() as connection:
        process = await connection.fetchval("SELECT pg_backend_pid()")
        if process == connection.get_server_pid() or pool.get_max_size() < 2:
            return
        async with pool.acquire() as other:
            try:
                async with other.transaction():
                    await other.execute("SELECT 1")
                    stays = await connection.fetchval("SELECT pg_backend_pid()") == process
            except (asyncpg.InvalidSQLStatementNameError, asyncpg.DuplicatePreparedStatementError):
                stays = False
    if not stays:
        raise SchemaError(
            "DATABASE_URL leads to a pooler that gives each transaction another connection (PgBouncer with pool_mode "
            "transaction): name the database itself, or a pool of pool_mode session"
        )


def _has_state(error: asyncpg.PostgresError, states: tuple[str, ...]) -> bool:
    return (getattr(error, "sqlstate", None) or "").startswith(states)


def is_down(error: BaseException) -> bool:
    """Whether the database cannot be used now: unreachable, starting, read-only, full, out of connections."""
    if isinstance(error, asyncpg.PostgresError):
        return _has_state(error, _DOWN_STATES)
    if isinstance(error, asyncpg.InterfaceError):  # also misuse of the driver, which is our fault and stays one
        return "clos" in str(error)  # "connection is closed", "pool is closing"
    if isinstance(error, asyncpg.InternalClientError):  # used between the server's last word and its hanging up
        return "cannot switch to state" in str(error)
    return isinstance(error, OSError)  # refused, reset, and TimeoutError


def is_transient(error: BaseException) -> bool:
    """Whether the same statement may succeed when it is tried again: deadlock, time-out, or the database is down."""
    if isinstance(error, asyncpg.PostgresError) and _has_state(error, _TRANSIENT_STATES):
        return True
    return is_down(error)

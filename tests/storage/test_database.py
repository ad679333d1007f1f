"""The pool: codecs, time-outs, and what a failure means."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from uuid import UUID, uuid4

import asyncpg
import pytest

from storage.database import Pool, dump_json, is_down, is_transient, open_pool, session_connection, storable


@contextlib.contextmanager
def failing() -> Iterator[list[BaseException]]:
    """Collect the error of the block, which must have one."""
    errors: list[BaseException] = []
    try:
        yield errors
    except Exception as error:
        errors.append(error)
    assert errors, "nothing failed"


async def test_json_and_uuids_are_pythons_own(pool: Pool) -> None:
    """jsonb comes back as it was given, uuids as uuid.UUID, also in arrays, times with a zone."""
    value = {"text": 'ä "\\" \u2028', "list": [1, 2.5, None, True], "none": None, "id": str(uuid4())}
    ident = uuid4()
    row = await pool.fetchrow("SELECT $1::jsonb, $2::uuid, $3::uuid[], now(), NULL::jsonb", value, ident, [ident])
    assert row is not None
    assert (row[0], row[1], row[2], row[4]) == (value, ident, [ident], None)
    assert type(row[1]) is type(row[2][0]) is UUID
    assert row[3].tzinfo is not None
    assert abs((row[3] - datetime.now(UTC)).total_seconds()) < 60


@pytest.mark.parametrize("text", ["a\x00b", "\ud800", "\\u0000", "\\\x00", "\x00\x00", "\udfff\ud800"])
async def test_any_text_can_be_stored(pool: Pool, text: str) -> None:
    """What PostgreSQL cannot hold becomes U+FFFD, as text and within jsonb; all else stays."""
    expected = "".join("\ufffd" if char == "\x00" or 0xD800 <= ord(char) < 0xE000 else char for char in text)
    assert storable(text) == expected
    value = {"k": [text, {"x" + text: text}], "t": (text,)}
    row = await pool.fetchrow("SELECT $1::jsonb, $2::text", value, storable(text))
    assert row is not None
    assert row[0] == {"k": [expected, {"x" + expected: expected}], "t": [expected]}
    assert row[1] == expected


def test_clean_json_is_not_rebuilt() -> None:
    """Values without such characters are encoded as they are; what is no JSON is an error."""
    assert dump_json({"a": ["\\u0000 is text", 1]}) == b'{"a":["\\\\u0000 is text",1]}'
    with pytest.raises(TypeError):
        dump_json({"a": object()})


async def test_returning_a_connection_costs_nothing(pool: Pool) -> None:
    """A connection goes back without a query that resets it."""
    async with pool.acquire() as connection:
        assert connection.get_reset_query() == ""


async def test_sessions_have_time_outs(pool: Pool) -> None:
    """No statement, lock or forgotten transaction lasts for ever; times are in UTC."""
    for name, expected in (
        ("statement_timeout", "15s"),
        ("lock_timeout", "5s"),
        ("idle_in_transaction_session_timeout", "10s"),
        ("timezone", "UTC"),
        ("jit", "off"),
    ):
        assert await pool.fetchval("SELECT current_setting($1)", name) == expected


class TestIsDown:
    """The database cannot be used now."""

    async def test_nobody_listens(self, tmp_path: Path) -> None:
        """A server that is not there is down, whether by socket or by network."""
        for dsn in (f"postgresql://x@/x?host={tmp_path}", "postgresql://x@127.0.0.1:1/x"):
            with failing() as errors:
                await open_pool(dsn)
            assert is_down(errors[0])
            assert is_transient(errors[0])

    async def test_a_cut_connection(self, pool: Pool, fresh_database: str) -> None:
        """A statement whose connection is ended is down; the next one has a new connection."""
        link = await asyncpg.connect(fresh_database)
        async with pool.acquire() as connection:
            pid = connection.get_server_pid()
            work = asyncio.create_task(connection.execute("SELECT pg_sleep(5)"))
            await asyncio.sleep(0.05)
            await link.execute("SELECT pg_terminate_backend($1)", pid)
            with failing() as errors:
                await work
        await link.close()
        assert is_down(errors[0])
        assert await pool.fetchval("SELECT 1") == 1

    async def test_a_closed_pool(self, pool: Pool) -> None:
        """A pool that is closing takes no more work."""
        await pool.close()
        with failing() as errors:
            await pool.fetchval("SELECT 1")
        assert is_down(errors[0])

    async def test_a_read_only_standby(self, pool: Pool) -> None:
        """After a failover to a server that takes no writes, it is down for us."""
        async with pool.acquire() as connection, connection.transaction(readonly=True):
            with failing() as errors:
                await connection.execute("CREATE TABLE x ()")
        assert is_down(errors[0])

    async def test_too_many_connections(self, pool: Pool, fresh_database: str) -> None:
        """A server without a free connection is down."""
        name = await pool.fetchval("SELECT current_database()")
        await pool.execute("CREATE ROLE only_one LOGIN CONNECTION LIMIT 0")
        try:
            with failing() as errors:
                await asyncpg.connect(fresh_database, user="only_one")
        finally:
            await pool.execute("DROP ROLE only_one")
        assert name
        assert is_down(errors[0])

    @pytest.mark.parametrize(
        ("query", "value"), [("SELECT 1/0", None), ("SELECT nothing", None), ("SELECT $1::int", "x"), ("SELECT 1", 2)]
    )
    async def test_our_own_mistakes_are_not_the_databases(self, pool: Pool, query: str, value: object) -> None:
        """Wrong statements and values are neither down nor transient: trying again changes nothing."""
        with failing() as errors:
            await pool.fetchval(query, *([] if value is None else [value]))
        assert not is_down(errors[0])
        assert not is_transient(errors[0])
        assert not is_down(ValueError("ours"))


class TestIsTransient:
    """The same statement may succeed later."""

    async def test_deadlock(self, pool: Pool) -> None:
        """Of two transactions that wait for each other, the victim may try again."""
        await pool.execute("CREATE TABLE t (n int PRIMARY KEY); INSERT INTO t VALUES (1), (2)")

        async def lock(first: int, second: int) -> None:
            async with pool.acquire() as connection, connection.transaction():
                await connection.execute("SET LOCAL deadlock_timeout = '50ms'")
                await connection.execute("SELECT FROM t WHERE n = $1 FOR UPDATE", first)
                await asyncio.sleep(0.1)
                await connection.execute("SELECT FROM t WHERE n = $1 FOR UPDATE", second)

        results = await asyncio.gather(lock(1, 2), lock(2, 1), return_exceptions=True)
        (error,) = (result for result in results if result is not None)
        assert isinstance(error, asyncpg.DeadlockDetectedError)
        assert is_transient(error)
        assert not is_down(error)

    @pytest.mark.parametrize("setting", ["lock_timeout", "statement_timeout"])
    async def test_time_outs(self, pool: Pool, setting: str) -> None:
        """A statement that waited too long may try again."""
        await pool.execute("CREATE TABLE t (n int)")
        async with pool.acquire() as holder, holder.transaction():
            await holder.execute("LOCK TABLE t")
            async with pool.acquire() as connection, connection.transaction():
                await connection.execute(f"SET LOCAL {setting} = '50ms'")
                with failing() as errors:
                    await connection.execute("SELECT FROM t")
        assert is_transient(errors[0])
        assert not is_down(errors[0])

    async def test_serialization(self, pool: Pool) -> None:
        """A transaction whose snapshot was overtaken may try again."""
        await pool.execute("CREATE TABLE t (n int); INSERT INTO t VALUES (1)")
        async with pool.acquire() as connection:
            with failing() as errors:
                async with connection.transaction(isolation="repeatable_read"):
                    await connection.fetch("SELECT * FROM t")
                    await pool.execute("UPDATE t SET n = 2")
                    await connection.execute("UPDATE t SET n = 3")
        assert is_transient(errors[0])


async def test_a_session_of_its_own_is_closed_after_use(pool: Pool, fresh_database: str) -> None:
    """Outside of the pool there is one connection within the block, and none after it."""
    count = "SELECT count(*) FROM pg_stat_activity WHERE pid = $1"
    async with session_connection(fresh_database) as connection:
        pid = connection.get_server_pid()
        assert await pool.fetchval(count, pid) == 1
    async with asyncio.timeout(5):
        while await pool.fetchval(count, pid):
            await asyncio.sleep(0.02)

"""What a database tells a doctor, without being changed."""

from __future__ import annotations

import asyncpg
import pytest

from storage import health
from storage.database import is_down
from storage.migrate import available


async def test_a_current_database_is_readable(fresh_database: str) -> None:
    """A migrated database has a version that is new enough, and nothing missing, ahead or edited."""
    facts = await health.inspect(fresh_database)

    assert facts.version >= health.OLDEST
    assert (facts.fit.missing, facts.fit.ahead, facts.fit.edited, facts.fit.too_old) == ((), (), (), None)
    assert facts.readable


async def test_missing_foreign_and_edited_migrations_are_told_apart(fresh_database: str) -> None:
    """Each way in which a schema can differ from the code's is named by its numbers."""
    connection = await asyncpg.connect(fresh_database)
    last = available()[-1].number
    await connection.execute("DELETE FROM schema_migration WHERE number = $1", last)
    await connection.execute("UPDATE schema_migration SET sha256 = 'x' WHERE number = 2")
    await connection.execute("INSERT INTO schema_migration (number, name, sha256) VALUES (9001, 'later', 'y')")
    await connection.close()

    facts = await health.inspect(fresh_database)

    assert (facts.fit.missing, facts.fit.ahead, facts.fit.edited) == ((last,), (9001,), (2,))
    assert not facts.readable


async def test_a_newer_database_is_readable_unless_it_says_otherwise(fresh_database: str) -> None:
    """Migrations that this code does not know do not matter; that one of them is needed does."""
    connection = await asyncpg.connect(fresh_database)
    try:
        await connection.execute(
            "INSERT INTO schema_migration (number, name, sha256) VALUES (9001, 'a', 'y'), (9002, 'b', 'z')"
        )
        assert (await health.inspect(fresh_database)).readable
        await connection.execute("UPDATE schema_migration SET needs = 9001 WHERE number = 9002")
        facts = await health.inspect(fresh_database)
    finally:
        await connection.close()

    assert not facts.readable
    assert "has migration 9001" in str(facts.fit.too_old)


async def test_an_empty_database_lacks_all(fresh_database: str) -> None:
    """A database that was never migrated lacks every migration, and stays as it is."""
    connection = await asyncpg.connect(fresh_database)
    await connection.execute("DROP TABLE schema_migration")

    facts = await health.inspect(fresh_database)

    assert facts.fit.missing == tuple(migration.number for migration in available())
    assert await connection.fetchval("SELECT to_regclass('schema_migration')") is None
    await connection.close()


async def test_a_database_that_is_away_is_told_as_such() -> None:
    """The error is one that callers recognise."""
    with pytest.raises(OSError, match="Connect") as caught:
        await health.inspect("postgresql://127.0.0.1:9/none")

    assert is_down(caught.value)

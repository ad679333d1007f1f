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
    assert (facts.missing, facts.ahead, facts.edited) == ((), (), ())
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

    assert (facts.missing, facts.ahead, facts.edited) == ((last,), (9001,), (2,))
    assert not facts.readable


async def test_an_empty_database_lacks_all(fresh_database: str) -> None:
    """A database that was never migrated lacks every migration, and stays as it is."""
    connection = await asyncpg.connect(fresh_database)
    await connection.execute("DROP TABLE schema_migration")

    facts = await health.inspect(fresh_database)

    assert facts.missing == tuple(migration.number for migration in available())
    assert await connection.fetchval("SELECT to_regclass('schema_migration')") is None
    await connection.close()


async def test_a_database_that_is_away_is_told_as_such() -> None:
    """The error is one that callers recognise."""
    with pytest.raises(OSError, match="Connect") as caught:
        await health.inspect("postgresql://127.0.0.1:9/none")

    assert is_down(caught.value)

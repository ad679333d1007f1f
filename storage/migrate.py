"""Numbered migrations, each applied once, in order, in one transaction.

The lock is one of the transaction (not of the session), so that several starters and PgBouncer are no problem; what was
applied is read again after the lock was got.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import asyncpg

from storage.errors import StorageError

FOLDER = Path(__file__).parent / "migrations"
LOCK = 0x5354_4550_4741_5445  # "STEPGATE": the key of the advisory lock
_FILE_NAME = re.compile(r"(\d{4})_([a-z0-9_]+)\.sql")

_TABLE = """
CREATE TABLE schema_migration (
    number     integer PRIMARY KEY,
    name       text NOT NULL,
    sha256     text NOT NULL,
    applied_at timestamptz NOT NULL DEFAULT now()
)"""


class MigrationError(StorageError):
    """The migrations do not fit what was applied to the database. One sentence that says what to do."""


@dataclass(frozen=True, slots=True)
class Migration:
    """One file: NNNN_name.sql. `sha256`: of its bytes, so that an edit after the fact is noticed."""

    number: int
    name: str
    sql: str
    sha256: str


def available(folder: Path = FOLDER) -> tuple[Migration, ...]:
    """The migrations of this code, by number. Raises MigrationError for a file that is not named NNNN_name.sql."""
    found = {}
    for path in sorted(folder.glob("*.sql")):
        match = _FILE_NAME.fullmatch(path.name)
        if match is None or int(match[1]) in found:
            raise MigrationError(f"{path.name}: a migration is named NNNN_name.sql, with a number of its own")
        data = path.read_bytes()
        found[int(match[1])] = Migration(int(match[1]), match[2], data.decode(), hashlib.sha256(data).hexdigest())
    return tuple(found[number] for number in sorted(found))


def pending(migrations: Sequence[Migration], applied: Mapping[int, str]) -> tuple[Migration, ...]:
    """What is left to apply, given the sha256 of what was, by number.

    Raises MigrationError when the database is newer than the code, when an applied migration was edited, and when one
    is missing below an applied one.
    """
    known = {migration.number: migration for migration in migrations}
    for number in sorted(applied):
        if number not in known:
            raise MigrationError(
                f"the database has migration {number:04d}, which this program does not know: start a newer release"
            )
        if known[number].sha256 != applied[number]:
            raise MigrationError(
                f"migration {number:04d}_{known[number].name} was edited after it was applied: restore the file and "
                "put the change into a new migration"
            )
    left = tuple(migration for migration in migrations if migration.number not in applied)
    if left and applied and left[0].number < max(applied):
        raise MigrationError(
            f"migration {left[0].number:04d}_{left[0].name} comes before {max(applied):04d}, which was applied "
            "already: give it the next free number"
        )
    return left


async def migrate(dsn: str, *, folder: Path = FOLDER) -> list[str]:
    """Bring the database's schema up to this code; returns the names of what was applied, in order.

    Any number of processes may do so at once. Raises MigrationError (see `pending`), and PostgreSQL's error when a
    migration fails: then that one is rolled back as a whole and the earlier ones stay.
    """
    migrations = available(folder)
    connection = await asyncpg.connect(dsn, timeout=10, server_settings={"application_name": "stepgate migrate"})
    try:
        done = []
        while (applied := await _apply_next(connection, migrations)) is not None:
            done.append(applied)
        return done
    finally:
        await connection.close()


async def _apply_next(connection: asyncpg.Connection[asyncpg.Record], migrations: Sequence[Migration]) -> str | None:
    async with connection.transaction():
        await connection.execute("SELECT pg_advisory_xact_lock($1)", LOCK)
        if await connection.fetchval("SELECT to_regclass('schema_migration') IS NULL"):
            await connection.execute(_TABLE)
        rows = await connection.fetch("SELECT number, sha256 FROM schema_migration")
        left = pending(migrations, {int(row["number"]): str(row["sha256"]) for row in rows})
        if not left:
            return None
        await connection.execute(left[0].sql)
        await connection.execute(
            "INSERT INTO schema_migration (number, name, sha256) VALUES ($1, $2, $3)",
            left[0].number,
            left[0].name,
            left[0].sha256,
        )
        return f"{left[0].number:04d}_{left[0].name}"

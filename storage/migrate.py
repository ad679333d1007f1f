"""Numbered migrations, each applied once, in order, in one transaction.

The lock is one of the transaction (not of the session), so that several starters and PgBouncer are no problem; what was
applied is read again after the lock was got.

While a release is rolled out, programs of the one before run on a database that is ahead of them, by any number of
migrations. They cannot read what those do; the database tells them. A migration has one line that says which programs
work beside it: "-- needs: NNNN", those that have migration NNNN. The highest such number counts. With

    -- needs: 0000    every older program works beside it: it adds what they do not look at
    -- needs: 0041    it takes away what programs before 0041 use (in 0041 itself: no older program works beside it)

an older program goes on, starts and stops as ever, or says in one sentence that it is too old.
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
_NEEDS = re.compile(r"^-- needs:(.*)$", re.MULTILINE)

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
    """One file: NNNN_name.sql. `sha256`: of its bytes, so that an edit after the fact is noticed.

    `needs`: programs without the migration of this number do not work beside it; 0: all do.
    """

    number: int
    name: str
    sql: str
    sha256: str
    needs: int


@dataclass(frozen=True, slots=True)
class Applied:
    """What a database knows of a migration: the digest of its file, and what it needs (see Migration)."""

    sha256: str
    needs: int


@dataclass(frozen=True, slots=True)
class Fit:
    """How a database and a program's migrations fit together, by numbers of migrations.

    `missing`: the database lacks it; `ahead`: the program does not know it; `edited`: its file is not what was applied;
    `needed`: the newest that a program must know to work on this database, 0: none; `newest`: the program's last.
    """

    missing: tuple[int, ...]
    ahead: tuple[int, ...]
    edited: tuple[int, ...]
    needed: int
    newest: int

    @property
    def too_old(self) -> str | None:
        """One sentence when the program must not work on this database, which is newer; None: it may."""
        if self.needed <= self.newest:
            return None
        return (
            f"this program is too old for the database, which needs one that has migration {self.needed:04d} (this one "
            f"ends with {self.newest:04d}): start the newer release"
        )


def compare(migrations: Sequence[Migration], applied: Mapping[int, Applied]) -> Fit:
    """How a program with these migrations fits to a database that has `applied`, by number."""
    ours = {migration.number: migration.sha256 for migration in migrations}
    return Fit(
        missing=tuple(sorted(ours.keys() - applied.keys())),
        ahead=tuple(sorted(applied.keys() - ours.keys())),
        edited=tuple(
            sorted(number for number in ours.keys() & applied.keys() if ours[number] != applied[number].sha256)
        ),
        needed=max((each.needs for each in applied.values()), default=0),
        newest=max(ours, default=0),
    )


def available(folder: Path = FOLDER) -> tuple[Migration, ...]:
    """The migrations of this code, by number.

    Raises MigrationError for a file that is not named NNNN_name.sql, and for one that says badly what it needs.
    """
    found = {}
    for path in sorted(folder.glob("*.sql")):
        match = _FILE_NAME.fullmatch(path.name)
        if match is None or int(match[1]) in found:
            raise MigrationError(f"{path.name}: a migration is named NNNN_name.sql, with a number of its own")
        data = path.read_bytes()
        number, sql = int(match[1]), data.decode()
        needs = _needs(path.name, number, sql)
        found[number] = Migration(number, match[2], sql, hashlib.sha256(data).hexdigest(), needs)
    return tuple(found[number] for number in sorted(found))


def _needs(file: str, number: int, sql: str) -> int:
    """What the line "-- needs: NNNN" says; 0 without one, as in the first migrations, which all old programs bear."""
    said = [line.strip() for line in _NEEDS.findall(sql)]
    if not said:
        return 0
    if len(said) > 1 or re.fullmatch(r"\d{4}", said[0]) is None or int(said[0]) > number:
        raise MigrationError(
            f'{file}: one line says which programs work beside it, "-- needs: NNNN": those that have migration NNNN, '
            "which is this one or an earlier one, or 0000 for all"
        )
    return int(said[0])


def pending(migrations: Sequence[Migration], applied: Mapping[int, Applied]) -> tuple[Migration, ...]:
    """What is left to apply, given what was, by number; nothing if the database is newer and bears this program.

    Raises MigrationError when this program is too old for the database, when an applied migration was edited, when one
    is missing below an applied one, and when the database has one below ours that we do not know.
    """
    fit = compare(migrations, applied)
    known = {migration.number: migration for migration in migrations}
    if fit.edited:
        number = fit.edited[0]
        raise MigrationError(
            f"migration {number:04d}_{known[number].name} was edited after it was applied: restore the file and "
            "put the change into a new migration"
        )
    if fit.too_old:
        raise MigrationError(fit.too_old)
    if fit.missing and applied and fit.missing[0] < max(applied):
        number = fit.missing[0]
        raise MigrationError(
            f"migration {number:04d}_{known[number].name} comes before {max(applied):04d}, which was applied "
            "already: give it the next free number"
        )
    if fit.ahead and fit.ahead[0] < fit.newest:
        raise MigrationError(
            f"the database has migration {fit.ahead[0]:04d}, which this program does not know though it has later "
            "ones: start the release that made it"
        )
    return tuple(known[number] for number in fit.missing)


# Its column `needs` comes with migration 0030; whoever looks may be older or newer than that.
_READ = "SELECT number, sha256, coalesce((to_jsonb(m) ->> 'needs')::integer, 0) AS needs FROM schema_migration AS m"


async def read_applied(
    database: asyncpg.Connection[asyncpg.Record] | asyncpg.Pool[asyncpg.Record],
) -> dict[int, Applied]:
    """What the database says was applied, by number; nothing if it was never migrated."""
    try:
        rows = await database.fetch(_READ)
    except asyncpg.UndefinedTableError:
        return {}
    return {int(row["number"]): Applied(str(row["sha256"]), int(row["needs"])) for row in rows}


async def migrate(dsn: str, *, folder: Path = FOLDER) -> list[str]:
    """Bring the database's schema up to this code; returns the names of what was applied, in order.

    A newer database that bears this program is left as it is. Any number of processes may do so at once. Raises
    MigrationError (see `pending`), and PostgreSQL's error when a migration fails: then that one is rolled back as a
    whole and the earlier ones stay.
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
        left = pending(migrations, await read_applied(connection))
        if not left:
            return None
        await connection.execute(left[0].sql)
        await connection.execute(
            "INSERT INTO schema_migration (number, name, sha256) VALUES ($1, $2, $3)",
            left[0].number,
            left[0].name,
            left[0].sha256,
        )
        if left[0].needs:
            await connection.execute(
                "UPDATE schema_migration SET needs = $2 WHERE number = $1", left[0].number, left[0].needs
            )
        return f"{left[0].number:04d}_{left[0].name}"

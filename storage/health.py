"""What `doctor` asks of a database: its version, and how its schema stands to this code."""

from __future__ import annotations

from dataclasses import dataclass

import asyncpg

from storage import migrate

OLDEST = 14  # PostgreSQL's major version that is needed at least
_TIMEOUT = 10.0  # seconds


@dataclass(frozen=True, slots=True)
class DatabaseFacts:
    """A database that answers. `version`: PostgreSQL's major version.

    Numbers of migrations: `missing` of ours that the database lacks, `ahead` that this code does not know, `edited`
    whose file is not what was applied.
    """

    version: int
    missing: tuple[int, ...]
    ahead: tuple[int, ...]
    edited: tuple[int, ...]

    @property
    def readable(self) -> bool:
        """Whether this code understands the schema (one migration ahead is a release being deployed)."""
        return self.version >= OLDEST and not self.missing and not self.edited and len(self.ahead) <= 1


async def inspect(dsn: str) -> DatabaseFacts:
    """Look at a database without changing it. Raises what `storage.database.is_down` tells apart."""
    connection = await asyncpg.connect(
        dsn, timeout=_TIMEOUT, command_timeout=_TIMEOUT, server_settings={"application_name": "stepgate doctor"}
    )
    try:
        version = connection.get_server_version().major
        try:
            rows = await connection.fetch("SELECT number, sha256 FROM schema_migration")
        except asyncpg.UndefinedTableError:
            rows = []
    finally:
        await connection.close()
    applied = {int(row["number"]): str(row["sha256"]) for row in rows}
    ours = {migration.number: migration.sha256 for migration in migrate.available()}
    return DatabaseFacts(
        version=version,
        missing=tuple(sorted(ours.keys() - applied.keys())),
        ahead=tuple(sorted(applied.keys() - ours.keys())),
        edited=tuple(sorted(number for number in ours.keys() & applied.keys() if ours[number] != applied[number])),
    )

"""Migrations: once, in order, by any number of starters, over data that is there."""

from __future__ import annotations

import asyncio
import re
import shutil
import sys
from pathlib import Path

import asyncpg
import pytest
from pgqueuer.adapters.persistence.qb import QueryBuilderEnvironment

from settings import child_environment
from storage import migrate as migrations
from storage.database import SchemaError, check_schema, open_pool
from storage.migrate import FOLDER, MigrationError, available, migrate

ROOT = Path(__file__).parents[2]
SAMPLE_ROWS = Path(__file__).parent / "sample_rows"
NAMES = [f"{migration.number:04d}_{migration.name}" for migration in available()]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A copy of the migrations that a test may change."""
    copy = tmp_path / "migrations"
    shutil.copytree(FOLDER, copy)
    return copy


async def applied(dsn: str) -> list[int]:
    """Numbers of the migrations that the database knows."""
    link = await asyncpg.connect(dsn)
    try:
        return [row["number"] for row in await link.fetch("SELECT number FROM schema_migration ORDER BY number")]
    finally:
        await link.close()


async def test_everything_is_applied_once(empty_database: str) -> None:
    """The first start applies all migrations in order, the second nothing."""
    assert await migrate(empty_database) == NAMES
    assert await migrate(empty_database) == []
    assert await applied(empty_database) == [migration.number for migration in available()]


async def test_concurrent_starters(empty_database: str) -> None:
    """Of four starters at once each migration is applied by exactly one, and none fails."""
    done = await asyncio.gather(*(migrate(empty_database) for _ in range(4)))
    assert sorted(name for names in done for name in names) == NAMES


async def test_releases_that_start_at_once(empty_database: str, tmp_path: Path) -> None:
    """Three hosts run the command of a release at the same time: all succeed, each migration was applied by one."""
    command = (sys.executable, str(ROOT / "app.py"), "migrate")
    environment = child_environment(DATABASE_URL=empty_database, PYTHONPATH=str(ROOT))
    starters = [
        await asyncio.create_subprocess_exec(
            *command, cwd=tmp_path, env=environment, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT
        )
        for _ in range(3)
    ]
    said = [(await starter.communicate())[0].decode() for starter in starters]

    assert [starter.returncode for starter in starters] == [0, 0, 0], said
    assert all("The schema is up to date." in words for words in said)
    assert sorted(re.findall(r"Applied (\S+)", "".join(said))) == NAMES


async def test_an_edited_migration_is_refused(empty_database: str, folder: Path) -> None:
    """A file that changed after it was applied stops the start, naming the file, before anything is applied."""
    await migrate(empty_database)
    first = next(folder.glob("0002_*.sql"))
    first.write_text(first.read_text() + "\n-- a harmless comment\n")
    (folder / "0900_later.sql").write_text("CREATE TABLE later ();")
    with pytest.raises(MigrationError, match=r"0002_progress was edited"):
        await migrate(empty_database, folder=folder)
    assert 900 not in await applied(empty_database)


async def test_a_lower_number_that_comes_later_is_refused(empty_database: str, folder: Path) -> None:
    """A migration below one that was applied would run in another order elsewhere: it is refused, with the remedy."""
    (folder / "0900_later.sql").write_text("CREATE TABLE later ();")
    await migrate(empty_database, folder=folder)
    (folder / "0899_between.sql").write_text("CREATE TABLE between_ ();")
    with pytest.raises(MigrationError, match=r"0899_between comes before 0900.*next free number"):
        await migrate(empty_database, folder=folder)


async def test_a_newer_database_that_bears_this_program_is_left_as_it_is(empty_database: str, folder: Path) -> None:
    """An old release that migrates beside a database several migrations ahead has nothing to do."""
    for number in (900, 901, 902):
        (folder / f"0{number}_later.sql").write_text(f"-- needs: 0000\nCREATE TABLE later_{number} ();")
    await migrate(empty_database, folder=folder)
    assert await migrate(empty_database) == []
    assert (await applied(empty_database))[-3:] == [900, 901, 902]


async def test_a_program_that_is_too_old_does_not_migrate(empty_database: str, folder: Path) -> None:
    """What the database needs counts, whichever migration said it; with the needed one a program is new enough."""
    (folder / "0900_replaces.sql").write_text("-- needs: 0000\nCREATE TABLE later ();")
    shutil.copytree(folder, middle := folder.parent / "middle")
    (folder / "0901_takes_away.sql").write_text("-- needs: 0900\nCREATE TABLE later_still ();")
    (folder / "0902_adds.sql").write_text("-- needs: 0000\nCREATE TABLE last ();")
    await migrate(empty_database, folder=folder)
    sentence = r"^this program is too old for the database, which needs one that has migration 0900 .*newer release$"
    with pytest.raises(MigrationError, match=sentence):
        await migrate(empty_database)
    assert await migrate(empty_database, folder=middle) == []


async def test_a_migration_of_others_below_ours_is_refused(empty_database: str, folder: Path) -> None:
    """Two lines of releases that each made their own migrations do not mix."""
    shutil.copytree(folder, other := folder.parent / "other")
    (folder / "0900_theirs.sql").write_text("-- needs: 0000\nCREATE TABLE theirs ();")
    await migrate(empty_database, folder=folder)
    (other / "0901_ours.sql").write_text("-- needs: 0000\nCREATE TABLE ours ();")
    with pytest.raises(MigrationError, match=r"has migration 0900, which this program does not know"):
        await migrate(empty_database, folder=other)


def test_every_new_migration_says_which_programs_work_beside_it() -> None:
    """Whoever writes a migration has thought of the programs that still run: one line of it says so."""
    for migration in available():
        said = re.findall(r"^-- needs: (\d{4})$", migration.sql, re.MULTILINE)
        assert len(said) == 1 or migration.number < 30, f"{migration.number:04d}: see the head of storage/migrate.py"
        assert [migration.needs] == [int(each) for each in said] or (migration.needs, said) == (0, [])


@pytest.mark.parametrize(
    "line",
    ["-- needs: 901", "-- needs: 0901", "-- needs:", "-- needs: none", "-- needs: 0000\n-- needs: 0001"],
)
def test_a_line_that_says_badly_what_is_needed_is_refused(folder: Path, line: str) -> None:
    """One number of four digits, of this migration or an earlier one; the error names the file."""
    (folder / "0900_later.sql").write_text(f"{line}\nSELECT 1;")
    with pytest.raises(MigrationError, match=r"^0900_later.sql: one line says .*-- needs: NNNN"):
        available(folder)


async def test_a_failing_migration_leaves_nothing_behind(empty_database: str, folder: Path) -> None:
    """A migration that fails is rolled back as a whole; the earlier ones stay, and the next start goes on there."""
    bad = folder / "0900_bad.sql"
    bad.write_text("CREATE TABLE half (); SELECT 1/0;")
    with pytest.raises(asyncpg.DivisionByZeroError):
        await migrate(empty_database, folder=folder)
    assert await applied(empty_database) == [migration.number for migration in available()]
    bad.write_text("CREATE TABLE half ();")
    assert await migrate(empty_database, folder=folder) == ["0900_bad"]


async def test_a_starter_that_dies_in_the_middle_leaves_the_rest_to_the_next(empty_database: str, folder: Path) -> None:
    """Its migration is undone and its lock is free at once: a starter that waited applies everything that is left."""
    await migrate(empty_database)
    (folder / "0900_slow.sql").write_text(
        "CREATE TABLE slow (); SELECT pg_sleep(60) WHERE to_regclass('died') IS NULL;"
    )
    (folder / "0901_next.sql").write_text("CREATE TABLE next_ ();")
    link = await asyncpg.connect(empty_database)
    try:
        first = asyncio.create_task(migrate(empty_database, folder=folder))
        busy = "SELECT pid FROM pg_stat_activity WHERE datname = current_database() AND wait_event = $1"
        pid = await _found(link, busy, "PgSleep")
        second = asyncio.create_task(migrate(empty_database, folder=folder))
        await _found(link, busy, "advisory")
        await link.execute("CREATE TABLE died ()")
        await link.execute("SELECT pg_terminate_backend($1)", pid)
        with pytest.raises((asyncpg.PostgresError, asyncpg.InterfaceError)):
            await first
        assert await asyncio.wait_for(second, 20) == ["0900_slow", "0901_next"]
    finally:
        await link.close()
    assert (await applied(empty_database))[-2:] == [900, 901]


async def _found(link: asyncpg.Connection[asyncpg.Record], query: str, *values: object) -> int:
    """Ask until there is an answer."""
    async with asyncio.timeout(10):
        while (found := await link.fetchval(query, *values)) is None:
            await asyncio.sleep(0.01)
    return int(found)


@pytest.mark.parametrize("name", ["1_short.sql", "0900-dash.sql", "0001_twice.sql"])
def test_a_file_with_another_name_is_refused(folder: Path, name: str) -> None:
    """Every file is NNNN_name.sql with a number of its own."""
    (folder / name).write_text("SELECT 1;")
    with pytest.raises(MigrationError, match=name):
        available(folder)


async def test_every_migration_survives_rows(empty_database: str, tmp_path: Path) -> None:
    """Each migration is applied over sample rows of all tables so far, and loses none of them."""
    assert {path.stem for path in SAMPLE_ROWS.glob("*.sql")} == {f"{item.number:04d}" for item in available()}
    kept: dict[str, int] = {}
    for file in sorted(FOLDER.glob("*.sql")):
        shutil.copy(file, tmp_path)
        assert await migrate(empty_database, folder=tmp_path) == [file.stem]
        link = await asyncpg.connect(empty_database)
        try:
            assert await counts(link, kept) == kept
            await link.execute((SAMPLE_ROWS / f"{file.name[:4]}.sql").read_text())
            tables = await link.fetch(
                "SELECT relname FROM pg_class WHERE relkind = 'r' AND relnamespace = 'public'::regnamespace "
                "AND relname <> 'schema_migration'"
            )
            kept = await counts(link, [row["relname"] for row in tables])
        finally:
            await link.close()
    empty = {name for name, count in kept.items() if count == 0}
    assert empty == {"pgqueuer_log", "pgqueuer_statistics"}  # PgQueuer writes these by itself


async def counts(link: asyncpg.Connection[asyncpg.Record], tables: object) -> dict[str, int]:
    """Number of rows of each table."""
    return {str(name): await link.fetchval(f'SELECT count(*) FROM "{name}"') for name in tables}  # type: ignore[attr-defined]


def statements(sql: str) -> list[str]:
    """The words of a script, without whole lines of comment."""
    return " ".join(line for line in sql.splitlines() if not line.startswith("--")).split()


def test_pgqueuers_schema_is_that_of_the_installed_release() -> None:
    """A PgQueuer with other tables needs a migration of its own."""
    (ours,) = (migration.sql for migration in available() if migration.name == "pgqueuer")
    theirs = QueryBuilderEnvironment().build_install_query()
    assert statements(ours) == statements(theirs)


class TestCheckSchema:
    """What a process that serves accepts."""

    async def check(self, dsn: str) -> None:
        """Check the schema as a process does at its start."""
        pool = await open_pool(dsn, min_size=1, max_size=1)
        try:
            await check_schema(pool)
        finally:
            await pool.close()

    async def test_an_older_database(self, empty_database: str, tmp_path: Path) -> None:
        """An empty or an older database is refused with the command that helps."""
        with pytest.raises(SchemaError, match=r"lacks migration 0001: run `python app.py migrate`"):
            await self.check(empty_database)
        shutil.copy(next(FOLDER.glob("0001_*.sql")), tmp_path)
        await migrate(empty_database, folder=tmp_path)
        with pytest.raises(SchemaError, match="lacks migration 0002"):
            await self.check(empty_database)

    async def test_a_newer_database(self, empty_database: str, folder: Path) -> None:
        """Any number of migrations ahead is a release being rolled out, until one says that this program is too old."""
        await migrate(empty_database)
        await self.check(empty_database)
        for number in range(900, 905):
            (folder / f"0{number}_more.sql").write_text(f"-- needs: 0000\nCREATE TABLE more_{number} ();")
        await migrate(empty_database, folder=folder)
        await self.check(empty_database)
        (folder / "0905_end.sql").write_text("-- needs: 0905\nCREATE TABLE end_ ();")
        await migrate(empty_database, folder=folder)
        with pytest.raises(SchemaError, match=r"^this program is too old .* 0905 .*: start the newer release$"):
            await self.check(empty_database)

    async def test_a_database_from_before_needs_were_told(self, empty_database: str, tmp_path: Path) -> None:
        """A database without the column is an older one: it is refused with the command that helps, and migrated."""
        for migration in sorted(FOLDER.glob("*.sql")):
            if int(migration.name[:4]) < 30:
                shutil.copy(migration, tmp_path)
        await migrate(empty_database, folder=tmp_path)
        with pytest.raises(SchemaError, match="lacks migration 0030"):
            await self.check(empty_database)
        assert (await migrate(empty_database))[0].startswith("0030_")
        await self.check(empty_database)


def test_the_lock_fits_into_postgresqls_number() -> None:
    """The key of the advisory lock is a positive bigint."""
    assert 0 < migrations.LOCK < 2**63

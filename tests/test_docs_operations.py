"""docs/operations.md: its commands are run or understood, its figures are those of the code."""

from __future__ import annotations

import json
import os
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import asyncpg
import pytest

import app
from bot import publish, reconciler, recovery, retry, schedules, worker
from cli.serve import GRACE
from settings import Settings
from storage import embedded, sealing, sweeping
from storage.database import IDLE_TRANSACTION_TIMEOUT, LOCK_TIMEOUT, SESSION_SETTINGS, STATEMENT_TIMEOUT, open_pool
from storage.embedded_programs import installed
from storage.health import OLDEST
from storage.migrate import Fit, available
from storage.retention import KEEP_DEAD_BODIES, KEEP_RESULTS, KEEP_SENDERS
from tests.support.bindings import bind
from tests.support.commands import commands_of
from tests.support.embedded_server import FAST, open_folder, query
from tests.support.postgres import database_dsn

ROOT = Path(__file__).resolve().parent.parent
TEXT = (ROOT / "docs" / "operations.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"^```([^\n]*)\n(.*?)^```$", TEXT, re.DOTALL | re.MULTILINE)
RESTORED = "stepgate_restored"


def script(language: str) -> str:
    """All blocks of a language, as one script that ends at the first failure."""
    return "set -eu\n" + "".join(block for found, block in BLOCKS if found == language)


@pytest.fixture(name="machine")
def _machine() -> Iterator[Path]:
    """An operator's folder: `app.py` and `.venv/bin/python` stand for a clone of this project."""
    with open_folder() as folder:
        (folder / "app.py").write_text(
            f"import runpy, sys\nsys.path.insert(0, {str(ROOT)!r})\n"
            f"runpy.run_path({str(ROOT / 'app.py')!r}, run_name='__main__')\n",
            encoding="utf-8",
        )
        python = folder / ".venv" / "bin" / "python"
        python.parent.mkdir(parents=True)
        python.write_text(f'#!/bin/sh\nexec {shlex.quote(sys.executable)} "$@"\n', encoding="utf-8")
        python.chmod(0o755)
        yield folder


def run(machine: Path, language: str, **environment: str) -> str:
    """Run the blocks of a language; what they print. All must succeed."""
    programs = installed(18).folder / "bin"
    done = subprocess.run(
        ["sh", "-c", script(language)],
        cwd=machine,
        env={"PATH": f"{programs}{os.pathsep}{os.environ['PATH']}", "HOME": str(machine), **environment},
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )
    out = done.stdout + done.stderr
    assert done.returncode == 0, out
    return out


async def _contents(dsn: str) -> dict[str, Any]:
    """Each table's rows as one digest, and the names of all guards."""
    link = await asyncpg.connect(dsn)
    try:
        tables = await link.fetch(
            "SELECT relname FROM pg_class WHERE relkind = 'r' AND relnamespace = 'public'::regnamespace"
        )
        found: dict[str, Any] = {
            row["relname"]: await link.fetchval(
                f"SELECT count(*) || ' ' || coalesce(md5(string_agg(t::text, ',' ORDER BY t::text)), '') "
                f"FROM {row['relname']} AS t"
            )
            for row in tables
        }
        for what, names in {
            "constraints": "SELECT conname FROM pg_constraint WHERE connamespace = 'public'::regnamespace",
            "indexes": "SELECT indexdef FROM pg_indexes WHERE schemaname = 'public'",
            "triggers": "SELECT concat_ws(' ', tgrelid::regclass, tgname, tgtype, tgenabled, tgfoid::regproc) "
            "FROM pg_trigger WHERE NOT tgisinternal",
            "functions": "SELECT pg_get_functiondef(oid) FROM pg_proc WHERE pronamespace = 'public'::regnamespace",
        }.items():
            found[what] = sorted(str(row[0]) for row in await link.fetch(names))
        return found
    finally:
        await link.close()


async def test_backup_and_restore_as_it_is_written_down(machine: Path, postgres_dsn: str, fresh_database: str) -> None:
    """Whoever copies the commands in order has a second database with every row, guard and seal of the first."""
    pool = await open_pool(fresh_database, min_size=1, max_size=2)
    try:
        await bind(pool)
        root = (await sealing.seal(pool)).root
    finally:
        await pool.close()
    assert root is not None
    before, restored = await _contents(fresh_database), database_dsn(postgres_dsn, RESTORED)

    try:
        out = run(machine, "sh", DATABASE_URL=fresh_database, RESTORED_URL=restored, NOTED_ROOT=root)
        after = await _contents(restored)
    finally:
        link = await asyncpg.connect(postgres_dsn)
        await link.execute(f"DROP DATABASE IF EXISTS {RESTORED} WITH (FORCE)")
        await link.close()

    assert after == before
    assert before["lab_session"].startswith("1 ")
    assert json.loads((machine / "stepgate.root.json").read_text())["root"] == root
    assert "intact" in out
    assert "is that of batch 1" in out
    assert "There is no dead letter." in out
    assert out.count("The schema is up to date.") == 2


def test_a_copy_of_the_embedded_database_is_a_backup(machine: Path) -> None:
    """The copied folder starts, with what was stored, also when the first one is gone on with."""
    home = machine / "home"
    with embedded.running(home, settings=FAST) as server:
        query(server.dsn, "CREATE TABLE kept AS SELECT 1 AS number")
    run(machine, "sh embedded", STEPGATE_HOME=str(home))
    with embedded.running(home, settings=FAST) as server:
        query(server.dsn, "UPDATE kept SET number = 2")
    with embedded.running(machine / "stepgate-home.backup", settings=FAST) as server:
        assert query(server.dsn, "SELECT number FROM kept") == 1


def test_every_block_is_of_a_known_kind() -> None:
    """Blocks are run, or are examples that need names or GitHub."""
    assert {language for language, _ in BLOCKS} == {"sh", "sh embedded", "sh example"}


@pytest.mark.parametrize(
    "line",
    [
        line
        for language, block in BLOCKS
        if language == "sh example"
        for line in block.splitlines()
        if not line.startswith("curl ")
    ],
)
def test_examples_are_command_lines(line: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What cannot be run here is at least understood, down to the last option."""
    monkeypatch.chdir(tmp_path)
    python, program, *words = shlex.split(line)
    command: Any = commands_of(app.cli)
    while hasattr(command, "commands"):
        command = command.commands[words.pop(0)]

    assert (python, program) == (".venv/bin/python", "app.py")
    command.make_context(command.name, words)  # raises on a word or option that is not known


# -------------------------------------------------------------------------------------------------------- the text


def chapter(title: str) -> str:
    """The text below a heading, up to the next one of its level."""
    return TEXT.partition(f"\n## {title}\n")[2].partition("\n## ")[0]


def test_every_schedule_is_told() -> None:
    """The table has the schedules of the workers, all of them."""
    source = (ROOT / "bot" / "schedules.py").read_text(encoding="utf-8")
    scheduled = set(re.findall(r'\.schedule\(\s*"([\w-]+)"', source))

    assert scheduled
    assert set(re.findall(r"^\| `([\w-]+)` \|", chapter("What happens by the clock"), re.MULTILINE)) == scheduled


def test_figures_are_those_of_the_code() -> None:
    """Connections, times, and how long things are kept."""
    fields = Settings.model_fields
    worker_connections = fields["worker_concurrency"].default + app.SPARE_CONNECTIONS
    times = [f"{time.total_seconds():.0f} s" for time in (STATEMENT_TIMEOUT, LOCK_TIMEOUT, IDLE_TRANSACTION_TIMEOUT)]

    assert f"| {app.WEB_CONNECTIONS} and 1 that listens |" in TEXT
    assert f"`WORKER_CONCURRENCY` and {app.SPARE_CONNECTIONS}, 1 that listens, 1 for schedules" in TEXT
    assert f"the sum, and {app.POLLER_CONNECTIONS} |" in TEXT
    assert f"default settings need {app.WEB_CONNECTIONS + 1 + worker_connections + 2}." in TEXT
    assert f"{worker.LEASE.seconds} s\nlater for deliveries and {publish.LEASE.seconds} s for reports" in TEXT
    assert f"for at most {GRACE:.0f} s, and gives" in TEXT
    assert f"{times[0]} a statement, {times[1]} for a lock, {times[2]} for a transaction" in TEXT
    assert f"**Version** {OLDEST} or newer" in TEXT
    assert f"after `RETENTION_DAYS` ({fields['retention_days'].default})" in TEXT
    assert f"every {reconciler.LEAST.seconds // 60} to {reconciler.MOST.seconds // 60} minutes" in TEXT
    assert f"kept for {recovery.LOOK_BACK.days} days (GitHub Enterprise Server: {recovery.LOOK_BACK_GHES.days})" in TEXT
    assert f"| {schedules.DEDUPE_MARGIN.days} days later than its body, or" in TEXT
    again, most = sweeping.TRY_REPORTS_AGAIN, sweeping.TRY_REPORTS_FOR
    assert f"tried again every {again.seconds // 3600} hours for {most.days} days" in TEXT
    assert KEEP_DEAD_BODIES == KEEP_RESULTS == KEEP_SENDERS
    assert f"| after {KEEP_SENDERS.days} days |" in TEXT
    assert f"`none of {retry.ATTEMPTS} attempts came to an end`" in TEXT


def test_what_a_program_says_that_is_too_old() -> None:
    """The sentence by which an operator knows it is that of the code, and what stands before is where they look."""
    too_old = Fit((), (41,), (), needed=41, newest=40).too_old
    upgrade = " ".join(chapter("Upgrade, and going back").split())

    assert too_old
    assert f"*{too_old.partition(' (')[0]}*" in upgrade
    assert "`grep '^-- needs:' storage/migrations/*.sql`" in upgrade
    assert {migration.needs for migration in available()} == {0}, "operations.md says: until now all work beside it"


def test_settings_that_a_pooler_must_ignore_are_those_of_our_connections() -> None:
    """PgBouncer knows `timezone` and `application_name`; the others are listed."""
    listed = TEXT.partition("that it does not know: list ")[2].partition(" in its `ignore_startup_parameters`")[0]

    assert set(re.findall(r"`(\w+)`", listed)) == SESSION_SETTINGS.keys() - {"timezone", "application_name"}


def test_log_lines_that_are_named_are_written() -> None:
    """Events of the log that the text speaks of are in the code."""
    code = "".join(path.read_text(encoding="utf-8") for path in (ROOT / "bot").glob("*.py"))
    named = re.search(r"without secrets\. (.*?) are worth an alert", TEXT, re.DOTALL)

    assert named
    for name in [*re.findall(r"`(\w+)`", named[1]), "delivery_pulled"]:
        assert f'"{name}"' in code, name


def test_capacity_is_what_was_measured() -> None:
    """Each figure stands in docs/performance.md."""
    measured = (ROOT / "docs" / "performance.md").read_text(encoding="utf-8")
    rows: dict[str, str] = dict(re.findall(r"^\| ([^|]+) \| ([^|]+) \|$", chapter("Capacity"), re.MULTILINE))
    grown = next(rows.pop(what) for what in list(rows) if what.startswith("the database's part of a push"))
    names = {
        "deliveries received by one `web` process": ["receive"],
        "pushes judged and reported by one `worker`": ["judge"],
        "requests to GitHub for each push": ["calls"],
        "memory of `web` and of `worker`": ["memory_web", "memory_worker"],
    }

    assert rows.keys() - {"what", "---"} == names.keys()
    for told, figures in names.items():
        for figure, value in zip(figures, rows[told].split(", "), strict=True):
            assert f"| {figure} | {value} |" in measured
    assert "| growth_100000 | {} | {} |".format(*grown.split(", ")) in measured


def test_processes_of_the_procfile_are_told() -> None:
    """Each process type runs a command of the table."""
    lines = (ROOT / "Procfile").read_text(encoding="utf-8").splitlines()
    commands = {line.partition("app.py ")[2].split()[0] for line in lines if line}

    assert commands == {"migrate", "web", "worker"}
    for command in (*commands, "serve", "serve --poll"):
        assert f"\n| `{command}` |" in chapter("Processes")


def test_links_within_and_between_the_documents_lead_somewhere() -> None:
    """Each `#anchor`, of this page or of another one, is a heading's."""
    links = re.findall(r"\]\(([\w/.-]*)#([^)]+)\)", TEXT)

    assert links
    for file, anchor in links:
        text = (ROOT / "docs" / file).read_text(encoding="utf-8") if file else TEXT
        headings = re.findall(r"^#+ (.+)$", text, re.MULTILINE)
        anchors = {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}
        assert anchor in anchors, (file, anchor)

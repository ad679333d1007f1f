"""Group H8: PgBouncer between the App and its database. Needs the program `pgbouncer` (.ci/tools)."""

from __future__ import annotations

import asyncio
import os
import pwd
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import pytest

from storage.database import SESSION_SETTINGS, SchemaError, check_schema, open_pool
from tests.support.learners import enrol, lab_file, open_course, open_lab
from tests.support.line import running_line
from tests.support.programs import program

IGNORED = ",".join(name for name in SESSION_SETTINGS if name not in ("application_name", "timezone"))


@contextmanager
def pgbouncer(dsn: str, mode: str) -> Iterator[str]:
    """The database's address through a PgBouncer of this pool_mode."""
    command = [program("pgbouncer"), "-q"]
    parts = urlsplit(dsn)
    query = {name: values[0] for name, values in parse_qs(parts.query).items()}
    name, host, port = parts.path[1:], query.get("host", parts.hostname or ""), query.get("port", parts.port or 5432)
    user = parts.username or "postgres"
    folder = Path(tempfile.mkdtemp(prefix="pgb-"))
    folder.chmod(0o777)
    (folder / "users").write_text(f'"{user}" ""\n')
    (folder / "ini").write_text(
        f"[databases]\n{name} = host={host} port={port} dbname={name} user={user}\n[pgbouncer]\n"
        f"unix_socket_dir={folder}\nlisten_port=6432\nauth_type=any\nauth_file={folder}/users\npool_mode={mode}\n"
        f"ignore_startup_parameters={IGNORED}\nlogfile={folder}/log\n"
    )
    if os.geteuid() == 0:  # it refuses to run as root
        command += ["-u", pwd.getpwnam("nobody").pw_name]
    process = subprocess.Popen([*command, str(folder / "ini")], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        deadline = time.monotonic() + 10
        while not (folder / ".s.PGSQL.6432").exists():
            assert process.poll() is None, (folder / "log").read_text()
            assert time.monotonic() < deadline
            time.sleep(0.02)
        yield f"postgresql://{user}@/{name}?host={folder}&port=6432"
    finally:
        process.terminate()
        process.wait(10)
        shutil.rmtree(folder, ignore_errors=True)


async def test_session_pooling_works(fresh_database: str, tmp_path: Path) -> None:
    """With pool_mode session everything works: pushes are judged, notifications arrive."""
    with pgbouncer(fresh_database, "session") as dsn:
        async with running_line(dsn) as line:
            await check_schema(line.pool)
            await open_course(line)
            await open_lab(line, "lab", {".forgea/steps.json": lab_file({"files": ["a/**"]}), "README.md": "A lab\n"})
            learner = await enrol(line, "lab", tmp_path)
            head = await learner.push({"a/x.txt": "x\n"})
            assert learner.told(head) == ("success", "success")


async def test_transaction_pooling_is_refused_at_the_start(fresh_database: str) -> None:
    """With pool_mode transaction prepared statements and LISTEN break now and then: a process does not start on it."""
    with pgbouncer(fresh_database, "transaction") as dsn:
        pool = await open_pool(dsn, min_size=1, max_size=3)
        try:
            with pytest.raises(SchemaError, match="pool_mode"):
                await check_schema(pool)
        finally:
            await asyncio.wait_for(pool.close(), 10)


async def test_no_pooler_is_no_complaint(fresh_database: str) -> None:
    """Without a pooler the check finds none, however busy the pool is."""
    pool = await open_pool(fresh_database, min_size=1, max_size=3)
    try:
        await asyncio.gather(*(check_schema(pool) for _ in range(3)))
    finally:
        await pool.close()

"""Group L: probes, of the running line and of a worker, and an old release beside a newer database."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import socket
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer
from typer.testing import CliRunner

import app as entry
from sandbox import Fault
from sandbox.effects import Answer
from storage.database import Pool, open_pool
from tests.support.keys import private_key
from tests.support.line import Line, running_line
from web import access, health

ROOT = Path(__file__).resolve().parents[2]


def of_check(body: dict[str, Any], name: str) -> str:
    """What /readyz says of a part."""
    return str(body["checks"][name])


async def test_when_it_is_ready(fresh_database: str) -> None:
    """Alive whatever is around it; ready unless the database, its schema or the App's key fails, and ready again."""
    async with running_line(fresh_database) as line:
        line.sandbox.add_account("octo-course", "Organization")
        await line.sandbox.add_repository("octo-course", "lab")
        await line.sandbox.install("octo-course", ["octo-course/lab"])
        await line.settle()
        await probe_all(line, await open_pool(fresh_database, min_size=0, max_size=1))


async def probe_all(line: Line, pool: Pool) -> None:
    """Spoil one thing after the other, and look at the probes of a process that uses `pool`."""
    sandbox, now = line.sandbox, [0.0]
    app = web.Application()
    app[access.RULES] = {}
    probes = {
        "database": health.database_is_ready(pool),
        "github": health.github_accepts_us(line.services.app, clock=lambda: now[0]),
    }
    health.add_routes(app, probes, {"last_delivery_seconds": health.last_delivery(pool)})
    async with TestServer(app) as server, aiohttp.ClientSession() as http:

        async def ask(path: str) -> tuple[int, dict[str, Any]]:
            now[0] += health.ASK_GITHUB_EVERY
            async with http.get(server.make_url(path)) as answer:
                return answer.status, await answer.json()

        status, body = await ask("/readyz")
        assert (status, body["checks"]) == (200, {"database": "ok", "github": "ok"})
        assert 0 <= body["last_delivery_seconds"] < 60

        refusal = sandbox.faults.add(Fault(Answer(like="bad-credentials"), path="/app"))
        status, body = await ask("/readyz")
        assert (status, of_check(body, "github")) == (503, "GitHub refuses the App's id or key")
        refusal.remove()
        assert (await ask("/readyz"))[0] == 200
        away = sandbox.faults.add(Fault(Answer(like="unavailable"), path="/app"))
        assert (await ask("/readyz"))[0] == 200
        away.remove()

        await line.pool.execute("UPDATE schema_migration SET number = number + 9000 WHERE number = 2")
        status, body = await ask("/readyz")
        assert (status, "lacks migration 0002" in of_check(body, "database")) == (503, True)
        await line.pool.execute("UPDATE schema_migration SET number = 2 WHERE number = 9002")
        assert (await ask("/readyz"))[0] == 200

        await pool.close()
        status, body = await ask("/readyz")
        assert (status, of_check(body, "database")) == (503, "failed; see the log")
        assert body["last_delivery_seconds"] is None
        assert await ask("/healthz") == (200, {"status": "ok"})


async def test_an_old_release_beside_a_newer_database(
    fresh_database: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Several migrations ahead, an old release migrates (nothing to do), starts and is ready. When the database says
    that it is too old, a running one is not ready but goes on, and none starts: each says so in one sentence.

    On METRICS_PORT `worker` tells probes and metrics, and nothing else; a port that is taken is named.
    """
    pool = await open_pool(fresh_database, min_size=0, max_size=1)
    await pool.execute(
        "INSERT INTO schema_migration (number, name, sha256) SELECT n, 'new', '' FROM generate_series(9001, 9005) AS n"
    )
    assert await migrate_here(fresh_database, monkeypatch) == (
        0,
        "Nothing to do: the database is newer than this program, by migrations up to 9005, and works with it.\n",
    )
    port = free_port()
    running = await worker(fresh_database, tmp_path, port)
    try:
        await answers_on_its_own_port(f"http://127.0.0.1:{port}")
        status, err = await (await worker(fresh_database, tmp_path, port)).finished()
        assert (status, f"METRICS_PORT: cannot listen on 127.0.0.1:{port}" in err) == (2, True), err

        await pool.execute("UPDATE schema_migration SET needs = 9002 WHERE number = 9004")
        await pool.close()
        status, text = await get(f"http://127.0.0.1:{port}/readyz")
        sentence = "this program is too old for the database, which needs one that has migration 9002"
        assert (status, sentence in text) == (503, True), text
        refused = await (await worker(fresh_database, tmp_path, free_port())).finished()
        for code, err in (refused, await migrate_here(fresh_database, monkeypatch)):
            assert (code, err.count(sentence), len(err.splitlines())) == (1, 1, 1), err
        assert running.process.returncode is None
    finally:
        running.process.terminate()
    assert (await running.finished())[0] == 0


async def answers_on_its_own_port(root: str) -> None:
    """Probes and metrics, to whom they are meant for."""
    status, text = await get(f"{root}/readyz")
    assert (status, json.loads(text)["checks"]["database"]) == (200, "ok")
    _, text = await get(f"{root}/metrics")
    assert "stepgate_database_up 1.0" in text
    assert "stepgate_processing_seconds" in text
    async with aiohttp.ClientSession() as http:
        async with http.get(f"{root}/") as page:
            assert page.status == 404
        async with http.get(f"{root}/metrics", headers={"Host": "worker.example.com"}) as refused:
            assert refused.status == 401


@dataclass
class Command:
    """A command under way."""

    process: asyncio.subprocess.Process

    async def finished(self) -> tuple[int | None, str]:
        """Exit status and standard error."""
        _, err = await asyncio.wait_for(self.process.communicate(), 45)
        return self.process.returncode, err.decode()


async def worker(dsn: str, folder: Path, port: int) -> Command:
    """Start `app.py worker` with a GitHub that does not answer."""
    return await command(dsn, folder, "worker", METRICS_PORT=str(port), METRICS_TOKEN="7d1f0c2b9a8e6534f1d0")


async def command(dsn: str, folder: Path, *words: str, **more: str) -> Command:
    """Start a command of `app.py`, as one does who has set up the App."""
    settings = {"PATH": os.environ["PATH"], **settings_on(dsn), **more}
    program = (sys.executable, str(ROOT / "app.py"), *words)
    return Command(await asyncio.create_subprocess_exec(*program, cwd=folder, env=settings, stdout=-1, stderr=-1))


def settings_on(dsn: str) -> dict[str, str]:
    """The settings of an App that is set up."""
    return {
        "DATABASE_URL": dsn,
        "GITHUB_API_URL": "http://127.0.0.1:9",
        "GITHUB_APP_ID": "1",
        "GITHUB_PRIVATE_KEY": private_key().replace("\n", "\\n"),
    }


async def migrate_here(dsn: str, monkeypatch: pytest.MonkeyPatch) -> tuple[int, str]:
    """`app.py migrate` without a process of its own: exit status, and all that it says. Logging stays the tests'."""
    with monkeypatch.context() as here:
        here.setattr("cli.logs.configure", lambda *_: None)
        for name, value in settings_on(dsn).items():
            here.setenv(name, value)
        done = await asyncio.to_thread(CliRunner().invoke, entry.cli, ["migrate"])
    return done.exit_code, done.output


def free_port() -> int:
    """A port of this machine that nobody listens on."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        return int(taken.getsockname()[1])


async def get(url: str) -> tuple[int, str]:
    """Status and text of an address, as soon as somebody listens there."""
    async with aiohttp.ClientSession() as http, asyncio.timeout(45):
        while True:
            with contextlib.suppress(aiohttp.ClientConnectorError):
                async with http.get(url) as answer:
                    return answer.status, await answer.text()
            await asyncio.sleep(0.05)

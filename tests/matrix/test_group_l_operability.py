"""Group L: probes, metrics, and the trail of a delivery, on the running line."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import re
import socket
import sys
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer
from prometheus_client.parser import text_string_to_metric_families

from sandbox import Fault
from sandbox.effects import Answer
from storage.database import Pool, open_pool
from tests.support.deliveries import WORK, World, commit, world
from tests.support.githost import WorkingCopy
from tests.support.keys import private_key
from tests.support.line import Line, running_line
from web import access, health

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(name="here")
async def _here(fresh_database: str) -> AsyncIterator[World]:
    """A running App with a published lab."""
    async with world(fresh_database) as here:
        yield here


def logged(here: World, since: int = 0) -> list[dict[str, Any]]:
    """The lines that Stepgate logged; `since`: how many characters there were before."""
    return [json.loads(line) for line in here.logs.getvalue()[since:].splitlines() if line.startswith("{")]


async def push(here: World, fork: Any, folder: Path, *, number: int = 0) -> str:
    """Push one accepted commit; the head, once it is answered."""
    clone = await WorkingCopy.clone(here.line.sandbox, fork.full_name, fork.owner.login, folder)
    for path, text in WORK[number].items():
        target = clone.path / path
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(str(text))
    await clone.git("add", "--all")
    await clone.git("commit", "--quiet", "-m", "work")
    await clone.git("push", "--quiet", "origin", "HEAD")
    await here.line.settle()
    return await clone.git("rev-parse", "HEAD")


async def scrape(line: Line) -> dict[str, float]:
    """/metrics as Prometheus reads it: 'name{label="value"}' -> value."""
    async with line.http.get(f"{line.pages}/metrics") as response:
        assert response.status == 200
        text = await response.text()
    return {
        sample.name + "".join(f'{{{key}="{value}"}}' for key, value in sorted(sample.labels.items())): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


async def test_a_delivery_is_followed_from_its_guid_to_its_check_run(here: World, tmp_path: Path) -> None:
    """The log has received, judged, processed and reported of each push under its GUID, the last with GitHub's id, and
    nothing of one push under another one's GUID, session or repository.
    """
    forks = [await here.learner("learner-one"), await here.learner("learner-two")]
    since = len(here.logs.getvalue())
    heads = [await push(here, fork, tmp_path / fork.owner.login) for fork in forks]

    guids = [str(delivery.guid) for delivery in here.line.sandbox.deliveries if delivery.event == "push"][-2:]
    lines = logged(here, since)
    for fork, head, guid in zip(forks, heads, guids, strict=True):
        trail = {line["event"]: line for line in lines if line.get("delivery") == guid}
        ((run_id, _),) = here.runs(fork, head)
        (row,) = await here.line.fetch("SELECT session_id FROM repo_mapping WHERE provider_repo_id = $1", fork.id)
        assert {"delivery", "judged", "processed", "check_run"} <= trail.keys()
        assert trail["judged"] | {"verdict": "accepted", "head": head, "answers": [guid]} == trail["judged"]
        assert (trail["check_run"]["check_run"], trail["check_run"]["head"]) == (run_id, head)
        assert {trail[event]["session"] for event in ("judged", "processed", "check_run")} == {str(row["session_id"])}
        assert {trail[event]["repo"] for event in ("judged", "processed", "check_run")} == {fork.id}
    for line in lines:
        lane = re.fullmatch(r"repo:(\d+)", str(line.get("lane", "")))
        assert lane is None or line.get("repo", int(lane[1])) == int(lane[1]), line


async def test_pushes_that_are_judged_together_are_all_named(here: World) -> None:
    """A push that a newer one overtook is found in the line of the verdict that answers both."""
    fork = await here.learner("learner-one")
    start, first, second = await commit(fork, *WORK[:2])
    since = len(here.logs.getvalue())
    await here.line.pool.execute("UPDATE lane SET holder = 'x', leased_until = now() + interval '1 hour'")
    guids = ["00000000-0000-4000-8000-000000000001", "00000000-0000-4000-8000-000000000002"]
    for guid, (before, after) in zip(guids, [(start, first), (first, second)], strict=True):
        assert await here.post("push", here.push_body(fork, before, after), guid) == 202
    await here.line.pool.execute("UPDATE lane SET holder = NULL, leased_until = NULL, due_at = now()")
    await here.line.settle()

    lines = logged(here, since)
    (verdict,) = (line for line in lines if line["event"] == "judged")
    assert sorted(verdict["answers"]) == guids


async def test_a_push_moves_the_metrics(here: World, tmp_path: Path) -> None:
    """Deliveries, verdicts, latency, calls of GitHub and saves of one push are counted; nothing waits afterwards."""
    fork = await here.learner("learner-one")
    before = await scrape(here.line)
    await push(here, fork, tmp_path / "clone")
    async with here.line.http.post(here.line.hook, data=b"{}", headers={"X-Hub-Signature-256": "sha256=0"}) as refused:
        assert refused.status == 401
    after = await scrape(here.line)

    def grown(name: str) -> float:
        return after[name] - before.get(name, 0.0)

    assert grown('stepgate_deliveries_total{event="push"}{result="stored"}') == 1
    assert grown('stepgate_deliveries_total{event="unknown"}{result="bad_signature"}') == 1
    assert grown('stepgate_verdicts_total{outcome="accepted"}{trigger="push"}') == 1
    assert grown('stepgate_report_latency_seconds_count{conclusion="success"}') == 1
    assert 0 < grown('stepgate_report_latency_seconds_sum{conclusion="success"}') < 30
    assert grown('stepgate_reports_total{kind="check_run"}{result="sent"}') == 1
    assert grown('stepgate_github_requests_total{class="write"}{outcome="fine"}') == 2  # a check run and a status
    assert grown('stepgate_saves_total{result="SAVED"}') == 1
    assert after["stepgate_database_up"] == 1
    assert 0 < after['stepgate_github_budget_left_ratio{of="installations"}'] < 1


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


async def test_a_worker_answers_on_its_own_port(fresh_database: str, tmp_path: Path) -> None:
    """`worker` with METRICS_PORT tells probes and metrics there, and nothing else; a port that is taken is named."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        status, err = await (await worker(fresh_database, tmp_path, port)).finished()
        assert (status, f"METRICS_PORT: cannot listen on 127.0.0.1:{port}" in err) == (2, True), err
    running = await worker(fresh_database, tmp_path, port)
    try:
        root = f"http://127.0.0.1:{port}"
        _, text = await get(f"{root}/metrics")
        async with aiohttp.ClientSession() as http:
            assert "stepgate_database_up 1.0" in text
            assert "stepgate_processing_seconds" in text
            async with http.get(f"{root}/readyz") as ready, http.get(f"{root}/") as page:
                assert ((await ready.json())["checks"]["database"], page.status) == ("ok", 404)
            async with http.get(f"{root}/metrics", headers={"Host": "worker.example.com"}) as refused:
                assert refused.status == 401
    finally:
        running.process.terminate()
    assert (await running.finished())[0] == 0


async def test_an_old_release_beside_a_newer_database(fresh_database: str, tmp_path: Path) -> None:
    """Several migrations ahead, an old release migrates (nothing to do), starts and is ready. When the database says
    that it is too old, a running one is not ready but goes on, and none starts: each says so in one sentence.
    """
    pool = await open_pool(fresh_database, min_size=0, max_size=1)
    await pool.execute(
        "INSERT INTO schema_migration (number, name, sha256) SELECT n, 'new', '' FROM generate_series(9001, 9005) AS n"
    )
    assert await (await command(fresh_database, tmp_path, "migrate")).finished() == (
        0,
        "Nothing to do: the database is newer than this program, by migrations up to 9005, and works with it.\n",
    )
    port = free_port()
    running = await worker(fresh_database, tmp_path, port)
    try:
        assert (await get(f"http://127.0.0.1:{port}/readyz"))[0] == 200
        await pool.execute("UPDATE schema_migration SET needs = 9002 WHERE number = 9004")
        await pool.close()
        status, text = await get(f"http://127.0.0.1:{port}/readyz")
        sentence = "this program is too old for the database, which needs one that has migration 9002"
        assert (status, sentence in text) == (503, True), text
        for started in [await command(fresh_database, tmp_path, word) for word in ("migrate", "worker")]:
            code, err = await started.finished()
            assert (code, err.count(sentence), len(err.splitlines())) == (1, 1, 1), err
        assert running.process.returncode is None
    finally:
        running.process.terminate()
    assert (await running.finished())[0] == 0


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
    settings = {
        "PATH": os.environ["PATH"],
        "DATABASE_URL": dsn,
        "GITHUB_API_URL": "http://127.0.0.1:9",
        "GITHUB_APP_ID": "1",
        "GITHUB_PRIVATE_KEY": private_key().replace("\n", "\\n"),
        **more,
    }
    program = (sys.executable, str(ROOT / "app.py"), *words)
    return Command(await asyncio.create_subprocess_exec(*program, cwd=folder, env=settings, stdout=-1, stderr=-1))


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

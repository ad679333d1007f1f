"""What happens by the clock."""

from __future__ import annotations

import asyncio
import time
from dataclasses import replace
from datetime import timedelta
from typing import cast
from uuid import uuid4

import asyncpg
import pytest

from bot import schedules
from bot.schedules import forget_bodies, forget_deliveries, run_schedules, seal_audit
from bot.services import Services
from storage import audit
from storage.audit import AuditEvent
from storage.audit_check import verify
from storage.health import backlog
from tests.support.deliveries import EXAMPLES, world
from tests.support.line import running_line
from tests.support.outages import Pusher, lose

BODY = (EXAMPLES / "push.json").read_bytes()


async def test_bodies_are_kept_as_long_as_the_operator_says(fresh_database: str) -> None:
    """Bodies of deliveries that were processed longer ago are deleted; younger ones and waiting ones stay."""
    async with running_line(fresh_database) as line:
        for days, state in ((3, "done"), (9, "done"), (9, "waiting")):
            await line.pool.execute(
                "INSERT INTO delivery (guid, event, lane_id, payload, state, next_attempt_at, finished_at) VALUES "
                "($1, 'ping', 'kept', $2, $3::text, now() + interval '1 day', "
                "CASE WHEN $3 = 'done' THEN now() - $4::interval END)",
                uuid4(),
                BODY,
                state,
                timedelta(days=days),
            )
        assert await forget_bodies(replace(line.services, keep_bodies=timedelta(days=10))) == 0
        assert await forget_bodies(replace(line.services, keep_bodies=timedelta(days=4))) == 1
        left = await line.fetch(
            "SELECT state, payload IS NULL AS forgotten, finished_at < now() - interval '5 days' AS old"
            " FROM delivery WHERE lane_id = 'kept'"
        )
    assert {(row["state"], row["old"]) for row in left if row["forgotten"]} == {("done", True)}


async def test_the_audit_is_sealed(fresh_database: str) -> None:
    """What was recorded is sealed once, while the App runs."""
    async with running_line(fresh_database) as line:
        seen = {"from": "IN_PROGRESS", "to": "IN_PROGRESS"}
        await audit.record(line.pool, AuditEvent("check_requested", session_id=uuid4(), detail=seen))
        await seal_audit(line.services)  # or the schedule itself did
        found = await verify(line.pool)
    assert (found.rows, found.faulty, found.unsealed) == (1, 0, 0)


async def test_a_start_finds_what_came_while_nobody_was_here(fresh_database: str) -> None:
    """As a worker starts it takes what GitHub's log has, and looks at heads of which not even the log tells."""
    async with world(fresh_database) as here:
        logged, unheard = await Pusher.enrol(here), await Pusher.enrol(here)
        lose(here.line, "failed", repository=logged.fork.id)
        lose(here.line, repository=unheard.fork.id)
        await logged.work(0)
        await unheard.work(0)
        await here.line.settle()
        running = asyncio.create_task(run_schedules(fresh_database, here.line.services))
        try:
            async with asyncio.timeout(30):
                while await logged.differences() or await unheard.differences():
                    await asyncio.sleep(0.05)
                found = await backlog(here.line.pool)
        finally:
            running.cancel()
            await asyncio.gather(running, return_exceptions=True)
        assert found.missing["waiting"] == 0
        assert {row["trigger"] for row in await logged.attempts()} >= {"push"}
        assert [row["trigger"] for row in await unheard.attempts()][-1] == "reconcile"
        await here.line.settle()


async def test_rows_of_deliveries_are_kept_as_long_as_github_may_send_one_again(fresh_database: str) -> None:
    """Ten days at github.com by default; where bodies are kept for less, as long as the log is, and two days more."""
    async with running_line(fresh_database) as line:
        for days in (5, 7, 8, 11):
            await line.pool.execute(
                "INSERT INTO delivery (guid, event, lane_id, state, received_at, finished_at) VALUES "
                "(gen_random_uuid(), 'ping', 'kept', 'done', now() - $1::interval, now() - $1::interval)",
                timedelta(days=days),
            )
        assert await forget_deliveries(line.services) == 1
        server = replace(line.services, keep_bodies=timedelta(days=4), log_kept=timedelta(days=7))
        assert await forget_deliveries(server) == 0
        assert await forget_deliveries(replace(line.services, keep_bodies=timedelta(days=4))) == 2


async def test_whoever_dies_a_schedule_goes_on_and_runs_once_over_replicas(
    fresh_database: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What a worker took and never ended is taken by another one, as soon as it was silent for half a minute. One that
    comes back after a day takes its part, and makes no run a second one. (Here each second is a minute.)"""
    runs: list[float] = []

    async def run(_services: Services) -> int:
        runs.append(time.monotonic())
        return 0

    monkeypatch.setattr(schedules, "expire_overdue", run)
    monkeypatch.setattr(schedules, "EACH_MINUTE", "* * * * * *")
    link = await asyncpg.connect(fresh_database)
    nothing = cast("Services", None)
    replicas = [asyncio.create_task(run_schedules(fresh_database, nothing, recovers=False))]
    try:
        await _more(runs, 1)
        taken = (
            "UPDATE pgqueuer_schedules SET status = 'picked', heartbeat = now() - interval '1 day', "
            "next_run = now() + interval '1 day' WHERE entrypoint = 'stepgate-expiry' AND status = 'queued'"
        )
        while await link.execute(taken) != "UPDATE 1":  # it is in hand just now
            await asyncio.sleep(0.01)
        await _more(runs, 1)

        replicas.append(asyncio.create_task(run_schedules(fresh_database, nothing, recovers=False)))
        began, before = time.monotonic(), len(runs)
        await _more(runs, 3)
        assert len(runs) - before <= time.monotonic() - began + 2
        assert await link.fetchval("SELECT count(*) FROM pgqueuer_schedules WHERE entrypoint = 'stepgate-expiry'") == 1
    finally:
        for replica in replicas:
            replica.cancel()
        await asyncio.gather(*replicas, return_exceptions=True)
        await link.close()


async def _more(runs: list[float], number: int) -> None:
    """Wait for so many more runs."""
    ends = len(runs) + number
    async with asyncio.timeout(20):
        while len(runs) < ends:
            await asyncio.sleep(0.05)

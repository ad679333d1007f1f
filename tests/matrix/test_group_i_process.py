"""Group I of the matrix, what is not shown elsewhere: starts while GitHub is away or an installation is suspended, and
releases that follow each other while learners push."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from datetime import timedelta
from functools import partial
from signal import SIGTERM

import pytest

from sandbox import Fault
from sandbox.effects import Drop
from storage import inbox
from tests.support.course import answer, once, running_course, work_of
from tests.support.deliveries import World, world
from tests.support.effort import examples
from tests.support.outages import Pusher
from tests.support.worker_process import WorkerPlan, WorkerProcesses, ended, send_signal, until

LEARNERS = examples(10)
RELEASES = 2


@pytest.fixture(name="here")
async def _here(fresh_database: str, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[World]:
    """A running App, whose retries come at once."""
    monkeypatch.setattr("bot.worker.delay_before_retry", lambda *_: 0.05)
    monkeypatch.setattr("bot.worker.pause", lambda: 0.05)
    async with world(fresh_database) as here:
        yield here


async def test_a_start_while_github_is_away(here: World) -> None:
    """The App starts, takes deliveries and shows its pages; when GitHub is back everything is judged."""
    learner = await Pusher.enrol(here)
    away = here.line.sandbox.faults.add(Fault(Drop()))

    await here.line.restart()
    await learner.work(0, 1)
    await here.line.sandbox.idle()
    async with asyncio.timeout(20):
        while not away.fired:
            await asyncio.sleep(0.02)
    assert {row["state"] for row in await here.rows("push")} == {"waiting"}
    async with here.line.http.get(f"{here.line.pages}/healthz") as alive:
        assert alive.status == 200
    away.remove()
    await here.line.settle()

    assert await learner.differences() == []


async def test_a_start_with_one_suspended_installation(here: World) -> None:
    """It is left alone, others are served as ever; when it is back, what was pushed meanwhile is judged."""
    left, other = [await Pusher.enrol(here) for _ in range(2)]
    sandbox = here.line.sandbox
    (session,) = await here.line.fetch(
        "SELECT installation_id FROM repo_mapping WHERE provider_repo_id = $1", left.fork.id
    )
    await sandbox.suspend(session["installation_id"])
    await here.line.settle()

    await here.line.restart()
    before = len(sandbox.exchanges)
    await left.work(0)
    await other.work(0, 1)
    await here.line.settle()
    assert await other.differences() == []
    asked = [exchange for exchange in list(sandbox.exchanges)[before:] if left.fork.full_name in exchange.path]
    assert asked == []
    assert here.runs(left.fork, left.head) == []

    await sandbox.unsuspend(session["installation_id"])
    await here.line.settle()
    assert await left.differences() == []
    assert here.runs(left.fork, left.head)[-1][1] == "success"


async def test_releases_that_follow_each_other_under_load(fresh_database: str) -> None:
    """The next worker starts before the last one is told to stop: no push is lost, and none is answered twice."""
    async with running_course(fresh_database) as course:
        lease = timedelta(seconds=30)  # a lane that was not given back would be waited for, and fail this test
        plan = WorkerPlan.on(course.sandbox, course.dsn, course.folder / "workers.log", lease=lease, report_lease=lease)
        learners = await course.learners(LEARNERS)
        heads = [(await learner.commit(work_of(learner.repository.id)[0]))[0] for learner in learners]
        pushed = list(zip(learners, heads, strict=True))
        with WorkerProcesses(plan) as workers:
            running = workers.start()
            for release in range(RELEASES):
                before = await course.pool.fetchval("SELECT count(*) FROM push_attempt")
                for learner, head in pushed[release :: RELEASES + 1]:
                    await inbox.record(course.pool, [learner.push(learner.start, head)])
                at_work = partial(course.pool.fetchval, "SELECT count(*) > $1 FROM push_attempt", before)
                await until(at_work, what=f"release {release}")
                following = workers.start()
                send_signal(running, SIGTERM)
                assert await ended(running, 25) < 25
                assert running.exitcode == 0, workers.said()
                running = following
            rest = [learner.push(learner.start, head) for learner, head in pushed]
            known = {row["lane_id"] for row in await course.fetch("SELECT lane_id FROM delivery")}
            await inbox.record(course.pool, [push for push in rest if push.lane_id not in known])
            await until(lambda: course.done(LEARNERS), what="all pushes")
            assert [await answer(course, learner, head) for learner, head in pushed] == [once(head) for head in heads]

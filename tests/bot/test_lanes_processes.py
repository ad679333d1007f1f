"""Two worker processes, 1,200 shuffled and duplicated deliveries: order, one attempt each, the state git implies."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Sequence

from aiohttp import web

from storage.database import open_pool
from storage.inbox import NewDelivery, Recorder
from tests.support.course import Course, running_course
from tests.support.histories import History, compare, history, move_branch
from tests.support.lane_trace import OVERLAPS, TABLE
from tests.support.worker_process import WorkerPlan, WorkerProcesses, until

REPOSITORIES = 20
PUSHES = 40
WAVES = 8
DELIVERIES = 1200
CHUNK = 25


def waves(histories: Sequence[History], chance: random.Random) -> list[list[NewDelivery]]:
    """The deliveries in waves: shuffled, half of them sent twice, some of them a wave too late."""
    size = PUSHES // WAVES
    result: list[list[NewDelivery]] = [[] for _ in range(WAVES)]
    for told in histories:
        again = chance.sample(range(PUSHES), PUSHES // 2)
        for turn in [*range(PUSHES), *again]:
            late = chance.random() < 0.15
            result[min(turn // size + late, WAVES - 1)].append(told.pushes[turn])
    for wave in result:
        chance.shuffle(wave)
    assert sum(map(len, result)) == DELIVERIES
    return result


async def send(course: Course, histories: Sequence[History], plan: list[list[NewDelivery]]) -> None:
    """Record the waves through two receivers with a pool of their own each, while the workers are at it."""
    pools = [await open_pool(course.dsn, min_size=1, max_size=3) for _ in range(2)]
    recorders = [Recorder(pool) for pool in pools]
    try:
        for number, wave in enumerate(plan):
            for told in histories:
                move_branch(told, (number + 1) * PUSHES // WAVES)
            for start in range(0, len(wave), CHUNK):
                chunk = wave[start : start + CHUNK]
                await asyncio.gather(*(recorders[turn % 2].record(item) for turn, item in enumerate(chunk)))
                await asyncio.sleep(0.04)
    finally:
        for pool in pools:
            await pool.close()


async def slow(_request: web.Request) -> None:
    """GitHub takes its time, so that deliveries arrive while their lane is held."""
    await asyncio.sleep(0.02)


async def test_two_workers_keep_the_order_and_reach_the_state_that_git_implies(fresh_database: str) -> None:
    """No lane is worked on twice at a time, each delivery has one attempt, and ledger and sessions equal the oracle's.

    Guards binding.md section 4.5 (lanes): a claim that takes held lanes as well, in storage/lanes.py `_CLAIM` the line
    `WHERE leased_until IS NULL AND due_at <= now()`, lets stretches of work overlap.
    """
    chance = random.Random(20)
    async with running_course(fresh_database) as course:
        await course.pool.execute(TABLE)
        plan = WorkerPlan.on(
            course.sandbox, course.dsn, course.folder / "workers.log", seams=("tests.support.lane_trace:trace",)
        )
        learners = await course.learners(REPOSITORIES)
        histories = [await history(learner, number, PUSHES) for number, learner in enumerate(learners)]
        course.sandbox.faults.append(slow)
        with WorkerProcesses(plan) as workers:
            workers.start()
            workers.start()
            await send(course, histories, waves(histories, chance))
            await until(lambda: course.done(REPOSITORIES * PUSHES), 40, "all deliveries and reports")
            said = workers.said()
        assert await course.fetch(OVERLAPS) == []
        assert len(await course.fetch("SELECT DISTINCT pid FROM lane_trace")) == 2
        (tries,) = await course.fetch(
            "SELECT max(attempts) AS most, sum(attempts) AS made, "
            "count(*) FILTER (WHERE state = 'superseded') AS overtaken FROM delivery"
        )
        assert tries["most"] == 1
        assert tries["made"] + tries["overtaken"] == REPOSITORIES * PUSHES
        assert tries["overtaken"] > 0
        assert [wrong for told in histories for wrong in await compare(course, told)] == [], said
        assert await course.deadlocks() == 0

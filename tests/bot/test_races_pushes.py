"""200 pushes to 20 repositories at once, four workers in two processes: in the end, the state that git implies."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Sequence
from dataclasses import replace

from aiohttp import web

from storage.database import open_pool
from storage.inbox import NewDelivery, Recorder
from tests.support.course import Course
from tests.support.effort import examples
from tests.support.histories import compare, history, move_branch
from tests.support.lane_trace import OVERLAPS
from tests.support.worker_process import WorkerPlan, WorkerProcesses, until

REPOSITORIES = 20
PUSHES = 10
RECEIVERS = 4


async def receive(course: Course, deliveries: Sequence[NewDelivery]) -> int:
    """Some receivers record all of them side by side; how many were new."""
    pool = await open_pool(course.dsn, min_size=RECEIVERS, max_size=RECEIVERS)
    try:
        recorders = [Recorder(pool) for _ in range(RECEIVERS)]
        known = await asyncio.gather(
            *(recorders[turn % RECEIVERS].record(item) for turn, item in enumerate(deliveries))
        )
        return sum(known)
    finally:
        await pool.close()


async def test_pushes_at_once_end_in_the_state_that_git_implies(course: Course, plan: WorkerPlan) -> None:
    """In any order, each delivery twice: one attempt for each, sessions and reports as git and the rules alone have
    them, no lane in two hands, no deadlock. (In `make soak` with ten orders.)

    Guards binding.md sections 4.3, 4.5 and 4.7 together; tests/storage/test_guards_*.py take each guard out.
    """

    async def slow(_request: web.Request) -> None:
        await asyncio.sleep(0.01)

    four = replace(plan, environment=plan.environment | {"WORKER_CONCURRENCY": "2"})
    course.sandbox.faults.append(slow)
    with WorkerProcesses(four) as workers:
        workers.start()
        workers.start()
        for order in range(examples(1)):
            learners = [await course.learner(f"learner-{order}-{number}") for number in range(REPOSITORIES)]
            histories = [await history(learner, number, PUSHES) for number, learner in enumerate(learners)]
            for told in histories:
                move_branch(told, PUSHES)
            deliveries = [push for told in histories for push in (*told.pushes, *told.pushes)]
            random.Random(order).shuffle(deliveries)
            assert await receive(course, deliveries) == REPOSITORIES * PUSHES
            count = (order + 1) * REPOSITORIES * PUSHES
            await until(lambda count=count: course.done(count), 40, "all deliveries and reports")  # type: ignore[misc]
            wrong = [complaint for told in histories for complaint in await compare(course, told)]
            assert wrong == [], workers.said()
    assert await course.fetch(OVERLAPS) == []
    assert len(await course.fetch("SELECT DISTINCT pid FROM lane_trace")) == 2
    assert await course.deadlocks() == 0

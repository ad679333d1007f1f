"""Lanes with real worker processes: killed, frozen, slow, deaf, stopped; one decision for each push."""

from __future__ import annotations

import asyncio
import itertools
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from signal import SIGCONT, SIGTERM

from aiohttp import web

from storage import inbox
from tests.support.course import ZERO, Course, answer, once, push_one, reports, work_of
from tests.support.lane_trace import OVERLAPS
from tests.support.worker_process import WorkerPlan, WorkerProcesses, ended, send_signal, until


def at_point(course: Course, plan: WorkerPlan, what: str, point: str) -> tuple[WorkerPlan, Path]:
    """A plan for a worker that crashes or freezes at a point, with a log of its own; the file that tells of it."""
    reached = course.folder / f"{what} {point}".replace(" ", "-")
    seams = (*plan.seams, f"tests.support.crash_points:{what}_at")
    return replace(plan, log=reached.with_suffix(".log"), seams=seams, argument=f"{reached} {point}"), reached


async def test_a_killed_workers_lane_is_taken_over_after_its_lease(course: Course, plan: WorkerPlan) -> None:
    """Another worker that is up waits for the end of the lease, no longer, and finishes what was begun.

    Guards binding.md section 4.5: in storage/lanes.py `_CLAIM` the line `WHERE leased_until < now()` (without it the
    dead worker's delivery waits for ever).
    """
    learner = await course.learner("learner-one")
    with WorkerProcesses(plan) as workers:
        head = await push_one(course, learner)
        crashing, reached = at_point(course, plan, "crash", "after gather")
        await ended(workers.start(crashing))
        assert reached.exists()
        workers.start()
        await until(lambda: course.done(1), what="the take-over")
        assert await answer(course, learner, head) == once(head), workers.said()
    first, second = await course.fetch("SELECT token, begun FROM lane_trace ORDER BY trace_id")
    waited = (second["begun"] - first["begun"]).total_seconds()
    assert second["token"] > first["token"]
    assert 0.8 * plan.lease.total_seconds() < waited < plan.lease.total_seconds() + 3


FREEZES = {
    "after started": "lease_lost",
    "before gather": "lease_lost",
    "before save": "lease_lost",
    "after outbox.claim": "report_out_of_time",
    "before sent_check_run": "",
}


async def test_a_frozen_worker_that_wakes_after_its_lease_writes_nothing(course: Course, plan: WorkerPlan) -> None:
    """Its lane and its report were taken over meanwhile: waking, it neither decides nor posts a second time.

    Guards bot/publish.py `_send_check_run`, the line `if time.monotonic() > send_until`: what is posted twice cannot be
    taken back. What is saved is guarded more than once (tests/storage/test_guards_saving.py takes each guard out).
    """
    learners = await course.learners(len(FREEZES))
    with WorkerProcesses(plan) as workers:
        frozen, heads = {}, []
        for learner, point in zip(learners, FREEZES, strict=True):
            freezing, reached = at_point(course, plan, "freeze", point)
            heads.append(await push_one(course, learner))
            frozen[point] = workers.start(freezing), freezing.log
            await until(reached.exists, what=f"{point}: {freezing.log}")
        workers.start()
        await until(lambda: course.done(len(FREEZES)), what="the take-over of all lanes and reports")
        before = [await answer(course, *each) for each in zip(learners, heads, strict=True)]
        assert before == [once(head) for head in heads], workers.said()
        for process, _ in frozen.values():
            send_signal(process, SIGCONT)
        for point, (_, log) in frozen.items():
            await until(lambda log=log, word=FREEZES[point]: word in log.read_text(), 10, f"{point} in {log}")  # type: ignore[misc]
        for process, _ in frozen.values():  # whatever they still have in hand, they finish it
            send_signal(process, SIGTERM)
        for process, _ in frozen.values():
            await ended(process, 25)
        assert [await answer(course, *each) for each in zip(learners, heads, strict=True)] == before
        assert {process.exitcode for process, _ in frozen.values()} == {0}


async def test_a_slow_worker_keeps_its_lane_by_its_heartbeat(course: Course, plan: WorkerPlan) -> None:
    """A delivery that takes longer than the lease is not taken over as long as its worker says that it lives.

    Guards bot/worker.py `_work`, the line `heart = asyncio.create_task(self._beat(...))`.
    """

    slow = iter([1.5 * plan.lease.total_seconds()])

    async def very_slow(request: web.Request) -> None:
        if "/git/trees/" in request.path:
            await asyncio.sleep(next(slow, 0.0))

    course.sandbox.faults.append(very_slow)
    learner = await course.learner("learner-one")
    with WorkerProcesses(plan) as workers:
        workers.start()
        workers.start()
        head = await push_one(course, learner)
        await until(lambda: course.done(1), what="the slow push")
        assert await answer(course, learner, head) == once(head)
    assert len(await course.fetch("SELECT token FROM lane_trace")) == 1, "one claim"


async def test_a_worker_that_was_frozen_works_on(course: Course, plan: WorkerPlan) -> None:
    """After a freeze beyond its lease, with nobody else there, a worker takes its own lane again, and finishes."""
    learner = await course.learner("learner-one")
    with WorkerProcesses(plan) as workers:
        freezing, reached = at_point(course, plan, "freeze", "before save")
        head = await push_one(course, learner)
        process = workers.start(freezing)
        await until(reached.exists)
        await asyncio.sleep(plan.lease.total_seconds() + 0.2)
        send_signal(process, SIGCONT)
        await until(lambda: course.done(1), what="the end of the work")
        assert await answer(course, learner, head) == once(head)
    first, second = [row["token"] for row in await course.fetch("SELECT token FROM lane_trace ORDER BY 1")]
    assert second == first + 1


async def test_no_wake_up_is_lost_with_the_listening_connection(course: Course, plan: WorkerPlan) -> None:
    """Deliveries that are recorded just when the connection is cut are answered within seconds, each of them.

    Guards bot/worker.py `_wait`, the time-out (`POLL`), together with storage/notify.py `_listen`, the line
    `self._events[channel].set()`: each makes up for the other.
    """
    learner = await course.learner("learner-one")
    line = [learner.start, *await learner.commit(*work_of(1))]
    with WorkerProcesses(plan) as workers:
        workers.start()
        for number, (before, after) in enumerate(itertools.pairwise(line), start=1):
            await learner.reset(after)
            await course.pool.execute(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
                "WHERE application_name = 'stepgate listen' AND datname = current_database()"
            )
            await inbox.record(course.pool, [learner.push(before, after)])
            await until(lambda number=number: course.done(number), 8, workers.said())  # type: ignore[misc]
            assert (await answer(course, learner, after)) == once(after)


async def test_a_deaf_worker_finds_everything_by_looking(course: Course, plan: WorkerPlan) -> None:
    """Where no notification ever arrives, deliveries and reports are found all the same, some seconds later.

    Guards bot/worker.py `_wait`: `timeout=POLL if due_in is None else ...`.
    """
    learner = await course.learner("learner-one")
    line = [learner.start, *await learner.commit(*work_of(1)[:2])]
    with WorkerProcesses(replace(plan, seams=("tests.support.lane_trace:deafen",))) as workers:
        workers.start()
        await asyncio.sleep(1.0)  # it has looked, and found nothing
        for number, (before, after) in enumerate(itertools.pairwise(line), start=1):
            await learner.reset(after)
            await inbox.record(course.pool, [learner.push(before, after)])
            await until(lambda number=number: course.done(number), 10, workers.said())  # type: ignore[misc]
            assert (await answer(course, learner, after)) == once(after)


BRANCHES = 20


async def test_a_stop_under_load_loses_nothing_and_does_nothing_twice(course: Course, plan: WorkerPlan) -> None:
    """SIGTERM: the worker finishes what it has in hand, gives back the rest and ends well; another one goes on.

    Guards bot/worker.py `_work`, the words `not stop.is_set()` (else a long lane is worked off first), and `run`, the
    line `await asyncio.wait({lanes_loop})` (the loops end by themselves: a claim that is cancelled is left behind).
    """

    async def slow(_request: web.Request) -> None:
        await asyncio.sleep(0.05)

    course.sandbox.faults.append(slow)
    learners = await course.learners(12)
    lines = [[learner.start, *await learner.commit(*work_of(1))] for learner in learners]
    with WorkerProcesses(replace(plan, lease=timedelta(seconds=30), report_lease=timedelta(seconds=60))) as workers:
        long = await course.learner("learner-two")
        await long.branches(BRANCHES)
        many = [long.push(ZERO, long.start, ref=f"refs/heads/b{number}") for number in range(BRANCHES)]
        await inbox.record(course.pool, many)
        slowly = "tests.support.lane_trace:claim_slowly"
        stopped = workers.start(replace(workers.plan, seams=(*plan.seams, slowly)))
        count = len(many)
        for turn in range(3):
            for learner, line in zip(learners, lines, strict=True):
                await learner.reset(line[turn + 1])
                await inbox.record(course.pool, [learner.push(line[turn], line[turn + 1])])
                count += 1
            if turn == 0:
                await until(lambda: course.pool.fetchval("SELECT EXISTS (SELECT FROM push_attempt)"))
                send_signal(stopped, SIGTERM)
        assert await ended(stopped, 25) < 25
        assert stopped.exitcode == 0
        left = "SELECT count(*) FROM delivery WHERE state = 'waiting' AND lane_id = $1"
        assert 0 < await course.pool.fetchval(left, long.lane_id) < BRANCHES, (
            "the long lane was worked off, or not begun"
        )
        held = "SELECT (SELECT count(*) FROM lane WHERE holder IS NOT NULL) + (SELECT count(*) FROM outbox WHERE holder"
        assert await course.pool.fetchval(f"{held} IS NOT NULL)") == 0
        course.sandbox.faults.clear()
        workers.start()
        await until(lambda: course.done(count), what="the rest")
    attempts = await course.fetch("SELECT count(*) AS n FROM push_attempt GROUP BY delivery_id")
    assert [row["n"] for row in attempts] == [1] * count
    assert await course.fetch(OVERLAPS) == []
    for learner, line in zip(learners, lines, strict=True):
        runs = [reports(course, learner, sha)[0] for sha in line[1:]]
        assert all(each in ([], ["success"]) for each in runs)
        assert runs[-1] == ["success"]

"""kill -9 between a delivery's receipt and its stored report: another worker finishes, and nobody sees a difference."""

from __future__ import annotations

from datetime import timedelta

import pytest

from storage import inbox
from tests.support.course import Course, Learner, reports, running_course, work_of
from tests.support.crash_points import JUDGING_POINTS, REPORTING_POINTS
from tests.support.worker_process import WorkerPlan, WorkerProcesses, ended, until

#: Long enough that a dead worker's lane is mostly taken over by a rescuer, not by the next one that is to die.
LEASE = timedelta(seconds=3)


async def crash(course: Course, workers: WorkerProcesses, learner: Learner, point: str) -> str:
    """Let a worker process die at a point on a push's way; the head that was pushed."""
    (head,) = await learner.commit(work_of(learner.repository.id)[0])
    await inbox.record(course.pool, [learner.push(learner.start, head)])
    reached = course.folder / point.replace(" ", "-")
    seams = ("tests.support.crash_points:crash_at",)
    plan = WorkerPlan.on(
        course.sandbox,
        course.dsn,
        course.folder / "workers.log",
        lease=LEASE,
        report_lease=LEASE,
        seams=seams,
        argument=f"{reached} {point}",
    )
    process = workers.start(plan)
    await ended(process)
    assert process.exitcode == -9, f"{point}: the worker ended with {process.exitcode}: {workers.said()}"
    assert reached.exists(), f"{point} was not reached"
    return head


async def complaints(course: Course, learner: Learner, head: str) -> list[str]:
    """What is wrong with the answer to a push, which was one accepted commit on a fresh fork."""
    deliveries = await course.fetch("SELECT state, outcome FROM delivery WHERE lane_id = $1", learner.lane_id)
    attempts = await course.fetch(
        "SELECT trigger, verdict, after_sha FROM push_attempt WHERE session_id = $1", learner.session_id
    )
    (session,) = await course.fetch(
        "SELECT accepted_sha, head_sha, status FROM lab_session WHERE session_id = $1", learner.session_id
    )
    outbox = await course.fetch(
        "SELECT state, check_run_id, status_id FROM outbox WHERE repo_id = $1 AND head_sha = $2",
        learner.repository.id,
        head,
    )
    name = learner.repository.full_name
    ids = [run["id"] for run in course.sandbox.check_runs(name, head)]
    runs, states = reports(course, learner, head)
    statuses = {status["id"] for status in course.sandbox.statuses(name, head)}
    expected: list[tuple[str, object, object]] = [
        ("decision", deliveries, [{"state": "done", "outcome": "accepted"}]),
        ("ledger", attempts, [{"trigger": "push", "verdict": "accepted", "after_sha": head}]),
        ("session", session, {"accepted_sha": head, "head_sha": head, "status": "IN_PROGRESS"}),
        ("check runs", runs, ["success"]),
        ("statuses", set(states), {"success"}),
        ("outbox", [row["state"] for row in outbox], ["sent"]),
        ("stored check-run id", [row["check_run_id"] for row in outbox], ids),
        ("stored status id", {row["status_id"] for row in outbox} <= statuses, True),
    ]
    return [f"{what}: {found} instead of {wanted}" for what, found, wanted in expected if found != wanted]


@pytest.mark.parametrize("points", [JUDGING_POINTS, REPORTING_POINTS], ids=["judging", "reporting"])
async def test_a_killed_worker_leaves_nothing_undone_and_nothing_twice(
    fresh_database: str, points: tuple[str, ...]
) -> None:
    """At every point: the push has one decision, its head one check run, the right status, and nothing waits."""
    async with running_course(fresh_database) as course:
        plan = WorkerPlan.on(course.sandbox, course.dsn, course.folder / "workers.log", lease=LEASE, report_lease=LEASE)
        with WorkerProcesses(plan) as workers:
            pushed = {}
            for point, learner in zip(points, await course.learners(len(points)), strict=True):
                pushed[point] = learner, await crash(course, workers, learner, point)
            workers.start()
            workers.start()
            await until(lambda: course.done(len(points)), what="the rescue")
            wrong = {
                point: found
                for point, (learner, head) in pushed.items()
                if (found := await complaints(course, learner, head))
            }
            assert wrong == {}, workers.said()


def test_the_points_cover_the_way_from_receipt_to_the_stored_report() -> None:
    """There are thirty points, each named once."""
    points = (*JUDGING_POINTS, *REPORTING_POINTS)
    assert len(set(points)) == len(points) >= 30

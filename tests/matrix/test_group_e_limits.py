"""Group E: the traffic that GitHub sees when a class pushes at once: distance, points, concurrency, turns, and other
installations.

Two worker processes on one database; what is measured is what arrives at the sandbox. `make soak` takes a class of 500.
"""

from __future__ import annotations

import asyncio
import os
import time
from dataclasses import dataclass, replace
from itertools import pairwise

import pytest

from bot.publish import LEASE
from rules.model import Account, AccountKind, Installation, InstallationState, Repo
from sandbox import effects
from sandbox.exchanges import Exchange
from sandbox.faults import Fault
from storage import accounts, inbox, sessions
from storage.audit import AuditEvent
from storage.inbox import NewDelivery
from tests.support.bindings import cover
from tests.support.course import Course, Learner, running_course, work_of
from tests.support.githost import run
from tests.support.worker_process import WorkerPlan, WorkerProcesses, until

SOAK = os.environ.get("SOAK") == "1"
LEARNERS = 500 if SOAK else 16
DISTANCE = 0.2
PATIENCE = 600.0 if SOAK else 60.0
# The class pushes within a minute, one of it ten times a second.
WITHIN = 60.0 if SOAK else 1.0
BUSY_PUSHES = 600 if SOAK else 12

# What the way from a worker to the sandbox may take longer for one request than for the next: on a busy machine, and
# with the sandbox's git for 500 repositories, a stall of its loop lets requests be served at once that came apart.
JITTER = 2.0 if SOAK else 0.4
IN_A_ROW = (50, 300) if SOAK else (10, 30)


@dataclass(frozen=True)
class Told:
    """A report as GitHub got it: of which repository, when it was wanted, when its check run came."""

    repo_id: int
    wanted_at: float
    posted_at: float


async def a_class(course: Course, count: int) -> list[Learner]:
    """Learners whose repositories belong to one organisation, with one installation, and are bound already."""
    course.sandbox.add_account("octo-class", "Organization")
    forks = [
        await course.sandbox.fork(course.template.full_name, "octo-class", name=f"lab-{number}")
        for number in range(count)
    ]
    installed = await course.sandbox.install("octo-class", [fork.full_name for fork in forks])
    owner = Account(forks[0].owner.id, "octo-class", AccountKind.ORGANIZATION)
    installation = Installation(installed.id, owner, InstallationState.ACTIVE, "selected", installed.permissions)
    await accounts.upsert_installation(course.pool, installation)
    await cover(course.pool, installed.id, {fork.id: fork.full_name for fork in forks})
    start = await run("rev-parse", "main", cwd=forks[0].path)
    learners = []
    for fork in forks:
        session, _ = await sessions.create_and_bind(
            course.pool,
            version=course.version,
            learner=Account(10_000 + fork.id, f"learner-of-{fork.name}", AccountKind.USER),
            repo=Repo(fork.id, fork.full_name, owner, fork.private, fork.default_branch),
            installation_id=installed.id,
            source="staff",
            event=AuditEvent("bound"),
        )
        learners.append(Learner(fork, installed.id, session.session_id, start))
    return learners


def writes(course: Course, installation_id: int) -> list[Exchange]:
    """What was written at GitHub with the installation's token, in the order of arrival."""
    caller = f"installation ID {installation_id}"
    found = [told for told in course.sandbox.exchanges if told.caller == caller and told.method != "GET"]
    return sorted(found, key=lambda told: told.at)


async def told_of(course: Course, class_: list[Learner]) -> list[Told]:
    """The class's reports in the order in which their check runs came."""
    installation_id = class_[0].installation_id
    rows = await course.fetch(
        "SELECT repo_id, head_sha, extract(epoch FROM created_at)::float8 AS at FROM outbox WHERE installation_id = $1",
        installation_id,
    )
    wanted = {row["head_sha"] + str(row["repo_id"]): row for row in rows}
    ids = {learner.repository.full_name: learner.repository.id for learner in class_}
    found = []
    for told in writes(course, installation_id):
        if told.path.endswith("/check-runs"):
            repo_id = ids["/".join(told.path.removeprefix("/api/v3/repos/").split("/")[:2])]
            row = wanted[told.request_json["head_sha"] + str(repo_id)]
            found.append(Told(repo_id, row["at"], told.at))
    return found


def shortest_span(at: list[float], count: int) -> float:
    """The shortest time in which so many requests came one after another."""
    return min(later - earlier for earlier, later in zip(at, at[count - 1 :], strict=False))


async def commits_of(learners: list[Learner]) -> list[NewDelivery]:
    """One accepted commit of each, and the deliveries that tell of them."""
    files = work_of(1)[0]
    heads = [(await learner.commit(files))[0] for learner in learners]
    return [learner.push(learner.start, head) for learner, head in zip(learners, heads, strict=True)]


async def many_commits_of(learner: Learner, count: int) -> list[NewDelivery]:
    """The deliveries of as many pushes to one repository."""
    heads = await learner.commit(*({"report/bug.md": f"Expected: {number}\nActual: 3\n"} for number in range(count)))
    return [learner.push(before, head) for before, head in pairwise([learner.start, *heads])]


async def deliver(course: Course, pushes: list[NewDelivery], every: float) -> None:
    """Deliver one push after another."""
    for push in pushes:
        assert await inbox.record(course.pool, [push]) == [True]
        await asyncio.sleep(every)


@pytest.mark.timeout(1800 if SOAK else 120)
async def test_a_class_that_pushes_at_once_is_reported_as_fast_as_allowed(fresh_database: str) -> None:
    """Two workers keep the distance of writes, points and concurrency together; a busy repository delays the others by
    a few turns at most, and nobody else's installation waits for the class.
    """
    async with running_course(fresh_database) as course:
        class_ = await a_class(course, LEARNERS)
        installation_id, busy = class_[0].installation_id, class_[0]
        alone = await course.learner("learner-alone")
        pushes, again = await commits_of(class_[1:]), await many_commits_of(busy, BUSY_PUSHES)
        (last,) = await commits_of([alone])
        limits = effects.Rates(points_per_minute=900, concurrent=100, content_per_minute=None, content_per_hour=None)
        armed = course.sandbox.faults.add(Fault(limits))
        plan = WorkerPlan.on(course.sandbox, course.dsn, course.folder / "workers.log", report_lease=LEASE)
        plan = replace(plan, environment={**plan.environment, "GITHUB_WRITE_INTERVAL": str(DISTANCE)})
        with WorkerProcesses(plan) as workers:
            workers.start()
            workers.start()
            begun = time.time()
            ten_a_second = asyncio.create_task(deliver(course, again, 0.1))
            await deliver(course, pushes, WITHIN / LEARNERS)
            await deliver(course, [last], 0.0)
            await ten_a_second
            await until(lambda: course.done(LEARNERS + BUSY_PUSHES), PATIENCE, workers.said())
        at = [told.at for told in writes(course, installation_id)]
        reports = await told_of(course, class_)
        (answer,) = await told_of(course, [alone])

    assert {told.repo_id for told in reports} == {learner.repository.id for learner in class_}
    for count in IN_A_ROW:
        assert shortest_span(at, count) > (count - 1) * DISTANCE - JITTER
    assert max(at) - begun < WITHIN + len(at) * DISTANCE * 1.5 + 15, "the budget was not made use of"
    book = armed.state
    assert not book.refused, book.refused
    assert 0 < book.peaks["points_per_minute"] <= 900
    assert 0 < book.peaks["concurrent"] <= 100
    slowest = max(told.posted_at - told.wanted_at for told in reports)
    assert answer.posted_at - answer.wanted_at < min(2.5, slowest), "another installation had to wait for the class"
    for quiet in reports:
        if quiet.repo_id != busy.repository.id:
            between = [
                other
                for other in reports
                if other.repo_id == busy.repository.id and quiet.wanted_at < other.posted_at < quiet.posted_at
            ]
            assert len(between) <= 2 + 2 + len(reports) // 200, "two in hand and two turns"

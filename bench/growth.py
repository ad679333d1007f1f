"""growth: what a push costs in the database when a course has grown, against one that has just begun.

The same pushes, statement by statement as a worker makes them, go to four databases in turn: a small one (the
reference), and three with a million attempts, audit events, deliveries and reports, of 100, 10,000 and 100,000
sessions. Commits are not waited for (synchronous_commit off): waiting for the disk is the same for all, and would hide
what grows.
"""

from __future__ import annotations

import secrets
import time
from collections import defaultdict
from collections.abc import AsyncIterator, Awaitable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from typing import TypeVar
from uuid import uuid4

from bench.figures import Figure, percentile
from bench.growth_rows import Seat, fill, wait_for_no_disk
from bench.lab import Shape
from bench.processes import BenchError, Place, database
from rules.labfile import parse_lab
from rules.model import CheckRunReport, Lab, LabVersion, Push, Report, StatusReport, Verdict
from storage import accounts, inbox, labs, lanes, outbox, progress, sessions
from storage.audit import AuditEvent
from storage.database import Pool, open_pool
from storage.mappings import Mappings
from storage.migrate import migrate
from storage.outbox import WantedReport
from storage.progress import SaveResult, SaveVerdict

TARGET = 1.2
LEASE = timedelta(seconds=30)
BODY = b'{"padding": "' + b"x" * 8000 + b'"}'
CHECK = "forgea/steps"

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Size:
    """How many sessions, with how many rows of each ledger; `pushes` that are measured in each database."""

    begun: int = 100
    begun_rows: int = 1_000
    sessions: tuple[int, ...] = (100, 10_000, 100_000)
    rows: int = 1_000_000
    pushes: int = 400


SMALL = Size(begun=5, begun_rows=20, sessions=(5, 50), rows=200, pushes=3)


@dataclass(slots=True)
class Course:
    """A database with its sessions. `times`: seconds of each push, and of each part of it."""

    name: str
    pool: Pool
    version: LabVersion
    sessions: int
    times: dict[str, list[float]] = field(default_factory=lambda: defaultdict(list))

    async def timed(self, part: str, work: Awaitable[T]) -> T:
        """Do a part of a push."""
        begun = time.perf_counter()
        result = await work
        self.times[part].append(time.perf_counter() - begun)
        return result

    async def push(self) -> None:
        """A push of some learner, from its receipt to its sent report: the statements, without what is between."""
        seat, pool = Seat(1 + secrets.randbelow(self.sessions)), self.pool
        repo, guid, after = seat.repo, uuid4(), secrets.token_hex(20)
        lane_id = f"repo:{repo.repo_id}"
        delivery = inbox.NewDelivery(guid, "push", None, seat.installation_id, repo.repo_id, lane_id, BODY)
        begun = time.perf_counter()
        await self.timed("record", inbox.record(pool, [delivery]))
        lane = await self.timed("claim", lanes.claim(pool, "bench", LEASE))
        if lane is None or lane.lane_id != lane_id:
            raise BenchError(f"the lane of {repo.full_name} was not due")
        (waiting,) = await self.timed("waiting", inbox.waiting(pool, lane))
        await self.timed("started", inbox.started(pool, lane, [waiting.inbox_id]))
        await self.timed("coverage", accounts.coverage(pool, seat.installation_id, repo.repo_id))
        await self.timed("mapping", Mappings(pool).find(repo.repo_id))
        learner = repo.owner.account_id
        await self.timed("candidates", sessions.candidates(pool, self.version.lab_id, learner, repo.repo_id))
        state = await self.timed("state", progress.judging_state(pool, seat.session_id, heads=[after]))
        if state is None:
            raise BenchError(f"session {seat.session_id} is not there")
        before = state.session.accepted_sha or ""
        push = Push(guid, seat.installation_id, repo, "refs/heads/main", before, after, sender_id=learner)
        report = _report(after)
        save = SaveVerdict(
            lane=lane,
            state=state,
            trigger="push",
            ref=push.ref,
            verdict=_verdict(before, after),
            facts_digest="",
            push=push,
            report=WantedReport(repo.repo_id, seat.installation_id, repo.full_name, seat.session_id, report),
            deliveries=(waiting.inbox_id,),
            audit=(AuditEvent("bench", session_id=seat.session_id, repo_id=repo.repo_id),),
        )
        if (result := await self.timed("save", progress.save(pool, save))) is not SaveResult.SAVED:
            raise BenchError(f"a verdict was not saved: {result}")
        await self.timed("release", lanes.release(pool, lane))
        (item,) = await self.timed("claim_report", outbox.claim(pool, "bench", LEASE, 1))
        await self.timed("sent", outbox.sent_check_run(pool, item, 1))
        await self.timed("sent", outbox.sent_status(pool, item, 1))
        self.times["push"].append(time.perf_counter() - begun)

    def middle(self, part: str) -> float:
        """Milliseconds, the median."""
        return 1000 * percentile(self.times[part], 0.5)


def _verdict(before: str, after: str) -> Verdict:
    done = frozenset({"step-0", "step-1"})
    return Verdict(
        head_sha=after,
        accepted_before=before,
        blocked=False,
        done_before=done,
        done_after=done,
        gains=(),
        losses=(),
        violations=(),
        paths=(),
        steps=(),
        complete=False,
        rewrite=False,
    )


def _report(after: str) -> Report:
    check_run = CheckRunReport(CHECK, after, "success", "2 of 5 steps are done", "A summary of some length. " * 40)
    return Report(check_run, StatusReport(CHECK, after, "success", "2 of 5 steps are done"), f"digest of {after}")


@asynccontextmanager
async def course(place: Place, name: str, sessions_: int, rows: int) -> AsyncIterator[Course]:
    """A database with a course of this size."""
    async with database(place.server) as dsn:
        await migrate(dsn)
        await wait_for_no_disk(dsn)
        pool = await open_pool(dsn, min_size=1, max_size=1)
        try:
            lab = await labs.add(
                pool,
                slug="bench",
                title="Bench",
                base_repo_id=1,
                base_repo_full_name="octo-course/bench-lab",
                base_installation_id=None,
            )
            version = await labs.publish(
                pool, lab.lab_id, commit_sha="1" * 40, tree_sha="2" * 40, lab=_lab(), digest="bench"
            )
            await fill(dsn, version, sessions_, rows)
            yield Course(name, pool, version, sessions_)
        finally:
            await pool.close()


def _lab() -> Lab:
    lab = parse_lab(Shape().lab_file()).lab
    if lab is None:
        raise BenchError("the lab of the bench has problems")
    return lab


async def measure(place: Place, size: Size) -> list[Figure]:
    """The figures."""
    async with AsyncExitStack() as stack:
        begun = await stack.enter_async_context(course(place, "begun", size.begun, size.begun_rows))
        grown = [
            await stack.enter_async_context(course(place, f"growth_{number}", number, size.rows))
            for number in size.sessions
        ]
        for turn in range(size.pushes + max(2, size.pushes // 10)):
            if turn == max(2, size.pushes // 10):  # from here on everything is warm
                for each in (begun, *grown):
                    each.times.clear()
            for each in (begun, *grown):
                await each.push()
    return [_figure(each, begun, size) for each in grown]


def _figure(grown: Course, begun: Course, size: Size) -> Figure:
    parts = {part: grown.middle(part) - begun.middle(part) for part in begun.times if part != "push"}
    most = sorted(parts, key=lambda part: parts[part], reverse=True)[:3]
    told = ", ".join(f"{part} {begun.middle(part):.2f} to {grown.middle(part):.2f} ms" for part in most)
    note = (
        f"{grown.sessions} sessions, {size.rows} attempts and audit events; reference: {begun.sessions} sessions, "
        f"{size.begun_rows}; grew most: {told}"
    )
    return Figure(grown.name, grown.middle("push"), begun.middle("push"), "ms", "<=", TARGET, note)

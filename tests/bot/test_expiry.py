"""Deadlines that pass without anybody doing anything: closed by the clock, once, without a word to GitHub."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta
from typing import Any, cast

import asyncpg

from bot.schedules import OVERDUE, expire_overdue
from bot.services import Services
from rules.model import Account, AccountKind, SessionStatus
from storage import progress, sessions
from storage.database import Pool, open_pool
from storage.progress import SaveResult
from tests.support.bindings import Bound, bind, publish
from tests.support.direct import begin
from tests.support.judgements import judged, saved
from tests.support.learners import open_course, open_lab, template_files
from tests.support.line import running_line


class _Only:
    """Services of which only the database is used: everything else would be a call of GitHub."""

    def __init__(self, pool: Pool) -> None:
        self.pool = pool


def services(pool: Pool) -> Services:
    """The database, and nothing else."""
    return cast("Services", _Only(pool))


async def statuses(pool: Pool) -> list[tuple[str, str | None]]:
    """Status and cause of all sessions, by learner."""
    rows = await pool.fetch("SELECT status, deferred_by FROM lab_session ORDER BY learner_account_id")
    return [(row["status"], row["deferred_by"]) for row in rows]


async def a_session(pool: Pool, number: int, published: Any, deadline: datetime | None, **fields: Any) -> Bound:
    """Somebody's session with this deadline, and these columns."""
    learner = Account(600 + number, f"learner-{number}", AccountKind.USER)
    bound = await bind(pool, owner=learner, repo_id=600 + number, installation_id=600 + number, published=published)
    assignments = "".join(f", {name} = ${at}" for at, name in enumerate(fields, 3))
    await pool.execute(
        f"UPDATE lab_session SET expires_at = $2{assignments} WHERE session_id = $1",
        bound.session.session_id,
        deadline,
        *fields.values(),
    )
    return bound


async def test_only_what_is_due_is_closed(fresh_database: str) -> None:
    """Open and away sessions are closed once their deadline has passed; finished ones, and those that staff paused,
    are not. Each change has its audit row, and open pages hear of it."""
    pool = await open_pool(fresh_database, max_size=4)
    try:
        published = await publish(pool)
        now = datetime.now(UTC)
        past, later = now - timedelta(seconds=1), now + timedelta(hours=1)
        await a_session(pool, 1, published, past)
        await a_session(pool, 2, published, later)
        await a_session(pool, 3, published, None)
        await a_session(pool, 4, published, past, status="STUCK", help_at=now, help_words="help")
        await a_session(pool, 5, published, past, status="VERIFIED_PASS")
        await a_session(pool, 6, published, past, status="DEFERRED", deferred_by="staff")
        await a_session(pool, 7, published, past, status="DEFERRED", deferred_by="installation")
        heard: list[str] = []
        link = await asyncpg.connect(fresh_database)
        try:
            await link.add_listener("session_changed", lambda *given: heard.append(str(given[-1])))
            assert await expire_overdue(services(pool)) == 3
            await link.fetchval("SELECT 1")
        finally:
            await link.close()
        assert await statuses(pool) == [
            ("EXPIRED", None),
            ("IN_PROGRESS", None),
            ("IN_PROGRESS", None),
            ("EXPIRED", None),
            ("VERIFIED_PASS", None),
            ("DEFERRED", "staff"),
            ("EXPIRED", None),
        ]
        assert len(set(heard)) == 3
        rows = await pool.fetch(
            "SELECT actor_id, detail FROM audit_event WHERE kind = 'status_changed' ORDER BY event_id"
        )
        assert [(row["actor_id"], row["detail"]["reason"], row["detail"]["to"]) for row in rows] == [
            (None, "the deadline has passed", "EXPIRED")
        ] * 3
        assert await pool.fetchval("SELECT count(*) FROM lab_session WHERE help_at IS NOT NULL") == 0
        assert await expire_overdue(services(pool)) == 0
    finally:
        await pool.close()


async def test_two_replicas_close_each_session_once(fresh_database: str) -> None:
    """More sessions than one look takes, and two workers at once: every one is closed, with one audit row."""
    pools = [await open_pool(fresh_database, max_size=4) for _ in range(2)]
    try:
        published = await publish(pools[0])
        await pools[0].execute(
            "INSERT INTO github_account (account_id, login, kind) "
            "SELECT 5000 + n, 'learner-' || n, 'User' FROM generate_series(1, $1::integer) AS n",
            OVERDUE + 20,
        )
        await pools[0].execute(
            "INSERT INTO lab_session (session_id, lab_id, lab_version_id, learner_account_id, expires_at) "
            "SELECT gen_random_uuid(), $2, $3, 5000 + n, now() - make_interval(secs => n) "
            "FROM generate_series(1, $1::integer) AS n",
            OVERDUE + 20,
            published[0].lab_id,
            published[1].lab_version_id,
        )
        closed = await asyncio.gather(*(expire_overdue(services(pool)) for pool in pools))
        # One that found only the other's may have stopped early: the next minute finds nothing left.
        assert sum(closed) + await expire_overdue(services(pools[0])) == OVERDUE + 20
        assert set(await statuses(pools[0])) == {("EXPIRED", None)}
        events = await pools[0].fetchval("SELECT count(*) FROM audit_event WHERE kind = 'status_changed'")
        assert events == OVERDUE + 20
    finally:
        for pool in pools:
            await pool.close()


async def test_a_push_that_is_being_judged_does_not_slip_through(fresh_database: str) -> None:
    """A verdict on a push that came too late, computed before that was noticed, is not saved over the deadline."""
    pool = await open_pool(fresh_database, max_size=4)
    try:
        bound = await bind(pool)
        await saved(pool, bound, "a", gains=("one",))
        save, _ = await judged(pool, bound, "b", gains=("two",))
        await pool.execute("UPDATE lab_session SET expires_at = now() - interval '1 hour'")
        assert await expire_overdue(services(pool)) == 1
        assert await progress.save(pool, save) is SaveResult.STALE_BINDING
        after = await sessions.get(pool, bound.session.session_id)
        assert after is not None
        assert (after.status, after.accepted_sha) == (SessionStatus.EXPIRED, save.state.session.accepted_sha)
    finally:
        await pool.close()


async def test_the_page_and_the_next_push_tell_and_the_verdict_stays(fresh_database: str) -> None:
    """Expired by the clock: no request to GitHub; the page says so; a push is answered with it, an old head keeps its
    verdict; and an extension by staff goes on where the learner was."""
    async with running_line(fresh_database) as line:
        await open_course(line)
        await open_lab(line, "lab", template_files())
        learner = await begin(line, "lab")
        head = await learner.push({"report/bug.md": "# Bug\n\nIt counts words wrong: `count` of an empty text is 1.\n"})
        async with asyncio.timeout(10):  # the worker has told PgQueuer that it wants to look each minute
            while not await line.fetch("SELECT FROM pgqueuer_schedules WHERE entrypoint = 'stepgate-expiry'"):
                await asyncio.sleep(0.02)
        before, asked = learner.told(head), len(line.sandbox.exchanges)
        await line.pool.execute("UPDATE lab_session SET expires_at = now()")

        assert await expire_overdue(line.services) == 1

        await line.settle()
        assert len(line.sandbox.exchanges) == asked
        assert learner.told(head) == before
        assert "deadline" in (await line.page(f"/sessions/{learner.session_id}")).lower()
        late = await learner.push({"NOTES.md": "too late\n"})
        assert learner.run(late)["conclusion"] == "neutral"
        assert "deadline" in learner.text(late)
        assert (await learner.session())["accepted_sha"] == head
        await learner.clone.push("--force", f"{head}:main")
        await line.settle()
        assert learner.told(head) == before


async def test_a_push_that_came_in_time_counts_however_long_it_waits(fresh_database: str) -> None:
    """Two pushes wait when the deadline's end is noticed, one from before it: that one is judged at its own head and
    counts, the later one is refused, and only then the session is closed."""
    async with running_line(fresh_database) as line:
        await open_course(line)
        await open_lab(line, "lab", template_files())
        learner = await begin(line, "lab")
        lane = f"repo:{learner.repo_id}"
        async with line.pool.acquire() as held:  # as if another worker had the lane
            await line.pool.execute(
                "UPDATE lane SET holder = 'another', leased_until = now() + interval '1 hour' WHERE lane_id = $1", lane
            )
            timely = await learner.clone.commit({"report/bug.md": "# Bug\n\nIt counts words wrong.\n"})
            await learner.clone.push()
            late = await learner.clone.commit({"NOTES.md": "too late\n"})
            await learner.clone.push()
            async with asyncio.timeout(10):
                while await held.fetchval("SELECT count(*) FROM delivery WHERE event = 'push' AND state='waiting'") < 2:
                    await asyncio.sleep(0.02)
            await held.execute(
                "UPDATE lab_session SET expires_at = now() - interval '1 minute'; "
                "UPDATE delivery SET received_at = now() - interval '2 minutes' WHERE inbox_id = "
                "(SELECT min(inbox_id) FROM delivery WHERE event = 'push' AND state = 'waiting')"
            )
            assert await expire_overdue(line.services) == 0
            await held.execute("UPDATE lane SET leased_until = now(), due_at = now() WHERE lane_id = $1", lane)
        await line.settle()

        assert (await learner.session())["accepted_sha"] == timely
        assert learner.told(timely) == ("success", "success")
        assert learner.run(late)["conclusion"] == "neutral"
        assert "deadline" in learner.text(late)
        assert (await learner.session())["status"] == "EXPIRED"

"""Pushes around a deadline: each counts by when it came, also if we were away then, and none counts that came later."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from datetime import timedelta
from uuid import UUID

import pytest

from bot.recovery import DeliveryPoller
from bot.schedules import expire_overdue
from storage.wakeups import wake
from tests.support.deliveries import WORK, World, world
from tests.support.outages import Pusher, lose


@pytest.fixture(name="here")
async def _here(fresh_database: str) -> AsyncIterator[World]:
    """A running App with a published lab."""
    async with world(fresh_database) as here:
        yield here


async def deadline_is_now(here: World, ago: timedelta = timedelta(0)) -> None:
    """The deadline of all sessions is this moment, or was so long ago."""
    await here.line.pool.execute("UPDATE lab_session SET expires_at = now() - $1::interval", ago)


async def taken(here: World) -> int:
    """Take what is missing from GitHub's log, and let it be judged; how much it was."""
    await here.line.sandbox.idle()
    count = await DeliveryPoller(here.line.pool, here.line.services.app, receives=True).look()
    await here.line.settle()
    return count


async def lost(pusher: Pusher, *parts: int) -> None:
    """Push parts of the work while we cannot be reached."""
    away = lose(pusher.here.line, "failed", event="push|check_suite")
    await pusher.work(*parts)
    await pusher.here.line.sandbox.idle()
    away.remove()


async def stands(pusher: Pusher) -> tuple[str, str | None, list[str]]:
    """The session's status, the head that counts, and what became of each push."""
    session = await pusher.session()
    return session["status"], session["accepted_sha"], [row["verdict"] for row in await pusher.attempts()]


async def test_a_push_that_is_found_after_the_deadline_counts_by_when_github_sent_it(here: World) -> None:
    """We were away when it was pushed. The session was closed by the clock and a later push was refused; the one in
    time is judged at its own head and counts, and the session is closed again."""
    pusher = await Pusher.enrol(here)
    await lost(pusher, 0, 1)
    timely = pusher.head
    await deadline_is_now(here)
    assert await expire_overdue(here.line.services) == 1
    late = await pusher.push(WORK[2])
    await here.line.settle()
    assert [conclusion for _, conclusion in here.runs(pusher.fork, late)] == ["neutral"]

    assert await taken(here) == 2

    await expire_overdue(here.line.services)
    assert (await stands(pusher))[:2] == ("EXPIRED", timely)
    assert [conclusion for _, conclusion in here.runs(pusher.fork, timely)] == ["success"]
    assert [conclusion for _, conclusion in here.runs(pusher.fork, late)] == ["neutral"]
    told = await here.line.fetch("SELECT detail FROM audit_event WHERE kind = 'status_changed' ORDER BY event_id")
    assert [(row["detail"]["from"], row["detail"]["to"]) for row in told] == [
        ("IN_PROGRESS", "EXPIRED"),
        ("EXPIRED", "IN_PROGRESS"),
        ("IN_PROGRESS", "EXPIRED"),
    ]


async def test_a_push_that_is_found_and_was_late_is_refused(here: World) -> None:
    """What GitHub sent after the deadline is late, whichever way it comes."""
    pusher = await Pusher.enrol(here)
    _, head, verdicts = await stands(pusher)
    await deadline_is_now(here, timedelta(minutes=1))
    await lost(pusher, 0)

    assert await taken(here) == 1

    assert await stands(pusher) == ("EXPIRED", head, verdicts)
    assert [conclusion for _, conclusion in here.runs(pusher.fork, pusher.head)] == ["neutral"]


async def test_what_a_body_says_is_no_time(here: World) -> None:
    """A body is the pusher's and the sender's: only our own clock and GitHub's log tell when a push came."""
    pusher = await Pusher.enrol(here)
    _, head, verdicts = await stands(pusher)
    await lost(pusher, 0)
    (sent,) = [each for each in here.line.sandbox.deliveries if each.event == "push"][-1:]
    await deadline_is_now(here)

    assert await here.post("push", sent.payload, UUID(sent.guid)) == 202
    await here.line.settle()

    assert await stands(pusher) == ("EXPIRED", head, verdicts)


async def test_a_gap_before_the_deadline_is_not_filled_with_what_came_after_it(here: World) -> None:
    """A push of which nothing tells makes the next one uncertain. After the deadline it is judged at its own head all
    the same, not at the branch's, which came too late."""
    pusher = await Pusher.enrol(here)
    silent = lose(here.line, event="push|check_suite")
    await pusher.work(0)
    await here.line.sandbox.idle()
    silent.remove()
    await lost(pusher, 1)
    timely = pusher.head
    await deadline_is_now(here)
    await pusher.work(2)
    await here.line.settle()

    assert await taken(here) == 1

    await expire_overdue(here.line.services)
    assert (await stands(pusher))[:2] == ("EXPIRED", timely)
    assert (await pusher.session())["branch_head_seen"] == timely


async def test_an_overtaken_push_that_is_found_late_changes_nothing(here: World) -> None:
    """The push after it came in time and was judged: the older head does not come back."""
    pusher = await Pusher.enrol(here)
    await lost(pusher, 0)
    await pusher.work(1)
    await here.line.settle()
    await deadline_is_now(here)
    before = await stands(pusher)

    assert await taken(here) == 1

    await expire_overdue(here.line.services)
    assert (await stands(pusher))[:2] == ("EXPIRED", before[1])
    assert (await pusher.session())["branch_head_seen"] == pusher.head


async def test_nobody_slips_through_behind_a_push_that_waits(here: World) -> None:
    """While a push in time waits for its next attempt the session stays open for it alone: neither a later push nor a
    wish to look again takes what came after the deadline."""
    pusher = await Pusher.enrol(here)
    _, head, verdicts = await stands(pusher)
    pool = here.line.pool
    away = lose(here.line, "failed", event="push|check_suite")
    timely = await pusher.push(WORK[0])
    await here.line.sandbox.idle()
    away.remove()
    (sent,) = [each for each in here.line.sandbox.deliveries if each.event == "push"][-1:]
    lane = f"repo:{pusher.fork.id}"
    await pool.execute(
        "INSERT INTO delivery (guid, event, installation_id, repo_id, lane_id, payload, next_attempt_at, attempts) "
        "SELECT $1, 'push', installation_id, $2, $3, $4, now() + interval '1 hour', 1 FROM repo_mapping "
        "WHERE provider_repo_id = $2",
        UUID(sent.guid),
        pusher.fork.id,
        lane,
        sent.payload,
    )
    await deadline_is_now(here)
    late = await pusher.push(WORK[1])
    await here.line.sandbox.idle()
    await wake(pool, (await pusher.session())["session_id"], "rerun")
    async with asyncio.timeout(20):
        while await pool.fetchval("SELECT count(*) FROM delivery WHERE state = 'waiting'") > 1:
            await asyncio.sleep(0.02)
    assert await expire_overdue(here.line.services) == 0
    assert await stands(pusher) == ("IN_PROGRESS", head, verdicts)

    await pool.execute("UPDATE delivery SET next_attempt_at = now() WHERE state = 'waiting'")
    await pool.execute("UPDATE lane SET due_at = now() WHERE lane_id = $1", lane)
    await here.line.settle()

    await expire_overdue(here.line.services)
    assert await stands(pusher) == ("EXPIRED", timely, [*verdicts, "accepted"])
    assert [conclusion for _, conclusion in here.runs(pusher.fork, late)] == ["neutral"]


async def test_who_has_begun_anew_is_not_taken_back(here: World) -> None:
    """The learner has another open session of the lab since: the closed one stays closed, and its push is refused."""
    pusher = await Pusher.enrol(here)
    _, head, verdicts = await stands(pusher)
    await lost(pusher, 0)
    await deadline_is_now(here)
    assert await expire_overdue(here.line.services) == 1
    await here.line.pool.execute(
        "INSERT INTO lab_session (session_id, lab_id, lab_version_id, learner_account_id) "
        "SELECT gen_random_uuid(), lab_id, lab_version_id, learner_account_id FROM lab_session"
    )

    assert await taken(here) == 1

    assert await stands(pusher) == ("EXPIRED", head, verdicts)
    assert [conclusion for _, conclusion in here.runs(pusher.fork, pusher.head)] == ["neutral"]

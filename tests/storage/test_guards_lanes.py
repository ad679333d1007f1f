"""Guards of lanes, leases and wake-ups (binding.md sections 4.5 and 4.7).

Each check is made twice, on a database of its own: with the guard, and without its line.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable
from datetime import timedelta

import pytest

from storage import inbox, lanes, outbox
from storage.database import Pool
from storage.errors import LeaseLost
from storage.lanes import Lane
from tests.support.bindings import LEASE, a_delivery, a_report, bind, claimed
from tests.support.guards import Check, Guard, taken_over


def _untouched(write: Callable[[Pool, Lane, tuple[int, ...]], Awaitable[None]]) -> Check:
    async def check(pool: Pool) -> bool:
        """What a worker that was taken over writes to its deliveries is not taken."""
        lane, ids = await taken_over(pool)
        before = await pool.fetch("SELECT * FROM delivery")
        with contextlib.suppress(LeaseLost):
            await write(pool, lane, ids)
        return bool(await pool.fetch("SELECT * FROM delivery") == before)

    return check


async def held_lane(pool: Pool) -> bool:
    """A lane that is held is not claimed, however due."""
    await claimed(pool)
    await inbox.record(pool, [a_delivery()])
    return await inbox.claim(pool, "worker-2", LEASE) is None


async def expired_lease(pool: Pool) -> bool:
    """A lane whose holder is silent is taken over without any new delivery."""
    await claimed(pool, lease=timedelta(0))
    return await inbox.claim(pool, "worker-2", LEASE) is not None


async def rising_token(pool: Pool) -> bool:
    """After a take-over the old holder's heartbeat is refused."""
    lane, _ = await taken_over(pool)
    return not await lanes.heartbeat(pool, lane, LEASE)


async def revived_lease(pool: Pool) -> bool:
    """A heartbeat that comes too late revives nothing."""
    lane, _ = await claimed(pool, lease=timedelta(0))
    return not await lanes.heartbeat(pool, lane, LEASE)


async def foreign_release(pool: Pool) -> bool:
    """An old holder's release does not free the lane of the new one."""
    lane, _ = await taken_over(pool)
    await inbox.release(pool, lane)
    return await inbox.claim(pool, "worker-3", LEASE) is None


async def kept_wake_up(pool: Pool) -> bool:
    """A wake-up that came while the lane was held is not put off by its release."""
    lane, _ = await claimed(pool)
    await inbox.record(pool, [a_delivery()])
    await inbox.release(pool, lane, timedelta(seconds=20))
    return await inbox.claim(pool, "worker-2", LEASE) is not None


async def left_undone(pool: Pool) -> bool:
    """What was left undone makes its lane due, without any new delivery."""
    lane, _ = await claimed(pool)
    await inbox.release(pool, lane)
    return await inbox.claim(pool, "worker-2", LEASE) is not None


async def earlier_wake_up(pool: Pool) -> bool:
    """A new delivery does not wait for the time that another one was put off to."""
    lane, ids = await claimed(pool)
    await inbox.retry_later(pool, lane, ids[0], "GitHub: 502", timedelta(seconds=40))
    await inbox.release(pool, lane)
    await inbox.record(pool, [a_delivery()])
    return await inbox.claim(pool, "worker-2", LEASE) is not None


async def held_report(pool: Pool) -> bool:
    """A report that somebody sends is sent by nobody else."""
    await outbox.want(pool, a_report(await bind(pool), "a"))
    assert len(await outbox.claim(pool, "p1", LEASE, 1)) == 1
    return await outbox.claim(pool, "p2", LEASE, 1) == ()


async def foreign_report(pool: Pool) -> bool:
    """What a publisher that was taken over says of its report is not taken."""
    await outbox.want(pool, a_report(await bind(pool), "a"))
    (old,) = await outbox.claim(pool, "p1", timedelta(0), 1)
    await outbox.claim(pool, "p2", LEASE, 1)
    return not await outbox.sent_check_run(pool, old, 1)


GUARDS = {
    "started": Guard(
        "text storage.inbox:_STARTED", "AND EXISTS (SELECT FROM held))", ")", _untouched(inbox.started)
    ),
    "finish": Guard(
        "text storage.inbox:_FINISH",
        "AND EXISTS (SELECT FROM held))",
        ")",
        _untouched(lambda pool, lane, ids: inbox.finish(pool, lane, ids, "done", "accepted")),
    ),
    "retry": Guard(
        "text storage.inbox:_RETRY",
        "AND EXISTS (SELECT FROM held))",
        ")",
        _untouched(lambda pool, lane, ids: inbox.retry_later(pool, lane, ids[0], "late", timedelta(0))),
    ),
    "bury": Guard(
        "text storage.inbox:_BURY",
        "AND EXISTS (SELECT FROM held))",
        ")",
        _untouched(lambda pool, lane, ids: inbox.bury(pool, lane, ids[0], "late")),
    ),
    "held lane": Guard("text storage.lanes:_CLAIM", "leased_until IS NULL AND due_at", "due_at", held_lane),
    "expired lease": Guard("text storage.lanes:_CLAIM", "WHERE leased_until < now()", "WHERE false", expired_lease),
    "rising token": Guard("text storage.lanes:_CLAIM", "token = token + 1", "token = token", rising_token),
    "token of a heartbeat": Guard("code storage.lanes:heartbeat", "AND token = $2", "AND $2::bigint > 0", rising_token),
    "late heartbeat": Guard("code storage.lanes:heartbeat", "AND leased_until > now()", "", revived_lease),
    "token of a release": Guard("text storage.lanes:_RELEASE", "AND token = $2", "AND $2::bigint > 0", foreign_release),
    "kept wake-up": Guard("text storage.lanes:_RELEASE", "least(due_at, CASE", "greatest(CASE", kept_wake_up),
    "left undone": Guard(
        "text storage.lanes:_RELEASE", "SELECT min(coalesce(next_attempt_at, now()))", "SELECT NULL::timestamptz",
        left_undone,
    ),
    "earlier wake-up": Guard(
        "text storage.inbox:_RECORD", "OR known.due_at > excluded.due_at", "", earlier_wake_up
    ),
    "held report": Guard(
        "text storage.outbox:CLAIM", "leased_until < now())", "leased_until < 'infinity')", held_report, times=4
    ),
    "token of a report": Guard(
        "text storage.outbox:_SENT_CHECK_RUN", "AND token = $2", "AND $2::bigint > 0", foreign_report
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", GUARDS)
async def test_the_guard_holds(pool: Pool, name: str) -> None:
    """With the guard in its place, the race that it is there for ends well."""
    assert await GUARDS[name].holds(pool)


@pytest.mark.parametrize("name", GUARDS)
async def test_without_its_line_the_guard_does_not_hold(pool: Pool, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """With the named line taken out the same check fails: it is this line that does it, and the check sees it."""
    await GUARDS[name].take_out(pool, monkeypatch)
    assert not await GUARDS[name].holds(pool)


async def test_receivers_with_the_same_redeliveries_never_deadlock(pool: Pool) -> None:
    """Receivers that store the same batch in opposite order wait for each other in a line, not in a circle.

    Guards storage/inbox.py `_RECORD`, the line `FROM numbered ORDER BY guid, event`.
    """
    for _ in range(10):
        batch = [a_delivery(f"repo:{number}") for number in range(1, 300)]
        results = await asyncio.gather(*(inbox.record(pool, batch[:: 1 if turn % 2 else -1]) for turn in range(4)))
        assert sum(map(sum, results)) == len(batch)


async def test_a_batch_is_numbered_in_order_of_arrival(pool: Pool) -> None:
    """However the rows are inserted, the inbox's order is that in which the deliveries came."""
    batch = [a_delivery() for _ in range(50)]
    await inbox.record(pool, batch)
    rows = await pool.fetch("SELECT guid FROM delivery ORDER BY inbox_id")
    assert [row["guid"] for row in rows] == [item.guid for item in batch]


async def test_waiting_for_a_rate_limit_is_no_attempt(pool: Pool) -> None:
    """A delivery that is put off by a limit keeps its number of attempts; one that failed does not."""
    lane, ids = await claimed(pool)
    for counts, expected in ((False, 0), (True, 1), (False, 1)):
        await lanes.heartbeat(pool, lane, LEASE)
        await inbox.started(pool, lane, ids)
        await inbox.retry_later(pool, lane, ids[0], "GitHub: 429", timedelta(0), counts=counts)
        assert await pool.fetchval("SELECT attempts FROM delivery") == expected

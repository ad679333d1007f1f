"""Lanes: one holder at a time, taken over after a lease, no wake-up lost."""

from __future__ import annotations

import asyncio
from datetime import timedelta

import asyncpg

from storage import inbox
from storage.database import Pool
from tests.support.bindings import LEASE, a_delivery, claimed


async def test_a_lane_is_claimed_once(pool: Pool) -> None:
    """Of many claims at once, each due lane goes to exactly one."""
    await inbox.record(pool, [a_delivery(f"repo:{number}") for number in (1, 2, 3)])
    lanes = await asyncio.gather(*(inbox.claim(pool, f"worker-{turn}", LEASE) for turn in range(20)))
    found = [lane.lane_id for lane in lanes if lane is not None]
    rest = [lane.lane_id for _ in range(3) if (lane := await inbox.claim(pool, "worker", LEASE)) is not None]
    assert sorted(found + rest) == ["repo:1", "repo:2", "repo:3"]


async def test_the_lane_that_is_due_longest_comes_first(pool: Pool) -> None:
    """Lanes are served in the order in which they became due."""
    for number in (2, 1, 3):
        await inbox.record(pool, [a_delivery(f"repo:{number}")])
    lanes = [await inbox.claim(pool, "worker", LEASE) for _ in range(4)]
    assert [lane and lane.lane_id for lane in lanes] == ["repo:2", "repo:1", "repo:3", None]


async def test_a_held_lane_is_not_claimed_but_keeps_its_wake_up(pool: Pool) -> None:
    """A delivery that arrives while the lane is held makes it due again at its release."""
    lane, ids = await claimed(pool)
    await inbox.record(pool, [a_delivery()])
    assert await inbox.claim(pool, "worker-2", LEASE) is None
    await inbox.finish(pool, lane, ids, "done", "accepted")
    assert await inbox.release(pool, lane)
    again = await inbox.claim(pool, "worker-2", LEASE)
    assert again is not None
    assert again.token == lane.token + 1


async def test_an_expired_lease_is_taken_over(pool: Pool) -> None:
    """A silent holder's lane goes to another, with its deliveries, even though nothing new woke it."""
    lane, ids = await claimed(pool, lease=timedelta(milliseconds=50))
    await asyncio.sleep(0.06)
    taken = await inbox.claim(pool, "worker-2", LEASE)
    assert taken is not None
    assert (taken.lane_id, taken.token, taken.holder) == (lane.lane_id, lane.token + 1, "worker-2")
    assert [item.inbox_id for item in await inbox.waiting(pool, taken)] == list(ids)
    assert not await inbox.heartbeat(pool, lane, LEASE)
    assert not await inbox.release(pool, lane)
    assert await inbox.heartbeat(pool, taken, LEASE)


async def test_a_heartbeat_prolongs_and_cannot_revive(pool: Pool) -> None:
    """A heartbeat in time prolongs the lease; one that comes after its end does not."""
    lane, _ = await claimed(pool, lease=timedelta(seconds=5))
    assert await inbox.heartbeat(pool, lane, timedelta(seconds=60))
    due = await inbox.next_due(pool)
    assert due is not None
    assert due > 50
    assert await inbox.heartbeat(pool, lane, timedelta(0))
    assert not await inbox.heartbeat(pool, lane, LEASE)


async def test_an_empty_lane_is_not_due_after_its_release(pool: Pool) -> None:
    """When everything is finished nothing is due; a release can ask for another look."""
    lane, ids = await claimed(pool)
    await inbox.finish(pool, lane, ids, "done", "accepted")
    assert await inbox.release(pool, lane)
    assert await inbox.next_due(pool) is None
    await inbox.record(pool, [a_delivery()])
    lane, ids = await claimed(pool)
    await inbox.finish(pool, lane, ids, "done", "accepted")
    await inbox.release(pool, lane, timedelta(seconds=20))
    due = await inbox.next_due(pool)
    assert due is not None
    assert 10 < due <= 20


async def test_a_release_with_waiting_deliveries_is_due_at_once(pool: Pool) -> None:
    """Whatever was left undone is found by the next claim."""
    lane, ids = await claimed(pool)
    await inbox.release(pool, lane)
    again = await inbox.claim(pool, "worker-2", LEASE)
    assert again is not None
    assert [item.inbox_id for item in await inbox.waiting(pool, again)] == list(ids)


async def test_no_lane_changes_hands_during_a_guarded_write(pool: Pool) -> None:
    """While a transaction that checked the lease is open, the lane cannot be claimed, but deliveries are recorded."""
    lane, _ = await claimed(pool, lease=timedelta(milliseconds=300))
    async with pool.acquire() as connection, connection.transaction():
        assert await connection.fetchval("SELECT holds_lane($1, $2)", lane.lane_id, lane.token)
        await asyncio.sleep(0.35)
        assert await inbox.claim(pool, "worker-2", LEASE) is None
        assert await asyncio.wait_for(inbox.record(pool, [a_delivery()]), 2) == [True]
    assert await inbox.claim(pool, "worker-2", LEASE) is not None


async def test_a_recorded_delivery_is_told(pool: Pool, fresh_database: str) -> None:
    """A new delivery notifies; a duplicate, and one more for a lane that is due anyway, do not."""
    heard: list[str] = []
    link = await asyncpg.connect(fresh_database)
    try:
        await link.add_listener("lane_due", lambda *_: heard.append("lane_due"))
        delivery = a_delivery()
        await inbox.record(pool, [delivery])
        await inbox.record(pool, [delivery])
        await inbox.record(pool, [a_delivery()])
        await link.execute("SELECT 1")
        await asyncio.sleep(0.05)
    finally:
        await link.close()
    assert heard == ["lane_due"]


async def test_a_release_tells_what_is_due_at_once(pool: Pool, fresh_database: str) -> None:
    """A delivery that came while the lane was held is told at the release; a lane with nothing to do tells nothing."""
    heard: list[str] = []
    lane, ids = await claimed(pool)
    await inbox.record(pool, [a_delivery()])
    link = await asyncpg.connect(fresh_database)
    try:
        await link.add_listener("lane_due", lambda *_: heard.append("lane_due"))
        await inbox.finish(pool, lane, ids, "done", "accepted")
        await inbox.release(pool, lane)
        lane, ids = await claimed(pool, a_delivery())
        await inbox.finish(pool, lane, ids, "done", "accepted")
        await inbox.release(pool, lane)
        await link.execute("SELECT 1")
        await asyncio.sleep(0.05)
    finally:
        await link.close()
    assert heard == ["lane_due"]


async def test_lanes_under_fire_lose_nothing(pool: Pool) -> None:
    """Among workers that often die with their lease, every delivery is done exactly once, no lane by two at a time."""
    holding: set[str] = set()
    overlaps: list[str] = []
    total = 120

    async def send() -> None:
        for number in range(total):
            await inbox.record(pool, [a_delivery(f"repo:{number % 5 + 1}")])

    async def work(name: str) -> None:
        turn = 0
        while await pool.fetchval("SELECT count(*) FROM delivery WHERE state = 'done'") < total:
            lane = await inbox.claim(pool, name, timedelta(seconds=2) if turn % 4 else timedelta(milliseconds=1))
            turn += 1
            if lane is None:
                await asyncio.sleep(0.005)
                continue
            if turn % 4 == 1:
                continue  # dies without a word; its lease runs out
            overlaps.extend([lane.lane_id] if lane.lane_id in holding else [])
            holding.add(lane.lane_id)
            for item in await inbox.waiting(pool, lane):
                await inbox.finish(pool, lane, [item.inbox_id], "done", name)
            holding.discard(lane.lane_id)
            await inbox.release(pool, lane)

    await asyncio.wait_for(asyncio.gather(send(), *(work(f"worker-{turn}") for turn in range(4))), 20)
    assert not overlaps
    assert await pool.fetchval("SELECT count(*) FROM delivery WHERE state = 'done'") == total

"""Deliveries: recorded once, woken, finished under a lease, batched by nature."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from uuid import uuid4

import asyncpg
import pytest

from storage import inbox
from storage.database import Pool
from storage.errors import LeaseLost
from storage.inbox import Recorder
from tests.support.bindings import LEASE, a_delivery, claimed


async def test_a_batch_is_stored_and_duplicates_are_told(pool: Pool) -> None:
    """Each delivery is new once, also within one batch; the same guid under another event is another delivery."""
    guid = uuid4()
    first = [a_delivery(guid=guid), a_delivery(guid=guid), a_delivery(guid=guid, event="installation")]
    assert await inbox.record(pool, first) == [True, False, True]
    assert await inbox.record(pool, [a_delivery(), a_delivery(guid=guid)]) == [True, False]
    assert await pool.fetchval("SELECT count(*) FROM delivery") == 3
    assert await inbox.record(pool, []) == []


async def test_concurrent_duplicates_are_stored_once(pool: Pool) -> None:
    """Of a hundred redeliveries at the same moment exactly one is new."""
    delivery = a_delivery()
    results = await asyncio.gather(*(inbox.record(pool, [delivery]) for _ in range(100)))
    assert sum(new for (new,) in results) == 1


async def test_batches_over_the_same_lanes_never_deadlock(pool: Pool) -> None:
    """Batches that name the same lanes in opposite order are all stored."""
    lanes = [f"repo:{number}" for number in range(1, 60)]
    batches = [[a_delivery(lane) for lane in (lanes if turn % 2 else reversed(lanes))] for turn in range(12)]
    results = await asyncio.gather(*(inbox.record(pool, batch) for batch in batches))
    assert all(all(result) for result in results)


async def test_hostile_text_is_stored(pool: Pool) -> None:
    """NUL and lone surrogates in an action, and any bytes in a body, lose neither this delivery nor its batch."""
    body = b'{"action": "\\u0000"}\x00\xff'
    odd = inbox.NewDelivery(uuid4(), "push", "a\x00b\ud800", None, 7, "repo:7", body, {"x": "\x00"})
    assert await inbox.record(pool, [odd, a_delivery()]) == [True, True]
    row = await pool.fetchrow("SELECT action, payload, headers FROM delivery WHERE repo_id = 7")
    assert row is not None
    assert (row["action"], row["payload"], row["headers"]) == ("a\ufffdb\ufffd", body, {"x": "\ufffd"})


async def test_waiting_is_in_order_of_arrival_and_bounded(pool: Pool, monkeypatch: pytest.MonkeyPatch) -> None:
    """Deliveries come in order of arrival, no more than a batch, no more than its bytes, but always the first."""
    monkeypatch.setattr(inbox, "BATCH", 3)
    deliveries = [a_delivery(payload=b"x" * 100) for _ in range(5)]
    lane, _ = await claimed(pool, *deliveries)
    assert [item.guid for item in await inbox.waiting(pool, lane)] == [item.guid for item in deliveries[:3]]
    monkeypatch.setattr(inbox, "BATCH_BYTES", 150)
    assert len(await inbox.waiting(pool, lane)) == 2
    monkeypatch.setattr(inbox, "BATCH_BYTES", 1)
    (first,) = await inbox.waiting(pool, lane)
    assert (first.payload, first.attempts, first.repo_id, first.lane_id) == (b"x" * 100, 0, 501, "repo:501")


async def test_a_started_attempt_counts_even_if_the_worker_dies(pool: Pool) -> None:
    """The attempt is counted before it is made."""
    lane, ids = await claimed(pool)
    await inbox.started(pool, lane, ids)
    (item,) = await inbox.waiting(pool, lane)
    assert item.attempts == 1


async def test_finished_deliveries_wait_no_more_and_stay_as_they_are(pool: Pool) -> None:
    """A finished delivery keeps its first outcome, and its body unless that is to be forgotten."""
    lane, ids = await claimed(pool, a_delivery(), a_delivery())
    await inbox.finish(pool, lane, ids[:1], "done", "accepted")
    await inbox.finish(pool, lane, ids, "superseded", "superseded", keep_body=False)
    assert await inbox.waiting(pool, lane) == ()
    rows = await pool.fetch("SELECT state, outcome, payload IS NULL AS forgotten FROM delivery ORDER BY inbox_id")
    assert [tuple(row) for row in rows] == [("done", "accepted", False), ("superseded", "superseded", True)]


async def test_a_delivery_that_is_put_off_lets_others_pass(pool: Pool) -> None:
    """A delivery with a later attempt does not wait among the due ones, and makes its lane due in time."""
    lane, ids = await claimed(pool, a_delivery(), a_delivery())
    await inbox.retry_later(pool, lane, ids[0], "GitHub: 502\x00", timedelta(seconds=40))
    assert [item.inbox_id for item in await inbox.waiting(pool, lane)] == [ids[1]]
    await inbox.finish(pool, lane, ids[1:], "done", "accepted")
    assert await inbox.release(pool, lane)
    due = await inbox.next_due(pool)
    assert due is not None
    assert 30 < due <= 40
    assert await pool.fetchval("SELECT last_error FROM delivery WHERE inbox_id = $1", ids[0]) == "GitHub: 502\ufffd"


async def test_a_lost_lane_takes_no_writes(pool: Pool) -> None:
    """After a take-over nothing that the old holder writes is taken: each call says so and changes nothing."""
    lane, ids = await claimed(pool, lease=timedelta(0))
    taken = await inbox.claim(pool, "worker-2", LEASE)
    assert taken is not None
    before = await pool.fetch("SELECT * FROM delivery")
    with pytest.raises(LeaseLost):
        await inbox.started(pool, lane, ids)
    with pytest.raises(LeaseLost):
        await inbox.finish(pool, lane, ids, "done", "accepted")
    with pytest.raises(LeaseLost):
        await inbox.retry_later(pool, lane, ids[0], "late", timedelta(0))
    with pytest.raises(LeaseLost):
        await inbox.bury(pool, lane, ids[0], "late")
    assert await pool.fetch("SELECT * FROM delivery") == before
    await inbox.finish(pool, taken, ids, "done", "accepted")


async def test_an_expired_lease_takes_no_writes_even_when_nobody_took_over(pool: Pool) -> None:
    """The lease's end counts, by the database's clock, not only the token."""
    lane, ids = await claimed(pool, lease=timedelta(0))
    with pytest.raises(LeaseLost):
        await inbox.finish(pool, lane, ids, "done", "accepted")


async def test_a_lane_cannot_finish_deliveries_of_another(pool: Pool) -> None:
    """Inbox ids of another lane are left alone."""
    lane, _ = await claimed(pool)
    _, others = await claimed(pool, a_delivery("repo:502"))
    await inbox.finish(pool, lane, others, "done", "accepted")
    assert await pool.fetchval("SELECT state FROM delivery WHERE inbox_id = $1", others[0]) == "waiting"


async def test_dead_letters_are_listed_and_replayed(pool: Pool) -> None:
    """A buried delivery is listed with its error, and processed again, with all attempts, when it is replayed."""
    lane, ids = await claimed(pool, a_delivery(), a_delivery())
    await inbox.started(pool, lane, ids)
    for number in ids:
        await inbox.bury(pool, lane, number, f"error {number}")
    await inbox.release(pool, lane)
    assert await inbox.next_due(pool) is None
    letters = await inbox.dead_letters(pool)
    assert [(item.inbox_id, item.attempts, item.last_error, item.has_body) for item in letters] == [
        (number, 1, f"error {number}", True) for number in reversed(ids)
    ]
    assert [item.inbox_id for item in await inbox.dead_letters(pool, before=ids[1])] == [ids[0]]
    assert await inbox.replay(pool, ids[0])
    assert not await inbox.replay(pool, ids[0])
    again = await inbox.claim(pool, "worker-2", LEASE)
    assert again is not None
    assert [(item.inbox_id, item.attempts) for item in await inbox.waiting(pool, again)] == [(ids[0], 0)]


async def test_bodies_are_forgotten_after_their_time(pool: Pool) -> None:
    """Old finished bodies go, a limited number at a time; young, waiting and dead ones stay; duplicates stay known."""
    deliveries = [a_delivery() for _ in range(5)]
    lane, ids = await claimed(pool, *deliveries)
    await inbox.finish(pool, lane, ids[:3], "done", "accepted")
    await inbox.bury(pool, lane, ids[3], "broken")
    await pool.execute(
        "UPDATE delivery SET finished_at = now() - interval '9 days' WHERE inbox_id <> $1 AND finished_at IS NOT NULL",
        ids[2],
    )
    assert await inbox.forget_bodies(pool, timedelta(days=7), limit=1) == 1
    assert await inbox.forget_bodies(pool, timedelta(days=7)) == 1
    assert await inbox.forget_bodies(pool, timedelta(days=7)) == 0
    kept = await pool.fetch("SELECT inbox_id FROM delivery WHERE payload IS NOT NULL ORDER BY inbox_id")
    assert [row["inbox_id"] for row in kept] == list(ids[2:])
    assert await inbox.record(pool, deliveries[:1]) == [False]


class TestRecorder:
    """Natural batching."""

    async def test_what_arrives_during_a_commit_goes_into_the_next(
        self, pool: Pool, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """A hundred deliveries at once need far fewer commits, and each caller gets its own answer."""
        batches: list[int] = []
        real = inbox.record

        async def counted(pool: Pool, deliveries: list[inbox.NewDelivery]) -> list[bool]:
            batches.append(len(deliveries))
            return await real(pool, deliveries)

        monkeypatch.setattr(inbox, "record", counted)
        recorder = Recorder(pool)
        again = a_delivery()
        assert await recorder.record(again)
        deliveries = [a_delivery(f"repo:{number}") for number in range(1, 100)]
        results = await asyncio.gather(*(recorder.record(item) for item in [*deliveries, again]))
        assert results == [True] * 99 + [False]
        assert sum(batches) == 101
        assert len(batches) <= 4
        await recorder.close()

    async def test_batches_are_bounded(self, pool: Pool, monkeypatch: pytest.MonkeyPatch) -> None:
        """Neither the number nor the bytes of a commit grow with the backlog."""
        sizes: list[tuple[int, int]] = []
        real = inbox.record

        async def counted(pool: Pool, deliveries: list[inbox.NewDelivery]) -> list[bool]:
            sizes.append((len(deliveries), sum(len(item.payload) for item in deliveries)))
            return await real(pool, deliveries)

        monkeypatch.setattr(inbox, "record", counted)
        monkeypatch.setattr(inbox, "MAX_COMMIT", 10)
        monkeypatch.setattr(inbox, "MAX_COMMIT_BYTES", 500)
        recorder = Recorder(pool)
        bodies = [b"x" * 10] * 30 + [b"y" * 200] * 5 + [b"z" * 900]
        assert all(await asyncio.gather(*(recorder.record(a_delivery(payload=body)) for body in bodies)))
        assert sum(number for number, _ in sizes) == 36
        assert all(number <= 10 and (size <= 500 or number == 1) for number, size in sizes)

    async def test_an_unstorable_delivery_hurts_only_itself(self, pool: Pool) -> None:
        """A delivery that the database refuses gets the error; the others of its batch are stored."""
        recorder = Recorder(pool)
        broken = inbox.NewDelivery(uuid4(), "push", None, None, 2**63, "repo:1", b"{}")
        results = await asyncio.gather(
            *(recorder.record(item) for item in (a_delivery(), broken, a_delivery())), return_exceptions=True
        )
        assert (results[0], results[2]) == (True, True)
        assert isinstance(results[1], asyncpg.DataError | OverflowError | asyncpg.InterfaceError)

    async def test_a_database_that_is_down_is_told_to_each_caller(self, pool: Pool) -> None:
        """When the batch cannot be stored, every caller hears it, and none of them waits for ever."""
        recorder = Recorder(pool)
        await pool.close()
        results = await asyncio.wait_for(
            asyncio.gather(*(recorder.record(a_delivery()) for _ in range(5)), return_exceptions=True), 5
        )
        assert all(isinstance(result, asyncpg.InterfaceError) for result in results)

    async def test_a_caller_that_goes_away_loses_nothing(self, pool: Pool) -> None:
        """A cancelled request's delivery is stored all the same, and the others are answered."""
        recorder = Recorder(pool)
        gone = asyncio.create_task(recorder.record(a_delivery("repo:1")))
        other = asyncio.create_task(recorder.record(a_delivery("repo:2")))
        await asyncio.sleep(0)
        gone.cancel()
        assert await other
        await recorder.close()
        assert await pool.fetchval("SELECT count(*) FROM delivery") == 2

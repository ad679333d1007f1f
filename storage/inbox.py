"""Deliveries: recorded once before they are acknowledged, then processed in order, lane by lane.

The inbox and its lanes are the truth; NOTIFY only hurries. Everything that is written for a lane names the token of the
claim that it is written under.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any, Literal
from uuid import UUID

from storage.database import Pool, is_down, storable
from storage.deadletters import DeadLetter, dead_letters, forget_bodies, replay
from storage.errors import LeaseLost
from storage.lanes import Lane, claim, heartbeat, next_due, release

__all__ = [
    "DeadLetter",
    "Lane",
    "NewDelivery",
    "Recorder",
    "StoredDelivery",
    "bury",
    "claim",
    "dead_letters",
    "finish",
    "forget_bodies",
    "heartbeat",
    "next_due",
    "record",
    "release",
    "replay",
    "retry_later",
    "started",
    "waiting",
]

#: At most this many deliveries, and about this many bytes of bodies, are read of a lane at a time.
BATCH = 200
BATCH_BYTES = 64 * 1024 * 1024

#: Bounds of what the recorder puts into one commit (a single larger delivery goes alone).
MAX_COMMIT = 500
MAX_COMMIT_BYTES = 32 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class NewDelivery:
    """A verified delivery. `lane_id`: "repo:<id>", "installation:<id>" or another name of what must stay in order.

    `sent_at`: when GitHub first sent it, of one that was taken from GitHub's log (never from a body).
    """

    guid: UUID
    event: str
    action: str | None
    installation_id: int | None
    repo_id: int | None
    lane_id: str
    payload: bytes
    headers: Mapping[str, str] = field(default_factory=dict)
    sent_at: datetime | None = None


@dataclass(frozen=True, slots=True)
class StoredDelivery:
    """A delivery as stored. `attempts`: how often its processing was started before."""

    inbox_id: int
    guid: UUID
    event: str
    action: str | None
    installation_id: int | None
    repo_id: int | None
    lane_id: str
    payload: bytes
    received_at: datetime
    attempts: int
    sent_at: datetime | None

    @property
    def came_at(self) -> datetime:
        """When it counts as made: what GitHub sent while we were away counts from then."""
        return self.received_at if self.sent_at is None else min(self.received_at, self.sent_at)

    @classmethod
    def from_row(cls, row: Any) -> StoredDelivery:
        """From a row with the columns of table `delivery`."""
        return cls(**{name: row[name] for name in cls.__slots__})


# Records a batch; of lanes with really new deliveries, wakes those that are not due yet. Numbers are given in order of
# arrival, but rows are inserted in the order of their guids and lanes locked in the order of their ids: two batches
# that hold the same redeliveries, or name the same lanes, never wait for each other in a circle.
_RECORD = """
WITH given AS (
    SELECT *, row_number() OVER (PARTITION BY guid, event ORDER BY ordinal) AS nth
    FROM unnest($1::uuid[], $2::text[], $3::text[], $4::bigint[], $5::bigint[], $6::text[], $7::bytea[], $8::jsonb[],
        $9::timestamptz[])
        WITH ORDINALITY
        AS d (guid, event, action, installation_id, repo_id, lane_id, payload, headers, sent_at, ordinal)
), numbered AS MATERIALIZED (
    SELECT *, nextval(pg_get_serial_sequence('delivery', 'inbox_id')) AS inbox_id
    FROM (SELECT * FROM given WHERE nth = 1 ORDER BY ordinal) AS arrived
), added AS (
    INSERT INTO delivery (inbox_id, guid, event, action, installation_id, repo_id, lane_id, payload, headers, sent_at)
    OVERRIDING SYSTEM VALUE
    SELECT inbox_id, guid, event, action, installation_id, repo_id, lane_id, payload, headers, sent_at
    FROM numbered ORDER BY guid, event
    ON CONFLICT ON CONSTRAINT delivery_guid_event_key DO NOTHING
    RETURNING guid, event, lane_id
), woken AS (
    INSERT INTO lane AS known (lane_id, due_at)
    SELECT DISTINCT lane_id, now() FROM added ORDER BY lane_id
    ON CONFLICT (lane_id) DO UPDATE SET due_at = least(known.due_at, excluded.due_at)
    WHERE known.due_at IS NULL OR known.due_at > excluded.due_at
    RETURNING lane_id
), told AS (
    SELECT pg_notify('lane_due', '') WHERE EXISTS (SELECT FROM woken)
)
SELECT added.guid IS NOT NULL AND given.nth = 1 AS new, (SELECT count(*) FROM told) AS told
FROM given LEFT JOIN added USING (guid, event)
ORDER BY given.ordinal
"""


async def record(pool: Pool, deliveries: Sequence[NewDelivery]) -> list[bool]:
    """Store the deliveries durably, in one statement; False for each that was stored before (same guid and event).

    GitHub keeps the guid when it redelivers (GitHub docs, "Best practices for using webhooks").
    """
    if not deliveries:
        return []
    rows = await pool.fetch(
        _RECORD,
        [delivery.guid for delivery in deliveries],
        [storable(delivery.event) for delivery in deliveries],
        [None if delivery.action is None else storable(delivery.action) for delivery in deliveries],
        [delivery.installation_id for delivery in deliveries],
        [delivery.repo_id for delivery in deliveries],
        [delivery.lane_id for delivery in deliveries],
        [delivery.payload for delivery in deliveries],
        [dict(delivery.headers) for delivery in deliveries],
        [delivery.sent_at for delivery in deliveries],
    )
    return [bool(row["new"]) for row in rows]


_Waiter = tuple[NewDelivery, "asyncio.Future[bool]"]


class Recorder:
    """Records deliveries for many callers; each is answered after the commit that holds its own.

    Natural batching: deliveries that arrive while a commit is in flight go together into the next one. There is no
    waiting window, so an idle App stays quick, and a busy one does not commit once per delivery.
    """

    def __init__(self, pool: Pool) -> None:
        self._pool = pool
        self._waiting: deque[_Waiter] = deque()
        self._writer: asyncio.Task[None] | None = None

    async def record(self, delivery: NewDelivery) -> bool:
        """Store one delivery durably; False when it was stored before. Raises what `record` raises."""
        answer: asyncio.Future[bool] = asyncio.get_running_loop().create_future()
        self._waiting.append((delivery, answer))
        if self._writer is None:
            self._writer = asyncio.create_task(self._write())
        return await answer

    async def close(self) -> None:
        """Wait until everything that was handed in is answered."""
        while self._writer is not None:
            await asyncio.wait([self._writer])

    def _next_batch(self) -> list[_Waiter]:
        batch: list[_Waiter] = []
        size = 0
        while self._waiting and len(batch) < MAX_COMMIT:
            size += len(self._waiting[0][0].payload)
            if batch and size > MAX_COMMIT_BYTES:
                break
            batch.append(self._waiting.popleft())
        return batch

    async def _write(self) -> None:
        try:
            while batch := self._next_batch():
                await self._store(batch)
        finally:
            self._writer = None
            for _, answer in self._waiting:  # only when this task itself was cancelled: the loop is ending
                answer.cancel()
            self._waiting.clear()

    async def _store(self, batch: list[_Waiter]) -> None:
        """Store a batch. One that the database refuses is taken apart, so that no delivery suffers for another."""
        try:
            results = await record(self._pool, [delivery for delivery, _ in batch])
        except Exception as error:  # each waiter gets it
            if len(batch) > 1 and not is_down(error):
                for waiter in batch:
                    await self._store([waiter])
                return
            for _, answer in batch:
                if not answer.done():
                    answer.set_exception(error)
            return
        except BaseException:
            for _, answer in batch:
                answer.cancel()
            raise
        for (_, answer), new in zip(batch, results, strict=True):
            if not answer.done():  # its caller went away; the delivery is stored all the same
                answer.set_result(new)


_WAITING = """
SELECT inbox_id, guid, event, action, installation_id, repo_id, lane_id, payload, received_at, attempts, sent_at FROM (
    SELECT *, sum(octet_length(payload)) OVER (ORDER BY inbox_id) - octet_length(payload) AS bytes_before FROM (
        SELECT * FROM delivery
        WHERE lane_id = $1 AND state = 'waiting' AND (next_attempt_at IS NULL OR next_attempt_at <= now())
        ORDER BY inbox_id LIMIT $2
    ) AS due
) AS counted
WHERE bytes_before < $3
ORDER BY inbox_id
"""


async def waiting(pool: Pool, lane: Lane) -> tuple[StoredDelivery, ...]:
    """The lane's deliveries that are due, in order of arrival: at most BATCH, and about BATCH_BYTES of bodies."""
    return tuple(StoredDelivery.from_row(row) for row in await pool.fetch(_WAITING, lane.lane_id, BATCH, BATCH_BYTES))


# An update of deliveries in one lane, guarded by the lease.
_GUARDED = """
WITH held AS MATERIALIZED (SELECT FROM holds_lane($1, $2) AS held WHERE held), written AS (
    UPDATE delivery SET {assignments}
    WHERE inbox_id = ANY ($3::bigint[]) AND lane_id = $1 AND state = 'waiting' AND EXISTS (SELECT FROM held))
SELECT EXISTS (SELECT FROM held)
"""
_STARTED = _GUARDED.format(assignments="attempts = attempts + 1")
_FINISH = _GUARDED.format(
    assignments="state = $4, outcome = $5, finished_at = clock_timestamp(), next_attempt_at = NULL, last_error = NULL, "
    "payload = CASE WHEN $6 THEN payload END"
)
_RETRY = _GUARDED.format(
    assignments="next_attempt_at = now() + $4::interval, last_error = $5, "
    "attempts = CASE WHEN $6 THEN attempts ELSE greatest(attempts - 1, 0) END"
)
_BURY = _GUARDED.format(
    assignments="state = 'dead', outcome = 'dead', finished_at = clock_timestamp(), next_attempt_at = NULL, "
    "last_error = $4"
)


async def _write(pool: Pool, query: str, lane: Lane, ids: Sequence[int], *values: object) -> None:
    if not await pool.fetchval(query, lane.lane_id, lane.token, list(ids), *values):
        raise LeaseLost(f"lane {lane.lane_id} was taken over")


async def started(pool: Pool, lane: Lane, ids: Sequence[int]) -> None:
    """Count an attempt at these deliveries before it is made, so that one that kills its worker counts too.

    Raises LeaseLost.
    """
    await _write(pool, _STARTED, lane, ids)


async def finish(
    pool: Pool,
    lane: Lane,
    ids: Sequence[int],
    state: Literal["done", "superseded"],
    outcome: str,
    *,
    keep_body: bool = True,
) -> None:
    """Finish deliveries; `outcome`: a word for the ledger. Finished ones stay as they are.

    `keep_body` False forgets the bodies at once (repositories that have nothing to do with us). Raises LeaseLost.
    """
    await _write(pool, _FINISH, lane, ids, state, storable(outcome), keep_body)


async def retry_later(
    pool: Pool, lane: Lane, inbox_id: int, error: str, delay: timedelta, *, counts: bool = True
) -> None:
    """Put a delivery off by `delay`, with the reason. Raises LeaseLost.

    `counts` False: waiting for a rate limit is no failed attempt.
    """
    await _write(pool, _RETRY, lane, [inbox_id], delay, storable(error), counts)


async def bury(pool: Pool, lane: Lane, inbox_id: int, error: str) -> None:
    """Give a delivery up: it becomes a dead letter with this reason. Raises LeaseLost."""
    await _write(pool, _BURY, lane, [inbox_id], storable(error))

"""How far GitHub's delivery log was read, and what of it the inbox lacks: shared by all replicas.

Times are those of the caller's clock and of GitHub's log; only leases are by the database's clock.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from uuid import UUID

from storage.database import Pool, storable

Key = tuple[UUID, str]  # guid and event: what makes a delivery one and the same


@dataclass(frozen=True, slots=True)
class Place:
    """How far the log was read: news from its top to `newest_at`, and at the last sweep to `horizon`.

    `sweep_next`: where a sweep that was broken off goes on; `sweep_top`: the newest entry when it began.
    """

    newest_at: datetime | None
    horizon: datetime | None
    swept_at: datetime | None
    sweep_top: datetime | None
    sweep_next: str | None


@dataclass(frozen=True, slots=True)
class Missed:
    """An entry of the log that the inbox lacks. `delivery_id`: GitHub's number of its first attempt that is known."""

    guid: UUID
    event: str
    delivery_id: int
    action: str | None
    installation_id: int | None
    repo_id: int | None
    delivered_at: datetime
    attempts: int = 0

    @property
    def key(self) -> Key:
        """What tells it from all others."""
        return self.guid, self.event


# ------------------------------------------------------------------------------------------------------------- the log

_TAKE = """
UPDATE recovery_state SET holder = $1, leased_until = now() + $2::interval
WHERE leased_until IS NULL OR leased_until < now() OR holder = $1
RETURNING newest_at, horizon, swept_at, sweep_top, sweep_next
"""


async def take_log(pool: Pool, holder: str, lease: timedelta) -> Place | None:
    """Take the reading of the log for `lease`, or prolong it; None: somebody else has it.

    It saves requests, no more: two who read at the same time do no harm.
    """
    row = await pool.fetchrow(_TAKE, holder, lease)
    return Place(**dict(row)) if row is not None else None


async def give_log_back(pool: Pool, holder: str) -> None:
    """Let the next one read."""
    await pool.execute(
        "UPDATE recovery_state SET holder = NULL, leased_until = NULL WHERE holder = $1",
        holder,
    )


async def save_place(pool: Pool, place: Place, *, read_at: datetime | None = None) -> None:
    """Remember how far the log was read. `read_at`: when that was all there is to read."""
    await pool.execute(
        "UPDATE recovery_state SET newest_at = $1, horizon = $2, swept_at = $3, sweep_top = $4, sweep_next = $5, "
        "read_at = coalesce($6, read_at)",
        place.newest_at,
        place.horizon,
        place.swept_at,
        place.sweep_top,
        place.sweep_next,
        read_at,
    )


# Of several attempts at a delivery the first one's number tells the order of the events.
_NOTE = """
INSERT INTO delivery_missed AS known (guid, event, delivery_id, action, installation_id, repo_id, delivered_at)
SELECT DISTINCT ON (guid, event) guid, event, delivery_id, action, installation_id, repo_id, delivered_at
FROM unnest($1::uuid[], $2::text[], $3::bigint[], $4::text[], $5::bigint[], $6::bigint[], $7::timestamptz[])
    AS entry (guid, event, delivery_id, action, installation_id, repo_id, delivered_at)
WHERE NOT EXISTS (SELECT FROM delivery AS d WHERE d.guid = entry.guid AND d.event = entry.event)
ORDER BY guid, event, delivery_id
ON CONFLICT (guid, event) DO UPDATE SET delivery_id = excluded.delivery_id, delivered_at = excluded.delivered_at
WHERE known.delivery_id > excluded.delivery_id
RETURNING xmax = 0 AS new
"""


async def note(pool: Pool, entries: Sequence[Missed]) -> int:
    """Note the entries that the inbox lacks; how many were not noted before. Doing it twice changes nothing."""
    if not entries:
        return 0
    rows = await pool.fetch(
        _NOTE,
        [entry.guid for entry in entries],
        [storable(entry.event) for entry in entries],
        [entry.delivery_id for entry in entries],
        [None if entry.action is None else storable(entry.action) for entry in entries],
        [entry.installation_id for entry in entries],
        [entry.repo_id for entry in entries],
        [entry.delivered_at for entry in entries],
    )
    return sum(row["new"] for row in rows)


# ------------------------------------------------------------------------------------------------- what is missing

# (A scalar subquery is looked up by the index, however many are missing.)
_FORGET_ARRIVED = """
DELETE FROM delivery_missed AS m
WHERE (SELECT true FROM delivery AS d WHERE d.guid = m.guid AND d.event = m.event)
"""


async def forget_arrived(pool: Pool) -> None:
    """Miss no more what has come meanwhile, on whichever way; also what was given up."""
    await pool.execute(_FORGET_ARRIVED)


async def due(pool: Pool, now: datetime, limit: int) -> tuple[Missed, ...]:
    """The next that are to be fetched, in the order of the events; none that were put off or given up."""
    rows = await pool.fetch(
        "SELECT guid, event, delivery_id, action, installation_id, repo_id, delivered_at, attempts "
        "FROM delivery_missed WHERE given_up_at IS NULL AND (next_attempt_at IS NULL OR next_attempt_at <= $1) "
        "ORDER BY delivery_id LIMIT $2",
        now,
        limit,
    )
    return tuple(Missed(**dict(row)) for row in rows)


async def settled(pool: Pool, keys: Collection[Key]) -> None:
    """Miss these no more: they are in the inbox, or nobody needs them."""
    if keys:
        await pool.execute(
            "DELETE FROM delivery_missed USING unnest($1::uuid[], $2::text[]) AS gone (guid, event) "
            "WHERE delivery_missed.guid = gone.guid AND delivery_missed.event = gone.event",
            [guid for guid, _ in keys],
            [event for _, event in keys],
        )


async def put_off(pool: Pool, missed: Missed, error: str, until: datetime | None) -> None:
    """Count a failed attempt. `until`: when it is tried again; None: never, it is a dead letter from now on."""
    await pool.execute(
        "UPDATE delivery_missed SET attempts = attempts + 1, last_error = $3, next_attempt_at = $4, "
        "given_up_at = CASE WHEN $4::timestamptz IS NULL THEN clock_timestamp() END WHERE guid = $1 AND event = $2",
        missed.guid,
        missed.event,
        storable(error[:500]),
        until,
    )

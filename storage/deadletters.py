"""Deliveries that were given up (processed in vain, or never had from GitHub's log), and the bodies of those done."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from storage.database import Pool


@dataclass(frozen=True, slots=True)
class DeadLetter:
    """A delivery that was given up. `has_body`: it can be replayed."""

    inbox_id: int
    guid: UUID
    event: str
    action: str | None
    installation_id: int | None
    repo_id: int | None
    lane_id: str
    received_at: datetime
    finished_at: datetime
    attempts: int
    last_error: str | None
    has_body: bool

    @classmethod
    def from_row(cls, row: Any) -> DeadLetter:
        """From a row of the query in `dead_letters`."""
        return cls(**{name: row[name] for name in cls.__slots__})


# Each part is read from its newest end: the ids of both come from one sequence.
_DEAD = """
SELECT * FROM (
    (SELECT inbox_id, guid, event, action, installation_id, repo_id, lane_id, received_at, finished_at, attempts,
        last_error, payload IS NOT NULL AS has_body
     FROM delivery WHERE state = 'dead' AND ($2::bigint IS NULL OR inbox_id < $2) ORDER BY inbox_id DESC LIMIT $1)
    UNION ALL
    (SELECT inbox_id, guid, event, action, installation_id, repo_id, 'delivery-log', delivered_at, given_up_at,
        attempts, last_error, true
     FROM delivery_missed WHERE given_up_at IS NOT NULL AND ($2::bigint IS NULL OR inbox_id < $2)
     ORDER BY inbox_id DESC LIMIT $1)
) AS dead ORDER BY inbox_id DESC LIMIT $1
"""


async def dead_letters(pool: Pool, *, limit: int = 100, before: int | None = None) -> tuple[DeadLetter, ...]:
    """Dead letters, the newest first; `before`: an inbox id to go on from.

    Of those of the lane "delivery-log" GitHub has the body, and did not give it.
    """
    return tuple(DeadLetter.from_row(row) for row in await pool.fetch(_DEAD, limit, before))


_REPLAY = """
WITH raised AS (
    UPDATE delivery SET state = 'waiting', outcome = NULL, finished_at = NULL, attempts = 0, next_attempt_at = NULL
    WHERE inbox_id = $1 AND state = 'dead' AND payload IS NOT NULL RETURNING lane_id
), woken AS (
    INSERT INTO lane AS known (lane_id, due_at) SELECT lane_id, now() FROM raised
    ON CONFLICT (lane_id) DO UPDATE SET due_at = least(known.due_at, excluded.due_at) RETURNING lane_id
), missed AS (
    UPDATE delivery_missed SET given_up_at = NULL, attempts = 0, next_attempt_at = NULL
    WHERE inbox_id = $1 AND given_up_at IS NOT NULL RETURNING inbox_id
), told AS (
    SELECT pg_notify('lane_due', '') FROM woken
)
SELECT (SELECT count(*) FROM told) FROM (SELECT lane_id FROM woken UNION ALL SELECT 'delivery-log' FROM missed) AS again
"""


async def replay(pool: Pool, inbox_id: int) -> bool:
    """Let a dead letter be processed again, or asked for again, with all its attempts.

    False when it is none, or has no body any more.
    """
    return await pool.fetchrow(_REPLAY, inbox_id) is not None


async def forget_bodies(pool: Pool, older_than: timedelta, *, limit: int = 1000) -> int:
    """Delete the bodies of at most `limit` deliveries that were finished longer ago than `older_than`.

    Returns how many; call again while it is `limit`. Dead letters keep theirs: a person may still replay them.
    """
    rows = await pool.fetch(
        "UPDATE delivery SET payload = NULL WHERE inbox_id IN (SELECT inbox_id FROM delivery "
        "WHERE payload IS NOT NULL AND state IN ('done', 'superseded') AND finished_at < now() - $1::interval "
        "ORDER BY finished_at LIMIT $2) RETURNING inbox_id",
        older_than,
        limit,
    )
    return len(rows)

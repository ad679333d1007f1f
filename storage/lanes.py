"""Lanes: what must be processed in order, one worker at a time (a repository, an installation).

A lane is held under a lease; its token rises with each claim, so a holder that was taken over is told apart. Only the
database's clock counts.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta

from storage.database import Pool


@dataclass(frozen=True, slots=True)
class Lane:
    """A claim of a lane. `token` fences: only the newest claim's writes are taken."""

    lane_id: str
    token: int
    holder: str


# Takes an expired lease over before anything else: its deliveries wait the longest. Otherwise the lane due longest.
_CLAIM = """
WITH expired AS (
    SELECT lane_id FROM lane WHERE leased_until < now() ORDER BY leased_until LIMIT 1 FOR UPDATE SKIP LOCKED
), due AS (
    SELECT lane_id FROM lane
    WHERE leased_until IS NULL AND due_at <= now() AND NOT EXISTS (SELECT FROM expired)
    ORDER BY due_at LIMIT 1 FOR UPDATE SKIP LOCKED
)
UPDATE lane SET due_at = NULL, holder = $1, token = token + 1, leased_until = now() + $2::interval
WHERE lane_id = coalesce((SELECT lane_id FROM expired), (SELECT lane_id FROM due))
RETURNING lane_id, token, holder
"""


async def claim(pool: Pool, holder: str, lease: timedelta) -> Lane | None:
    """Take one lane that is due, or whose holder's lease ran out, for `lease`; None when there is none."""
    row = await pool.fetchrow(_CLAIM, holder, lease)
    return Lane(row["lane_id"], row["token"], row["holder"]) if row is not None else None


async def heartbeat(pool: Pool, lane: Lane, lease: timedelta) -> bool:
    """Prolong the lease to `lease` from now; False when the lane was taken over or the lease ran out."""
    row = await pool.fetchrow(
        "UPDATE lane SET leased_until = now() + $3::interval "
        "WHERE lane_id = $1 AND token = $2 AND leased_until > now() RETURNING token",
        lane.lane_id,
        lane.token,
        lease,
    )
    return row is not None


# A wake-up that came while the lane was held is kept; deliveries that still wait make the lane due by themselves. What
# is due at once is told, because its first notification came while nobody could claim the lane.
_RELEASE = """
WITH released AS (
    UPDATE lane SET holder = NULL, leased_until = NULL, due_at = least(due_at, CASE
        WHEN $3::interval IS NOT NULL THEN now() + $3::interval
        ELSE (SELECT min(coalesce(next_attempt_at, now())) FROM delivery
              WHERE delivery.lane_id = $1 AND delivery.state = 'waiting') END)
    WHERE lane_id = $1 AND token = $2
    RETURNING due_at
), told AS (
    SELECT pg_notify('lane_due', '') FROM released WHERE due_at <= now()
)
SELECT (SELECT count(*) FROM told) FROM released
"""


async def release(pool: Pool, lane: Lane, due_in: timedelta | None = None) -> bool:
    """Give the lane back; False when somebody else has it by now (nothing to do then).

    `due_in`: look at it again after that time even if nothing new arrives; without it, when its next waiting delivery
    is due.
    """
    return await pool.fetchrow(_RELEASE, lane.lane_id, lane.token, due_in) is not None


async def next_due(pool: Pool) -> float | None:
    """Seconds until a lane can be claimed (0 or less: now), as far as is known; None when nothing waits."""
    seconds = await pool.fetchval(
        "SELECT extract(epoch FROM least("
        "(SELECT min(due_at) FROM lane WHERE leased_until IS NULL AND due_at IS NOT NULL),"
        "(SELECT min(leased_until) FROM lane WHERE leased_until IS NOT NULL)) - now())::float8"
    )
    return float(seconds) if seconds is not None else None

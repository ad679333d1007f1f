"""What could be left lying by a defect or a lost write, found by looking at everything that is unfinished."""

from __future__ import annotations

from datetime import timedelta

from storage.database import Pool

#: A report that was given up is tried again after this, for so long.
TRY_REPORTS_AGAIN = timedelta(hours=6)
TRY_REPORTS_FOR = timedelta(days=3)

#: Statements find at most so many at a time.
BATCH = 1000


async def _count(pool: Pool, query: str, *values: object) -> int:
    return int(await pool.fetchval(query, *values))


# The partial index of waiting deliveries is read, which holds nothing else. A lane that somebody has makes itself due.
_WAKE_LANES = """
WITH asleep AS (
    SELECT DISTINCT d.lane_id FROM delivery AS d LEFT JOIN lane AS l USING (lane_id)
    WHERE d.state = 'waiting' AND (d.next_attempt_at IS NULL OR d.next_attempt_at < now() - $1::interval)
      AND d.received_at < now() - $1::interval
      AND (l.lane_id IS NULL OR (l.due_at IS NULL AND l.leased_until IS NULL))
    ORDER BY 1 LIMIT $2
), woken AS (
    INSERT INTO lane AS known (lane_id, due_at) SELECT lane_id, now() FROM asleep ORDER BY lane_id
    ON CONFLICT (lane_id) DO UPDATE SET due_at = excluded.due_at
    WHERE known.due_at IS NULL AND known.leased_until IS NULL RETURNING lane_id
), told AS (
    SELECT pg_notify('lane_due', '') WHERE EXISTS (SELECT FROM woken)
)
SELECT (SELECT count(*) FROM woken) + 0 * (SELECT count(*) FROM told)
"""


async def wake_lanes(pool: Pool, asleep_for: timedelta) -> int:
    """Make lanes due in which something has waited so long without anybody going to look; how many there were."""
    return await _count(pool, _WAKE_LANES, asleep_for, BATCH)


# Where the installation is away, the report waits for its coming back.
_TRY_REPORTS = """
WITH again AS (
    UPDATE outbox SET state = 'wanted', attempts = least(attempts, 1), due_at = now(), updated_at = now()
    WHERE outbox_id IN (
        SELECT o.outbox_id FROM outbox AS o JOIN installation AS i USING (installation_id)
        LEFT JOIN lab_session AS s USING (session_id)
        WHERE o.state = 'failed' AND i.state = 'active' AND o.updated_at < now() - $1::interval
          AND greatest(o.created_at, s.last_activity_at) > now() - $2::interval
          AND (s.session_id IS NULL
              OR (o.head_sha = s.head_sha AND s.status IN ('IN_PROGRESS', 'STUCK', 'VERIFIED_PASS')))
        ORDER BY o.outbox_id LIMIT $3 FOR UPDATE OF o SKIP LOCKED)
    RETURNING outbox_id
), told AS (
    SELECT pg_notify('outbox_due', '') WHERE EXISTS (SELECT FROM again)
)
SELECT (SELECT count(*) FROM again) + 0 * (SELECT count(*) FROM told)
"""


async def try_reports_again(pool: Pool) -> int:
    """Let reports that GitHub refused be sent again, if they are on the head that counts; how many there were.

    A permission may have been given since, or a repository taken out of the archive. It is tried TRY_REPORTS_FOR, from
    the report's beginning or the session's last news. Reports of no session, which say why there is none, are too.
    """
    return await _count(pool, _TRY_REPORTS, TRY_REPORTS_AGAIN, TRY_REPORTS_FOR, BATCH)


_RESUME_LOOKS = """
SELECT count(want_looks(installation_id)) FROM (
    SELECT DISTINCT r.installation_id FROM installation_repository AS r JOIN installation AS i USING (installation_id)
    WHERE r.look AND i.state = 'active' AND NOT EXISTS (
        SELECT FROM delivery AS d WHERE d.lane_id = 'installation:' || r.installation_id AND d.state = 'waiting'
          AND d.event = 'stepgate.look')
    ORDER BY 1 LIMIT $1) AS forgotten
"""


async def resume_looks(pool: Pool) -> int:
    """Let repositories have their turns that wait for one, and nothing would give it; of how many installations."""
    return await _count(pool, _RESUME_LOOKS, BATCH)

"""Whose report is sent next: the order in which the outbox is claimed, and what is dropped when a budget is short."""

from __future__ import annotations

from datetime import timedelta

from storage.database import Pool

# An installation is left alone while GitHub has silenced it, and while its next write is further away than this.
AHEAD = timedelta(seconds=1)
# More reports than this wait for an installation: heads that were left behind are dropped. If its writes are slowed as
# well, its budget is short, and statuses wait.
CROWD = 20
# A repository's turns are counted for so long; up to two of them it is as if it had had none.
TURNS_OF = timedelta(seconds=60)

# So many due reports are looked at in the order of time, whatever waits behind them. Only where these belong to too few
# installations (one has a backlog, say) each installation is looked up.
FRONT = 512

# The installations that have waited longest are looked into, more of them than can be taken: those of the `front`; if
# they are `few`, the index is skipped through, so that each installation costs the same, however much waits for it.
# Within one: repositories that had few turns first (`round`: turns that the repository had before this item, beyond
# two); check runs before statuses that are left over; failures before successes; the longest due. With each comes the
# delivery that its head was last judged for, if it was one, and how long ago that came.
CLAIM = """
WITH RECURSIVE front AS MATERIALIZED (
    SELECT o.installation_id, o.due_at FROM outbox AS o
    WHERE o.state = 'wanted' AND o.due_at <= now() AND (o.leased_until IS NULL OR o.leased_until < now())
    ORDER BY o.due_at LIMIT $10
), quick AS MATERIALIZED (
    SELECT oldest.installation_id, oldest.due_at, coalesce(pace.short, false) AS slowed
    FROM (SELECT installation_id, min(due_at) AS due_at FROM front GROUP BY installation_id) AS oldest
    LEFT JOIN github_budget AS budget ON budget.installation_id = oldest.installation_id
    LEFT JOIN github_pace AS pace ON pace.installation_id = oldest.installation_id
    WHERE oldest.installation_id <> ALL ($4::bigint[])
      AND (budget.blocked_until IS NULL OR budget.blocked_until <= now())
      AND (pace.next_write_at IS NULL OR pace.next_write_at <= now() + $5::interval)
), few(are) AS MATERIALIZED (
    SELECT (SELECT count(*) FROM front) = $10 AND (SELECT count(*) FROM quick) < 4 * $3
), waiting(installation_id) AS (
    (SELECT installation_id FROM outbox WHERE state = 'wanted' AND (SELECT are FROM few)
     ORDER BY installation_id LIMIT 1)
    UNION ALL
    SELECT (SELECT o.installation_id FROM outbox AS o WHERE o.state = 'wanted'
            AND o.installation_id > waiting.installation_id ORDER BY o.installation_id LIMIT 1)
    FROM waiting WHERE waiting.installation_id IS NOT NULL
), ready AS MATERIALIZED (
    SELECT installation_id, slowed FROM (
        SELECT quick.* FROM quick, few WHERE NOT few.are
        UNION ALL
        SELECT waiting.installation_id, oldest.due_at, coalesce(pace.short, false)
        FROM waiting
        LEFT JOIN github_budget AS budget ON budget.installation_id = waiting.installation_id
        LEFT JOIN github_pace AS pace ON pace.installation_id = waiting.installation_id
        CROSS JOIN LATERAL (
            SELECT o.due_at FROM outbox AS o
            WHERE o.installation_id = waiting.installation_id AND o.state = 'wanted' AND o.due_at <= now()
              AND (o.leased_until IS NULL OR o.leased_until < now())
            ORDER BY o.due_at LIMIT 1
        ) AS oldest
        WHERE waiting.installation_id <> ALL ($4::bigint[])
          AND (budget.blocked_until IS NULL OR budget.blocked_until <= now())
          AND (pace.next_write_at IS NULL OR pace.next_write_at <= now() + $5::interval)
    ) AS either
    ORDER BY due_at LIMIT 4 * $3
), ranked AS MATERIALIZED (
    SELECT next.outbox_id, next.place, next.backlog > $6 AS crowded, ready.slowed AND next.backlog > $6 AS short
    FROM ready CROSS JOIN LATERAL (
        SELECT outbox_id, backlog, row_number() OVER (ORDER BY round, left_over, passing, due_at, outbox_id) AS place
        FROM (
            SELECT o.outbox_id, o.due_at, left_over, passing, count(*) OVER () AS backlog,
                row_number() OVER same_repository AS number, coalesce(held.items, 0) AS held,
                greatest(coalesce(turn.turns, 0) + row_number() OVER same_repository - 2, 0) AS round
            FROM outbox AS o
            CROSS JOIN LATERAL (SELECT o.wanted_digest = o.sent_check_digest AS left_over,
                                o.conclusion IN ('success', 'neutral') AS passing) AS kind
            LEFT JOIN outbox_turn AS turn ON turn.repo_id = o.repo_id AND turn.since > now() - $7::interval
            LEFT JOIN (SELECT repo_id, count(*) AS items FROM outbox
                       WHERE state = 'wanted' AND installation_id = ready.installation_id AND leased_until >= now()
                       GROUP BY repo_id) AS held ON held.repo_id = o.repo_id
            WHERE o.installation_id = ready.installation_id AND o.state = 'wanted' AND o.due_at <= now()
              AND (o.leased_until IS NULL OR o.leased_until < now())
            WINDOW same_repository AS (PARTITION BY o.repo_id ORDER BY o.wanted_digest = o.sent_check_digest,
                                       o.conclusion IN ('success', 'neutral'), o.due_at, o.outbox_id)
        ) AS due
        WHERE $8::integer IS NULL OR number + held <= $8
        ORDER BY place LIMIT $9
    ) AS next
), due AS (
    SELECT outbox.outbox_id, outbox.repo_id, ranked.place, ranked.crowded, ranked.short
    FROM outbox JOIN ranked ON ranked.outbox_id = outbox.outbox_id
    WHERE outbox.state = 'wanted' AND outbox.due_at <= now()
      AND (outbox.leased_until IS NULL OR outbox.leased_until < now())
    ORDER BY ranked.place, outbox.conclusion IN ('success', 'neutral'), outbox.due_at
    LIMIT $3 FOR UPDATE OF outbox SKIP LOCKED
), turns AS (
    INSERT INTO outbox_turn AS known SELECT repo_id, count(*), now() FROM due GROUP BY repo_id ORDER BY repo_id
    ON CONFLICT (repo_id) DO UPDATE SET
        turns = CASE WHEN known.since > now() - $7::interval THEN known.turns ELSE 0 END + excluded.turns,
        since = CASE WHEN known.since > now() - $7::interval THEN known.since ELSE now() END
), claimed AS (
    UPDATE outbox SET holder = $1, token = token + 1, leased_until = now() + $2::interval, attempts = attempts + 1
    FROM due WHERE outbox.outbox_id = due.outbox_id
    RETURNING outbox.*, due.crowded, due.short, due.place
)
SELECT claimed.*, caused.delivery_id, caused.waited FROM claimed
LEFT JOIN LATERAL (
    SELECT judged.delivery_id, extract(epoch FROM clock_timestamp() - delivery.received_at)::float8 AS waited
    FROM (SELECT delivery_id FROM push_attempt
          WHERE push_attempt.session_id = claimed.session_id AND after_sha = claimed.head_sha
          ORDER BY attempt_id DESC LIMIT 1) AS judged
    JOIN delivery ON delivery.guid = judged.delivery_id AND delivery.event = 'push'
) AS caused ON true
ORDER BY place, conclusion IN ('success', 'neutral'), due_at
"""

NEXT_DUE = """
SELECT extract(epoch FROM
    min(greatest(o.due_at, o.leased_until, budget.blocked_until, pace.next_write_at - $2::interval)) - now())::float8
FROM outbox AS o
LEFT JOIN github_budget AS budget ON budget.installation_id = o.installation_id
LEFT JOIN github_pace AS pace ON pace.installation_id = o.installation_id
WHERE o.state = 'wanted' AND o.installation_id <> ALL ($1::bigint[])
"""

_SUPERSEDED = """
WITH old AS (
    SELECT o.outbox_id FROM outbox AS o JOIN lab_session AS s ON s.session_id = o.session_id
    WHERE o.installation_id = $1 AND o.state = 'wanted' AND NOT o.weak AND o.head_sha <> s.head_sha
      AND EXISTS (SELECT FROM outbox AS newest WHERE newest.repo_id = o.repo_id AND newest.head_sha = s.head_sha
                  AND newest.session_id = o.session_id AND newest.name = o.name)
    FOR UPDATE OF o SKIP LOCKED
), dropped AS (
    DELETE FROM outbox AS o USING old WHERE o.outbox_id = old.outbox_id AND o.attempts = 0 AND o.leased_until IS NULL
      AND o.sent_check_digest = '' AND o.sent_status_digest = '' AND o.updated_at < now() - interval '2 seconds'
    RETURNING o.outbox_id
), without_status AS (
    UPDATE outbox AS o SET status = NULL, wanted_status_digest = '', state = 'sent', updated_at = clock_timestamp()
    FROM old WHERE o.outbox_id = old.outbox_id AND o.leased_until IS NULL
      AND o.sent_check_digest = o.wanted_digest AND o.sent_status_digest = ''
      AND o.updated_at < now() - interval '2 seconds'
    RETURNING o.outbox_id
)
SELECT (SELECT count(*) FROM dropped) + (SELECT count(*) FROM without_status)
"""


async def drop_superseded(pool: Pool, installation_id: int) -> int:
    """Send no more about heads that their session has left behind: no report, or no status; how many those were.

    For an installation for which much waits. What is wanted anew within two seconds is left alone, and so is a status
    that GitHub shows already.
    """
    return int(await pool.fetchval(_SUPERSEDED, installation_id))

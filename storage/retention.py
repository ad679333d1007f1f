"""What is deleted by the clock: see docs/privacy.md. Every function does a small batch, so that nobody waits for it."""

from __future__ import annotations

from datetime import timedelta

from storage.database import Pool

#: Rows, deliveries or installations in one statement.
BATCH = 1000

#: A delivery that was given up can be processed again this long; then its body goes, too.
KEEP_DEAD_BODIES = timedelta(days=30)

#: Who pushed to a repository that was refused is told why this long.
KEEP_SENDERS = timedelta(days=30)

#: Results of heads that are no session's head any more. GitHub has them, and is asked again when one is.
KEEP_RESULTS = timedelta(days=30)


async def _count(pool: Pool, query: str, *values: object) -> int:
    return int((await pool.execute(query, *values)).rpartition(" ")[2])


async def forget_dead_bodies(pool: Pool, *, limit: int = BATCH) -> int:
    """Delete the bodies of deliveries that were given up KEEP_DEAD_BODIES ago; how many they were."""
    return await _count(
        pool,
        "UPDATE delivery SET payload = NULL WHERE inbox_id IN (SELECT inbox_id FROM delivery WHERE state = 'dead' "
        "AND payload IS NOT NULL AND finished_at < now() - $1::interval ORDER BY inbox_id LIMIT $2)",
        KEEP_DEAD_BODIES,
        limit,
    )


async def forget_senders(pool: Pool, *, limit: int = BATCH) -> int:
    """Forget who pushed to repositories that were refused, KEEP_SENDERS after the last time; of how many days."""
    return await _count(
        pool,
        "UPDATE rejection_count SET senders = '{}' WHERE event_id IN (SELECT event_id FROM rejection_count "
        "WHERE senders <> '{}' AND last_at < now() - $1::interval LIMIT $2)",
        KEEP_SENDERS,
        limit,
    )


# Those of a head that a session compares with, or that is judged next, stay.
_FORGET_RESULTS = """
DELETE FROM head_fact WHERE ctid = ANY (ARRAY(
    SELECT f.ctid FROM head_fact AS f WHERE f.seen_at < now() - $1::interval AND NOT EXISTS (
        SELECT FROM repo_mapping AS m JOIN lab_session AS s USING (session_id)
        WHERE m.provider_repo_id = f.repo_id AND m.state = 'active'
          AND f.head_sha IN (s.head_sha, s.accepted_sha, s.branch_head_seen))
    LIMIT $2 FOR UPDATE OF f SKIP LOCKED))
"""


async def forget_results(pool: Pool, *, limit: int = BATCH) -> int:
    """Delete results of workflows and checks on heads that are no session's any more, KEEP_RESULTS after they came."""
    return await _count(pool, _FORGET_RESULTS, KEEP_RESULTS, limit)


async def clean_strangers(pool: Pool, unread_for: timedelta, *, limit: int = 100) -> int:
    """Leave of installations that have nothing to do with any lab nothing but their id and state; how many they were.

    `unread_for`: how long ago they were read from the API. A later event reads them again.
    """
    return int(await pool.fetchval("SELECT clean_strangers($1, $2)", unread_for, limit))


# Somebody who decided something keeps a name in the record. A writer that needs the account now has locked its row.
_FORGET_ACCOUNTS = """
DELETE FROM github_account WHERE account_id IN (
    SELECT account_id FROM github_account AS a WHERE last_seen_at < now() - $1::interval
      AND NOT EXISTS (SELECT FROM installation AS i WHERE i.account_id = a.account_id)
      AND NOT EXISTS (SELECT FROM lab_session AS s WHERE s.learner_account_id = a.account_id)
      AND NOT EXISTS (SELECT FROM repo_mapping AS m WHERE m.owner_account_id = a.account_id)
      AND NOT EXISTS (SELECT FROM invitation AS v WHERE v.account_id = a.account_id)
      AND NOT EXISTS (SELECT FROM staff_fact AS f WHERE a.account_id IN (f.by_account, f.revoked_by))
      AND NOT EXISTS (SELECT FROM audit_event AS e WHERE e.actor_id = a.account_id)
    LIMIT $2 FOR UPDATE SKIP LOCKED)
"""


async def forget_accounts(pool: Pool, unseen_for: timedelta, *, limit: int = BATCH) -> int:
    """Delete accounts that nothing hangs on and that were not seen for so long; how many they were."""
    return await _count(pool, _FORGET_ACCOUNTS, unseen_for, limit)


# By number, the oldest first: numbers rise with time, so the table is read from its beginning, as far as there is
# something old. Dead letters stay as long as their bodies; who forgets a person leaves the number alone.
_FORGET_DELIVERIES = """
WITH oldest AS (
    SELECT inbox_id, received_at, state IN ('done', 'superseded') AND finished_at < now() - $1::interval
        OR (state = 'dead' AND payload IS NULL AND finished_at < now() - $1::interval) AS over
    FROM delivery WHERE inbox_id > $2 ORDER BY inbox_id LIMIT $3
), gone AS (
    DELETE FROM delivery WHERE inbox_id = ANY (ARRAY(SELECT inbox_id FROM oldest WHERE over)) RETURNING inbox_id
)
SELECT (SELECT count(*) FROM gone) AS gone, max(inbox_id) AS last, min(received_at) < now() - $1::interval AS more
FROM oldest
"""


async def forget_deliveries(
    pool: Pool, kept: timedelta, after: int = 0, *, limit: int = BATCH
) -> tuple[int, int | None]:
    """Delete what is left of deliveries that were finished `kept` ago, by which they are told from new ones.

    Looks at `limit` rows from the number `after` on. How many were deleted, and the number to go on from (None: what
    comes after is younger).
    """
    row = await pool.fetchrow(_FORGET_DELIVERIES, kept, after, limit)
    assert row is not None  # noqa: S101 (an aggregate has one row)
    return row["gone"], row["last"] if row["more"] else None


async def forget_missed(pool: Pool, *, limit: int = BATCH) -> int:
    """Forget deliveries that GitHub's log never gave, as long after they were given up as the bodies of others."""
    return await _count(
        pool,
        "DELETE FROM delivery_missed WHERE (guid, event) IN (SELECT guid, event FROM delivery_missed "
        "WHERE given_up_at < now() - $1::interval ORDER BY given_up_at LIMIT $2)",
        KEEP_DEAD_BODIES,
        limit,
    )

"""A made-up class: labs, and as many sessions in every state as asked for, put into the database in bulk."""

from __future__ import annotations

from storage.database import Pool
from tests.support.bindings import publish

# Session number n belongs to learner n. What it is follows from n, so that tests can say what they expect:
# n % 10 = 1 asked for help, 2 stuck, 3 waits for approval, 4 waits for a workflow, 5 finished, 6 paused by staff,
# 7 over, else in progress; n % 7 steps' worth of pushes; n hours ago.
_ACCOUNTS = """
INSERT INTO github_account (account_id, login, kind)
SELECT 100000 + n, 'learner-' || n, 'User' FROM generate_series(1, $1::integer) AS n
"""
_INSTALLATIONS = """
INSERT INTO installation (installation_id, account_id, repository_selection, state)
SELECT 100000 + n, 100000 + n, 'all', 'active' FROM generate_series(1, $1::integer) AS n
"""
_SESSIONS = """
INSERT INTO lab_session (session_id, lab_id, lab_version_id, learner_account_id, status, deferred_by, started_at,
    last_activity_at, help_at, help_words)
SELECT md5('session ' || n)::uuid, v.lab_id, v.lab_version_id, 100000 + n,
    CASE n % 10 WHEN 1 THEN 'STUCK' WHEN 2 THEN 'STUCK' WHEN 5 THEN 'VERIFIED_PASS' WHEN 6 THEN 'DEFERRED'
        WHEN 7 THEN 'EXPIRED' ELSE 'IN_PROGRESS' END,
    CASE WHEN n % 10 = 6 THEN 'staff' END, now() - make_interval(hours => n + 1), now() - make_interval(hours => n),
    CASE WHEN n % 10 = 1 THEN now() END, CASE WHEN n % 10 = 1 THEN 'The tests never start.' END
FROM generate_series(1, $1::integer) AS n
JOIN lab_version AS v ON v.lab_version_id = ($2::bigint[])[1 + n % cardinality($2::bigint[])]
"""
_MAPPINGS = """
INSERT INTO repo_mapping (provider_repo_id, installation_id, owner_account_id, repo_full_name, session_id, source)
SELECT 100000 + n, 100000 + n, 100000 + n, 'learner-' || n || '/lab', md5('session ' || n)::uuid, 'event'
FROM generate_series(1, $1::integer) AS n
"""
_ATTEMPTS = """
INSERT INTO push_attempt (session_id, trigger, delivery_id, ref, after_sha, lab_version_id, verdict, violations,
    violations_total, detail, revision, created_at)
SELECT s.session_id, 'push', gen_random_uuid(), 'refs/heads/main', md5('a' || n || ' ' || k) || '00000000',
    s.lab_version_id, CASE WHEN n % 10 IN (1, 2) THEN 'blocked' ELSE 'accepted' END,
    CASE WHEN n % 10 IN (1, 2) THEN '[{"code": "OUT_OF_ORDER", "level": "block"}]'::jsonb ELSE '[]' END,
    (n % 10 IN (1, 2))::integer,
    CASE n % 10 WHEN 3 THEN '{"waiting": {"one": ["approval by staff"]}}'::jsonb
        WHEN 4 THEN '{"waiting": {"one": ["workflow test.yml"]}}' ELSE '{}' END,
    k, now() - make_interval(hours => n) - make_interval(mins => 10 - k)
FROM generate_series(1, $1::integer) AS n JOIN lab_session AS s ON s.session_id = md5('session ' || n)::uuid,
    generate_series(1, n % 7) AS k ORDER BY n, k
"""
_PROGRESS = """
INSERT INTO step_progress (session_id, step_id, state, completed_at)
SELECT md5('session ' || n)::uuid, step.id, 'completed', now()
FROM generate_series(1, $1::integer) AS n, (VALUES (1, 'one'), (2, 'two'), (3, 'three')) AS step (number, id)
WHERE step.number <= n % 4 OR n % 10 = 5
"""
_INVITATIONS = """
INSERT INTO invitation (lab_id, login)
SELECT $2::bigint, 'invited-' || n FROM generate_series(1, $1::integer) AS n
"""


async def fill_class(pool: Pool, sessions: int, *, invited: int = 0, slugs: tuple[str, ...] = ("closures",)) -> None:
    """Labs named by their slugs, `sessions` sessions spread over them, and invitations of the first that wait."""
    published = [await publish(pool, slug, 5000 + number) for number, slug in enumerate(slugs)]
    await pool.execute(_ACCOUNTS, sessions)
    await pool.execute(_INSTALLATIONS, sessions)
    await pool.execute(_SESSIONS, sessions, [version.lab_version_id for _, version in published])
    for statement in (_MAPPINGS, _ATTEMPTS, _PROGRESS):
        await pool.execute(statement, sessions)
    await pool.execute(_INVITATIONS, invited, published[0][0].lab_id)

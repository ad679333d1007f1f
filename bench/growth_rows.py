"""The rows of a course that has run for long: made by the database itself, a million of each kind in some seconds.

What a row names follows from its number, so that whoever pushes need not ask.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from uuid import UUID

import asyncpg

from rules.model import Account, AccountKind, LabVersion, Repo

ACCOUNTS, INSTALLATIONS, REPOSITORIES = 1_000_000, 2_000_000, 3_000_000
SECONDS = 1800

# Row number i of a ledger is of session 1 + (i - 1) % {sessions}, as if everybody pushed in turn; every fifth push was
# blocked. Triggers and foreign keys sleep meanwhile, so the standing that triggers keep is written here.
_FILL = """
SET session_replication_role = replica;
SET maintenance_work_mem = '256MB';
CREATE FUNCTION pg_temp.sha(n bigint) RETURNS text IMMUTABLE LANGUAGE sql
    AS $$ SELECT md5('head' || n) || substr(md5('head' || n), 1, 8) $$;
CREATE TEMP TABLE seat AS SELECT n, md5('session' || n)::uuid AS session_id, {accounts} + n AS account_id,
    {installations} + n AS installation_id, {repositories} + n AS repo_id, 'learner-' || n || '/bench-lab' AS full_name
FROM generate_series(1, {sessions}) AS n;
CREATE TEMP TABLE entry AS SELECT i, i / {sessions} AS turn, seat.*, now() - ({rows} - i) * interval '1 second' AS at
FROM generate_series(1, {rows}) AS i JOIN seat ON n = 1 + (i - 1) % {sessions} ORDER BY i;

INSERT INTO github_account (account_id, login, kind) SELECT account_id, 'learner-' || n, 'User' FROM seat;
INSERT INTO installation (installation_id, account_id, repository_selection, state)
SELECT installation_id, account_id, 'selected', 'active' FROM seat;
INSERT INTO installation_repository (installation_id, repo_id, repo_full_name)
SELECT installation_id, repo_id, full_name FROM seat;
INSERT INTO lab_session (session_id, lab_id, lab_version_id, learner_account_id, binding_epoch, accepted_sha, head_sha,
    branch_head_seen, started_at, last_activity_at)
SELECT session_id, {lab}, {version}, account_id, 1, pg_temp.sha(-n), pg_temp.sha(-n), pg_temp.sha(-n),
    now() - n * interval '1 second', now() FROM seat;
INSERT INTO session_standing (session_id, pushed_at, steps_done, steps_total, current_step)
SELECT session_id, now(), 2, 5, 'step-2' FROM seat;
INSERT INTO repo_mapping (provider_repo_id, installation_id, owner_account_id, repo_full_name, session_id, source)
SELECT repo_id, installation_id, account_id, full_name, session_id, 'enrolment' FROM seat;
INSERT INTO invitation (lab_id, account_id, session_id) SELECT {lab}, account_id, session_id FROM seat;
INSERT INTO lane (lane_id) SELECT 'repo:' || repo_id FROM seat;
INSERT INTO step_progress (session_id, step_id, state, completed_at)
SELECT session_id, 'step-' || step, 'completed', now() FROM seat, generate_series(0, 1) AS step;
INSERT INTO push_attempt (session_id, trigger, delivery_id, ref, before_sha, after_sha, lab_version_id, verdict,
    steps_before, steps_after, detail, revision, created_at)
SELECT session_id, 'push', md5('delivery' || i)::uuid, 'refs/heads/main', pg_temp.sha(i - {sessions}), pg_temp.sha(i),
    {version}, CASE WHEN turn % 5 = 3 THEN 'blocked' ELSE 'accepted' END, '["step-0"]', '["step-0"]',
    '{{"gains": [], "losses": [], "rewrite": false}}', turn, at FROM entry;
INSERT INTO audit_event (kind, code, session_id, repo_id, delivery_id, detail, at)
SELECT CASE WHEN i % 2 = 0 THEN 'rejected' ELSE 'staff_judge' END, CASE WHEN i % 2 = 0 THEN 'SESSION_DEFERRED' END,
    session_id, repo_id, md5('delivery' || i)::uuid, '{{"reason": "seen in class"}}', at FROM entry;
INSERT INTO delivery (guid, event, installation_id, repo_id, lane_id, state, outcome, attempts, finished_at)
SELECT md5('delivery' || i)::uuid, 'push', installation_id, repo_id, 'repo:' || repo_id, 'done', 'accepted', 1, at
FROM entry;
INSERT INTO outbox (repo_id, head_sha, session_id, name, installation_id, repo_full_name, check_run, conclusion,
    wanted_digest, sent_check_digest, check_run_id, state)
SELECT repo_id, pg_temp.sha(i), session_id, 'forgea/steps', installation_id, full_name, '{{}}', 'success', 'd', 'd', i,
    'sent' FROM entry;
"""

_LEDGERS = ["push_attempt", "audit_event", "delivery", "outbox"]
# What to drop of these tables before they are filled, and how to make it again: indexes are built ten times as fast.
_INDEXES = """
SELECT format('ALTER TABLE %s DROP CONSTRAINT %I', conrelid::regclass, conname) AS drop,
    format('ALTER TABLE %s ADD CONSTRAINT %I %s', conrelid::regclass, conname, pg_get_constraintdef(oid)) AS make
FROM pg_constraint WHERE conrelid = ANY ($1::text[]::regclass[]) AND contype = 'u'
UNION ALL
SELECT format('DROP INDEX %s', indexrelid::regclass), pg_get_indexdef(indexrelid)
FROM pg_index WHERE indrelid = ANY ($1::text[]::regclass[]) AND NOT indisprimary
    AND NOT EXISTS (SELECT FROM pg_constraint WHERE conindid = indexrelid)
"""


@dataclass(frozen=True, slots=True)
class Seat:
    """The session with this number, and whose it is."""

    number: int

    @property
    def session_id(self) -> UUID:
        """Of the session."""
        return UUID(hashlib.md5(b"session%d" % self.number, usedforsecurity=False).hexdigest())

    @property
    def installation_id(self) -> int:
        """Of the learner's installation."""
        return INSTALLATIONS + self.number

    @property
    def repo(self) -> Repo:
        """The learner's fork."""
        owner = Account(ACCOUNTS + self.number, f"learner-{self.number}", AccountKind.USER)
        name = f"learner-{self.number}/bench-lab"
        return Repo(REPOSITORIES + self.number, name, owner, private=False, default_branch="main")


async def wait_for_no_disk(dsn: str) -> None:
    """Connections to this database, from now on, do not wait until their commits are on the disk."""
    connection = await asyncpg.connect(dsn)
    try:
        name = await connection.fetchval("SELECT quote_ident(current_database())")
        await connection.execute(f"ALTER DATABASE {name} SET synchronous_commit = off")
    finally:
        await connection.close()


async def fill(dsn: str, version: LabVersion, sessions: int, rows: int) -> None:
    """Bound sessions of this version in its lab, and `rows` each of attempts, audit events, deliveries and reports.

    Needs a superuser: triggers are asleep.
    """
    words = {"accounts": ACCOUNTS, "installations": INSTALLATIONS, "repositories": REPOSITORIES}
    script = _FILL.format(lab=version.lab_id, version=version.lab_version_id, sessions=sessions, rows=rows, **words)
    connection = await asyncpg.connect(dsn)
    try:
        indexes = await connection.fetch(_INDEXES, _LEDGERS)
        for statement in (*(row["drop"] for row in indexes), script, *(row["make"] for row in indexes)):
            await connection.execute(statement, timeout=SECONDS)
        await connection.execute("VACUUM (ANALYZE)", timeout=SECONDS)
        await connection.execute("CHECKPOINT", timeout=SECONDS)
    finally:
        await connection.close()

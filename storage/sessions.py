"""Lab sessions: found, created, bound, and taken from one status to the next."""

from __future__ import annotations

import secrets
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any, Literal
from uuid import UUID

from rules.binding import Candidate
from rules.model import (
    Account,
    LabVersion,
    MappingSource,
    Repo,
    RepoMapping,
    Session,
    SessionStatus,
)
from storage.audit import AuditEvent
from storage.database import Pool, storable
from storage.errors import StaleSession, domain_errors
from storage.mappings import mapping_from_row

__all__ = [
    "Candidate",
    "Candidates",
    "attach",
    "candidates",
    "change_status",
    "create_and_bind",
    "expire",
    "get",
    "overdue",
    "session_from_row",
]


def session_from_row(row: Any) -> Session:
    """From a row of table `lab_session`."""
    return Session(
        session_id=row["session_id"],
        lab_id=row["lab_id"],
        lab_version_id=row["lab_version_id"],
        learner_account_id=row["learner_account_id"],
        status=SessionStatus(row["status"]),
        epoch=row["binding_epoch"],
        accepted_sha=row["accepted_sha"],
        head_sha=row["head_sha"],
        started_at=row["started_at"],
        deferred_by=row["deferred_by"],
        expires_at=row["expires_at"],
    )


async def get(pool: Pool, session_id: UUID) -> Session | None:
    """The session with this id."""
    row = await pool.fetchrow("SELECT * FROM lab_session WHERE session_id = $1", session_id)
    return session_from_row(row) if row is not None else None


@dataclass(frozen=True, slots=True)
class Candidates:
    """The sessions that a repository may belong to, the latest started first, closed ones too.

    `invited_...` is of invitations that no session has used yet: whether one names the repository, or the account;
    `invited_learner_id`: the person that the repository's invitation is for. `lab_is_over`: the lab's deadline has
    passed, so that nobody may begin any more.
    """

    sessions: tuple[Candidate, ...]
    invited_repo: bool
    invited_account: bool
    invited_learner_id: int | None
    lab_is_over: bool = False


# One row at least: of the invitations, with no session beside it when there is none. The sessions' ids are found first
# (`known`), each by an index: with both ways to them in one condition, all sessions of the lab would be read.
_CANDIDATES = """
WITH invited AS (
    SELECT session_id, account_id, repo_id IS NOT NULL AS repo
    FROM invitation WHERE lab_id = $1 AND (repo_id = $3 OR (repo_id IS NULL AND account_id = $2))
), unused AS (
    SELECT coalesce(bool_or(repo), false) AS repo, coalesce(bool_or(NOT repo), false) AS account,
        max(account_id) FILTER (WHERE repo) AS learner_id
    FROM invited WHERE session_id IS NULL
), known AS (
    SELECT session_id FROM lab_session WHERE lab_id = $1 AND learner_account_id = $2
    UNION SELECT session_id FROM invited WHERE session_id IS NOT NULL
)
SELECT s.*, m.mapping_id, m.provider_repo_id, m.installation_id, m.owner_account_id, m.repo_full_name, m.source,
    m.private, EXISTS (SELECT FROM invited WHERE repo AND session_id = s.session_id) AS for_repo,
    EXISTS (SELECT FROM invited WHERE NOT repo AND session_id = s.session_id) AS for_account,
    unused.repo AS invited_repo, unused.account AS invited_account, unused.learner_id AS invited_learner_id,
    EXISTS (SELECT FROM lab WHERE lab_id = $1 AND deadline <= now()) AS lab_is_over
FROM unused
LEFT JOIN (known JOIN lab_session AS s USING (session_id)) ON s.lab_id = $1
LEFT JOIN repo_mapping AS m ON m.session_id = s.session_id AND m.state = 'active'
ORDER BY s.started_at DESC, s.session_id
"""


async def candidates(pool: Pool, lab_id: int, owner_account_id: int, repo_id: int) -> Candidates:
    """Sessions of the lab that are the owner's, or that an invitation ties to this repository or account."""
    rows = await pool.fetch(_CANDIDATES, lab_id, owner_account_id, repo_id)
    found = tuple(
        Candidate(
            session=session_from_row(row),
            mapping=mapping_from_row(row) if row["mapping_id"] is not None else None,
            invited_repo=row["for_repo"],
            invited_account=row["for_account"],
        )
        for row in rows
        if row["session_id"] is not None
    )
    first = rows[0]
    return Candidates(
        found,
        invited_repo=first["invited_repo"],
        invited_account=first["invited_account"],
        invited_learner_id=first["invited_learner_id"],
        lab_is_over=first["lab_is_over"],
    )


def _account_to_json(account: Account) -> dict[str, Any]:
    return {"account_id": account.account_id, "login": account.login, "kind": account.kind.value}


def _mapping_to_json(repo: Repo, installation_id: int, session_id: UUID, source: MappingSource) -> dict[str, Any]:
    return {
        "repo_id": repo.repo_id,
        "installation_id": installation_id,
        "owner_account_id": repo.owner.account_id,
        "repo_full_name": repo.full_name,
        "session_id": session_id,
        "source": source,
        "private": repo.private,
    }


def _bound(mapping_id: int, repo: Repo, installation_id: int, session_id: UUID, source: MappingSource) -> RepoMapping:
    return RepoMapping(
        mapping_id=mapping_id,
        repo_id=repo.repo_id,
        installation_id=installation_id,
        owner_account_id=repo.owner.account_id,
        repo_full_name=repo.full_name,
        session_id=session_id,
        source=source,
        private=repo.private,
    )


async def create_and_bind(
    pool: Pool,
    *,
    version: LabVersion,
    learner: Account,
    repo: Repo,
    installation_id: int,
    source: MappingSource,
    event: AuditEvent,
    expires_at: datetime | None = None,
    user_id: UUID | None = None,
) -> tuple[Session, RepoMapping]:
    """Create a session of this lab version and bind the repository to it, in one transaction.

    `event` is recorded with it, completed by the new ids. Raises MappingConflict when the repository is bound, and
    SessionConflict when the learner has an open session of the lab: another writer was first, look it up again.
    Source "enrolment" is for who holds the repository's lane: raises LeaseLost when nobody does (the learner was erased
    meanwhile, say).
    """
    session_id = UUID(bytes=secrets.token_bytes(16))  # all 128 bits random: a session's address cannot be guessed
    given = {
        "accounts": [_account_to_json(learner), _account_to_json(repo.owner)],
        "session": {
            "session_id": session_id,
            "lab_id": version.lab_id,
            "lab_version_id": version.lab_version_id,
            "learner_account_id": learner.account_id,
            "user_id": user_id,
            "expires_at": expires_at,
        },
        "mapping": _mapping_to_json(repo, installation_id, session_id, source),
        "event": event.to_json(),
    }
    with domain_errors():
        row = await pool.fetchrow("SELECT * FROM create_and_bind($1)", given)
    assert row is not None  # noqa: S101 (a function with OUT parameters has one row)
    session = Session(
        session_id=session_id,
        lab_id=version.lab_id,
        lab_version_id=version.lab_version_id,
        learner_account_id=learner.account_id,
        status=SessionStatus.IN_PROGRESS,
        epoch=row["epoch"],
        accepted_sha=None,
        head_sha=None,
        started_at=row["started_at"],
        expires_at=expires_at,
    )
    return session, _bound(row["mapping_id"], repo, installation_id, session_id, source)


async def attach(
    pool: Pool, session: Session, *, repo: Repo, installation_id: int, source: MappingSource, event: AuditEvent
) -> tuple[Session, RepoMapping]:
    """Bind the repository to an existing session, as it was read; returns it with its new epoch, and the mapping.

    Raises StaleSession when its binding or status changed since, MappingConflict when it or the repository is bound.
    """
    given = {
        "accounts": [_account_to_json(repo.owner)],
        "epoch": session.epoch,
        "mapping": _mapping_to_json(repo, installation_id, session.session_id, source),
        "event": event.to_json(),
    }
    with domain_errors():
        row = await pool.fetchrow("SELECT * FROM attach_repository($1)", given)
    if row is None or row["mapping_id"] is None:
        raise StaleSession(f"session {session.session_id} changed since it was read")
    mapping = _bound(row["mapping_id"], repo, installation_id, session.session_id, source)
    return replace(session, epoch=row["epoch"]), mapping


async def change_status(
    pool: Pool,
    session_id: UUID,
    expected_epoch: int,
    status: SessionStatus,
    *,
    deferred_by: Literal["staff", "installation"] | None = None,
    actor_id: int | None = None,
    reason: str,
    expires_at: datetime | None = None,
) -> Session:
    """Take a session to another status, with actor and reason in the audit; `expires_at` sets a new deadline.

    Raises StaleSession when its binding or status changed since `expected_epoch`, IllegalStatusChange when the machine
    has no such way, SessionConflict when the learner has another open session of the lab.
    """
    event = AuditEvent("status_changed", actor_id=actor_id, detail={"reason": storable(reason)})
    with domain_errors():
        row = await pool.fetchrow(
            "SELECT * FROM change_session_status($1, $2, $3, $4, $5, $6)",
            session_id,
            expected_epoch,
            status.value,
            deferred_by,
            expires_at,
            event.to_json(),
        )
    if row is None:
        raise StaleSession(f"session {session_id} changed since it was read")
    return session_from_row(row)


async def expire(pool: Pool, session_id: UUID) -> bool:
    """Close a session whose deadline has passed, audited.

    False: it has not (by the database's clock), a push that came in time waits for its turn, or the session is in no
    status that a deadline ends.
    """
    event = AuditEvent("status_changed", detail={"reason": "the deadline has passed"})
    return bool(await pool.fetchval("SELECT expire_session($1, $2)", session_id, event.to_json()))


# A deadline that waits (staff has deferred the session) is no reason to look.
_OVERDUE = """
SELECT session_id FROM lab_session
WHERE expires_at <= now() AND status IN ('IN_PROGRESS', 'STUCK', 'DEFERRED')
  AND session_may_change(status, deferred_by, 'EXPIRED', NULL) AND NOT push_in_time_waits(session_id, expires_at)
ORDER BY expires_at LIMIT $1
"""


async def overdue(pool: Pool, limit: int) -> tuple[UUID, ...]:
    """Sessions whose deadline has passed, and that `expire` would close, those longest overdue first."""
    return tuple(row["session_id"] for row in await pool.fetch(_OVERDUE, limit))

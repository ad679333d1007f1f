"""How far somebody is who wants to start a lab: what the page /join/<lab> tells. Read-only."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any

from rules.model import BindingCode, LabVersion, Outcome, Session
from storage import labs
from storage.database import Pool
from storage.sessions import session_from_row

#: Refusals and repositories that are told of: nobody reads more.
SHOWN_REFUSALS = 3
SHOWN_REPOSITORIES = 10


@dataclass(frozen=True, slots=True)
class Judgement:
    """An answer to a head with work on it. `ref`: as it was pushed; `violations`: how many."""

    outcome: Outcome
    ref: str
    after_sha: str
    violations: int
    at: datetime


@dataclass(frozen=True, slots=True)
class Enrolled:
    """A session of the lab with its repository. `repo_id` None: none is connected now; `repo_full_name` is then that of
    the last one, if there was any. `first_push`, `last`: the first and the newest answer to work on the lab's branch;
    `elsewhere`: the newest on another branch."""

    session: Session
    repo_id: int | None
    repo_full_name: str | None
    first_push: datetime | None
    last: Judgement | None
    elsewhere: Judgement | None


@dataclass(frozen=True, slots=True)
class Refusal:
    """A repository of theirs, or one that they pushed to, that could not be connected with the lab."""

    code: BindingCode
    repo_id: int
    repo_full_name: str
    owner_id: int
    at: datetime


@dataclass(frozen=True, slots=True)
class Installed:
    """An installation on the person's own account. `repo_ids`: what it covers; `names`: the full names of the first
    ones. A suspended one covers nothing in effect."""

    installation_id: int
    suspended: bool
    repo_ids: frozenset[int]
    names: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Standing:
    """Everything about one person and one lab. `invited`: an invitation names the account, or its login."""

    invited: bool
    enrolled: Enrolled | None
    refusals: tuple[Refusal, ...]
    installations: tuple[Installed, ...]

    def covers(self, repo_id: int) -> bool:
        """Whether an installation in force covers the repository."""
        return any(repo_id in installed.repo_ids for installed in self.installations if not installed.suspended)


_INVITED = """
SELECT EXISTS (SELECT FROM invitation WHERE lab_id = $1 AND account_id = $2)
    OR EXISTS (SELECT FROM invitation WHERE lab_id = $1 AND account_id IS NULL AND repo_id IS NULL
               AND lower(login) = lower($3))
"""

# The session that counts: an open one, else the one that was started last.
_SESSION = """
SELECT s.*, m.provider_repo_id AS repo_id, coalesce(m.repo_full_name, (SELECT repo_full_name FROM repo_mapping AS former
    WHERE former.session_id = s.session_id ORDER BY mapping_id DESC LIMIT 1)) AS repo_full_name
FROM lab_session AS s LEFT JOIN repo_mapping AS m ON m.session_id = s.session_id AND m.state = 'active'
WHERE s.learner_account_id = $2 AND s.lab_id = $1
ORDER BY s.status IN ('IN_PROGRESS', 'STUCK') DESC, s.started_at DESC LIMIT 1
"""

# Work is what is not the starter as it was handed out: that is judged too, when the App is installed.
_WORK = """
FROM push_attempt
WHERE session_id = $1 AND verdict <> 'superseded' AND NOT coalesce((detail->>'untouched')::boolean, trigger <> 'push')
"""
_FIRST = f"SELECT created_at {_WORK} AND verdict <> 'preview' ORDER BY attempt_id LIMIT 1"
_NEWEST = f"""
(SELECT verdict, ref, after_sha, violations_total, created_at {_WORK} AND verdict <> 'preview'
 ORDER BY attempt_id DESC LIMIT 1)
UNION ALL
(SELECT verdict, ref, after_sha, violations_total, created_at {_WORK} AND verdict = 'preview'
 ORDER BY attempt_id DESC LIMIT 1)
"""

# The newest refusal of each repository. The two halves are asked one by one, so that each has its index.
_REFUSALS = """
SELECT * FROM (
    SELECT DISTINCT ON (event.repo_id) event.code, event.repo_id, repo_full_name, owner_id, last_at
    FROM (
        (SELECT event_id FROM audit_event WHERE kind = 'rejected' AND owner_id = $2 ORDER BY event_id DESC LIMIT 50)
        UNION
        (SELECT event_id FROM rejection_count WHERE senders @> ARRAY[$2::bigint] ORDER BY event_id DESC LIMIT 50)
    ) AS theirs JOIN audit_event AS event USING (event_id) JOIN rejection_count USING (event_id)
    WHERE (detail->>'lab_id')::bigint = $1
    ORDER BY event.repo_id, last_at DESC
) AS newest ORDER BY last_at DESC LIMIT $3
"""

_INSTALLATIONS = """
SELECT i.installation_id, i.state = 'suspended' AS suspended,
    coalesce(array_agg(r.repo_id) FILTER (WHERE r.repo_id IS NOT NULL), '{}') AS repo_ids,
    (coalesce(array_agg(r.repo_full_name ORDER BY r.seen_at DESC, r.repo_id) FILTER (WHERE r.repo_id IS NOT NULL),
        '{}'))[:$2] AS names
FROM installation AS i LEFT JOIN installation_repository AS r USING (installation_id)
WHERE i.account_id = $1 AND i.state <> 'deleted' GROUP BY i.installation_id ORDER BY i.installation_id
"""


async def standing(pool: Pool, lab_id: int, account_id: int, login: str) -> Standing:
    """How far a person is with a lab. `login`: as they signed in, for invitations that name no id yet."""
    async with pool.acquire() as connection, connection.transaction(isolation="repeatable_read", readonly=True):
        invited = await connection.fetchval(_INVITED, lab_id, account_id, login)
        row = await connection.fetchrow(_SESSION, lab_id, account_id)
        first = newest = None
        if row is not None:
            first = await connection.fetchval(_FIRST, row["session_id"])
            newest = await connection.fetch(_NEWEST, row["session_id"])
        refusals = await connection.fetch(_REFUSALS, lab_id, account_id, SHOWN_REFUSALS)
        installations = await connection.fetch(_INSTALLATIONS, account_id, SHOWN_REPOSITORIES)
    return Standing(
        invited=bool(invited),
        enrolled=_enrolled(row, first, newest or []) if row is not None else None,
        refusals=tuple(
            Refusal(BindingCode(row["code"]), row["repo_id"], row["repo_full_name"], row["owner_id"], row["last_at"])
            for row in refusals
        ),
        installations=tuple(
            Installed(
                row["installation_id"],
                row["suspended"],
                frozenset(row["repo_ids"]),
                tuple(row["names"]),
            )
            for row in installations
        ),
    )


def _enrolled(row: Any, first: datetime | None, newest: list[Any]) -> Enrolled:
    answers = {answer.outcome is Outcome.PREVIEW: answer for answer in map(_judgement, newest)}
    return Enrolled(
        session=session_from_row(row),
        repo_id=row["repo_id"],
        repo_full_name=row["repo_full_name"],
        first_push=first,
        last=answers.get(False),
        elsewhere=answers.get(True),
    )


def _judgement(row: Any) -> Judgement:
    return Judgement(Outcome(row["verdict"]), row["ref"], row["after_sha"], row["violations_total"], row["created_at"])


@dataclass(frozen=True, slots=True)
class NewInstallation:
    """What is known of an installation that somebody was sent back from. `theirs`: it is on the person's own account,
    or a session of theirs is bound under it, or GitHub has shown it to them. `sessions`: those sessions, (session,
    lab's slug, repository), newest first. `repositories`: names of what it covers, the first ones, of an own one only.
    """

    theirs: bool
    sessions: tuple[tuple[Session, str, str], ...]
    repositories: tuple[str, ...]


_BOUND_UNDER = """
SELECT s.*, lab.slug, m.repo_full_name
FROM lab_session AS s JOIN lab USING (lab_id) JOIN repo_mapping AS m ON m.session_id = s.session_id
WHERE s.learner_account_id = $2 AND m.installation_id = $1 AND m.state = 'active'
ORDER BY m.mapping_id DESC
"""


async def new_installation(pool: Pool, installation_id: int, account_id: int, *, seen: bool = False) -> NewInstallation:
    """What a person may be told of an installation: an id that is another account's, or made up, is not theirs.

    `seen`: GitHub has shown this installation to the person, as it does to members of an organisation.
    """
    bound = await pool.fetch(_BOUND_UNDER, installation_id, account_id)
    own = await pool.fetchval(
        "SELECT EXISTS (SELECT FROM installation "
        "WHERE installation_id = $1 AND account_id = $2 AND state <> 'deleted')",
        installation_id,
        account_id,
    )
    covered = await pool.fetch(
        "SELECT repo_full_name FROM installation_repository WHERE installation_id = $1 AND $2::boolean "
        "ORDER BY seen_at DESC, repo_id LIMIT $3",
        installation_id,
        own,
        SHOWN_REPOSITORIES,
    )
    return NewInstallation(
        theirs=bool(own or bound or seen),
        sessions=tuple((session_from_row(row), row["slug"], row["repo_full_name"]) for row in bound),
        repositories=tuple(row["repo_full_name"] for row in covered),
    )


async def version_of(pool: Pool, lab_id: int) -> LabVersion | None:
    """The lab's newest version, from memory when it was read before; None: the lab is not published."""
    newest = await pool.fetchval(
        "SELECT lab_version_id FROM lab_version WHERE lab_id = $1 ORDER BY number DESC LIMIT 1", lab_id
    )
    return await labs.version(pool, newest) if newest is not None else None


async def any_installation(pool: Pool) -> int | None:
    """Some installation in force: with its token public repositories can be read."""
    found = await pool.fetchval("SELECT installation_id FROM installation WHERE state = 'active' ORDER BY 1 LIMIT 1")
    return int(found) if found is not None else None

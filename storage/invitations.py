"""Class lists: who is invited to a lab, before and after they have begun.

An invitation names an account, a repository, or both; or only a login, as long as GitHub knows no such account. The
first account that is seen under that login takes it (a trigger on `github_account`).
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal
from uuid import UUID

from rules.model import Account, InstallationState, LabRecord
from storage.accounts import account_from_row
from storage.database import Pool, storable
from storage.labs import lab_from_row

#: What became of a row of a class list. "repo_taken": the repository is another account's by its invitation;
#: "another_repo": the account is invited for another repository of this lab. Nothing is written for these two.
Outcome = Literal["invited", "already", "repo_taken", "another_repo"]
#: "used": a session has begun with the invitation, so it stays.
Removal = Literal["removed", "used", "none"]

#: How many repositories are woken at most when a lab opens for those whom it turned away.
MAX_TURNED_AWAY = 10_000


@dataclass(frozen=True, slots=True)
class Invitee:
    """Who is to be invited: an account, or a login that GitHub does not know (yet); for one repository, or for any."""

    account: Account | None = None
    login: str | None = None
    repo_id: int | None = None

    def to_json(self) -> dict[str, Any]:
        """As the database's functions take it."""
        if self.account is None:
            return {"login": storable(self.login or ""), "repo_id": self.repo_id}
        account = self.account
        return {
            "account_id": account.account_id,
            "login": storable(account.login),
            "kind": account.kind.value,
            "repo_id": self.repo_id,
        }


async def invite(
    pool: Pool, lab_id: int, people: Sequence[Invitee], *, actor_id: int | None = None, pretend: bool = False
) -> list[Outcome]:
    """Invite people to a lab, all in one transaction; what became of each, in their order.

    Doing it again changes nothing. One audit event names the accounts and repositories that are new. `pretend`: says
    what would become of them, and writes nothing.
    """
    given = [person.to_json() for person in people]
    done = await pool.fetchval("SELECT invite_all($1, $2, $3, $4)", lab_id, given, _event(actor_id), pretend)
    return list(done or ())


async def uninvite(pool: Pool, lab_id: int, people: Sequence[Invitee], *, actor_id: int | None = None) -> list[Removal]:
    """Take back invitations that no session has used, all in one transaction; what became of each, in their order."""
    given = [person.to_json() for person in people]
    return list(await pool.fetchval("SELECT uninvite_all($1, $2, $3)", lab_id, given, _event(actor_id)) or ())


def _event(actor_id: int | None) -> dict[str, Any]:
    """The part of an audit event that the database's functions do not know."""
    return {"detail": {}, **({"actor_id": actor_id} if actor_id is not None else {})}


@dataclass(frozen=True, slots=True)
class Invitation:
    """One row of a lab's class list. `session_id` None: not started; `login`: the account's, else as invited."""

    account_id: int | None
    login: str | None
    repo_id: int | None
    invited_at: datetime
    session_id: UUID | None


async def class_list(pool: Pool, lab_id: int) -> tuple[Invitation, ...]:
    """Everybody who is invited to the lab, by login, those last who are known only by their repository."""
    rows = await pool.fetch(
        "SELECT account_id, coalesce(a.login, i.login) AS login, repo_id, invited_at, session_id "
        "FROM invitation AS i LEFT JOIN github_account AS a USING (account_id) "
        "WHERE lab_id = $1 ORDER BY lower(coalesce(a.login, i.login)), invitation_id",
        lab_id,
    )
    return tuple(Invitation(**dict(row)) for row in rows)


async def accounts_once_called(pool: Pool, logins: Collection[str]) -> dict[str, tuple[Account, ...]]:
    """The accounts last seen under these logins, by login in lower case, the newest first: each may be called
    otherwise by now."""
    rows = await pool.fetch(
        "SELECT account_id, login, kind FROM github_account WHERE lower(login) = ANY ($1) ORDER BY last_seen_at DESC",
        [storable(login).lower() for login in logins],
    )
    found: dict[str, tuple[Account, ...]] = {}
    for row in rows:
        key = row["login"].lower()
        found[key] = (*found.get(key, ()), account_from_row(row))
    return found


@dataclass(frozen=True, slots=True)
class CoveredRepository:
    """A repository as last seen through an installation of the App."""

    repo_id: int
    full_name: str
    installation_id: int


async def covered(pool: Pool, repo_ids: Collection[int]) -> dict[int, CoveredRepository]:
    """Those of the repositories that an active installation covers, by id."""
    rows = await pool.fetch(
        "SELECT DISTINCT ON (repo_id) repo_id, repo_full_name, installation_id "
        "FROM installation_repository JOIN installation USING (installation_id) "
        "WHERE repo_id = ANY ($1) AND state = $2 ORDER BY repo_id, installation_id DESC",
        list(repo_ids),
        InstallationState.ACTIVE.value,
    )
    return {
        row["repo_id"]: CoveredRepository(row["repo_id"], row["repo_full_name"], row["installation_id"]) for row in rows
    }


async def lab_of(pool: Pool, repo_id: int) -> LabRecord | None:
    """The lab that this very repository is invited to, by the latest invitation if there are several; None: to none.

    For repositories whose origin GitHub hides: forks of a private template.
    """
    row = await pool.fetchrow(
        "SELECT lab.* FROM invitation JOIN lab USING (lab_id) WHERE repo_id = $1 ORDER BY invitation_id DESC LIMIT 1",
        repo_id,
    )
    return lab_from_row(row) if row is not None else None


_TURNED_AWAY = """
SELECT DISTINCT ON (repo_id) repo_id, covered.repo_full_name, covered.installation_id
FROM installation_repository AS covered JOIN installation USING (installation_id)
WHERE installation.state = 'active'
  AND (repo_id = ANY ($3::bigint[]) OR EXISTS (
    SELECT FROM audit_event AS event
    WHERE event.repo_id = covered.repo_id AND event.code IN ('NO_SESSION', 'ENROLMENT_CLOSED', 'PARENT_UNKNOWN')
      AND CASE WHEN $2::bigint[] IS NULL THEN event.parent_id IS NULL OR event.parent_id = $1
          ELSE event.owner_id = ANY ($2) END))
  AND NOT EXISTS (SELECT FROM repo_mapping WHERE provider_repo_id = covered.repo_id AND state = 'active')
ORDER BY repo_id, covered.installation_id DESC LIMIT $4
"""


async def turned_away(
    pool: Pool,
    base_repo_id: int,
    *,
    owners: Collection[int] | None = None,
    repo_ids: Collection[int] = (),
) -> tuple[CoveredRepository, ...]:
    """Covered repositories that may not take part so far, and that nothing is bound to yet: worth another look once
    the class list or the enrolment has changed.

    With `owners`: what was turned away of these accounts; else whatever may come from the lab's template
    `base_repo_id`. `repo_ids`: these too, whatever became of them.
    """
    rows = await pool.fetch(
        _TURNED_AWAY, base_repo_id, None if owners is None else list(owners), list(repo_ids), MAX_TURNED_AWAY
    )
    return tuple(CoveredRepository(row["repo_id"], row["repo_full_name"], row["installation_id"]) for row in rows)

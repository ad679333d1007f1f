"""GitHub accounts, installations of the App, and which repositories an installation covers.

The stored state is a copy of what the API said last; lifecycle deliveries are only reasons to ask again.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from rules.model import Account, AccountKind, Installation, InstallationState
from storage.database import Pool, storable


def account_from_row(row: Any) -> Account:
    """From a row with account_id, login and kind."""
    return Account(row["account_id"], row["login"], AccountKind(row["kind"]))


def installation_from_row(row: Any) -> Installation:
    """From a row of table `installation` joined with its account."""
    return Installation(
        installation_id=row["installation_id"],
        account=account_from_row(row),
        state=InstallationState(row["state"]),
        repository_selection=row["repository_selection"],
        permissions=row["permissions"],
    )


# A login that changed hands keeps belonging to its id here: names are for display. Written only when there is news.
_UPSERT_ACCOUNT = """
INSERT INTO github_account AS known (account_id, login, kind) VALUES ($1, $2, $3)
ON CONFLICT (account_id) DO UPDATE SET login = excluded.login, kind = excluded.kind, last_seen_at = now()
WHERE (known.login, known.kind) IS DISTINCT FROM (excluded.login, excluded.kind)
   OR known.last_seen_at < now() - interval '1 hour'
"""


async def upsert_account(pool: Pool, account: Account) -> None:
    """Know an account, with its newest login."""
    await pool.execute(_UPSERT_ACCOUNT, account.account_id, storable(account.login), account.kind.value)


async def account(pool: Pool, account_id: int) -> Account | None:
    """The account with this id."""
    row = await pool.fetchrow("SELECT account_id, login, kind FROM github_account WHERE account_id = $1", account_id)
    return account_from_row(row) if row is not None else None


# GitHub never uses an installation id again: what was deleted stays deleted, whatever a late answer says.
_UPSERT_INSTALLATION = (
    "WITH owner AS ("
    + _UPSERT_ACCOUNT
    + """RETURNING account_id)
INSERT INTO installation AS known (installation_id, account_id, repository_selection, permissions, state)
VALUES ($4, $1, $5, $6, $7)
ON CONFLICT (installation_id) DO UPDATE SET account_id = excluded.account_id,
    repository_selection = excluded.repository_selection, permissions = excluded.permissions,
    state = CASE known.state WHEN 'deleted' THEN known.state ELSE excluded.state END, checked_at = now()
"""
)


async def upsert_installation(pool: Pool, installation: Installation) -> None:
    """Know an installation as the API tells it now. One that was deleted stays deleted."""
    await pool.execute(
        _UPSERT_INSTALLATION,
        installation.account.account_id,
        storable(installation.account.login),
        installation.account.kind.value,
        installation.installation_id,
        installation.repository_selection,
        dict(installation.permissions),
        installation.state.value,
    )


_INSTALLATION = "SELECT * FROM installation JOIN github_account USING (account_id)"


async def installation(pool: Pool, installation_id: int) -> Installation | None:
    """The installation with this id, as last read from the API."""
    row = await pool.fetchrow(f"{_INSTALLATION} WHERE installation_id = $1", installation_id)
    return installation_from_row(row) if row is not None else None


@dataclass(frozen=True, slots=True)
class Coverage:
    """An installation (None: unknown), and whether it covers a repository."""

    installation: Installation | None
    selected: bool


_COVERAGE = """
SELECT installation.*, login, kind, EXISTS (
    SELECT FROM installation_repository AS covered
    WHERE covered.installation_id = installation.installation_id AND covered.repo_id = $2) AS selected
FROM installation JOIN github_account USING (account_id)
WHERE installation_id = $1
"""


async def coverage(pool: Pool, installation_id: int, repo_id: int) -> Coverage:
    """The installation, and whether it covers the repository, as the API said last. Of one that covers all of its
    account's, too: a repository may be gone."""
    row = await pool.fetchrow(_COVERAGE, installation_id, repo_id)
    return Coverage(None, selected=False) if row is None else Coverage(installation_from_row(row), row["selected"])


async def installation_covering(pool: Pool, full_name: str) -> int | None:
    """The active installation that covers the repository of this name (owner/name, in any case), as known last; or
    one of its owner that covers all repositories. Whether there is such a repository, only the API knows.
    """
    found = await pool.fetchval(
        "SELECT installation_id FROM installation AS i JOIN github_account AS owner USING (account_id) "
        "LEFT JOIN installation_repository AS r USING (installation_id) "
        "WHERE i.state = 'active' AND (lower(r.repo_full_name) = lower($1) "
        "OR (i.repository_selection = 'all' AND lower(owner.login) = lower(split_part($1, '/', 1)))) "
        "ORDER BY (lower(r.repo_full_name) = lower($1)) IS TRUE DESC, r.seen_at DESC NULLS LAST LIMIT 1",
        storable(full_name),
    )
    return int(found) if found is not None else None

"""What was read of installations and repositories, and the sessions that follow it.

A reading begins with what is stored (`known`), asks the API, and is stored only if nobody else's was stored meanwhile:
so an old answer never replaces a newer one, whichever lane it comes from. Then sessions are settled by what is stored.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime

from rules.lifecycle import AwayCode, Listed
from rules.model import Installation
from storage.accounts import installation_from_row
from storage.audit import AuditEvent
from storage.database import Pool, storable

#: The event of the inbox entry by which an installation's repositories get their turns. GitHub has none of that name.
LOOK = "stepgate.look"

#: Of one installation that many repositories wait to be looked at in their lanes, so that all others have their turn.
LOOKS_AT_ONCE = 25


@dataclass(frozen=True, slots=True)
class Known:
    """What is stored of an installation. `installation` None: nothing that counts. The times say when anything of it,
    and all its repositories, were read last: a reading that finds others when it is to be stored was overtaken.
    """

    installation: Installation | None
    checked_at: datetime | None
    listed_at: datetime | None


async def known(pool: Pool, installation_id: int) -> Known:
    """What is stored of an installation now."""
    row = await pool.fetchrow(
        "SELECT i.*, login, kind FROM installation AS i LEFT JOIN github_account USING (account_id) "
        "WHERE installation_id = $1",
        installation_id,
    )
    if row is None:
        return Known(None, None, None)
    value = installation_from_row(row) if row["login"] is not None else None
    return Known(value, row["checked_at"], row["listed_at"])


async def store_installation(
    pool: Pool,
    installation: Installation,
    before: Known,
    repositories: Iterable[Listed] | None,
    looks: Collection[int] = (),
) -> bool:
    """Store an installation with all the repositories that it covers (None: they could not be listed, and stay).

    `looks`: ids of those that are looked at if they are new. False: the reading was overtaken, nothing is stored.
    """
    account = installation.account
    given = {
        "installation_id": installation.installation_id,
        "account": {"account_id": account.account_id, "login": storable(account.login), "kind": account.kind.value},
        "repository_selection": installation.repository_selection,
        "permissions": dict(installation.permissions),
        "state": installation.state.value,
    }
    listed = None
    if repositories is not None:
        listed = [
            {"repo_id": each.repo_id, "full_name": storable(each.full_name), "look": each.repo_id in looks}
            for each in repositories
        ]
    return bool(await pool.fetchval("SELECT store_installation($1, $2, $3)", given, before.checked_at, listed))


async def store_repository(
    pool: Pool, installation_id: int, before: Known, repo_id: int, full_name: str | None, *, look: bool
) -> bool:
    """Store that the installation covers one repository under this name, or (None) does not.

    `look`: it is looked at if it is new. False: the reading was overtaken, nothing is stored.
    """
    stored = await pool.fetchval(
        "SELECT store_repository($1, $2, $3, $4, $5)",
        installation_id,
        before.listed_at,
        repo_id,
        None if full_name is None else storable(full_name),
        look,
    )
    return bool(stored)


async def end_installation(pool: Pool, installation_id: int) -> None:
    """The API does not know the installation: if it was known, it is deleted for ever, and covers nothing."""
    await pool.execute(
        "WITH ended AS (UPDATE installation SET state = 'deleted', checked_at = clock_timestamp() "
        "WHERE installation_id = $1 RETURNING installation_id) "
        "DELETE FROM installation_repository USING ended "
        "WHERE installation_repository.installation_id = ended.installation_id",
        installation_id,
    )


async def settle(pool: Pool, installation_id: int, told: Mapping[int, AwayCode] | None = None) -> int:
    """Defer and resume the sessions whose repositories are mapped under the installation, by what is stored of it.

    `told`: repository id -> why it is not covered, where that is known. Returns how many sessions changed. Doing it
    again changes nothing.
    """
    codes = {str(repo_id): code for repo_id, code in (told or {}).items()}
    return int(await pool.fetchval("SELECT settle_sessions($1, NULL, $2)", installation_id, codes))


async def take_over_names(pool: Pool, installation_id: int) -> None:
    """Let what is mapped under the installation be called as its repositories were listed."""
    await pool.execute(
        "UPDATE repo_mapping AS m SET repo_full_name = r.repo_full_name FROM installation_repository AS r "
        "WHERE r.installation_id = $1 AND m.installation_id = $1 AND m.provider_repo_id = r.repo_id "
        "AND m.state = 'active' AND m.repo_full_name <> r.repo_full_name",
        installation_id,
    )


async def covering(pool: Pool, repo_id: int) -> tuple[int, ...]:
    """The installations that cover the repository as far as is known, or that it is mapped under."""
    rows = await pool.fetch(
        "SELECT installation_id FROM installation_repository WHERE repo_id = $1 UNION "
        "SELECT installation_id FROM repo_mapping WHERE provider_repo_id = $1 AND state = 'active' ORDER BY 1",
        repo_id,
    )
    return tuple(row["installation_id"] for row in rows)


async def installation_on_all(pool: Pool, account_id: int) -> int | None:
    """The account's active installation, if it covers all its repositories."""
    found = await pool.fetchval(
        "SELECT installation_id FROM installation WHERE account_id = $1 AND state = 'active' "
        "AND repository_selection = 'all' ORDER BY installation_id DESC LIMIT 1",
        account_id,
    )
    return int(found) if found is not None else None


async def take_looks(pool: Pool, installation_id: int, most: int = LOOKS_AT_ONCE) -> bool:
    """Give the next repositories that are to be looked at an entry in their lanes; whether more are left."""
    return bool(await pool.fetchval("SELECT take_looks($1, $2)", installation_id, most))


async def look_again(pool: Pool, installation_id: int, repo_ids: Collection[int] | None = None) -> None:
    """Let the heads of the installation's open sessions be looked at; of these repositories, or (None) of all."""
    await pool.execute("SELECT look_again($1, $2)", installation_id, None if repo_ids is None else list(repo_ids))


async def send_again(pool: Pool, repo_id: int) -> None:
    """Let what GitHub refused of the reports on a bound repository's newest head be sent once more."""
    await pool.execute("SELECT send_again($1)", repo_id)


# Also of sessions that are over, which no coming back resumes, and of repositories that are still mapped under an
# installation that is gone. What is in hand just now is due again if it is refused.
_SEND_AGAIN_FOR = """
WITH again AS (
    UPDATE outbox AS o SET state = 'wanted', attempts = least(o.attempts, 1), due_at = clock_timestamp(),
        installation_id = i.installation_id, repo_full_name = r.repo_full_name, updated_at = clock_timestamp()
    FROM installation AS i JOIN installation_repository AS r USING (installation_id)
    JOIN repo_mapping AS m ON m.provider_repo_id = r.repo_id AND m.owner_account_id = i.account_id
        AND m.state = 'active'
    JOIN lab_session AS s ON s.session_id = m.session_id
    WHERE i.installation_id = $1 AND i.state = 'active' AND o.repo_id = r.repo_id
      AND o.head_sha IN (s.head_sha, s.branch_head_seen)
      AND (o.state = 'failed' OR (o.state = 'wanted'
          AND (o.leased_until > clock_timestamp() OR o.installation_id <> i.installation_id)))
    RETURNING o.outbox_id
)
SELECT pg_notify('outbox_due', '') WHERE EXISTS (SELECT FROM again)
"""


async def send_again_for(pool: Pool, installation_id: int) -> None:
    """The same for all bound repositories that an installation covers, if they are its owner's as before."""
    await pool.execute(_SEND_AGAIN_FOR, installation_id)


async def free(pool: Pool, mapping_id: int, event: AuditEvent) -> bool:
    """End the mapping of a repository that is gone for ever; its session is judged anew in the next one.

    `event` is recorded with it, completed by the mapping's ids. False: it is not active any more.
    """
    return bool(await pool.fetchval("SELECT free_mapping($1, $2)", mapping_id, event.to_json()))

"""Which installations and heads are compared with GitHub next, and what is known of them: for bot.reconciler.

Each installation has its own time, so that the requests are spread; whoever takes one puts it off at once, so that no
other replica takes it as well, and that it comes again if its taker dies.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from typing import Any
from uuid import UUID

from rules.model import InstallationState
from storage.database import Pool

#: A pass that died is begun again after this.
AGAIN = timedelta(minutes=5)


@dataclass(frozen=True, slots=True)
class KnownInstallation:
    """An installation as stored; `account_id` None: of a stranger, of whom nothing else is kept."""

    installation_id: int
    account_id: int | None
    state: InstallationState
    repository_selection: str
    permissions: dict[str, str]


async def installations_due(pool: Pool, least: timedelta, most: timedelta) -> bool:
    """Whether it is time to list all installations; then the next time is set, `least` to `most` from now."""
    row = await pool.fetchrow(
        "UPDATE recovery_state SET installations_due_at = now() + $1 + random() * ($2::interval - $1) "
        "WHERE installations_due_at <= now() RETURNING only_one",
        least,
        most,
    )
    return row is not None


async def installations_read(pool: Pool) -> None:
    """All installations were listed, and are stored as they were listed."""
    await pool.execute("UPDATE recovery_state SET installations_read_at = now()")


async def installations_again(pool: Pool, after: timedelta) -> None:
    """Installations could not be listed: that is tried again after this time."""
    await pool.execute(
        "UPDATE recovery_state SET installations_due_at = least(installations_due_at, now() + $1::interval)", after
    )


async def installations(pool: Pool) -> dict[int, KnownInstallation]:
    """All installations that were not deleted, by id."""
    rows = await pool.fetch(
        "SELECT installation_id, account_id, state, repository_selection, permissions FROM installation "
        "WHERE state <> 'deleted'"
    )
    return {
        row["installation_id"]: KnownInstallation(
            row["installation_id"],
            row["account_id"],
            InstallationState(row["state"]),
            row["repository_selection"],
            row["permissions"],
        )
        for row in rows
    }


# --------------------------------------------------------------------------------------------------------------- visits


@dataclass(frozen=True, slots=True)
class Visit:
    """A turn at an installation. `after_repo_id`: where a pass goes on; 0: it begins. `statuses`: look at them, too."""

    installation_id: int
    after_repo_id: int
    statuses: bool


# What has nothing to do with any lab is a stranger's, and left alone.
_PLAN = """
INSERT INTO installation_look (installation_id, due_at)
SELECT installation_id, now() + random() * $1::interval FROM installation AS i
WHERE state = 'active' AND account_id IS NOT NULL
  AND NOT EXISTS (SELECT FROM installation_look AS known WHERE known.installation_id = i.installation_id)
ON CONFLICT DO NOTHING
"""

_BEGIN = """
UPDATE installation_look SET due_at = now(), after_repo_id = 0
WHERE due_at > now() AND (looked_at IS NULL OR looked_at < now() - $1::interval)
"""


async def begin_round(pool: Pool, not_since: timedelta) -> None:
    """Let all installations be visited now, but those that were visited so lately."""
    await pool.execute(_PLAN, timedelta(0))
    await pool.execute(_BEGIN, not_since)
    await pool.execute(
        "UPDATE recovery_state SET installations_due_at = now() "
        "WHERE installations_read_at IS NULL OR installations_read_at < now() - $1::interval",
        not_since,
    )


# Commit statuses are looked at in a pass of their own time. An installation that is not in force waits.
_CLAIM = """
WITH next AS (
    SELECT l.installation_id FROM installation_look AS l JOIN installation AS i USING (installation_id)
    WHERE l.due_at <= now() AND i.state = 'active' AND i.account_id IS NOT NULL
    ORDER BY l.due_at LIMIT $1 FOR UPDATE OF l SKIP LOCKED
)
UPDATE installation_look AS l SET due_at = now() + $2::interval,
    statuses = CASE WHEN l.after_repo_id > 0 THEN l.statuses
        ELSE l.statuses_at IS NULL OR l.statuses_at < now() - $3::interval END,
    statuses_at = CASE WHEN l.after_repo_id = 0 AND (l.statuses_at IS NULL OR l.statuses_at < now() - $3::interval)
        THEN now() ELSE l.statuses_at END
FROM next WHERE l.installation_id = next.installation_id
RETURNING l.installation_id, l.after_repo_id, l.statuses
"""


async def claim(pool: Pool, limit: int, *, within: timedelta, statuses_every: timedelta) -> tuple[Visit, ...]:
    """Take at most `limit` installations whose time has come. New ones get theirs `within` this time."""
    await pool.execute(_PLAN, within)
    return tuple(Visit(**dict(row)) for row in await pool.fetch(_CLAIM, limit, AGAIN, statuses_every))


async def go_on(pool: Pool, visit: Visit, after_repo_id: int, due_in: timedelta) -> None:
    """The pass goes on after this repository, in a while."""
    await pool.execute(
        "UPDATE installation_look SET after_repo_id = $2, due_at = now() + $3::interval WHERE installation_id = $1",
        visit.installation_id,
        after_repo_id,
        due_in,
    )


# Nobody's work there is judged now: then it is enough to look now and then.
_DONE = """
UPDATE installation_look AS l SET after_repo_id = 0, looked_at = now(), due_at = now() +
    ($2::interval + random() * ($3::interval - $2)) * CASE WHEN EXISTS (
        SELECT FROM repo_mapping AS m JOIN lab_session AS s USING (session_id)
        WHERE m.installation_id = $1 AND m.state = 'active'
          AND (s.status IN ('IN_PROGRESS', 'STUCK') OR s.deferred_by = 'installation')) THEN 1 ELSE $4 END
WHERE installation_id = $1
"""


async def done(pool: Pool, visit: Visit, least: timedelta, most: timedelta, quiet: int) -> None:
    """The pass is over; the next begins `least` to `most` from now, `quiet` times later if no session is open."""
    await pool.execute(_DONE, visit.installation_id, least, most, quiet)


async def repositories_differ(pool: Pool, installation_id: int, listed: dict[int, str]) -> bool:
    """Whether the stored repositories of an installation are others than these (id -> full name)."""
    return bool(
        await pool.fetchval(
            "SELECT EXISTS (SELECT repo_id, full_name FROM unnest($2::bigint[], $3::text[]) AS l (repo_id, full_name) "
            "EXCEPT SELECT repo_id, repo_full_name FROM installation_repository WHERE installation_id = $1) "
            "OR (SELECT count(*) FROM installation_repository WHERE installation_id = $1) <> cardinality($2::bigint[])",
            installation_id,
            list(listed),
            list(listed.values()),
        )
    )


# ---------------------------------------------------------------------------------------------------------------- heads


@dataclass(frozen=True, slots=True)
class OpenHead:
    """The branch of an open session. `seen`: the newest head that we know; `judged`: the newest that was judged.

    `status_id`: of the commit status that we wrote last on `judged`, if any; `owner_id`: whose repository it is.
    """

    session_id: UUID
    repo_id: int
    repo_full_name: str
    branch: str
    seen: str | None
    judged: str | None
    owner_id: int
    status_id: int | None

    @classmethod
    def from_row(cls, row: Any) -> OpenHead:
        """From a row of the query."""
        return cls(**{name: row[name] for name in cls.__slots__})


# Where a delivery waits, the head is judged anyway.
_HEADS = """
SELECT s.session_id, m.provider_repo_id AS repo_id, m.repo_full_name,
    v.definition->>'branch' AS branch, s.branch_head_seen AS seen, s.head_sha AS judged,
    m.owner_account_id AS owner_id, o.status_id
FROM repo_mapping AS m JOIN lab_session AS s USING (session_id) JOIN lab_version AS v USING (lab_version_id)
LEFT JOIN outbox AS o ON o.repo_id = m.provider_repo_id AND o.head_sha = s.head_sha AND o.session_id = s.session_id
    AND o.name = $4 AND o.state = 'sent' AND o.sent_status_state <> ''
WHERE m.installation_id = $1 AND m.state = 'active' AND m.provider_repo_id > $2
  AND s.status IN ('IN_PROGRESS', 'STUCK') AND v.definition->>'branch' IS NOT NULL
  AND NOT EXISTS (SELECT FROM delivery AS d
                  WHERE d.lane_id = 'repo:' || m.provider_repo_id AND d.state = 'waiting')
ORDER BY m.provider_repo_id LIMIT $3
"""


async def heads(pool: Pool, visit: Visit, limit: int, check_name: str) -> tuple[OpenHead, ...]:
    """The next branches of open sessions under the installation, by repository id; none that will be judged anyway."""
    rows = await pool.fetch(_HEADS, visit.installation_id, visit.after_repo_id, limit, check_name)
    return tuple(OpenHead.from_row(row) for row in rows)


async def wake_for(pool: Pool, head: OpenHead, sha: str, again_after: timedelta) -> bool:
    """Let the session's head be judged, which was found at `sha` (zeros: no such branch).

    False: that was done for this head less than `again_after` ago.
    """
    return bool(await pool.fetchval("SELECT wake_for_head($1, $2, $3)", head.session_id, sha, again_after))

"""What events about our own reports are worth: asked of the database, before and while they are processed."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

from storage.audit import AuditEvent
from storage.database import Pool, storable

#: Statuses of others that are replaced within an hour, for each head: GitHub takes 1,000 for a head and context (REST
#: docs, "Create a commit status").
MOST_RESTORED = 5

Standing = Literal["unknown", "ours", "sending", "restored", "counted"]


@dataclass(frozen=True, slots=True)
class StatusSeen:
    """A commit status as an event tells of it."""

    status_id: int
    head_sha: str
    context: str
    state: str
    description: str | None = None
    target_url: str | None = None

    def to_json(self) -> dict[str, Any]:
        """As the database's functions take it."""
        return {
            "id": self.status_id,
            "state": storable(self.state),
            "description": storable(self.description or ""),
            "target_url": storable(self.target_url or ""),
        }


# A head counts as missed when no attempt tells of it, nor a push that waits.
_MISSED = """
SELECT EXISTS (
    SELECT FROM repo_mapping AS m JOIN lab_session AS s ON s.session_id = m.session_id
    WHERE m.provider_repo_id = $1 AND m.state = 'active' AND s.status IN ('IN_PROGRESS', 'STUCK')
      AND s.branch_head_seen IS DISTINCT FROM $2
      AND NOT EXISTS (SELECT FROM push_attempt AS a WHERE a.session_id = s.session_id AND a.after_sha = $2)
) AND NOT EXISTS (
    SELECT FROM delivery WHERE lane_id = $3 AND state = 'waiting' AND event = 'push'
      AND position(convert_to($2, 'UTF8') IN payload) > 0
)
"""

_CONTRADICTED = """
SELECT status_standing((
    SELECT o FROM outbox AS o WHERE repo_id = $1 AND head_sha = $2 AND name = $3
    ORDER BY status_id DESC NULLS LAST, outbox_id DESC LIMIT 1), $4) IN ('foreign', 'sending')
"""


_LEFT_BEHIND = """
SELECT EXISTS (
    SELECT FROM repo_mapping AS m JOIN lab_session AS s ON s.session_id = m.session_id
    JOIN push_attempt AS a ON a.session_id = s.session_id AND a.after_sha = $2 AND a.verdict <> 'preview'
    WHERE m.provider_repo_id = $1 AND m.state = 'active' AND s.branch_head_seen <> $2)
"""


async def left_behind(pool: Pool, repo_id: int, head_sha: str) -> bool:
    """Whether the lab's branch of a bound repository was at this head, and is at another one by now."""
    return bool(await pool.fetchval(_LEFT_BEHIND, repo_id, head_sha))


@dataclass(frozen=True, slots=True)
class Echoes:
    """Questions before an event is stored. `check_name`: the context of our statuses; "": they are not asked about."""

    pool: Pool
    check_name: str = ""

    async def reported(self, repo_id: int) -> bool:
        """Whether anything was ever reported to the repository, or it is bound."""
        query = (
            "SELECT EXISTS (SELECT FROM repo_mapping WHERE provider_repo_id = $1 AND state = 'active') "
            "OR EXISTS (SELECT FROM outbox WHERE repo_id = $1)"
        )
        return bool(await self.pool.fetchval(query, repo_id))

    async def missed(self, repo_id: int, head_sha: str) -> bool:
        """Whether the head is of a bound repository with an open session, and no push told of it so far."""
        return bool(await self.pool.fetchval(_MISSED, repo_id, head_sha, f"repo:{repo_id}"))

    async def contradicted(self, repo_id: int, status: StatusSeen) -> bool:
        """Whether a status under our name says something else than we did."""
        if status.context != self.check_name:
            return False
        values = (repo_id, status.head_sha, status.context, status.to_json())
        return bool(await self.pool.fetchval(_CONTRADICTED, *values))


async def contest(pool: Pool, repo_id: int, status: StatusSeen, event: AuditEvent) -> Standing:
    """Answer a status under our name: one that says something else than we did is counted in the audit (`event`).

    "restored": ours is sent again; "counted": MOST_RESTORED were replaced within an hour, or there is none of ours, or
    GitHub takes no more; "sending": ours may be on its way, look again a little later.
    """
    values = (repo_id, status.head_sha, status.context, status.to_json(), event.to_json(), MOST_RESTORED)
    standing: Standing = await pool.fetchval("SELECT contest_status($1, $2, $3, $4, $5, $6)", *values)
    return standing

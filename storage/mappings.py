"""Which repository belongs to which session: the store behind the cache."""

from __future__ import annotations

from typing import Any, Protocol

from rules.model import Repo, RepoMapping
from storage.audit import AuditEvent
from storage.database import Pool, storable


def mapping_from_row(row: Any) -> RepoMapping:
    """From a row of table `repo_mapping`."""
    return RepoMapping(
        mapping_id=row["mapping_id"],
        repo_id=row["provider_repo_id"],
        installation_id=row["installation_id"],
        owner_account_id=row["owner_account_id"],
        repo_full_name=row["repo_full_name"],
        session_id=row["session_id"],
        source=row["source"],
        private=row["private"],
    )


class MappingStore(Protocol):
    """What the store and its cache have in common (see Mappings)."""

    async def find(self, repo_id: int) -> RepoMapping | None:
        """The active mapping of the repository with this numeric id."""
        ...

    async def take_installation(self, mapping: RepoMapping, installation_id: int, event: AuditEvent) -> bool:
        """After a reinstall: the mapping takes the new installation's id."""
        ...

    async def revoke(
        self, mapping: RepoMapping, reason: str, event: AuditEvent, *, forget_accepted: bool = False
    ) -> bool:
        """End the mapping."""
        ...

    async def see(self, repo: Repo) -> bool:
        """Take over what GitHub says of the repository now: its name, and whether it is private."""
        ...


class Mappings:
    """The mappings in the database. Every change raises the session's epoch and tells other processes."""

    def __init__(self, pool: Pool) -> None:
        self._pool = pool

    async def find(self, repo_id: int) -> RepoMapping | None:
        """The active mapping of the repository with this numeric id."""
        row = await self._pool.fetchrow(
            "SELECT * FROM repo_mapping WHERE provider = 'github' AND provider_repo_id = $1 AND state = 'active'",
            repo_id,
        )
        return mapping_from_row(row) if row is not None else None

    async def take_installation(self, mapping: RepoMapping, installation_id: int, event: AuditEvent) -> bool:
        """After a reinstall: the mapping takes the new installation's id. False when it is not active or has it.

        `event` is recorded with it, completed by the mapping's ids.
        """
        changed = await self._pool.fetchval(
            "SELECT take_installation($1, $2, $3)", mapping.mapping_id, installation_id, event.to_json()
        )
        return bool(changed)

    async def revoke(
        self, mapping: RepoMapping, reason: str, event: AuditEvent, *, forget_accepted: bool = False
    ) -> bool:
        """End the mapping; False when it is not active any more.

        `forget_accepted`: the repository is gone, so the session's accepted head cannot be compared with any more and
        progress is judged anew. `event` is recorded with it, completed by the mapping's ids.
        """
        changed = await self._pool.fetchval(
            "SELECT revoke_mapping($1, $2, $3, $4)",
            mapping.mapping_id,
            storable(reason),
            forget_accepted,
            event.to_json(),
        )
        return bool(changed)

    async def see(self, repo: Repo) -> bool:
        """Take over what GitHub says of the repository now: written for news, or once an hour. True when written."""
        return bool(
            await self._pool.fetchval(
                "SELECT see_repository($1, $2, $3)", repo.repo_id, storable(repo.full_name), repo.private
            )
        )

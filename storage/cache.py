"""Mappings in memory. A hint only: whatever is saved is checked against the database again."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from cachetools import TLRUCache
from prometheus_client import Counter

from rules.model import Repo, RepoMapping
from storage.audit import AuditEvent
from storage.mappings import MappingStore

#: Found mappings live for the time given, plus or minus this part of it, so that they do not all expire at once.
JITTER = 0.1

LOOKUPS = Counter(
    "stepgate_mapping_lookups_total", "Look-ups of a repository's mapping, by where the answer was", ["result"]
)
_HIT, _MISS = LOOKUPS.labels("hit"), LOOKUPS.labels("miss")
# write: by this process; notify: told by the database; lost: the listening connection was cut, or began to listen;
# expired: by time; evicted: to make room. An answer on its way that is not kept counts as well.
DROPPED = Counter("stepgate_mapping_cache_dropped_total", "Cached mappings that were forgotten, by cause", ["cause"])

Cause = Literal["write", "notify", "lost", "expired", "evicted"]


@dataclass(frozen=True, slots=True)
class _Entry:
    mapping: RepoMapping | None


class _Entries(TLRUCache[int, _Entry]):
    """Counts what goes by itself."""

    def expire(self, time: float | None = None) -> list[tuple[int, _Entry]]:
        expired = super().expire(time)
        DROPPED.labels("expired").inc(len(expired))
        return expired

    def popitem(self) -> tuple[int, _Entry]:
        item = super().popitem()
        DROPPED.labels("evicted").inc()
        return item


class CachedMappings:
    """The same protocol as the store, from memory when possible. For one event loop.

    `ttl`, `miss_ttl`: seconds that found and absent mappings are believed; `timer`: a monotonic clock in seconds;
    `chance`: a number in [0, 1).
    """

    def __init__(
        self,
        store: MappingStore,
        *,
        ttl: float = 300.0,
        miss_ttl: float = 15.0,
        size: int = 50_000,
        timer: Callable[[], float] = time.monotonic,
        chance: Callable[[], float] = random.random,
    ) -> None:
        self._store = store

        def expiry(_repo_id: int, entry: _Entry, now: float) -> float:
            return now + (miss_ttl if entry.mapping is None else ttl * (1 + JITTER * (2 * chance() - 1)))

        self._entries = _Entries(maxsize=size, ttu=expiry, timer=timer)
        self._loading: dict[int, asyncio.Task[RepoMapping | None]] = {}

    async def find(self, repo_id: int) -> RepoMapping | None:
        """The active mapping of the repository with this numeric id; concurrent misses share one query."""
        entry = self._entries.get(repo_id)
        if entry is not None:
            _HIT.inc()
            return entry.mapping
        _MISS.inc()
        task = self._loading.get(repo_id)
        if task is None:
            task = asyncio.create_task(self._load(repo_id))
            self._loading[repo_id] = task
        return await asyncio.shield(task)  # one caller that gives up does not stop the others

    async def _load(self, repo_id: int) -> RepoMapping | None:
        this = asyncio.current_task()
        try:
            mapping = await self._store.find(repo_id)
            if self._loading.get(repo_id) is this:  # else it was dropped meanwhile: the answer may be old already
                self._entries[repo_id] = _Entry(mapping)
            return mapping
        finally:
            if self._loading.get(repo_id) is this:
                del self._loading[repo_id]

    async def take_installation(self, mapping: RepoMapping, installation_id: int, event: AuditEvent) -> bool:
        """See Mappings.take_installation; the repository is forgotten here."""
        try:
            return await self._store.take_installation(mapping, installation_id, event)
        finally:
            self.drop(mapping.repo_id)

    async def revoke(
        self, mapping: RepoMapping, reason: str, event: AuditEvent, *, forget_accepted: bool = False
    ) -> bool:
        """See Mappings.revoke; the repository is forgotten here."""
        try:
            return await self._store.revoke(mapping, reason, event, forget_accepted=forget_accepted)
        finally:
            self.drop(mapping.repo_id)

    async def see(self, repo: Repo) -> bool:
        """See Mappings.see; the repository is forgotten here."""
        try:
            return await self._store.see(repo)
        finally:
            self.drop(repo.repo_id)

    def drop(self, repo_id: int, cause: Cause = "write") -> None:
        """Forget one repository, also an answer that is on its way."""
        known = self._entries.pop(repo_id, None), self._loading.pop(repo_id, None)
        if known != (None, None):
            DROPPED.labels(cause).inc()

    def heard(self, payload: str) -> None:
        """What `NOTIFY binding_changed` tells: the id of a repository whose mapping somebody has changed."""
        self.drop(int(payload), "notify")

    def clear(self) -> None:
        """Forget everything, also answers that are on their way: changes may have gone unheard."""
        DROPPED.labels("lost").inc(len(self._entries) + len(self._loading))
        self._entries.clear()
        self._loading.clear()

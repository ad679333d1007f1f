"""Replicas of the App in this process that a test drives step by step: their own connections, caches, no loop."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import aiohttp

from bot.handlers import handle
from bot.services import Judging, Services
from github.client import GitHubApp
from github.errors import Transient
from github.governor import MemoryGovernor
from github.trees import Trees
from storage import inbox
from storage.cache import CachedMappings
from storage.database import open_pool
from storage.mappings import Mappings
from storage.notify import Listener
from tests.support.course import Course


class DeafListener(Listener):
    """A connection on which nothing is ever heard, and which seems to stand, as through a pooler of transactions."""

    def _hear(self, _connection: Any, _pid: int, channel: str, payload: object) -> None:
        """Nothing is heard."""


@dataclass
class Replica:
    """A replica. `mappings`: its own cache, which `services` uses."""

    services: Services
    mappings: CachedMappings
    listener: Listener

    async def work(self) -> None:
        """Process everything that is due, lane by lane, as a worker does; errors that last are raised."""
        pool = self.services.pool
        while (lane := await inbox.claim(pool, f"replica-{id(self)}", timedelta(seconds=30))) is not None:
            while deliveries := await inbox.waiting(pool, lane):
                try:
                    await handle(self.services, lane, deliveries)
                except Transient as error:
                    await inbox.retry_later(pool, lane, deliveries[0].inbox_id, str(error), timedelta(hours=1))
            await inbox.release(pool, lane)

    async def believes(self, repo_id: int) -> object:
        """The session that this replica has the repository for; None: it has it for unbound."""
        mapping = await self.mappings.find(repo_id)
        return None if mapping is None else mapping.session_id


@asynccontextmanager
async def replica(course: Course, *, deaf: bool = False) -> AsyncIterator[Replica]:
    """A replica on a course, as app.run_worker puts one together; `deaf`: it hears of no change."""
    sandbox = course.sandbox
    async with aiohttp.ClientSession() as http:
        pool = await open_pool(course.dsn, min_size=1, max_size=6)
        mappings = CachedMappings(Mappings(pool))
        app = GitHubApp(
            http,
            api_url=sandbox.api_url,
            app_id=sandbox.app_id,
            private_key=sandbox.private_key_pem,
            governor=MemoryGovernor(0.0),
        )
        judging = Judging("forgea/steps", "https://stepgate.example.com", sandbox.url, "always", 3)
        services = Services(pool=pool, app=app, trees=Trees(1 << 24), mappings=mappings, judging=judging)
        async with (DeafListener if deaf else Listener)(course.dsn, on_lost=mappings.clear) as listener:
            listener.subscribe("binding_changed", mappings.heard)
            await listener.connected.wait()
            try:
                yield Replica(services, mappings, listener)
            finally:
                await pool.close()

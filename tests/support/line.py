"""The whole line in one process, for tests: sandbox, receiver, worker and database, all real."""

from __future__ import annotations

import asyncio
import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiohttp
from aiohttp import web

from bot.registry import add_lab, publish_lab
from bot.services import Judging, Services
from bot.webhook import MAX_BODY, add_routes
from bot.worker import Worker
from github.client import GitHubApp
from github.governor import MemoryGovernor
from github.trees import Trees
from rules.model import LabRecord, LabVersion
from sandbox import Sandbox
from storage.cache import CachedMappings
from storage.database import Pool, open_pool
from storage.inbox import Recorder
from storage.mappings import Mappings
from storage.notify import Listener
from tests.support.apispec import check_exchange

SECRET = "a-webhook-secret-for-tests"
TEMPLATE = Path(__file__).parents[2] / "examples" / "lab-template"


@dataclass
class Line:
    """A running App on a sandbox. `hook`: the receiver's address."""

    sandbox: Sandbox
    pool: Pool
    services: Services
    hook: str

    async def settle(self, timeout: float = 30.0) -> None:
        """Wait until every delivery is processed and every report is sent."""
        async with asyncio.timeout(timeout):
            while True:
                await self.sandbox.idle()
                busy = await self.pool.fetchval(
                    "SELECT (SELECT count(*) FROM delivery WHERE state = 'waiting')"
                    " + (SELECT count(*) FROM outbox WHERE state = 'wanted')"
                )
                if not busy:
                    await self.sandbox.idle()  # echoes of the reports
                    return
                await asyncio.sleep(0.02)

    async def fetch(self, query: str, *values: object) -> list[dict[str, Any]]:
        """Rows of the database, as dictionaries."""
        return [dict(row) for row in await self.pool.fetch(query, *values)]


@asynccontextmanager
async def running_line(dsn: str, **options: Any) -> AsyncIterator[Line]:
    """Run everything until the block ends; `options` go to the Sandbox. All API exchanges are checked at the end."""
    with tempfile.TemporaryDirectory() as folder:
        async with (
            Sandbox(Path(folder) / "github", webhook_secret=SECRET, **options) as sandbox,
            aiohttp.ClientSession() as http,
        ):
            pool = await open_pool(dsn, min_size=1, max_size=10)
            try:
                async with _running_app(sandbox, http, pool, dsn) as line:
                    yield line
            finally:
                await pool.close()
            for exchange in sandbox.exchanges:
                check_exchange(exchange)


@asynccontextmanager
async def _running_app(sandbox: Sandbox, http: aiohttp.ClientSession, pool: Pool, dsn: str) -> AsyncIterator[Line]:
    mappings = CachedMappings(Mappings(pool))
    services = Services(
        pool=pool,
        app=GitHubApp(
            http,
            api_url=sandbox.api_url,
            app_id=sandbox.app_id,
            private_key=sandbox.private_key_pem,
            governor=MemoryGovernor(0.0),
        ),
        trees=Trees(32 * 1024 * 1024),
        mappings=mappings,
        judging=Judging("forgea/steps", "http://127.0.0.1:8080", sandbox.url, "always", 3),
    )
    recorder = Recorder(pool)
    app = web.Application(client_max_size=MAX_BODY)
    add_routes(app, record=recorder.record, secrets=(SECRET,))
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    hook = f"http://127.0.0.1:{runner.addresses[0][1]}/webhook"
    sandbox.webhook_url = hook
    stop = asyncio.Event()
    async with Listener(dsn, on_lost=mappings.clear) as listener:
        listener.subscribe("binding_changed", lambda repo_id: mappings.drop(int(repo_id)))
        worker = asyncio.create_task(Worker(services, listener, dsn=dsn, holder="test", concurrency=4).run(stop))
        try:
            yield Line(sandbox, pool, services, hook)
        finally:
            stop.set()
            await worker
            await runner.cleanup()


async def register_lab(line: Line, full_name: str) -> tuple[LabRecord, LabVersion]:
    """Register and publish a template that the App is installed on."""
    lab = await add_lab(line.pool, line.services.app, full_name)
    return lab, await publish_lab(line.pool, line.services.app, lab)

"""The whole line in one process, for tests: sandbox, receiver, worker and database, all real."""

from __future__ import annotations

import asyncio
import socket
import tempfile
from collections.abc import AsyncIterator, Iterable
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import aiohttp
from aiohttp import web

from bot.registry import add_lab, publish_lab
from bot.services import Judging, Services
from bot.wanted import ResultFilter
from bot.webhook import MAX_BODY, add_routes
from bot.worker import Worker
from github.client import GitHubApp
from github.governor import MemoryGovernor
from github.trees import Trees
from rules.model import LabRecord, LabVersion
from sandbox import Sandbox
from storage import headfacts
from storage.cache import CachedMappings
from storage.database import Pool, open_pool
from storage.echoes import Echoes
from storage.inbox import Recorder
from storage.mappings import Mappings
from storage.notify import Listener
from tests.support.apispec import check_exchange, operation_of
from tests.support.audited import check_events
from tests.support.browsing import browser
from tests.support.invariants import Invariants, port_of, secrets_of
from tests.support.keys import private_key
from web import routes
from web.metrics import Monitoring, of_pool
from web.site import SignIn, Site

SECRET = "a-webhook-secret-for-tests"
SESSION_KEY = "a-session-key-for-tests-of-32-characters"
TEMPLATE = Path(__file__).parents[2] / "examples" / "lab-template"


# Checking an answer of many megabytes against GitHub's description takes seconds, and shows nothing that a small one
# does not.
CHECKED_BYTES = 256 * 1024


@dataclass
class Line:
    """A running App on a sandbox. `staff`: account ids; `with_sign_in`: people sign in with (the sandbox's) GitHub."""

    sandbox: Sandbox
    http: aiohttp.ClientSession
    dsn: str
    staff: frozenset[int] = frozenset()
    with_sign_in: bool = False
    secrets: tuple[str, ...] = (SECRET,)  # webhook secrets that are accepted from the next start on
    port: int = 0  # the first one that was free: a restarted App is where it was
    invariants: Invariants = field(default_factory=Invariants)  # checked at the end; see there what a test may waive
    pool: Pool = field(init=False)
    services: Services = field(init=False)
    web: web.Application = field(init=False)
    _stack: AsyncExitStack = field(init=False)

    @property
    def pages(self) -> str:
        """The root of the App's own pages."""
        return f"http://127.0.0.1:{self.port}"

    @property
    def hook(self) -> str:
        """The receiver's address."""
        return f"{self.pages}/webhook"

    async def start(self) -> None:
        """Start receiver, pages and worker, with nothing in their memory."""
        async with AsyncExitStack() as stack:
            self.pool = await open_pool(self.dsn, min_size=1, max_size=10)
            stack.push_async_callback(self.pool.close)
            await stack.enter_async_context(_running_app(self))
            self.sandbox.webhook_url = self.hook
            self.sandbox.callback_urls = [f"{self.pages}/auth/callback"]
            self._stack = stack.pop_all()

    async def stop(self) -> None:
        """Stop everything of the App. The database and the sandbox stay."""
        await self._stack.aclose()

    async def restart(self) -> None:
        """What a new release does: new processes, new connections, new caches."""
        await self.stop()
        await self.start()

    async def page(self, address: str) -> str:
        """The text of one of the App's pages; `address` may begin with the public root that reports name."""
        path = address.removeprefix(self.services.judging.public_url)
        async with self.http.get(self.pages + path) as response:
            assert response.status == 200, f"{path}: {response.status}"
            return await response.text()

    def browser(
        self, account_id: int | None = None, login: str = "", *, staff: bool = False
    ) -> AbstractAsyncContextManager[aiohttp.ClientSession]:
        """Somebody's browser at the pages: `async with line.browser(7, "learner-one") as me: await me.get("/")`.

        Signed in without the way over GitHub; `staff` without account: the operator at this machine.
        """
        return browser(self.pages, self.web, account_id, login, staff=staff)

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
async def running_line(
    dsn: str, *, staff: Iterable[int] = (), sign_in: bool = False, **options: Any
) -> AsyncIterator[Line]:
    """Run everything until the block ends; `options` go to the Sandbox.

    `staff`: account ids (add them later with `line.staff |= {id}` and a restart). `sign_in`: people sign in with the
    sandbox's GitHub; without it pages are for this machine.

    At the end all API exchanges are checked (of those above CHECKED_BYTES only that they belong to an operation), all
    audit events, and the invariants.
    """
    invariants = Invariants()
    options.setdefault("private_key_pem", private_key())
    with tempfile.TemporaryDirectory() as folder, invariants.watching_logs():
        async with (
            Sandbox(
                Path(folder) / "github", webhook_secret=SECRET, **({"private_key_pem": private_key()} | options)
            ) as sandbox,
            invariants.client() as http,
        ):
            line = Line(sandbox, http, dsn, frozenset(staff), sign_in, invariants=invariants)
            await line.start()
            invariants.allowed = {line.port, port_of(sandbox.url)}
            invariants.secrets = secrets_of(sandbox, SECRET, SESSION_KEY)
            try:
                yield line
                await check_events(line.pool)
                await invariants.check(line.pool, sandbox)
            finally:
                await line.stop()
            for exchange in sandbox.exchanges:
                if exchange.scripted:
                    continue  # a fault that a test has made up
                if len(exchange.response_body) <= CHECKED_BYTES:
                    check_exchange(exchange)
                else:
                    assert operation_of(exchange.path) is not None, exchange.path


@asynccontextmanager
async def _running_app(line: Line) -> AsyncIterator[None]:
    """Receiver, pages and worker; sets the line's `services`, `web` and `port`."""
    sandbox, pool = line.sandbox, line.pool
    listening = socket.create_server(("127.0.0.1", line.port))
    line.port = listening.getsockname()[1]
    mappings = CachedMappings(Mappings(pool))
    line.services = services = Services(
        pool=pool,
        app=GitHubApp(
            line.http,
            api_url=sandbox.api_url,
            app_id=sandbox.app_id,
            private_key=sandbox.private_key_pem,
            governor=MemoryGovernor(0.0),
        ),
        trees=Trees(64 * 1024 * 1024),
        mappings=mappings,
        judging=Judging("forgea/steps", line.pages, sandbox.url, "always", 3),
        staff=line.staff,
    )
    recorder = Recorder(pool)
    app = line.web = web.Application(client_max_size=MAX_BODY, middlewares=[line.invariants.middleware])
    own = Echoes(pool, services.judging.check_name)
    wanted = ResultFilter(sandbox.app_id, partial(headfacts.awaited, pool), own)
    add_routes(app, record=recorder.record, secrets=line.secrets, results=wanted, app_id=sandbox.app_id)
    stop = asyncio.Event()
    async with Listener(line.dsn, on_lost=mappings.clear) as listener:
        routes.add_routes(app, _site(line, listener))
        listener.subscribe("binding_changed", mappings.heard)
        runner = web.AppRunner(app, access_log=None, shutdown_timeout=2.0)
        await runner.setup()
        await web.SockSite(runner, listening).start()
        worker = asyncio.create_task(
            Worker(services, listener, dsn=line.dsn, holder="test", concurrency=4, recovers=False).run(stop)
        )
        try:
            yield
        finally:
            stop.set()
            await worker
            await runner.cleanup()
            await recorder.close()


def _site(line: Line, listener: Listener) -> Site:
    sandbox = line.sandbox
    credentials = SignIn(sandbox.client_id, sandbox.client_secret, SESSION_KEY, sandbox.api_url)
    return Site(
        line.pool,
        web_url=sandbox.url,
        public_url=line.pages,
        github=line.services.app,
        listener=listener,
        staff=line.staff,
        sign_in=credentials if line.with_sign_in else None,
        monitoring=Monitoring(of_pool(line.pool)),
    )


async def register_lab(line: Line, full_name: str) -> tuple[LabRecord, LabVersion]:
    """Register and publish a template that the App is installed on."""
    lab = await add_lab(line.pool, line.services.app, full_name)
    return lab, await publish_lab(line.pool, line.services.app, lab)

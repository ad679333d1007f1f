"""The sandbox as a server on loopback: git at the root, the REST API below /api/v3."""

from __future__ import annotations

import inspect
import secrets
from collections import deque
from collections.abc import Awaitable, Callable, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from types import TracebackType
from typing import Self

from aiohttp import web

from .auth import Authenticator
from .checks import CheckBook
from .control import Control
from .core import DEFAULT_EVENTS, DEFAULT_PERMISSIONS, AppIdentity, Core, new_private_key
from .deliveries import DeliveryLog
from .exchanges import Exchange, Fault
from .githttp import GitHttp, http_backend
from .hooks import Events
from .lifecycle import Lifecycle
from .pushes import PushEvents
from .rest import API_ROOT, Operation, RestApi
from .rest_app import AppOperations
from .rest_checks import CheckOperations
from .rest_commits import CommitOperations
from .rest_contents import ContentOperations
from .rest_git import GitOperations
from .rest_repos import RepositoryOperations
from .state import State

BODY_MAX = 30 * 1024 * 1024  # bytes of a request to the API; git's bodies are streamed without a limit
RATE_LIMIT = 5_000  # requests an hour of an installation; GitHub docs, rate limits for the REST API
APP_ID = 1_200_401
HOST = "127.0.0.1"

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


class Sandbox(Control):
    """A GitHub on loopback with one App registered.

    `root` holds the bare repositories. Without `webhook_url` deliveries are logged as failed, as if nothing listened
    there. `faults` are asked in turn before each request is served; one that returns a response answers it.
    """

    def __init__(
        self,
        root: Path,
        *,
        webhook_url: str | None = None,
        webhook_secret: str = "sandbox-webhook-secret",  # noqa: S107 - a loopback default, to be known to tests
        app_slug: str = "stepgate",
        tree_limit: int = 100_000,
        port: int = 0,
        permissions: Mapping[str, str] | None = None,
        events: Sequence[str] = DEFAULT_EVENTS,
        private_key_pem: str | None = None,
        rate_limit: int = RATE_LIMIT,
        echo_events: bool = True,
        delivery_concurrency: int = 1,
    ) -> None:
        self.faults: list[Fault] = []
        self._root = root.resolve()
        self._port = port
        self._runner: web.AppRunner | None = None
        state, now = State(), datetime.now(UTC)
        app = AppIdentity(
            id=APP_ID,
            slug=app_slug,
            client_id=f"Iv23li{secrets.token_hex(7)}",
            client_secret=secrets.token_hex(20),
            private_key_pem=private_key_pem or new_private_key(),
            owner=state.add_account(f"{app_slug}-operator", "User", now),
            bot=state.add_account(f"{app_slug}[bot]", "Bot", now),
            created_at=now,
            permissions=dict(permissions or DEFAULT_PERMISSIONS),
            events=list(events),
        )
        self._core = Core(
            app=app,
            state=state,
            deliveries=DeliveryLog(
                app_id=app.id, url=webhook_url, secret=webhook_secret, concurrency=delivery_concurrency
            ),
            tree_limit=tree_limit,
            rate_limit=rate_limit,
            echo_events=echo_events,
        )
        events_out = Events(self._core)
        self._auth = Authenticator(self._core)
        self._rest = RestApi(self._core, self._auth)
        self._checks = CheckBook(self._core, events_out)
        self._lifecycle = Lifecycle(self._core, events_out, self._root)
        self._pushes = PushEvents(self._core, events_out, self._checks)
        self._git = GitHttp(self._core, self._pushes)

    # ------------------------------------------------------------------------------------------------ life

    async def start(self) -> None:
        """Listen and begin to send; errors: no git http-backend, port taken, root in use."""
        http_backend()
        self._lifecycle.prepare()
        app = web.Application(middlewares=[self._consult_faults], client_max_size=BODY_MAX)
        self._rest.register(app.router, self._operations())
        self._git.register(app.router)
        self._runner = web.AppRunner(app, access_log=None)
        await self._runner.setup()
        site = web.TCPSite(self._runner, HOST, self._port)
        await site.start()
        host, port = self._runner.addresses[0][:2]
        self._core.url = f"http://{host}:{port}"
        await self._core.deliveries.start()

    async def stop(self) -> None:
        """Stop sending and listening, and end git's processes. The repositories stay on disk."""
        await self._core.deliveries.stop()
        if self._runner is not None:
            await self._runner.cleanup()
            self._runner = None
        await self._core.store.close()

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.stop()

    def _operations(self) -> list[Operation]:
        core = self._core
        commits = CommitOperations(core)
        checks = CheckOperations(core, self._checks, commits)
        # Longer paths first: `/commits/{ref}` would take `/commits/{ref}/status` for a ref with a slash.
        return [
            *RepositoryOperations(core, self._rest, self._lifecycle).operations(),
            *AppOperations(core, self._auth, self._lifecycle).operations(),
            *checks.operations(),
            *commits.operations(),
            *GitOperations(core).operations(),
            *ContentOperations(core, commits, self._pushes).operations(),
        ]

    @web.middleware
    async def _consult_faults(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        for fault in list(self.faults):
            answer = fault(request)
            response = await answer if inspect.isawaitable(answer) else answer
            if response is not None:
                if request.path.startswith(API_ROOT) and isinstance(response, web.Response):
                    self._rest.record(request, "", await request.read(), response, scripted=True)
                return response
        return await handler(request)

    # ------------------------------------------------------------------------------------------------ facts

    @property
    def url(self) -> str:
        """The root of web and git addresses: `{url}/{owner}/{repo}.git`."""
        return self._core.url

    @property
    def api_url(self) -> str:
        """The root of the REST API."""
        return self._core.api_url

    @property
    def app_id(self) -> int:
        """The App's numeric id."""
        return self._core.app.id

    @property
    def app_slug(self) -> str:
        """The App's name in addresses."""
        return self._core.app.slug

    @property
    def private_key_pem(self) -> str:
        """The App's private key."""
        return self._core.app.private_key_pem

    @property
    def client_id(self) -> str:
        """The App's OAuth client id."""
        return self._core.app.client_id

    @property
    def client_secret(self) -> str:
        """The App's OAuth client secret."""
        return self._core.app.client_secret

    @property
    def webhook_secret(self) -> str:
        """The secret that deliveries are signed with."""
        return self._core.deliveries.secret

    @property
    def webhook_url(self) -> str | None:
        """Where deliveries are sent."""
        return self._core.deliveries.url

    @webhook_url.setter
    def webhook_url(self, url: str | None) -> None:
        self._core.deliveries.url = url

    @property
    def exchanges(self) -> deque[Exchange]:
        """The newest 5,000 requests to the REST API with their answers."""
        return self._rest.exchanges

    @property
    def clock(self) -> Callable[[], float]:
        """The sandbox's clock, in seconds since 1970; tests may set another."""
        return self._core.clock

    @clock.setter
    def clock(self, clock: Callable[[], float]) -> None:
        self._core.clock = clock

    @property
    def echo_events(self) -> bool:
        """Whether the App hears of the check runs and statuses that it writes itself, as on GitHub."""
        return self._core.echo_events

    @echo_events.setter
    def echo_events(self, wanted: bool) -> None:
        self._core.echo_events = wanted

    @property
    def tree_limit(self) -> int:
        """The number of entries after which a recursive tree is truncated."""
        return self._core.tree_limit

    @tree_limit.setter
    def tree_limit(self, limit: int) -> None:
        self._core.tree_limit = limit

    @property
    def permissions(self) -> dict[str, str]:
        """The App's permissions: what installations made from now on are granted."""
        return self._core.app.permissions

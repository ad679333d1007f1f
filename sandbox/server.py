"""The sandbox as a server on loopback: git at the root, the REST API below /api/v3."""

from __future__ import annotations

import secrets
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Self

from aiohttp import web

from .actions import ResultBook
from .auth import Authenticator
from .checks import CheckBook
from .control import Control
from .core import DEFAULT_EVENTS, DEFAULT_PERMISSIONS, AppIdentity, Core, new_private_key
from .deliveries import DeliveryLog
from .facts import Facts
from .faults_control import FaultControl
from .faults_delivery import DeliveryFaults
from .faults_http import RequestFaults
from .githttp import GitHttp, http_backend
from .hooks import Events
from .lifecycle import Lifecycle
from .pushes import PushEvents
from .registration import Registrar, new_client_id
from .rest import Operation, RestApi
from .rest_actions import ActionOperations
from .rest_app import AppOperations
from .rest_checks import CheckOperations
from .rest_commits import CommitOperations
from .rest_contents import ContentOperations
from .rest_git import GitOperations
from .rest_people import PersonOperations
from .rest_repos import RepositoryOperations
from .rest_users import UserOperations
from .site import register_pages
from .state import State

BODY_MAX = 30 * 1024 * 1024  # bytes of a request to the API; git's bodies are streamed without a limit
RATE_LIMIT = 5_000  # requests an hour of an installation; GitHub docs, rate limits for the REST API
HOST = "127.0.0.1"


class Sandbox(Control, Facts):
    """A GitHub on loopback with one App registered, or with `registered=False` none until one is made of a manifest.

    `root` holds the bare repositories. Without `webhook_url` deliveries are logged as failed, as if nothing listened
    there. `faults` is the plan of what goes wrong on purpose.
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
        registered: bool = True,
        callback_urls: Sequence[str] = (),
        setup_url: str | None = None,
        public: bool = True,
    ) -> None:
        self._root = root.resolve()
        self._port = port
        self._runner: web.AppRunner | None = None
        self._core = Core(
            registered=None,
            state=State(),
            deliveries=DeliveryLog(app_id=0, url=webhook_url, secret=webhook_secret, concurrency=delivery_concurrency),
            tree_limit=tree_limit,
            rate_limit=rate_limit,
            echo_events=echo_events,
        )
        if registered:
            app = self._first_app(app_slug, private_key_pem, permissions, events)
            app.callback_urls, app.setup_url, app.public = list(callback_urls), setup_url, public
            self._core.registered, self._core.deliveries.app_id = app, app.id
        events_out = Events(self._core)
        self._auth = Authenticator(self._core)
        self._registrar = Registrar(self._core, private_key_pem)
        self._rest = RestApi(self._core, self._auth)
        self._checks = CheckBook(self._core, events_out)
        self._results = ResultBook(self._core, events_out, self._checks)
        self._lifecycle = Lifecycle(self._core, events_out, self._root)
        self._pushes = PushEvents(self._core, events_out, self._checks)
        self._git = GitHttp(self._core, self._pushes)
        self._request_faults = RequestFaults(self._core, self._auth, self._rest)
        self._delivery_faults = DeliveryFaults(self._core)
        self._core.deliveries.route = self._delivery_faults.route

    def _first_app(
        self, slug: str, private_key_pem: str | None, permissions: Mapping[str, str] | None, events: Sequence[str]
    ) -> AppIdentity:
        state, now = self._core.state, self._core.now()
        return AppIdentity(
            id=next(state.app_ids),
            slug=slug,
            client_id=new_client_id(),
            client_secret=secrets.token_hex(20),
            private_key_pem=private_key_pem or new_private_key(),
            owner=state.add_account(f"{slug}-operator", "User", now),
            bot=state.add_account(f"{slug}[bot]", "Bot", now),
            created_at=now,
            permissions=dict(permissions or DEFAULT_PERMISSIONS),
            events=list(events),
        )

    # ------------------------------------------------------------------------------------------------ life

    async def start(self) -> None:
        """Listen and begin to send; errors: no git http-backend, port taken, root in use."""
        http_backend()
        self._lifecycle.prepare()
        app = web.Application(middlewares=[self._request_faults.serve], client_max_size=BODY_MAX)
        app.on_response_prepare.append(self._request_faults.prepare)
        FaultControl(self.faults).register(app.router)
        self._rest.register(app.router, self._operations())
        self._git.register(app.router)
        register_pages(
            app.router,
            self._core,
            auth=self._auth,
            checks=self._checks,
            lifecycle=self._lifecycle,
            registrar=self._registrar,
        )
        self._runner = web.AppRunner(app, access_log=None)
        await self._runner.setup()
        site = web.TCPSite(self._runner, HOST, self._port)
        await site.start()
        host, port = self._runner.addresses[0][:2]
        self._core.url = f"http://{host}:{port}"
        await self._core.deliveries.start()

    async def stop(self) -> None:
        """Stop sending and listening, and end git's processes. The repositories stay on disk."""
        await self._delivery_faults.stop()
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
            *AppOperations(core, self._auth, self._lifecycle, self._registrar).operations(),
            *UserOperations(core, self._auth).operations(),
            *PersonOperations(core, self._lifecycle).operations(),
            *checks.operations(),
            *ActionOperations(self._results).operations(),
            *commits.operations(),
            *GitOperations(core).operations(),
            *ContentOperations(core, commits, self._pushes).operations(),
        ]

"""The world of the demo: a sandbox GitHub in this process, the App as two real processes."""

from __future__ import annotations

import json
import secrets
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import aiohttp
from pydantic import SecretStr

from cli.demo_app import App
from cli.demo_git import Clone, Person
from cli.faults import CommandError
from cli.story_world import CHECK_NAME, LAB, TEMPLATE, Observed, StoryWorld
from github.person import PersonClient
from sandbox.server import Sandbox
from settings import child_environment

__all__ = ["CHECK_NAME", "LAB", "LEARNER", "TEMPLATE", "Observed", "World", "world"]

TEACHER = Person("octo-teacher", "Octo Teacher")
LEARNER = Person("learner-one", "Learner Learner")


class World(StoryWorld):
    """Sandbox, App and the learner's clone."""

    def __init__(
        self, sandbox: Sandbox, app: App, http: aiohttp.ClientSession, api: aiohttp.ClientSession, home: Path
    ) -> None:
        super().__init__(app, http)
        self.sandbox = sandbox
        self._api = api
        self._home = home
        self._learner: PersonClient | None = None

    @property
    def learner(self) -> PersonClient:
        """The learner at the sandbox's API."""
        if self._learner is None:
            raise RuntimeError("nobody is enrolled yet")
        return self._learner

    async def open_lab(self) -> str:
        """The operator's part: a template repository, the App on it, `labs add` and `labs publish`. Returns a line."""
        self.sandbox.add_account("octo-course", kind="Organization")
        self.sandbox.add_account(TEACHER.login)
        template = await self.sandbox.add_repository("octo-course", "word-counter-lab")
        self.sandbox.add_collaborator(template.full_name, TEACHER.login)
        address = f"{self.sandbox.url}/{template.full_name}.git"
        await Clone.publish(TEACHER, TEMPLATE, address, self._home / "template")
        await self.sandbox.install("octo-course", [template.full_name])
        await self.sandbox.idle()
        await self.app.command("labs", "add", template.full_name, "--slug", LAB)
        await self.app.command("labs", "publish", LAB)
        labs = json.loads(await self.app.command("labs", "list", "--json"))
        (lab,) = [lab for lab in labs if lab["slug"] == LAB]
        return f"{template.full_name} is lab {lab['slug']}, version {lab['version']}"

    async def enrol(self) -> str:
        """The learner's part: fork, install the App on the fork, and find it bound to a session. Returns a line."""
        self.sandbox.add_account(LEARNER.login)
        token = SecretStr(self.sandbox.personal_token(LEARNER.login))
        self._learner = PersonClient(self._api, api_url=self.sandbox.api_url, token=token)
        fork = await self.sandbox.fork("octo-course/word-counter-lab", LEARNER.login)
        self.fork = fork.full_name
        await self.sandbox.install(LEARNER.login, [fork.full_name])
        if not await self._answered(self.answer_timeout):
            raise CommandError(f"{self.fork} was not bound to a session and judged:\n{self.app.log_tail()}")
        address = f"{self.sandbox.url}/{fork.full_name}.git"
        self._clone = await Clone.of(LEARNER, address, self._home / "learner")
        return f"{fork.full_name} is bound to session {self.session_url.rpartition('/')[2]}"

    async def delivered(self) -> None:
        """Wait until every delivery has got an answer."""
        await self.sandbox.idle()

    async def redeliver(self, head: str) -> None:
        """Send the push delivery of this head once more."""
        for delivery in reversed(self.sandbox.deliveries):
            if delivery.event == "push" and json.loads(delivery.payload)["after"] == head:
                await self.sandbox.redeliver(delivery.guid)
                return
        raise CommandError(f"no push delivery for {head}")


@asynccontextmanager
async def world(home: Path, dsn: str) -> AsyncIterator[World]:
    """Start sandbox and App on the empty database `dsn`, with all files in `home`; stop both at the end."""
    secret = secrets.token_hex(32)
    browser = aiohttp.ClientSession(cookie_jar=aiohttp.CookieJar(unsafe=True))  # unsafe: also for 127.0.0.1
    api = aiohttp.ClientSession(cookie_jar=aiohttp.DummyCookieJar())
    async with Sandbox(home / "github", webhook_secret=secret) as sandbox, browser as http, api:
        app = App(
            home,
            child_environment(
                DATABASE_URL=dsn,
                GITHUB_API_URL=sandbox.api_url,
                GITHUB_WEB_URL=sandbox.url,
                GITHUB_APP_ID=str(sandbox.app_id),
                GITHUB_PRIVATE_KEY=sandbox.private_key_pem,
                GITHUB_WEBHOOK_SECRET=secret,
                CHECK_NAME=CHECK_NAME,
                LOG_FORMAT="json",
                PYTHONUNBUFFERED="1",
            ),
        )
        try:
            await app.start()
            sandbox.webhook_url = f"{app.url}/webhook"
            here = World(sandbox, app, http, api, home)
            await here.open_pages()
            yield here
        finally:
            await app.stop()

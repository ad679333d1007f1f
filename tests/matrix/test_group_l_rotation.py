"""Secrets are changed as docs/rotation.md says, under a stream of pushes, and no delivery is lost (rows A5 and L)."""

from __future__ import annotations

import asyncio
import io
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from aiohttp import web
from aiohttp.test_utils import TestClient, TestServer

from app import build_web
from bot.recovery import DeliveryPoller
from sandbox import Repository
from settings import Settings
from tests.support.clicking import clicking
from tests.support.deliveries import Hook, World, template_files
from tests.support.githost import WorkingCopy, seed
from tests.support.line import SECRET, Line, register_lab, running_line
from web.cookies import COOKIES, Identity

NEW = "9c41e7d05ab2f3868d7e"


@pytest.fixture(name="here")
async def _here(fresh_database: str) -> AsyncIterator[World]:
    """A running App with a published lab, where people sign in."""
    async with running_line(fresh_database, sign_in=True) as line, aiohttp.ClientSession() as http:
        await line.sandbox.install(await _template(line), ["octo-course/lab"])
        await line.settle()
        await register_lab(line, "octo-course/lab")
        yield World(line, Hook(http, line.hook), io.StringIO(), set())


async def _template(line: Line) -> str:
    """Make the template; its owner."""
    line.sandbox.add_account("octo-course", "Organization")
    await seed(await line.sandbox.add_repository("octo-course", "lab"), template_files())
    return "octo-course"


class Stream:
    """A learner who pushes all the time. `heads`: every pushed head, in order."""

    def __init__(self, here: World, fork: Repository, clone: WorkingCopy) -> None:
        self.here = here
        self.fork = fork
        self.clone = clone
        self.heads: list[str] = []
        self._pushed = asyncio.Condition()

    async def push(self) -> None:
        """Push one commit."""
        number = len(self.heads)
        (self.clone.path / "notes").mkdir(exist_ok=True)
        (self.clone.path / "notes" / "mine.md").write_text(f"note {number}\n")
        await self.clone.git("add", "--all")
        await self.clone.git("commit", "--quiet", "-m", f"note {number}")
        await self.clone.git("push", "--quiet", "origin", "HEAD")
        async with self._pushed:
            self.heads.append(await self.clone.git("rev-parse", "HEAD"))
            self._pushed.notify_all()

    async def forever(self) -> None:
        """Push until cancelled."""
        while True:
            await self.push()

    async def some_more(self) -> None:
        """Wait until another one was pushed: what is done next happens in the middle of the stream."""
        until = len(self.heads) + 1
        async with asyncio.timeout(60), self._pushed:
            await self._pushed.wait_for(lambda: len(self.heads) >= until)

    async def check(self) -> None:
        """Every push is in the inbox, under the GUID that GitHub gave it, and finished; the newest head has its run."""
        await self.here.line.settle()
        sent = {each.guid for each in self.here.line.sandbox.deliveries if each.event == "push"}
        assert sent - {str(row["guid"]) for row in await self.here.rows("push")} == set()
        assert len(sent) == len(self.heads)
        assert {row["state"] for row in await self.here.rows("push")} <= {"done", "superseded"}
        assert len(self.here.runs(self.fork, self.heads[-1])) == 1
        assert len(self.heads) >= 4


@asynccontextmanager
async def stream(here: World, folder: Path) -> AsyncIterator[Stream]:
    """A learner who pushes as long as the block lasts."""
    fork = await here.learner("learner-one")
    clone = await WorkingCopy.clone(here.line.sandbox, fork.full_name, "learner-one", folder / "clone")
    running = Stream(here, fork, clone)
    pushing = asyncio.create_task(running.forever())
    try:
        await running.some_more()
        yield running
        await running.some_more()
    finally:
        pushing.cancel()
        await asyncio.gather(pushing, return_exceptions=True)
    await clone.git("push", "--quiet", "origin", "HEAD")  # the one that was broken off
    if (head := await clone.git("rev-parse", "HEAD")) != running.heads[-1]:
        running.heads.append(head)


def settings_of(here: World, secret: str, previous: str = "", **more: Any) -> Settings:
    """The settings of a web process with these webhook secrets."""
    sandbox = here.line.sandbox
    values: dict[str, Any] = {
        "github_api_url": sandbox.api_url,
        "github_app_id": sandbox.app_id,
        "github_webhook_secret": secret,
        "github_webhook_secret_previous": previous or None,
        **more,
    }
    return Settings.model_validate(values)


@asynccontextmanager
async def receiver(here: World, settings: Settings) -> AsyncIterator[str]:
    """A web process of a deployment, as app.py makes it; its webhook address."""
    async with TestServer(build_web(settings, here.line.pool)) as server:
        yield str(server.make_url("/webhook"))


async def test_the_webhook_secret_with_overlapping_processes(here: World, tmp_path: Path) -> None:
    """Both secrets at the App, then the new one at GitHub, then only the new one: no delivery fails, none is lost."""
    sandbox = here.line.sandbox
    async with (
        receiver(here, settings_of(here, NEW, SECRET)) as with_both,
        receiver(here, settings_of(here, NEW)) as with_new,
    ):
        async with stream(here, tmp_path) as learner:
            sandbox.webhook_url = with_both
            await learner.some_more()
            sandbox.webhook_secret = NEW
            await learner.some_more()
            sandbox.webhook_url = with_new
        await sandbox.idle()
        assert await here.hook.post("push", b"{}") == 202, "the old process still takes the old secret"
        here.hook.url = with_new
        assert await here.hook.post("push", b"{}") == 401
        assert await here.hook.post("push", b"{}", secret=NEW) == 202
        await here.line.settle()  # what is reported now sends events too
    await here.line.pool.execute("DELETE FROM delivery WHERE lane_id = 'quarantine'")
    await learner.check()
    assert {attempt.status_code for each in sandbox.deliveries for attempt in each.attempts} == {202}


async def test_the_webhook_secret_with_restarts(here: World, tmp_path: Path) -> None:
    """One process that is restarted twice: what fails while it is away is taken from GitHub's log afterwards."""
    line, sandbox = here.line, here.line.sandbox
    async with stream(here, tmp_path) as learner:
        line.secrets = (NEW, SECRET)
        await line.stop()
        await learner.some_more()
        await line.start()
        sandbox.webhook_secret = NEW
        await learner.some_more()
        line.secrets = (NEW,)
        await line.restart()
    await sandbox.idle()
    failed = [attempt for each in sandbox.deliveries for attempt in each.attempts if attempt.status_code != 202]
    assert failed
    assert {attempt.status_code for attempt in failed} == {502}, "none was refused for its signature"
    await DeliveryPoller(line.pool, line.services.app).look()
    await learner.check()


async def test_the_private_key(here: World, tmp_path: Path) -> None:
    """A second key at GitHub, the App restarted with it, the first one deleted: nothing is refused meanwhile."""
    line, sandbox = here.line, here.line.sandbox
    async with stream(here, tmp_path) as learner:
        sandbox.add_private_key()
        await line.services.app.app()  # the key of before is good still
        await learner.some_more()
        await line.restart()  # reads the new key
        await learner.some_more()
        sandbox.delete_old_private_keys()
        await line.services.app.app()
        line.services.app.installation(1).forget_token()
        await learner.some_more()
    await sandbox.idle()
    await DeliveryPoller(line.pool, line.services.app).look()
    await learner.check()
    assert [each.path for each in sandbox.exchanges if each.status == 401] == []


async def sign_in(here: World) -> int:
    """Sign in with GitHub in a new browser; the status of the page where one ends."""
    async with clicking() as me:
        await me.open(f"{here.line.pages}/login")
        await me.press("Sign in as learner-one")
        if any("Authorize" in label for form in me.forms for label in form.buttons):
            await me.press(next(label for form in me.forms for label in form.buttons if "Authorize" in label))
        assert str(me.address).startswith(here.line.pages)
        return me.status


async def test_the_client_secret(here: World) -> None:
    """A second client secret at GitHub, the App restarted with it, the first one deleted: people can sign in always."""
    line, sandbox = here.line, here.line.sandbox
    sandbox.add_account("learner-one")
    assert await sign_in(here) == 200
    sandbox.add_client_secret()
    assert await sign_in(here) == 200
    await line.restart()  # reads the new secret
    assert await sign_in(here) == 200
    sandbox.delete_old_client_secrets()
    assert await sign_in(here) == 200
    sandbox.add_client_secret()
    sandbox.delete_old_client_secrets()  # the wrong order: deleted while the App still uses it
    assert await sign_in(here) == 502


async def test_the_session_key(here: World) -> None:
    """With another key old cookies are nobody's: one signs in again, no page breaks, and deliveries go on."""
    client = {"github_client_id": "client", "github_client_secret": "s3cr3t-of-the-client"}
    before, after = (
        build_web(settings_of(here, SECRET, session_key=key, **client), here.line.pool)
        for key in ("0f1e2d3c4b5a69788796a5b4c3d2e1f0", "f0e1d2c3b4a5968778695a4b3c2d1e0f")
    )
    cookies = {before[COOKIES].name: before[COOKIES].seal_identity(Identity(7, "learner-one"))}
    found = []
    for app in (before, after):
        async with TestClient[web.Request, web.Application](TestServer(app), cookies=cookies) as browser:
            page = await browser.get("/", allow_redirects=False)
            found.append((page.status, "learner-one" in await page.text()))
            here.hook.url = str(browser.make_url("/webhook"))
            assert await here.hook.post("ping", b"{}") == 202
    assert found == [(200, True), (303, False)]

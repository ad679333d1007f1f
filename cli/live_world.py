"""The world of `make live`: the real GitHub, with the operator's own App and account.

The App runs on this machine with an empty database and takes deliveries from GitHub's log, so no public address is
needed. Two repositories are made and deleted again; nothing else is written to.
"""

from __future__ import annotations

import asyncio
import json
import socket
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine
from contextlib import asynccontextmanager, suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, ClassVar

import aiohttp

from cli.connect import github_of
from cli.demo_app import App
from cli.demo_git import Clone, Person
from cli.faults import WRONG_USE, CommandError
from cli.story_world import CHECK_NAME, LAB, TEMPLATE, StoryWorld
from github import deliverylog, health
from github.client import GitHubApp
from github.deliverylog import LoggedDelivery
from github.errors import Forbidden, GitHubError, NotFound, Transient, Unauthorized, UnknownOutcome
from github.manifest import NOWHERE
from github.person import PersonClient
from rules.model import Account, AccountKind, Repo
from settings import Settings, child_environment

# What the token must be able to do (GitHub docs, "Scopes for OAuth apps"): make repositories and push, and delete.
SCOPES = frozenset({"repo", "delete_repo"})
BRANCH = "main"
DESCRIPTION = "Made by Stepgate's `make live`, and deleted by it at the end"
# The clocks of GitHub and of this machine may differ by this; older deliveries are not looked at.
_CLOCKS = timedelta(minutes=5)


class LiveWorld(StoryWorld):
    """GitHub, the App on this machine, and the operator as teacher and learner. `tell` says what to do by hand."""

    # GitHub's log may be minutes late (GitHub docs, "Troubleshooting webhooks").
    look_every: ClassVar[float] = 3.0
    answer_timeout: ClassVar[float] = 420.0
    settle: ClassVar[float] = 15.0
    # Until the operator has clicked, GitHub has copied a repository, the new one is bound without a push (perhaps it
    # never is), a redelivery is in the log.
    install_timeout: ClassVar[float] = 900.0
    copy_timeout: ClassVar[float] = 120.0
    greeting_timeout: ClassVar[float] = 45.0
    redelivery_timeout: ClassVar[float] = 180.0

    def __init__(
        self,
        settings: Settings,
        github: GitHubApp,
        person: PersonClient,
        *,
        app: App,
        http: aiohttp.ClientSession,
        home: Path,
        tell: Callable[[str], None],
    ) -> None:
        super().__init__(app, http)
        self._settings = settings
        self._github = github
        self._person = person
        self._home = home
        self._tell = tell
        self._began = datetime.now(UTC)
        self._name = f"stepgate-live-{self._began:%Y%m%d-%H%M%S}"
        self._git: Person | None = None
        self.created: list[Repo] = []

    @property
    def learner(self) -> PersonClient:
        """The operator, as learner, at GitHub's API."""
        return self._person

    # --------------------------------------------------------------------------------------------- before the story

    async def check(self) -> Account:
        """Whose token it is; CommandError if the token or the App cannot be used. Nothing is made or started yet."""
        try:
            account, scopes = await self._person.me()
        except Unauthorized:
            raise CommandError("LIVE_TOKEN: GitHub does not accept this token", status=WRONG_USE) from None
        if scopes is not None and (missing := SCOPES - scopes):
            raise CommandError(f"LIVE_TOKEN lacks the scopes: {', '.join(sorted(missing))}", status=WRONG_USE)
        if account.kind is not AccountKind.USER:
            raise CommandError(f"LIVE_TOKEN belongs to {account.login}, which is no person", status=WRONG_USE)
        try:
            hook = await health.hook(self._github)
        except Unauthorized:
            raise CommandError("GitHub refuses the App's key; python app.py doctor tells more") from None
        if not hook.url:
            raise CommandError(
                "The App's webhook has no address. GitHub logs deliveries only for an active webhook with one; an "
                f"address where nobody answers will do, such as {NOWHERE}"
            )
        token = self._settings.live_token
        self._git = Person(
            account.login,
            account.login,
            email=f"{account.account_id}+{account.login}@users.noreply.github.com",
            password=token.get_secret_value() if token else "",
        )
        return account

    async def start_app(self) -> str:
        """Start the App on this machine, with an empty database. Returns a line."""
        await self.app.start()
        await self.open_pages()
        return f"the App runs at {self.app.url} and takes deliveries from GitHub's log"

    async def installed(self, account: Account) -> str:
        """Wait until the App is installed on the account: a click that only its owner can make. Returns a line."""
        page = (await self._github.app()).html_url

        async def there() -> bool:
            return any([each.account.account_id == account.account_id async for each in self._github.installations()])

        if not await there():
            self._tell(
                f"Install the App on your account {account.login}; this waits for it. Choose 'All repositories', or\n"
                f"'Only select repositories' and any one of yours; the learner's repository can be added later:\n"
                f"    {page}/installations/new"
            )
            await self._wait(there, self.install_timeout, f"the App was not installed on {account.login}")
        return f"the App is installed on {account.login}"

    async def open_lab(self) -> str:
        """The operator's part: a template repository, `labs add` and `labs publish`. Returns a line."""
        organization = self._settings.live_organization
        try:
            name = f"{self._name}-template"
            making = self._person.create_template(name, organization=organization, description=DESCRIPTION)
            template = await self._made(making, name)
        except (NotFound, Forbidden) as error:
            place = f"the organisation {organization} (LIVE_ORGANIZATION)" if organization else "your account"
            raise CommandError(f"LIVE_TOKEN may not make repositories in {place}: {error}") from None
        await Clone.publish(self._pusher(), TEMPLATE, self._address(template), self._home / "template")
        await self.app.command("labs", "add", template.full_name, "--slug", LAB)
        await self.app.command("labs", "publish", LAB)
        return f"{template.full_name} is lab {LAB}"

    async def enrol(self) -> str:
        """The learner's part: a fork (or a repository from the template), the App on it, a clone. Returns a line."""
        (template,) = self.created
        name = f"{self._name}-learner"
        if self._settings.live_organization:
            making = self._person.fork(template, name)
        else:
            making = self._person.generate(template, name, description=DESCRIPTION)
        repo = await self._made(making, name)
        self.fork = repo.full_name

        async def copied() -> bool:
            return await self._person.branch_head(repo, BRANCH) is not None

        await self._wait(copied, self.copy_timeout, f"GitHub did not copy the template to {repo.full_name}")
        await self._cover(repo)
        if await self._answered(self.greeting_timeout):
            await asyncio.sleep(self.settle)  # a push of GitHub's own first commit may be under way
            told = f"is bound to session {self.session_url.rpartition('/')[2]}"
        else:
            told = "will be bound by its first push"
        self._clone = await Clone.of(self._pusher(), self._address(repo), self._home / "learner")
        return f"{repo.full_name} {told}"

    async def _made(self, making: Coroutine[Any, Any, Repo], name: str) -> Repo:
        """Let GitHub make a repository, and remember it for the end: also when we are interrupted meanwhile."""
        task = asyncio.create_task(making)
        try:
            await asyncio.wait({task})
        finally:
            if not task.done():  # interrupted: GitHub may be making it at this moment
                await asyncio.wait({task})
            if task.exception() is None:
                self.created.append(task.result())
        try:
            return task.result()
        except UnknownOutcome as error:
            where = f"{self._settings.web_url}/{self._settings.live_organization or self._pusher().login}/{name}"
            raise CommandError(f"GitHub's answer was lost: see whether {where} is there. {error}") from None

    async def _cover(self, repo: Repo) -> None:
        """Wait until the App may see the learner's repository."""

        async def covered() -> bool:
            return await self._github.installation_of(repo.full_name) is not None

        if not await covered():
            page = (await self._github.app()).html_url
            self._tell(
                f"Let the App see {repo.full_name}; this waits for it. 'Only select repositories' is enough:\n"
                f"    {page}/installations/new"
            )
            await self._wait(covered, self.install_timeout, f"the App was not installed on {repo.full_name}")

    # -------------------------------------------------------------------------------------------------- in the story

    async def delivered(self) -> None:
        """Nothing tells whether GitHub has sent everything: the answer is waited for."""

    async def redeliver(self, head: str) -> None:
        """Let GitHub send the push delivery of this head once more, and wait until the log has the second attempt."""
        first = await self._push_delivery(head)
        await deliverylog.redeliver(self._github, first.delivery_id)

        async def again() -> bool:
            return any(
                [each.guid == first.guid and each.delivery_id != first.delivery_id async for each in self._log()]
            )

        await self._wait(again, self.redelivery_timeout, f"GitHub did not redeliver {first.guid}")

    async def _push_delivery(self, head: str) -> LoggedDelivery:
        async for entry in self._log():
            if entry.event == "push" and entry.repository_id in (None, self.created[-1].repo_id):
                push = json.loads(await deliverylog.payload(self._github, entry.delivery_id))
                if push["after"] == head and push["repository"]["id"] == self.created[-1].repo_id:
                    return entry
        raise CommandError(f"GitHub's delivery log has no push of {head}")

    async def _log(self) -> AsyncIterator[LoggedDelivery]:
        """What GitHub has sent or tried to send since we began, the newest first."""
        async for page in deliverylog.pages(self._github):
            for entry in page:
                if entry.delivered_at < self._began - _CLOCKS:
                    return
                yield entry

    # --------------------------------------------------------------------------------------------------- afterwards

    async def clean_up(self) -> list[str]:
        """Delete what was made, the newest first. Returns a line for each that is still there, with its address."""
        left = []
        while self.created:
            repo = self.created.pop()
            try:
                await self._person.delete(repo)
            except GitHubError as error:
                left.append(f"{self._settings.web_url}/{repo.full_name}/settings: {error}")
        return left

    # ------------------------------------------------------------------------------------------------------- details

    def _pusher(self) -> Person:
        if self._git is None:
            raise RuntimeError("check() comes first")
        return self._git

    def _address(self, repo: Repo) -> str:
        return f"{self._settings.web_url}/{repo.full_name}.git"

    async def _wait(self, holds: Callable[[], Awaitable[bool]], patience: float, failure: str) -> None:
        """Ask again and again until it holds; CommandError after `patience` seconds."""
        end = time.monotonic() + patience
        while True:
            with suppress(Transient):  # the next try may work
                if await holds():
                    return
            if time.monotonic() > end:
                raise CommandError(f"{failure} within {patience:.0f} s")
            await asyncio.sleep(self.look_every)


@asynccontextmanager
async def live_world(
    settings: Settings, home: Path, dsn: str, *, tell: Callable[[str], None]
) -> AsyncIterator[LiveWorld]:
    """Start the App on the empty database `dsn`, with all files in `home`; stop it at the end. Cleans nothing up."""
    browser = aiohttp.ClientSession(cookie_jar=aiohttp.CookieJar(unsafe=True))  # unsafe: also for 127.0.0.1
    api = aiohttp.ClientSession(cookie_jar=aiohttp.DummyCookieJar())
    if settings.live_token is None:
        raise RuntimeError("settings are those of make live")
    async with browser as http, api, github_of(settings) as github:
        person = PersonClient(api, api_url=settings.github_api_url, token=settings.live_token)
        app = App(home, _environment(settings, dsn), pages=("serve", "--poll"), others=())
        here = LiveWorld(settings, github, person, app=app, http=http, home=home, tell=tell)
        try:
            yield here
        finally:
            await app.stop()


def _environment(settings: Settings, dsn: str) -> dict[str, str]:
    """The App's settings: of the operator's only what names the App and its GitHub; never the token."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    return child_environment(
        DATABASE_URL=dsn,
        PORT=str(port),
        PUBLIC_URL=f"http://127.0.0.1:{port}",
        GITHUB_API_URL=settings.github_api_url,
        GITHUB_WEB_URL=settings.web_url,
        GITHUB_APP_ID=str(settings.app_id()),
        GITHUB_PRIVATE_KEY=settings.private_key(),
        CHECK_NAME=CHECK_NAME,
        LOG_FORMAT="json",
        PYTHONUNBUFFERED="1",
    )

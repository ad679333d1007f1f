"""A setup that is served, with a GitHub that has no App yet and browsers for it: tests of /setup."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

from aiohttp import web
from yarl import URL

from github.manifest import Registered, read_template
from sandbox import Sandbox
from tests.support.clicking import Clicker, clicking
from web.setup import build_setup
from web.setup_form import Choice, Known
from web.setup_state import NotKeptError, Setup

TEMPLATE = read_template((Path(__file__).parents[2] / "app.yml").read_text(encoding="utf-8"))
CREATE = "Create it on GitHub"


class Keeper:
    """Remembers what it is given to keep."""

    def __init__(self) -> None:
        self.kept: list[tuple[Registered, Choice]] = []
        self.trouble: str | None = None
        self.fails = ""

    def problem(self) -> str | None:
        """What a test wants."""
        return self.trouble

    def keep(self, registered: Registered, choice: Choice) -> Sequence[str]:
        """Remember."""
        if self.fails:
            raise NotKeptError(self.fails)
        self.kept.append((registered, choice))
        return ".env", "key.pem"

    def lines(self, registered: Registered, choice: Choice) -> Sequence[str]:
        """Two lines, one with what would be markup."""
        return [f"GITHUB_APP_ID={registered.app_id}", "SESSION_KEY=<b>&amp;"]


class World:
    """A sandbox without App, a setup at `root` and its clock."""

    def __init__(self, sandbox: Sandbox, stack: AsyncExitStack) -> None:
        self.sandbox = sandbox
        self.stack = stack
        self.keeper = Keeper()
        self.now = 1_000_000.0
        self.setup = Setup(
            TEMPLATE, Known(sandbox.url, sandbox.api_url), "", self.keeper, clock=lambda: self.now, linger=0.0
        )
        self.app = build_setup(self.setup)

    async def start(self) -> None:
        """Serve the setup."""
        runner = web.AppRunner(self.app, access_log=None)
        await runner.setup()
        self.stack.push_async_callback(runner.cleanup)
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        self.setup.here = f"http://127.0.0.1:{runner.addresses[0][1]}"

    async def stranger(self, *stops: str) -> Clicker:
        """A browser that has seen nothing; redirects to `stops` are not followed."""
        return await self.stack.enter_async_context(clicking(*stops))

    async def operator(self, *stops: str) -> Clicker:
        """A browser that opened the link, and is signed in to GitHub."""
        browser = await self.stranger(*stops)
        await browser.open(f"{self.sandbox.url}/login")
        await browser.press("Sign in as octo-staff")
        await browser.open(self.setup.link)
        return browser

    async def to_github(self, browser: Clicker, **typed: str) -> None:
        """Fill in the form and go to GitHub's page."""
        await browser.press("Go on", {"name": "Stepgate-test", **typed})
        await browser.press(CREATE)

    async def answer(self, browser: Clicker, **typed: str) -> URL:
        """Go through GitHub's page; returns where GitHub sends the browser, which has not gone there."""
        browser.stops = (f"{self.setup.here}/setup/created",)
        await self.to_github(browser, **typed)
        await browser.press("Create GitHub App for " + typed.get("organization", "octo-staff"))
        browser.stops = ()
        return browser.address


@asynccontextmanager
async def setting_up(folder: Path) -> AsyncIterator[World]:
    """A setup that is served, beside a sandbox with `octo-staff`, who owns the organisation `octo-course`."""
    async with AsyncExitStack() as stack:
        sandbox = await stack.enter_async_context(Sandbox(folder / "github", registered=False))
        sandbox.add_account("octo-staff")
        sandbox.add_account("octo-course", kind="Organization")
        sandbox.add_member("octo-course", "octo-staff")
        world = World(sandbox, stack)
        await world.start()
        yield world

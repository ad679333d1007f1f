"""A real browser at the running App: contexts of people, and whatever a page complains about.

Import it only where playwright is there (tests/browser).
"""

from __future__ import annotations

import re
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

from playwright.async_api import Browser, BrowserContext, ConsoleMessage, Dialog, Page, ViewportSize

from tests.support.browser_gate import ROOT, required
from tests.support.line import Line
from web.cookies import COOKIES, Identity

PHONE = ViewportSize(width=390, height=844)
AXE = ROOT / ".venv" / "share" / "axe"
#: What a browser says about an answer that is an error; whether it should be one is for each test to say.
_EXPECTED = re.compile(r"Failed to load resource: the server responded with a status of 4\d\d")
#: What accessibility law and good practice ask for, as axe-core names it.
_RULES = ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"]


class Visits:
    """Browsers of people at one line; `complaints`: what any of their pages said that it should not.

    Complaints are: a dialog, an exception of a script, an error or warning in the console (a violation of the content
    security policy is one).
    """

    def __init__(self, browser: Browser) -> None:
        self._browser = browser
        self._contexts: list[BrowserContext] = []
        self.complaints: list[str] = []

    async def somebody(self, **options: Any) -> Page:
        """A page of a browser that has seen nothing. `options`: of playwright's new_context."""
        context = await self._browser.new_context(**options)
        context.set_default_timeout(15_000)
        self._contexts.append(context)
        context.on("page", self._watch)
        return await context.new_page()

    async def signed_in(self, line: Line, login: str, **options: Any) -> Page:
        """A page of somebody who has signed in to the App (not to the sandbox)."""
        page = await self.somebody(**options)
        account = line.sandbox.account(login)
        cookies = line.web[COOKIES]
        value = cookies.seal_identity(Identity(account.id, login))
        await page.context.add_cookies([{"name": cookies.name, "value": value, "url": line.pages}])
        return page

    async def close(self) -> None:
        """Close what was opened."""
        for context in self._contexts:
            await context.close()

    def _watch(self, page: Page) -> None:
        page.on("console", self._console)
        page.on("pageerror", lambda error: self.complaints.append(f"{page.url}: {error}"))
        page.on("dialog", self._dialog)

    def _console(self, message: ConsoleMessage) -> None:
        if message.type in {"error", "warning"} and not _EXPECTED.match(message.text):
            self.complaints.append(f"{message.location.get('url')}: {message.text}")

    async def _dialog(self, dialog: Dialog) -> None:
        self.complaints.append(f"dialog: {dialog.message}")
        await dialog.dismiss()


@asynccontextmanager
async def visits(browser: Browser) -> AsyncIterator[Visits]:
    """Browsers of people; at the end none of their pages may have complained."""
    all_of_them = Visits(browser)
    try:
        yield all_of_them
        assert all_of_them.complaints == []
    finally:
        await all_of_them.close()


# ------------------------------------------------------------------------------------------------------- accessibility


def axe_script(skip: Callable[[str], Any], fail: Callable[[str], Any]) -> str:
    """The text of axe-core, which .ci/browser has fetched; otherwise the test is skipped, or fails if it has to run."""
    found = sorted(AXE.glob("axe-*.min.js"))
    if not found:
        (fail if required() else skip)("axe-core is not there; to fetch it (with npm): sh .ci/browser axe")
    return found[-1].read_text(encoding="utf-8")


async def violations(page: Page, script: str, *rules: str) -> list[str]:
    """What axe-core finds wrong on the page as it is now, a line for each element. `rules`: those only, not all.

    The script comes in through the browser's debugger, so that the page's own policy stays as it is.
    """
    if not await page.evaluate("() => 'axe' in window"):
        await page.evaluate(script)
    only = {"type": "rule", "values": rules} if rules else {"type": "tag", "values": _RULES}
    found: dict[str, Any] = await page.evaluate(
        """(only) => axe.run(document, {
            runOnly: only, resultTypes: ['violations'], elementRef: false, iframes: false, preload: false,
        })""",
        only,
    )
    assert found["passes"], "axe-core looked at nothing"
    return [
        f"{page.url} {rule['id']}: {node['target']} {node['failureSummary']}"
        for rule in found["violations"]
        for node in rule["nodes"]
    ]


async def too_wide(page: Page) -> list[str]:
    """The elements that make the page wider than the window; none if it need not be scrolled sideways."""
    found: list[str] = await page.evaluate(
        """() => {
            const {clientWidth: width, scrollWidth: needed} = document.documentElement;
            if (needed <= width && innerWidth <= width) return [];
            const wide = [...document.body.querySelectorAll('*')].filter(
                (each) => each.getBoundingClientRect().right > width);
            return [`${needed} or ${innerWidth} > ${width}`, ...wide.map((each) => each.outerHTML.slice(0, 80))];
        }"""
    )
    return found

"""What people do in a browser at the App and at the sandbox's GitHub, click by click."""

from __future__ import annotations

from playwright.async_api import Page, expect

from tests.support.line import Line


async def enter_github(page: Page, login: str) -> None:
    """On the sandbox's sign-in page: be this person, and agree if the App asks for it the first time."""
    await page.get_by_role("button", name=f"Sign in as {login}", exact=True).click()
    await page.get_by_role("button", name="Authorize").click()


async def fork(page: Page) -> None:
    """From the lab's page: fork the template under the name that is proposed."""
    await page.get_by_role("link", name="Fork it on GitHub").click()
    await page.get_by_role("button", name="Create fork").click()


async def install(page: Page, login: str, repository: str) -> None:
    """From the lab's page: install the App on one's own account, for this repository only."""
    await page.get_by_role("link", name="Install the App").click()
    if await page.get_by_role("link", name=login, exact=True).count():
        await page.get_by_role("link", name=login, exact=True).click()
    await page.get_by_label("Only select repositories").check()
    await page.get_by_label(repository).check()
    await page.get_by_role("button", name="Install", exact=True).click()


async def approve(page: Page, reason: str) -> None:
    """On a session's page as staff: approve the step that waits."""
    form = page.locator("form", has=page.get_by_role("heading", name="A step", exact=True))
    await form.get_by_label("What").select_option("approve")
    await form.get_by_label("Reason").fill(reason)
    await form.get_by_role("button", name="Decide").click()


async def heading(page: Page, text: str) -> None:
    """Wait until the page's one main heading says this."""
    await expect(page.get_by_role("heading", level=1)).to_have_text(text)


async def live(page: Page) -> None:
    """Wait until the page hears of changes."""
    await expect(page.locator("footer [data-live-state]")).to_have_text("Live")


def check_conclusion(line: Line, repository: str, sha: str) -> str:
    """The conclusion of the newest check-run on a head, as GitHub shows it."""
    return str(max(line.sandbox.check_runs(repository, sha), key=lambda run: int(run["id"]))["conclusion"])

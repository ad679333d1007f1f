"""A real Chromium for all tests, a running line for all of a file; each test has contexts of its own."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import pytest_asyncio

from tests.support.browser_gate import chromium, missing
from tests.support.learners import open_course
from tests.support.line import Line, running_line

if TYPE_CHECKING:
    from playwright.async_api import Browser

    from tests.support.browsers import Visits

STAFF = "octo-staff"


class LeftOut(pytest.Module):
    """A file of browser tests on a machine that cannot run them."""

    def collect(self) -> Iterable[pytest.Item | pytest.Collector]:
        """Skip with the reason and its remedy."""
        pytest.skip(missing(), allow_module_level=True)


def pytest_pycollect_makemodule(module_path: Path, parent: pytest.Collector) -> pytest.Module | None:
    """Leave files out whole where playwright, which they import, or a browser is missing."""
    return LeftOut.from_parent(parent, path=module_path) if missing() else None


#: Playwright leaves these out for pages to behave as tests expect; only the last such list on a command line counts.
_PLAYWRIGHT_LEAVES_OUT = (
    "AimEnabled", "AvoidCorsURLLoaderRestartOnRedirect", "AvoidUnnecessaryBeforeUnloadCheckSync",
    "DestroyProfileOnBrowserClose", "HttpsFirstBalancedModeAutoEnable", "HttpsUpgrades", "LensOverlay", "MediaRouter",
    "NetworkTimeServiceQuerying", "OptimizationHints", "PaintHolding", "PreconnectToSearch",
    "ThirdPartyStoragePartitioning",
)  # fmt: skip
#: The suggestions under the address bar are pages of their own, made for each context though nobody sees them: measured
#: two seconds of processor time each. A process in reserve for a page that never comes costs a quarter of one.
_NEVER_SEEN = ("WebUIOmniboxPopup", "WebUIOmniboxAimPopup", "SpareRendererForSitePerProcess")


@pytest_asyncio.fixture(scope="session", loop_scope="session", name="browser")
async def _browser() -> AsyncIterator[Browser]:
    """The system's Chromium, one for all files: its start and that of its driver cost more than most tests.

    Without its sandbox: as root it would refuse to start, in many containers it could not, and all that it opens is
    ours. Containers have little of /dev/shm, too.
    """
    from playwright.async_api import async_playwright, expect

    expect.set_options(timeout=15_000)  # milliseconds: for a busy machine
    async with async_playwright() as playwright:
        without = ",".join([*_PLAYWRIGHT_LEAVES_OUT, *_NEVER_SEEN])
        arguments = ["--no-sandbox", "--disable-dev-shm-usage", "--disable-gpu", f"--disable-features={without}"]
        browser = await playwright.chromium.launch(executable_path=chromium(), args=arguments)
        yield browser
        await browser.close()


@pytest_asyncio.fixture(loop_scope="session", name="people")
async def _people(browser: Browser) -> AsyncIterator[Visits]:
    """Browsers of people, whose pages may complain of nothing."""
    from tests.support.browsers import visits

    async with visits(browser) as people:
        yield people


@pytest_asyncio.fixture(scope="module", loop_scope="session", name="line")
async def _line(module_database: str) -> AsyncIterator[Line]:
    """A running App where people sign in with the sandbox's GitHub, and octo-staff is staff."""
    async with running_line(module_database, sign_in=True) as line:
        line.staff |= {line.sandbox.add_account(STAFF).id}
        await line.restart()
        await open_course(line)
        yield line

"""A running line and a real Chromium for all tests of a file; each test has browsers of its own."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import pytest_asyncio

from tests.support.browser_gate import chromium, missing
from tests.support.learners import open_course
from tests.support.line import Line, running_line
from tests.support.postgres import new_database

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


@pytest_asyncio.fixture(scope="module", loop_scope="module", name="browser")
async def _browser() -> AsyncIterator[Browser]:
    """The system's Chromium.

    Without its sandbox: as root it would refuse to start, in many containers it could not, and all that it opens is
    ours. Containers have little of /dev/shm, too.
    """
    from playwright.async_api import async_playwright, expect

    expect.set_options(timeout=15_000)  # milliseconds: for a busy machine
    async with async_playwright() as playwright:
        arguments = ["--no-sandbox", "--disable-dev-shm-usage", "--disable-gpu"]
        browser = await playwright.chromium.launch(executable_path=chromium(), args=arguments)
        yield browser
        await browser.close()


@pytest_asyncio.fixture(loop_scope="module", name="people")
async def _people(browser: Browser) -> AsyncIterator[Visits]:
    """Browsers of people, whose pages may complain of nothing."""
    from tests.support.browsers import visits

    async with visits(browser) as people:
        yield people


@pytest.fixture(scope="module", name="module_database")
def _module_database(postgres_dsn: str, template_database: str) -> Iterator[str]:
    """Address of an empty, migrated database for all tests of a file."""
    with new_database(postgres_dsn, template_database) as dsn:
        yield dsn


@pytest_asyncio.fixture(scope="module", loop_scope="module", name="line")
async def _line(module_database: str) -> AsyncIterator[Line]:
    """A running App where people sign in with the sandbox's GitHub, and octo-staff is staff."""
    async with running_line(module_database, sign_in=True) as line:
        line.staff |= {line.sandbox.add_account(STAFF).id}
        await line.restart()
        await open_course(line)
        yield line

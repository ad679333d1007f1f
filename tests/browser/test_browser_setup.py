"""From nothing to a registered App, in a real browser: /setup, GitHub's page, and what is kept."""

from __future__ import annotations

import stat
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio
from dotenv import dotenv_values
from playwright.async_api import Page, expect

from cli.setup import Credentials
from settings import load
from tests.support.browser_steps import heading
from tests.support.browsers import PHONE, Visits, axe_script, too_wide, violations
from tests.support.line import running_line
from tests.support.setting_up import World, setting_up
from web.site import SITE

pytestmark = pytest.mark.asyncio(loop_scope="session")


@pytest_asyncio.fixture(loop_scope="session", name="world")
async def _world(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[World]:
    """A Stepgate without App, which keeps credentials in a folder of its own."""
    folder = tmp_path / "stepgate"
    folder.mkdir(mode=0o700)
    monkeypatch.chdir(folder)
    async with setting_up(tmp_path) as world:
        world.setup.keeper = Credentials(folder, load("setup"))
        yield world


async def operator(world: World, people: Visits, **options: object) -> Page:
    """Whoever reads the terminal, signed in to GitHub."""
    page = await people.somebody(**options)
    await page.goto(f"{world.sandbox.url}/login")
    await page.get_by_role("button", name="Sign in as octo-staff").click()
    return page


async def create(page: Page, owner: str) -> None:
    """Through the form and GitHub's page."""
    await page.get_by_label("Name of the App").fill("Stepgate-test")
    if owner != "octo-staff":
        await page.get_by_label("An organisation that I own").check()
        await page.get_by_label("Name of the organisation").fill(owner)
    await page.get_by_role("button", name="Go on").click()
    await heading(page, "Create Stepgate-test")
    await page.get_by_role("button", name="Create it on GitHub").click()
    await page.get_by_role("button", name=f"Create GitHub App for {owner}").click()
    await heading(page, "Stepgate-test is created")


@pytest.mark.parametrize(("owner", "java_script_enabled"), [("octo-staff", True), ("octo-course", False)])
async def test_an_app_is_set_up(owner: str, java_script_enabled: bool, world: World, people: Visits) -> None:
    """The link, a form, GitHub's button: the credentials are in a file for us only, and the pages are gone."""
    page = await operator(world, people, java_script_enabled=java_script_enabled)
    await page.goto(world.setup.link)
    await create(page, owner)

    env = Path(".env")
    assert stat.S_IMODE(env.stat().st_mode) == 0o600
    kept = dotenv_values(env)
    assert kept["GITHUB_APP_ID"] == str(world.sandbox.app_id)
    assert kept["GITHUB_CLIENT_SECRET"] == world.sandbox.client_secret
    assert ("STAFF" in kept) == (owner == "octo-staff")
    assert "GITHUB_CLIENT_SECRET" not in await page.content()
    for address in ("/setup", "/setup/summary", "/setup/created"):
        answer = await page.goto(f"{world.setup.here}{address}")
        assert answer is not None
        assert answer.status == 404


async def test_only_the_link_opens_it_and_only_once(world: World, people: Visits) -> None:
    """Without the link there is nothing; a second browser with the same link finds nothing either."""
    stranger = await people.somebody()
    await stranger.goto(f"{world.setup.here}/setup")
    await heading(stranger, "Nothing here yet")
    link = world.setup.link
    page = await operator(world, people)
    await page.goto(link)
    await heading(page, "Set up Stepgate")
    await stranger.goto(link)
    await heading(stranger, "Nothing here yet")


async def test_a_wrong_answer_is_said_beside_its_field(world: World, people: Visits) -> None:
    """The field is marked for screen readers as well, and what was typed is still there."""
    page = await operator(world, people)
    await page.goto(world.setup.link)
    await page.get_by_label("Name of the App").fill("Stepgate-test")
    await page.get_by_label("Public address of this Stepgate").fill("not an address")
    await page.get_by_label("Public address of this Stepgate").press("Enter")

    field = page.get_by_label("Public address of this Stepgate")
    assert await field.get_attribute("aria-invalid") == "true"
    assert await field.input_value() == "not an address"
    assert await page.get_by_label("Name of the App").input_value() == "Stepgate-test"


async def test_everybody_can_set_up(world: World, people: Visits) -> None:
    """axe-core finds nothing on any page of the way, light or dark, and a phone need not scroll sideways."""
    axe = axe_script(pytest.skip, pytest.fail)
    page = await operator(world, people, viewport=PHONE, is_mobile=True)
    found = []

    async def look() -> None:
        await page.emulate_media(color_scheme="light")
        found.extend([*await violations(page, axe), *await too_wide(page)])
        await page.emulate_media(color_scheme="dark")
        found.extend(await violations(page, axe, "color-contrast"))

    await page.goto(f"{world.setup.here}/setup")
    await look()
    await page.goto(world.setup.link)
    await look()
    await page.get_by_label("GitHub", exact=True).fill("ftp://wrong")
    await page.get_by_label("Name of the App").fill("Stepgate-test")
    await page.get_by_role("button", name="Go on").click()
    await look()
    await page.get_by_label("GitHub", exact=True).fill(world.sandbox.url)
    await page.get_by_role("button", name="Go on").click()
    await heading(page, "Create Stepgate-test")
    await look()
    await page.goto(f"{world.setup.here}/setup/created?code=x&state=y")
    await look()
    await page.goto(f"{world.setup.here}/setup")
    await create(page, "octo-staff")
    await look()
    assert found == []


async def test_the_terminals_link_opens_the_class_once(fresh_database: str, people: Visits) -> None:
    """While nobody can sign in with GitHub, whoever reads the terminal is let in, and nobody after them."""
    axe = axe_script(pytest.skip, pytest.fail)
    told: list[str] = []
    async with running_line(fresh_database) as line:
        line.web[SITE].local_link.announce(line.pages, told.append)
        page = await people.somebody()
        await page.goto(line.pages)
        await heading(page, "Open the link in the terminal")
        assert await violations(page, axe) == []

        await page.goto(told[0])
        await heading(page, "Class")
        await expect(page.get_by_role("banner")).to_contain_text("This machine staff")
        assert await violations(page, axe) == []
        stranger = await people.somebody()
        await stranger.goto(told[0])
        await heading(stranger, "This link does not work")
        assert len(told) == 2

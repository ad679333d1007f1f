"""web/setup.py: the way from a one-time link to a registered App, with a browser and a GitHub that are real."""

from __future__ import annotations

import html
import json
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.support.setting_up import CREATE, TEMPLATE, World, setting_up


@pytest.fixture(name="world")
async def _world(tmp_path: Path) -> AsyncIterator[World]:
    async with setting_up(tmp_path) as world:
        yield world


# ------------------------------------------------------------------------------------------------------ the whole way


async def test_from_the_link_to_an_app(world: World) -> None:
    """The link, two pages here, one at GitHub: then the App exists, its credentials are kept, and the rest is told."""
    browser = await world.operator()
    assert browser.status == 200
    assert "token" not in str(browser.address)

    await browser.press("Go on", {"name": "Stepgate-test", "public_url": "http://127.0.0.1:9999"})
    assert browser.address.path == "/setup/summary"
    await browser.press(CREATE)
    assert str(browser.address).startswith(world.sandbox.url)
    assert not world.keeper.kept
    await browser.press("Create GitHub App for octo-staff")

    [(registered, choice)] = world.keeper.kept
    assert registered.app_id == world.sandbox.app_id
    assert registered.private_key.get_secret_value() == world.sandbox.private_key_pem
    assert registered.client_secret.get_secret_value() == world.sandbox.client_secret
    assert registered.webhook_secret is not None
    assert registered.webhook_secret.get_secret_value() == world.sandbox.webhook_secret
    assert choice.to_file
    assert world.sandbox.webhook_url == "http://127.0.0.1:9999/webhook"
    assert world.sandbox.permissions == TEMPLATE.fields["default_permissions"]
    assert world.setup.written.is_set()
    for told in ("app.py doctor", "app.py labs add OWNER/REPO", "http://127.0.0.1:9999/join/LAB", ".env"):
        assert told in browser.text
    for secret in (registered.client_secret, registered.webhook_secret, registered.private_key):
        assert secret.get_secret_value() not in html.unescape(browser.html)
    assert (
        browser.links["Install it on the lab's template"] == f"{world.sandbox.url}/apps/stepgate-test/installations/new"
    )
    assert "no-store" in browser.headers["Cache-Control"]


async def test_an_organisations_app(world: World) -> None:
    """An organisation's App is made on its page; as GitHub does not say who the person is, STAFF is explained."""
    browser = await world.operator()

    await browser.press("Go on", {"owner": "organization", "organization": "octo-course", "name": "Course gate"})
    await browser.press(CREATE)
    await browser.press("Create GitHub App for octo-course")

    [(registered, _)] = world.keeper.kept
    assert (registered.owner.login, registered.owner.kind) == ("octo-course", "Organization")
    assert "set STAFF to your account's number" in browser.text


async def test_without_a_public_address_it_polls(world: World) -> None:
    """With the field left empty deliveries go nowhere, and the pages say how they are fetched instead."""
    browser = await world.operator()

    await browser.press("Go on", {"name": "Stepgate-test"})
    assert "an address that does not exist" in browser.text
    await browser.press(CREATE)
    await browser.press("Create GitHub App for octo-staff")

    assert world.sandbox.webhook_url == "https://stepgate.invalid/webhook"
    assert "serve --poll" in browser.text


async def test_lines_instead_of_a_file(world: World) -> None:
    """Who sets variables elsewhere sees them once, as text; then nothing is served any more, and nothing is started."""
    browser = await world.operator()
    address = await world.answer(browser, keep="lines")

    await browser.open(str(address))

    assert f"GITHUB_APP_ID={world.sandbox.app_id}" in browser.text
    assert "SESSION_KEY=<b>&amp;" in browser.text
    assert "b" not in browser.tags
    assert (world.keeper.kept, world.setup.written.is_set()) == ([], False)
    for path in ("/setup", "/setup/summary", "/setup/created"):
        await browser.open(f"{world.setup.here}{path}")
        assert browser.status == 404


async def test_what_cannot_be_written_is_not_lost(world: World) -> None:
    """GitHub gives credentials once: if writing fails at last, they are shown with the reason."""
    world.keeper.fails = "The disk is full."
    browser = await world.operator()
    address = await world.answer(browser)

    await browser.open(str(address))

    assert "The disk is full." in browser.text
    assert f"GITHUB_APP_ID={world.sandbox.app_id}" in browser.text
    assert not world.setup.written.is_set()


async def test_workflow_is_asked_for_only_if_wanted(world: World) -> None:
    """The box adds the permission and the event, on the summary and at GitHub."""
    browser = await world.operator()
    await browser.press("Go on", {"name": "Stepgate-test", "workflow": "yes"})
    assert "workflow_run" in browser.text
    await browser.press(CREATE)
    await browser.press("Create GitHub App for octo-staff")

    assert world.sandbox.permissions["actions"] == "read"


async def test_every_permission_and_its_reason_is_shown(world: World) -> None:
    """What is asked for and why stands on the form, word for word as in app.yml."""
    browser = await world.operator()

    for item in (*TEMPLATE.permissions, *TEMPLATE.events):
        if not item.optional:
            assert item.name in browser.text
            assert item.reason in browser.text


# ----------------------------------------------------------------------------------------------------------- the form


@pytest.mark.parametrize(
    ("field", "typed", "told"),
    [
        ("name", "", "Give the App a name"),
        ("name", "x" * 35, "at most 34 characters"),
        ("name", "<script>", "Use letters"),
        ("github", "ftp://github.example.com", "not an address"),
        ("github", "http://github.example.com", "https://"),
        ("github", "https://user@github.example.com", "host only"),
        ("github", "https://github.example.com/x", "host only"),
        ("github", "https://github.example.com; script-src *", "not an address"),
        ("public_url", "https://gate.example.org/path", "host only"),
        ("public_url", "http://gate.example.org", "https://"),
        ("organization", "", "organisation's name"),
        ("organization", "octo/../course", "organisation's name"),
    ],
)
async def test_what_is_wrong_is_told_beside_its_field(world: World, field: str, typed: str, told: str) -> None:
    """A wrong field keeps what was typed, is marked for screen readers and says what to type instead."""
    browser = await world.operator()
    sent: dict[str, str | list[str]] = {
        "name": "Stepgate-test",
        "owner": "organization",
        "organization": "octo-course",
        field: typed,
    }

    await browser.press("Go on", sent)

    assert browser.status == 422
    assert told in browser.text
    assert f'aria-describedby="{field}-help {field}-wrong" aria-invalid="true"' in browser.html
    assert dict(browser.forms[0].fields)[field] == typed
    assert "<script>" not in browser.html
    assert world.setup.waiting() is None


async def test_a_folder_that_cannot_hold_secrets_is_told_before_github_is_asked(world: World) -> None:
    """The reason stands on the form; choosing lines instead goes on."""
    world.keeper.trouble = "Everybody may write into /srv."
    browser = await world.operator()

    await browser.press("Go on", {"name": "Stepgate-test"})
    assert (browser.status, world.setup.waiting()) == (422, None)
    assert "Everybody may write into /srv." in browser.text

    await browser.press("Go on", {"keep": "lines"})
    assert browser.address.path == "/setup/summary"


async def test_what_was_typed_is_still_there_when_one_comes_back(world: World) -> None:
    """ "Change something" shows the form as it was sent."""
    browser = await world.operator()
    await browser.press("Go on", {"name": "Stepgate-kept", "workflow": "yes", "keep": "lines"})
    await browser.follow("Change something")

    fields = dict(browser.forms[0].fields)
    assert (fields["name"], fields["workflow"], fields["keep"]) == ("Stepgate-kept", "yes", "lines")


async def test_ghes_addresses(world: World) -> None:
    """For an Enterprise Server the form goes to its pages, by its own policy, and the API is found below it."""
    browser = await world.operator()

    await browser.press(
        "Go on",
        {
            "name": "Stepgate-test",
            "github": "GitHub.example.com",
            "owner": "organization",
            "organization": "octo-course",
            "public_url": "https://10.0.0.5",
        },
    )

    form = next(each for each in browser.forms if CREATE in each.buttons)
    waiting = world.setup.waiting()
    assert waiting is not None
    choice, state = waiting
    assert choice.wanted.api_url == "https://github.example.com/api/v3"
    assert form.action == f"https://github.example.com/organizations/octo-course/settings/apps/new?state={state}"
    assert "form-action 'self' https://github.example.com" in browser.headers["Content-Security-Policy"].split("; ")
    assert browser.headers["Referrer-Policy"] == "strict-origin"
    manifest = json.loads(dict(form.fields)["manifest"])
    assert manifest["redirect_url"] == f"{world.setup.here}/setup/created"
    assert manifest["hook_attributes"]["url"] == "https://10.0.0.5/webhook"


async def test_nothing_inline_runs(world: World) -> None:
    """Every page forbids what is not a file of ours, and forms go to us and to GitHub only."""
    browser = await world.operator()
    policy = browser.headers["Content-Security-Policy"].split("; ")

    assert "default-src 'none'" in policy
    assert "form-action 'self'" in policy
    assert not any("unsafe" in rule for rule in policy)
    assert " style=" not in browser.html
    assert "<style" not in browser.html

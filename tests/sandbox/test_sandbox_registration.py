"""Registering an App from a manifest, by clicking and from outside; its pages."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import orjson
import pytest

from sandbox import Sandbox, SandboxError
from sandbox.registration import EVENTS, PERMISSIONS
from tests.support.apispec import check_exchange, description
from tests.support.clicking import clicking
from tests.support.githost import ApiClient

BACK = "https://stepgate.example.com/setup/created"
MANIFEST = {
    "name": "Steps of Octo",
    "description": "One <b>push</b>, one verdict",
    "url": "https://stepgate.example.com",
    "public": True,
    "hook_attributes": {"url": "http://127.0.0.1:1/webhook", "active": True},
    "redirect_url": BACK,
    "callback_urls": ["https://stepgate.example.com/auth/callback"],
    "setup_url": "https://stepgate.example.com/setup/installed",
    "default_permissions": {"metadata": "read", "contents": "read", "checks": "write", "statuses": "write"},
    "default_events": ["push", "repository", "status"],
}


def manifest(**changes: Any) -> dict[str, str]:
    """The form of a page that begins the manifest flow; None leaves a field out."""
    fields = {key: value for key, value in (MANIFEST | changes).items() if value is not None}
    return {"manifest": orjson.dumps(fields).decode()}


@pytest.fixture
async def empty(tmp_path: Path, private_key: str) -> AsyncIterator[Sandbox]:
    """A sandbox without an App, with a person who owns an organisation and one who does not."""
    async with Sandbox(tmp_path / "github", private_key_pem=private_key, registered=False) as running:
        running.add_account("octo-course", "Organization")
        running.add_account("octo-staff")
        running.add_account("learner-one")
        running.add_member("octo-course", "octo-staff")
        yield running
        for exchange in running.exchanges:
            if exchange.operation:
                check_exchange(exchange)


@pytest.mark.parametrize(("place", "owner"), [("", "octo-staff"), ("/organizations/octo-course", "octo-course")])
async def test_a_manifest_becomes_an_app(empty: Sandbox, place: str, owner: str) -> None:
    """Sign in, look, "Create GitHub App"; the code is worth the credentials, once."""
    async with clicking(BACK) as browser:
        await browser.post(f"{empty.url}{place}/settings/apps/new?state=s+1", manifest())
        await browser.press("Sign in as octo-staff")
        assert "checks: write" in browser.text
        assert "<b>push</b>" in browser.text
        await browser.press(f"Create GitHub App for {owner}")
        assert browser.address.query["state"] == "s 1"
        api = ApiClient(empty, browser.session)
        path = f"/app-manifests/{browser.address.query['code']}/conversions"
        made = await api.call("POST", path)
        assert (made.status, made.body["slug"], made.body["owner"]["login"]) == (201, "steps-of-octo", owner)
        assert (made.body["client_secret"], made.body["pem"]) == (empty.client_secret, empty.private_key_pem)
        assert made.body["webhook_secret"] == empty.webhook_secret
        assert (await api.call("POST", path)).status == 404
        app = await api.app("GET", "/app")
        assert app.body["permissions"] == MANIFEST["default_permissions"]
        assert (app.body["events"], app.body["external_url"]) == (MANIFEST["default_events"], MANIFEST["url"])
        assert (await api.app("GET", "/app/hook/config")).body["url"] == "http://127.0.0.1:1/webhook"
    assert empty.callback_urls == MANIFEST["callback_urls"]
    assert (empty.setup_url, empty.public, empty.app_id) == (MANIFEST["setup_url"], True, made.body["id"])


async def test_a_code_is_worth_nothing_after_an_hour(empty: Sandbox) -> None:
    """By the sandbox's clock; an unknown code never was."""
    code = empty.new_manifest_code(MANIFEST, "octo-staff")
    empty.clock = lambda: time.time() + 3601
    async with clicking() as browser:
        api = ApiClient(empty, browser.session)
        assert (await api.call("POST", f"/app-manifests/{code}/conversions")).status == 404
        assert (await api.call("POST", "/app-manifests/none/conversions")).status == 404


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"url": None}, '"url" wasn\'t supplied'),
        ({"redirect_url": None}, '"redirect_url" wasn\'t supplied'),
        ({"hook_attributes": {"active": True}}, '"hook_attributes.url" wasn\'t supplied'),
        ({"url": "stepgate.example.com"}, '"url" must be a valid URL'),
        ({"redirect_url": "javascript:alert(1)"}, '"redirect_url" must be a valid URL'),
        ({"callback_urls": ["https://e.example.com/"] * 11}, '"callback_urls"'),
        ({"default_permissions": {"chekcs": "write"}}, "'chekcs' is no permission"),
        ({"default_permissions": {"checks": "all"}}, "checks is 'all'"),
        ({"default_events": ["pushed"]}, "'pushed' is no event"),
        ({"default_events": ["workflow_run"]}, "workflow_run needs the permission 'actions'"),
        ({"name": "n" * 35}, '"name"'),
        ({"public": "yes"}, '"public" is neither true nor false'),
    ],
)
async def test_a_wrong_manifest_is_refused_with_its_problem(
    empty: Sandbox, changes: dict[str, Any], words: str
) -> None:
    """The page names the field; nothing is registered."""
    async with clicking() as browser:
        await browser.post(f"{empty.url}/settings/apps/new", manifest(**changes))
        assert browser.status == 422
        assert words in browser.text
    assert not empty.registered


async def test_no_manifest_at_all_is_refused(empty: Sandbox) -> None:
    """A missing field and text that is no JSON."""
    async with clicking() as browser:
        for fields in ({}, {"manifest": "{"}, {"manifest": "[]"}):
            await browser.post(f"{empty.url}/settings/apps/new", fields)
            assert (browser.status, "manifest" in browser.text) == (422, True)


async def test_only_an_owner_registers_for_an_organisation(empty: Sandbox) -> None:
    """For anybody else the page does not exist."""
    async with clicking(BACK) as browser:
        await browser.post(f"{empty.url}/organizations/octo-course/settings/apps/new", manifest())
        await browser.press("Sign in as learner-one")
        assert browser.status == 404
    assert not empty.registered


async def test_a_manifest_without_a_webhook_makes_an_app_without_deliveries(empty: Sandbox) -> None:
    """Neither a missing nor an inactive hook sends or logs anything."""
    for number, hook in enumerate((None, {"url": "http://127.0.0.1:1/webhook", "active": False})):
        fields = orjson.loads(manifest(hook_attributes=hook, name=f"Quiet {number}")["manifest"])
        empty.new_manifest_code(fields, "octo-staff")
        assert not empty.hook_active
        await empty.install("learner-one", "all")
        assert empty.deliveries == []
        empty.delete_app()


async def test_the_settings_are_the_owners_and_hold_no_secret(empty: Sandbox) -> None:
    """Anybody else finds no such page; deleting the App makes room for another."""
    empty.new_manifest_code(MANIFEST, "octo-staff")
    secrets = (empty.client_secret, empty.webhook_secret, "PRIVATE KEY")
    async with clicking() as owner, clicking() as other:
        for browser, login in ((owner, "octo-staff"), (other, "learner-one")):
            await browser.open(f"{empty.url}/settings/apps/steps-of-octo")
            await browser.press(f"Sign in as {login}")
        assert other.status == 404
        assert "https://stepgate.example.com/auth/callback" in owner.text
        assert not any(secret in owner.html for secret in secrets)
        await owner.press("Delete GitHub App")
        assert not empty.registered
        api = ApiClient(empty, owner.session)
        with pytest.raises(SandboxError, match="no App"):
            api.jwt()


async def test_a_second_app_is_refused_until_the_first_is_deleted(empty: Sandbox) -> None:
    """A sandbox holds one App, and says what to do."""
    empty.new_manifest_code(MANIFEST, "octo-staff")
    async with clicking(BACK) as browser:
        await browser.post(f"{empty.url}/settings/apps/new", manifest(name="Another"))
        await browser.press("Sign in as octo-staff")
        await browser.press("Create GitHub App for octo-staff")
        assert browser.status == 422
        assert "holds one App at a time" in browser.text


async def test_the_public_page_of_a_private_app_is_its_owners(empty: Sandbox) -> None:
    """A public App is shown to anybody with a link to install it."""
    empty.new_manifest_code(MANIFEST, "octo-staff")
    async with clicking() as browser:
        await browser.open(f"{empty.url}/apps/steps-of-octo")
        assert (browser.status, "Install" in browser.links) == (200, True)
        assert "b" not in browser.tags
        await browser.open(f"{empty.url}/github-apps/steps-of-octo")
        assert browser.status == 200
        empty.public = False
        await browser.open(f"{empty.url}/apps/steps-of-octo")
        assert browser.status == 404


def test_permissions_and_events_are_githubs() -> None:
    """The permissions of GitHub's description may stand in a manifest, and no others; every event needs one of them."""
    described = set(description()["components"]["schemas"]["app-permissions"]["properties"])
    assert described == PERMISSIONS
    assert set(EVENTS.values()) - PERMISSIONS == set()

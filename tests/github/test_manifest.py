"""github/manifest.py: what app.yml asks for, what GitHub is sent, and the exchange of the code."""

from __future__ import annotations

import json
import socket
from pathlib import Path
from typing import Any

import aiohttp
import pytest
import yaml
from aiohttp import web
from pytest_aiohttp import AiohttpServer

from github.errors import Fault
from github.manifest import (
    NOWHERE,
    NotExchangedError,
    Wanted,
    api_url_of,
    asked_for,
    exchange,
    manifest_for,
    read_template,
)

TEXT = (Path(__file__).parents[2] / "app.yml").read_text(encoding="utf-8")
TEMPLATE = read_template(TEXT)
WANTED = Wanted(
    web_url="https://github.com",
    api_url="https://api.github.com",
    here="http://127.0.0.1:8000",
    name="Stepgate-abcd",
    public_url="https://gate.example.org",
)
CODE = "0a1b2c3d4e5f60718293a4b5c6d7e8f901234567"
ANSWER = {
    "id": 7,
    "slug": "stepgate-abcd",
    "name": "Stepgate-abcd",
    "html_url": "https://github.example.com/github-apps/stepgate-abcd",
    "owner": {"id": 31, "login": "octo-staff", "type": "User"},
    "client_id": "Iv23liexample",
    "client_secret": "a-client-secret-of-github",
    "webhook_secret": "a-hook-secret-of-github",
    "pem": "-----BEGIN RSA PRIVATE KEY-----\nMIIB\n-----END RSA PRIVATE KEY-----\n",
    "unknown": {"fields": ["are", "ignored"]},
}

# ------------------------------------------------------------------------------------------------------ what is asked


def test_the_reasons_in_the_comments_belong_to_what_yaml_reads() -> None:
    """Permissions and events found with their reasons are those that YAML reads from the same file, no more or less."""
    fields = yaml.safe_load(TEXT)
    always = {item.name: item.access for item in TEMPLATE.permissions if not item.optional}

    assert always == fields["default_permissions"]
    assert [item.name for item in TEMPLATE.events if not item.optional] == fields["default_events"]
    assert all(len(item.reason) > 20 for item in (*TEMPLATE.permissions, *TEMPLATE.events))


def test_only_the_workflow_condition_is_optional() -> None:
    """What is commented out in app.yml is asked for only if labs use the condition "workflow"."""
    optional = [item for item in (*TEMPLATE.permissions, *TEMPLATE.events) if item.optional]

    assert [(item.name, item.access) for item in optional] == [("actions", "read"), ("workflow_run", "")]
    assert optional[0] not in asked_for(TEMPLATE.permissions, WANTED)


def test_no_write_but_to_checks_and_statuses() -> None:
    """The App never asks for more than it is known to need."""
    writes = {item.name for item in TEMPLATE.permissions if item.access != "read"}

    assert writes == {"checks", "statuses"}


# ------------------------------------------------------------------------------------------------ what GitHub is sent


def test_the_manifest_is_app_yml_at_the_public_address() -> None:
    """Every address is the App's own; the browser comes back to where it is now."""
    manifest = manifest_for(TEMPLATE, WANTED)

    assert "stepgate.example.com" not in json.dumps(manifest)
    assert manifest["url"] == "https://gate.example.org"
    assert manifest["hook_attributes"] == {"url": "https://gate.example.org/webhook", "active": True}
    assert manifest["callback_urls"] == ["https://gate.example.org/auth/callback"]
    assert manifest["setup_url"] == "https://gate.example.org/installed"
    assert manifest["redirect_url"] == "http://127.0.0.1:8000/setup/created"
    assert manifest["public"] is True
    assert manifest["name"] == "Stepgate-abcd"
    assert manifest["default_permissions"] == TEMPLATE.fields["default_permissions"]
    assert "workflow_run" not in manifest["default_events"]


def test_the_template_is_not_changed_by_its_use() -> None:
    """Two Apps can be made from one template: nothing of the first is in the second."""
    manifest_for(TEMPLATE, Wanted("https://github.com", "", "http://127.0.0.1:1", "one", workflow=True))

    assert read_template(TEXT) == TEMPLATE


def test_without_a_public_address_the_webhook_is_active_and_points_nowhere() -> None:
    """Deliveries are logged at GitHub, no learner is sent to a machine that they cannot reach, and signing in works."""
    manifest = manifest_for(TEMPLATE, Wanted("https://github.com", "", "http://127.0.0.1:8000", "one"))

    assert manifest["hook_attributes"] == {"url": NOWHERE, "active": True}
    assert "setup_url" not in manifest
    assert manifest["callback_urls"] == ["http://127.0.0.1:8000/auth/callback"]
    assert manifest["url"] == "https://github.com"


def test_workflow_adds_its_permission_and_event() -> None:
    """Labs with the condition "workflow" need actions: read and workflow_run."""
    manifest = manifest_for(TEMPLATE, Wanted("https://github.com", "", "http://127.0.0.1:8000", "one", workflow=True))

    assert manifest["default_permissions"]["actions"] == "read"
    assert "workflow_run" in manifest["default_events"]


@pytest.mark.parametrize(
    ("organization", "address"),
    [
        (None, "https://github.example.com/settings/apps/new?state=a%2Fb"),
        ("octo-course", "https://github.example.com/organizations/octo-course/settings/apps/new?state=a%2Fb"),
        ("../x?y", "https://github.example.com/organizations/..%2Fx%3Fy/settings/apps/new?state=a%2Fb"),
    ],
)
def test_the_form_goes_to_the_owners_settings(organization: str | None, address: str) -> None:
    """A person's form and an organisation's go to their own page; nothing that is typed leads elsewhere."""
    wanted = Wanted("https://github.example.com", "", "http://127.0.0.1:8000", "one", organization=organization)

    assert wanted.form_url("a/b") == address


@pytest.mark.parametrize(
    ("pages", "api"),
    [
        ("https://github.com", "https://api.github.com"),
        ("https://octo-course.ghe.com", "https://api.octo-course.ghe.com"),
        ("https://github.example.com", "https://github.example.com/api/v3"),
        ("https://github.example.com:8443", "https://github.example.com:8443/api/v3"),
    ],
)
def test_the_api_belongs_to_the_pages(pages: str, api: str) -> None:
    """github.com, data residency and Enterprise Server have their APIs at different places."""
    assert api_url_of(pages) == api


# --------------------------------------------------------------------------------------------------- what comes back


class Conversions:
    """GitHub's operation, with an answer that a test chooses."""

    def __init__(self) -> None:
        self.answer: Any = ANSWER
        self.status = 201
        self.asked: list[web.Request] = []

    async def handle(self, request: web.Request) -> web.Response:
        """Answer a conversion."""
        self.asked.append(request)
        return web.json_response(self.answer, status=self.status)


@pytest.fixture(name="github")
async def _github(aiohttp_server: AiohttpServer) -> tuple[Conversions, str]:
    conversions = Conversions()
    app = web.Application()
    app.router.add_post("/api/v3/app-manifests/{code}/conversions", conversions.handle)
    server = await aiohttp_server(app)
    return conversions, str(server.make_url("/api/v3"))


async def convert(api_url: str, code: str = CODE, web_url: str = "https://github.example.com") -> Any:
    """Exchange a code."""
    async with aiohttp.ClientSession() as http:
        return await exchange(http, web_url=web_url, api_url=api_url, code=code)


async def test_a_code_becomes_credentials(github: tuple[Conversions, str]) -> None:
    """One request without any credential of ours; its answer is read whole, and never shown by accident."""
    conversions, api_url = github

    found = await convert(api_url)

    assert (found.app_id, found.slug, found.client_id) == (7, "stepgate-abcd", "Iv23liexample")
    assert found.client_secret.get_secret_value() == ANSWER["client_secret"]
    assert found.webhook_secret.get_secret_value() == ANSWER["webhook_secret"]
    assert found.private_key.get_secret_value() == ANSWER["pem"]
    assert (found.owner.account_id, found.owner.kind) == (31, "User")
    assert len(conversions.asked) == 1
    assert "Authorization" not in conversions.asked[0].headers
    assert "secret-of-github" not in repr(found)
    assert "BEGIN" not in repr(found)


@pytest.mark.parametrize(
    ("web_url", "page"),
    [
        ("https://github.example.com", "https://github.example.com/github-apps/stepgate-abcd"),
        ("https://github.com", "https://github.com/apps/stepgate-abcd"),
    ],
)
async def test_people_are_sent_to_the_github_that_was_asked(
    github: tuple[Conversions, str], web_url: str, page: str
) -> None:
    """GitHub's own address of the App is used, unless it is on another host."""
    assert (await convert(github[1], web_url=web_url)).page == page


@pytest.mark.parametrize(
    ("status", "answer", "fault", "again"),
    [
        (404, {"message": "Not Found"}, Fault.OPERATOR, False),
        (422, {"message": f"Validation Failed for {CODE}"}, Fault.US, False),
        (502, {"message": "Server Error"}, Fault.GITHUB, True),
        (201, {"id": 7}, Fault.GITHUB, True),
        (201, {**ANSWER, "client_id": "a\nSTAFF=1"}, Fault.GITHUB, True),
    ],
)
async def test_a_failure_tells_whose_it_is_and_not_the_code(
    github: tuple[Conversions, str], status: int, answer: Any, fault: Fault, again: bool
) -> None:
    """Each failure has its owner, says whether trying again may help, and repeats neither code nor secrets."""
    github[0].status, github[0].answer = status, answer

    with pytest.raises(NotExchangedError) as caught:
        await convert(github[1])

    assert (caught.value.fault, caught.value.again) == (fault, again)
    assert CODE not in str(caught.value)
    assert "secret" not in str(caught.value).replace("[secret]", "")
    assert caught.value.__context__ is None


async def test_a_github_that_is_away_can_be_asked_again() -> None:
    """When nobody listens at the API's address, the message names it and the code is kept for another try."""
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        api_url = f"http://127.0.0.1:{unused.getsockname()[1]}/api/v3"

        with pytest.raises(NotExchangedError, match="no connection") as caught:
            await convert(api_url)

    assert caught.value.again
    assert api_url in str(caught.value)


@pytest.mark.parametrize("code", ["", "../../user", "a b", "a?x=1", "é", "a" * 300])
async def test_what_is_no_code_is_not_sent(github: tuple[Conversions, str], code: str) -> None:
    """A code from the address bar cannot make another request of ours."""
    with pytest.raises(NotExchangedError):
        await convert(github[1], code=code)

    assert github[0].asked == []

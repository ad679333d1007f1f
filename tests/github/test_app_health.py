"""What doctor asks of GitHub: registration, webhook, installations, clock and visibility, from real and odd answers."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from github import health
from github.client import GitHubApp
from github.errors import Unauthorized
from github.governor import MemoryGovernor
from github.health import Registration, unwanted
from github.permissions import lacking, superfluous
from rules.model import Account, AccountKind
from sandbox import Sandbox, new_private_key
from tests.support.apispec import check_exchange
from tests.support.fault_server import FakeClock, FaultServer, Hang, Raw, Reply
from tests.support.github_answers import account, installation

APP = {"id": 4711, "slug": "stepgate", "name": "Stepgate", "permissions": {"checks": "write"}, "events": ["push"]}


@pytest.mark.parametrize(
    ("kind", "address"),
    [
        (AccountKind.USER, "https://github.example.com/settings/apps/stepgate"),
        (AccountKind.ORGANIZATION, "https://github.example.com/organizations/octo-course/settings/apps/stepgate"),
    ],
)
def test_the_settings_page_depends_on_the_owner(kind: AccountKind, address: str) -> None:
    """A person's Apps and an organisation's Apps have their settings at different addresses."""
    app = Registration(1, "stepgate", "Stepgate", Account(5, "octo-course", kind), {}, ())

    assert app.settings_url("https://github.example.com") == address
    assert app.settings_url("https://github.example.com", "permissions") == f"{address}/permissions"


@pytest.mark.parametrize(
    ("have", "wanted", "lacks", "too_much"),
    [
        ({"checks": "write"}, {"checks": "write"}, (), ()),
        ({"checks": "read"}, {"checks": "write"}, ("checks",), ()),
        ({}, {"checks": "write", "contents": "read"}, ("checks", "contents"), ()),
        ({"contents": "write", "members": "read"}, {"contents": "read"}, (), ("contents", "members")),
        ({"contents": "admin"}, {"contents": "write"}, (), ("contents",)),
        ({"contents": "a-level-of-tomorrow"}, {"contents": "read"}, (), ("contents",)),
    ],
)
def test_permissions_are_compared_by_level(
    have: dict[str, str], wanted: dict[str, str], lacks: tuple[str, ...], too_much: tuple[str, ...]
) -> None:
    """A higher level has all of a lower one; what is not asked for is too much."""
    assert lacking(have, wanted) == lacks
    assert superfluous(have, wanted) == too_much


def test_events_that_come_by_themselves_are_not_too_many() -> None:
    """Only events that somebody ticked can be unticked."""
    assert unwanted(["push", "check_run", "check_suite", "installation", "star"], ["push"]) == ("star",)


@pytest.mark.parametrize(
    ("answer", "verified", "has_secret"),
    [
        ({"url": "https://a", "content_type": "json", "insecure_ssl": "0", "secret": "********"}, True, True),
        ({"url": "https://a", "content_type": "json", "insecure_ssl": 0, "secret": "********"}, True, True),
        ({"url": "https://a", "content_type": "json", "insecure_ssl": "1"}, False, False),
        ({"url": "https://a", "content_type": "json", "insecure_ssl": 1.0, "secret": ""}, False, False),
        ({"url": "https://a", "content_type": "json", "insecure_ssl": "yes"}, False, False),
        ({"url": "https://a", "content_type": "json", "insecure_ssl": ""}, True, False),
    ],
)
async def test_the_webhooks_configuration(
    app: GitHubApp, server: FaultServer, answer: dict[str, Any], verified: bool, has_secret: bool
) -> None:
    """GitHub gives insecure_ssl as a text or a number, and a secret that is set as asterisks."""
    server.on("GET", "/app/hook/config", Reply(200, answer))

    found = await health.hook(app)

    assert (found.url, found.content_type, found.verified, found.has_secret) == (
        "https://a",
        "json",
        verified,
        has_secret,
    )


async def test_installations_that_did_not_accept_are_counted(app: GitHubApp, server: FaultServer) -> None:
    """All pages are read; an installation with a missing or lower permission is behind."""
    url = f"{server.url}/app/installations?page=2"
    first = [installation(id=1, permissions={"checks": "write"}), installation(id=2, permissions={"checks": "read"})]
    second = [installation(id=3, permissions={}, account=account(id=6, login="learner-two"))]
    server.on("GET", "/app/installations", Reply(200, first, {"Link": f'<{url}>; rel="next"'}), Reply(200, second))

    total, behind = await health.installations_behind(app, {"checks": "write"})

    assert total == 3
    assert [one.login for one in behind] == ["learner-one", "learner-two"]


@pytest.mark.parametrize("offset", [0.0, 45.0, -700.0])
@pytest.mark.parametrize("status", [200, 401, 403])
async def test_the_clock_is_compared_by_any_answer(
    server: FaultServer, http: aiohttp.ClientSession, clock: FakeClock, offset: float, status: int
) -> None:
    """GitHub's clock is read from the header Date, also when it refuses the question."""
    there = datetime.fromtimestamp(clock.now() - offset, UTC).strftime("%a, %d %b %Y %H:%M:%S GMT")
    server.on("GET", "/meta", Reply(status, {}, {"Date": there}))

    found = await health.clock_offset(http, server.url, clock.now)

    assert found == pytest.approx(offset, abs=1)


@pytest.mark.parametrize("script", [Raw(), Raw(b"nonsense\r\n\r\n"), Reply(200, {}, {"Date": "yesterday"})])
async def test_a_clock_that_cannot_be_read_is_none(
    server: FaultServer, http: aiohttp.ClientSession, script: Raw | Reply
) -> None:
    """No answer and an unreadable date are no clock, and no error."""
    server.on("GET", "/meta", script)

    assert await health.clock_offset(http, server.url) is None


@pytest.mark.parametrize(("status", "public"), [(200, True), (404, False), (302, None), (500, None)])
async def test_the_public_page_tells(
    server: FaultServer, http: aiohttp.ClientSession, status: int, public: bool | None
) -> None:
    """Seen without signing in: public; not found: private; sent to sign in, or no answer: unknown."""
    server.on("GET", "/apps/stepgate", Reply(status, {}, {"Location": "/login"}))

    assert await health.is_public(http, server.url, "stepgate") is public


async def test_a_page_that_does_not_answer_tells_nothing(
    server: FaultServer, http: aiohttp.ClientSession, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A web server that hangs is given up."""
    monkeypatch.setattr(health, "_TIMEOUT", aiohttp.ClientTimeout(total=0.1))
    server.on("GET", "/apps/stepgate", Hang(1))

    assert await health.is_public(http, server.url, "stepgate") is None


async def test_against_the_sandbox(tmp_path: Path, http: aiohttp.ClientSession, private_key: str) -> None:
    """Registration, webhook, deliveries, visibility and clock are read as they are; a foreign key is refused."""
    url = "http://127.0.0.1:9/webhook"
    async with Sandbox(tmp_path / "github", private_key_pem=private_key, webhook_url=url) as sandbox:

        def github(key: str) -> GitHubApp:
            governor = MemoryGovernor(0.0)
            return GitHubApp(http, api_url=sandbox.api_url, app_id=sandbox.app_id, private_key=key, governor=governor)

        app = github(private_key)
        sandbox.add_account("learner-one")
        await sandbox.add_repository("learner-one", "lab")
        await sandbox.install("learner-one")
        await sandbox.idle()

        found = await health.registration(app)
        hook = await health.hook(app)

        assert (found.app_id, found.slug) == (sandbox.app_id, sandbox.app_slug)
        assert (hook.url, hook.content_type, hook.verified, hook.has_secret) == (url, "json", True, True)
        assert await health.installations_behind(app, sandbox.permissions) == (1, ())
        newest = await health.newest_deliveries(app, 1)
        assert [delivery.arrived for delivery in newest] == [False]
        assert await health.is_public(http, sandbox.url, sandbox.app_slug) is True
        assert await health.clock_offset(http, sandbox.api_url) == pytest.approx(0, abs=2)
        with pytest.raises(Unauthorized):
            await health.registration(github(new_private_key()))
        checked = [exchange for exchange in sandbox.exchanges if exchange.operation]
        assert len(checked) >= 5
        for exchange in checked:
            check_exchange(exchange)

"""What `doctor` asks of GitHub about the App: its registration, webhook, installations, clock and public page."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from urllib.parse import quote

import aiohttp
from pydantic import BaseModel, ConfigDict

from github import answers, deliverylog
from github.answers import read
from github.client import GitHubApp
from github.deliverylog import LoggedDelivery
from github.permissions import lacking
from github.refusals import server_time
from rules.model import Account, AccountKind

# `insecure_ssl` when the certificate is checked (REST docs, webhooks: "0" or 0); anything else is told as not checked.
_VERIFIED = ("", "0", "0.0")
# Answers for people come soon or not at all (seconds).
_TIMEOUT = aiohttp.ClientTimeout(total=15, sock_connect=5)


class _HookModel(BaseModel):
    """GET /app/hook/config. `insecure_ssl` is a number or a text; a secret that is set is shown as asterisks."""

    model_config = ConfigDict(extra="ignore", frozen=True, hide_input_in_errors=True)

    url: str = ""
    content_type: str = ""
    insecure_ssl: str | float = "0"
    secret: str | None = None


@dataclass(frozen=True, slots=True)
class Registration:
    """The App as GitHub knows it, with its owner."""

    app_id: int
    slug: str
    name: str
    owner: Account
    permissions: Mapping[str, str]
    events: tuple[str, ...]

    def settings_url(self, web_url: str, page: str = "") -> str:
        """The App's settings on GitHub. `page`: "permissions", "advanced", or "" for the first one."""
        organization = self.owner.kind is AccountKind.ORGANIZATION
        owner = f"/organizations/{quote(self.owner.login, safe='')}" if organization else ""
        return f"{web_url}{owner}/settings/apps/{self.slug}" + (f"/{page}" if page else "")


@dataclass(frozen=True, slots=True)
class Hook:
    """The App's webhook. `verified`: GitHub checks the certificate of the address."""

    url: str
    content_type: str
    verified: bool
    has_secret: bool


async def registration(app: GitHubApp) -> Registration:
    """The App of our JWT (GET /app). Raises Unauthorized if id, key or clock are wrong, and other GitHubErrors."""
    model = read(answers.AppModel, (await app.get("app", cacheable=False)).data)
    return Registration(model.id, model.slug, model.name, model.owner.value(), model.permissions, model.events)


async def hook(app: GitHubApp) -> Hook:
    """The App's webhook as configured on GitHub (GET /app/hook/config). Raises GitHubError."""
    model = read(_HookModel, (await app.get("app/hook/config", cacheable=False)).data)
    return Hook(model.url, model.content_type, str(model.insecure_ssl).strip() in _VERIFIED, bool(model.secret))


async def newest_deliveries(app: GitHubApp, count: int) -> tuple[LoggedDelivery, ...]:
    """The newest attempts at deliveries, the newest first; at most `count` (up to 100). Raises GitHubError."""
    async for page in deliverylog.pages(app, per_page=count):
        return page
    return ()


async def installations_behind(app: GitHubApp, wanted: Mapping[str, str]) -> tuple[int, tuple[Account, ...]]:
    """How many installations there are, and the accounts of those that lack a permission that the App asks for.

    New permissions stay off until the account's owner accepts them (GitHub docs, "Modifying a GitHub App
    registration"). Raises GitHubError.
    """
    total, behind = 0, []
    async for installation in app.installations():
        total += 1
        if lacking(installation.permissions, wanted):
            behind.append(installation.account)
    return total, tuple(behind)


def unwanted(have: Iterable[str], wanted: Iterable[str]) -> tuple[str, ...]:
    """Events that are subscribed to although nobody needs them.

    Those that come by themselves, with a permission or with every App, are never named (GitHub docs, "Webhook events").
    """
    by_themselves = {"check_run", "check_suite", "installation", "installation_repositories", "installation_target"}
    return tuple(event for event in have if event not in {*wanted, *by_themselves, "github_app_authorization"})


async def clock_offset(http: aiohttp.ClientSession, api_url: str, now: Callable[[], float] = time.time) -> float | None:
    """Seconds that our clock is ahead of GitHub's (negative: behind), to about a second; None if GitHub is silent.

    Asked without credentials: a wrong clock makes GitHub refuse them. Any answer will do, for its header Date.
    """
    began = now()
    try:
        async with http.get(f"{api_url}/meta", timeout=_TIMEOUT, allow_redirects=False) as response:
            theirs = server_time(response.headers)
    except (aiohttp.ClientError, OSError, ValueError):
        return None
    # Date is cut to whole seconds (RFC 9110, 6.6.1): on average half a second is missing.
    return None if theirs is None else (began + now()) / 2 - (theirs + 0.5)


async def is_public(http: aiohttp.ClientSession, web_url: str, slug: str) -> bool | None:
    """Whether anybody may install the App; None if it cannot be told (GitHub is silent, or shows pages to users only).

    GET /app does not tell (GitHub's API description), but the App's page does: a visitor who is not signed in sees it
    if the App is public, and gets 404 if it is private.
    """
    try:
        address = f"{web_url}/apps/{quote(slug, safe='')}"
        async with http.get(address, timeout=_TIMEOUT, allow_redirects=False) as response:
            return {200: True, 404: False}.get(response.status)
    except (aiohttp.ClientError, OSError, ValueError):
        return None

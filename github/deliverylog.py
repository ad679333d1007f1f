"""GitHub's log of the App's webhook deliveries: what it has sent or tried to send, and the payloads.

Every attempt is an entry of its own: a redelivery has the guid of the first attempt and a new id. There is no filter by
time or event, so the log is paged from its newest end (GitHub docs, REST, "GitHub App webhooks"). It reaches back 3
days on github.com and 7 on GHES (GitHub docs, "Redelivering webhooks"). Answers are authenticated by TLS and the App's
JWT; their bytes are not those that were signed.
"""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass
from typing import Any

import orjson
import structlog
from pydantic import AwareDatetime, BaseModel, ConfigDict

from github.answers import read
from github.client import GitHubApp
from github.errors import Gone, Transient
from github.refusals import number

log = structlog.get_logger(__name__)

_LOG = "app/hook/deliveries"
# Headers of a delivery that say whose webhook it is sent to (GitHub docs, "Webhook events and payloads").
TARGET_TYPE, TARGET_ID = "X-GitHub-Hook-Installation-Target-Type", "X-GitHub-Hook-Installation-Target-ID"
PER_PAGE = 100  # the most that GitHub gives (GitHub docs, REST, "GitHub App webhooks")


class _Model(BaseModel):
    model_config = ConfigDict(extra="ignore", frozen=True, hide_input_in_errors=True)


class _Item(_Model):
    id: int
    guid: str
    event: str
    action: str | None = None
    delivered_at: AwareDatetime
    redelivery: bool | None = None
    status: str | None = None
    status_code: int | None = None
    repository_id: int | None = None
    installation_id: int | None = None


class _Page(_Model):
    items: tuple[Any, ...]


class _Request(_Model):
    headers: Any = None
    payload: dict[str, Any] | None = None


class _Detail(_Model):
    request: _Request


@dataclass(frozen=True, slots=True)
class LoggedDelivery:
    """One attempt at one delivery. `status`: "OK" if the receiver answered 2xx, else GitHub's words for the failure.

    `status_code`: the receiver's answer; when there was none GitHub puts a figure of its own (502, 504 or 0).
    """

    delivery_id: int
    guid: str
    event: str
    action: str | None
    delivered_at: AwareDatetime
    redelivery: bool
    status: str
    status_code: int
    repository_id: int | None = None
    installation_id: int | None = None

    @property
    def arrived(self) -> bool:
        """Whether the receiver took it."""
        return 200 <= self.status_code < 300


@dataclass(frozen=True, slots=True)
class LoggedBody:
    """The payload of an entry as JSON. `target_type`, `target_id`: whose webhook it was sent to, as its headers say."""

    payload: bytes
    target_type: str
    target_id: str


@dataclass(frozen=True, slots=True)
class Page:
    """A part of the log, the newest entries first. `next_page`: the address of the one below; None: this is the end."""

    entries: tuple[LoggedDelivery, ...]
    next_page: str | None


class LogReader:
    """Reads the log. `left`: the part of the App's requests of this hour that is left, as GitHub told with the last
    answer; None: GitHub does not say (GHES). The App's tokens are made from the same budget.
    """

    def __init__(self, app: GitHubApp) -> None:
        self._app = app
        self.left: float | None = None

    async def page(self, address: str | None = None, *, per_page: int = PER_PAGE) -> Page:
        """The page at an address that another one named; None: the newest. Raises GitHubError.

        The newest page is asked for conditionally: an unchanged log costs nothing of the primary limit (REST docs, best
        practices).
        """
        first = address is None
        answer = await self._app.get(address or f"{_LOG}?per_page={per_page}", cacheable=first)
        self.left = _left(answer.headers)
        return Page(_entries(read(_Page, {"items": answer.data}).items), answer.next_page)

    async def body(self, delivery_id: int) -> LoggedBody:
        """The payload of an entry. Gone: GitHub does not keep it any more. Raises GitHubError."""
        answer = await self._app.get(f"{_LOG}/{delivery_id:d}", cacheable=False)
        self.left = _left(answer.headers)
        request = read(_Detail, answer.data).request
        if request.payload is None:
            raise Gone(f"delivery {delivery_id}: GitHub's log has no payload of it")
        headers = request.headers if isinstance(request.headers, dict) else {}
        named = {str(name).lower(): str(value) for name, value in headers.items()}
        target = named.get(TARGET_TYPE.lower(), ""), named.get(TARGET_ID.lower(), "")
        return LoggedBody(_dumped(request.payload), *target)


async def pages(app: GitHubApp, *, per_page: int = PER_PAGE) -> AsyncIterator[tuple[LoggedDelivery, ...]]:
    """The log, a page at a time; each page is one request, so stop when you know enough. Raises GitHubError."""
    reader, address, seen = LogReader(app), None, set[str]()
    while True:
        page = await reader.page(address, per_page=per_page)
        yield page.entries
        address = page.next_page
        if address is None:
            return
        if address in seen:
            raise Transient("GitHub's delivery log: its pages lead back to an earlier one")
        seen.add(address)


async def payload(app: GitHubApp, delivery_id: int) -> bytes:
    """The payload of an entry as JSON. Raises as LogReader.body."""
    return (await LogReader(app).body(delivery_id)).payload


def is_for_app(app_id: int, target_type: str, target_id: str) -> bool:
    """Whether a delivery was sent to this App's webhook, as far as its headers TARGET_TYPE and TARGET_ID tell (empty:
    they are not there).

    An event has one guid for all Apps and webhooks (REST docs, schema of a hook delivery): another one's delivery must
    not be taken for ours, with which ours would be known already.
    """
    return target_type in ("", "integration") and target_id in ("", str(app_id))


async def redeliver(app: GitHubApp, delivery_id: int) -> None:
    """Let GitHub send a delivery once more: with the same guid, as a new entry of the log. Raises GitHubError."""
    await app.post(f"{_LOG}/{delivery_id:d}/attempts")


def _entries(items: tuple[Any, ...]) -> tuple[LoggedDelivery, ...]:
    """The entries of a page. One that cannot be read must not keep us from all others, for as long as the log has it;
    a page without any that can is no page of the log: Transient.
    """
    entries: list[LoggedDelivery] = []
    unread: Transient | None = None
    for item in items:
        try:
            entries.append(_entry(read(_Item, item)))
        except Transient as error:
            unread = error
            log.warning("log_entry_unreadable", error=str(error))
    if unread is not None and not entries:
        raise unread
    return tuple(entries)


def _entry(item: _Item) -> LoggedDelivery:
    return LoggedDelivery(
        item.id,
        item.guid,
        item.event,
        item.action,
        item.delivered_at,
        bool(item.redelivery),
        item.status or "",
        item.status_code or 0,
        item.repository_id,
        item.installation_id,
    )


def _dumped(content: dict[str, Any]) -> bytes:
    """`content` as JSON. What orjson refuses (half of a surrogate pair, numbers of more than 64 bits) is kept as it is:
    whoever reads the payload judges it, as if it had come as a delivery.
    """
    try:
        return orjson.dumps(content)
    except TypeError:
        pass
    try:
        return json.dumps(content).encode()
    except (ValueError, RecursionError):
        raise Gone("GitHub's log has a payload that cannot be written down") from None


def _left(headers: Mapping[str, str]) -> float | None:
    """The part of the hour's requests that is left (REST docs, "Rate limits for the REST API", headers)."""
    remaining, limit = number(headers.get("x-ratelimit-remaining")), number(headers.get("x-ratelimit-limit"))
    return remaining / limit if remaining is not None and limit else None

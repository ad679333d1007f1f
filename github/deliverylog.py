"""GitHub's log of the App's webhook deliveries: what it has sent or tried to send, and the payloads.

Every attempt is an entry of its own: a redelivery has the guid of the first attempt and a new id. There is no filter by
time or event, so the log is paged from its newest end (GitHub docs, REST, "GitHub App webhooks"). It reaches back 3
days on github.com and 7 on GHES (GitHub docs, "Redelivering webhooks"). Answers are authenticated by TLS and the App's
JWT; their bytes are not those that were signed.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass
from typing import Any

import orjson
from pydantic import AwareDatetime, BaseModel, ConfigDict

from github.answers import read
from github.client import GitHubApp
from github.errors import Gone, Transient

_LOG = "app/hook/deliveries"
PER_PAGE = 100  # the most that GitHub gives (GitHub docs, REST, "GitHub App webhooks")


class _Model(BaseModel):
    model_config = ConfigDict(extra="ignore", frozen=True, hide_input_in_errors=True)


class _Item(_Model):
    id: int
    guid: str
    event: str
    action: str | None = None
    delivered_at: AwareDatetime
    redelivery: bool = False
    status: str = ""
    status_code: int = 0
    repository_id: int | None = None
    installation_id: int | None = None


class _Page(_Model):
    items: tuple[_Item, ...]


class _Request(_Model):
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
        return Page(tuple(_entry(item) for item in read(_Page, {"items": answer.data}).items), answer.next_page)

    async def payload(self, delivery_id: int) -> bytes:
        """The payload of an entry as JSON. Gone: GitHub does not keep it any more. Raises GitHubError."""
        answer = await self._app.get(f"{_LOG}/{delivery_id:d}", cacheable=False)
        self.left = _left(answer.headers)
        content = read(_Detail, answer.data).request.payload
        if content is None:
            raise Gone(f"delivery {delivery_id}: GitHub's log has no payload of it")
        return orjson.dumps(content)


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
    """See LogReader.payload."""
    return await LogReader(app).payload(delivery_id)


async def redeliver(app: GitHubApp, delivery_id: int) -> None:
    """Let GitHub send a delivery once more: with the same guid, as a new entry of the log. Raises GitHubError."""
    await app.post(f"{_LOG}/{delivery_id:d}/attempts")


def _entry(item: _Item) -> LoggedDelivery:
    return LoggedDelivery(
        item.id,
        item.guid,
        item.event,
        item.action,
        item.delivered_at,
        item.redelivery,
        item.status,
        item.status_code,
        item.repository_id,
        item.installation_id,
    )


def _left(headers: Mapping[str, str]) -> float | None:
    """The part of the hour's requests that is left (REST docs, "Rate limits for the REST API", headers)."""
    try:
        return int(headers["x-ratelimit-remaining"]) / int(headers["x-ratelimit-limit"])
    except (KeyError, ValueError, ZeroDivisionError):
        return None

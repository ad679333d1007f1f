"""Webhook deliveries: born, signed, sent in order, logged with every attempt, sent again on demand.

GitHub never repeats a delivery by itself; a redelivery has the same GUID, and is an item of its own in the log.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import hmac
import io
import itertools
import time
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Literal
from urllib.parse import urlencode

import aiohttp
import orjson

from .errors import SandboxError

DELIVERY_TIMEOUT = 10.0  # seconds; GitHub docs, best practices for using webhooks
PAYLOAD_LIMIT = 25 * 1024 * 1024  # bytes; GitHub docs, webhook events and payloads: a larger event is not fired
LOG_LIMIT = 20_000  # deliveries kept; GitHub keeps three days
_CONTENT_TYPES = {"json": "application/json", "form": "application/x-www-form-urlencoded"}
RESPONSE_KEPT = 8 * 1024  # bytes of the receiver's answer that the log keeps


@dataclass(frozen=True, slots=True)
class Attempt:
    """One sending of a delivery. `status_code` is the receiver's, or 502 (no connection) or 504 (no answer in time)."""

    id: int
    status_code: int
    status: str
    redelivery: bool
    at: datetime
    duration: float
    response_headers: dict[str, str]
    response_payload: str
    throttled_at: datetime | None = None


@dataclass(slots=True)
class Delivery:
    """One event on its way to the App. `id` is the log id of the first attempt; `headers` are those that are sent.

    `payload` is the event as JSON, `body` what is sent of it: the same, or a form's field of that name.
    """

    id: int
    guid: str
    event: str
    action: str | None
    payload: bytes
    body: bytes
    headers: dict[str, str]
    installation_id: int | None
    repository_id: int | None
    url: str | None
    attempts: list[Attempt] = field(default_factory=list)


@dataclass(slots=True)
class Sending:
    """One attempt on its way: what faults may change. `result`: the code and status that the log gets in any case."""

    delivery: Delivery
    attempt_id: int
    redelivery: bool
    sent: bool = True
    logged: bool = True
    result: tuple[int, str] | None = None
    throttled_at: datetime | None = None


class DeliveryLog:
    """The App's hook: address, secret, queue of what is to be sent, log of what was.

    While the hook is not `active` nothing is sent and nothing is logged; an active one whose address does not answer
    has its failed attempts in the log.
    """

    def __init__(self, *, app_id: int, url: str | None, secret: str, concurrency: int) -> None:
        self.url = url
        self.secret = secret
        self.active = True
        self.content_type: Literal["json", "form"] = "json"
        self.insecure_ssl = "0"
        self.app_id = app_id
        self.now: Callable[[], datetime] = lambda: datetime.now(UTC)
        self.log: list[Delivery] = []
        self._concurrency = concurrency
        self._ids = itertools.count(176_505_118_004)
        self.route: Callable[[Sending], None] = self.put
        self._queue: asyncio.Queue[Sending] = asyncio.Queue()
        self._unanswered = 0
        self._quiet = asyncio.Event()
        self._quiet.set()
        self._senders: list[asyncio.Task[None]] = []
        self._session: aiohttp.ClientSession | None = None

    async def start(self) -> None:
        """Begin to send."""
        self._session = aiohttp.ClientSession(cookie_jar=aiohttp.DummyCookieJar())
        self._senders = [asyncio.create_task(self._send_all()) for _ in range(self._concurrency)]

    async def stop(self) -> None:
        """Stop sending; what was not answered yet stays in the log without an attempt."""
        for sender in self._senders:
            sender.cancel()
        await asyncio.gather(*self._senders, return_exceptions=True)
        while not self._queue.empty():
            self._queue.get_nowait()
            self.end()
        if self._session is not None:
            await self._session.close()

    def emit(
        self,
        event: str,
        action: str | None,
        payload: dict[str, Any],
        *,
        installation_id: int | None = None,
        repository_id: int | None = None,
    ) -> Delivery | None:
        """Give birth to a delivery and queue it; None without an active hook, or if GitHub would not send so much."""
        if not self.active:
            return None
        content = orjson.dumps(payload)
        if len(content) > PAYLOAD_LIMIT:
            return None
        guid, delivery_id = str(uuid.uuid1()), next(self._ids)
        body = self._body(content)
        headers = self._headers(event, guid, body)
        delivery = Delivery(
            delivery_id, guid, event, action, content, body, headers, installation_id, repository_id, self.url
        )  # fmt: skip
        self.log.append(delivery)
        if len(self.log) > LOG_LIMIT:
            del self.log[0]
        self._enqueue(delivery, delivery_id, redelivery=False)
        return delivery

    def redeliver(self, key: int | str) -> Delivery:
        """Queue the delivery of this GUID or log id again, with its GUID and payload; SandboxError if unknown."""
        delivery = self.find(key)
        if delivery is None:
            raise SandboxError(f"no delivery {key!r} in the log")
        delivery.body = self._body(delivery.payload)
        delivery.headers = self._headers(delivery.event, delivery.guid, delivery.body)
        self._enqueue(delivery, next(self._ids), redelivery=True)
        return delivery

    def find(self, key: int | str) -> Delivery | None:
        """Return the delivery with this GUID, id, or id of an attempt."""
        for delivery in reversed(self.log):
            if key in {delivery.guid, delivery.id} or any(attempt.id == key for attempt in delivery.attempts):
                return delivery
        return None

    async def idle(self) -> None:
        """Wait until nothing is queued or under way."""
        await self._quiet.wait()

    @contextlib.contextmanager
    def expecting(self) -> Iterator[None]:
        """Hold `idle()` back while something that gives birth to deliveries is under way."""
        self.begin()
        try:
            yield
        finally:
            self.end()

    def put(self, sending: Sending) -> None:
        """Queue what `idle()` waits for already; `route` calls this, at once or later."""
        self._queue.put_nowait(sending)

    def begin(self) -> None:
        """Let `idle()` wait for one thing more."""
        self._unanswered += 1
        self._quiet.clear()

    def end(self) -> None:
        """Let `idle()` wait for one thing less."""
        self._unanswered -= 1
        if self._unanswered == 0:
            self._quiet.set()

    def _body(self, content: bytes) -> bytes:
        return content if self.content_type == "json" else urlencode({"payload": content}).encode()

    def _headers(self, event: str, guid: str, body: bytes) -> dict[str, str]:
        key = self.secret.encode()
        return {
            "Accept": "*/*",
            "Content-Type": _CONTENT_TYPES[self.content_type],
            "User-Agent": "GitHub-Hookshot/5ca7d0b",
            "X-GitHub-Delivery": guid,
            "X-GitHub-Event": event,
            "X-GitHub-Hook-ID": str(self.app_id + 400_000_000),
            "X-GitHub-Hook-Installation-Target-ID": str(self.app_id),
            "X-GitHub-Hook-Installation-Target-Type": "integration",
            "X-Hub-Signature": "sha1=" + hmac.new(key, body, hashlib.sha1).hexdigest(),
            "X-Hub-Signature-256": "sha256=" + hmac.new(key, body, hashlib.sha256).hexdigest(),
        }

    def _enqueue(self, delivery: Delivery, attempt_id: int, *, redelivery: bool) -> None:
        self.begin()
        self.route(Sending(delivery, attempt_id, redelivery))

    async def _send_all(self) -> None:
        while True:
            sending = await self._queue.get()
            try:
                attempt = await self._send(sending)
                if sending.logged:
                    sending.delivery.attempts.append(attempt)
            finally:
                self.end()

    async def _send(self, sending: Sending) -> Attempt:
        delivery = sending.delivery
        started, at = time.monotonic(), self.now()
        headers: dict[str, str] = {}
        code, status, text = 502, "failed to connect to host", ""
        delivery.url = self.url
        if self._session is not None and self.url is not None and sending.sent:
            try:
                # GitHub does not follow redirects of a receiver.
                timeout = aiohttp.ClientTimeout(total=DELIVERY_TIMEOUT)
                # As a file: aiohttp warns of plain bytes above 1 MiB, which are written in one go.
                body = io.BytesIO(delivery.body)
                async with self._session.post(
                    self.url, data=body, headers=delivery.headers, allow_redirects=False, timeout=timeout
                ) as response:
                    text = (await response.read())[:RESPONSE_KEPT].decode(errors="replace")
                    code = response.status
                    headers = {str(name): value for name, value in response.headers.items()}
                    status = "OK" if 200 <= code < 300 else f"Invalid HTTP Response: {code}"
            except TimeoutError:
                code, status = 504, "timed out"
            except (aiohttp.ClientError, ValueError, OSError):
                pass  # the figures above say it
        if sending.result is not None:
            (code, status), headers, text = sending.result, {}, ""
        duration = round(time.monotonic() - started, 2)
        return Attempt(
            sending.attempt_id, code, status, sending.redelivery, at, duration, headers, text, sending.throttled_at
        )  # fmt: skip

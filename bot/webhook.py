"""POST /webhook: size, signature, record, 202. It never judges.

The answer is given only after the delivery is committed, so that whatever GitHub believes delivered is stored. GitHub
waits at most 10 s for it and never retries by itself (GitHub webhook docs, "Best practices", "Handling failed webhook
deliveries").
"""

from __future__ import annotations

import asyncio
import hmac
import re
from collections.abc import Awaitable, Callable, Sequence
from contextlib import AsyncExitStack
from uuid import UUID

import structlog
from aiohttp import web
from prometheus_client import Counter

from bot.payloads import Envelope, UnreadablePayloadError, envelope
from bot.wanted import FILTERED_EVENTS, ResultFilter
from github.deliverylog import TARGET_ID, TARGET_TYPE, is_for_app
from storage.database import is_transient
from storage.inbox import NewDelivery

# GitHub sends at most 25 MB (GitHub webhook docs, "Payload cap"); one MiB more leaves room for what "MB" means.
MAX_BODY = 26 * 1024 * 1024

# GitHub itself waits no longer for the answer; who sends slower than that only holds a connection (seconds).
READ_TIMEOUT = 10.0

# A database that takes longer than this is answered with 503 while GitHub still listens (seconds). What was stored all
# the same is known when it is redelivered.
STORE_TIMEOUT = 8.0

# A body costs several times its size while it is parsed and stored, so few large ones (bytes) are in hand at a time.
# Nearly all deliveries are smaller and never wait for these.
LARGE = 1024 * 1024
LARGE_AT_ONCE = 4

# Only the bytes of the body are signed, so the header must have exactly GitHub's form before it is compared.
SIGNATURE = re.compile(rb"sha256=[0-9a-f]{64}")

# Events that somebody here acts upon, besides some of the FILTERED_EVENTS; all others, also those of later GitHub
# versions, are acknowledged and dropped.
REPOSITORY_EVENTS = frozenset({"push", "repository", "fork"})
INSTALLATION_EVENTS = frozenset({"installation", "installation_repositories", "installation_target"})
EVENTS = REPOSITORY_EVENTS | INSTALLATION_EVENTS

# Events that are answered and need nothing else. `ping`: GitHub tries the address. `github_app_authorization`: somebody
# took back what they let us do in their name; nothing of that is stored here (web.auth ends each token at once).
ACKNOWLEDGED = frozenset({"ping", "github_app_authorization"})

# Where a signed body goes that is no JSON object: kept as a dead letter, for a person to look at.
QUARANTINE_LANE = "quarantine"

RECEIVED = Counter("stepgate_deliveries_total", "Deliveries received", ["event", "result"])

log = structlog.get_logger(__name__)

Record = Callable[[NewDelivery], Awaitable[bool]]


def valid_signature(body: bytes, header: bytes, secrets: Sequence[bytes]) -> bool:
    """Whether `header` (X-Hub-Signature-256) is the HMAC SHA-256 of `body` under one of `secrets`.

    Works on bytes: comparing text raises on non-ASCII. SHA-1 and upper-case forms are refused.
    """
    if not SIGNATURE.fullmatch(header):
        return False
    given = header.removeprefix(b"sha256=")
    matches = [hmac.compare_digest(hmac.digest(secret, body, "sha256").hex().encode(), given) for secret in secrets]
    return any(matches)


def lane_of(event: str, parts: Envelope) -> str:
    """The lane in which a delivery is processed: one repository, one installation, or the quarantine."""
    if event in INSTALLATION_EVENTS and parts.installation_id is not None:
        return f"installation:{parts.installation_id}"
    if event in REPOSITORY_EVENTS | FILTERED_EVENTS and parts.repo_id is not None:
        return f"repo:{parts.repo_id}"
    return QUARANTINE_LANE


def _header(request: web.Request, name: str) -> str:
    """The one value of a header; empty when it is missing or given more than once."""
    values = request.headers.getall(name, [])
    return values[0] if len(values) == 1 else ""


def read_envelope(body: bytes) -> Envelope:
    """The envelope of a body; an empty one if it cannot be read."""
    try:
        return envelope(body)
    except UnreadablePayloadError:
        return Envelope(action=None, installation_id=None, repo_id=None)


def new_delivery(event: str, guid: UUID, body: bytes, parts: Envelope | None = None) -> NewDelivery:
    """A verified body as an entry of the inbox; one that cannot be read goes to the quarantine.

    `parts`: its envelope, if it was read before.
    """
    parts = parts or read_envelope(body)
    return NewDelivery(
        guid=guid,
        event=event,
        action=parts.action,
        installation_id=parts.installation_id,
        repo_id=parts.repo_id,
        lane_id=lane_of(event, parts),
        payload=body,
    )


class _BusyError(Exception):
    """Too many large bodies are in hand. Ours: the delivery can be sent again later."""


class _TooLargeError(Exception):
    """The body is larger than GitHub sends."""


class Webhook:
    """The receiver: holds the secrets (current first, then the one being retired) and the inbox's recorder.

    `results`: which FILTERED_EVENTS are stored; None: none of them. `read_timeout`: seconds for a body to arrive.
    `app_id`: what is sent to another App or webhook is refused; None: that is not asked.
    """

    def __init__(
        self,
        *,
        record: Record,
        secrets: Sequence[str],
        results: ResultFilter | None = None,
        read_timeout: float = READ_TIMEOUT,
        app_id: int | None = None,
    ) -> None:
        if not secrets or not all(secrets):
            raise ValueError("a webhook secret is required")
        self._record = record
        self._results = results
        self._secrets = tuple(secret.encode() for secret in secrets)
        self._read_timeout = read_timeout
        self._app_id = app_id
        self._large = asyncio.Semaphore(LARGE_AT_ONCE)

    async def receive(self, request: web.Request) -> web.Response:
        """Answer one delivery: 202 stored or not needed, 400, 401, 403, 408, 413, 415; 503: it cannot be stored."""
        if (request.content_length or 0) > MAX_BODY:
            return _answer(request, 413, "the body is larger than GitHub sends", close=True)
        if "Content-Encoding" in request.headers:
            return _answer(request, 415, "GitHub sends bodies uncompressed", close=True)
        async with AsyncExitStack() as held:  # a large body's place, until it is answered
            body = await self._read(request, held)
            if isinstance(body, web.Response):
                return body
            header = _header(request, "X-Hub-Signature-256").encode("utf-8", "surrogateescape")
            if not valid_signature(body, header, self._secrets):
                RECEIVED.labels("unknown", "bad_signature").inc()
                return _answer(request, 401, "the signature X-Hub-Signature-256 is missing or wrong")
            return await self._accept(request, body)

    async def _read(self, request: web.Request, held: AsyncExitStack) -> bytes | web.Response:
        """The body, or the answer to one that does not arrive as it should. `held` keeps the place of a large one."""
        try:
            async with asyncio.timeout(self._read_timeout):
                return await self._body(request, held)
        except TimeoutError:
            return _answer(request, 408, f"the body did not arrive within {self._read_timeout:g} s", close=True)
        except _TooLargeError:
            return _answer(request, 413, "the body is larger than GitHub sends", close=True)
        except _BusyError:
            RECEIVED.labels("unknown", "busy").inc()
            return _answer(request, 503, "too many large deliveries at once; redeliver it later", close=True)
        except (web.RequestPayloadError, ConnectionError):  # wrong chunks, or the sender went away
            return _answer(request, 400, "the body broke off", close=True)

    async def _body(self, request: web.Request, held: AsyncExitStack) -> bytes:
        chunks, size, large = [], 0, False
        while chunk := await request.content.readany():
            chunks.append(chunk)
            size += len(chunk)
            if size > MAX_BODY:
                raise _TooLargeError
            if size > LARGE and not large:
                large = True
                await self._wait_for_place(held)
        return chunks[0] if len(chunks) == 1 else b"".join(chunks)

    async def _wait_for_place(self, held: AsyncExitStack) -> None:
        """Take one of the places for large bodies; half of the time is left for reading the rest."""
        try:
            async with asyncio.timeout(self._read_timeout / 2):
                await held.enter_async_context(self._large)
        except TimeoutError:
            raise _BusyError from None

    async def _accept(self, request: web.Request, body: bytes) -> web.Response:
        event = _header(request, "X-GitHub-Event")
        try:
            guid = UUID(_header(request, "X-GitHub-Delivery"))
        except ValueError:
            guid = None
        if not event or guid is None:
            return _answer(request, 400, "the headers X-GitHub-Event and X-GitHub-Delivery are needed, once each")
        if request.content_type != "application/json":
            return _answer(request, 415, "set the webhook's content type to application/json")
        target = _header(request, TARGET_TYPE), _header(request, TARGET_ID)
        if self._app_id is not None and not is_for_app(self._app_id, *target):
            RECEIVED.labels(event if event in EVENTS | FILTERED_EVENTS else "other", "another_app").inc()
            return _answer(request, 403, "this is sent to another App or webhook: give it a secret of its own")
        if event not in EVENTS and (event not in FILTERED_EVENTS or self._results is None):
            RECEIVED.labels(event if event in ACKNOWLEDGED else "other", "not_needed").inc()
            return _answer(request, 202, "not needed")
        try:
            parts = read_envelope(body)
            if event in FILTERED_EVENTS and self._results is not None and not await self._results.wants(event, parts):
                RECEIVED.labels(event, "not_needed").inc()
                return _answer(request, 202, "not needed")
            async with asyncio.timeout(STORE_TIMEOUT):
                new = await self._record(new_delivery(event, guid, body, parts))
        except Exception as error:
            if not is_transient(error):
                raise
            RECEIVED.labels(event, "database_down").inc()
            log.warning("delivery_not_stored", delivery=str(guid), event_name=event, error=type(error).__name__)
            return _answer(request, 503, "the delivery could not be stored; redeliver it later")
        RECEIVED.labels(event, "stored" if new else "duplicate").inc()
        log.info("delivery", delivery=str(guid), event_name=event, new=new)
        return _answer(request, 202, "stored" if new else "already stored")


def _answer(request: web.Request, status: int, text: str, *, close: bool = False) -> web.Response:
    response = web.json_response({"message": text}, status=status)
    if close:  # the body was not read: the connection cannot be used again
        response.force_close()
    return response


def add_routes(
    app: web.Application,
    *,
    record: Record,
    secrets: Sequence[str],
    results: ResultFilter | None = None,
    read_timeout: float = READ_TIMEOUT,
    app_id: int | None = None,
) -> None:
    """Mount POST /webhook. `record` stores one delivery durably and tells whether it was new; `secrets`: one or two.

    `results`: which results of checks and workflows are stored; None: none. `read_timeout`: seconds in which a body
    must arrive. `app_id`: our App's, to which deliveries must be sent; None: that is not asked.
    """
    receiver = Webhook(record=record, secrets=secrets, results=results, read_timeout=read_timeout, app_id=app_id)
    app.router.add_post("/webhook", receiver.receive)

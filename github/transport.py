"""One request to GitHub's API and its answer: safe addresses, time-outs, conditional requests, typed errors.

Built on `gidgethub.sansio`, gidgethub's core without I/O (headers, links, decoding). Its client classes are not used:
they cache by URL alone and over all installations, send the token to any absolute URL, set no time-outs and raise
untyped errors for codes and bodies that proxies produce.
"""

from __future__ import annotations

import json
import time
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import aiohttp
from cachetools import LRUCache
from gidgethub import sansio
from pydantic import SecretStr
from yarl import URL

from github import calls
from github.allowance import ALLOWANCES
from github.clock import GitHubClock
from github.endpoints import endpoint_of, points_of
from github.errors import GitHubError, Misconfigured, RateLimited, TooLarge, Transient, UnknownOutcome, UnsafeAddress
from github.governor import Governor
from github.refusals import Context, lost, refusal, spent

API_VERSION = "2022-11-28"  # sent as X-GitHub-Api-Version: GitHub keeps a version for at least two years
ACCEPT = "application/vnd.github+json"
USER_AGENT = "stepgate"

# GitHub ends a request after 10 s of work (REST docs, troubleshooting); the rest is for the network and our own queue.
TIMEOUT = aiohttp.ClientTimeout(total=30, sock_connect=5, sock_read=15)
# A recursive tree holds at most 100,000 entries or 7 MB (REST docs, git/trees); with its addresses it is some 30 MB.
MAX_BODY = 64 * 1024 * 1024
# Bodies kept for conditional requests, over all installations, and the largest single one, in bytes.
ETAG_CACHE_BYTES = 16 * 1024 * 1024
_ETAG_LARGEST = 128 * 1024

_MAX_REDIRECTS = 5
# "If you get a redirect, repeat the request at the address in Location" with the same verb (REST docs, best practices).
_REDIRECTS = frozenset({301, 302, 307, 308})
_CHUNK = 64 * 1024

# Raised before a byte of the request left: a write can be repeated without looking.
_NOT_SENT = (aiohttp.ClientConnectorError, aiohttp.ConnectionTimeoutError, aiohttp.InvalidURL)


@dataclass(frozen=True, slots=True)
class Credential:
    """What a request authenticates with. `scheme`: "jwt" (the App), "token" (an installation) or "none"."""

    scheme: str
    secret: SecretStr

    def headers(self) -> dict[str, str]:
        """Request headers with this credential, in lower case."""
        if self.scheme == "none":
            return sansio.create_headers(USER_AGENT, accept=ACCEPT)
        if self.scheme == "jwt":
            return sansio.create_headers(USER_AGENT, accept=ACCEPT, jwt=self.secret.get_secret_value())
        return sansio.create_headers(USER_AGENT, accept=ACCEPT, oauth_token=self.secret.get_secret_value())


# For the few operations that anybody may call.
ANONYMOUS = Credential("none", SecretStr(""))


@dataclass(frozen=True, slots=True)
class Request:
    """A request. `url`: relative to the API base, already percent-encoded, or an absolute one of the same API (Link).

    `repeatable`: doing it twice has the effect of once. `cacheable`: worth a conditional request next time (what can
    change and is asked again). `max_body`: the largest answer that is read, in bytes.
    """

    method: str
    url: str
    body: Any = None
    repeatable: bool = True
    cacheable: bool = False
    max_body: int = MAX_BODY

    @property
    def what(self) -> str:
        """The request in a few words, for errors."""
        return f"{self.method} {self.url}"


@dataclass(frozen=True, slots=True)
class Answer:
    """A successful answer: decoded JSON (None without a body) and the address of the next page, if there is one.

    `unchanged`: GitHub said so (304); the data is that of the last time.
    """

    data: Any = field(repr=False)  # may be a token: tracebacks with local variables must not show it
    headers: Mapping[str, str] = field(repr=False)
    next_page: str | None
    unchanged: bool = False


@dataclass(frozen=True, slots=True)
class _Raw:
    status: int
    headers: Mapping[str, str] = field(repr=False)
    body: bytes = field(repr=False)
    unchanged: bool = False


@dataclass(frozen=True, slots=True)
class _Kept:
    etag: str
    raw: _Raw


class Transport:
    """Sends requests to one API base (https://api.github.com, or https://HOST/api/v3) and to nothing else."""

    def __init__(
        self,
        http: aiohttp.ClientSession,
        api_url: str,
        governor: Governor,
        *,
        now: Callable[[], float] = time.time,
        timeout: aiohttp.ClientTimeout = TIMEOUT,
        etag_cache_bytes: int = ETAG_CACHE_BYTES,
    ) -> None:
        self._http = http
        self._base = _base(api_url)
        self._governor = governor
        self._now = now
        self.clock = GitHubClock(now)
        self._timeout = timeout
        self._etags: LRUCache[tuple[int, str], _Kept] = LRUCache(
            etag_cache_bytes, lambda kept: len(kept.raw.body) + 512
        )

    async def send(
        self, request: Request, credential: Credential, installation_id: int, *, payer: int | None = None
    ) -> Answer:
        """Send `request` when the governor lets it, and return its answer; every failure is a GitHubError.

        `installation_id`: 0 for the App itself. It is the governor's key and parts what is kept for conditional
        requests (a 304 costs nothing of the primary limit: REST docs, best practices). `payer`: whose limits the
        answer tells of, if that is another one. A redirect is a request of its own, to GitHub's limits as to ours.
        """
        context = Context(request.what, installation_id, request.repeatable, self._now)
        if self._http.closed:
            raise Transient(f"{context.what}: our HTTP session is closed")
        payer = installation_id if payer is None else payer
        body = None if request.body is None else json.dumps(request.body).encode()
        url = self._inside(_joined(self._base, request.url, context), context)
        for _ in range(_MAX_REDIRECTS + 1):
            got = await self._in_turn(request, url, body, credential, context, payer=payer)
            if isinstance(got, Answer):
                return got
            url = got
        raise Transient(f"{context.what}: more than {_MAX_REDIRECTS} redirects")

    async def _in_turn(
        self,
        request: Request,
        url: URL,
        body: bytes | None,
        credential: Credential,
        context: Context,
        *,
        payer: int,
    ) -> Answer | URL:
        """One request when the governor lets it: its answer, or where a redirect leads to."""
        key = context.installation_id
        endpoint, points = endpoint_of(url.raw_path.removeprefix(self._base.raw_path)), points_of(request.method)
        turn = self._governor.turn(key, write=not request.repeatable, endpoint=endpoint, points=points)
        async with turn, self._unless_stopped(payer, key):
            try:
                got = await self._counted(request, url, body, credential, context)
            except RateLimited as refused:  # told while still in turn: the next writer must find it
                limit = await self._governor.pause(payer, refused)
            else:
                if isinstance(got, Answer) and (used_up := spent(got.headers, context)):
                    await self._governor.pause(payer, used_up)
                return got
        raise limit

    @asynccontextmanager
    async def _unless_stopped(self, payer: int, key: int) -> AsyncIterator[None]:
        """RateLimited while a limit of GitHub stops who pays, if that is not who is in turn already."""
        if payer == key:
            yield
            return
        async with self._governor.turn(payer, write=False, points=0):
            yield

    async def _counted(
        self, request: Request, url: URL, body: bytes | None, credential: Credential, context: Context
    ) -> Answer | URL:
        try:
            raw = await self._conditional(request, url, body, credential, context)
            if raw.status in _REDIRECTS:
                return self._inside(_joined(url, raw.headers.get("location"), context), context)
            answer = _answer(raw, context)
        except GitHubError as error:
            calls.count(request.method, request.url, credential.scheme, calls.outcome_of(error))
            raise
        calls.count(request.method, request.url, credential.scheme, "unchanged" if answer.unchanged else "fine")
        return answer

    def _inside(self, url: URL, context: Context) -> URL:
        """`url` (dot segments are resolved by then) if it belongs to the API; any other would be handed a token."""
        same = (url.scheme, url.host, url.port) == (self._base.scheme, self._base.host, self._base.port)
        if not same or not url.raw_path.startswith(self._base.raw_path) or url.user is not None:
            raise UnsafeAddress(f"{context.what}: refused to go to {url.scheme}://{url.host}, outside of the API")
        return url

    async def _conditional(
        self, request: Request, url: URL, body: bytes | None, credential: Credential, context: Context
    ) -> _Raw:
        if not request.cacheable:
            return await self._exchange(request, url, body, credential, context, etag=None)
        key = (context.installation_id, str(url))
        kept = self._etags.get(key)
        raw = await self._exchange(request, url, body, credential, context, etag=kept.etag if kept else None)
        if kept and raw.status == 304:
            headers = {**kept.raw.headers, **_plain(raw.headers)}
            return _Raw(kept.raw.status, headers, kept.raw.body, unchanged=True)
        self._etags.pop(key, None)
        etag = raw.headers.get("etag")
        if raw.status == 200 and etag and len(raw.body) <= min(_ETAG_LARGEST, self._etags.maxsize - 512):
            self._etags[key] = _Kept(etag, _Raw(raw.status, _plain(raw.headers), raw.body))
        return raw

    async def _exchange(
        self,
        request: Request,
        url: URL,
        body: bytes | None,
        credential: Credential,
        context: Context,
        *,
        etag: str | None,
    ) -> _Raw:
        """One request over the wire. What aiohttp raises is replaced, not chained: its errors hold request headers."""
        headers = credential.headers()
        headers["x-github-api-version"] = API_VERSION
        if body is not None:
            headers["content-type"] = "application/json; charset=utf-8"
        if etag:
            headers["if-none-match"] = etag
        asked_at = self._now()
        try:
            async with self._http.request(
                request.method, url, headers=headers, data=body, allow_redirects=False, timeout=self._timeout
            ) as response:
                _note_allowance(credential, context.installation_id, response.headers)
                self.clock.heard(response.headers, asked_at)
                return _Raw(response.status, response.headers, await _read(response, request))
        except (aiohttp.ClientError, OSError, ValueError) as error:
            failure = _failure(error, context)
        finally:
            headers.clear()  # tracebacks with local variables must not show the credential
        raise failure


def _note_allowance(credential: Credential, installation_id: int, headers: Mapping[str, str]) -> None:
    """The budget is that of the credential: what the App asks for an installation is paid by the App, and what people
    ask with tokens of their own (no installation) is no budget of ours.
    """
    if credential.scheme == "jwt":
        ALLOWANCES.seen(0, headers)
    elif installation_id:
        ALLOWANCES.seen(installation_id, headers)


def _base(api_url: str) -> URL:
    try:
        base = URL(api_url.rstrip("/") + "/")
        usable = base.scheme in ("http", "https") and bool(base.host) and not base.query_string and base.user is None
    except ValueError:
        usable = False
    if not usable:
        raise Misconfigured("the GitHub API address must be http(s)://HOST[:PORT][/PATH]")
    return base


def _joined(base: URL, address: str | None, context: Context) -> URL:
    """`address` (ours, of a Link header or of a redirect) seen from `base`; valid percent-escapes stay as they are."""
    try:
        if address:
            return base.join(URL(address)).with_fragment(None)
    except ValueError:
        pass
    raise lost(f"{context.what}: a redirect or link without a usable address", context)


async def _read(response: aiohttp.ClientResponse, request: Request) -> bytes:
    """The body, at most `max_body` bytes of it decompressed: an error's body is cut, a success's is refused."""
    chunks: list[bytes] = []
    size = 0
    async for chunk in response.content.iter_chunked(_CHUNK):
        chunks.append(chunk)
        size += len(chunk)
        if size > request.max_body:
            response.close()
            if response.status < 300:
                what = f"{request.what}: the answer is larger than {request.max_body} bytes"
                raise TooLarge(what) if request.repeatable else UnknownOutcome(what)
            break
    return b"".join(chunks)


def _failure(error: Exception, context: Context) -> GitHubError:
    kind = type(error).__name__
    if isinstance(error, _NOT_SENT):
        return Transient(f"{context.what}: no connection ({kind})")
    if isinstance(error, TimeoutError):
        return lost(f"{context.what}: no answer in time ({kind})", context)
    return lost(f"{context.what}: the connection was lost ({kind})", context)


def _answer(raw: _Raw, context: Context) -> Answer:
    """Decode a 2xx answer, or raise what any other one means."""
    if not 200 <= raw.status < 300:
        raise refusal(raw.status, raw.headers, raw.body, context)
    if raw.status == 204:
        return Answer(None, raw.headers, None)
    # only what decoding needs: odd numbers in rate-limit headers would make gidgethub raise
    wanted = {name: raw.headers[name] for name in ("content-type", "link") if name in raw.headers}
    try:
        data, _, next_page = sansio.decipher_response(200, wanted, raw.body)
    except (ValueError, LookupError, RecursionError):  # cut or broken JSON, unknown charset, nested too deep
        data = next_page = None
    if not isinstance(data, dict | list):
        data = None  # not for tracebacks
        raise lost(f"{context.what}: {raw.status} without readable JSON", context)
    return Answer(data, raw.headers, next_page, raw.unchanged)


def _plain(headers: Mapping[str, str]) -> dict[str, str]:
    """The few headers that matter after the exchange, with lower-case names."""
    names = ("content-type", "link", "date", "x-ratelimit-limit", "x-ratelimit-remaining", "x-ratelimit-reset")
    return {name: headers[name] for name in names if name in headers}

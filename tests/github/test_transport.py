"""One request over the wire: addresses, time-outs, broken answers, conditional requests, nothing secret in errors."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import logging
import socket
import traceback

import aiohttp
import pytest
from pydantic import SecretStr

from github.calls import REQUESTS
from github.errors import (
    GitHubError,
    Misconfigured,
    RateLimited,
    TooLarge,
    Transient,
    UnknownOutcome,
    UnsafeAddress,
)
from github.governor import MemoryGovernor
from github.transport import Credential, Request, Transport
from tests.support.fault_server import FakeClock, FaultServer, Hang, Raw, Reply, Seen

SECRET = "ghs_" + "Zq9" * 60
TOKEN = Credential("token", SecretStr(SECRET))
QUICK = aiohttp.ClientTimeout(total=0.3, sock_connect=0.2, sock_read=0.2)
GET = Request("GET", "thing")
POST = Request("POST", "thing", body={"a": 1}, repeatable=False)


@pytest.fixture
def governor(clock: FakeClock) -> MemoryGovernor:
    """No distance between writes."""
    return MemoryGovernor(0.0, now=clock.now, sleep=clock.sleep)


@pytest.fixture
def transport(
    server: FaultServer, http: aiohttp.ClientSession, clock: FakeClock, governor: MemoryGovernor
) -> Transport:
    """A transport with an API below /api/v3, as on GitHub Enterprise Server."""
    return Transport(http, f"{server.url}/api/v3", governor, now=clock.now, timeout=QUICK)


PATH = "/api/v3/thing"


async def test_headers_of_every_request(transport: Transport, server: FaultServer) -> None:
    """Version, user agent, media type and token are sent; the body is JSON."""
    server.on("POST", PATH, Reply(201, {"id": 1}))
    answer = await transport.send(POST, TOKEN, 99)
    assert answer.data == {"id": 1}
    sent = server.seen[-1]
    assert sent.headers["x-github-api-version"] == "2022-11-28"
    assert sent.headers["user-agent"] == "stepgate"
    assert sent.headers["accept"] == "application/vnd.github+json"
    assert sent.headers["authorization"] == f"token {SECRET}"
    assert sent.headers["content-type"].startswith("application/json")
    assert sent.json() == {"a": 1}


@pytest.mark.parametrize(
    "reply",
    [
        Reply(200, body=b"<html>sign in</html>", content_type="text/html"),
        Reply(200, body=b'{"id": 1'),
        Reply(200, body=b""),
        Reply(200, body=b"null"),
        Reply(200, body=b'"text"'),
        Reply(200, body=b"\xff\xfe{}"),
        Reply(200, body=b"{}", content_type="application/json; charset=klingon"),
        Reply(200, body=b"[" * 200_000),
        Reply(200, {"id": 1}, content_type="application/octet-stream"),
        Reply(206, body=b"{"),
        Reply(502, body=b"<html>Bad Gateway</html>", content_type="text/html"),
        Reply(503, body=b""),
        Reply(520, body=b"error code: 520", content_type="text/plain"),
        Reply(500, {"message": "Server Error"}),
        Reply(304),
        Raw(b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 100\r\n\r\n{"),
        Raw(
            b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Encoding: gzip\r\n"
            b"Content-Length: 3\r\n\r\nabc"
        ),
        Raw(b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n"),
        Raw(b"this is not HTTP\r\n\r\n"),
        Raw(),
        Hang(),
    ],
    ids=lambda reply: repr(reply)[:70],
)
async def test_nonsense_is_transient_for_reads_and_unknown_for_writes(
    transport: Transport, server: FaultServer, reply: Reply | Raw | Hang
) -> None:
    """HTML, cut JSON, odd codes, resets, silence: a read is repeated, a write may have happened."""
    server.on("GET", PATH, reply)
    server.on("POST", PATH, reply)
    with pytest.raises(Transient) as read:
        await transport.send(GET, TOKEN, 99)
    with pytest.raises(UnknownOutcome):
        await transport.send(POST, TOKEN, 99)
    assert len(server.calls("POST", PATH)) == 1  # never sent again by ourselves
    assert not isinstance(read.value, RateLimited)


async def test_without_a_connection_nothing_was_sent(
    http: aiohttp.ClientSession, governor: MemoryGovernor, clock: FakeClock
) -> None:
    """A refused connection is Transient even for a write."""
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        port = unused.getsockname()[1]
    transport = Transport(http, f"http://127.0.0.1:{port}", governor, now=clock.now, timeout=QUICK)
    with pytest.raises(Transient):
        await transport.send(POST, TOKEN, 99)


async def test_unknown_host_is_transient(
    http: aiohttp.ClientSession, governor: MemoryGovernor, clock: FakeClock
) -> None:
    """A name that does not resolve is a network fault."""
    transport = Transport(http, "http://api.invalid", governor, now=clock.now, timeout=QUICK)
    with pytest.raises(Transient):
        await transport.send(POST, TOKEN, 99)


async def test_a_closed_session_is_typed(server: FaultServer, governor: MemoryGovernor, clock: FakeClock) -> None:
    """While the process stops, requests end with an error of the tree."""
    session = aiohttp.ClientSession()
    transport = Transport(session, server.url, governor, now=clock.now)
    await session.close()
    with pytest.raises(Transient):
        await transport.send(POST, TOKEN, 99)


async def test_cancellation_is_passed_on(transport: Transport, server: FaultServer) -> None:
    """A cancelled request is cancelled, not an error of GitHub's."""
    server.on("GET", PATH, Hang())
    task = asyncio.create_task(transport.send(GET, TOKEN, 99))
    await asyncio.sleep(0.05)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


# ------------------------------------------------------------------------------------------------------------ addresses


@pytest.mark.parametrize("status", [301, 302, 307, 308])
async def test_redirects_on_the_same_host_are_followed_with_verb_and_body(
    transport: Transport, server: FaultServer, status: int
) -> None:
    """A renamed repository answers with its numeric address: the same request is repeated there."""
    server.on("POST", PATH, Reply(status, headers={"Location": f"{server.url}/api/v3/repositories/1/thing?x=%2F"}))
    server.on("POST", "/api/v3/repositories/1/thing", Reply(201, {"id": 7}))
    assert (await transport.send(POST, TOKEN, 99)).data == {"id": 7}
    assert server.seen[-1].json() == {"a": 1}
    assert server.seen[-1].headers["authorization"] == f"token {SECRET}"


async def test_a_relative_redirect_is_followed(transport: Transport, server: FaultServer) -> None:
    """Location may be a path."""
    server.on("GET", PATH, Reply(301, headers={"Location": "/api/v3/other"}))
    server.on("GET", "/api/v3/other", Reply(200, {"here": True}))
    assert (await transport.send(GET, TOKEN, 99)).data == {"here": True}


@pytest.mark.parametrize(
    "location",
    [
        "http://169.254.169.254/latest/meta-data",
        "https://127.0.0.1/api/v3/thing",
        "//evil.example/api/v3/thing",
        "{url}/login",
        "{url}/api/v3/../../login",
        "{url}/api/v3/%2e%2e/login",
        "http://127.0.0.1:{port}@evil.example/api/v3/x",
        "http://user:pw@127.0.0.1:{port}/api/v3/x",
        "ftp://127.0.0.1:{port}/api/v3/x",
        "javascript:alert(1)",
    ],
)
async def test_nothing_is_sent_outside_of_the_api(transport: Transport, server: FaultServer, location: str) -> None:
    """Another scheme, host, port or base path is refused, by redirect as by link, and no token goes there."""
    target = location.format(url=server.url, port=server.url.rsplit(":", 1)[1])
    server.on("GET", PATH, Reply(302, headers={"Location": target}))
    with pytest.raises(UnsafeAddress):
        await transport.send(GET, TOKEN, 99)
    assert len(server.seen) == 1
    with pytest.raises(UnsafeAddress):
        await transport.send(Request("GET", target), TOKEN, 99)
    assert len(server.seen) == 1


async def test_a_redirected_write_keeps_the_pace_twice(server: FaultServer, http: aiohttp.ClientSession) -> None:
    """To GitHub's limits the redirect is a request like any other: the second one waits for its own turn."""
    clock = FakeClock()
    governor = MemoryGovernor(0.2, now=clock.now, sleep=clock.sleep)
    transport, at = Transport(http, server.url, governor, now=clock.now), list[float]()

    def moved(_: Seen) -> Reply:
        at.append(clock.now())
        return Reply(307, {"message": "Temporary Redirect"}, {"Location": f"{server.url}/repositories/7/thing"})

    def done(_: Seen) -> Reply:
        at.append(clock.now())
        return Reply(201, {"id": 1})

    server.on("POST", "/thing", moved)
    server.on("POST", "/repositories/7/thing", done)
    for _ in range(2):
        await transport.send(POST, TOKEN, 99)
    gaps = [after - before for before, after in itertools.pairwise(at)]
    assert len(gaps) == 3
    assert min(gaps) > 0.19


async def test_a_limit_between_a_write_and_its_redirect_means_that_nothing_was_written(
    transport: Transport, server: FaultServer, governor: MemoryGovernor, clock: FakeClock
) -> None:
    """The second request is not sent, and the write can be tried again without looking."""
    limit = RateLimited("slow", until=clock.now() + 30, retry_after=30, kind="secondary", explicit=True)

    async def moved(_: Seen) -> Reply:
        await governor.pause(99, limit)
        return Reply(307, {"message": "Temporary Redirect"}, {"Location": f"{server.url}/api/v3/repositories/7/thing"})

    server.on("POST", PATH, moved)
    with pytest.raises(RateLimited):
        await transport.send(POST, TOKEN, 99)
    assert len(server.seen) == 1


@pytest.mark.parametrize("headers", [{}, {"Location": ""}, {"Location": "http://["}])
async def test_a_redirect_without_usable_address_is_transient(
    transport: Transport, server: FaultServer, headers: dict[str, str]
) -> None:
    """Nothing to follow: nonsense, tried again later."""
    server.on("GET", PATH, Reply(302, headers=headers))
    with pytest.raises(Transient):
        await transport.send(GET, TOKEN, 99)


async def test_redirects_that_go_round_end(transport: Transport, server: FaultServer) -> None:
    """A loop is left after a few steps."""
    server.on("GET", PATH, Reply(302, headers={"Location": PATH}))
    with pytest.raises(Transient):
        await transport.send(GET, TOKEN, 99)
    assert len(server.seen) == 6


@pytest.mark.parametrize(
    "url", ["", "api.github.com", "ftp://x", "http://", "http://u:p@h", "http://h?x=1", "http://["]
)
async def test_an_unusable_api_address_is_the_operators_fault(
    http: aiohttp.ClientSession, governor: MemoryGovernor, url: str
) -> None:
    """It is told at the start, in one type."""
    with pytest.raises(Misconfigured):
        Transport(http, url, governor)


async def test_next_page_comes_from_the_link_header(transport: Transport, server: FaultServer) -> None:
    """rel=next among others."""
    link = f'<{server.url}/api/v3/thing?page=1>; rel="prev", <{server.url}/api/v3/thing?page=3>; rel="next"'
    server.on("GET", PATH, Reply(200, [], {"Link": link}))
    assert (await transport.send(GET, TOKEN, 99)).next_page == f"{server.url}/api/v3/thing?page=3"


# ------------------------------------------------------------------------------------------------------------- sizes


async def test_an_answer_above_the_bound_is_refused(transport: Transport, server: FaultServer) -> None:
    """It is not read to its end."""
    server.on("GET", PATH, Reply(200, {"x": "y" * 100_000}))
    with pytest.raises(TooLarge):
        await transport.send(Request("GET", "thing", max_body=50_000), TOKEN, 99)


async def test_a_write_whose_answer_is_above_the_bound_may_have_happened(
    transport: Transport, server: FaultServer
) -> None:
    """201 was said: whoever repeats it without looking writes twice."""
    server.on("POST", PATH, Reply(201, {"text": "x" * 3000}))
    with pytest.raises(UnknownOutcome):
        await transport.send(Request("POST", "thing", body={}, repeatable=False, max_body=1000), TOKEN, 99)


async def test_a_long_error_page_is_still_that_error(transport: Transport, server: FaultServer) -> None:
    """A huge 502 page is a 502."""
    server.on("GET", PATH, Reply(502, body=b"x" * 200_000, content_type="text/html"))
    with pytest.raises(Transient):
        await transport.send(Request("GET", "thing", max_body=50_000), TOKEN, 99)


# ----------------------------------------------------------------------------------------------- conditional requests

CACHEABLE = Request("GET", "thing", cacheable=True)


def etag_server(server: FaultServer, current: dict[str, object]) -> None:
    """/thing answers with `current` and its ETag, or 304."""

    def answer(seen: Seen) -> Reply:
        etag = f'"{hash(str(current))}"'
        if seen.headers.get("if-none-match") == etag:
            return Reply(304, headers={"ETag": etag})
        return Reply(200, dict(current), {"ETag": etag, "Link": f'<{server.url}/api/v3/next>; rel="next"'})

    server.on("GET", PATH, answer)


async def test_304_gives_the_kept_answer_with_its_link(transport: Transport, server: FaultServer) -> None:
    """The second request is conditional; a change is seen at once."""
    current: dict[str, object] = {"v": 1}
    etag_server(server, current)
    first = await transport.send(CACHEABLE, TOKEN, 99)
    second = await transport.send(CACHEABLE, TOKEN, 99)
    assert "if-none-match" in server.seen[1].headers
    assert (second.data, second.next_page) == (first.data, first.next_page) == ({"v": 1}, f"{server.url}/api/v3/next")
    second.data["v"] = "spoilt by a caller"
    current["v"] = 2
    assert (await transport.send(CACHEABLE, TOKEN, 99)).data == {"v": 2}
    assert (await transport.send(CACHEABLE, TOKEN, 99)).data == {"v": 2}


async def test_what_one_caller_changes_is_not_what_the_next_gets(transport: Transport, server: FaultServer) -> None:
    """The kept answer is decoded anew for each caller."""
    etag_server(server, {"v": 1})
    (await transport.send(CACHEABLE, TOKEN, 99)).data["v"] = "spoilt"
    assert (await transport.send(CACHEABLE, TOKEN, 99)).data == {"v": 1}


async def test_kept_answers_belong_to_one_installation(transport: Transport, server: FaultServer) -> None:
    """Another installation's request is not conditional: it may not see what the first saw."""
    etag_server(server, {"v": 1})
    await transport.send(CACHEABLE, TOKEN, 99)
    await transport.send(CACHEABLE, TOKEN, 100)
    assert "if-none-match" not in server.seen[1].headers


async def test_immutable_objects_are_not_kept(transport: Transport, server: FaultServer) -> None:
    """A request that is not cacheable is never conditional."""
    etag_server(server, {"v": 1})
    for _ in range(2):
        await transport.send(GET, TOKEN, 99)
    assert "if-none-match" not in server.seen[1].headers


async def test_an_evicted_answer_costs_only_a_full_request(
    server: FaultServer, http: aiohttp.ClientSession, governor: MemoryGovernor, clock: FakeClock
) -> None:
    """With room for one answer, two alternating addresses never fail."""
    transport = Transport(http, f"{server.url}/api/v3", governor, now=clock.now, etag_cache_bytes=600)
    etag_server(server, {"v": 1})
    server.on("GET", "/api/v3/other", Reply(200, {"o": 1}, {"ETag": '"o"'}))
    for _ in range(2):
        assert (await transport.send(CACHEABLE, TOKEN, 99)).data == {"v": 1}
        assert (await transport.send(Request("GET", "other", cacheable=True), TOKEN, 99)).data == {"o": 1}
    assert all("if-none-match" not in seen.headers for seen in server.seen)


async def test_an_answer_that_is_evicted_while_it_is_confirmed_is_given(
    server: FaultServer, http: aiohttp.ClientSession, governor: MemoryGovernor, clock: FakeClock
) -> None:
    """304 for what another answer has pushed out meanwhile: it was kept for the request under way."""
    transport = Transport(http, f"{server.url}/api/v3", governor, now=clock.now, etag_cache_bytes=600)
    gate = asyncio.Event()

    async def confirmed(_: Seen) -> Reply:
        await gate.wait()
        return Reply(304, headers={"ETag": '"t"'})

    server.on("GET", PATH, Reply(200, {"v": 1}, {"ETag": '"t"'}), confirmed)
    server.on("GET", "/api/v3/other", Reply(200, {"o": 1}, {"ETag": '"o"'}))
    await transport.send(CACHEABLE, TOKEN, 99)
    slow = asyncio.create_task(transport.send(CACHEABLE, TOKEN, 99))
    while len(server.calls("GET", PATH)) < 2:
        await asyncio.sleep(0.005)
    await transport.send(Request("GET", "other", cacheable=True), TOKEN, 99)
    gate.set()
    answer = await slow
    assert (answer.data, answer.unchanged) == ({"v": 1}, True)


async def test_requests_are_counted_by_class_and_outcome(transport: Transport, server: FaultServer) -> None:
    """Each request that was sent counts once, unchanged answers apart; what our own governor refuses does not."""
    app = Credential("jwt", SecretStr("jwt"))
    token = Request("POST", "app/installations/1/access_tokens")
    answers: list[tuple[Request, Credential, Reply | Raw, str, str]] = [
        (CACHEABLE, TOKEN, Reply(200, {}, {"ETag": '"e"'}), "read", "fine"),
        (CACHEABLE, TOKEN, Reply(304), "read", "unchanged"),
        (GET, TOKEN, Reply(502), "read", "transient"),
        (POST, TOKEN, Raw(), "write", "unknown"),
        (POST, TOKEN, Reply(422, {"message": "no"}), "write", "permanent"),
        (GET, app, Reply(401, {"message": "no"}), "app", "permanent"),
        (token, app, Reply(403, {"message": "This installation has been suspended"}), "token", "away"),
        (GET, TOKEN, Reply(429, {"message": "slow down"}), "read", "limited"),
    ]
    for request, credential, reply, kind, outcome in answers:
        before = REQUESTS.labels(kind, outcome)._value.get()
        server.on(request.method, f"/api/v3/{request.url}", reply)
        with contextlib.suppress(GitHubError):
            await transport.send(request, credential, 99)
        assert REQUESTS.labels(kind, outcome)._value.get() == before + 1, (kind, outcome)
    counted = sum(sample.value for family in REQUESTS.collect() for sample in family.samples)
    with pytest.raises(RateLimited):
        await transport.send(GET, TOKEN, 99)
    assert sum(sample.value for family in REQUESTS.collect() for sample in family.samples) == counted


# ------------------------------------------------------------------------------------------------------------- limits


async def test_a_limit_stops_the_installation_without_further_requests(
    transport: Transport, server: FaultServer, clock: FakeClock
) -> None:
    """After a 429 nothing is sent for that installation until the time; another one goes on."""
    server.on("GET", PATH, Reply(429, {"message": ""}, {"Retry-After": "30"}), Reply(200, {}))
    with pytest.raises(RateLimited):
        await transport.send(GET, TOKEN, 99)
    with pytest.raises(RateLimited) as refused:
        await transport.send(GET, TOKEN, 99)
    assert refused.value.retry_after == 30
    assert len(server.seen) == 1
    await transport.send(GET, TOKEN, 100)
    clock.time += 30
    await transport.send(GET, TOKEN, 99)
    assert len(server.seen) == 3


async def test_a_wait_counts_from_the_answer(transport: Transport, server: FaultServer, clock: FakeClock) -> None:
    """A request that took 20 s and is told to wait 30 s waits 30 s from then."""

    def slow(_: Seen) -> Reply:
        clock.time += 20
        return Reply(429, {"message": ""}, {"Retry-After": "30"})

    server.on("GET", PATH, slow)
    start = clock.now()
    with pytest.raises(RateLimited) as refused:
        await transport.send(GET, TOKEN, 99)
    assert refused.value.until == start + 50


async def test_a_write_that_meets_a_limit_stops_those_behind_it(transport: Transport, server: FaultServer) -> None:
    """Ten writes at once: the first is refused, and none of the others is sent."""
    server.on("POST", PATH, Reply(403, {"message": "You have exceeded a secondary rate limit"}))
    results = await asyncio.gather(*(transport.send(POST, TOKEN, 99) for _ in range(10)), return_exceptions=True)
    assert [type(result) for result in results] == [RateLimited] * 10
    assert len(server.seen) == 1


async def test_the_last_answer_of_a_budget_is_given_and_stops_the_next_request(
    transport: Transport, server: FaultServer, clock: FakeClock
) -> None:
    """Remaining 0 on a success: that answer counts, the next request waits for the reset."""
    reset = {"X-RateLimit-Remaining": "0", "X-RateLimit-Reset": f"{clock.now() + 600:.0f}"}
    stamp = {"Date": "Thu, 09 Oct 2025 08:53:20 GMT"}
    server.on("GET", PATH, Reply(200, {"v": 1}, reset | stamp))
    assert (await transport.send(GET, TOKEN, 99)).data == {"v": 1}
    with pytest.raises(RateLimited) as refused:
        await transport.send(GET, TOKEN, 99)
    assert refused.value.until == clock.now() + 601
    assert len(server.seen) == 1


# ------------------------------------------------------------------------------------------------------------ secrets


@pytest.mark.parametrize(
    "reply",
    [
        Reply(401, {"message": f"Bad credentials {SECRET}"}),
        Reply(422, {"message": "no", "errors": [f"token {SECRET}"]}),
        Reply(302, headers={"Location": "http://evil.example/"}),
        Reply(200, body=SECRET.encode(), content_type="text/plain"),
        Raw(),
        Raw(f"HTTP/1.1 {SECRET}\r\n\r\n".encode()),
        Hang(),
    ],
    ids=lambda reply: type(reply).__name__,
)
async def test_no_secret_in_errors_causes_locals_or_logs(
    transport: Transport, server: FaultServer, reply: Reply | Raw | Hang, caplog: pytest.LogCaptureFixture
) -> None:
    """Text, repr, the chain of causes and the local variables of our frames, and debug logs: none holds the token."""
    caplog.set_level(logging.DEBUG)
    server.on("POST", PATH, reply)
    with pytest.raises(GitHubError) as caught:
        await transport.send(POST, TOKEN, 99)
    error = caught.value
    shown = traceback.TracebackException.from_exception(error, capture_locals=True)
    ours = [frame for frame in shown.stack if "/github/" in frame.filename and "/tests/" not in frame.filename]
    assert ours
    assert error.__cause__ is None
    assert error.__context__ is None
    for text in (str(error), repr(error), repr(vars(error)), caplog.text, *(str(frame.locals) for frame in ours)):
        assert SECRET[:40] not in text
    assert SECRET not in repr(transport) + repr(TOKEN) + repr(POST)

"""The guard before all pages: who is let in, from where, how often, and what the others are told."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any
from uuid import uuid4

import pytest
from aiohttp import web
from aiohttp.test_utils import TestClient
from pytest_aiohttp import AiohttpClient

from storage.database import Pool, open_pool
from tests.support.bindings import ADA, LIN, Bound, bind
from tests.support.browsing import signed_in, signed_out
from web import access, guard
from web.access import Rule, add_route, visitor
from web.limits import LIMITS, MOST_VISITORS, WINDOW, Kind, RateLimiter, network
from web.site import SITE, SignIn, Site
from web.templating import mount_templates

OCTO_STAFF = 900_001
SIGN_IN = SignIn("client", "secret", "k" * 32, "https://api.github.com")

Client = TestClient[Any, Any]


async def hello(request: web.Request) -> web.StreamResponse:
    """Tell who was let in."""
    return web.Response(text=f"in: {visitor(request).role.value}")


def application(
    pool: Pool, *, sign_in: SignIn | None = SIGN_IN, public_url: str = "http://127.0.0.1:1"
) -> web.Application:
    """A route of each rule behind the guard."""
    app = web.Application()
    site = app[SITE] = Site(
        pool, web_url="https://github.com", public_url=public_url, staff=frozenset({OCTO_STAFF}), sign_in=sign_in
    )
    app[access.RULES] = {}
    guard.mount(app, site)
    mount_templates(app)
    for rule in Rule:
        name = rule.value.replace(" ", "-")
        path = "/sessions/{session_id}/own" if rule is Rule.OWN_SESSION else f"/{name}"
        add_route(app, "GET", path, hello, rule)
        add_route(app, "POST", path, hello, rule)
    app.router.add_get("/forgotten", hello)
    return app


@pytest.fixture
async def pool(fresh_database: str) -> AsyncIterator[Pool]:
    """A pool on an empty database."""
    opened = await open_pool(fresh_database, min_size=1, max_size=4)
    yield opened
    await asyncio.wait_for(opened.close(), 10)


@pytest.fixture
async def bound(pool: Pool) -> Bound:
    """A session of learner-one."""
    return await bind(pool)


@pytest.fixture
async def client(pool: Pool, aiohttp_client: AiohttpClient) -> Client:
    """A visitor of a site where one signs in with GitHub."""
    return await aiohttp_client(application(pool))


async def status(client: Client, path: str, method: str = "GET", **headers: str) -> int:
    """Status of the answer, without going where it leads."""
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    async with client.request(method, path, headers=named, allow_redirects=False) as answer:
        return answer.status


async def test_who_is_not_signed_in_is_sent_to_the_sign_in(client: Client) -> None:
    """A person comes back to where they wanted to go; a script and a form only hear that they are nobody."""
    for path in ("/signed-in", "/staff?x=1&y=2", f"/sessions/{uuid4()}/own"):
        async with client.get(path, allow_redirects=False) as answer:
            assert answer.status == 303
            assert answer.headers["Location"].startswith("/login?next=/")
    assert answer.headers["Location"] != "/login?next=/"
    async with client.get("/staff?x=1&y=2", allow_redirects=False) as answer:
        assert answer.headers["Location"] == "/login?next=/staff%3Fx%3D1%26y%3D2"
    assert await status(client, "/staff", Sec_Fetch_Dest="empty") == 401
    assert await status(client, "/staff", X_Fragment="1") == 401
    assert await status(client, "/staff", "POST", Sec_Fetch_Site="same-origin") == 401
    assert await status(client, "/public") == 200


async def test_a_learner_sees_their_own_session_only(client: Client, bound: Bound) -> None:
    """One's own session opens; another's, a made-up and a broken address are all the same 404; staff pages are 403."""
    own = f"/sessions/{bound.session.session_id}/own"
    signed_in(client, ADA.account_id, ADA.login)
    assert [await status(client, path) for path in ("/public", "/signed-in", own)] == [200, 200, 200]
    assert [await status(client, path) for path in (f"/sessions/{uuid4()}/own", "/sessions/x/own", "/staff")] == [
        404,
        404,
        403,
    ]
    async with client.get("/staff") as answer:
        assert f"STAFF: {ADA.account_id}" in await answer.text()
    signed_in(client, LIN.account_id, LIN.login)
    async with client.get(own) as theirs, client.get(f"/sessions/{uuid4()}/own") as made_up:
        assert (theirs.status, await theirs.text()) == (404, await made_up.text())
    assert await status(client, own, "POST") == 404


async def test_staff_see_everything(client: Client, bound: Bound) -> None:
    """The ids of STAFF are let in everywhere."""
    signed_in(client, OCTO_STAFF, "octo-staff", staff=True)
    for path in ("/public", "/signed-in", "/staff", f"/sessions/{bound.session.session_id}/own"):
        async with client.get(path) as answer:
            assert (answer.status, await answer.text()) == (200, "in: staff")
    signed_out(client)
    assert await status(client, "/staff") == 303


async def test_a_route_without_a_rule_answers_nobody(client: Client) -> None:
    """What somebody forgot to protect is not there, not even for staff."""
    signed_in(client, OCTO_STAFF, "octo-staff", staff=True)
    assert await status(client, "/forgotten") == 404
    assert await status(client, "/nowhere") == 404
    assert await status(client, "/staff", "PUT") == 405


@pytest.mark.parametrize(
    ("headers", "expected"),
    [
        ({"Sec_Fetch_Site": "same-origin"}, 200),
        ({"Sec_Fetch_Site": "same-site"}, 403),
        ({"Sec_Fetch_Site": "cross-site"}, 403),
        ({"Sec_Fetch_Site": "none"}, 403),
        ({"Sec_Fetch_Site": "cross-site", "Origin": "OWN"}, 403),
        ({"Origin": "OWN"}, 200),
        ({"Origin": "https://stepgate.example.com"}, 200),
        ({"Origin": "https://stepgate.example.com.evil.example.com"}, 403),
        ({"Origin": "http://stepgate.example.com"}, 403),
        ({"Origin": "http://127.0.0.1:9"}, 403),
        ({"Origin": "null"}, 403),
        ({}, 403),
    ],
)
async def test_only_our_own_pages_change_anything(
    pool: Pool, aiohttp_client: AiohttpClient, headers: dict[str, str], expected: int
) -> None:
    """A write is done if the browser says that one of our pages sent it, and refused by all rules otherwise."""
    client = await aiohttp_client(application(pool, public_url="https://stepgate.example.com"))
    own = str(client.make_url("/").origin())
    sent = {name: own if value == "OWN" else value for name, value in headers.items()}
    assert await status(client, "/public", "POST", **sent) == expected
    assert await status(client, "/unguarded", "POST") == 200  # it checks for itself


async def test_without_sign_in_pages_are_for_this_machine(pool: Pool, aiohttp_client: AiohttpClient) -> None:
    """Behind a proxy or under a foreign name nothing but probes, files and the webhook answers; staff come by link."""
    client = await aiohttp_client(application(pool, sign_in=None))
    for path in ("/public", "/signed-in", "/staff"):
        assert await status(client, path, X_Forwarded_For="192.0.2.1") == 403
        assert await status(client, path, Host="rebound.example.com") == 403
    assert await status(client, "/unguarded", X_Forwarded_For="192.0.2.1") == 200
    assert await status(client, "/static/style.css", Host="rebound.example.com") == 200
    assert [await status(client, path) for path in ("/public", "/staff")] == [200, 303]
    signed_in(client, None, "", staff=True)
    assert await status(client, "/staff") == 200
    assert await status(client, "/staff", X_Forwarded_For="192.0.2.1") == 403


async def test_too_many_requests_are_refused_for_a_while(client: Client) -> None:
    """One write too many gets 429 and when to come back; another visitor, pages and probes are not meant."""
    signed_in(client, ADA.account_id, ADA.login)
    for _ in range(LIMITS[Kind.WRITE]):
        assert await status(client, "/signed-in", "POST") == 200
    async with client.post("/signed-in") as answer:
        assert answer.status == 429
        assert 1 <= int(answer.headers["Retry-After"]) <= WINDOW + 1
    assert await status(client, "/signed-in") == 200
    assert await status(client, "/unguarded", "POST") == 200
    signed_in(client, LIN.account_id, LIN.login)
    assert await status(client, "/signed-in", "POST") == 200


async def test_every_answer_is_protected(client: Client) -> None:
    """Pages, refusals and unknown addresses carry the same headers."""
    signed_in(client, ADA.account_id, ADA.login)
    for path, expected in (("/public", 200), ("/staff", 403), ("/nowhere", 404), ("/forgotten", 404)):
        async with client.get(path) as answer:
            assert answer.status == expected
            assert "default-src 'none'" in answer.headers["Content-Security-Policy"]
            assert answer.headers["Cache-Control"] == "no-store"


class Clock:
    """A clock that is moved by hand."""

    now = 1000.0

    def __call__(self) -> float:
        """Seconds."""
        return self.now


def test_a_window_ends() -> None:
    """After the time that was named requests are taken again; kinds and visitors are counted apart."""
    clock = Clock()
    limiter = RateLimiter(clock=clock)
    for _ in range(LIMITS[Kind.SIGN_IN]):
        assert limiter.refuse(Kind.SIGN_IN, "192.0.2.1") is None
    wait = limiter.refuse(Kind.SIGN_IN, "192.0.2.1")
    assert wait is not None
    assert limiter.refuse(Kind.SIGN_IN, "192.0.2.2") is None
    assert limiter.refuse(Kind.PAGE, "192.0.2.1") is None
    clock.now += wait
    assert limiter.refuse(Kind.SIGN_IN, "192.0.2.1") is None


def test_counting_takes_bounded_memory() -> None:
    """However many addresses come, so many are remembered as were allowed."""
    limiter = RateLimiter(clock=Clock(), most=100)
    for number in range(1000):
        limiter.refuse(Kind.PAGE, str(number))
    assert limiter.counted == 100
    assert MOST_VISITORS >= 10_000


@pytest.mark.parametrize(
    ("address", "counted"),
    [
        ("192.0.2.7", "192.0.2.7"),
        ("::ffff:192.0.2.7", "192.0.2.7"),
        ("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::/64"),
        ("2001:db8:1:2::1", "2001:db8:1:2::/64"),
        ("unknown", "unknown"),
    ],
)
def test_a_host_is_one_visitor(address: str, counted: str) -> None:
    """An IPv6 host cannot escape the count by using another of its own addresses."""
    assert network(address) == counted

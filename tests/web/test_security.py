"""Who may look at pages, and the headers that every answer carries."""

from __future__ import annotations

import pytest
from aiohttp import web
from aiohttp.test_utils import make_mocked_request
from pytest_aiohttp import AiohttpClient

from web import security


class Transport:
    """A connection from some address, as far as a request looks at it."""

    def __init__(self, peer: str) -> None:
        self._peer = peer

    def get_extra_info(self, name: str, default: object = None) -> object:
        """Address of the peer."""
        return (self._peer, 50_000) if name == "peername" else default


def request(peer: str, host: str = "127.0.0.1:8000", **headers: str) -> web.Request:
    """A request for a page."""
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return make_mocked_request("GET", "/", headers={"Host": host, **named}, transport=Transport(peer))


@pytest.mark.parametrize("peer", ["127.0.0.1", "127.9.9.9", "::1", "::ffff:127.0.0.1"])
@pytest.mark.parametrize("host", ["127.0.0.1:8000", "localhost", "[::1]:8000"])
def test_this_machine_may_look(peer: str, host: str) -> None:
    """A loopback peer that asks for a loopback name sits at this machine."""
    assert security.is_on_this_machine(request(peer, host))


@pytest.mark.parametrize("peer", ["192.0.2.1", "10.0.0.1", "2001:db8::1", "", "::ffff:192.0.2.1"])
def test_others_may_not(peer: str) -> None:
    """Any other peer does not."""
    assert not security.is_on_this_machine(request(peer))


@pytest.mark.parametrize("header", ["X_Forwarded_For", "Forwarded", "X_Real_IP", "Via"])
def test_a_proxy_on_this_machine_is_not_a_visitor(header: str) -> None:
    """Behind a proxy every peer is loopback: its headers give it away."""
    assert not security.is_on_this_machine(request("127.0.0.1", **{header: "127.0.0.1"}))


@pytest.mark.parametrize(
    "host", ["rebound.example.com", "rebound.example.com:8000", "127.0.0.1.example.com", "[::", ""]
)
def test_a_foreign_name_for_this_machine_is_refused(host: str) -> None:
    """A page elsewhere that lets its own name point here cannot read with the visitor's browser."""
    assert not security.is_on_this_machine(request("127.0.0.1", host))


async def test_every_answer_is_protected(aiohttp_client: AiohttpClient) -> None:
    """Pages, errors and unknown addresses carry the same headers; nothing inline may run."""

    @security.this_machine_only
    async def page(_request: web.Request) -> web.StreamResponse:
        return web.Response(text="page")

    app = web.Application()
    app.on_response_prepare.append(security.add_headers)
    app.router.add_get("/", page)
    client = await aiohttp_client(app)

    answers = {
        200: await client.get("/"),
        403: await client.get("/", headers={"X-Forwarded-For": "192.0.2.1"}),
        404: await client.get("/nowhere"),
    }

    for status, answer in answers.items():
        assert answer.status == status
        policy = answer.headers["Content-Security-Policy"]
        assert policy.startswith("default-src 'none'")
        assert "unsafe" not in policy
        assert "script-src" not in policy
        assert answer.headers["X-Content-Type-Options"] == "nosniff"
        assert answer.headers["Referrer-Policy"] == "no-referrer"

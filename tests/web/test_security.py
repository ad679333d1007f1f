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
    """Pages, errors and unknown addresses carry the same headers; nothing inline may run, nothing foreign is loaded."""

    async def page(_request: web.Request) -> web.StreamResponse:
        return web.Response(text="page")

    async def refused(_request: web.Request) -> web.StreamResponse:
        raise web.HTTPForbidden

    app = web.Application()
    app.on_response_prepare.append(security.add_headers)
    app.router.add_get("/", page)
    app.router.add_get("/refused", refused)
    client = await aiohttp_client(app)

    for path, status in (("/", 200), ("/refused", 403), ("/nowhere", 404)):
        answer = await client.get(path)
        assert answer.status == status
        policy = dict(rule.partition(" ")[::2] for rule in answer.headers["Content-Security-Policy"].split("; "))
        assert policy == {
            "default-src": "'none'",
            **dict.fromkeys(("script-src", "style-src", "img-src", "connect-src", "form-action"), "'self'"),
            **dict.fromkeys(("base-uri", "frame-ancestors"), "'none'"),
        }
        assert answer.headers["X-Content-Type-Options"] == "nosniff"
        assert answer.headers["Referrer-Policy"] == "same-origin"
        assert answer.headers["Cross-Origin-Opener-Policy"] == "same-origin"


@pytest.mark.parametrize(
    "path",
    [
        "/",
        "/join/word-counter",
        "/sessions/3f2b?before=7&x=%2F%2Fevil.example.com",
        "/a//b",
        "/installed?next=https://x",
    ],
)
def test_an_address_of_this_site_is_kept(path: str) -> None:
    """After signing in one is back where one was."""
    assert security.local_path(path) == path


@pytest.mark.parametrize(
    "address",
    [
        None,
        "",
        "join",
        "https://evil.example.com",
        "HTTPS:evil.example.com",
        "//evil.example.com",
        "///evil.example.com",
        "/\\evil.example.com",
        "\\/evil.example.com",
        "\\\\evil.example.com",
        "/a\\..\\..\\evil.example.com",
        "/\t/evil.example.com",
        "/\n/evil.example.com",
        "/\r\nSet-Cookie: a=b",
        " //evil.example.com",
        "/ /evil.example.com",
        "\x00/",
        "/\x7f/evil.example.com",
        "/\u2028",
        "/\uff0f/evil.example.com",
        "javascript:alert(1)",
        "data:text/html,x",
        "?next=/",
        "@evil.example.com",
        "/" + "a" * 1000,
    ],
)
def test_no_other_address_is_gone_to(address: str | None) -> None:
    """What a browser could read as another site, or we as a header, becomes the start page."""
    assert security.local_path(address) == "/"


PUBLIC = "https://stepgate.example.com"


@pytest.mark.parametrize(
    ("peer", "hops", "public_url", "address"),
    [
        ("10.1.2.3", "192.0.2.9, 198.51.100.7", PUBLIC, "198.51.100.7"),
        ("127.0.0.1", "198.51.100.7", PUBLIC, "198.51.100.7"),
        ("93.184.215.14", "192.0.2.9", PUBLIC, "93.184.215.14"),
        ("10.1.2.3", "", PUBLIC, "10.1.2.3"),
        ("10.1.2.3", "192.0.2.9,", PUBLIC, "10.1.2.3"),
        ("127.0.0.1", "192.0.2.9", "http://127.0.0.1:8000", "127.0.0.1"),
    ],
)
def test_only_a_proxys_own_word_is_believed(peer: str, hops: str, public_url: str, address: str) -> None:
    """The last hop counts if a proxy must be there and the peer can be it; earlier hops are the visitor's invention."""
    headers = {"X_Forwarded_For": hops} if hops else {}
    assert security.visitor_address(request(peer, **headers), public_url) == address


def test_our_origins() -> None:
    """The public one counts, and at this machine the one that was asked, but not for visitors from elsewhere."""
    here, proxied = request("127.0.0.1"), request("127.0.0.1", X_Forwarded_For="192.0.2.1")
    assert security.own_origins(here, f"{PUBLIC}/") == {PUBLIC, "http://127.0.0.1:8000"}
    assert security.own_origins(proxied, PUBLIC) == {PUBLIC}
    assert security.own_origins(request("127.0.0.1", "rebound.example.com:8000"), PUBLIC) == {PUBLIC}

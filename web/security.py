"""What protects every page: response headers, and who may look at all."""

from __future__ import annotations

import functools
import ipaddress
from collections.abc import Awaitable, Callable

from aiohttp import web
from yarl import URL

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]

# Nothing but our own stylesheet is loaded, nothing is run, nobody frames us and no form goes elsewhere.
CONTENT_SECURITY_POLICY = "; ".join(
    (
        "default-src 'none'",
        "style-src 'self'",
        "img-src 'self'",
        "base-uri 'none'",
        "form-action 'none'",
        "frame-ancestors 'none'",
    )
)
HEADERS = {
    "Content-Security-Policy": CONTENT_SECURITY_POLICY,
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",  # a session's address tells its id
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Permissions-Policy": "camera=(), geolocation=(), microphone=()",
    "Cache-Control": "no-store",  # pages show other people's work; the stylesheet sets its own
}

# A proxy adds one of these: then the peer's address is the proxy's and says nothing about the visitor's.
_PROXY_HEADERS = ("Forwarded", "X-Forwarded-For", "X-Real-IP", "Via")


async def add_headers(_request: web.Request, response: web.StreamResponse) -> None:
    """Signal `on_response_prepare`: every answer carries the protecting headers, also errors and files."""
    for name, value in HEADERS.items():
        response.headers.setdefault(name, value)


def is_on_this_machine(request: web.Request) -> bool:
    """Whether the visitor sits at this machine: a loopback peer, no proxy between, and a loopback name in the address.

    The name is checked because a page elsewhere could let its own name point here and read with the visitor's browser.
    """
    if any(name in request.headers for name in _PROXY_HEADERS):
        return False
    return _is_loopback(request.remote or "") and _is_loopback(_host_name(request))


def _host_name(request: web.Request) -> str:
    try:
        return URL(f"http://{request.host}").host or ""
    except ValueError:
        return ""


def _is_loopback(host: str) -> bool:
    if host.lower() == "localhost":
        return True
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return False
    mapped = address.ipv4_mapped if isinstance(address, ipaddress.IPv6Address) else None
    return (mapped or address).is_loopback


def this_machine_only(handler: Handler) -> Handler:
    """Answer 403 to visitors from elsewhere, until there is a sign-in."""

    @functools.wraps(handler)
    async def guarded(request: web.Request) -> web.StreamResponse:
        if not is_on_this_machine(request):
            raise web.HTTPForbidden(text="This page is shown on the machine that runs Stepgate only.")
        return await handler(request)

    return guarded

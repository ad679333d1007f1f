"""What protects every page: response headers, where a request comes from, and where one may be sent."""

from __future__ import annotations

import ipaddress

from aiohttp import hdrs, web
from yarl import URL

# Only our own files are loaded and run, nothing inline; nobody frames us, and forms go nowhere else.
CONTENT_SECURITY_POLICY = "; ".join(
    (
        "default-src 'none'",
        "script-src 'self'",
        "style-src 'self'",
        "img-src 'self'",
        "connect-src 'self'",
        "base-uri 'none'",
        "form-action 'self'",
        "frame-ancestors 'none'",
    )
)
HEADERS = {
    "Content-Security-Policy": CONTENT_SECURITY_POLICY,
    "X-Content-Type-Options": "nosniff",
    # A session's address tells its id. Not no-referrer: then browsers send "Origin: null" with our own forms as well
    # (Fetch standard, "append a request Origin header").
    "Referrer-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Permissions-Policy": "camera=(), geolocation=(), microphone=()",
    "Cache-Control": "no-store",  # pages show other people's work; the stylesheet sets its own
}

#: Characters of an address that one is sent back to after signing in; it is kept in a cookie.
LONGEST_PATH = 1000

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


def own_origins(request: web.Request, public_url: str) -> frozenset[str]:
    """The origins of our own pages, for this visitor: the public one and, at this machine, the one that was asked."""
    here = {f"http://{request.host}"} if is_on_this_machine(request) else set()
    return frozenset({origin_of(public_url), *here})


def origin_of(address: str) -> str:
    """Scheme, host and port of an address, as browsers write them in `Origin`."""
    return str(URL(address).origin())


def comes_from_our_pages(request: web.Request, public_url: str) -> bool:
    """Whether a request that changes something was sent by one of our pages, as the browser itself says.

    `Sec-Fetch-Site` cannot be set by scripts; browsers send it to https and loopback addresses (W3C, "Fetch Metadata
    Request Headers"). Where it is missing, `Origin` decides. Who sends neither is no browser with a form of ours.
    """
    site = request.headers.get("Sec-Fetch-Site")
    if site is not None:
        return site == "same-origin"
    return request.headers.get(hdrs.ORIGIN) in own_origins(request, public_url)


def visitor_address(request: web.Request, public_url: str) -> str:
    """The address that a request comes from.

    A proxy is believed if there must be one (our public address is not this machine) and the peer can be one (it is in
    a private network): then the last hop that it has written down. What stands before that, visitors can invent.
    """
    peer = request.remote or ""
    hops = request.headers.get("X-Forwarded-For", "")
    if not hops or _is_loopback(URL(public_url).host or "") or not _is_near(peer):
        return peer
    return hops.rpartition(",")[2].strip() or peer


def local_path(text: str | None) -> str:
    """`text` if it is an address of this site without scheme and host, as a browser understands it; else "/".

    Browsers read a backslash as a slash, and leave out tabs and line ends (WHATWG, "URL standard", 4.4): what they
    could read as another host is no local address.
    """
    path = text or ""
    if not path.startswith("/") or path[1:2] in ("/", "\\") or len(path) > LONGEST_PATH:
        return "/"
    if any(not "!" <= character <= "~" or character == "\\" for character in path):
        return "/"
    return path


def _is_near(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_private
    except ValueError:
        return False


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

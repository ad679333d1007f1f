"""Signing in with GitHub, or by the terminal's link while nobody can; signing out.

The way over GitHub (GitHub docs, "Generating a user access token for a GitHub App"): /login binds a random `state` and
PKCE's verifier to the browser by a cookie and sends it to GitHub; /auth/callback takes the code that it comes back
with. What we keep of it is who it was, in the browser's cookie.
"""

from __future__ import annotations

import hmac
import secrets
from collections.abc import AsyncIterator
from dataclasses import dataclass

import aiohttp
import structlog
from aiohttp import hdrs, web
from cachetools import TTLCache

from github import login
from github.errors import Fault, GitHubError
from storage import accounts
from web.access import Rule, add_route
from web.cookies import ATTEMPT, COOKIES, Attempt, Identity
from web.messages import Message, show
from web.security import local_path
from web.site import Site, site_of

log = structlog.get_logger(__name__)

CALLBACK = "/auth/callback"
#: States that came back within ATTEMPT seconds, so that none does twice; GitHub takes no code twice either.
MOST_USED = 10_000

_AGAIN = ("/login", "Sign in again")
_SIGNED_OUT = Message(
    "Signed out", "You are signed out of Stepgate. You are still signed in to GitHub.", "/login", "Sign in"
)
_CLOSED = Message(
    "Open the link in the terminal",
    "Signing in with GitHub is not set up here. Whoever runs Stepgate finds a link in its terminal (or log) that opens"
    " these pages once, on this machine.",
)
_LINK_USED = Message(
    "This link does not work",
    "Each link works once, until Stepgate is started again. The newest one is at the end of Stepgate's output.",
)
_CANCELLED = Message("Not signed in", "You did not let Stepgate know who you are, so nothing was changed.", *_AGAIN)
_NOT_OURS = Message(
    "Not signed in",
    "This sign-in was not begun in this browser, or more than ten minutes ago, or it was used already. If it happens"
    " again, see that cookies are allowed for this site.",
    *_AGAIN,
)
_FAULTS = {
    Fault.GITHUB: "GitHub did not answer as it should. That is not your fault: try again in a minute.",
    Fault.OPERATOR: "GitHub does not accept this Stepgate's credentials. Only its operator can mend that: the reason is"
    " in Stepgate's log.",
    Fault.OWNER: "GitHub did not confirm who you are. Try again; if GitHub shows you a message about your account,"
    " follow that first.",
    Fault.US: "Something went wrong on our side. Try again in a minute.",
}


@dataclass(frozen=True, slots=True)
class Desk:
    """What signing in needs. `used`: states that came back already."""

    http: aiohttp.ClientSession
    used: TTLCache[str, bool]


DESK: web.AppKey[Desk] = web.AppKey("desk", Desk)


def add_routes(app: web.Application, site: Site) -> None:
    """Mount signing in and out."""
    if site.sign_in is not None:
        app.cleanup_ctx.append(_open_desk)
        add_route(app, "GET", "/login", begin, Rule.PUBLIC)
        add_route(app, "GET", CALLBACK, callback, Rule.PUBLIC)
    else:
        add_route(app, "GET", "/login", closed, Rule.PUBLIC)
        add_route(app, "GET", "/login/local", local, Rule.PUBLIC)
    add_route(app, "GET", "/signed-out", signed_out, Rule.PUBLIC)
    add_route(app, "POST", "/logout", sign_out, Rule.PUBLIC)


async def _open_desk(app: web.Application) -> AsyncIterator[None]:
    # what GitHub sets for one person is not sent back for the next
    async with aiohttp.ClientSession(cookie_jar=aiohttp.DummyCookieJar()) as http:
        app[DESK] = Desk(http, TTLCache(MOST_USED, ATTEMPT))
        yield


def _client(site: Site) -> login.Client:
    assert site.sign_in is not None  # noqa: S101 (these routes are mounted with it only)
    return login.Client(site.web_url, site.sign_in.api_url, site.sign_in.client_id, site.sign_in.client_secret)


def _redirect_uri(site: Site) -> str:
    return f"{site.public_url}{CALLBACK}"


def _to(address: str) -> web.Response:
    """Send the browser on; 303, so that a form's POST becomes a GET."""
    return web.Response(status=303, headers={hdrs.LOCATION: address})


async def begin(request: web.Request) -> web.StreamResponse:
    """GET /login?next=/path: to GitHub. Also for people who are signed in, so that what GitHub told is told anew."""
    site = site_of(request)
    attempt = Attempt(secrets.token_urlsafe(32), secrets.token_urlsafe(48), local_path(request.query.get("next")))
    response = _to(
        login.authorize_url(
            _client(site), state=attempt.state, verifier=attempt.verifier, redirect_uri=_redirect_uri(site)
        )
    )
    request.app[COOKIES].begin(response, attempt)
    return response


async def callback(request: web.Request) -> web.StreamResponse:
    """GET /auth/callback: the browser is back from GitHub, with a code or a refusal."""
    cookies = request.app[COOKIES]
    attempt = cookies.attempt(request)
    response = await _answer(request, attempt)
    if attempt is not None:
        cookies.end(response)
    return response


async def _answer(request: web.Request, attempt: Attempt | None) -> web.StreamResponse:
    used = request.app[DESK].used
    state = request.query.get("state", "")
    fits = attempt is not None and hmac.compare_digest(state.encode(), attempt.state.encode())
    if attempt is None or not fits or attempt.state in used:
        return show(request, _NOT_OURS, 400)
    used[attempt.state] = True
    if refusal := request.query.get("error"):
        return _refused(request, refusal)
    code = request.query.get("code", "")
    if not code:
        return show(request, _NOT_OURS, 400)
    try:
        return await _signed_in(request, attempt, code)
    except GitHubError as error:
        level = log.error if error.fault is Fault.OPERATOR else log.warning
        level("sign_in_failed", error=str(error), fault=error.fault.value)
        status = 403 if error.fault is Fault.OWNER else 502
        return show(request, Message("Not signed in", _FAULTS[error.fault], *_AGAIN), status)


def _refused(request: web.Request, refusal: str) -> web.Response:
    """What GitHub sends the browser back with instead of a code.

    `access_denied`: the person cancelled. All else (`redirect_uri_mismatch`, `application_suspended`): the operator's.
    """
    if refusal == "access_denied":
        return show(request, _CANCELLED, 403)
    log.error("sign_in_refused", error=refusal[:100], description=request.query.get("error_description", "")[:300])
    return show(request, Message("Not signed in", _FAULTS[Fault.OPERATOR], *_AGAIN), 502)


async def _signed_in(request: web.Request, attempt: Attempt, code: str) -> web.Response:
    site = site_of(request)
    found = await login.sign_in(
        request.app[DESK].http,
        _client(site),
        code=code,
        verifier=attempt.verifier,
        redirect_uri=_redirect_uri(site),
    )
    account = found.account
    await accounts.upsert_account(site.pool, account)
    response = _to(attempt.then)
    request.app[COOKIES].sign_in(response, Identity(account.account_id, account.login, found.installations))
    log.info("signed_in", account=account.account_id, staff=account.account_id in site.staff)
    return response


async def closed(request: web.Request) -> web.StreamResponse:
    """GET /login while nobody can sign in with GitHub: says how to get in."""
    return show(request, _CLOSED, 403)


async def local(request: web.Request) -> web.StreamResponse:
    """GET /login/local?token=: whoever reads the terminal is the operator, and may see what staff may. Works once."""
    if request.method == hdrs.METH_HEAD or not site_of(request).local_link.take(request.query.get("token", "")):
        return show(request, _LINK_USED, 403)
    response = _to(local_path(request.query.get("next")))
    request.app[COOKIES].sign_in(response, Identity(None))
    log.info("signed_in_locally")
    return response


async def signed_out(request: web.Request) -> web.StreamResponse:
    """GET /signed-out: where one is after signing out."""
    return show(request, _SIGNED_OUT, 200)


async def sign_out(request: web.Request) -> web.StreamResponse:
    """POST /logout: the browser forgets who one is."""
    response = _to("/signed-out")
    request.app[COOKIES].sign_out(response)
    return response

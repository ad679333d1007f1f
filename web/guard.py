"""Stands before every page: who asks, by which rule, where from, how often. What no rule allows is not answered."""

from __future__ import annotations

from urllib.parse import quote
from uuid import UUID

import structlog
from aiohttp import hdrs, web

from storage.classroom import learner_of
from web import security
from web.access import NOBODY, VISITOR, Handler, Role, Rule, Visitor, rule_of, visitor
from web.cookies import COOKIES, Cookies, Identity
from web.limits import Kind, RateLimiter, network
from web.messages import Message, show
from web.site import Site, site_of

log = structlog.get_logger(__name__)

READING = frozenset({hdrs.METH_GET, hdrs.METH_HEAD})
LIMITER: web.AppKey[RateLimiter] = web.AppKey("limiter", RateLimiter)

_ELSEWHERE = Message(
    "Not open to visitors yet",
    "Pages of this Stepgate are shown on the machine that runs it only, until its operator has set up signing in with"
    " GitHub (GITHUB_CLIENT_ID, GITHUB_CLIENT_SECRET, SESSION_KEY).",
)
_CROSS_ORIGIN = Message(
    "Not done",
    "This request does not come from a page of Stepgate, or your browser does not say so. Nothing was changed. Open the"
    " page here and press the button again. If that does not help, the operator should compare PUBLIC_URL with the"
    " address in your browser.",
)
_SIGN_IN = Message("Sign in first", "You are not signed in, or were for more than 8 hours. Nothing was changed.")
_NOT_FOUND = Message("Nothing here", "There is no page at this address, or it is not for your account.", "/", "Go on")


def mount(app: web.Application, site: Site) -> None:
    """Put the guard before every route of `app`."""
    app[COOKIES] = Cookies(site)
    app[LIMITER] = RateLimiter()
    app.middlewares.append(guard)


@web.middleware
async def guard(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Let a request through to its handler, or answer why not."""
    if request.match_info.http_exception is not None:
        return await _unmatched(request, handler)
    rule = rule_of(request)
    if rule is Rule.UNGUARDED:
        return await handler(request)
    if rule is None:
        log.error("route_without_rule", path=request.path, method=request.method)
        return show(request, _NOT_FOUND, 404)
    site = site_of(request)
    if site.sign_in is None and not security.is_on_this_machine(request):
        return show(request, _ELSEWHERE, 403)
    who = request[VISITOR] = _visitor_of(site, request.app[COOKIES].identity(request), request)
    refusal: web.StreamResponse | None = _too_often(request, site, who)
    if refusal is None and request.method not in READING:
        refusal = _cross_origin(request, site)
    if refusal is None:
        refusal = await _refused(request, site, rule, who)
    return refusal if refusal is not None else await _answered(request, handler)


async def _answered(request: web.Request, handler: Handler) -> web.StreamResponse:
    """The handler's answer; of a bare 404, a page."""
    try:
        return await handler(request)
    except web.HTTPNotFound:
        return show(request, _NOT_FOUND, 404)


async def _unmatched(request: web.Request, handler: Handler) -> web.StreamResponse:
    """The answer at an address that is none, or to a method that its route does not have."""
    if isinstance(request.match_info.http_exception, web.HTTPNotFound):
        return show(request, _NOT_FOUND, 404)
    return await handler(request)


def _visitor_of(site: Site, who: Identity | None, request: web.Request) -> Visitor:
    """What somebody with this cookie is to us, by the settings of now."""
    if who is None:
        return NOBODY
    if who.account_id is None:  # came by the terminal's link, which is for this machine
        here = site.sign_in is None and security.is_on_this_machine(request)
        return Visitor(None, who.login, Role.STAFF) if here else NOBODY
    role = Role.STAFF if who.account_id in site.staff else Role.LEARNER
    return Visitor(who.account_id, who.login, role, who.installations)


def _too_often(request: web.Request, site: Site, who: Visitor) -> web.Response | None:
    if request.method not in READING:
        kind = Kind.WRITE
    else:
        kind = Kind.SIGN_IN if request.path.startswith(("/login", "/auth/")) else Kind.PAGE
    key = f"account {who.account_id}"
    if who.account_id is None:
        key = network(security.visitor_address(request, site.public_url))
    wait = request.app[LIMITER].refuse(kind, key)
    if wait is None:
        return None
    log.warning("too_many_requests", kind=kind.value, account=who.account_id)
    message = Message("A moment, please", f"Too many requests in one minute. Try again in {wait} seconds.")
    answer = show(request, message, 429)
    answer.headers[hdrs.RETRY_AFTER] = str(wait)
    return answer


def _cross_origin(request: web.Request, site: Site) -> web.Response | None:
    if security.comes_from_our_pages(request, site.public_url):
        return None
    log.warning("cross_origin_write", path=request.path, origin=request.headers.get(hdrs.ORIGIN))
    return show(request, _CROSS_ORIGIN, 403)


async def _refused(request: web.Request, site: Site, rule: Rule, who: Visitor) -> web.StreamResponse | None:
    """The answer to somebody whom the rule does not let in; None: it does."""
    if rule is Rule.PUBLIC or who.is_staff:
        return None
    if who.role is Role.NOBODY:
        return _sign_in_first(request)
    if rule is Rule.STAFF:
        return show(request, _staff_only(who), 403)
    if rule is Rule.OWN_SESSION and not await owns_session(request):
        return show(request, _NOT_FOUND, 404)  # whether there is such a session is not for others to know
    return None


def _staff_only(who: Visitor) -> Message:
    return Message(
        "For staff",
        "This page is for the staff of the class. If you are one of them, ask the operator to add your GitHub account's"
        f" number to STAFF: {who.account_id}",
    )


def _sign_in_first(request: web.Request) -> web.StreamResponse:
    """To the sign-in, and from there back here. What no person sees (a script's request) is only refused."""
    seen = request.headers.get("Sec-Fetch-Dest", "document") == "document" and "X-Fragment" not in request.headers
    if request.method in READING and seen:
        return web.Response(status=303, headers={hdrs.LOCATION: f"/login?next={quote(request.path_qs, safe='/')}"})
    return show(request, _SIGN_IN, 401)


async def owns_session(request: web.Request) -> bool:
    """Whether the session `{session_id}` of the address is the visitor's own; staff's are all."""
    who = visitor(request)
    if who.is_staff:
        return True
    try:
        session_id = UUID(request.match_info["session_id"])
    except ValueError:
        return False
    return who.account_id is not None and await learner_of(site_of(request).pool, session_id) == who.account_id

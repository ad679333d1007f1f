"""Live updates: who has a page open hears that something changed, and fetches what they may see.

The protocol, which static/live.js speaks. A page has a part `<div id="NAME" data-live="ADDRESS" data-events="STREAM">`.
STREAM is one of the addresses below and answers with server-sent events (WHATWG HTML, "Server-sent events"):

    event: changed      data: the id of the session that changed      id: where in the stream this was
    event: reload       data: *; something, perhaps much, may have changed that no event tells

Events hold no content, so that what one may see is decided in one place: the page at ADDRESS. It is fetched anew (with
the header `X-Fragment: 1`; it may leave out its frame) and the element with the same id replaces the part's content.
The text of an element with `data-announce` inside the part is read to screen readers when it has changed.

A stream that is opened for the first time begins with `reload`, for the page was made before it listened. One that was
cut is continued by the browser with the header Last-Event-ID: what was missed is sent, or `reload` if that is too long
ago, or was told by another process. Between events there is a comment every 15 seconds, so that proxies keep the stream
open and a lost one is noticed. After an hour a stream ends and the browser asks again: who has signed out or is no
longer staff hears no more from then on.

    GET /events                             staff: every session
    GET /sessions/{session_id}/events       who may see that session: that one
    GET /events/own, /join/{slug}/events    signed in: one's own sessions
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from uuid import UUID

import structlog
from aiohttp import hdrs, web
from aiohttp_sse import EventSourceResponse

from storage.classroom import learner_of
from storage.views import session_view
from web.access import Rule, add_route, visitor
from web.hub import RELOAD, Client, Hub, TooMany
from web.limits import network
from web.security import visitor_address
from web.sessions import audience_of
from web.site import SITE, site_of

log = structlog.get_logger(__name__)

CHANNEL = "session_changed"
#: Milliseconds after which a browser connects again by itself.
RETRY = 1000

HUB: web.AppKey[Hub] = web.AppKey("hub", Hub)


def add_routes(app: web.Application) -> None:
    """Mount the streams and the hub that feeds them, which hears of changes while the application runs."""

    async def start(app: web.Application) -> None:
        listener = app[SITE].listener
        if listener is not None:
            listener.subscribe(CHANNEL, app[HUB].changed)
            listener.when_missed(app[HUB].missed)

    async def stop(app: web.Application) -> None:
        app[HUB].close()

    app[HUB] = Hub()
    app.on_startup.append(start)
    app.on_shutdown.append(stop)
    add_route(app, "GET", "/events", all_sessions, Rule.STAFF)
    add_route(app, "GET", "/sessions/{session_id}/events", one_session, Rule.PUBLIC)  # asks itself
    add_route(app, "GET", "/events/own", own_sessions, Rule.SIGNED_IN)
    add_route(app, "GET", "/join/{slug}/events", own_sessions, Rule.SIGNED_IN)


async def all_sessions(request: web.Request) -> web.StreamResponse:
    """Staff hear of every session."""
    return await stream(request, lambda _session_id: True)


async def one_session(request: web.Request) -> web.StreamResponse:
    """Who may see a session hears of that one; for others, as for an address that is none, there is nothing here."""
    try:
        wanted = UUID(request.match_info["session_id"])
    except ValueError:
        raise web.HTTPNotFound from None
    if not visitor(request).is_staff:
        view = await session_view(site_of(request).pool, wanted)
        if view is None or audience_of(visitor(request), view) is None:
            raise web.HTTPNotFound
    return await stream(request, lambda session_id: session_id == str(wanted))


async def own_sessions(request: web.Request) -> web.StreamResponse:
    """A learner hears of all of their own sessions, also of one that begins while they listen."""
    me, learners = visitor(request).account_id, request.app[HUB].learners
    pool = site_of(request).pool

    async def is_mine(session_id: str) -> bool:
        learner = learners.get(session_id)
        if learner is None and (learner := await learner_of(pool, UUID(session_id))) is not None:
            learners[session_id] = learner
        return learner is not None and learner == me

    # What is known to be another's is not even kept waiting; what is not known yet is looked up before it is sent.
    return await stream(request, lambda session_id: learners.get(session_id, me) == me, is_mine)


async def stream(
    request: web.Request, wanted: Callable[[str], bool], check: Callable[[str], Awaitable[bool]] | None = None
) -> web.StreamResponse:
    """Send the events of the sessions that are `wanted` (and pass `check`, asked before each is sent) until either side
    has enough. 503 when nothing is live here or this process has too many streams, 429 when the visitor has."""
    hub, site = request.app[HUB], site_of(request)
    if site.listener is None or hub.closed.is_set():
        raise web.HTTPServiceUnavailable(text="Nothing is live here.", headers={hdrs.RETRY_AFTER: "60"})
    if request.method == hdrs.METH_HEAD:
        return web.Response(content_type="text/event-stream")
    me = visitor(request)
    who = f"account {me.account_id}"
    if me.account_id is None:
        who = network(visitor_address(request, site.public_url))
    try:
        with hub.client(who, wanted, request.headers.get("Last-Event-ID", "")) as client:
            return await _send(request, hub, client, check)
    except TooMany as error:
        refused = web.HTTPTooManyRequests if error.theirs else web.HTTPServiceUnavailable
        raise refused(text=f"There are {error}.", headers={hdrs.RETRY_AFTER: "20"}) from None


async def _send(
    request: web.Request, hub: Hub, client: Client, check: Callable[[str], Awaitable[bool]] | None
) -> web.StreamResponse:
    response = EventSourceResponse()
    response.headers[hdrs.CACHE_CONTROL] = "no-store"
    response.ping_interval = hub.limits.heartbeat
    await response.prepare(request)

    async def pump() -> None:
        await response.write(f"retry: {RETRY}\n\n".encode())
        async with asyncio.timeout(hub.limits.longest):
            while not hub.closed.is_set():
                await client.ready.wait()
                for session_id, number in client.take():
                    if session_id == RELOAD or check is None or await check(session_id):
                        async with asyncio.timeout(hub.limits.patience):
                            event = "changed" if session_id else "reload"
                            await response.send(session_id or "*", id=hub.event_id(number), event=event)

    async with response:
        pumping = asyncio.create_task(pump())
        pumping.add_done_callback(lambda _: response.stop_streaming())
        try:
            await response.wait()  # until the pump has ended, or a heartbeat finds nobody
        finally:
            pumping.cancel()
            (ended,) = await asyncio.gather(pumping, return_exceptions=True)
        if isinstance(ended, Exception) and not isinstance(ended, TimeoutError | ConnectionError):
            log.warning("stream_failed", error=repr(ended))
    return response

"""GET /sessions/{id}: what the link of a check-run opens."""

from __future__ import annotations

from datetime import UTC, datetime
from uuid import UUID

import aiohttp_jinja2
from aiohttp import web

from storage.views import session_view
from web.access import Rule, add_route
from web.security import this_machine_only
from web.session_page import page_of
from web.site import site_of


def moment(at: datetime) -> str:
    """A time for people, in UTC."""
    return at.astimezone(UTC).strftime("%Y-%m-%d %H:%M:%S")


def add_routes(app: web.Application) -> None:
    """Mount the session's page."""
    add_route(app, "GET", "/sessions/{session_id}", show, Rule.PUBLIC)


@this_machine_only
async def show(request: web.Request) -> web.StreamResponse:
    """The session's page. An address that is no session, whatever it looks like, is a 404 page."""
    site = site_of(request)
    try:
        session_id = UUID(request.match_info["session_id"])
    except ValueError:
        view = None
    else:
        view = await session_view(site.pool, session_id)
    if view is None:
        return aiohttp_jinja2.render_template("not_found.html", request, {}, status=404)
    return aiohttp_jinja2.render_template("session.html", request, {"page": page_of(view, site.web_url)})

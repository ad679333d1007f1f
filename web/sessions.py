"""GET /sessions/{id}: what the link of a check-run opens."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from uuid import UUID

import aiohttp_jinja2
from aiohttp import web

from storage.views import SessionView
from web.security import this_machine_only
from web.session_page import page_of


def moment(at: datetime) -> str:
    """A time for people, in UTC."""
    return at.astimezone(UTC).strftime("%Y-%m-%d %H:%M:%S")


def add_routes(
    app: web.Application, *, session_view: Callable[[UUID], Awaitable[SessionView | None]], web_url: str
) -> None:
    """Mount the session's page. An address that is no session, whatever it looks like, is a 404 page."""

    @this_machine_only
    async def show(request: web.Request) -> web.StreamResponse:
        try:
            session_id = UUID(request.match_info["session_id"])
        except ValueError:
            view = None
        else:
            view = await session_view(session_id)
        if view is None:
            return aiohttp_jinja2.render_template("not_found.html", request, {}, status=404)
        return aiohttp_jinja2.render_template("session.html", request, {"page": page_of(view, web_url)})

    app.router.add_get("/sessions/{session_id}", show)

"""GET /sessions/{id}: what the link of a check-run opens, for staff, its learner and, if it is public, everybody."""

from __future__ import annotations

from uuid import UUID

import aiohttp_jinja2
from aiohttp import web

from storage.session_history import history
from storage.views import SessionView, session_view
from web import session_actions
from web.access import Rule, Visitor, add_route, visitor
from web.session_actions import DONE
from web.session_lines import Audience
from web.session_page import page_of
from web.site import site_of

#: Attempt ids are bigints; more digits than that are nonsense of somebody's.
_LARGEST_ID = 2**63 - 1


def add_routes(app: web.Application) -> None:
    """Mount the session's page and what can be done there."""
    add_route(app, "GET", "/sessions/{session_id}", show, Rule.PUBLIC)
    session_actions.add_routes(app)


def audience_of(who: Visitor, view: SessionView) -> Audience | None:
    """As whom the visitor sees this session; None: not at all, as if it were not there."""
    if who.is_staff:
        return "staff"
    if who.account_id is not None and who.account_id == view.session.learner_account_id:
        return "learner"
    return "public" if view.bound and not view.private else None


async def show(request: web.Request) -> web.StreamResponse:
    """The session's page. An address that is no session, whatever it looks like, and a session that is not for this
    visitor are the same 404 page.
    """
    site = site_of(request)
    before = _number(request.query.get("before"))
    try:
        session_id = UUID(request.match_info["session_id"])
    except ValueError:
        view = None
    else:
        view = await session_view(site.pool, session_id, before=before)
    audience = audience_of(visitor(request), view) if view is not None else None
    if view is None or audience is None:
        return aiohttp_jinja2.render_template("not_found.html", request, {}, status=404)
    known = None
    if audience != "public":
        oldest = view.attempts[-1].created_at if view.older else None
        newest = view.attempts[0].created_at if before is not None and view.attempts else None
        known = await history(site.pool, view.session, since=oldest, until=newest)
    page = page_of(view, site.web_url, known, audience=audience, first_page=before is None)
    context = {"page": page, "done": DONE.get(request.query.get("done", "")), "before": before}
    return aiohttp_jinja2.render_template("session.html", request, context)


def _number(text: str | None) -> int | None:
    """A page's number from the address; None for anything else."""
    if text is None or not (text.isascii() and text.isdecimal()) or len(text) > 19:
        return None
    return min(int(text), _LARGEST_ID)

"""What every page has: the files beside it, who looks, and how times are told."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import jinja2
from aiohttp import hdrs, web

from web.access import Rule, add_route, visitor
from web.site import SITE

STATIC = Path(__file__).parent / "static"
#: Files that pages load. A browser asks each time whether its copy is still the newest, so that a page never runs with
#: the script of another release.
FILES = ("style.css", "live.js", "morph.js", "times.js", "icon.svg")
# Named here, for a machine may call scripts something that browsers refuse to run (with nosniff).
CONTENT_TYPES = {".css": "text/css; charset=utf-8", ".js": "text/javascript; charset=utf-8", ".svg": "image/svg+xml"}
CACHE_CONTROL = "public, no-cache"


def add_routes(app: web.Application, environment: jinja2.Environment) -> None:
    """Mount the files, and give templates `visitor_of(request)`, `can_sign_in(request)` and the filter `ago`."""
    environment.globals["visitor_of"] = visitor
    environment.globals["can_sign_in"] = lambda request: SITE in request.app  # not where the App is being set up
    environment.filters["ago"] = ago
    for name in FILES:
        add_route(app, "GET", f"/static/{name}", _file, Rule.UNGUARDED)


async def _file(request: web.Request) -> web.FileResponse:
    file = STATIC / request.path.rpartition("/")[2]
    headers = {hdrs.CACHE_CONTROL: CACHE_CONTROL, hdrs.CONTENT_TYPE: CONTENT_TYPES[file.suffix]}
    return web.FileResponse(file, headers=headers)


def ago(at: datetime, now: datetime | None = None) -> str:
    """How long ago a time is, in one unit: "3 min ago". static/times.js says the same while a page stays open."""
    seconds = ((now or datetime.now(UTC)) - at).total_seconds()
    if seconds < 60:
        return "just now"
    if seconds < 3600:
        return f"{int(seconds // 60)} min ago"
    if seconds < 48 * 3600:
        return f"{int(seconds // 3600)} h ago"
    return f"{int(seconds // 86400)} days ago"

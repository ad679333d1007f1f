"""All pages of the App on one aiohttp application."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path
from uuid import UUID

import aiohttp_jinja2
import jinja2
from aiohttp import web

from storage.views import SessionView
from web import health, security, sessions

HERE = Path(__file__).parent


def add_routes(
    app: web.Application,
    *,
    session_view: Callable[[UUID], Awaitable[SessionView | None]],
    web_url: str,
    probes: Mapping[str, health.Probe],
) -> None:
    """Mount probes, session pages and the stylesheet.

    `session_view` reads what a session's page shows (None: no such session); `web_url` is the address of GitHub's
    pages, without trailing slash, for links.
    """
    environment = aiohttp_jinja2.setup(
        app,
        loader=jinja2.FileSystemLoader(HERE / "templates"),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["moment"] = sessions.moment
    app.on_response_prepare.append(security.add_headers)
    health.add_routes(app, probes)
    sessions.add_routes(app, session_view=session_view, web_url=web_url)
    app.router.add_get("/static/style.css", _stylesheet)


async def _stylesheet(_request: web.Request) -> web.FileResponse:
    return web.FileResponse(HERE / "static" / "style.css", headers={"Cache-Control": "public, max-age=300"})

"""All pages of the App on one aiohttp application."""

from __future__ import annotations

from pathlib import Path

import aiohttp_jinja2
import jinja2
from aiohttp import web

from web import access, health, security, sessions
from web.access import Rule
from web.site import SITE, Site

HERE = Path(__file__).parent


def add_routes(app: web.Application, site: Site) -> None:
    """Mount all pages, probes and files."""
    app[SITE] = site
    app[access.RULES] = {}
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
    health.add_routes(app, site.probes)
    sessions.add_routes(app)
    access.add_route(app, "GET", "/static/style.css", _stylesheet, Rule.PUBLIC)


async def _stylesheet(_request: web.Request) -> web.FileResponse:
    return web.FileResponse(HERE / "static" / "style.css", headers={"Cache-Control": "public, max-age=300"})

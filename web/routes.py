"""All pages of the App on one aiohttp application."""

from __future__ import annotations

from aiohttp import web

from web import access, audit, auth, guard, health, join, live, metrics, monitor, schema, sessions
from web.access import Rule
from web.site import SITE, Site
from web.templating import mount_templates

#: Where deliveries arrive: the receiver checks their signatures itself.
RECEIVER = "/webhook"


def add_routes(app: web.Application, site: Site) -> None:
    """Mount all pages, probes and files, with the guard before them. A receiver must be mounted already."""
    app[SITE] = site
    app[access.RULES] = {}
    guard.mount(app, site)
    for route in app.router.routes():
        if route.resource is not None and route.resource.canonical == RECEIVER:
            access.declare(app, route, Rule.UNGUARDED)
    mount_templates(app)
    auth.add_routes(app, site)
    health.add_routes(app, site.probes, site.facts)
    if site.monitoring is not None:
        metrics.add_routes(app, site.monitoring)
    live.add_routes(app)
    monitor.add_routes(app)
    audit.add_routes(app)
    sessions.add_routes(app)
    join.add_routes(app)
    schema.add_routes(app)

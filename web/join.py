"""GET /join/<lab>, the learner's way in; GET /installed, where GitHub leads after an installation. Both only look."""

from __future__ import annotations

import re
from datetime import UTC, datetime

import aiohttp_jinja2
from aiohttp import web

from rules.model import LabRecord
from storage import joining, labs
from web.access import Rule, add_route, visitor
from web.join_github import KNOWN, Known
from web.join_page import page_of
from web.join_values import FromGitHub, Lab, Visit
from web.messages import Message, show
from web.site import Site, site_of

#: How often a page that waits for something of which no event tells (a fork) asks again, in seconds.
ASK_AGAIN = 10

_SLUG = re.compile(r"[a-z0-9][a-z0-9-]{0,63}")
_NO_LAB = Message(
    "No such lab",
    "There is no lab at this address. Compare it with the one that the people who run the lab gave you.",
)
_ACTIONS = ("install", "update", "request")  # what GitHub says in `setup_action`


def add_routes(app: web.Application) -> None:
    """Mount both pages."""
    app[KNOWN] = Known()
    add_route(app, "GET", "/join/{slug}", join, Rule.PUBLIC)
    add_route(app, "GET", "/installed", installed, Rule.PUBLIC)


async def join(request: web.Request) -> web.StreamResponse:
    """The page of a lab. Whoever is signed in sees how far they are; an unknown lab is a 404 page."""
    site, slug = site_of(request), request.match_info["slug"]
    lab = await labs.by_slug(site.pool, slug if _SLUG.fullmatch(slug) else "")
    if lab is None:
        return show(request, _NO_LAB, 404)
    who = visitor(request)
    standing = None
    if who.account_id is not None:
        standing = await joining.standing(site.pool, lab.lab_id, who.account_id, who.login)
    visit = Visit(who.account_id, who.login, who.is_staff, standing)
    now = Lab(lab, await joining.version_of(site.pool, lab.lab_id), datetime.now(UTC))
    seen = FromGitHub()
    if site.github is not None:
        reader = lab.base_installation_id or await joining.any_installation(site.pool)
        seen = await request.app[KNOWN].look(site.github, lab, reader, visit)
    page = page_of(now, visit, seen, web_url=site.web_url, check_name=site.check_name)
    return aiohttp_jinja2.render_template("join.html", request, {"page": page, "every": ASK_AGAIN})


async def installed(request: web.Request) -> web.StreamResponse:
    """Where GitHub leads after an installation. Nothing in the address is believed: it may come from anybody
    (GitHub docs, "About the setup URL"). What is told beyond general words is the visitor's own by our own records.
    """
    site, who = site_of(request), visitor(request)
    action = request.query.get("setup_action", "install")
    lab = await _lab_hinted(site, request.query.get("state", ""))
    number = _installation_id(request.query.get("installation_id", ""))
    found = None
    if who.account_id is not None and number is not None:
        found = await joining.new_installation(site.pool, number, who.account_id, seen=number in who.installations)
    context = {
        "action": action if action in _ACTIONS else "install",
        "found": found if found is not None and found.theirs else None,
        "signed_in": who.account_id is not None,
        "slug": lab.slug if lab is not None else None,
        "check_name": site.check_name,
        "here": request.path_qs,
        "every": ASK_AGAIN,
    }
    return aiohttp_jinja2.render_template("installed.html", request, context)


def _installation_id(text: str) -> int | None:
    return int(text) if text.isascii() and text.isdigit() and len(text) < 19 else None


async def _lab_hinted(site: Site, slug: str) -> LabRecord | None:
    """The lab from whose page the App was installed, as GitHub hands it on: it only chooses a link of ours."""
    return await labs.by_slug(site.pool, slug) if _SLUG.fullmatch(slug) else None

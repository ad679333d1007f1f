"""GET /: the class at a glance for staff, one's own labs for a learner; GET /class.csv: the same rows to take away."""

from __future__ import annotations

import asyncio
from dataclasses import replace

import aiohttp_jinja2
from aiohttp import hdrs, web

from storage import classroom
from storage.classroom import EXPORT_ROWS, ClassPage, Query
from web.access import Role, Rule, add_route, visitor
from web.monitor_page import csv_text, filter_choices, line, monitor_page
from web.monitor_query import Asked, asked, sort_of, state_of
from web.site import site_of


def add_routes(app: web.Application) -> None:
    """Mount the class page and its export."""
    add_route(app, "GET", "/", home, Rule.PUBLIC)  # it looks itself who comes, and shows each their own
    add_route(app, "GET", "/class.csv", export, Rule.STAFF)


async def home(request: web.Request) -> web.StreamResponse:
    """The class for staff, one's own labs for a learner, the way to sign in for everybody else."""
    who = visitor(request)
    if who.is_staff:
        return await _class(request)
    if who.role is Role.LEARNER and who.account_id is not None:
        return await _own(request, who.account_id)
    if "X-Fragment" in request.headers:  # an open page whose visitor has signed out
        raise web.HTTPUnauthorized(text="You are signed out.")
    raise web.HTTPSeeOther("/login")


async def _class(request: web.Request) -> web.StreamResponse:
    site = site_of(request)
    labs = await classroom.lab_names(site.pool)
    question = asked(request.query, labs)
    page, counts, steps = await asyncio.gather(
        classroom.class_page(site.pool, question.query),
        classroom.class_counts(site.pool, question.query.lab),
        classroom.funnel(site.pool, question.query.lab) if question.query.lab else _no_steps(),
    )
    if not page.rows and question.query.page > 1:  # rows have become fewer since the link was made
        question = Asked(replace(question.query, page=1), (*question.refused, "page"))
        page = await classroom.class_page(site.pool, question.query)
    context = {
        "page": monitor_page(question.query, page, counts, steps, site.web_url),
        "refused": question.refused,
        "labs": labs,
        "states": filter_choices(),
        "state": state_of(question.query),
        "sort": sort_of(question.query),
        "live": site.listener is not None,
    }
    return aiohttp_jinja2.render_template("monitor.html", request, context)


async def _no_steps() -> tuple[classroom.FunnelStep, ...]:
    return ()


async def _own(request: web.Request, account_id: int) -> web.StreamResponse:
    site = site_of(request)
    found: ClassPage = await classroom.class_page(site.pool, Query(account_id=account_id), rows=100)
    context = {
        "lines": [line(row, site.web_url) for row in found.rows],
        "rows": found.rows,
        "live": site.listener is not None,
    }
    return aiohttp_jinja2.render_template("monitor_own.html", request, context)


async def export(request: web.Request) -> web.StreamResponse:
    """The rows of the filter as CSV, all pages of them; never a part that looks like the whole."""
    pool = site_of(request).pool
    query = replace(asked(request.query, await classroom.lab_names(pool)).query, page=1)
    found = await classroom.class_page(pool, query, rows=EXPORT_ROWS)
    if found.total > EXPORT_ROWS:
        raise web.HTTPRequestEntityTooLarge(
            EXPORT_ROWS,
            found.total,
            text=f"These are {found.total} rows; at most {EXPORT_ROWS} are exported: filter first.",
        )
    headers = {hdrs.CONTENT_DISPOSITION: 'attachment; filename="class.csv"'}
    # The mark in front tells spreadsheets that this is UTF-8.
    return web.Response(text="\ufeff" + csv_text(found.rows), content_type="text/csv", charset="utf-8", headers=headers)

"""GET /audit: why bindings were rejected, and what was decided since, for staff; the same as CSV and as JSON Lines."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import asdict
from datetime import UTC, datetime, timedelta

import aiohttp_jinja2
from aiohttp import hdrs, web

from rules.audit_schema import KINDS
from storage import audit, auditview
from storage.audit import AuditFilter, RecordedEvent
from storage.audit_export import csv_lines, json_lines
from storage.database import Pool
from storage.sealing import chain_state
from web import audit_relink
from web.access import Rule, add_route
from web.audit_advice import advice, seen
from web.audit_page import DAYS, PAGE_EVENTS, CodeLine, Gathered, audit_page, code_lines
from web.audit_query import AuditQuery, asked, filter_of
from web.site import site_of

#: Lines of an export that are sent together.
_AT_A_TIME = 200

Lines = Callable[[AsyncIterator[RecordedEvent]], AsyncIterator[str]]


def add_routes(app: web.Application) -> None:
    """Mount the list, its exports, and the pages of single events."""
    add_route(app, "GET", "/audit", show, Rule.STAFF)
    add_route(app, "GET", "/audit.csv", export_csv, Rule.STAFF)
    add_route(app, "GET", "/audit.jsonl", export_json, Rule.STAFF)
    audit_relink.add_routes(app)


async def show(request: web.Request) -> web.StreamResponse:
    """The events that fit the filter, a page of them, the newest first."""
    site = site_of(request)
    question = asked(request.query)
    query = question.query
    found = await _repositories(site.pool, query)
    events, choices, codes, chain = await asyncio.gather(
        audit.list_events(site.pool, **asdict(_wanted(query, found)), before=query.before, limit=PAGE_EVENTS + 1),
        auditview.choices(site.pool),
        _codes(site.pool, query),
        chain_state(site.pool),
    )
    people = {person for each in events for person in (each.event.actor_id, each.event.sender_id)}
    logins = await auditview.logins(site.pool, people)
    known = advice(query.code)
    context = {
        "page": audit_page(query, Gathered(events, logins, choices, codes, found)),
        "refused": question.refused,
        "advice": known,
        "seen": seen(query.code),
        "kind_means": KINDS[query.kind].meaning if query.kind in KINDS else "",
        "days": DAYS,
        "chain": chain,
        "live": site.listener is not None,
    }
    return aiohttp_jinja2.render_template("audit.html", request, context)


async def _repositories(pool: Pool, query: AuditQuery) -> Sequence[int]:
    """The ids that the filter's repository stands for, the likeliest one first; none when it has none, or no such
    repository is known."""
    if query.repository.isdecimal():
        return (int(query.repository),)
    return await auditview.repositories_named(pool, query.repository) if query.repository else ()


def _wanted(query: AuditQuery, repositories: Sequence[int]) -> AuditFilter:
    """The query as storage takes it. No repository has the number 0: nothing fits a name that nobody has."""
    return filter_of(query, next(iter(repositories), 0) if query.repository else None)


async def _codes(pool: Pool, query: AuditQuery) -> tuple[CodeLine, ...]:
    """All that was not judged in the last days. It is of all repositories: not shown where one is asked for."""
    if query.repository or query.session_id is not None:
        return ()
    today = datetime.now(UTC).date()
    first = today - timedelta(days=DAYS - 1)
    return code_lines(query, await auditview.rejections_since(pool, first), today)


# ------------------------------------------------------------------------------------------------------------ export


async def export_csv(request: web.Request) -> web.StreamResponse:
    """The events that fit the filter, all of them, the oldest first, for spreadsheets."""
    return await _export(request, csv_lines, "text/csv", "audit.csv")


async def export_json(request: web.Request) -> web.StreamResponse:
    """The same for programs: a JSON object in each line."""
    return await _export(request, json_lines, "application/x-ndjson", "audit.jsonl")


async def _export(request: web.Request, lines: Lines, content_type: str, name: str) -> web.StreamResponse:
    """Send them as they are read: memory stays flat. What fails half-way breaks the transfer off, so that no part looks
    like the whole. A part of the address that is not understood is refused, for a file does not say what it left out.
    """
    pool = site_of(request).pool
    question = asked(request.query)
    if question.refused:
        raise web.HTTPBadRequest(text=f"Not understood: {', '.join(question.refused)}.")
    wanted = _wanted(question.query, await _repositories(pool, question.query))
    response = web.StreamResponse(headers={hdrs.CONTENT_DISPOSITION: f'attachment; filename="{name}"'})
    response.content_type, response.charset = content_type, "utf-8"
    response.headers[hdrs.CACHE_CONTROL] = "no-store"
    await response.prepare(request)
    if request.method == hdrs.METH_HEAD:
        return response
    if content_type == "text/csv":
        await response.write("\ufeff".encode())  # tells spreadsheets that this is UTF-8
    kept: list[str] = []
    async for line in lines(audit.stream(pool, wanted)):
        kept.append(line)
        if len(kept) == _AT_A_TIME:
            await response.write("".join(kept).encode())
            kept.clear()
    await response.write("".join(kept).encode())
    await response.write_eof()
    return response

"""One event of the audit; and, of a rejection, the way to the session where the repository belongs.

GET  /audit/{event_id}                     all of the event, its delivery, the sessions that it may be about
GET  /audit/{event_id}/relink?session=ID   what connecting the repository with that session would do, exactly
POST /audit/{event_id}/relink              does it, with a reason: the same as `sessions relink`
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, NoReturn
from urllib.parse import urlencode
from uuid import UUID

import aiohttp_jinja2
from aiohttp import web

from github.errors import GitHubError
from rules.model import Repo
from storage import actions, audit, auditview
from storage.actions import Decision
from storage.audit import RecordedEvent
from storage.auditview import Claim, Holder
from storage.errors import ActionRefused, MappingConflict, StaleSession
from storage.labs import get as lab_of
from web.access import Rule, add_route, visitor
from web.audit_advice import advice, filled_in, seen
from web.audit_page import claim_line, detail_of, event_row, facts, is_relinkable, state_words
from web.session_actions import DONE, MAX_FORM, covered_repository
from web.site import Site, site_of

_EVENT = "/audit/{event_id:[0-9]{1,18}}"


def add_routes(app: web.Application) -> None:
    """Mount the pages of an event."""
    add_route(app, "GET", _EVENT, show, Rule.STAFF)
    add_route(app, "GET", f"{_EVENT}/relink", ask, Rule.STAFF)
    add_route(app, "POST", f"{_EVENT}/relink", relink, Rule.STAFF)


async def _event(request: web.Request) -> RecordedEvent:
    """The event of the address; else 404."""
    event_id = int(request.match_info["event_id"])
    found = await audit.list_events(site_of(request).pool, before=event_id + 1, limit=1)
    if not found or found[0].event_id != event_id:
        raise web.HTTPNotFound
    return found[0]


# --------------------------------------------------------------------------------------------------------- one event


async def show(request: web.Request) -> web.StreamResponse:
    """The event's page."""
    pool, web_url = site_of(request).pool, site_of(request).web_url
    recorded = await _event(request)
    event = recorded.event
    relinkable = is_relinkable(recorded)
    people = (event.actor_id, event.sender_id, event.owner_id, event.expected_owner_id)
    logins, deliveries, holder, offered, lab = await asyncio.gather(
        auditview.logins(pool, people),
        auditview.deliveries_of(pool, recorded),
        _holder(request, recorded),
        auditview.claims(pool, recorded) if relinkable else _no_claims(),
        _lab_slug(request, recorded),
    )
    known = advice(event.code)
    owner = logins.get(event.owner_id or 0, "")
    context = {
        "recorded": recorded,
        "row": event_row(recorded, logins),
        "facts": facts(recorded, logins, web_url),
        "detail": detail_of(recorded),
        "deliveries": deliveries,
        "holder": holder,
        "relinkable": relinkable,
        "claims": [claim_line(recorded.event_id, claim) for claim in offered],
        "advice": known,
        "command": filled_in(known.command, lab=lab, owner=owner, session=str(event.session_id or "")) if known else "",
        "seen": seen(event.code or "") if event.kind == "rejected" else "",
    }
    return aiohttp_jinja2.render_template("audit_event.html", request, context)


async def _holder(request: web.Request, recorded: RecordedEvent) -> Holder | None:
    """Where the event's repository stands now; None: it is about none."""
    event = recorded.event
    if event.repo_id is None:
        return None
    return await auditview.holder_of(site_of(request).pool, event.repo_id, event.repo_full_name)


async def _no_claims() -> tuple[Claim, ...]:
    return ()


async def _lab_slug(request: web.Request, recorded: RecordedEvent) -> str:
    lab_id = recorded.event.detail.get("lab_id")
    lab = await lab_of(site_of(request).pool, lab_id) if isinstance(lab_id, int) else None
    return lab.slug if lab is not None else ""


# ------------------------------------------------------------------------------------------------------------ relink


@dataclass(frozen=True, slots=True)
class Proposal:
    """What is to be decided: a rejection, the session that is to have its repository, and where that stands now."""

    recorded: RecordedEvent
    claim: Claim
    holder: Holder


async def _proposal(request: web.Request, session: str) -> Proposal:
    """Read anew, so that a page never decides by what an address or a form says; 404 for what is not offered."""
    recorded = await _event(request)
    holder = await _holder(request, recorded)
    try:
        session_id = UUID(session)
    except ValueError:
        raise web.HTTPNotFound from None
    if holder is None or not is_relinkable(recorded):
        raise web.HTTPNotFound
    offered = await auditview.claims(site_of(request).pool, recorded)
    claim = next((each for each in offered if each.session.session_id == session_id), None)
    if claim is None:
        raise web.HTTPNotFound
    return Proposal(recorded, claim, holder)


async def ask(request: web.Request) -> web.StreamResponse:
    """What connecting would do, with GitHub's word of now on the repository; nothing is changed."""
    site = site_of(request)
    proposal = await _proposal(request, request.query.get("session", ""))
    claim, holder = proposal.claim, proposal.holder
    word = request.query.get("done", "")
    try:
        repo, _ = await _repository(site, proposal)
    except (ActionRefused, GitHubError) as error:
        repo, word = None, error.word if isinstance(error, ActionRefused) else "github"
    context = {
        "event_id": proposal.recorded.event_id,
        "claim": claim,
        "session": str(claim.session.session_id),
        "epoch": claim.session.epoch,
        "state": state_words(claim),
        "holder": holder,
        "repo": repo,
        "url": f"{site.web_url}/{repo.full_name}" if repo is not None else "",
        "taken": holder.session_id not in (None, claim.session.session_id),
        "same": repo is not None and claim.repo_id == repo.repo_id,
        "others": repo is not None and repo.owner.account_id != claim.session.learner_account_id,
        "said": DONE.get(word),
    }
    return aiohttp_jinja2.render_template("audit_relink.html", request, context)


async def _repository(site: Site, proposal: Proposal) -> tuple[Repo, int]:
    """The rejected repository as GitHub knows it now, and the installation that covers it.

    Raises ActionRefused: "no-repository", or "other-repository" when its name is another one's by now; GitHubError.
    """
    if site.github is None:
        raise ActionRefused("github", "nothing can be asked of GitHub here")
    repo, installation_id = await covered_repository(site.pool, site.github, proposal.holder.full_name)
    if repo.repo_id != proposal.recorded.event.repo_id:
        raise ActionRefused("other-repository", f"{repo.full_name} is another repository now")
    return repo, installation_id


async def relink(request: web.Request) -> NoReturn:
    """Connect the repository with the session, if both are still as the page showed them."""
    if (request.content_length or 0) > MAX_FORM:
        raise web.HTTPRequestEntityTooLarge(MAX_FORM, request.content_length or 0)
    fields: Mapping[str, Any] = await request.post()
    proposal = await _proposal(request, str(fields.get("session", "")))
    session_id = proposal.claim.session.session_id
    word, done = await _decide(site_of(request), proposal, fields, visitor(request).account_id)
    if done:
        raise web.HTTPSeeOther(f"/sessions/{session_id}?done={word}")
    again = urlencode({"session": session_id, "done": word})
    raise web.HTTPSeeOther(f"/audit/{proposal.recorded.event_id}/relink?{again}")


async def _decide(site: Site, proposal: Proposal, fields: Mapping[str, Any], by: int | None) -> tuple[str, bool]:
    """The word of what is to be said, and whether it was done."""
    session = proposal.claim.session
    if str(fields.get("epoch", "")) != str(session.epoch):
        return "changed", False
    try:
        decision = Decision.by_staff(by, str(fields.get("reason", "")))
        repo, installation_id = await _repository(site, proposal)
        if str(fields.get("owner", "")) != str(repo.owner.account_id):
            return "other-repository", False
        done = await actions.relink(site.pool, session, decision, repo, installation_id)
    except ActionRefused as refused:
        return refused.word, False
    except StaleSession:
        return "changed", False
    except MappingConflict:
        return "taken", False
    except GitHubError:
        return "github", False
    return ("judging" if done.woken else "saved"), True

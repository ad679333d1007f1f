"""/setup: from nothing to a registered App. An application of its own, served while there is no App yet.

The way: a one-time link of the terminal opens the form; GitHub is sent the manifest; GitHub sends the browser back with
a code; the code becomes credentials, which are written into a file or shown once. Everybody else gets 404.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

import aiohttp
import aiohttp_jinja2
import structlog
from aiohttp import web

from github.errors import Fault
from github.manifest import NotExchangedError, Registered, asked_for, exchange, manifest_for
from web import access, health, security
from web.access import Handler, Rule, add_route
from web.messages import Message, show
from web.setup_form import Choice, proposed, read_form
from web.setup_state import NotKeptError, Setup
from web.templating import mount_templates

log = structlog.get_logger(__name__)

COOKIE = "stepgate_setup"
LARGEST_FORM = 16 * 1024

_NOT_YET = Message(
    "Nothing here yet",
    "This Stepgate is not connected to GitHub yet. Its operator finds a link for that where it was started: in the"
    " terminal or in the log. The link works once; after a restart there is a new one.",
)
FAULTS: Mapping[Fault, str] = {
    Fault.GITHUB: "This is GitHub's fault or the network's, not yours.",
    Fault.OPERATOR: "Begin again: it takes a minute.",
    Fault.OWNER: "The account's owner decides about this.",
    Fault.US: "This is a fault of Stepgate's; please report it.",
}


SETUP: web.AppKey[Setup] = web.AppKey("setup", Setup)


def build_setup(setup: Setup) -> web.Application:
    """The application that serves `setup`, and probes: it lives (/healthz) but is not ready (/readyz)."""

    async def not_set_up() -> str | None:
        return "no GitHub App is set up yet"

    app = web.Application(client_max_size=LARGEST_FORM, middlewares=[_kindly])
    app[access.RULES] = {}
    app[SETUP] = setup
    environment = mount_templates(app)
    environment.globals["can_sign_in"] = lambda _request: False
    health.add_routes(app, {"setup": not_set_up})
    # The guard of the App's pages is not here: each of these has the link's own check.
    add_route(app, "GET", "/setup", _enter, Rule.UNGUARDED)
    add_route(app, "POST", "/setup", _mine(_decide), Rule.UNGUARDED)
    add_route(app, "GET", "/setup/summary", _mine(_summary), Rule.UNGUARDED)
    add_route(app, "GET", "/setup/created", _mine(_created), Rule.UNGUARDED)
    return app


@web.middleware
async def _kindly(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Say in a page why there is nothing."""
    try:
        return await handler(request)
    except web.HTTPNotFound:
        return show(request, _NOT_YET, 404)


def _mine(handler: Handler) -> Handler:
    """Only for the browser that opened the link; 404 for all others, as if there were no such page."""

    async def guarded(request: web.Request) -> web.StreamResponse:
        if request.method == "HEAD" or not request.app[SETUP].knows(request.cookies.get(COOKIE, "")):
            raise web.HTTPNotFound
        return await handler(request)

    return guarded


async def _enter(request: web.Request) -> web.StreamResponse:
    """The form; or, for the link's first visitor, the cookie and then the form."""
    setup = request.app[SETUP]
    if request.method == "GET" and (cookie := setup.admit(request.query.get("token", ""))):
        response = web.Response(status=303, headers={"Location": "/setup"})
        secure = setup.here.startswith("https://")
        response.set_cookie(COOKIE, cookie, path="/setup", httponly=True, samesite="Lax", secure=secure)
        return response
    return await _mine(_form)(request)


async def _form(request: web.Request) -> web.StreamResponse:
    setup = request.app[SETUP]
    return _form_page(request, setup.typed or proposed(setup.known, request.host), {})


def _form_page(request: web.Request, typed: Mapping[str, str], wrong: Mapping[str, str]) -> web.Response:
    template = request.app[SETUP].template
    context = {
        "typed": typed,
        "wrong": wrong,
        "known": request.app[SETUP].known,
        "permissions": template.permissions,
        "events": template.events,
    }
    return _page(request, "setup.html", context, status=422 if wrong else 200)


async def _decide(request: web.Request) -> web.StreamResponse:
    """Take the form; what is wrong is said beside its field."""
    if not _from_our_page(request):
        raise web.HTTPForbidden(text="This form was sent from another site. Open the page of Stepgate itself.")
    setup = request.app[SETUP]
    sent = await request.post()
    typed = setup.typed = {name: _text(sent.get(name)) for name in proposed(setup.known, request.host)}
    origin = request.headers.get("Origin", "")
    found = read_form(typed, setup.known, here=origin if origin.startswith("http") else setup.here)
    if isinstance(found, Choice) and found.to_file and (problem := setup.keeper.problem()):
        found = {"keep": problem}
    if not isinstance(found, Choice):
        return _form_page(request, typed, found)
    setup.decide(found)
    return web.Response(status=303, headers={"Location": "/setup/summary"})


def _text(value: object) -> str:
    """A field's text; nothing for one that is missing or a file."""
    return value if isinstance(value, str) else ""


async def _summary(request: web.Request) -> web.StreamResponse:
    """What will be created, and the button that takes it to GitHub."""
    setup = request.app[SETUP]
    if (waiting := setup.waiting()) is None:
        return web.Response(status=303, headers={"Location": "/setup"})
    choice, state = waiting
    wanted = choice.wanted
    manifest = manifest_for(setup.template, wanted)
    context = {
        "choice": choice,
        "wanted": wanted,
        "action": wanted.form_url(state),
        "manifest": json.dumps(manifest),
        "hook": manifest["hook_attributes"]["url"],
        "permissions": asked_for(setup.template.permissions, wanted),
        "events": asked_for(setup.template.events, wanted),
    }
    return _page(request, "setup_summary.html", context, form_to=wanted.web_url)


async def _created(request: web.Request) -> web.StreamResponse:
    """GitHub sent the browser back: exchange the code, keep the credentials, say what comes next."""
    setup, query = request.app[SETUP], request.query
    state = query.get("state", "")
    choice = setup.take(state)
    if choice is None:
        text = "This answer does not belong to the form that is open here: it was used already, or its hour is over."
        return _problem(request, text, FAULTS[Fault.OPERATOR], status=400)
    try:
        async with aiohttp.ClientSession(cookie_jar=aiohttp.DummyCookieJar()) as http:
            wanted = choice.wanted
            registered = await exchange(
                http, web_url=wanted.web_url, api_url=wanted.api_url, code=query.get("code", "")
            )
    except NotExchangedError as error:
        log.warning("app_not_registered", error=str(error))
        if error.again:
            setup.give_back(choice, state)
        return _problem(request, str(error), FAULTS[error.fault], status=502, choice=choice, again=error.again)
    return _keep(request, registered, choice)


def _keep(request: web.Request, registered: Registered, choice: Choice) -> web.Response:
    """Keep the credentials. GitHub gives them once: what cannot be written is shown."""
    setup = request.app[SETUP]
    files: Sequence[str] = ()
    trouble = ""
    if choice.to_file:
        try:
            files = setup.keeper.keep(registered, choice)
        except NotKeptError as error:
            trouble = str(error)
    log.info("app_registered", app_id=registered.app_id, slug=registered.slug, files=list(files), error=trouble)
    context = {
        "registered": registered,
        "wanted": choice.wanted,
        "staff_known": setup.known.staff,
        "here": choice.wanted.public_url or choice.wanted.here,
        "files": files,
        "trouble": trouble,
        "lines": () if files else setup.keeper.lines(registered, choice),
    }
    response = _page(request, "setup_done.html", context)
    setup.finish(written=bool(files))
    return response


def _problem(
    request: web.Request, text: str, remedy: str, *, status: int, choice: Choice | None = None, again: bool = False
) -> web.Response:
    context = {
        "text": text,
        "remedy": remedy,
        "again": again,
        "settings_url": choice.wanted.settings_url if choice else None,
    }
    return _page(request, "setup_problem.html", context, status=status)


def _page(
    request: web.Request, name: str, context: Mapping[str, Any], *, status: int = 200, form_to: str = ""
) -> web.Response:
    """A page whose forms may go to us and, if given, to GitHub's pages at `form_to`."""
    response: web.Response = aiohttp_jinja2.render_template(name, request, dict(context), status=status)
    rules = [rule for rule in security.CONTENT_SECURITY_POLICY.split("; ") if not rule.startswith("form-action")]
    response.headers["Content-Security-Policy"] = "; ".join([*rules, f"form-action 'self' {form_to}".rstrip()])
    # Browsers name the origin of a form only under a policy that lets them; no address of ours is told.
    response.headers["Referrer-Policy"] = "strict-origin"
    response.headers["Cache-Control"] = "no-store"
    return response


def _from_our_page(request: web.Request) -> bool:
    """Whether the form was on one of our own pages, whichever name of this machine the operator uses: who may send it
    at all is told by the cookie."""
    here = request.app[SETUP].here, f"http://{request.host}"
    return any(security.comes_from_our_pages(request, root) for root in here)

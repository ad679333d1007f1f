"""Who may see and do what: every route names a rule, and a route without one answers nobody."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from enum import StrEnum, unique

from aiohttp import hdrs, web
from aiohttp.web_urldispatcher import AbstractRoute

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


@unique
class Rule(StrEnum):
    """Who a route answers."""

    UNGUARDED = "unguarded"  # anybody, from anywhere: it shows all the same (probes, files), or checks a signature
    PUBLIC = "public"  # anybody who may look at pages; what it shows holds nothing that is not public
    SIGNED_IN = "signed in"  # everybody who has signed in
    OWN_SESSION = "own session"  # staff, and the learner of the session `{session_id}` of the address
    STAFF = "staff"


@unique
class Role(StrEnum):
    """What a visitor is to us."""

    NOBODY = "nobody"  # not signed in
    LEARNER = "learner"
    STAFF = "staff"


@dataclass(frozen=True, slots=True)
class Visitor:
    """Who makes a request. `account_id` None: not signed in with GitHub (the operator at this machine may still be
    staff). `login`: for display only. `installations`: the newest installations of the App that GitHub let the person
    see when they signed in, by id.
    """

    account_id: int | None = None
    login: str = ""
    role: Role = Role.NOBODY
    installations: frozenset[int] = frozenset()

    @property
    def is_staff(self) -> bool:
        """Whether the visitor may see and do what staff may."""
        return self.role is Role.STAFF


NOBODY = Visitor()
VISITOR = web.RequestKey("visitor", Visitor)
RULES: web.AppKey[dict[AbstractRoute, Rule]] = web.AppKey("rules", dict)


def add_route(app: web.Application, method: str, path: str, handler: Handler, rule: Rule) -> None:
    """Mount a handler under its rule. GET brings HEAD with it."""
    declare(app, app.router.add_route(method, path, handler), rule)
    if method == hdrs.METH_GET:
        declare(app, app.router.add_route(hdrs.METH_HEAD, path, handler), rule)


def declare(app: web.Application, route: AbstractRoute, rule: Rule) -> None:
    """Name the rule of a route that somebody else mounted."""
    app[RULES][route] = rule


def rule_of(request: web.Request) -> Rule | None:
    """The rule of the route that this request was matched with; None: nobody named one."""
    return request.app[RULES].get(request.match_info.route)


def visitor(request: web.Request) -> Visitor:
    """Who makes this request."""
    known: Visitor = request.get(VISITOR, NOBODY)
    return known

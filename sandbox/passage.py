"""One request on its way through the faults: whose it is, what it is about, and what is to happen to it."""

from __future__ import annotations

import re
from contextlib import ExitStack
from dataclasses import dataclass, field

from aiohttp import web

from .auth import Authenticator
from .core import Core
from .faults import Armed, Subject
from .rest import API_ROOT
from .state import Repository
from .views import View

_GIT = re.compile(r"/(info/refs|git-(upload|receive)-pack)$")


@dataclass(slots=True)
class Passage:
    """One request on its way through the faults.

    `pending`: faults that are taken and have not happened yet; `lent`: those among them that happen if the view's
    names of theirs make a difference.
    """

    request: web.Request
    subject: Subject
    repository: Repository | None
    view: View = field(default_factory=View)
    pending: list[Armed] = field(default_factory=list)
    lent: list[tuple[Armed, frozenset[str]]] = field(default_factory=list)
    later: list[Armed] = field(default_factory=list)
    answer: web.StreamResponse | None = None
    dropped: bool = False
    headers_wait: float = 0.0
    body_wait: float = 0.0
    under_way: ExitStack = field(default_factory=ExitStack)

    def lend(self, armed: Armed, *names: str) -> None:
        """Let the fault have happened if one of these names of the view made a difference."""
        self.lent.append((armed, frozenset(names)))

    def fire(self, armed: Armed, detail: str = "") -> None:
        """The fault has happened."""
        self.pending.remove(armed)
        armed.fire(self.subject, detail)


def passage_of(core: Core, auth: Authenticator, request: web.Request) -> Passage:
    """Return the request with what faults ask of it."""
    path, state = request.path, core.state
    api = path.startswith(f"{API_ROOT}/")
    match, git = request.match_info, _GIT.search(path) is not None
    names = set()
    repository = None
    if "repository_id" in match:
        repository = state.repositories.get(int(match["repository_id"]))
    elif "owner" in match and "repo" in match:
        asked = f"{match['owner']}/{match['repo'].removesuffix('.git') if git else match['repo']}"
        names.add(asked.casefold())
        repository = state.find(asked) or state.find_moved(asked)
    if repository is not None:
        names.add(repository.full_name.casefold())
    installation_id = auth.installation_of(request.headers.get("Authorization"))
    if installation_id is None and match.get("installation_id", "").isdigit():
        installation_id = int(match["installation_id"])
    subject = Subject(
        area="api" if api else "git" if git else "pages",
        what=f"{request.method} {path.removeprefix(API_ROOT) if api else path}",
        method=request.method,
        path=path.removeprefix(API_ROOT) if api else path,
        installation_id=installation_id,
        repository_id=None if repository is None else repository.id,
        names=frozenset(names),
    )
    return Passage(request, subject, repository)


def endpoint_of(request: web.Request) -> str:
    """Return the pattern of the address, the same whether the repository is given by name or by id."""
    resource = request.match_info.route.resource
    pattern = request.path if resource is None else resource.canonical
    return pattern.replace(f"{API_ROOT}/repos/{{owner}}/{{repo}}", f"{API_ROOT}/repositories/{{repository_id}}")

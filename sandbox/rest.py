"""The REST API's one way through: fault, caller, repository, permission, handler, answer, record."""

from __future__ import annotations

import hashlib
import logging
import re
import uuid
from collections import deque
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import orjson
from aiohttp import web
from multidict import CIMultiDict

from .auth import Actor, Authenticator
from .core import CachedBody, Core
from .errors import DOCUMENTATION_URL, ApiError, bad_credentials, not_found
from .exchanges import EXCHANGES_KEPT, Exchange
from .state import Repository
from .views import view

log = logging.getLogger(__name__)

API_ROOT = "/api/v3"
RATE_WINDOW = 3600  # seconds; GitHub docs, rate limits for the REST API
_NOT_FOR_APPS = "Resource not accessible by integration"
_BY_NAME = "/repos/{owner}/{repo}"
_MULTI_SEGMENT = frozenset({"ref", "path", "tree_sha", "commit_sha", "basehead", "sha"})


@dataclass(frozen=True, slots=True)
class Reply:
    """What a handler answers. `body` None: no content; bytes or CachedBody: ready-made."""

    body: Any = None
    status: int = 200
    headers: Mapping[str, str] = field(default_factory=dict)
    content_type: str = "application/json; charset=utf-8"


@dataclass(slots=True)
class Call:
    """One request on its way to a handler."""

    core: Core
    auth: Authenticator
    request: web.Request
    actor: Actor
    path: Mapping[str, str]
    body: Any
    found: Repository | None = None

    @property
    def repository(self) -> Repository:
        """The repository of the path; only operations on a repository ask for it."""
        if self.found is None:
            raise not_found()
        return self.found

    @property
    def query(self) -> Mapping[str, str]:
        """The query parameters."""
        return self.request.query

    @property
    def accept(self) -> str:
        """The Accept header."""
        return self.request.headers.get("Accept", "")


Handler = Callable[[Call], Awaitable[Reply]]


@dataclass(frozen=True, slots=True)
class Operation:
    """One operation of GitHub's OpenAPI description.

    `needs`: "app" (JWT), "installation" (token), "user" (user token), "person" (personal access token), "signed-in" (of
    these two any), "client" (client id and secret), "anyone", or a permission on the repository ("checks:write").
    """

    method: str
    path: str
    handler: Handler
    needs: str


def patterns(path: str) -> list[str]:
    """Return aiohttp's route patterns of a path template: also by repository id, and contents without a path."""

    def placeholder(match: re.Match[str]) -> str:
        name = match[1]
        if name in _MULTI_SEGMENT:
            return f"{{{name}:.+}}"
        return f"{{{name}:\\d+}}" if name.endswith("_id") and name != "client_id" else match[0]

    def route(template: str) -> str:
        return re.sub(r"\{(\w+)\}", placeholder, template)

    templates = [path]
    if path.endswith("/contents/{path}"):
        templates += [path.removesuffix("/{path}"), path.removesuffix("{path}")]
    if path.startswith(_BY_NAME):
        templates += [template.replace(_BY_NAME, "/repositories/{repository_id}", 1) for template in templates]
    return [API_ROOT + route(template) for template in templates]


class RestApi:
    """Serves the operations, keeps rate counters and the record of exchanges."""

    def __init__(self, core: Core, auth: Authenticator) -> None:
        self.exchanges: deque[Exchange] = deque(maxlen=EXCHANGES_KEPT)
        self._core = core
        self._auth = auth
        self._used: dict[str, tuple[int, int]] = {}  # caller -> (end of the window, requests in it)

    def register(self, router: web.UrlDispatcher, operations: list[Operation]) -> None:
        """Add the operations, then a 404 for every other address of the API."""
        for operation in operations:
            for pattern in patterns(operation.path):
                router.add_route(operation.method, pattern, self._serve(operation))
        unknown = Operation("*", "", _unknown, "anyone")
        router.add_route("*", API_ROOT + "/{tail:.*}", self._serve(unknown))

    def record(
        self, request: web.Request, operation: str, sent: bytes, response: web.Response, caller: str, *, scripted: bool
    ) -> None:
        """Remember the exchange, without the credentials. `caller`: as `Actor.key` has it."""
        headers = CIMultiDict(request.headers)
        headers.pop("Authorization", None)
        got = response.body if isinstance(response.body, bytes) else b""
        answered = CIMultiDict(response.headers)
        exchange = Exchange(
            method=request.method,
            path=request.path,
            operation=operation,
            query=dict(request.query),
            request_headers=headers,
            request_body=sent,
            status=response.status,
            response_headers=answered,
            response_body=got,
            caller=caller,
            at=self._core.clock(),
            scripted=scripted,
        )
        self.exchanges.append(exchange)

    def _serve(self, operation: Operation) -> Callable[[web.Request], Awaitable[web.Response]]:
        async def serve(request: web.Request) -> web.Response:
            sent = await request.read()
            actor = Actor()
            try:
                actor = self._auth.actor(request.headers.get("Authorization"))
                reply = await self._answer(operation, request, actor, sent)
            except ApiError as error:
                reply = Reply(error.body(), error.status, error.headers)
            except Exception:
                log.exception("the sandbox failed at %s %s", request.method, request.path)
                reply = Reply({"message": "Server Error", "documentation_url": DOCUMENTATION_URL, "status": "500"}, 500)
            response = self._respond(request, actor, reply)
            self.record(request, operation.path, sent, response, actor.key, scripted=False)
            return response

        return serve

    async def _answer(self, operation: Operation, request: web.Request, actor: Actor, sent: bytes) -> Reply:
        self._count(actor)
        call = Call(self._core, self._auth, request, actor, request.match_info, None)
        moved = self._find_repository(call)
        self._admit(operation.needs, call)
        if moved:
            if not self._auth.sees(actor, call.repository):
                raise not_found()
            return self._redirect(request, call.repository)
        call.body = _parse(sent) if request.method in {"POST", "PUT", "PATCH", "DELETE"} else {}
        return await operation.handler(call)

    def _admit(self, needs: str, call: Call) -> None:
        """Pass if the caller has what the operation needs; ApiError 401, 403 or 404 if not."""
        actor = call.actor
        if needs == "app":
            if not actor.app:
                raise bad_credentials("A JSON web token could not be decoded")
        elif needs == "installation":
            if actor.token is None:
                status = 403 if actor.app else 401
                raise ApiError(status, "You must authenticate with an installation access token")
        elif needs in {"user", "person", "signed-in"}:
            fits = {"user": actor.user, "person": actor.person, "signed-in": actor.user or actor.person}
            if fits[needs] is None:
                known = actor.token is not None or actor.app or actor.user is not None or actor.person is not None
                raise ApiError(403, _NOT_FOR_APPS) if known else ApiError(401, "Requires authentication")
        elif needs == "client":
            if not actor.client:
                raise not_found()
        elif needs != "anyone":
            if call.found is None:
                raise not_found()
            self._auth.require(actor, call.found, needs)

    def _find_repository(self, call: Call) -> bool:
        """Set the call's repository; True if it was asked for by a name that it had before."""
        state, path = self._core.state, call.path
        if "repository_id" in path:
            call.found = state.repositories.get(int(path["repository_id"]))
        elif "owner" in path:
            full_name = f"{path['owner']}/{path['repo']}"
            call.found = state.find(full_name)
            if call.found is None:
                call.found = state.find_moved(full_name)
                return call.found is not None
        return False

    def _redirect(self, request: web.Request, repository: Repository) -> Reply:
        """Answer as GitHub does for a renamed or transferred repository: 301 for reads, 307 for writes."""
        rest = "/".join(request.raw_path.removeprefix(f"{API_ROOT}/repos/").split("/")[2:])
        target = f"{self._core.api_url}/repositories/{repository.id}" + (f"/{rest}" if rest else "")
        if not rest and request.query_string:
            target += f"?{request.query_string}"
        status, message = (301, "Moved Permanently") if request.method == "GET" else (307, "Temporary Redirect")
        body = {"message": message, "url": target, "documentation_url": DOCUMENTATION_URL}
        return Reply(body, status, {"Location": target})

    def rate(self, caller: str) -> dict[str, int]:
        """Return the primary rate limit of a caller (`Actor.key`) as `GET /rate_limit` shows it."""
        end, used = self._window(caller)
        limit = view().hourly(self._core.rate_limit)
        return {"limit": limit, "remaining": max(0, limit - used), "reset": end, "used": used}

    def rate_headers(self, caller: str) -> dict[str, str]:
        """Return the headers that tell a caller its primary rate limit."""
        headers = {f"X-RateLimit-{key.capitalize()}": str(value) for key, value in self.rate(caller).items()}
        return {**headers, "X-RateLimit-Resource": "core"}

    def _window(self, caller: str) -> tuple[int, int]:
        now = int(self._core.clock())
        end, used = self._used.get(caller, (0, 0))
        return (end, used) if now < end else (now + RATE_WINDOW, 0)

    def _count(self, actor: Actor) -> None:
        end, used = self._window(actor.key)
        if used >= view().hourly(self._core.rate_limit):
            if used < self._core.rate_limit:
                view().used.add("rate_limit")
            raise ApiError(403, f"API rate limit exceeded for {actor.key}.")
        self._used[actor.key] = (end, used + 1)

    def _uncount(self, actor: Actor) -> None:
        end, used = self._window(actor.key)
        self._used[actor.key] = (end, max(0, used - 1))

    def _respond(self, request: web.Request, actor: Actor, reply: Reply) -> web.Response:
        headers: CIMultiDict[str] = CIMultiDict(reply.headers)
        body, digest = _body(reply.body)
        status = reply.status
        if status == 200 and request.method == "GET":
            caller = f"{request.headers.get('Accept', '')}\n{actor.key}\n".encode()
            etag = f'"{hashlib.sha256(caller + digest).hexdigest()}"'
            headers["ETag"] = etag
            headers["Cache-Control"] = "private, max-age=60, s-maxage=60"
            headers["Vary"] = "Accept, Authorization, Cookie, X-GitHub-OTP"
            if _matches(request.headers.get("If-None-Match"), etag):
                status, body = 304, b""
                self._uncount(actor)  # GitHub docs, best practices: a 304 costs nothing of the primary limit
        headers.update(self.rate_headers(actor.key))
        headers["X-GitHub-Request-Id"] = uuid.uuid4().hex.upper()
        if actor.person is not None:
            headers["X-OAuth-Scopes"] = ", ".join(sorted(actor.person.scopes))
        headers["X-GitHub-Media-Type"] = "github.v3; format=json"
        headers["Server"] = "github.com"
        if body:
            headers["Content-Type"] = reply.content_type
        return web.Response(body=body, status=status, headers=headers)


async def _unknown(_call: Call) -> Reply:
    raise not_found()


def _body(body: Any) -> tuple[bytes, bytes]:
    """Return the body's bytes and their digest."""
    if isinstance(body, CachedBody):
        return body.data, body.digest
    data = b"" if body is None else body if isinstance(body, bytes) else orjson.dumps(body)
    return data, hashlib.sha256(data).digest()


def _matches(wanted: str | None, etag: str) -> bool:
    return wanted is not None and etag in {part.strip().removeprefix("W/") for part in wanted.split(",")}


def _parse(sent: bytes) -> dict[str, Any]:
    if not sent:
        return {}
    try:
        body = orjson.loads(sent)
    except orjson.JSONDecodeError:
        raise ApiError(400, "Problems parsing JSON") from None
    if not isinstance(body, dict):
        raise ApiError(400, "Body should be a JSON object")
    return body

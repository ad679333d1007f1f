"""Faults in the path of requests: one middleware before everything that the sandbox serves."""

from __future__ import annotations

import inspect
from collections.abc import Awaitable, Callable
from email.utils import formatdate
from typing import Any

from aiohttp import web

from . import effects
from .answers import answer_of, response_of, timed
from .auth import Authenticator
from .core import Core
from .faults import Armed
from .passage import Passage, endpoint_of, passage_of
from .presets import Preset
from .rates import RateBook
from .rest import API_ROOT, RestApi
from .views import seeing
from .wire import close, resend, reset

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]
CONTROL_ROOT = "/_sandbox/"
# Of a request: what Headers faults want of its answer.
_HEADERS = web.RequestKey("sandbox_headers", list[effects.Headers])
# What may still happen to an answer that a fault has given.
_ANSWERED = (effects.Latency, effects.Headers, effects.Truncate)


class RequestFaults:
    """Lets the faults of the plan happen to requests."""

    def __init__(self, core: Core, auth: Authenticator, rest: RestApi) -> None:
        self._core = core
        self._auth = auth
        self._rest = rest
        self._before: dict[type, Callable[[Passage, Armed], Awaitable[None]]] = {
            effects.Answer: self._answer,
            effects.ClockOffset: self._clock,
            effects.Drop: self._drop,
            effects.Headers: self._headers,
            effects.Lag: self._lag,
            effects.Latency: self._latency,
            effects.Limits: self._limits,
            effects.Rates: self._rates,
            effects.Redirect: self._redirect,
            effects.Reset: self._later,
            effects.Scripted: self._scripted,
            effects.Stale: self._later,
            effects.Token: self._token,
            effects.Truncate: self._later,
        }

    @web.middleware
    async def serve(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        """Serve the request as the faults have it."""
        if not len(self._core.faults) or request.path.startswith(CONTROL_ROOT):
            return await handler(request)
        passage = passage_of(self._core, self._auth, request)
        try:
            with passage.under_way:
                return await self._through(passage, handler)
        finally:
            for armed in passage.pending:
                armed.spare()

    async def _through(self, passage: Passage, handler: Handler) -> web.StreamResponse:
        for armed in self._core.faults:
            effect = armed.fault.effect
            if passage.dropped or (passage.answer is not None and not isinstance(effect, _ANSWERED)):
                continue
            if armed.fits(passage.subject) and armed.take():
                passage.pending.append(armed)
                await self._before[type(effect)](passage, armed)
        if passage.dropped:
            return close(passage.request)
        response = passage.answer
        if response is None:
            with seeing(passage.view):
                response = await handler(passage.request)
        else:
            await self._record(passage, response)
        for armed, names in passage.lent:
            if names & passage.view.used:
                passage.fire(armed, ", ".join(sorted(names & passage.view.used)))
        if passage.headers_wait:
            await self._core.faults.sleep(passage.headers_wait)
        return await self._spoilt(passage, response)

    async def prepare(self, request: web.Request, response: web.StreamResponse) -> None:
        """Give the answer the sandbox's time (an App tells from it whether its own clock is right), then the faults."""
        response.headers["Date"] = formatdate(self._core.clock(), usegmt=True)
        for effect in request.get(_HEADERS, ()):
            for pattern in effect.remove:
                for name in [name for name in response.headers if _like(name, pattern)]:
                    response.headers.popall(name, None)
            for name, value in effect.set.items():
                response.headers[name] = timed(value, self._core.clock())

    def _caller(self, request: web.Request) -> str:
        return self._auth.caller(request.headers.get("Authorization"))

    async def _record(self, passage: Passage, response: web.StreamResponse) -> None:
        if passage.subject.area == "api" and isinstance(response, web.Response):
            request = passage.request
            self._rest.record(request, "", await request.read(), response, self._caller(request), scripted=True)

    # ------------------------------------------------------------------------------------------------ before all else

    async def _latency(self, passage: Passage, armed: Armed) -> None:
        effect: Any = armed.fault.effect
        passage.headers_wait += effect.headers
        passage.body_wait += effect.body
        passage.fire(armed)
        if effect.before:
            await self._core.faults.sleep(effect.before)

    async def _drop(self, passage: Passage, armed: Armed) -> None:
        passage.dropped = True
        passage.fire(armed)

    async def _answer(self, passage: Passage, armed: Armed) -> None:
        effect: Any = armed.fault.effect
        if effect.executed:
            passage.later.append(armed)
        else:
            passage.answer = answer_of(effect, self._core.clock())
            passage.fire(armed, str(passage.answer.status))

    async def _redirect(self, passage: Passage, armed: Armed) -> None:
        effect: Any = armed.fault.effect
        request, repository = passage.request, passage.repository
        location = f"{effect.to.rstrip('/')}{request.raw_path}" if effect.to else None
        if location is None and repository is not None and passage.subject.path.startswith("/repos/"):
            rest = request.raw_path.removeprefix(f"{API_ROOT}/repos/").split("/", 2)[2:]
            location = "/".join([self._core.api_url, "repositories", str(repository.id), *rest])
        if location is None:
            return  # there is no other address of it
        body = {"message": "Moved Permanently" if effect.status == 301 else "Temporary Redirect", "url": location}
        passage.answer = response_of(Preset(effect.status, body, {"Location": location}))
        passage.fire(armed, location)

    async def _headers(self, passage: Passage, armed: Armed) -> None:
        effect: Any = armed.fault.effect
        if _HEADERS not in passage.request:
            passage.request[_HEADERS] = []
        passage.request[_HEADERS].append(effect)
        passage.fire(armed)

    async def _clock(self, passage: Passage, armed: Armed) -> None:
        passage.fire(armed)

    async def _scripted(self, passage: Passage, armed: Armed) -> None:
        effect: Any = armed.fault.effect
        answer = effect.function(passage.request)
        passage.answer = await answer if inspect.isawaitable(answer) else answer
        if passage.answer is not None:
            passage.fire(armed, str(passage.answer.status))

    async def _lag(self, passage: Passage, armed: Armed) -> None:
        effect: Any = armed.fault.effect
        repository, core = passage.repository, self._core
        if repository is None or passage.request.method in {"PUT", "DELETE"}:
            return
        at = armed.added_at if effect.seconds is None else core.clock() - effect.seconds
        if "reports" in effect.hides and passage.request.method == "GET":
            passage.view.reports_until = at
        if "objects" in effect.hides or "refs" in effect.hides:
            objects = "objects" in effect.hides
            passage.view.old = await core.pushes.as_of(repository.path, at, objects=objects)
        passage.lend(armed, *effect.hides)

    async def _limits(self, passage: Passage, armed: Armed) -> None:
        names = ("tree_entries", "compare_files", "compare_commits", "commit_files")
        for name in names:
            if (value := getattr(armed.fault.effect, name)) is not None:
                setattr(passage.view, name, value)
        passage.lend(armed, *names)

    async def _token(self, passage: Passage, armed: Armed) -> None:
        effect: Any = armed.fault.effect
        passage.view.token_length = effect.length
        passage.lend(armed, "token_length")

    async def _rates(self, passage: Passage, armed: Armed) -> None:
        effect: Any = armed.fault.effect
        request = passage.request
        book: RateBook = armed.state if armed.state is not None else RateBook(effect)
        armed.state = book
        if effect.per_hour is not None:
            passage.view.rate_limit = effect.per_hour
        caller = self._caller(request)
        broken = book.refusal(caller, endpoint_of(request), request.method, self._core.clock())
        if broken is None:
            passage.under_way.enter_context(book.under_way(caller))
            passage.lend(armed, "rate_limit")
            return
        with seeing(passage.view):
            headers = self._rest.rate_headers(caller)
        if effect.retry_after is not None:
            headers["Retry-After"] = str(effect.retry_after)
        refused = effects.Answer(effect.status, like="secondary-limit-silent", headers=headers)
        passage.answer = answer_of(refused, self._core.clock())
        passage.fire(armed, broken)

    async def _later(self, passage: Passage, armed: Armed) -> None:
        passage.later.append(armed)

    # ------------------------------------------------------------------------------------------------ after that

    async def _spoilt(self, passage: Passage, response: web.StreamResponse) -> web.StreamResponse:
        """Return the answer as it leaves; what has gone out already (git's) can only be reset."""
        request = passage.request
        cut: effects.Truncate | None = None
        for armed in passage.later:
            effect = armed.fault.effect
            if isinstance(effect, effects.Reset):
                passage.fire(armed, str(response.status))
                return reset(request)
            if response.prepared or not isinstance(response, web.Response) or not isinstance(response.body, bytes):
                continue
            if isinstance(effect, effects.Answer):
                passage.fire(armed, f"{effect.status or effect.like} instead of {response.status}")
                response = answer_of(effect, self._core.clock())
            elif isinstance(effect, effects.Stale):
                response = self._stale(passage, armed, response)
            elif isinstance(effect, effects.Truncate) and response.body:
                passage.fire(armed)
                cut = effect
        if isinstance(response, web.Response) and not response.prepared and (cut is not None or passage.body_wait):
            wait, body_wait = self._core.faults.sleep, passage.body_wait
            return await resend(request, response, cut, (lambda: wait(body_wait)) if body_wait else None)
        return response

    def _stale(self, passage: Passage, armed: Armed, response: web.Response) -> web.Response:
        """Return the first answer that this caller got to this request; the present one is kept if it is the first."""
        request = passage.request
        if request.method != "GET" or response.status not in {200, 304}:
            return response
        if armed.state is None:
            armed.state = {}
        key = (self._caller(request), request.path_qs, request.headers.get("Accept"))
        first: tuple[bytes, dict[str, str]] | None = armed.state.get(key)
        if first is None:
            if response.status == 200 and isinstance(response.body, bytes):
                armed.state[key] = (response.body, dict(response.headers))
            return response
        body, headers = first
        if headers.get("ETag") == response.headers.get("ETag"):
            return response
        passage.fire(armed)
        if headers.get("ETag", "") == request.headers.get("If-None-Match"):
            return web.Response(status=304, headers={"ETag": headers.get("ETag", "")})
        return web.Response(status=200, body=body, headers=headers)


def _like(name: str, pattern: str) -> bool:
    pattern = pattern.casefold()
    return name.casefold().startswith(pattern[:-1]) if pattern.endswith("*") else name.casefold() == pattern

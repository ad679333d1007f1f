"""An HTTP server on loopback that answers as scripted: GitHub's odd answers, and those of the network before it."""

from __future__ import annotations

import asyncio
import json
from collections import deque
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from email.utils import formatdate
from typing import Any, Self

from aiohttp import web


@dataclass(frozen=True)
class Seen:
    """A request that arrived. Headers have lower-case names."""

    method: str
    path: str  # as sent, still percent-encoded, with the query
    headers: Mapping[str, str]
    body: bytes

    def json(self) -> Any:
        """The body's JSON."""
        return json.loads(self.body)


@dataclass(frozen=True)
class Reply:
    """An answer. `data` is sent as JSON unless `body` is given."""

    status: int = 200
    data: Any = None
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes | None = None
    content_type: str = "application/json; charset=utf-8"


@dataclass(frozen=True)
class Raw:
    """Bytes put on the wire as they are; then the connection is closed. Empty: closed without an answer."""

    data: bytes = b""


@dataclass(frozen=True)
class Hang:
    """No answer for this many seconds."""

    seconds: float = 5.0


Script = Reply | Raw | Hang | Callable[[Seen], Reply | Awaitable[Reply]]


class FaultServer:
    """`on(method, path, *answers)`: given one after another, the last one again and again. `seen`: all that arrived.

    `now`: the server's clock, for the Date of answers that are scripted without one; None: the machine's.
    """

    def __init__(self) -> None:
        self.now: Callable[[], float] | None = None
        self.seen: list[Seen] = []
        self.url = ""
        self._scripts: dict[tuple[str, str], deque[Script]] = {}
        self._runner: web.AppRunner | None = None

    def on(self, method: str, path: str, *scripts: Script) -> None:
        """Script the answers to a method and a path (as sent, without the query)."""
        self._scripts[method, path] = deque(scripts)

    def calls(self, method: str, path: str) -> list[Seen]:
        """The requests of a method and path (without the query)."""
        return [seen for seen in self.seen if seen.method == method and seen.path.partition("?")[0] == path]

    async def __aenter__(self) -> Self:
        app = web.Application()
        app.router.add_route("*", "/{rest:.*}", self._answer)
        self._runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
        await self._runner.setup()
        await web.TCPSite(self._runner, "127.0.0.1", 0).start()
        host, port = self._runner.addresses[0][:2]
        self.url = f"http://{host}:{port}"
        return self

    async def __aexit__(self, *_: object) -> None:
        assert self._runner is not None
        await self._runner.cleanup()

    async def _answer(self, request: web.Request) -> web.StreamResponse:
        headers = {name.lower(): value for name, value in request.headers.items()}
        seen = Seen(request.method, request.raw_path, headers, await request.read())
        self.seen.append(seen)
        scripts = self._scripts.get((seen.method, seen.path.partition("?")[0]))
        if not scripts:
            return _response(Reply(404, {"message": "Not Found"}), self._date())
        script = scripts.popleft() if len(scripts) > 1 else scripts[0]
        if isinstance(script, Hang):
            await asyncio.sleep(script.seconds)
            return web.Response(status=500)
        if isinstance(script, Raw):
            assert request.transport is not None
            if script.data:
                request.transport.write(script.data)
                request.transport.close()
            else:
                request.transport.abort()
            return web.Response(status=500)
        if not isinstance(script, Reply):
            answer = script(seen)
            script = answer if isinstance(answer, Reply) else await answer
        return _response(script, self._date())

    def _date(self) -> dict[str, str]:
        return {} if self.now is None else {"Date": formatdate(self.now(), usegmt=True)}


def _response(reply: Reply, date: Mapping[str, str]) -> web.Response:
    body = json.dumps(reply.data).encode() if reply.body is None else reply.body
    if reply.status in (204, 304):
        return web.Response(status=reply.status, headers={**date, **reply.headers})
    headers = {"Content-Type": reply.content_type, **date, **reply.headers}
    return web.Response(status=reply.status, reason="Scripted", body=body, headers=headers)


class FakeClock:
    """Time that passes only when somebody sleeps."""

    def __init__(self, now: float = 1_760_000_000.0) -> None:
        self.time = now
        self.slept: list[float] = []

    def now(self) -> float:
        """Seconds since 1970."""
        return self.time

    async def sleep(self, seconds: float) -> None:
        """Let `seconds` pass at once, and others run."""
        self.slept.append(seconds)
        self.time += seconds
        await asyncio.sleep(0)

"""Faults by hand: `/_sandbox/faults`, where they are listed, added and taken out while the sandbox runs."""

from __future__ import annotations

from dataclasses import asdict

import orjson
from aiohttp import web

from .errors import SandboxError
from .faults import Armed, FaultPlan
from .faults_format import read_faults, show

ADDRESS = "/_sandbox/faults"


class FaultControl:
    """The web addresses of the plan. No page of a browser can call them: they want JSON, and no Origin."""

    def __init__(self, plan: FaultPlan) -> None:
        self._plan = plan

    def register(self, router: web.UrlDispatcher) -> None:
        """Add the addresses."""
        router.add_route("GET", ADDRESS, self._list)
        router.add_route("POST", ADDRESS, self._add)
        router.add_route("DELETE", ADDRESS, self._clear)
        router.add_route("DELETE", f"{ADDRESS}/{{fault_id:\\d+}}", self._remove)

    async def _list(self, _request: web.Request) -> web.Response:
        """GET: the faults that are there, and everything that happened, oldest first."""
        return _json(
            {"faults": [show(armed) for armed in self._plan], "fired": [asdict(each) for each in self._plan.fired]}
        )

    async def _add(self, request: web.Request) -> web.Response:
        """POST one fault or a list: 201 with them as they are now; 422, and none is added, if one is wrong."""
        _by_hand(request)
        if request.content_type != "application/json":
            return _json({"message": "Content-Type is not application/json"}, 415)
        try:
            faults = read_faults(await request.read())
        except SandboxError as error:
            return _json({"message": str(error)}, 422)
        added: list[Armed] = [self._plan.add(fault) for fault in faults]
        return _json({"faults": [show(armed) for armed in added]}, 201)

    async def _clear(self, request: web.Request) -> web.Response:
        """DELETE: no faults any more, and an empty list of what happened."""
        _by_hand(request)
        self._plan.clear()
        self._plan.fired.clear()
        return web.Response(status=204)

    async def _remove(self, request: web.Request) -> web.Response:
        """DELETE one fault by its id."""
        _by_hand(request)
        armed = self._plan.find(int(request.match_info["fault_id"]))
        if armed is None:
            return _json({"message": "no such fault"}, 404)
        armed.remove()
        return web.Response(status=204)


def _by_hand(request: web.Request) -> None:
    if "Origin" in request.headers:
        raise web.HTTPForbidden(text="This is for the command line, not for pages.\n")


def _json(body: object, status: int = 200) -> web.Response:
    return web.Response(body=orjson.dumps(body), status=status, content_type="application/json")

"""The record of REST exchanges, and scripted faults."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Any

import orjson
from aiohttp import web

EXCHANGES_KEPT = 5_000


@dataclass(frozen=True, slots=True)
class Exchange:
    """One recorded request and answer. `operation` is the path template of the OpenAPI description."""

    method: str
    path: str
    operation: str
    query: dict[str, str]
    request_headers: Mapping[str, str]
    request_body: bytes
    status: int
    response_headers: Mapping[str, str]
    response_body: bytes
    scripted: bool = False

    @property
    def request_json(self) -> Any:
        """The request's body, None if there was none."""
        return orjson.loads(self.request_body) if self.request_body else None

    @property
    def response_json(self) -> Any:
        """The answer's body, None if there was none."""
        return orjson.loads(self.response_body) if self.response_body else None


Fault = Callable[[web.Request], "web.StreamResponse | Awaitable[web.StreamResponse | None] | None"]

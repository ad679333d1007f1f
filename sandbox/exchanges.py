"""The record of REST exchanges."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import orjson

EXCHANGES_KEPT = 5_000


@dataclass(frozen=True, slots=True)
class Exchange:
    """One recorded request and answer, as the sandbox gave it: a fault may have spoilt it on its way (`faults.fired`).

    `operation` is the path template of the OpenAPI description; `caller` whose rate limit it counts for ("installation
    ID 1", "app"); `at` seconds since 1970; `scripted`: a fault answered, not the sandbox.
    """

    method: str
    path: str
    operation: str
    query: dict[str, str]
    request_headers: Mapping[str, str]
    request_body: bytes
    status: int
    response_headers: Mapping[str, str]
    response_body: bytes
    caller: str = ""
    at: float = 0.0
    scripted: bool = False

    @property
    def request_json(self) -> Any:
        """The request's body, None if there was none."""
        return orjson.loads(self.request_body) if self.request_body else None

    @property
    def response_json(self) -> Any:
        """The answer's body, None if there was none."""
        return orjson.loads(self.response_body) if self.response_body else None

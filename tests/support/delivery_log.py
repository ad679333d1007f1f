"""GitHub's delivery log on a scripted server: entries by hand, pages by cursor, payloads, faults."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any
from urllib.parse import parse_qs, urlsplit
from uuid import UUID, uuid4

from tests.support.fault_server import FakeClock, FaultServer, Reply, Seen

LIST = "/app/hook/deliveries"


@dataclass
class ScriptedLog:
    """The log of an App at `server`. `down`: GitHub answers 503 to everything about it."""

    server: FaultServer
    clock: FakeClock
    down: bool = False
    per_page: int = 100
    items: list[dict[str, Any]] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.server.on("GET", LIST, self._list)

    def add(
        self,
        event: str = "push",
        *,
        guid: UUID | str | None = None,
        at: float | None = None,
        payload: Any = None,
        scripts: tuple[Reply, ...] = (),
        **changes: Any,
    ) -> int:
        """Log an attempt; its id. `at`: seconds since 1970, else now; `scripts`: answers instead of the payload."""
        number = 1000 + len(self.items)
        moment = datetime.fromtimestamp(self.clock.now() if at is None else at, UTC)
        item = {
            "id": number,
            "guid": str(guid or uuid4()),
            "delivered_at": moment.strftime("%Y-%m-%dT%H:%M:%SZ"),
            "redelivery": False,
            "duration": 0.1,
            "status": "failed to connect to host",
            "status_code": 502,
            "event": event,
            "action": None,
            "installation_id": 99,
            "repository_id": 7,
            "throttled_at": None,
            **changes,
        }
        self.items.append(item)
        body = {"repository": {"id": 7}, "installation": {"id": 99}, "number": number} if payload is None else payload
        self.server.on(
            "GET", f"{LIST}/{number}", *(scripts or (Reply(200, item | {"request": {"headers": {}, "payload": body}}),))
        )
        return number

    def asked(self, number: int) -> int:
        """How often the payload of an entry was asked for."""
        return len(self.server.calls("GET", f"{LIST}/{number}"))

    def lists(self) -> int:
        """How often a page of the log was asked for."""
        return len(self.server.calls("GET", LIST))

    def _list(self, seen: Seen) -> Reply:
        if self.down:
            return Reply(503, {"message": "Service unavailable"})
        cursor = parse_qs(urlsplit(seen.path).query).get("cursor", [""])[0]
        newest_first = sorted(self.items, key=lambda item: (item["delivered_at"], item["id"]), reverse=True)
        start = int(cursor) if cursor else 0
        page = newest_first[start : start + self.per_page]
        headers = {}
        if start + self.per_page < len(newest_first):
            next_page = f"{self.server.url}{LIST}?per_page={self.per_page}&cursor={start + self.per_page}"
            headers["Link"] = f'<{next_page}>; rel="next"'
        return Reply(200, page, headers)

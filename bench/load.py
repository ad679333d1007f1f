"""The sender: keep-alive connections that post prepared deliveries, as a process of its own.

`python -m bench.load` reads a plan (JSON) from standard input, prepares every request, says "ready", waits for a line,
sends, and prints what it saw (JSON). What it costs itself is small: no HTTP library, one write and one read a request.
"""

from __future__ import annotations

import asyncio
import json
import re
import sys
import time
import uuid
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import cast

import uvloop

from bench.payloads import Target, push_body, request, sha_of

_LENGTH = re.compile(rb"\r\ncontent-length: *(\d+)", re.IGNORECASE)
# Repositories that the prepared deliveries are about.
REPOSITORIES = 500


@dataclass(frozen=True, slots=True)
class Plan:
    """What to send. `rate`: deliveries a second at fixed times, 0 for as many as the connections take."""

    port: int
    secret: str
    count: int
    connections: int
    rate: float
    seed: str


@dataclass(frozen=True, slots=True)
class Seen:
    """What came of it. `latencies` in seconds; at a fixed rate they begin when the delivery was due."""

    seconds: float
    statuses: dict[str, int]
    latencies: list[float]


class Connection(asyncio.Protocol):
    """A keep-alive connection that carries one request at a time."""

    def __init__(self) -> None:
        self._transport: asyncio.Transport | None = None
        self._answer: asyncio.Future[int] | None = None
        self._buffer = b""

    @classmethod
    async def to(cls, port: int) -> Connection:
        """Connect to a server on loopback."""
        _, connection = await asyncio.get_running_loop().create_connection(cls, "127.0.0.1", port)
        return connection

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """See asyncio.Protocol."""
        self._transport = cast("asyncio.Transport", transport)  # uvloop's is one in all but its class

    def data_received(self, data: bytes) -> None:
        """See asyncio.Protocol."""
        self._buffer += data
        head, blank, body = self._buffer.partition(b"\r\n\r\n")
        length = _LENGTH.search(head)
        if blank and length and len(body) >= int(length[1]) and self._answer is not None:
            self._buffer = b""
            if not self._answer.done():
                self._answer.set_result(int(head[9:12]))

    def connection_lost(self, exc: Exception | None) -> None:
        """See asyncio.Protocol."""
        if self._answer is not None and not self._answer.done():
            self._answer.set_exception(exc or ConnectionResetError("the server closed the connection"))

    async def post(self, data: bytes) -> int:
        """Send a request and return its answer's status."""
        assert self._transport is not None
        self._answer = asyncio.get_running_loop().create_future()
        self._transport.write(data)
        return await self._answer

    def close(self) -> None:
        """Hang up."""
        if self._transport is not None:
            self._transport.close()


def prepared(plan: Plan) -> list[bytes]:
    """The plan's requests: each about another commit, under an id of its own."""
    requests = []
    for number in range(plan.count):
        one = number % REPOSITORIES
        target = Target(700_000_000 + one, f"learner-{one:04d}/word-counter-lab", 8_000_000 + one, 51_000_000 + one)
        after = sha_of(f"{plan.seed} {number}")
        body = push_body(target, sha_of(f"{plan.seed} before {number}"), after)
        requests.append(request(body, plan.secret, uuid.uuid5(uuid.NAMESPACE_URL, after)))
    return requests


async def send(plan: Plan, requests: Sequence[bytes]) -> Seen:
    """Send them all; each connection takes the next one when it has its answer."""
    connections = [await Connection.to(plan.port) for _ in range(plan.connections)]
    statuses: Counter[str] = Counter()
    latencies: list[float] = []
    pending = iter(enumerate(requests))
    begun = time.monotonic()

    async def work(connection: Connection) -> None:
        for number, data in pending:
            due = begun + number / plan.rate if plan.rate else time.monotonic()
            if (early := due - time.monotonic()) > 0:
                await asyncio.sleep(early)
            statuses[str(await connection.post(data))] += 1
            latencies.append(time.monotonic() - due)

    await asyncio.gather(*(work(connection) for connection in connections))
    seconds = time.monotonic() - begun
    for connection in connections:
        connection.close()
    return Seen(seconds, dict(statuses), latencies)


def main() -> None:
    """Be the sender's process."""
    plan = Plan(**json.loads(sys.stdin.readline()))
    requests = prepared(plan)
    print("ready", flush=True)
    sys.stdin.readline()
    print(json.dumps(asdict(uvloop.run(send(plan, requests)))), flush=True)


if __name__ == "__main__":
    main()

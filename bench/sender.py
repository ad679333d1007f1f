"""The sender: keep-alive connections that post prepared deliveries, as a process of its own.

`python -m bench.sender` reads a plan (JSON) from standard input, prepares its requests (at a fixed rate each before it
is due, as an hour of them is much), says "ready", waits for a line, sends, and prints what it saw (JSON); then it takes
the next plan. What it costs itself is small: no HTTP library, one write and one read a request.
"""

from __future__ import annotations

import asyncio
import json
import re
import sys
import time
import uuid
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import cast

import uvloop

from bench.payloads import Target, push_body, request, unneeded_body
from bench.processes import BenchError, Running, program

_LENGTH = re.compile(rb"\r\ncontent-length: *(\d+)", re.IGNORECASE)
# Seconds that a plan may take besides what its rate says.
PREPARING = 600.0


@dataclass(frozen=True, slots=True)
class Delivery:
    """One delivery: a push (`event`) from `before` to `after`, or an event that nobody needs, about `after`.

    The same `guid` twice is a redelivery. `target`: fields of `bench.payloads.Target`, in their order.
    """

    guid: str
    target: tuple[int, str, int, int, str]
    after: str
    before: str = ""
    event: str = "push"
    action: str | None = None


@dataclass(frozen=True, slots=True)
class Plan:
    """What to send. `rate`: deliveries a second at fixed times, 0 for as many as the connections take.

    `in_order`: what is about one repository goes over one connection, so that pushes cannot overtake each other.
    """

    port: int
    secret: str
    connections: int
    rate: float
    deliveries: list[Delivery]
    app_id: int = 1
    in_order: bool = False


@dataclass(frozen=True, slots=True)
class Seen:
    """What came of it. `latencies` in seconds; at a fixed rate they begin when the delivery was due.

    `begun`, `seconds`: when the first was due (time.monotonic), and from then to the last answer.
    """

    begun: float
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


def prepared(delivery: Delivery, plan: Plan) -> bytes:
    """The request of a delivery."""
    target = Target(*delivery.target)
    if delivery.event == "push":
        body = push_body(target, delivery.before, delivery.after)
    else:
        body = unneeded_body(delivery.event, delivery.action, target, delivery.after, plan.app_id)
    return request(body, plan.secret, uuid.UUID(delivery.guid), delivery.event)


def queues(plan: Plan) -> list[Iterator[int]]:
    """Which deliveries each connection sends: all take from one queue, or each has what is about its repositories."""
    if not plan.in_order:
        return [iter(range(len(plan.deliveries)))] * plan.connections
    own: list[list[int]] = [[] for _ in range(plan.connections)]
    places: dict[int, int] = {}
    for number, delivery in enumerate(plan.deliveries):
        repo_id = delivery.target[0]
        own[places.setdefault(repo_id, len(places) % plan.connections)].append(number)
    return [iter(each) for each in own]


async def send(plan: Plan, requests: Sequence[bytes]) -> Seen:
    """Send them all; each connection takes its next one when it has its answer. `requests`: all, or none as yet."""
    connections = [await Connection.to(plan.port) for _ in range(plan.connections)]
    statuses: Counter[str] = Counter()
    latencies: list[float] = []
    begun = time.monotonic()

    async def work(connection: Connection, queue: Iterator[int]) -> None:
        for number in queue:
            data = requests[number] if requests else prepared(plan.deliveries[number], plan)
            due = begun + number / plan.rate if plan.rate else time.monotonic()
            if (early := due - time.monotonic()) > 0:
                await asyncio.sleep(early)
            statuses[str(await connection.post(data))] += 1
            latencies.append(time.monotonic() - due)

    await asyncio.gather(*map(work, connections, queues(plan)))
    seconds = time.monotonic() - begun
    for connection in connections:
        connection.close()
    return Seen(begun, seconds, dict(statuses), latencies)


def sending(home: Path) -> AbstractAsyncContextManager[Running]:
    """The sender's process, for the time of the block."""
    return program("sender", home, "-m", "bench.sender")


async def sent(sender: Running, plan: Plan) -> Seen:
    """Let the sender's process send a plan; every delivery must be answered 202."""
    sender.tell(asdict(plan))
    await sender.line(timeout=PREPARING)
    sender.tell("go")
    seen = Seen(**json.loads(await sender.line(timeout=PREPARING + len(plan.deliveries) / (plan.rate or 100))))
    if set(seen.statuses) != {"202"}:
        raise BenchError(f"answers to deliveries: {seen.statuses}")
    return seen


def main() -> None:
    """Be the sender's process."""
    while line := sys.stdin.readline():
        given = json.loads(line)
        plan = Plan(**given | {"deliveries": [Delivery(**each) for each in given["deliveries"]]})
        requests = [] if plan.rate else [prepared(delivery, plan) for delivery in plan.deliveries]
        print("ready", flush=True)
        sys.stdin.readline()
        print(json.dumps(asdict(uvloop.run(send(plan, requests)))), flush=True)


if __name__ == "__main__":
    main()

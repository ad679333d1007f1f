"""receive: durable 202 answers of the real web process, against a bare handler that keeps nothing."""

from __future__ import annotations

import secrets
import uuid
from contextlib import AsyncExitStack
from dataclasses import dataclass, field

from bench.figures import Figure, percentile
from bench.payloads import sha_of
from bench.processes import ROOT, Place, Running, Watched, command, database, program, web_port
from bench.sender import Delivery, Plan, sending, sent
from sandbox.core import new_private_key
from settings import child_environment

# GitHub's side holds many connections; each carries one delivery at a time.
CONNECTIONS = 32
RATE = 200.0
TARGET = 0.4
SLOWEST_SECONDS = 0.05
# Repositories that the deliveries are about.
REPOSITORIES = 500


@dataclass(frozen=True, slots=True)
class Size:
    """How much is measured: `rounds` of `count` deliveries for each side in turn, then `timed` ones at RATE."""

    rounds: int = 5
    count: int = 8_000
    timed: int = 3_000


SMALL = Size(rounds=1, count=200, timed=100)


async def measure(place: Place, size: Size) -> list[Figure]:
    """The figures."""
    secret = secrets.token_hex(32)
    async with AsyncExitStack() as stack:
        dsn = await stack.enter_async_context(database(place.server))
        environment = child_environment(
            DATABASE_URL=dsn,
            GITHUB_APP_ID="1",
            GITHUB_PRIVATE_KEY=new_private_key(),
            GITHUB_WEBHOOK_SECRET=secret,
            LOG_FORMAT="json",
            PORT="0",
        )
        await command(place.home, environment, "migrate")
        words = (str(ROOT / "app.py"), "web")
        web = await stack.enter_async_context(program("web", place.home, *words, environment=environment))
        bare = await stack.enter_async_context(program("bare", place.home, "-m", "bench.bare"))
        bare.tell(secret)
        sides = (Side("bare", bare, int(await bare.line())), Side("web", web, await web_port(web)))
        sender = await stack.enter_async_context(sending(place.home))
        return await _figures(place, sender, secret, size, sides)


@dataclass(slots=True)
class Side:
    """One of the two servers. `rates`: deliveries a second, a round each; `cost`: the last round's processor time."""

    name: str
    process: Running
    port: int
    rates: list[float] = field(default_factory=list)
    cost: str = ""

    async def play(self, place: Place, sender: Running, secret: str, count: int, seed: str) -> None:
        """A round: as many deliveries as it takes."""
        watched = Watched.begin({self.name: self.process.pid, "postgres": place.postmaster})
        seen = await sent(sender, plan(self.port, secret, count, 0, f"{self.name} {seed}"))
        self.cost = watched.each(count)
        self.rates.append(count / seen.seconds)


async def _figures(place: Place, sender: Running, secret: str, size: Size, sides: tuple[Side, Side]) -> list[Figure]:
    bare, web = sides
    await sent(sender, plan(web.port, secret, max(50, size.count // 10), 0, "warm-up"))
    for number in range(size.rounds):
        for side in sides:
            await side.play(place, sender, secret, size.count, str(number))
    timed = await sent(sender, plan(web.port, secret, size.timed, RATE, "timed"))
    middle, slowest = (percentile(timed.latencies, share) * 1000 for share in (0.5, 0.99))
    rates = (percentile(web.rates, 0.5), percentile(bare.rates, 0.5))
    note = f"at {RATE:g}/s; median {middle:.1f} ms"
    return [
        Figure("receive", *rates, "/s", ">=", TARGET, f"cpu ms each: {web.cost}; {bare.cost}"),
        Figure("receive_p99", slowest, SLOWEST_SECONDS * 1000, "ms", "<=", 1, note),
    ]


def plan(port: int, secret: str, count: int, rate: float, seed: str) -> Plan:
    """So many pushes: each about another commit, under an id of its own."""
    deliveries = []
    for number in range(count):
        one = number % REPOSITORIES
        name = f"learner-{one:04d}/word-counter-lab"
        target = (700_000_000 + one, name, 8_000_000 + one, 51_000_000 + one, "User")
        after = sha_of(f"{seed} {number}")
        guid = str(uuid.uuid5(uuid.NAMESPACE_URL, after))
        deliveries.append(Delivery(guid, target, after, sha_of(f"{seed} before {number}")))
    return Plan(port, secret, CONNECTIONS, rate, deliveries)

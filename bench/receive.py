"""receive: durable 202 answers of the real web process, against a bare handler that keeps nothing."""

from __future__ import annotations

import json
import secrets
from contextlib import AsyncExitStack
from dataclasses import asdict, dataclass, field
from pathlib import Path

from bench.figures import Figure, percentile
from bench.load import Plan, Seen
from bench.processes import ROOT, BenchError, Place, Running, Watched, command, database, program, web_port
from sandbox.core import new_private_key
from settings import child_environment

# GitHub's side holds many connections; each carries one delivery at a time.
CONNECTIONS = 32
RATE = 200.0
TARGET = 0.4
SLOWEST_SECONDS = 0.05


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
        return await _figures(place, secret, size, sides)


@dataclass(slots=True)
class Side:
    """One of the two servers. `rates`: deliveries a second, a round each; `cost`: the last round's processor time."""

    name: str
    process: Running
    port: int
    rates: list[float] = field(default_factory=list)
    cost: str = ""

    async def play(self, place: Place, secret: str, count: int, seed: str) -> None:
        """A round: as many deliveries as it takes."""
        watched = Watched.begin({self.name: self.process.pid, "postgres": place.postmaster})
        seen = await load(place.home, Plan(self.port, secret, count, CONNECTIONS, 0, f"{self.name} {seed}"))
        self.cost = watched.each(count)
        self.rates.append(count / seen.seconds)


async def _figures(place: Place, secret: str, size: Size, sides: tuple[Side, Side]) -> list[Figure]:
    bare, web = sides
    await load(place.home, Plan(web.port, secret, max(50, size.count // 10), CONNECTIONS, 0, "warm-up"))
    for number in range(size.rounds):
        for side in sides:
            await side.play(place, secret, size.count, str(number))
    timed = await load(place.home, Plan(web.port, secret, size.timed, CONNECTIONS, RATE, "timed"))
    middle, slowest = (percentile(timed.latencies, share) * 1000 for share in (0.5, 0.99))
    rates = (percentile(web.rates, 0.5), percentile(bare.rates, 0.5))
    note = f"at {RATE:g}/s; median {middle:.1f} ms"
    return [
        Figure("receive", *rates, "/s", ">=", TARGET, f"cpu ms each: {web.cost}; {bare.cost}"),
        Figure("receive_p99", slowest, SLOWEST_SECONDS * 1000, "ms", "<=", 1, note),
    ]


async def load(home: Path, plan: Plan) -> Seen:
    """Let another process send a plan; every delivery must be answered 202."""
    async with program("load", home, "-m", "bench.load") as sender:
        sender.tell(asdict(plan))
        await sender.line()
        sender.tell("go")
        seen = Seen(**json.loads(await sender.line(timeout=600)))
    if set(seen.statuses) != {"202"}:
        raise BenchError(f"answers to deliveries: {seen.statuses}")
    return seen

"""load: the traffic of GitHub's worst days, with the App's default settings: K1 to K3 of the matrix of failures.

- steady (K1): 50 deliveries a second, `--seconds` long, to learners who each have an installation of their own.
- burst (K3): 2,000 deliveries within 10 s, to the same.
- storm (K2): a class of 500 repositories with one installation pushes within a minute, at a GitHub that counts.
- replicas: twice as many workers, at a GitHub that is slow. Two cores cannot show it otherwise: workers must wait.
"""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import asyncpg

from bench.figures import Figure, percentile
from bench.github import Limits, Written
from bench.lab import Shape
from bench.processes import PATIENCE, BenchError, Place, Running
from bench.sender import Plan, Seen, sending, sent
from bench.traffic import POINTS_A_MINUTE, Outcome, least_seconds, mixture, most_within, outcome_of, pushes_in
from bench.world import Learner, World, world
from github.governor import WRITE_INTERVAL

ACK_P99, ACK_MAX, OLDEST = 0.5, 2.0, 60.0  # seconds
SCALING = 1.7
# What one write's way to GitHub may take longer than another's: so much more may arrive within a minute.
JITTER = 1.02
# The storm may take so much longer than its budget: the last report's way, and polling.
SLACK = 1.1
CONNECTIONS = 32
# Nothing that waits changes for so long: it does not end by itself (seconds).
STUCK = 120.0

_WAITING = """
SELECT (SELECT count(*) FROM delivery WHERE state = 'waiting') + (SELECT count(*) FROM outbox WHERE state = 'wanted')
"""
_WORKERS = """
SELECT count(*) FROM pg_stat_activity
WHERE datname = current_database() AND application_name = 'stepgate schedules'
"""


@dataclass(frozen=True, slots=True)
class Size:
    """How much there is. `seconds`: of K1, an hour in the matrix. `scaled`: pushes with few and with many replicas.

    `replicas`: how many workers everything runs with, and how many there are in the end. `latency`: what GitHub takes
    for an answer then (s), while as many pushes as there are learners are under way.
    """

    learners: int = 160
    class_of: int = 500
    rate: float = 50.0
    seconds: float = 180.0
    burst: int = 2_000
    burst_seconds: float = 10.0
    storm_seconds: float = 60.0
    scaled: int = 1_000
    replicas: tuple[int, int] = (2, 4)
    latency: float = 0.5
    shape: Shape = field(default_factory=Shape)

    @property
    def commits(self) -> int:
        """Commits that each learner needs: in turn, then the quick ones push more often than others."""
        in_turn = pushes_in(int(self.rate * self.seconds)) + pushes_in(self.burst)
        return (in_turn + 6 * self.scaled) // self.learners + 8


SMALL = Size(
    learners=6,
    class_of=5,
    seconds=0.4,
    burst=20,
    burst_seconds=0.1,
    storm_seconds=0.5,
    scaled=6,
    replicas=(1, 1),
    latency=0.02,
)


async def measure(place: Place, size: Size) -> list[Figure]:
    """The figures."""
    async with _running(place, size) as scene:
        figures = await _steady(scene, "steady", int(size.rate * size.seconds), size.seconds)
        figures += await _steady(scene, "burst", size.burst, size.burst_seconds)
        figures += await _storm(scene, size.storm_seconds)
        figures.append(await _replicas(scene.here, size))
    return figures


@dataclass(frozen=True, slots=True)
class _Scene:
    """A running App and the sender; `here.learners` have an installation each, the class has one in all."""

    here: World
    class_: list[Learner]
    sender: Running


@asynccontextmanager
async def _running(place: Place, size: Size) -> AsyncIterator[_Scene]:
    """A world whose workers keep to the default distance of writes: enrolling the class takes its time."""
    async with world(
        place,
        learners=size.learners,
        commits=size.commits,
        shape=size.shape,
        prompt=True,
        class_of=size.class_of,
        write_interval=None,
    ) as here:
        everybody = list(here.learners)
        here.learners = deque(learner for learner in everybody if not learner.fork.learner)
        await _add_workers(here, size.replicas[0] - 1)
        async with sending(place.home) as sender:
            yield _Scene(here, [learner for learner in everybody if learner.fork.learner], sender)


async def _add_workers(here: World, count: int) -> None:
    """Start so many, and wait until they work: each has a connection for its schedules then."""
    for _ in range(count):
        await here.add_worker()
    async with _connection(here.dsn) as connection, asyncio.timeout(PATIENCE):
        while await connection.fetchval(_WORKERS) < len(here.workers):  # noqa: ASYNC110 (another process's)
            await asyncio.sleep(0.1)


@dataclass(frozen=True, slots=True)
class _Round:
    """What was sent, and what became of it."""

    seen: Seen
    outcome: Outcome

    def figures(self, name: str) -> list[Figure]:
        """What is asked of each of the three."""
        slowest, middle = (1000 * percentile(self.seen.latencies, share) for share in (0.99, 0.5))
        sent_ = len(self.seen.latencies)
        rate = f"{sent_} deliveries, {self.outcome.pushes} of them pushes, in {self.seen.seconds:.0f} s"
        lost, twice = self.outcome.lost, self.outcome.duplicates
        return [
            Figure(f"{name}_ack_p99", slowest, ACK_P99 * 1000, "ms", "<=", 1, f"{rate}; median {middle:.1f} ms"),
            Figure(f"{name}_ack_max", 1000 * max(self.seen.latencies), ACK_MAX * 1000, "ms", "<=", 1),
            Figure(f"{name}_lost", lost.total(), self.outcome.pushes, "", "<=", 0, _words(lost)),
            Figure(f"{name}_duplicates", twice.total(), self.outcome.pushes, "", "<=", 0, _words(twice)),
        ]


def _words(counted: dict[str, int]) -> str:
    return ", ".join(f"{number} {what}" for what, number in counted.items())


async def _round(scene: _Scene, name: str, learners: Sequence[Learner], count: int, seconds: float) -> _Round:
    """Send a mixture at a steady rate, wait until nothing waits, and look at both sides."""
    here = scene.here
    deliveries, rate = mixture(learners, count, name), count / seconds
    plan = Plan(
        here.port, here.secret, CONNECTIONS, rate, deliveries, int(here.environment["GITHUB_APP_ID"]), in_order=True
    )
    seen = await sent(scene.sender, plan)
    await _drained(here.dsn)
    reports = {sha: Written(**each) for sha, each in (await here.ask("reports")).items()}
    return _Round(seen, await outcome_of(here.dsn, deliveries, rate, seen, reports))


async def _drained(dsn: str) -> None:
    """Wait until no delivery waits and no report is due; BenchError if that comes to a stand-still."""
    async with _connection(dsn) as connection:
        least, changed = 1 << 62, time.monotonic()
        while waiting := await connection.fetchval(_WAITING):
            if waiting < least:
                least, changed = waiting, time.monotonic()
            elif time.monotonic() - changed > STUCK:
                raise BenchError(f"{waiting} deliveries and reports still wait, as {STUCK:g} s ago")
            await asyncio.sleep(0.2)


@asynccontextmanager
async def _connection(dsn: str) -> AsyncIterator[asyncpg.Connection]:
    connection = await asyncpg.connect(dsn)
    try:
        yield connection
    finally:
        await connection.close()


async def _steady(scene: _Scene, name: str, count: int, seconds: float) -> list[Figure]:
    """Deliveries to learners who have an installation each."""
    round_ = await _round(scene, name, scene.here.learners, count, seconds)
    found = round_.outcome
    note = f"from push to check run and status; {found.overtaken} heads were overtaken by later pushes"
    return [
        *round_.figures(name),
        Figure(f"{name}_oldest", found.oldest, OLDEST, "s", "<=", 1, note),
        Figure(f"{name}_drain", found.drained, OLDEST, "s", "<=", 1, "from the last delivery to the last report"),
    ]


async def _storm(scene: _Scene, seconds: float) -> list[Figure]:
    """The class pushes at once; what its one installation wrote, and how fast, against what it is allowed."""
    await scene.here.ask({"limits": True})
    # with redeliveries and what nobody needs there are twice as many deliveries as pushes
    round_ = await _round(scene, "storm", scene.class_, _deliveries_with(len(scene.class_)), seconds)
    limits = Limits(**await scene.here.ask("writes"))
    writes = limits.at[str(scene.class_[0].fork.installation_id)]
    at = [each for several in writes.values() for each in several]
    least = least_seconds(writes, WRITE_INTERVAL)
    drained = max(at) - round_.seen.begun
    within = f"{len(at)} writes: " + ", ".join(f"{kind} {len(several)}" for kind, several in sorted(writes.items()))
    refused = sum(limits.refused.values())
    return [
        *round_.figures("storm"),
        Figure("storm_points", limits.peaks["points_per_minute"], POINTS_A_MINUTE, "", "<=", 1, "of an endpoint"),
        Figure("storm_writes", most_within(at, 60.0), 60 / WRITE_INTERVAL + 1, "/min", "<=", JITTER, within),
        Figure("storm_refused", refused, len(at), "", "<=", 0, _words(limits.refused)),
        Figure(
            "storm_drain", drained, least, "s", "<=", SLACK, "from the first push; reference: what the budget allows"
        ),
    ]


def _deliveries_with(pushes: int) -> int:
    """The number of deliveries among which there are so many pushes."""
    return next(count for count in range(pushes, 4 * pushes + 4) if pushes_in(count) == pushes)


async def _replicas(here: World, size: Size) -> Figure:
    """As many pushes as go, before and after workers are added. New ones have no token of any installation, and know
    no answer of GitHub's: a round that does not count comes first.
    """
    few, many = size.replicas
    await here.ask({"latency": size.latency})
    before, _ = await here.saturate(size.scaled, size.learners)
    await _add_workers(here, many - few)
    new, _ = await here.saturate(size.scaled, size.learners)
    after, _ = await here.saturate(size.scaled, size.learners)
    note = f"from {few} to {many} workers ({new:.1f}/s as they are new), GitHub takes {size.latency:g} s for an answer"
    return Figure("replicas", after, before, "/s", ">=", SCALING, note)

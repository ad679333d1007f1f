"""judge: from a signed push to its check run and status, through one web and one worker process.

Measured twice: against the sandbox, a GitHub with real git repositories, whose own work takes more time than ours, and
against the same one that answers the three requests of a push from memory ("prompt").
"""

from __future__ import annotations

from dataclasses import dataclass, field

from bench.figures import Figure, percentile
from bench.lab import Shape
from bench.processes import Place, Watched
from bench.world import World, world

TARGET = 300.0
RATE = 50.0
SLOWEST_SECONDS = 0.1
TWO_WORKERS = 1.5
# Pushes under way at a time when as many as possible are wanted.
SIDE_BY_SIDE = 24


@dataclass(frozen=True, slots=True)
class Size:
    """How much is measured: `count` pushes as fast as they go, a few times; `timed` ones at RATE."""

    learners: int = 24  # more open repositories than that cost the sandbox two new processes each push
    count: int = 1_500
    timed: int = 750
    shape: Shape = field(default_factory=Shape)


SMALL = Size(learners=8, count=12, timed=8)


async def measure(place: Place, size: Size) -> list[Figure]:
    """The figures."""
    commits = 2 * (2 * size.count + size.timed) // size.learners + 4  # the quick ones push more often than others
    figures = []
    async with world(place, learners=size.learners, commits=commits, shape=size.shape) as here:
        one = await _saturate(here, size, "judge")
        latencies = await here.at_rate(size.timed, RATE)
        await here.add_worker()
        await here.saturate(size.learners, min(SIDE_BY_SIDE, size.learners))
        two = await _saturate(here, size, "judge_two_workers")
    slowest, middle = (percentile(latencies, share) * 1000 for share in (0.99, 0.5))
    note = f"at {RATE:g}/s; median {middle:.1f} ms"
    figures += [
        Figure(one.name, one.measured, TARGET, "/s", ">=", 1, one.note),
        Figure("judge_p99", slowest, SLOWEST_SECONDS * 1000, "ms", "<=", 1, note),
        Figure(two.name, two.measured, one.measured, "/s", ">=", TWO_WORKERS, two.note),
    ]
    async with world(place, learners=size.learners, commits=commits, shape=size.shape, prompt=True) as here:
        prompt = await _saturate(here, size, "judge_prompt")
    return [*figures, Figure(prompt.name, prompt.measured, TARGET, "/s", ">=", 1, prompt.note)]


@dataclass(frozen=True, slots=True)
class _Rate:
    name: str
    measured: float
    note: str


async def _saturate(here: World, size: Size, name: str) -> _Rate:
    watched = Watched.begin(here.pids())
    rate, latencies = await here.saturate(size.count, min(SIDE_BY_SIDE, size.learners))
    middle = percentile(latencies, 0.5) * 1000
    return _Rate(name, rate, f"cpu ms each: {watched.each(size.count)}; median {middle:.0f} ms")

"""calls: requests to GitHub for each accepted push, and for each delivery that comes a second time."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field

from bench.figures import Figure
from bench.lab import Shape
from bench.processes import BenchError, Place
from bench.sender import Connection
from bench.world import world

TARGET = 3.0
# A worker that had something to ask would have asked by then.
QUIET = 1.0
# GitHub's delivery log, which is looked at whether anybody pushes or not (bot.schedules).
MINUTELY = "GET app"


@dataclass(frozen=True, slots=True)
class Size:
    """How many pushes are counted."""

    learners: int = 10
    count: int = 200
    shape: Shape = field(default_factory=Shape)


SMALL = Size(learners=2, count=6)


async def measure(place: Place, size: Size) -> list[Figure]:
    """The figures."""
    commits = size.count // size.learners + 2
    async with world(place, learners=size.learners, commits=commits, shape=size.shape) as here:
        await asyncio.sleep(QUIET)  # each installation was new just now, and is looked at
        before = await here.counts()
        await here.saturate(size.count, size.learners)
        after = await here.counts()
        connection = await Connection.to(here.port)
        for _ in range(size.count):
            if (status := await connection.post(here.last_delivery)) != 202:
                raise BenchError(f"a second delivery was answered {status}")
        connection.close()
        await asyncio.sleep(QUIET)
        again = await here.counts()
    pushes, note = _more(before, after, size.count)
    duplicates, why = _more(after, again, size.count)
    return [
        Figure("calls", pushes, TARGET, "", "<=", 1, note),
        Figure("calls_duplicate", duplicates, pushes, "", "<=", 0, f"reference: an accepted push; {why or 'none'}"),
    ]


def _more(before: dict[str, int], after: dict[str, int], count: int) -> tuple[float, str]:
    """Requests for each of `count` deliveries, and which. What the App reads of its own, each minute, is no part."""
    each = {kind: (number - before.get(kind, 0)) / count for kind, number in after.items() if kind != MINUTELY}
    return sum(each.values()), ", ".join(f"{kind} {number:.2f}" for kind, number in each.items() if number)

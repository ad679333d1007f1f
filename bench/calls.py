"""calls: requests to GitHub for each accepted push, and for each delivery that comes a second time."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field

from bench.figures import Figure
from bench.lab import Shape
from bench.load import Connection
from bench.processes import BenchError, Place
from bench.world import world

TARGET = 3.0
# A worker that had something to ask would have asked by then.
QUIET = 1.0


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
    each = {kind: (number - before.get(kind, 0)) / size.count for kind, number in after.items()}
    note = ", ".join(f"{kind} {number:.2f}" for kind, number in each.items() if number)
    pushes, duplicates = sum(each.values()), (sum(again.values()) - sum(after.values())) / size.count
    return [
        Figure("calls", pushes, TARGET, "", "<=", 1, note),
        Figure("calls_duplicate", duplicates, pushes, "", "<=", 0, "reference: an accepted push"),
    ]

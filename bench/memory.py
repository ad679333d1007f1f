"""memory: what a web and a worker process hold after many pushes, and whether it still grows."""

from __future__ import annotations

from dataclasses import dataclass, field

from bench.figures import Figure
from bench.lab import Shape
from bench.processes import Place, resident_bytes
from bench.world import world

MIB = 1024 * 1024
LIMIT = 200.0
FLAT = 1.1
SIDE_BY_SIDE = 32
PARTS = 10


@dataclass(frozen=True, slots=True)
class Size:
    """How many pushes are made; 100,000 with `--pushes 100000`, which takes a quarter of an hour or more."""

    learners: int = 50
    count: int = 6_000
    shape: Shape = field(default_factory=Shape)


SMALL = Size(learners=4, count=20)


async def measure(place: Place, size: Size) -> list[Figure]:
    """The figures. What is kept on purpose (trees, up to their limit) is part of them."""
    commits = size.count // size.learners + 4
    held: dict[str, list[float]] = {"web": [], "worker": []}
    async with world(place, learners=size.learners, commits=commits, shape=size.shape, prompt=True) as here:
        pids = {"web": here.web.pid, "worker": here.workers[0].pid}
        for _ in range(PARTS):
            await here.saturate(size.count // PARTS, min(SIDE_BY_SIDE, size.learners))
            for name, pid in pids.items():
                held[name].append(resident_bytes(pid) / MIB)
    figures = []
    for name, values in held.items():
        course = " ".join(f"{value:.0f}" for value in values)
        half = values[PARTS // 2 - 1]
        figures += [
            Figure(f"memory_{name}", max(values), LIMIT, "MB", "<=", 1, f"after each tenth of {size.count}: {course}"),
            Figure(f"memory_{name}_flat", values[-1], half, "MB", "<=", FLAT, "at the end against half-way"),
        ]
    return figures

"""growing_judge: one push that changes 100,000 files, judged by a lab of 100 steps and 2,000 patterns.

`growing_judge_first` is the first such push that a worker meets: the lab's automaton is built as well.
Measured in a process of its own, with the worker's settings of the garbage collector: processor time, because the
machine may have other work, and the most memory that the process ever had, trees and all.
"""

from __future__ import annotations

import asyncio
import gc
import json
import resource
import sys
import time
from dataclasses import asdict, dataclass

from bench.figures import Figure, percentile
from bench.lab import blob_sha
from bench.processes import BenchError, Place
from rules.labfile import parse_lab
from rules.model import Facts, Lab, Progress, Snapshot, Tree, TreeEntry
from rules.verdict import judge

SECONDS = 1.0
MEGABYTES = 300
DEEP = 4  # of the patterns' numbers, those that have paths
TIMEOUT = 300


@dataclass(frozen=True, slots=True)
class Size:
    """How much is judged."""

    paths: int = 100_000
    steps: int = 100
    patterns: int = 2_000
    rounds: int = 5


SMALL = Size(paths=500, steps=10, patterns=100, rounds=1)


def lab_of(size: Size) -> Lab:
    """A lab whose patterns are of all kinds: folders, names anywhere, extensions, character classes."""
    each = size.patterns // size.steps
    steps = [
        {"id": f"s{step}", "title": f"Step {step}", "files": [_pattern(step, number) for number in range(each)]}
        for step in range(size.steps)
    ]
    lab = parse_lab(json.dumps({"version": 1, "title": "Large", "steps": steps}).encode()).lab
    if lab is None:
        raise BenchError("the lab of the bench has problems")
    return lab


def _pattern(step: int, number: int) -> str:
    kind, deep = number % 6, number // 6
    return (
        f"src/part-{step}/m{deep}/**",
        f"*.s{step}x{deep}",
        f"docs/**/chapter-{step}-{deep}-*.md",
        f"lib/[a-c]{step}/u{deep}/file?.py",
        f"tests/test_{step}_{deep}.py",
        f"generated-{step}-{deep}/",
    )[kind]


def paths_of(size: Size) -> list[str]:
    """Paths of which about a third belong to some step, in the order in which git has them."""
    found = []
    for number in range(size.paths):
        step, deep = number % (2 * size.steps), number // (2 * size.steps) % DEEP
        folder = f"d{number // 1000}/e{number // 100 % 10}"
        found.append(
            (
                f"src/part-{step}/m{deep}/{folder}/file-{number}.py",
                f"assets/{folder}/image-{number}.s{step}x{deep}",
                f"docs/{folder}/chapter-{step}-{deep}-{number}.md",
                f"lib/b{step}/u{deep}/{folder}-{number}/file.py",
                f"other/{folder}/generated-{step}-{deep}/x-{number}.txt",
                f"web/{folder}/page-{number}.html",
            )[number // 7 % 6]
        )
    return sorted(found)


def _tree(paths: list[str], word: str) -> Tree:
    return {path: TreeEntry(path, "100644", blob_sha(f"{word} {path}".encode()), 100) for path in paths}


def measured(size: Size) -> dict[str, float]:
    """Seconds of the first judgement and of the middle one of those after it, and megabytes of this process."""
    lab, paths = lab_of(size), paths_of(size)
    template = _tree(paths, "template")
    snapshot = Snapshot(template, dict(template), _tree(paths, "head"), "f" * 40, accepted_sha="e" * 40)
    gc.collect()
    gc.freeze()
    gc.set_threshold(20_000, 20, 50)
    times = []
    for _ in range(1 + size.rounds):
        begun = time.process_time()
        verdict = judge(lab, Progress(), snapshot, Facts())
        times.append(time.process_time() - begun)
        if len(verdict.paths) != len(paths):
            raise BenchError(f"{len(verdict.paths)} of {len(paths)} changed paths were judged")
    kilobytes = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return {"first": times[0], "again": percentile(times[1:], 0.5), "megabytes": kilobytes / 1024}


async def measure(place: Place, size: Size) -> list[Figure]:
    """The figures. BenchError if the process that measures them ends badly."""
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "bench.growing_judge", json.dumps(asdict(size)),
        stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE,
    )  # fmt: skip
    try:
        out, error = await asyncio.wait_for(process.communicate(), TIMEOUT)
    except TimeoutError:
        process.kill()
        await process.wait()
        raise
    if process.returncode != 0:
        raise BenchError(error.decode(errors="replace"))
    found = json.loads(out)
    note = f"processor time; {size.paths} changed paths, {size.patterns} patterns in {size.steps} steps"
    return [
        Figure("growing_judge", found["again"], SECONDS, "s", "<=", 1, note),
        Figure("growing_judge_first", found["first"], SECONDS, "s", "<=", 1, "the lab's automaton is built as well"),
        Figure("growing_judge_memory", found["megabytes"], MEGABYTES, "MB", "<=", 1, "the whole process, at most"),
    ]


if __name__ == "__main__":
    print(json.dumps(measured(Size(**json.loads(sys.argv[1])))))

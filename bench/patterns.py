"""patterns: to which steps 100,000 paths belong, against `git check-ignore` run once for the list of each step."""

from __future__ import annotations

import asyncio
import os
import subprocess
import time
from dataclasses import dataclass
from pathlib import Path

from bench.figures import Figure, percentile
from bench.processes import BenchError, Place
from rules.patterns import PatternSet

SECONDS = 0.5
TARGET = 10.0
KINDS = 6  # of patterns


@dataclass(frozen=True, slots=True)
class Size:
    """How much is measured."""

    paths: int = 100_000
    steps: int = 50
    patterns: int = 200
    rounds: int = 5


SMALL = Size(paths=500, steps=5, patterns=20, rounds=1)


def groups_of(size: Size) -> list[list[str]]:
    """Patterns of all kinds, in steps: folders at any depth, extensions, single files, character classes."""
    each = size.patterns // size.steps
    return [[_pattern(step, number) for number in range(each)] for step in range(size.steps)]


def _pattern(step: int, number: int) -> str:
    match number % KINDS:
        case 0:
            return f"src/part-{step}/**"
        case 1:
            return f"*.s{step}"
        case 2:
            return f"docs/**/chapter-{step}-*.md"
        case 3:
            return f"lib/[a-c]{step}/file?.py"
        case 4:
            return f"tests/test_{step}.py"
        case _:
            return f"generated-{step}/"


def paths_of(size: Size) -> list[str]:
    """Paths of which about half belong to some step."""
    found = []
    for number in range(size.paths):
        step = number % (2 * size.steps)
        deep = f"d{number // 1000}/e{number // 100 % 10}"
        found.append(
            (
                f"src/part-{step}/{deep}/file-{number}.py",
                f"assets/{deep}/image-{number}.s{step}",
                f"docs/{deep}/chapter-{step}-{number}.md",
                f"lib/b{step}/file{number % 10}.py",
                f"other/{deep}/generated-{step}/x-{number}.txt",
                f"web/{deep}/page-{number}.html",
            )[number // 7 % KINDS]
        )
    return list(dict.fromkeys(found))


def ours(groups: list[list[str]], paths: list[str]) -> tuple[float, list[set[str]]]:
    """Seconds for everything, building included; and the paths of each step."""
    begun = time.perf_counter()
    patterns = PatternSet(groups)
    matches = [patterns.match(path).groups for path in paths]
    seconds = time.perf_counter() - begun
    steps: list[set[str]] = [set() for _ in groups]
    for path, found in zip(paths, matches, strict=True):
        for step in found:
            steps[step].add(path)
    return seconds, steps


def gits(groups: list[list[str]], paths: list[str], home: Path) -> tuple[float, list[set[str]]]:
    """The same from git: seconds, and the paths of each step."""
    environment = os.environ | {"GIT_CONFIG_NOSYSTEM": "1", "GIT_CONFIG_GLOBAL": os.devnull}
    subprocess.run(["git", "init", "--quiet", str(home)], env=environment, check=True, timeout=60)
    given = "".join(f"{path}\0" for path in paths).encode()
    seconds, steps = 0.0, []
    for group in groups:
        (home / ".git" / "info").mkdir(exist_ok=True)
        (home / ".git" / "info" / "exclude").write_text("".join(f"{pattern}\n" for pattern in group), encoding="utf-8")
        begun = time.perf_counter()
        command = ["git", "check-ignore", "--no-index", "--stdin", "-z"]
        done = subprocess.run(command, cwd=home, env=environment, input=given, capture_output=True, timeout=120)  # noqa: PLW1510
        seconds += time.perf_counter() - begun
        if done.returncode not in (0, 1):  # 1: none of the paths
            raise BenchError(f"git check-ignore failed: {done.stderr.decode(errors='replace')}")
        steps.append(set(done.stdout.decode().split("\0")) - {""})
    return seconds, steps


async def measure(place: Place, size: Size) -> list[Figure]:
    """The figures; both must find the same."""
    return await asyncio.to_thread(_measure, place, size)


def _measure(place: Place, size: Size) -> list[Figure]:
    groups, paths = groups_of(size), paths_of(size)
    rounds = [ours(groups, paths) for _ in range(size.rounds)]
    seconds = percentile([seconds for seconds, _ in rounds], 0.5)
    git_seconds, git_steps = gits(groups, paths, place.home / "patterns")
    if rounds[0][1] != git_steps:
        raise BenchError("git check-ignore finds other paths than we do")
    note = f"{len(paths)} paths, {size.patterns} patterns in {size.steps} steps"
    return [
        Figure("patterns", seconds, SECONDS, "s", "<=", 1, note),
        Figure("patterns_git", git_seconds, seconds, "s", ">=", TARGET, "measured: git check-ignore; reference: ours"),
    ]

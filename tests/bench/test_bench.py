"""The benches work: each measures what it says on a small size and prints its lines. How fast, nobody asks here."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from bench.figures import Figure, percentile
from bench.lab import Shape, blob_sha, commit_files
from bench.patterns import SMALL, gits, groups_of, ours, paths_of
from rules.labfile import parse_lab

ROOT = Path(__file__).resolve().parents[2]
LINE = re.compile(
    r"(?P<name>[a-z0-9_]+) measured=(?P<measured>[\d.]+)(?P<unit>\D*) reference=(?P<reference>[\d.]+)(?P=unit) "
    r"ratio=(?P<ratio>[\d.]+|inf) target=(?P<at>[<>]=)(?P<target>[\d.]+) (?P<word>ok|short)(  \(.*\))?"
)
ASKED_OF_LOAD = ("ack_p99", "ack_max", "lost", "duplicates")
FIGURES = {
    "receive": {"receive", "receive_p99"},
    "judge": {"judge", "judge_p99", "judge_two_workers", "judge_prompt"},
    "patterns": {"patterns", "patterns_git"},
    "growing_judge": {"growing_judge", "growing_judge_first", "growing_judge_memory"},
    "growth": {"growth_5", "growth_50"},
    "calls": {"calls", "calls_duplicate"},
    "load": {
        *(f"{name}_{what}" for name in ("steady", "burst") for what in ("oldest", "drain")),
        *(f"{name}_{what}" for name in ("steady", "burst", "storm") for what in ASKED_OF_LOAD),
        *(f"storm_{what}" for what in ("points", "writes", "refused", "drain")),
        "replicas",
    },
    "memory": {"memory_web", "memory_web_flat", "memory_worker", "memory_worker_flat"},
}
#: Those that run processes as a host does take their time also on a small size: they are in `make soak`.
ASKED = [(name,) for name in FIGURES] if os.environ.get("SOAK") == "1" else [("patterns", "growing_judge", "growth")]


def bench(*words: str) -> subprocess.CompletedProcess[str]:
    """Run `python -m bench` as `make bench` does."""
    return subprocess.run(
        [sys.executable, "-m", "bench", *words], cwd=ROOT, capture_output=True, text=True, timeout=110, check=False
    )


@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="benches read processor time from /proc")
@pytest.mark.parametrize("names", ASKED, ids="-".join)
def test_each_bench_prints_its_lines(names: tuple[str, ...]) -> None:
    """Benches on a small size end with status 0, whatever falls short, and print a line for each of their figures."""
    done = bench(*names, "--small")

    assert done.returncode == 0, done.stderr
    lines = [LINE.fullmatch(line) for line in done.stdout.splitlines()]
    assert all(lines), done.stdout
    assert {line["name"] for line in lines if line} == set().union(*(FIGURES[name] for name in names))
    calls = {line["name"]: line["measured"] for line in lines if line}
    if "calls" in names:  # no matter of speed: exact
        assert (calls["calls"], calls["calls_duplicate"]) == ("3.00", "0")


def test_an_unknown_bench_is_refused() -> None:
    """A name that no bench has is wrong use, and the names are told."""
    done = bench("sing")

    assert done.returncode == 2
    assert "no such bench: sing" in done.stderr


@pytest.mark.parametrize(
    ("measured", "at", "target", "line"),
    [
        (30.0, ">=", 0.4, "x measured=30.0/s reference=60.0/s ratio=0.500 target=>=0.4 ok"),
        (30.0, ">=", 0.6, "x measured=30.0/s reference=60.0/s ratio=0.500 target=>=0.6 short"),
        (1234.0, "<=", 1, "x measured=1234/s reference=60.0/s ratio=20.6 target=<=1 short"),
        (0.0, "<=", 0, "x measured=0/s reference=60.0/s ratio=0 target=<=0 ok"),
    ],
)
def test_a_figure_says_whether_its_target_is_met(measured: float, at: str, target: float, line: str) -> None:
    """The line holds measurement, reference, their ratio, the target and the word."""
    assert str(Figure("x", measured, 60.0, "/s", at, target)) == line  # type: ignore[arg-type]


def test_percentiles_are_values_that_were_measured() -> None:
    """The nearest rank: 99 % of a hundred values do not exceed the last but one."""
    values = [float(number) for number in range(100, 0, -1)]

    assert (percentile(values, 0.99), percentile(values, 0.5), percentile([7.0], 0.99)) == (99.0, 50.0, 7.0)


def test_git_and_we_find_the_same_paths(tmp_path: Path) -> None:
    """The patterns that are timed mean the same to git, and every step takes some path."""
    groups, paths = groups_of(SMALL), paths_of(SMALL)

    _, found = ours(groups, paths)

    assert found == gits(groups, paths, tmp_path)[1]
    assert all(found)


@pytest.mark.parametrize("shape", [Shape(), Shape(files=30, steps=2, patterns=8)])
async def test_the_lab_of_the_benches_is_one(shape: Shape, tmp_path: Path) -> None:
    """Its file is accepted, and its commits are git's: the shas of blobs are the ones that git gives."""
    assert parse_lab(shape.lab_file()).problems == ()
    environment = os.environ | {"GIT_CONFIG_GLOBAL": os.devnull, "GIT_DIR": str(tmp_path)}
    subprocess.run(["git", "init", "--quiet", "--bare", str(tmp_path)], check=True, timeout=30)
    path, content = shape.edit(3)

    (base,) = await commit_files(tmp_path, [shape.template()])
    first, second = await commit_files(tmp_path, [{path: content}, {path: b"again\n"}], onto="refs/heads/main^0")

    def git(*words: str) -> str:
        return subprocess.check_output(["git", *words], env=environment, text=True, timeout=30).strip()

    assert git("rev-parse", "refs/heads/main", f"{second}^", f"{first}^") == f"{first}\n{first}\n{base}"
    assert git("rev-parse", f"{first}:{path}") == blob_sha(content)

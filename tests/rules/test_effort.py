"""What judging tells of its work: whoever listens can stop it, and listening changes nothing."""

from __future__ import annotations

import pytest

from rules.conditions import needed_for
from rules.mapping import PathMap, pattern_size
from rules.model import Contains, Facts, Lab, Policy, Progress, Snapshot, Step, TreeEntry
from rules.verdict import judge

CONTENT = b"x" * 1_000
LAB = Lab(
    title="A lab",
    branch="main",
    protected=("tests/**",),
    shared=("notes/",),
    policy=Policy(),
    steps=(Step("a", "A", ("src/*.js",), (), Contains("src/*.js", "y+z")),),
)
HEAD = {path: TreeEntry(path, "100644", "b" * 40, len(CONTENT)) for path in ("src/a.js", "src/b.js", "SRC/a.js")}
SNAPSHOT = Snapshot(template={}, accepted={}, head=HEAD, head_sha="a" * 40, blobs={"b" * 40: CONTENT})


class StopError(Exception):
    """The listener's own."""


def test_listening_changes_nothing() -> None:
    """The verdict is the same with a tick and without; names, contents and spelling are told of."""
    told: list[int] = []

    assert judge(LAB, Progress(), SNAPSHOT, Facts(), told.append) == judge(LAB, Progress(), SNAPSHOT, Facts())
    assert sum(map(len, HEAD)) in told, "the paths to match"
    assert max(told) >= 1_000 * len("src/a.js"), "a spelling to look for"
    assert any(step >= len(CONTENT) and step % len(CONTENT) == 0 for step in told), "an expression over a file"


def test_every_tick_can_end_the_judgement() -> None:
    """What the tick raises comes out, wherever the judgement is: nothing in between catches it."""
    for work in (
        lambda tick: judge(LAB, Progress(), SNAPSHOT, Facts(), tick),
        lambda tick: needed_for(LAB, Progress(), SNAPSHOT, Facts(), tick),
    ):
        told: list[int] = []
        work(told.append)
        assert told
        for last in range(len(told)):
            left = iter(range(last))

            def stop(_steps: int, left: object = left) -> None:
                if next(left, None) is None:  # type: ignore[call-overload]
                    raise StopError

            with pytest.raises(StopError):
                work(stop)


def test_few_paths_are_matched_between_two_ticks() -> None:
    """However many and long the paths are: patterns made to be slow take milliseconds for each character of them."""
    for count, length in ((5_000, 40), (100, 1_750), (3, 4_096)):
        paths = [f"{'x' * (length - 5)}{at:05}" for at in range(count)]
        told: list[int] = []

        assert set(PathMap(LAB, (), told.append).places(paths)) == set(paths)
        assert sum(told) == count * length
        assert max(told) <= max(length, 1_024)


def test_the_size_of_all_patterns() -> None:
    """Characters of protected, shared, step and condition patterns; the root of a protected folder is one too."""
    assert pattern_size(LAB) == sum(map(len, ("/tests", "tests/**", "notes/", "src/*.js", "src/*.js")))

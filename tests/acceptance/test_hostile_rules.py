"""Lab files that are made to be slow: judging ends within its budget, without a verdict, and the others do not wait."""

from __future__ import annotations

import asyncio
import os
import random
import time
from dataclasses import replace
from pathlib import Path

import pytest

from bot import budget
from bot.registry import LabFileError
from storage import labs
from tests.support.githost import WorkingCopy
from tests.support.learners import COURSE, TEACHER, Learner, enrol, lab_file, open_lab
from tests.support.line import Line

pytestmark = pytest.mark.asyncio(loop_scope="module")

DOUBT = ("action_required", "error")
LAB = "word-counter"
BUDGET = 2.0  # seconds of computing, instead of the 10 that it is
#: A path takes 0.4 s with a hundred of the patterns, 3 s with 500: these would take 40 s, or 40 minutes.
#: (GitHub lists no more than 7 MB of a tree: of many more paths it would be the reading that takes too long.)
BOMBS, PATHS = (500, 900) if os.environ.get("SOAK") == "1" else (100, 100)


def bombs(count: int, stars: int) -> list[str]:
    """Patterns that drive an automaton through a new set of states at almost every letter."""
    letters = random.Random(7)
    return ["*".join(letters.choices("ab", k=stars)) + f"*{at}" for at in range(count)]


def steps_of(patterns: list[str]) -> list[dict[str, object]]:
    """The patterns as files of steps, 50 a step."""
    return [{"files": patterns[at : at + 50]} for at in range(0, len(patterns), 50)]


def long_paths(count: int) -> list[str]:
    """Paths of 1,750 letters on which those patterns are slow."""
    letters = random.Random(8)
    return ["/".join("".join(letters.choices("ab", k=249)) for _ in range(7)) + f"/{at}" for at in range(count)]


async def seconds_to_answer(learner: Learner, turn: int) -> float:
    """How long a push of a few bytes waits for its check-run."""
    head = await learner.clone.commit({"notes/diary.md": f"{turn}\n"})
    started = time.perf_counter()
    await learner.clone.push()
    async with asyncio.timeout(30):
        while not learner.runs(head):
            await asyncio.sleep(0.005)
    return time.perf_counter() - started


async def test_a_pattern_bomb_ends_within_its_budget_and_nobody_waits(
    line: Line, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Bombs against paths of 1,750 letters, which would take many times the budget: CANNOT_VERIFY, TOO_LARGE after it;
    meanwhile another repository's pushes are answered about as fast as before."""
    monkeypatch.setattr(budget, "SECONDS", BUDGET)
    await open_lab(line, "bomb", {".forgea/steps.json": lab_file(*steps_of(bombs(BOMBS, 100))), "README.md": "Boom\n"})
    victim, neighbour = await enrol(line, "bomb", tmp_path), await enrol(line, LAB, tmp_path)
    quiet = [await seconds_to_answer(neighbour, turn) for turn in range(5)]

    head = await victim.build(dict.fromkeys(long_paths(PATHS), b"x\n"), "HEAD")
    started = time.perf_counter()
    await victim.clone.push(f"{head}:refs/heads/main")
    meanwhile: list[float] = []
    while not victim.runs(head):
        meanwhile.append(await seconds_to_answer(neighbour, len(meanwhile) + 5))
    took = time.perf_counter() - started
    await line.settle()

    assert victim.told(head) == DOUBT
    attempt = await victim.attempt()
    assert (attempt["verdict"], attempt["detail"]["reason"]) == ("cannot_verify", "TOO_LARGE")
    assert attempt["detail"]["detail"] == "judging takes more than 2 s of computing time"
    assert await victim.done() == set()
    assert BUDGET < took < BUDGET + 25
    assert len(meanwhile) >= 3
    middle = sorted(meanwhile)[len(meanwhile) // 2]
    assert middle < 2 * max(quiet) + 0.5, (quiet, meanwhile)
    assert max(meanwhile) < BUDGET, (quiet, meanwhile)


async def test_an_expression_bomb_is_refused_before_it_starts(line: Line, tmp_path: Path) -> None:
    """An expression of 8,000 instructions over a megabyte is not begun; over a small file it is judged."""
    slow = {"files": ["x.txt"], "complete": {"type": "contains", "path": "x.txt", "pattern": "(.{0,100}a){9}c"}}
    await open_lab(line, "expression", {".forgea/steps.json": lab_file(slow), "README.md": "Boom\n"})
    learner = await enrol(line, "expression", tmp_path)

    small = await learner.push({"x.txt": "ab" * 500 + "c\n"})
    assert learner.told(small) == ("success", "success")

    large = await learner.push({"x.txt": "ab\n" * 330_000})
    assert learner.told(large) == DOUBT
    assert (await learner.attempt())["detail"]["reason"] == "TOO_LARGE"


async def test_two_thousand_patterns_are_no_bomb(line: Line, tmp_path: Path) -> None:
    """As many honest patterns as a lab may have are judged like few, also over thousands of files."""
    patterns = [f"src/part-{at:04}/**/*.ts" for at in range(1_990)]
    await open_lab(line, "many", {".forgea/steps.json": lab_file(*steps_of(patterns)), "README.md": "Many\n"})
    learner = await enrol(line, "many", tmp_path)
    folders = [f"src/part-{at:04}" + "/deep/er" * (at % 10 == 0) for at in range(1_990)]
    head = await learner.push_built({f"{folders[at % 1_990]}/{at}.ts": b"x\n" for at in range(4_000)})

    assert learner.told(head) == ("success", "success")
    assert await learner.done() == {f"s{at}" for at in range(1, 41)}


async def test_patterns_that_do_not_fit_are_the_authors_fault(line: Line, tmp_path: Path) -> None:
    """They are refused when the lab is published; should they be stored all the same, no push gets a verdict."""
    name = "unbuildable"
    version = await open_lab(line, name, {".forgea/steps.json": lab_file({"files": ["a"]}), "README.md": "Boom\n"})
    record = await labs.by_slug(line.pool, name)
    assert record is not None
    unfitting = [f"{at}" + "?" * 240 for at in range(320)]  # each `?` is any character but one: many instructions
    with pytest.raises(LabFileError) as refused:
        await open_lab(line, "refused", {".forgea/steps.json": lab_file(*steps_of(unfitting))})
    assert "too large for RE2" in " ".join(problem.message for problem in refused.value.problems)

    template = await WorkingCopy.clone(line.sandbox, f"{COURSE}/{name}", TEACHER, tmp_path / "template")
    commit = await template.commit({"README.md": "Boom again\n"})
    await template.push()
    step = replace(version.lab.steps[0], files=tuple(unfitting))
    await labs.publish(
        line.pool,
        record.lab_id,
        commit_sha=commit,
        tree_sha=await template.git("rev-parse", "HEAD^{tree}"),
        lab=replace(version.lab, steps=(step,)),
        title="Boom",
        digest="0" * 64,
    )
    learner = await enrol(line, name, tmp_path)
    head = await learner.push({"a": "a\n"})

    assert learner.told(head) == DOUBT
    assert (await learner.attempt())["detail"]["reason"] == "LAB_FILE"
    assert "author" in learner.text(head)

"""What `lab replay` says of a history is what the App said when it was pushed: all parts of the line are real."""

from __future__ import annotations

import asyncio
import json
import random
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tests.support.commands import invoke
from tests.support.effort import examples
from tests.support.learners import Learner, enrol, open_course, open_lab, template_files
from tests.support.line import running_line

HISTORIES = 2
FIRST_SEED = 84  # a history in which everything happens that `shown` names
PUSHES = 8
FIXED = "export const countWords = (text) => text.split(/\\s+/).filter(Boolean).length;\n"
# What a learner may do to a file; most of it is work on some step, in any order.
EDITS: Mapping[str, list[str | None]] = {
    "report/bug.md": ["Expected: 2\nActual: 3\n", "Expected: 2\n", None],
    "src/wordcount.js": [FIXED, FIXED + "// tidy\n", "export const countWords = (t) => t.split(' ').length;\n"],
    "bin/count.js": ["countWords()\n", "nothing yet\n", None],
    "src/frequent.js": ["export {};\n", None],
    "CHANGELOG.md": ["# Changes\n\n## 1.0\n", "TODO\n"],
    "tests/wordcount.test.js": ["weak\n"],
    "package.json": ["{}\n"],
    "notes/README.md": ["mine\n"],
    "junk.txt": ["x\n", None],
}


LIKELY = ["report/bug.md", "src/wordcount.js", "notes/README.md"] * 3 + sorted(EDITS)


def edits(chance: random.Random, lying: dict[str, str | bytes]) -> dict[str, str | bytes | None]:
    """The edits of one commit on the files that are lying there, which are brought up to date. What is not a learner's
    to change is mostly put back at once."""
    original = template_files()
    found: dict[str, str | bytes | None] = {}
    for path in ("tests/wordcount.test.js", "package.json", "bin/count.js", "CHANGELOG.md"):
        if lying.get(path) != original.get(path) and chance.random() < 0.7:
            found[path] = original.get(path)
    for _ in range(chance.choice([1, 1, 2])):
        path = chance.choice(LIKELY)
        content = chance.choice(EDITS[path])
        if content is not None or path in lying:
            found[path] = content
    lying.update({path: content for path, content in found.items() if content is not None})
    for path in [path for path, content in found.items() if content is None]:
        del lying[path]
    return found


async def work(learner: Learner, chance: random.Random, every: int) -> list[str]:
    """Push some history, so many commits at a time; the pushed heads."""
    heads: list[str] = []
    lying: dict[str, str | bytes] = dict(template_files())
    for _ in range(PUSHES):
        for _ in range(every):
            head = await learner.clone.commit(edits(chance, lying), f"work {chance.random()}")
        await learner.send("HEAD")
        heads.append(head)
    return heads


def replayed(folder: Path, template: str, every: int) -> list[dict[str, Any]]:
    """The pushes of `lab replay --json` that were judged."""
    words = ["lab", "replay", str(folder), f"{template}..HEAD", "--every", str(every), "--json"]
    done = invoke(words)
    assert done.exit_code == 0, done.output
    return [push for push in json.loads(done.stdout)["pushes"] if push["verdict"] != "closed"]


def told_by_replay(push: Mapping[str, Any]) -> tuple[str, str, list[str], dict[str, str], list[str]]:
    """Head, verdict, steps, violations and reopened steps."""
    violations = {each["path"]: each["code"] for each in push["violations"]}
    reopened = [each["step"] for each in push["reopened"]]
    return push["commit"], push["verdict"], push["done"], violations, reopened


def told_by_app(attempt: Mapping[str, Any]) -> tuple[str, str, list[str], dict[str, str], list[str]]:
    """The same of a row of the ledger."""
    violations = {each["path"]: each["code"] for each in attempt["violations"]}
    after = sorted(attempt["steps_after"])
    reopened = [step for step in attempt["steps_before"] if step not in after]
    return attempt["after_sha"], attempt["verdict"], after, violations, reopened


async def test_replay_says_what_the_app_said(fresh_database: str, tmp_path: Path) -> None:
    """Of random histories, pushed one and several commits at a time, verdicts, steps and violations are the App's."""
    files = template_files()
    seen: set[str] = set()
    async with running_line(fresh_database) as line:
        await open_course(line)
        for number in range(examples(HISTORIES)):
            steps = json.loads(files[".forgea/steps.json"])
            steps["policy"] |= {"reopen": ("always", "rewrite")[number % 2], "unmapped": "warn"}
            version = await open_lab(line, f"lab-{number}", files | {".forgea/steps.json": json.dumps(steps)})
            learner = await enrol(line, f"lab-{number}", tmp_path)
            every = 1 + number % 3
            heads = await work(learner, random.Random(FIRST_SEED + number), every)
            attempts = [each for each in await learner.attempts() if each["after_sha"] in heads]
            pushes = await asyncio.to_thread(replayed, learner.clone.path, version.commit_sha, every)

            assert [told_by_replay(push) for push in pushes] == [told_by_app(each) for each in attempts]
            assert [push["status"] for push in pushes][-1] == (await learner.session())["status"]
            seen |= {push["verdict"] for push in pushes} | {
                each["code"] for push in pushes for each in push["violations"]
            }
            seen |= {what for push in pushes for what in ("gained", "reopened") if push[what]}
    shown = {"accepted", "blocked", "gained", "reopened", "OUT_OF_ORDER", "PROTECTED_PATH", "UNMAPPED_PATH"}
    assert seen >= shown, "the histories do not show enough"

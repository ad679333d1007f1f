"""The straight line on real parts: a push over HTTP to check-run and status read back from the sandbox."""

from __future__ import annotations

import json
import shutil
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.support.githost import WorkingCopy, seed
from tests.support.line import TEMPLATE, Line, register_lab, running_line


@dataclass(frozen=True)
class Learner:
    """A learner at work: the line, a clone, and the fork's name."""

    line: Line
    clone: WorkingCopy
    fork: str

    async def push(self, files: dict[str, str], message: str = "work", *options: str) -> str:
        """Write files, commit, push, and wait for the answer; the head's sha."""
        for path, text in files.items():
            target = self.clone.path / path
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_text(text)
        await self.clone.git("add", "--all")
        await self.clone.git("commit", "--quiet", "--allow-empty", "-m", message)
        await self.clone.git("push", "--quiet", *options, "origin", "HEAD")
        await self.line.settle()
        return await self.clone.git("rev-parse", "HEAD")

    def run(self, sha: str) -> dict[str, object]:
        """The newest check-run on a head."""
        return max(self.line.sandbox.check_runs(self.fork, sha), key=lambda run: int(run["id"]))


def template_files() -> dict[str, str | bytes]:
    """The example lab as it is committed to its template."""
    return {
        str(path.relative_to(TEMPLATE)): path.read_bytes() for path in sorted(TEMPLATE.rglob("*")) if path.is_file()
    }


@pytest.fixture(name="learner")
async def _learner(fresh_database: str, tmp_path: Path) -> AsyncIterator[Learner]:
    async with running_line(fresh_database) as line:
        sandbox = line.sandbox
        sandbox.add_account("octo-course", "Organization")
        sandbox.add_account("learner-one")
        template = await sandbox.add_repository("octo-course", "lab")
        await seed(template, template_files())
        await sandbox.install("octo-course", ["octo-course/lab"])
        await line.settle()
        await register_lab(line, "octo-course/lab")
        fork = await sandbox.fork("octo-course/lab", "learner-one")
        await sandbox.install("learner-one", [fork.full_name])
        await line.settle()
        clone = await WorkingCopy.clone(sandbox, fork.full_name, "learner-one", tmp_path / "clone")
        yield Learner(line, clone, fork.full_name)
    shutil.rmtree(tmp_path, ignore_errors=True)


async def test_installing_on_a_fork_binds_it_and_answers_its_head(learner: Learner) -> None:
    """Open enrolment: a session is created and bound, and the fork's head has a first check-run."""
    (session,) = await learner.line.fetch("SELECT * FROM lab_session")
    head = await learner.clone.git("rev-parse", "HEAD")

    assert session["status"] == "IN_PROGRESS"
    assert learner.run(head)["conclusion"] == "neutral", "nothing of the learner is there to be judged"
    assert [row["state"] for row in await learner.line.fetch("SELECT state FROM delivery")].count("dead") == 0


async def test_a_push_costs_three_requests_and_a_second_delivery_none(learner: Learner) -> None:
    """The tree is read, check-run and status are written; the same delivery once more asks GitHub for nothing."""
    sandbox = learner.line.sandbox
    await learner.push({"notes/diary.md": "Monday\n"})
    before = len(sandbox.exchanges)
    head = await learner.push({"notes/diary.md": "Tuesday\n"})

    asked = [(each.method, each.operation.rpartition("/")[2]) for each in list(sandbox.exchanges)[before:]]
    assert sorted(asked) == [("GET", "{tree_sha}"), ("POST", "check-runs"), ("POST", "{sha}")]
    (push,) = [
        each for each in sandbox.deliveries if each.event == "push" and json.loads(each.payload)["after"] == head
    ]
    await sandbox.redeliver(push.guid)
    await learner.line.settle()
    assert len(sandbox.exchanges) == before + 3

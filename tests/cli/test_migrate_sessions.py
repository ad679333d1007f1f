"""`app.py sessions migrate` at the shell: what is shown, what is written only with --apply, and the way back."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from typer.testing import Result

from tests.support.commands import invoke
from tests.support.course import Course, Learner, running_course
from tests.support.githost import fast_import, run
from tests.support.keys import private_key

STEPS = ".forgea/steps.json"


@dataclass(frozen=True)
class Shell:
    """A shell at an App with two learners; version 2 of the lab gives the step "report" another id."""

    course: Course
    one: Learner
    two: Learner

    async def run(self, *words: str) -> Result:
        """Run `python app.py WORDS`."""
        return await asyncio.to_thread(invoke, words)

    async def migrate(self, *words: str) -> Result:
        """Run `python app.py sessions migrate WORDS`."""
        return await self.run("sessions", "migrate", *words)

    async def versions(self) -> list[int]:
        """The numbers of the learners' versions."""
        rows = await self.course.fetch(
            "SELECT number FROM lab_session JOIN lab_version USING (lab_version_id) JOIN github_account "
            "ON account_id = learner_account_id ORDER BY login"
        )
        return [row["number"] for row in rows]

    async def publish(self, steps: dict[str, Any]) -> None:
        """Commit this steps file to the template, and publish it."""
        path = self.course.template.path
        stream = fast_import([{STEPS: json.dumps(steps)}], start="refs/heads/main^0")
        await run("fast-import", "--quiet", cwd=path, stdin=stream)
        done = await self.run("labs", "publish", self.course.lab.slug)
        assert done.exit_code == 0, done.output


@pytest.fixture(name="shell")
async def _shell(fresh_database: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Shell]:
    async with running_course(fresh_database) as course:
        for name, value in {
            "DATABASE_URL": fresh_database,
            "GITHUB_API_URL": course.sandbox.api_url,
            "GITHUB_WEB_URL": course.sandbox.url,
            "GITHUB_APP_ID": str(course.sandbox.app_id),
            "GITHUB_PRIVATE_KEY": private_key(),
        }.items():
            monkeypatch.setenv(name, value)
        monkeypatch.chdir(tmp_path)
        shell = Shell(course, await course.learner("learner-one"), await course.learner("learner-two"))
        await course.pool.execute(
            "INSERT INTO step_progress (session_id, step_id, state, completed_at) "
            "VALUES ($1, 'report', 'completed', now())",
            shell.one.session_id,
        )
        steps = json.loads(await run("show", f"main:{STEPS}", cwd=course.template.path))
        renamed = {"id": "describe", "aliases": ["report"]}
        steps["steps"] = [each | (renamed if each["id"] == "report" else {}) for each in steps["steps"]]
        for each in steps["steps"]:
            if "needs" in each:
                each["needs"] = ["describe" if need == "report" else need for need in each["needs"]]
        await shell.publish(steps)
        yield shell


async def test_moves_are_shown_written_and_taken_back(shell: Shell) -> None:
    """Without --apply everything is only shown; with it it is written, once; --undo shows and takes back likewise."""
    slug = shell.course.lab.slug
    shown = await shell.migrate("--lab", slug)
    assert shown.exit_code == 0, shown.output
    assert "report is describe now" in shown.stdout
    assert "2 sessions: 1 renamed, 1 unchanged." in shown.stderr
    assert "add --apply" in shown.stderr
    assert await shell.versions() == [1, 1]

    document = json.loads((await shell.migrate("--lab", slug, "--json")).stdout)
    assert (document["to"], document["run"]) == (2, None)
    assert [each["effects"]["words"] for each in document["sessions"]] == [["renamed"], ["unchanged"]]

    one = await shell.migrate("--lab", slug, "--session", str(shell.one.session_id), "--apply")
    assert "Moved 1 of 1 sessions to version 2." in one.stderr
    assert await shell.versions() == [2, 1]
    rest = await shell.migrate("--lab", slug, "--apply", "--by", "900", "--reason", "a typo")
    assert "Moved 1 of 1 sessions" in rest.stderr  # what was moved before is not moved again
    assert await shell.versions() == [2, 2]
    assert "No live session" in (await shell.migrate("--lab", slug, "--apply")).stdout
    (event,) = await shell.course.fetch(
        "SELECT actor_id, detail FROM audit_event WHERE kind = 'migrated' AND session_id = $1", shell.two.session_id
    )
    assert (event["actor_id"], event["detail"]["reason"]) == (900, "a typo")

    run_id = str(event["detail"]["run_id"])
    assert "add --apply" in (await shell.migrate("--undo", run_id)).stderr
    assert await shell.versions() == [2, 2]
    undone = await shell.migrate("--undo", run_id, "--apply")
    assert (undone.exit_code, "Moved 1 of 1 sessions back." in undone.stderr) == (0, True), undone.output
    assert await shell.versions() == [2, 1]
    again = await shell.migrate("--undo", run_id, "--apply", "--json")
    assert json.loads(again.stdout) == {"run": int(run_id), "sessions": []}


async def test_what_cannot_be_told_is_not_moved(shell: Shell) -> None:
    """A repository that is gone is a line of its own and exit status 1; the other session moves."""
    await shell.course.sandbox.delete_repository(shell.two.repository.full_name)
    done = await shell.migrate("--lab", shell.course.lab.slug, "--apply")
    assert done.exit_code == 1
    assert "not told" in done.stdout
    assert "Moved 1 of 2 sessions" in done.stderr
    assert await shell.versions() == [2, 1]


async def test_wrong_use_is_explained(shell: Shell) -> None:
    """Wrong use ends with status 2 and one line; nothing is written."""
    slug = shell.course.lab.slug
    for words, said in (
        ([], "name --lab"),
        (["--lab", slug, "--undo", "1"], "name --lab"),
        (["--undo", "1", "--to", "1"], "name --lab"),
        (["--lab", "nothing"], "there is no lab 'nothing'"),
        (["--lab", slug, "--to", "9"], "no such version"),
        (["--lab", slug, "--reason", "x", "--apply"], "3 to 500"),
    ):
        done = await shell.migrate(*words)
        assert (done.exit_code, done.stderr.count("\n")) == (2, 1), done.output
        assert said in done.stderr
    assert await shell.versions() == [1, 1]

"""Pushes to templates on a running line: what is published, what the check run `forgea/lab` says, who keeps what."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from dataclasses import replace
from typing import Any

import pytest
import pytest_asyncio
from aiohttp import web

from bot.registry import add_lab, publish_lab
from bot.templates import look_at_missed_templates, look_at_quiet_templates, on_template_push
from rules.model import LabRecord
from sandbox import Fault
from sandbox.effects import Answer, Lose
from storage import labs, versions
from tests.support.direct import DirectCopy, begin
from tests.support.githost import seed
from tests.support.learners import COURSE, TEACHER, lab_file, open_course, open_lab
from tests.support.line import Line, running_line

pytestmark = pytest.mark.asyncio(loop_scope="module")

STEPS = ".forgea/steps.json"
OTHER = "octo-work"
FIRST = {"files": ["a.txt"]}
FILES: dict[str, str | bytes] = {STEPS: lab_file(FIRST), "README.md": "Lab\n", "a.txt": "template\n"}


@pytest_asyncio.fixture(scope="module", loop_scope="module", name="line")
async def _line(module_database: str) -> AsyncIterator[Line]:
    async with running_line(module_database) as line:
        await open_course(line)
        line.sandbox.add_account(OTHER, "Organization")
        yield line


class Template:
    """A published lab's template in the hands of its author."""

    def __init__(self, line: Line, lab: LabRecord, clone: DirectCopy) -> None:
        self.line, self.lab, self.clone = line, lab, clone

    @classmethod
    async def open(cls, line: Line, name: str) -> Template:
        """Publish a template, and take it in hand."""
        await open_lab(line, name, FILES)
        lab = await labs.by_slug(line.pool, name)
        assert lab is not None
        return cls(line, lab, await DirectCopy.of(line, f"{COURSE}/{name}", TEACHER))

    async def push(self, files: dict[str, str | bytes | None], *where: str) -> str:
        """Commit and push files, and wait until all is done; the head's sha."""
        sha = await self.clone.commit(files)
        await self.clone.push(*where)
        await self.line.settle()
        return sha

    def runs(self, sha: str) -> list[dict[str, Any]]:
        """The check runs on a head, all of them ours."""
        runs = self.line.sandbox.check_runs(self.lab.base_repo_full_name, sha)
        assert {run["name"] for run in runs} <= {"forgea/lab"}
        return runs

    def told(self, sha: str) -> tuple[str, str]:
        """Conclusion and title of the one check run on a head."""
        (run,) = self.runs(sha)
        return run["conclusion"], run["output"]["title"]

    async def numbers(self) -> list[int]:
        """The numbers of the lab's versions, oldest first."""
        return [each.version.number for each in await labs.versions(self.line.pool, self.lab.lab_id)][::-1]

    async def commits(self) -> list[str]:
        """The recorded commits of the branch."""
        return [each.commit_sha for each in await labs.template_commits(self.line.pool, self.lab.lab_id)]


async def test_valid_rules_are_published(line: Line) -> None:
    """A push with other valid rules is version 2, green, with the map of the files; the session that began before stays
    on version 1, and the check run says so."""
    template = await Template.open(line, "valid")
    learner = await begin(line, "valid")
    sha = await template.push({STEPS: lab_file(FIRST, {"files": ["README.md"]})})

    assert template.told(sha) == ("success", "Version 2 is published")
    (run,) = template.runs(sha)
    assert "1 session stays on version 1" in run["output"]["summary"]
    assert "| Part 2 | 1: `README.md` |" in run["output"]["summary"]
    assert await template.numbers() == [1, 2]
    newest = await labs.latest_version(line.pool, template.lab.lab_id)
    assert newest is not None
    assert newest.commit_sha == sha
    assert (await learner.session())["lab_version_id"] != newest.lab_version_id


async def test_unchanged_rules_record_the_commit_only(line: Line) -> None:
    """A push that leaves the rules as they are makes no version; the commit is recorded, and the author is told."""
    template = await Template.open(line, "unchanged")
    sha = await template.push({"README.md": "Other words\n"})

    assert template.told(sha)[1].startswith("No change of the rules since version 1")
    assert await template.numbers() == [1]
    assert (await template.commits())[-1] == sha


async def test_broken_rules_publish_nothing(line: Line) -> None:
    """A broken file is red with its problems on their lines; the commit is recorded, the version stays, the learner
    goes on; the correction after it is published."""
    template = await Template.open(line, "broken")
    learner = await begin(line, "broken")
    steps = [{"id": "s1", "title": "One", "files": ["a.txt"], "needs": ["nowhere"]}]
    text = json.dumps({"version": 1, "title": "T", "stepz": 1, "steps": steps}, indent=2)
    sha = await template.push({STEPS: text})

    conclusion, title = template.told(sha)
    assert (conclusion, title) == ("failure", "2 errors: nothing is published")
    (run,) = template.runs(sha)
    lines = text.splitlines()
    noted = {lines[note["start_line"] - 1].strip() for note in run["annotations"]}
    assert noted == {'"stepz": 1,', '"nowhere"'}
    assert await template.numbers() == [1]
    assert (await template.commits())[-1] == sha
    head = await learner.push({"a.txt": "mine\n"})
    assert learner.told(head) == ("success", "success")

    mended = await template.push({STEPS: lab_file(FIRST, title="Mended")})
    assert template.told(mended)[1].startswith("Version 2 is published")


async def test_a_missing_file_is_told(line: Line) -> None:
    """Taking the steps file off the lab's branch publishes nothing, and is red."""
    template = await Template.open(line, "missing")
    sha = await template.push({STEPS: None})
    assert template.told(sha) == ("failure", "There is no steps file: nothing is published")
    assert await template.numbers() == [1]


async def test_a_branch_that_is_not_there_is_told(line: Line) -> None:
    """A file that names a branch which nobody has pushed is red on its head; with the branch it is published."""
    template = await Template.open(line, "moved")
    sha = await template.push({STEPS: lab_file(FIRST, branch="lab")})
    assert template.told(sha) == ("failure", "Nothing is published")
    look = await versions.last_look(line.pool, template.lab.lab_id)
    assert look is not None
    assert look.outcome == "unreadable"
    assert "'lab'" in look.detail

    await template.clone.push("HEAD:refs/heads/lab")
    await line.settle()
    newest = await labs.latest_version(line.pool, template.lab.lab_id)
    assert newest is not None
    assert (newest.number, newest.lab.branch) == (2, "lab")


async def test_other_branches_are_linted_only(line: Line) -> None:
    """A branch that is not the lab's is linted if it has the file, and publishes nothing; one without is left alone."""
    template = await Template.open(line, "side")
    sha = await template.push({STEPS: lab_file(FIRST, FIRST | {"files": ["b"]})}, "HEAD:refs/heads/idea")
    bare = await template.push({STEPS: None}, "HEAD:refs/heads/bare")

    assert template.told(sha)[1].startswith("The steps file is valid")
    assert "The lab is published from `main`" in template.runs(sha)[0]["output"]["summary"]
    assert template.runs(bare) == []
    assert await template.numbers() == [1]


async def test_more_than_fifty_problems_are_all_on_their_lines(line: Line) -> None:
    """120 unknown keys are 120 annotations, sent 50 a request, on one check run."""
    template = await Template.open(line, "many")
    steps = [{"id": f"s{at}", "title": "T", "files": ["a.txt"], "needs": [f"gone{at}"]} for at in range(60)]
    text = json.dumps({"version": 1, "title": "T", "steps": [each | {"hintz": 1} for each in steps]}, indent=1)
    sha = await template.push({STEPS: text})

    (run,) = template.runs(sha)
    notes = run["annotations"]
    assert run["output"]["title"] == f"{len(notes)} errors: nothing is published"
    assert len(notes) > 100
    assert len({(note["start_line"], note["message"]) for note in notes}) == len(notes)


async def test_annotations_are_not_added_twice(line: Line) -> None:
    """When sending breaks off half-way, the next attempt counts what the run has, and adds the rest to the same run."""
    template = await Template.open(line, "lost")
    sent: list[str] = []

    def break_off(request: web.Request) -> web.Response | None:
        if request.method == "PATCH":
            sent.append(request.path)
        return web.Response(status=502) if request.method == "PATCH" and len(sent) == 2 else None

    line.sandbox.faults.append(break_off)
    steps = [{"id": f"s{at}", "title": "T", "files": ["a.txt"], "needs": [f"gone{at}"]} for at in range(70)]
    text = json.dumps({"version": 1, "title": "T", "steps": [each | {"hintz": 1} for each in steps]}, indent=1)
    sha = await template.push({STEPS: text})
    line.sandbox.faults.remove(break_off)

    (run,) = template.runs(sha)
    assert len(sent) == 3
    assert run["output"]["title"] == f"{len(run['annotations'])} errors: nothing is published"
    assert len({(note["start_line"], note["message"]) for note in run["annotations"]}) == len(run["annotations"])


async def test_redelivery_and_concurrent_looks_change_nothing(line: Line) -> None:
    """The same push looked at many times at once is one version, one check run, one recorded commit."""
    template = await Template.open(line, "again")
    sha = await template.push({STEPS: lab_file(FIRST, title="Again")})
    looks = [on_template_push(line.services, template.lab, "main") for _ in range(4)]
    outcomes = await asyncio.gather(*looks, publish_lab(line.pool, line.services.app, template.lab))
    await line.settle()

    assert set(outcomes[:4]) == {"template_published"}
    assert await template.numbers() == [1, 2]
    assert len(template.runs(sha)) == 1
    assert (await template.commits()).count(sha) == 1


async def test_a_late_publisher_does_not_publish_over_a_newer_one(line: Line) -> None:
    """Who read the branch before it moved on finds the newer version published, and leaves it the newest."""
    template = await Template.open(line, "late")
    old = await template.clone.commit({STEPS: lab_file(FIRST, title="Older")})
    await template.push({STEPS: lab_file(FIRST, title="Newer")})
    client = line.services.app.installation(template.lab.base_installation_id or 0)
    commit = await client.commit(template.lab.base_repo_full_name, old)
    newest = await labs.latest_version(line.pool, template.lab.lab_id)
    assert newest is not None

    rules = replace(newest.lab, title="Older")
    found = await labs.publish(
        line.pool,
        template.lab.lab_id,
        commit_sha=old,
        tree_sha=commit.tree_sha,
        lab=rules,
        digest="other",
        title="Older",
    )
    assert found == newest
    lab = await labs.get(line.pool, template.lab.lab_id)
    assert lab is not None
    assert lab.title == "Newer"


async def test_a_push_of_which_nobody_told_is_published(line: Line) -> None:
    """A template with the App whose push had no event is found where it is not known, once; one that stands still, also
    since it was published from the shell, costs one request and is left alone."""
    template = await Template.open(line, "unheard")
    before = len(line.sandbox.exchanges)
    assert await look_at_missed_templates(line.services) == 0
    asked = [each for each in list(line.sandbox.exchanges)[before:] if "/unheard/" in each.path]
    assert len(asked) == 1

    lost = line.sandbox.faults.add(Fault(Lose("nothing"), repository=template.lab.base_repo_full_name))
    sha = await template.clone.commit({STEPS: lab_file(FIRST, title="Unheard")})
    await template.clone.push()
    lost.remove()
    assert await look_at_missed_templates(line.services) == 1
    assert await look_at_missed_templates(line.services) == 0

    newest = await labs.latest_version(line.pool, template.lab.lab_id)
    assert newest is not None
    assert (newest.commit_sha, newest.lab.title) == (sha, "Unheard")
    down = line.sandbox.faults.add(Fault(Answer(like="bad-gateway"), path="*/unheard/git/ref*"))
    assert await look_at_missed_templates(line.services) == 0
    down.remove()
    look = await versions.last_look(line.pool, template.lab.lab_id)
    assert look is not None
    assert look.outcome == "published"  # GitHub being away says nothing about a template


async def test_a_template_without_events_is_looked_at(line: Line) -> None:
    """A public template without the App is published by the clock; nothing is posted there; one that stands still costs
    one request, and one that is gone is told and holds up no other."""
    quiet = await line.sandbox.add_repository(OTHER, "quiet")
    line.sandbox.add_collaborator(quiet.full_name, TEACHER)
    await seed(quiet, FILES)
    lab = await add_lab(line.pool, line.services.app, quiet.full_name)
    gone = await line.sandbox.add_repository(OTHER, "gone")
    await seed(gone, FILES)
    lost = await add_lab(line.pool, line.services.app, gone.full_name)
    await line.sandbox.delete_repository(gone.full_name)

    assert await look_at_quiet_templates(line.services) == 1
    look, missing = [await versions.last_look(line.pool, each.lab_id) for each in (lab, lost)]
    assert look is not None
    assert missing is not None
    assert (look.outcome, missing.outcome) == ("published", "unreadable")
    assert "cannot be read" in missing.detail
    newest = await labs.latest_version(line.pool, lab.lab_id)
    assert newest is not None
    assert newest.commit_sha == look.head_sha
    assert line.sandbox.check_runs(quiet.full_name, newest.commit_sha) == []

    before = len(line.sandbox.exchanges)
    assert await look_at_quiet_templates(line.services) == 0
    asked = [each.status for each in list(line.sandbox.exchanges)[before:] if "/quiet/" in each.path]
    assert asked == [304]

    clone = await DirectCopy.of(line, quiet.full_name, TEACHER)
    sha = await clone.commit({STEPS: "{"})
    await clone.push()
    assert await look_at_quiet_templates(line.services) == 1
    look = await versions.last_look(line.pool, lab.lab_id)
    assert look is not None
    assert (look.outcome, look.head_sha, len(look.problems)) == ("broken", sha, 1)

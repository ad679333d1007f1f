"""What a fork is told when the App is installed on it: a greeting, its verdict, or why it cannot be connected."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from bot.registry import add_lab, publish_lab
from cli.demo_story import REPORT
from rules.model import Account, AccountKind, Enrolment
from sandbox import Repository
from storage import invitations, labs
from storage.invitations import Invitee
from tests.support.direct import DirectCopy
from tests.support.githost import WorkingCopy, run, seed
from tests.support.learners import COURSE, TEACHER, Learner, enrol, open_lab, template_files
from tests.support.line import Line

pytestmark = pytest.mark.asyncio(loop_scope="module")

LAB = "word-counter"
GREETED = ("neutral", "success")


def told(line: Line, repository: Repository, head: str) -> dict[str, Any]:
    """The newest check run on a head."""
    return max(line.sandbox.check_runs(repository.full_name, head), key=lambda each: int(each["id"]))


async def head_of(repository: Repository) -> str:
    """The newest commit of a repository's default branch."""
    return await run("rev-parse", repository.default_branch, cwd=repository.path)


async def test_installing_on_an_untouched_fork_greets(learner: Learner) -> None:
    """The first check run names the first step, its files and the way to push, and is neither green nor red."""
    head = await learner.clone.git("rev-parse", "HEAD")

    assert learner.told(head) == GREETED
    assert learner.run(head)["output"]["title"] == "Welcome: begin with step 1, Describe the bug"
    text = learner.text(head)
    assert "`report/**`" in text
    assert f"{learner.line.sandbox.url}/{learner.fork}.git" in text
    assert "git push origin main" in text
    assert learner.run(head)["details_url"].endswith(f"/sessions/{learner.session_id}")
    assert len(learner.runs(head)) == 1


async def test_the_first_push_after_the_greeting_is_judged(learner: Learner) -> None:
    """Greeted or not, the first step's work is accepted, and the ledger tells it from the starter."""
    head = await learner.push({"report/bug.md": REPORT})

    assert learner.told(head) == ("success", "success")
    assert [row["detail"]["untouched"] for row in await learner.attempts()] == [True, False]


async def test_a_fork_with_work_on_it_is_judged_at_once(line: Line, tmp_path: Path) -> None:
    """Somebody who pushed before installing the App gets the verdict, not a greeting."""
    line.sandbox.add_account("early-bird")
    fork = await line.sandbox.fork(f"{COURSE}/{LAB}", "early-bird")
    clone = await WorkingCopy.clone(line.sandbox, fork.full_name, "early-bird", tmp_path / "early")
    head = await clone.commit({"report/bug.md": REPORT})
    await clone.push()
    await line.sandbox.install("early-bird", [fork.full_name])
    await line.settle()

    assert told(line, fork, head)["conclusion"] == "success"
    assert told(line, fork, head)["output"]["title"].startswith("Step 1 of ")


async def test_a_sync_without_work_is_greeted_again(line: Line, tmp_path: Path) -> None:
    """A fork that only followed its template has nothing of the learner's: it is greeted, not judged."""
    await open_lab(line, "synced", template_files())
    learner = await enrol(line, "synced", tmp_path)
    teacher = await WorkingCopy.clone(line.sandbox, f"{COURSE}/synced", TEACHER, tmp_path / "teacher")
    head = await teacher.commit({"README.md": "Read me again.\n", "tests/more.test.js": "assert(true)\n"})
    await teacher.push()
    await line.settle()

    await learner.clone.git("fetch", "--quiet", teacher.url, "main")
    await learner.clone.git("merge", "--quiet", "--ff-only", "FETCH_HEAD")
    await learner.send("HEAD")

    assert learner.told(head) == GREETED
    assert (await learner.session())["accepted_sha"] == head


async def test_a_repository_generated_from_the_template_is_greeted(line: Line) -> None:
    """Another history, the same files: it begins with the same step."""
    line.sandbox.add_account("generator")
    made = await line.sandbox.generate(f"{COURSE}/{LAB}", "generator", "my-counter")
    await line.sandbox.install("generator", [made.full_name])
    await line.settle()

    assert told(line, made, await head_of(made))["output"]["title"].startswith("Welcome: begin with step 1")


async def test_in_an_organisation_only_an_invitation_binds(line: Line, tmp_path: Path) -> None:
    """Without one the head says so and where to go; with one the repository is the invited person's."""
    line.sandbox.add_account("octo-work", "Organization")
    person = line.sandbox.add_account("team-mate")
    line.sandbox.add_member("octo-work", "team-mate")
    fork = await line.sandbox.fork(f"{COURSE}/{LAB}", "octo-work", name="counter-of-team-mate")
    line.sandbox.add_collaborator(fork.full_name, "team-mate")
    await line.sandbox.install("octo-work", [fork.full_name])
    await line.settle()

    refused = told(line, fork, await head_of(fork))
    assert refused["conclusion"] == "action_required"
    assert "NO_SESSION" in refused["output"]["summary"]
    assert f"/join/{LAB})" in refused["output"]["summary"], "the way out"
    assert await line.fetch("SELECT FROM repo_mapping WHERE provider_repo_id = $1", fork.id) == []

    lab = await labs.by_slug(line.pool, LAB)
    assert lab is not None
    account = Account(person.id, "team-mate", AccountKind.USER)
    assert await invitations.invite(line.pool, lab.lab_id, [Invitee(account, repo_id=fork.id)]) == ["invited"]
    copy = await DirectCopy.of(line, fork.full_name, "team-mate")
    head = await copy.commit({"report/bug.md": REPORT})
    await copy.push()
    await line.settle()

    assert told(line, fork, head)["conclusion"] == "success"
    (session,) = await line.fetch(
        "SELECT learner_account_id FROM lab_session JOIN repo_mapping USING (session_id) WHERE provider_repo_id = $1",
        fork.id,
    )
    assert session["learner_account_id"] == person.id


async def test_a_lab_by_invitation_says_on_the_fork_that_it_is(line: Line) -> None:
    """Installing on a fork of a lab that one may not start is answered too: no silence, and the lab is linked."""
    template = await line.sandbox.add_repository(COURSE, "by-invitation")
    await seed(template, template_files())
    await open_lab_of(line, template)
    line.sandbox.add_account("stranger")
    fork = await line.sandbox.fork(template.full_name, "stranger")
    await line.sandbox.install("stranger", [fork.full_name])
    await line.settle()

    refused = told(line, fork, await head_of(fork))
    assert refused["conclusion"] == "action_required"
    assert "by invitation" in refused["output"]["summary"]
    assert "/join/by-invitation)" in refused["output"]["summary"]


async def open_lab_of(line: Line, template: Repository) -> None:
    """Publish a template as a lab by invitation."""
    lab = await add_lab(line.pool, line.services.app, template.full_name, enrolment=Enrolment.INVITED)
    await publish_lab(line.pool, line.services.app, lab)

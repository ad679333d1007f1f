"""Registering and publishing labs against a sandbox: what is refused, in which words, and nothing is stored then."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio

from bot.registry import LabFileError, RegistryError, add_lab, any_reader, examine, publish_lab, register, slug_of
from github.installation import InstallationClient
from github.values import RepositoryCondition
from rules.model import Enrolment
from sandbox import Repository
from storage import labs
from storage.errors import LabConflict
from tests.support.direct import begin
from tests.support.githost import WorkingCopy, run, seed
from tests.support.learners import COURSE, TEACHER, lab_file, open_course
from tests.support.line import Line, running_line

pytestmark = pytest.mark.asyncio(loop_scope="module")

OTHER = "octo-work"
FILES: dict[str, str | bytes] = {
    ".forgea/steps.json": lab_file({"files": ["a.txt"]}, title="First letters"),
    "README.md": "Lab\n",
}


@pytest_asyncio.fixture(scope="module", loop_scope="module", name="line")
async def _line(module_database: str) -> AsyncIterator[Line]:
    """A running App that is installed on one organisation, and another one without it."""
    async with running_line(module_database) as line:
        await open_course(line)
        line.sandbox.add_account(OTHER, "Organization")
        yield line


async def template(line: Line, name: str, owner: str = COURSE, *, private: bool = False) -> Repository:
    """A repository with a valid steps file."""
    repository = await line.sandbox.add_repository(owner, name, private=private)
    line.sandbox.add_collaborator(repository.full_name, TEACHER)
    await seed(repository, FILES)
    return repository


async def refused(line: Line, full_name: str) -> str:
    """What `labs add` says; whatever it is, nothing was stored."""
    before = await labs.list_labs(line.pool)
    with pytest.raises((RegistryError, LabConflict)) as caught:
        await add_lab(line.pool, line.services.app, full_name)
    assert await labs.list_labs(line.pool) == before
    return str(caught.value)


async def test_a_covered_template_is_registered(line: Line) -> None:
    """The lab has the title of its steps file, the name of its repository, and the installation that reads it."""
    repository = await template(line, "Covered.Lab")

    found = await examine(line.pool, line.services.app, f"{COURSE}/covered.lab")
    assert await labs.by_slug(line.pool, "covered-lab") is None
    lab = await register(line.pool, found, enrolment=Enrolment.INVITED)

    assert (lab.slug, lab.title, lab.base_repo_id) == ("covered-lab", "First letters", repository.id)
    assert lab.base_installation_id == next(iter(line.sandbox._core.state.installations))
    assert found.notes == ()


async def test_a_public_template_needs_no_installation(line: Line, tmp_path: Path) -> None:
    """Any installation reads it: it is registered and published, its learner is judged, and the operator is told that
    pushes to it are not noticed; publishing then records every commit that came meanwhile."""
    repository = await template(line, "public-lab", OTHER)

    found = await examine(line.pool, line.services.app, repository.full_name)
    lab = await register(line.pool, found)
    version = await publish_lab(line.pool, line.services.app, lab)

    assert lab.base_installation_id is None
    assert len(found.notes) == 1
    assert "labs publish" in found.notes[0]
    clone = await WorkingCopy.clone(line.sandbox, repository.full_name, TEACHER, tmp_path / "template")
    shas = [await clone.commit({"README.md": f"Lab {at}\n"}) for at in range(2)]
    await clone.push("HEAD")
    await publish_lab(line.pool, line.services.app, lab)
    known = [commit.commit_sha for commit in await labs.template_commits(line.pool, lab.lab_id)]
    assert known == [version.commit_sha, *shas]


async def test_a_private_template_says_what_is_missing(line: Line) -> None:
    """The App cannot see it, and says which page to open and what to choose there; a misspelt name says the same."""
    repository = await template(line, "private-lab", OTHER, private=True)

    said = await refused(line, repository.full_name)
    assert f"no repository {OTHER}/private-lab" in said
    assert "/installations/new" in said
    assert f"choose the account {OTHER}" in said
    assert "no repository octo-course/nowhere" in await refused(line, f"{COURSE}/nowhere")


async def test_a_suspended_installation_is_named(line: Line) -> None:
    """Its owner must end the suspension; nothing else helps."""
    line.sandbox.add_account("octo-asleep", "Organization")
    repository = await template(line, "lab", "octo-asleep")
    installed = await line.sandbox.install("octo-asleep", "all")
    await line.sandbox.suspend(installed.id)

    assert "installation on octo-asleep is suspended" in await refused(line, repository.full_name)


async def test_without_any_installation_nothing_can_be_read(fresh_database: str) -> None:
    """A new App that is installed nowhere is sent to the page where it is installed."""
    async with running_line(fresh_database) as line:
        line.sandbox.add_account(COURSE, "Organization")
        line.sandbox.add_account(TEACHER)
        repository = await template(line, "lab")

        assert await any_reader(line.services.app) is None
        assert "/installations/new" in await refused(line, repository.full_name)


async def test_a_template_is_registered_once_by_its_id(line: Line) -> None:
    """Under its name or another one after a rename, the second time names the lab that it is."""
    repository = await template(line, "once")
    await add_lab(line.pool, line.services.app, repository.full_name)

    assert "lab once." in await refused(line, f"{COURSE}/once")
    await line.sandbox.rename(repository.full_name, "once-again")
    assert f"lab once, as {COURSE}/once then" in await refused(line, f"{COURSE}/once-again")


async def test_publishing_follows_a_rename_but_no_stranger(line: Line) -> None:
    """A renamed template is published under its new name; a repository that took the old name over is refused."""
    repository = await template(line, "moves")
    lab = await add_lab(line.pool, line.services.app, repository.full_name)
    await line.sandbox.rename(repository.full_name, "moved")

    await publish_lab(line.pool, line.services.app, lab)
    moved = await labs.by_slug(line.pool, "moves")
    assert moved is not None
    assert moved.base_repo_full_name == f"{COURSE}/moved"
    await template(line, "moves")
    with pytest.raises(RegistryError, match="another repository than the one that lab moves"):
        await publish_lab(line.pool, line.services.app, lab)


async def test_a_learners_repository_is_no_template(line: Line) -> None:
    """Forks of a template, repositories generated from it, and bound ones are learners' work."""
    repository = await template(line, "origin")
    line.sandbox.repository(repository.full_name).is_template = True
    await publish_lab(line.pool, line.services.app, await add_lab(line.pool, line.services.app, repository.full_name))
    learner = await begin(line, "origin")
    fork = await line.sandbox.fork(repository.full_name, COURSE, name="fork")
    generated = await line.sandbox.generate(repository.full_name, COURSE, "generated")

    assert "is a learner's repository" in await refused(line, learner.fork)
    for each in (fork, generated):
        assert f"comes from {COURSE}/origin, the template of lab origin" in await refused(line, each.full_name)


async def test_an_archived_template_is_told_and_a_disabled_one_refused(
    line: Line, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Archived: learners can still fork it. Disabled by GitHub: nobody can."""
    repository = await template(line, "old")
    await line.sandbox.archive(repository.full_name)
    found = await examine(line.pool, line.services.app, repository.full_name)
    assert "is archived" in found.notes[0]

    async def disabled(_client: InstallationClient, _full_name: str) -> RepositoryCondition:
        return RepositoryCondition(archived=False, disabled=True)

    monkeypatch.setattr(InstallationClient, "condition", disabled)
    assert "disabled by GitHub" in await refused(line, repository.full_name)


async def test_an_empty_repository_and_one_without_rules(line: Line) -> None:
    """Each says what to push first."""
    await line.sandbox.add_repository(COURSE, "empty")
    bare = await line.sandbox.add_repository(COURSE, "no-rules")
    await seed(bare, {"README.md": "x\n"})

    assert "has no branch 'main': push the template first" in await refused(line, f"{COURSE}/empty")
    assert ".forgea/steps.json at main" in await refused(line, f"{COURSE}/no-rules")


async def test_every_problem_of_the_rules_is_told_at_once(line: Line) -> None:
    """All problems come with their places, and no lab is stored."""
    broken = await line.sandbox.add_repository(COURSE, "broken")
    steps = lab_file({"files": ["a"], "needs": ["s9"]}, {"file": ["b"]})
    await seed(broken, {".forgea/steps.json": steps})

    with pytest.raises(LabFileError) as caught:
        await add_lab(line.pool, line.services.app, broken.full_name)

    assert len(caught.value.problems) >= 2
    assert all(problem.line >= 1 and problem.code for problem in caught.value.problems)
    assert await labs.by_slug(line.pool, "broken") is None


async def test_rules_at_another_branch_count(line: Line) -> None:
    """The file at the default branch may name another branch; two that name each other are refused."""
    there = await line.sandbox.add_repository(COURSE, "elsewhere")
    await seed(there, {".forgea/steps.json": lab_file({"files": ["a"]}, branch="lab")})
    await run("update-ref", "refs/heads/lab", "refs/heads/main", cwd=there.path)
    lab = await add_lab(line.pool, line.services.app, there.full_name)
    assert (await publish_lab(line.pool, line.services.app, lab)).lab.branch == "lab"

    circle = await line.sandbox.add_repository(COURSE, "circle")
    await seed(circle, {".forgea/steps.json": lab_file({"files": ["a"]}, branch="lab")})
    await seed(circle, {".forgea/steps.json": lab_file({"files": ["a"]}, branch="main")}, branch="lab")
    assert "name each other" in await refused(line, circle.full_name)


@pytest.mark.parametrize(("name", "slug"), [("My.Lab_2", "my-lab-2"), ("---", "lab"), ("x" * 99, "x" * 64)])
async def test_slugs(name: str, slug: str) -> None:
    """Small letters, digits and dashes, at most 64."""
    assert slug_of(name) == slug

"""Labs on the operator's side: register a template, publish its rules as a version, record its later commits."""

from __future__ import annotations

import re
from dataclasses import replace

from github.client import GitHubApp, InstallationClient
from github.errors import NotFound
from rules.labfile import digest, parse_lab
from rules.model import Enrolment, LabRecord, LabVersion, Problem
from storage import accounts, labs
from storage.database import Pool

LAB_FILE = ".forgea/steps.json"


class RegistryError(Exception):
    """The operator's or the author's: one sentence that says what is missing and what to do."""


class LabFileError(RegistryError):
    """The author's: the template's steps file has problems, all of them in `problems`."""

    def __init__(self, where: str, problems: tuple[Problem, ...]) -> None:
        count = "1 problem" if len(problems) == 1 else f"{len(problems)} problems"
        super().__init__(f"{where} has {count}; nothing was published")
        self.where = where
        self.problems = problems


async def add_lab(
    pool: Pool, app: GitHubApp, full_name: str, *, slug: str | None = None, enrolment: Enrolment = Enrolment.OPEN
) -> LabRecord:
    """Register the repository `OWNER/NAME` as a lab's template. `slug` defaults to the repository's name.

    The App must be installed on the template: through that installation it is read. Raises RegistryError,
    GitHubError, and storage's LabConflict when the slug or the repository is taken.
    """
    installation = await app.installation_of(full_name)
    if installation is None:
        raise RegistryError(
            f"the App is not installed on {full_name}, or there is no such repository: "
            "install it on the template, so that its steps file can be read"
        )
    repo, _ = await app.installation(installation.installation_id).repository(full_name)
    await accounts.upsert_installation(pool, installation)
    name = repo.full_name.partition("/")[2]
    return await labs.add(
        pool,
        slug=slug or slug_of(name),
        title=name,
        base_repo_id=repo.repo_id,
        base_repo_full_name=repo.full_name,
        base_installation_id=installation.installation_id,
        enrolment=enrolment,
    )


def slug_of(name: str) -> str:
    """A lab's default slug: the repository's name in lower case, with dashes for all else; at most 64 characters."""
    return re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-")[:64].strip("-") or "lab"


async def publish_lab(pool: Pool, app: GitHubApp, lab: LabRecord) -> LabVersion:
    """Publish the steps file at the head of the template's branch as the lab's newest version.

    Unchanged rules make no new version: the newest is returned. Raises LabFileError (nothing is published),
    RegistryError, GitHubError.
    """
    client = reader(app, lab)
    try:
        repo, _ = await client.repository(lab.base_repo_full_name)
    except NotFound as error:
        raise RegistryError(f"{lab.base_repo_full_name} cannot be read: is the App still installed on it?") from error
    branch = repo.default_branch
    for _ in range(2):  # the file at the default branch may name another branch: then its file there counts
        head = await client.branch_head(repo.full_name, branch)
        if head is None:
            raise RegistryError(f"{repo.full_name} has no branch {branch!r}: push the template first")
        where = f"{repo.full_name}/{LAB_FILE} at {branch} ({head[:10]})"
        data = await client.file(repo.full_name, LAB_FILE, head)
        if data is None:
            raise RegistryError(
                f"{where} does not exist: a lab template needs this file, as examples/lab-template has it"
            )
        parsed = parse_lab(data)
        if parsed.lab is None:
            raise LabFileError(where, parsed.problems)
        if parsed.lab.branch in (None, branch):
            break
        branch = parsed.lab.branch or branch
    else:
        raise RegistryError(f"{repo.full_name}: the steps files at its branches name each other; name one branch only")
    commit = await client.commit(repo.full_name, head)
    rules = replace(parsed.lab, branch=branch)
    return await labs.publish(
        pool,
        lab.lab_id,
        commit_sha=commit.sha,
        tree_sha=commit.tree_sha,
        lab=rules,
        title=rules.title,
        digest=digest(rules),
    )


def reader(app: GitHubApp, lab: LabRecord, fallback: InstallationClient | None = None) -> InstallationClient:
    """The client that reads a lab's template: its own installation's, else `fallback` (enough if it is public)."""
    if lab.base_installation_id is not None:
        return app.installation(lab.base_installation_id)
    if fallback is None:
        raise RegistryError(f"the App has no installation on {lab.base_repo_full_name}: install it on the template")
    return fallback


async def record_template_push(pool: Pool, app: GitHubApp, lab: LabRecord, branch: str | None) -> str:
    """Record the commits that the template's branch has gained, oldest first. Returns a word for the log.

    Learners who sync their fork bring these commits' files: they are the template's work, not theirs.
    """
    version = await labs.latest_version(pool, lab.lab_id)
    if version is None or branch is None or branch != version.lab.branch:
        return "template_branch_ignored"
    client = reader(app, lab)
    head = await client.branch_head(lab.base_repo_full_name, branch)
    known = await labs.template_commits(pool, lab.lab_id)
    if head is None or head in {commit.commit_sha for commit in known}:
        return "template_commit_known"
    comparison = await client.compare(lab.base_repo_full_name, known[-1].commit_sha, head)
    line = [sha for sha, _ in comparison.commits] if comparison is not None else []
    if head not in line:
        line.append(head)
    commits = [await client.commit(lab.base_repo_full_name, sha) for sha in line]
    await labs.record_template_commits(
        pool, lab.lab_id, [labs.TemplateCommit(commit.sha, commit.tree_sha, 0) for commit in commits]
    )
    return "template_commits_recorded"

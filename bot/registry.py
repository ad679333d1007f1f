"""Labs on the operator's side: examine and register a template, publish its rules, record its later commits."""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from datetime import datetime

from bot.linting import LAB_FILE, Reading, read_branch
from github.client import GitHubApp, InstallationClient
from github.errors import InstallationError, NotFound
from github.values import Commit
from rules.labfile import digest
from rules.model import (
    Enrolment,
    Installation,
    InstallationState,
    Lab,
    LabRecord,
    LabVersion,
    Lineage,
    Problem,
    Repo,
)
from storage import accounts, labs
from storage.database import Pool
from storage.errors import LabConflict
from storage.mappings import Mappings


class RegistryError(Exception):
    """The operator's or the author's: one sentence that says what is missing and what to do."""


class LabFileError(RegistryError):
    """The author's: the template's steps file has errors, all of them in `problems`."""

    def __init__(self, where: str, problems: tuple[Problem, ...]) -> None:
        count = "1 problem" if len(problems) == 1 else f"{len(problems)} problems"
        super().__init__(f"{where} has {count}; nothing was published")
        self.where = where
        self.problems = problems


@dataclass(frozen=True, slots=True)
class Template:
    """A repository that can be a lab's template. `installation` None: it is public, and any installation reads it.

    `notes`: what the operator should know, in sentences.
    """

    repo: Repo
    installation: Installation | None
    rules: Lab
    notes: tuple[str, ...] = ()


# ------------------------------------------------------------------------------------------------------ registration


async def examine(pool: Pool, app: GitHubApp, full_name: str) -> Template:
    """Whether the repository `OWNER/NAME` can be a lab's template; nothing is stored.

    Raises RegistryError (what is missing and where to mend it), LabFileError, LabConflict, GitHubError.
    """
    installation = await app.installation_of(full_name)
    if installation is not None and installation.state is not InstallationState.ACTIVE:
        owner = installation.account.login
        raise RegistryError(f"the App's installation on {owner} is suspended: {owner} must unsuspend it at GitHub")
    client = app.installation(installation.installation_id) if installation else await any_reader(app)
    try:
        if client is None:
            raise NotFound("the App is installed nowhere")
        repo, lineage = await client.repository(full_name)
        condition = await client.condition(full_name)
    except NotFound as error:
        raise RegistryError(await _how_to_reach(app, full_name)) from error
    if condition.disabled:
        raise RegistryError(f"{repo.full_name} is disabled by GitHub: nobody can fork it. Its owner must ask GitHub")
    await _check_free(pool, repo, lineage)
    _, rules = await _rules_at_head(client, repo)
    notes = []
    if condition.archived:
        notes.append(f"{repo.full_name} is archived: learners can fork it, but nobody can push a correction to it.")
    if installation is None:
        notes.append(
            f"The App is not installed on {repo.full_name}. It is public, so that is enough; but GitHub does not tell "
            "the App when you push to it. It looks every 15 minutes; `labs publish` does so at once."
        )
    return Template(repo, installation, rules, tuple(notes))


async def any_reader(app: GitHubApp) -> InstallationClient | None:
    """A client that can read what is public: that of any active installation; None: the App is installed nowhere."""
    async for installation in app.installations():
        if installation.state is InstallationState.ACTIVE:
            return app.installation(installation.installation_id)
    return None


async def _how_to_reach(app: GitHubApp, full_name: str) -> str:
    """What is missing when the App cannot see a repository."""
    page = (await app.app()).html_url
    where = f"open {page}/installations/new" if page else "install it at GitHub"
    return (
        f"GitHub shows the App no repository {full_name}. If the name is right, the repository is private, or the App "
        f"has no installation yet: {where}, choose the account {full_name.partition('/')[0]}, "
        f"'Only select repositories' and this repository, then try again"
    )


async def _check_free(pool: Pool, repo: Repo, lineage: Lineage) -> None:
    """A repository is one lab's template, or a learner's work, never both; only ids tell."""
    known = await labs.by_base_repos(pool, [repo.repo_id])
    if known is not None:
        former = "" if known.base_repo_full_name == repo.full_name else f", as {known.base_repo_full_name} then"
        raise LabConflict(
            f"{repo.full_name} is registered already: lab {known.slug}{former}. "
            f"To take over new rules: python app.py labs publish {known.slug}"
        )
    if await Mappings(pool).find(repo.repo_id) is not None:
        raise RegistryError(f"{repo.full_name} is a learner's repository: a lab needs a template of its own")
    line = [ident for ident in (lineage.parent_id, lineage.template_id, lineage.source_id) if ident is not None]
    origin = await labs.by_base_repos(pool, line)
    if origin is not None:
        raise RegistryError(
            f"{repo.full_name} comes from {origin.base_repo_full_name}, the template of lab {origin.slug}: forks of it "
            "are learners' repositories. Make a new repository and push the files there"
        )


async def register(
    pool: Pool,
    template: Template,
    *,
    slug: str | None = None,
    enrolment: Enrolment = Enrolment.OPEN,
    deadline: datetime | None = None,
) -> LabRecord:
    """Register an examined template as a lab. `slug` defaults to the repository's name. Raises LabConflict."""
    installation = template.installation
    if installation is not None:
        await accounts.upsert_installation(pool, installation)
    return await labs.add(
        pool,
        slug=slug or slug_of(template.repo.full_name.partition("/")[2]),
        title=template.rules.title,
        base_repo_id=template.repo.repo_id,
        base_repo_full_name=template.repo.full_name,
        base_installation_id=installation.installation_id if installation else None,
        enrolment=enrolment,
        deadline=deadline,
    )


async def add_lab(
    pool: Pool, app: GitHubApp, full_name: str, *, slug: str | None = None, enrolment: Enrolment = Enrolment.OPEN
) -> LabRecord:
    """Examine the repository `OWNER/NAME` and register it as a lab. Raises what `examine` and `register` raise."""
    return await register(pool, await examine(pool, app, full_name), slug=slug, enrolment=enrolment)


def slug_of(name: str) -> str:
    """A lab's default slug: the repository's name in lower case, with dashes for all else; at most 64 characters."""
    return re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-")[:64].strip("-") or "lab"


# -------------------------------------------------------------------------------------------------------- publication


async def publish_lab(pool: Pool, app: GitHubApp, lab: LabRecord) -> LabVersion:
    """Publish the steps file at the head of the template's branch as the lab's newest version.

    Unchanged rules make no new version: the newest is returned. The commits since the last known one are recorded too,
    so that learners who sync to one of them are not blamed for it. Raises LabFileError (nothing is published),
    RegistryError, GitHubError.
    """
    client, repo, commit, rules = await current_rules(app, lab)
    await labs.rename_template(pool, lab.lab_id, repo.full_name)
    return await publish_commit(pool, client, replace(lab, base_repo_full_name=repo.full_name), commit, rules)


async def publish_commit(
    pool: Pool, client: InstallationClient, lab: LabRecord, commit: Commit, rules: Lab
) -> LabVersion:
    """Publish the rules at a commit of the template's branch, and record the commits since the last known one."""
    await record_up_to(pool, client, lab, commit.sha)
    return await labs.publish(
        pool,
        lab.lab_id,
        commit_sha=commit.sha,
        tree_sha=commit.tree_sha,
        lab=rules,
        title=rules.title,
        digest=digest(rules),
    )


async def current_rules(app: GitHubApp, lab: LabRecord) -> tuple[InstallationClient, Repo, Commit, Lab]:
    """A lab's template as it is now: who can read it, the repository, its branch's head and the rules there.

    Nothing is stored. Raises LabFileError, RegistryError, GitHubError.
    """
    client = reader(app, lab, await any_reader(app) if lab.base_installation_id is None else None)
    repo = await template_of(client, lab)
    commit, rules = await _rules_at_head(client, repo)
    return client, repo, commit, rules


async def template_of(client: InstallationClient, lab: LabRecord) -> Repo:
    """A lab's template repository as it is now. RegistryError when it cannot be read, or is another one."""
    try:
        repo, _ = await client.repository(lab.base_repo_full_name)
    except (NotFound, InstallationError) as error:
        raise RegistryError(f"{lab.base_repo_full_name} cannot be read: is the App still installed on it?") from error
    if repo.repo_id != lab.base_repo_id:
        raise RegistryError(
            f"{repo.full_name} is another repository than the one that lab {lab.slug} was registered with: "
            "that one was renamed or deleted, and its name was taken over"
        )
    return repo


async def _rules_at_head(client: InstallationClient, repo: Repo) -> tuple[Commit, Lab]:
    """The head of the template's branch, and the rules there. RegistryError, LabFileError."""
    reading = await read_template(client, repo)
    where = f"{repo.full_name}/{LAB_FILE} at {reading.branch} ({reading.head_sha[:10]})"
    if reading.result is None:
        raise RegistryError(f"{where} does not exist: a lab template needs this file, as examples/lab-template has it")
    if reading.result.lab is None:
        errors = tuple(problem for problem in reading.result.problems if problem.severity == "error")
        raise LabFileError(where, errors)
    commit = await client.commit(repo.full_name, reading.head_sha)
    return commit, replace(reading.result.lab, branch=reading.branch)


async def read_template(client: InstallationClient, repo: Repo) -> Reading:
    """What the lab's branch of a template has: the default branch, or the one that the file there names.

    RegistryError when there is no such branch, GitHubError.
    """
    branch = repo.default_branch
    for _ in range(2):  # the file at the default branch may name another branch: then its file there counts
        reading = await read_branch(client, repo.full_name, branch)
        if reading is None:
            raise RegistryError(f"{repo.full_name} has no branch {branch!r}: push the template first")
        named = reading.result.lab.branch if reading.result and reading.result.lab else None
        if named in (None, branch):
            return reading
        branch = named
    raise RegistryError(f"{repo.full_name}: the steps files at its branches name each other; name one branch only")


def reader(app: GitHubApp, lab: LabRecord, fallback: InstallationClient | None = None) -> InstallationClient:
    """The client that reads a lab's template: its own installation's, else `fallback` (enough if it is public)."""
    if lab.base_installation_id is not None:
        return app.installation(lab.base_installation_id)
    if fallback is None:
        raise RegistryError(f"the App has no installation on {lab.base_repo_full_name}: install it on the template")
    return fallback


async def record_up_to(pool: Pool, client: InstallationClient, lab: LabRecord, head: str) -> bool:
    """Record the template's commits after the last known one up to `head`; False: nothing is new, or nothing was known
    before (the first publication records its own commit)."""
    known = await labs.template_commits(pool, lab.lab_id)
    if not known or head in {commit.commit_sha for commit in known}:
        return False
    comparison = await client.compare(lab.base_repo_full_name, known[-1].commit_sha, head)
    line = [sha for sha, _ in comparison.commits] if comparison is not None else []
    if head not in line:
        line.append(head)
    commits = [await client.commit(lab.base_repo_full_name, sha) for sha in line]
    await labs.record_template_commits(
        pool, lab.lab_id, [labs.TemplateCommit(commit.sha, commit.tree_sha, 0) for commit in commits]
    )
    return True

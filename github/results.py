"""How workflow runs and other Apps' check-runs stand on a commit: what steps of a lab may wait for."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlencode

from pydantic import BaseModel, ConfigDict

from github.answers import read
from github.installation import InstallationClient, quoted, repository_path

# GitHub Actions is an App like others, with another id on each GitHub Enterprise Server, but with this slug everywhere.
# Whoever may push can let it post a check-run of any name on any commit (GitHub docs, "GITHUB_TOKEN": `checks: write`).
ACTIONS_SLUG = "github-actions"

PER_PAGE = 100  # the most that GitHub gives (GitHub docs, REST, "Using pagination")
# More runs on one commit than this are not looked through: the newest come first.
MAX_PAGES = 10


@dataclass(frozen=True, slots=True)
class RunResult:
    """A completed run. `name`: path of the workflow file, or name of the check. `app_id`: the check's App, else 0."""

    run_id: int
    name: str
    app_id: int
    conclusion: str


class _Model(BaseModel):
    model_config = ConfigDict(extra="ignore", frozen=True, hide_input_in_errors=True)


class _Repository(_Model):
    id: int


class _WorkflowRun(_Model):
    id: int
    path: str
    event: str
    head_sha: str
    head_branch: str | None = None
    status: str | None = None
    conclusion: str | None = None
    repository: _Repository


class WorkflowRunsModel(_Model):
    """GET /repos/{owner}/{repo}/actions/runs, one page."""

    workflow_runs: tuple[_WorkflowRun, ...]


class _App(_Model):
    id: int
    slug: str = ""


class _CheckRun(_Model):
    id: int
    name: str
    head_sha: str
    status: str
    conclusion: str | None = None
    app: _App | None = None


class CommitCheckRunsModel(_Model):
    """GET /repos/{owner}/{repo}/commits/{ref}/check-runs, one page, with the Apps."""

    check_runs: tuple[_CheckRun, ...]


async def workflow_runs(
    client: InstallationClient, full_name: str, *, repo_id: int, branch: str, head_sha: str
) -> tuple[RunResult, ...]:
    """The newest completed run of each workflow file that pushing exactly this commit to this branch started.

    Runs are made by GitHub alone: unlike a check-run, nobody can post one. Runs of other events, branches or commits
    are left out whatever the query is taken for. Costs one call, unless there are more than PER_PAGE runs. Raises
    MissingPermission without `actions: read`, and other GitHubErrors.
    """
    client.needs({"actions": "read"})
    query = {"branch": branch, "event": "push", "head_sha": head_sha, "per_page": PER_PAGE}
    found: list[RunResult] = []
    async for data in _some_pages(client, f"{repository_path(full_name)}/actions/runs?{urlencode(query)}"):
        found += [
            RunResult(run.id, _file_of(run.path, full_name, branch), 0, run.conclusion)
            for run in read(WorkflowRunsModel, data).workflow_runs
            if (run.head_sha, run.head_branch, run.event, run.repository.id) == (head_sha, branch, "push", repo_id)
            and run.status == "completed"
            and run.conclusion is not None
        ]
    return _newest(found)


def _file_of(path: str, full_name: str, branch: str) -> str:
    """The workflow's file of a run's `path`, which may be told as OWNER/REPO/FILE@REF (GitHub's OpenAPI example)."""
    for end in (f"@refs/heads/{branch}", f"@{branch}"):
        path = path.removesuffix(end)
    return path.removeprefix(f"{full_name}/")


async def check_runs(
    client: InstallationClient, full_name: str, *, head_sha: str, name: str | None = None, app_id: int | None = None
) -> tuple[RunResult, ...]:
    """The newest completed check-run of each name and App on a commit; never those of GitHub Actions.

    `name`, `app_id`: only these. Costs one call, unless there are more than PER_PAGE runs. Raises GitHubError.
    """
    given = {"check_name": name, "app_id": app_id, "filter": "latest", "per_page": PER_PAGE}
    query = urlencode({key: value for key, value in given.items() if value is not None})
    found: list[RunResult] = []
    async for data in _some_pages(
        client, f"{repository_path(full_name)}/commits/{quoted(head_sha)}/check-runs?{query}"
    ):
        found += [
            RunResult(run.id, run.name, run.app.id, run.conclusion)
            for run in read(CommitCheckRunsModel, data).check_runs
            if run.app is not None
            and run.app.slug != ACTIONS_SLUG
            and run.head_sha == head_sha
            and run.status == "completed"
            and run.conclusion is not None
        ]
    return _newest(found)


async def _some_pages(client: InstallationClient, url: str) -> AsyncIterator[Any]:
    """The first MAX_PAGES pages."""
    pages = 0
    async for data in client.pages(url):
        yield data
        pages += 1
        if pages == MAX_PAGES:
            return


def _newest(found: Iterable[RunResult]) -> tuple[RunResult, ...]:
    """The newest of each name and App: GitHub's ids rise."""
    in_order = sorted(found, key=lambda run: run.run_id)
    return tuple({(run.name, run.app_id): run for run in in_order}.values())

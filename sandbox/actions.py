"""What others than the App report about commits: GitHub Actions' workflow runs, and check runs of other Apps.

Who can forge what is as on GitHub: a workflow that may write checks posts check runs of any name on any commit as
"github-actions"; workflow runs are made by GitHub alone (GitHub docs, "Workflow syntax", permissions; REST, "Checks").
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from datetime import datetime
from pathlib import PurePosixPath
from typing import Any

from .checks import CheckBook, simple_commit
from .core import AppIdentity, Core
from .errors import SandboxError
from .hooks import Events
from .present import api_of, html_of, minimal_repository, node_id, user, when
from .state import Account, CheckRun, CheckSuite, Repository

ACTIONS_SLUG = "github-actions"
ACTIONS_ID = 15_368  # on github.com; on a GitHub Enterprise Server it is another


@dataclass(slots=True)
class WorkflowRun:
    """A run of a workflow file. `suite` and `job`: its check suite, and the check run of its one job."""

    id: int
    number: int
    workflow_id: int
    path: str
    branch: str
    sha: str
    event: str
    conclusion: str | None
    attempt: int
    started_at: datetime
    updated_at: datetime
    suite: CheckSuite
    job: CheckRun

    @property
    def status(self) -> str:
        """GitHub's word for how far it is."""
        return "in_progress" if self.conclusion is None else "completed"


class ResultBook:
    """Makes and shows runs of workflows, and check runs of other Apps, with the events that tell of them."""

    def __init__(self, core: Core, events: Events, checks: CheckBook) -> None:
        self._core = core
        self._events = events
        self._checks = checks
        self._runs: dict[int, list[WorkflowRun]] = {}
        self._run_ids = itertools.count(13_289_782_451)
        self._workflow_ids: dict[tuple[int, str], int] = {}

    # ------------------------------------------------------------------------------------------------ other Apps

    def app(self, slug: str) -> AppIdentity:
        """Return the other App of this slug; it is registered when it is first named."""
        state, now = self._core.state, self._core.now()
        known = next((app for app in self._core.other_apps.values() if app.slug == slug), None)
        if known is not None:
            return known
        if self._core.registered is not None and self._core.app.slug == slug:
            raise SandboxError(f"{slug} is the App itself: it writes its check runs by the API")
        number = ACTIONS_ID if slug == ACTIONS_SLUG else next(state.app_ids)
        owner = Account(next(state.account_ids), f"{slug}-owner", "Organization", now)
        bot = Account(next(state.account_ids), f"{slug}[bot]", "Bot", now)
        permissions = {"checks": "write", "metadata": "read"}
        app = AppIdentity(number, slug, f"Iv1.{number:016x}", "", "", owner, bot, now, permissions, [])
        self._core.other_apps[number] = app
        return app

    async def post_check(
        self, record: Repository, sha: str, name: str, app_slug: str, conclusion: str
    ) -> dict[str, Any]:
        """Write a completed check run of another App; SandboxError if there is no such commit."""
        if await self._core.git.commit(record.path, sha) is None:
            raise SandboxError(f"{record.full_name} has no commit {sha}")
        app = self.app(app_slug)
        suite, _ = self._checks.suite(record, sha, app_id=app.id)
        run = self._new_check(record, suite, name, conclusion)
        await self._checks.echo_run(record, run, created=True, completed=True)
        return self._checks.show_run(record, run)

    def _new_check(self, record: Repository, suite: CheckSuite, name: str, conclusion: str | None) -> CheckRun:
        now = when(self._core.now())
        status, ended = ("in_progress", None) if conclusion is None else ("completed", now)
        number = next(self._core.state.run_ids)
        run = CheckRun(
            number,
            record.id,
            suite.id,
            name,
            suite.head_sha,
            status,
            conclusion,
            now,
            ended,
            app_id=suite.app_id,
            born=self._core.stamp(),
        )
        self._core.state.add_run(run)
        return run

    # ------------------------------------------------------------------------------------------------ workflow runs

    def runs(self, record: Repository) -> list[WorkflowRun]:
        """Return the repository's workflow runs, newest first."""
        return self._runs.get(record.id, [])[::-1]

    async def run_workflow(
        self, record: Repository, path: str, branch: str, sha: str | None, *, conclusion: str | None, event: str
    ) -> dict[str, Any]:
        """Run a workflow, or bring the run that is there to an end; SandboxError if the commit lacks the file."""
        head = sha or (await self._core.git.refs(record.path, f"refs/heads/{branch}")).get(f"refs/heads/{branch}")
        if head is None or not await self._has(record, head, path):
            raise SandboxError(f"{record.full_name} has no {path} at {head or branch}")
        key = (path, branch, head, event)
        run = next((run for run in self.runs(record) if (run.path, run.branch, run.sha, run.event) == key), None)
        if run is None:
            run = self._start(record, path, branch, head, event)
            await self._tell(record, run, "requested")
            await self._checks.echo_run(record, run.job, created=True, completed=False, suite=run.suite)
        elif run.conclusion is not None:
            run.attempt += 1
        if conclusion is not None:
            await self._end(record, run, conclusion)
        return await self.show(record, run)

    async def _has(self, record: Repository, sha: str, path: str) -> bool:
        commit = await self._core.git.commit(record.path, sha)
        tree = None if commit is None else commit.tree
        for part in PurePosixPath(path).parts:
            entries = [] if tree is None else await self._core.git.tree(record.path, tree)
            tree = next((entry.sha for entry in entries if entry.path == part), None)
        return tree is not None

    def _start(self, record: Repository, path: str, branch: str, sha: str, event: str) -> WorkflowRun:
        now, known = self._core.now(), self._runs.setdefault(record.id, [])
        workflow_id = self._workflow_ids.setdefault((record.id, path), 150_000_001 + len(self._workflow_ids))
        suite = self._checks.suite_of_workflow(record, sha, branch, self.app(ACTIONS_SLUG).id)
        run = WorkflowRun(
            id=next(self._run_ids),
            number=1 + sum(each.path == path for each in known),
            workflow_id=workflow_id,
            path=path,
            branch=branch,
            sha=sha,
            event=event,
            conclusion=None,
            attempt=1,
            started_at=now,
            updated_at=now,
            suite=suite,
            job=self._new_check(record, suite, PurePosixPath(path).stem, None),
        )
        known.append(run)
        return run

    async def _end(self, record: Repository, run: WorkflowRun, conclusion: str) -> None:
        run.conclusion, run.updated_at = conclusion, self._core.now()
        run.job.status, run.job.conclusion, run.job.completed_at = "completed", conclusion, when(run.updated_at)
        await self._checks.echo_run(record, run.job, created=False, completed=True, suite=run.suite)
        await self._tell(record, run, "completed")

    async def _tell(self, record: Repository, run: WorkflowRun, action: str) -> None:
        extra = {"workflow_run": await self.show(record, run), "workflow": self._workflow(record, run)}
        self._events.of_repository("workflow_run", action, record, record.owner, extra)

    def _workflow(self, record: Repository, run: WorkflowRun) -> dict[str, Any]:
        name, html = PurePosixPath(run.path).stem, html_of(self._core, record)
        return {
            "id": run.workflow_id,
            "node_id": node_id("Workflow", run.workflow_id),
            "name": name,
            "path": run.path,
            "state": "active",
            "created_at": when(record.created_at),
            "updated_at": when(record.created_at),
            "url": f"{api_of(self._core, record)}/actions/workflows/{run.workflow_id}",
            "html_url": f"{html}/blob/{record.default_branch}/{run.path}",
            "badge_url": f"{html}/workflows/{name}/badge.svg",
        }

    async def show(self, record: Repository, run: WorkflowRun) -> dict[str, Any]:
        """Return the run as OpenAPI's "workflow-run"."""
        repository = api_of(self._core, record)
        api, suite = f"{repository}/actions/runs/{run.id}", f"{repository}/check-suites/{run.suite.id}"
        commit = await self._core.git.commit(record.path, run.sha)
        shown = minimal_repository(self._core, record)
        return {
            "id": run.id,
            "name": PurePosixPath(run.path).stem,
            "node_id": node_id("WorkflowRun", run.id),
            "head_branch": run.branch,
            "head_sha": run.sha,
            "path": run.path,
            "display_title": "" if commit is None else commit.message.partition("\n")[0],
            "run_number": run.number,
            "run_attempt": run.attempt,
            "run_started_at": when(run.started_at),
            "event": run.event,
            "status": run.status,
            "conclusion": run.conclusion,
            "workflow_id": run.workflow_id,
            "workflow_url": f"{repository}/actions/workflows/{run.workflow_id}",
            "check_suite_id": run.suite.id,
            "check_suite_node_id": node_id("CheckSuite", run.suite.id),
            "check_suite_url": suite,
            "url": api,
            "html_url": f"{html_of(self._core, record)}/actions/runs/{run.id}",
            "pull_requests": [],
            "created_at": when(run.started_at),
            "updated_at": when(run.updated_at),
            "actor": user(self._core, record.owner),
            "triggering_actor": user(self._core, record.owner),
            **{f"{name}_url": f"{api}/{name}" for name in ("jobs", "logs", "artifacts", "cancel", "rerun")},
            "previous_attempt_url": f"{api}/attempts/{run.attempt - 1}" if run.attempt > 1 else None,
            "referenced_workflows": [],
            "head_commit": None if commit is None else simple_commit(commit),
            "repository": shown,
            "head_repository": shown,
        }

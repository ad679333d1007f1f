"""Check suites, check runs and statuses: the records, their JSON, and the events that they echo."""

from __future__ import annotations

from typing import Any

from .core import Core
from .gitdata import Commit, Signature
from .hooks import Events
from .present import api_of, html_of, integration, minimal_repository, node_id, user, when
from .state import Account, CheckRun, CheckSuite, Repository, Status


class CheckBook:
    """Writes and shows what was reported about commits."""

    def __init__(self, core: Core, events: Events) -> None:
        self._core = core
        self._events = events

    # ------------------------------------------------------------------------------------------------ suites

    def suite(
        self,
        record: Repository,
        sha: str,
        branch: str | None = None,
        before: str | None = None,
        *,
        app_id: int | None = None,
    ) -> tuple[CheckSuite, bool]:
        """Return the suite of the commit of an App (None: the registered one), and whether it is new."""
        suites, key = self._core.state.check_suites, (record.id, sha, app_id or 0)
        found = suites.get(key)
        if found is not None:
            return found, False
        suites[key] = suite = self._new_suite(record, sha, branch, before, app_id)
        return suite, True

    def suite_of_workflow(self, record: Repository, sha: str, branch: str, app_id: int) -> CheckSuite:
        """Make the suite of one workflow run: each has its own, though the App is the same."""
        suite = self._new_suite(record, sha, branch, None, app_id)
        self._core.state.check_suites[record.id, sha, suite.id] = suite
        return suite

    def _new_suite(
        self, record: Repository, sha: str, branch: str | None, before: str | None, app_id: int | None
    ) -> CheckSuite:
        now = self._core.now()
        number = next(self._core.state.suite_ids)
        return CheckSuite(number, record.id, sha, branch, before, now, now, app_id=app_id)

    async def request_suite(
        self, record: Repository, sha: str, branch: str, before: str | None, sender: Account
    ) -> None:
        """Open the suite of a pushed head and send `check_suite` requested, once per commit."""
        installation = self._core.state.installation_on(record)
        if installation is None or "checks" not in installation.permissions:
            return
        suite, new = self.suite(record, sha, branch, before)
        if new:
            shown = await self.show_suite(record, suite)
            self._events.of_repository("check_suite", "requested", record, sender, {"check_suite": shown})

    async def show_suite(self, record: Repository, suite: CheckSuite) -> dict[str, Any]:
        """Return the suite as webhook payloads show it."""
        api = f"{api_of(self._core, record)}/check-suites/{suite.id}"
        commit = await self._core.git.commit(record.path, suite.head_sha)
        return {
            "id": suite.id,
            "node_id": node_id("CheckSuite", suite.id),
            "head_branch": suite.head_branch,
            "head_sha": suite.head_sha,
            "status": suite.status,
            "conclusion": suite.conclusion,
            "url": api,
            "before": suite.before,
            "after": suite.head_sha,
            "pull_requests": [],
            "app": integration(self._core, suite.app_id),
            "created_at": when(suite.created_at),
            "updated_at": when(suite.updated_at),
            "rerequestable": True,
            "runs_rerequestable": True,
            "latest_check_runs_count": len(self._runs_in(record, suite)),
            "check_runs_url": f"{api}/check-runs",
            "head_commit": None if commit is None else simple_commit(commit),
        }

    async def full_suite(self, record: Repository, suite: CheckSuite) -> dict[str, Any]:
        """Return the suite as the REST API shows it: with its repository."""
        shown = await self.show_suite(record, suite)
        return shown | {"repository": minimal_repository(self._core, record)}

    def _settle(self, record: Repository, suite: CheckSuite) -> bool:
        """Derive the suite's state from its newest runs; True if it has become complete just now."""
        runs = self._runs_in(record, suite)
        was = suite.status
        suite.updated_at = self._core.now()
        if all(run.status == "completed" for run in runs):
            worst = ("action_required", "timed_out", "failure", "cancelled", "success", "neutral", "skipped")
            conclusions = {run.conclusion for run in runs}
            suite.status = "completed"
            suite.conclusion = next(each for each in worst if each in conclusions)
        else:
            suite.status, suite.conclusion = "in_progress", None
        return suite.status == "completed" and was != "completed"

    # ------------------------------------------------------------------------------------------------ runs

    def latest_runs(self, record: Repository, sha: str) -> list[CheckRun]:
        """Return the newest check run of each suite and name, newest first."""
        newest = {(run.suite_id, run.name): run for run in self._core.state.runs_of(record, sha)}
        return sorted(newest.values(), key=lambda run: -run.id)

    def _runs_in(self, record: Repository, suite: CheckSuite) -> list[CheckRun]:
        return [run for run in self.latest_runs(record, suite.head_sha) if run.suite_id == suite.id]

    def app_id_of(self, run: CheckRun) -> int:
        """Return the id of the App that wrote the run."""
        return self._core.app_of(run.app_id).id

    def show_run(self, record: Repository, run: CheckRun) -> dict[str, Any]:
        """Return the check run as the API and webhook payloads show it."""
        api = f"{api_of(self._core, record)}/check-runs/{run.id}"
        html = f"{html_of(self._core, record)}/runs/{run.id}"
        return {
            "id": run.id,
            "name": run.name,
            "node_id": node_id("CheckRun", run.id),
            "head_sha": run.head_sha,
            "external_id": run.external_id,
            "url": api,
            "html_url": html,
            "details_url": run.details_url or self._core.url,
            "status": run.status,
            "conclusion": run.conclusion,
            "started_at": run.started_at,
            "completed_at": run.completed_at,
            "output": {
                "title": run.output.get("title"),
                "summary": run.output.get("summary"),
                "text": run.output.get("text"),
                "annotations_count": len(run.annotations),
                "annotations_url": f"{api}/annotations",
            },
            "check_suite": {"id": run.suite_id},
            "app": integration(self._core, run.app_id),
            "pull_requests": [],
        }

    async def echo_run(
        self, record: Repository, run: CheckRun, *, created: bool, completed: bool, suite: CheckSuite | None = None
    ) -> None:
        """Send `check_run` created and/or completed, and `check_suite` completed when this run was the last one.

        `suite`: the run's, if it is not its App's suite of the commit. Of other Apps the App hears as of itself.
        """
        suite = suite or self.suite(record, run.head_sha, app_id=run.app_id)[0]
        finished = self._settle(record, suite)
        if run.app_id is None and not self._core.echo_events:
            return
        shown_suite = await self.show_suite(record, suite)
        shown = self.show_run(record, run) | {"check_suite": shown_suite}
        bot = self._core.app_of(run.app_id).bot
        for action in ["created"] * created + ["completed"] * completed:
            self._events.of_repository("check_run", action, record, bot, {"check_run": shown})
        if finished:
            self._events.of_repository("check_suite", "completed", record, bot, {"check_suite": shown_suite})

    async def press(self, record: Repository, run: CheckRun, sender: Account, identifier: str | None) -> None:
        """Send what a person's click sends: `rerequested`, or `requested_action` of one of the run's buttons."""
        suite, _ = self.suite(record, run.head_sha)
        if identifier is None:
            self._reset(suite)
        extra: dict[str, Any] = {
            "check_run": self.show_run(record, run) | {"check_suite": await self.show_suite(record, suite)}
        }
        if identifier is not None:
            extra["requested_action"] = {"identifier": identifier}
        action = "rerequested" if identifier is None else "requested_action"
        self._events.of_repository("check_run", action, record, sender, extra)

    async def rerequest_suite(self, record: Repository, sha: str, sender: Account) -> None:
        """Send what "Re-run all checks" sends to this App."""
        suite, _ = self.suite(record, sha)
        self._reset(suite)
        shown = await self.show_suite(record, suite)
        self._events.of_repository("check_suite", "rerequested", record, sender, {"check_suite": shown})

    def _reset(self, suite: CheckSuite) -> None:
        """Queue the suite: its runs stay as they are, and it is complete with the next one (REST docs, "Rerequest")."""
        suite.status, suite.conclusion, suite.updated_at = "queued", None, self._core.now()

    # ------------------------------------------------------------------------------------------------ statuses

    def show_status(self, record: Repository, status: Status) -> dict[str, Any]:
        """Return the status as the API shows it."""
        return {
            "url": f"{api_of(self._core, record)}/statuses/{status.sha}",
            "avatar_url": f"{self._core.url}/avatars/in/{self._core.app.id}?v=4",
            "id": status.id,
            "node_id": node_id("StatusContext", status.id),
            "state": status.state,
            "description": status.description,
            "target_url": status.target_url,
            "context": status.context,
            "created_at": when(status.created_at),
            "updated_at": when(status.created_at),
        }

    async def echo_status(self, record: Repository, status: Status, shown_commit: dict[str, Any]) -> None:
        """Send the `status` event."""
        if not self._core.echo_events:
            return
        refs = await self._core.git.refs(record.path, "refs/heads/")
        api = api_of(self._core, record)
        branches = [
            {
                "name": ref.removeprefix("refs/heads/"),
                "commit": {"sha": sha, "url": f"{api}/commits/{sha}"},
                "protected": False,
            }
            for ref, sha in refs.items()
            if sha == status.sha
        ]
        extra = {
            "id": status.id,
            "sha": status.sha,
            "name": record.full_name,
            "avatar_url": f"{self._core.url}/avatars/in/{self._core.app.id}?v=4",
            "target_url": status.target_url,
            "context": status.context,
            "description": status.description,
            "state": status.state,
            "commit": shown_commit,
            "branches": branches[:10],  # GitHub docs, webhook events and payloads, status: at most ten
            "created_at": status.created_at.isoformat(),
            "updated_at": status.created_at.isoformat(),
        }
        self._events.of_repository("status", None, record, status.creator, extra)

    def creator(self, status: Status) -> dict[str, Any]:
        """Return who wrote the status."""
        return user(self._core, status.creator)


def simple_commit(commit: Commit) -> dict[str, Any]:
    """Return the commit as suites and workflow runs show it."""

    def person(signature: Signature) -> dict[str, str]:
        return {"name": signature.name, "email": signature.email}

    return {
        "id": commit.sha,
        "tree_id": commit.tree,
        "message": commit.message,
        "timestamp": commit.committer.at.isoformat(),
        "author": person(commit.author),
        "committer": person(commit.committer),
    }

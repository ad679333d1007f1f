"""Operations on check runs, check suites and commit statuses."""

from __future__ import annotations

from typing import Any

from . import checkrules
from .checks import CheckBook
from .core import Core
from .errors import ApiError, invalid_request, no_commit, not_found
from .fields import paged
from .gitstore import SHA
from .present import api_of, minimal_repository, user, when
from .rest import Call, Operation, Reply
from .rest_commits import CommitOperations
from .rest_repos import archived
from .state import Account, CheckRun, Repository, Status


class CheckOperations:
    """Handlers of `/check-runs`, `/check-suites`, `/statuses` and their lists under `/commits/{ref}`."""

    def __init__(self, core: Core, checks: CheckBook, commits: CommitOperations) -> None:
        self._core = core
        self._checks = checks
        self._commits = commits

    def operations(self) -> list[Operation]:
        """Return the operations and what each needs."""
        one = "/repos/{owner}/{repo}"
        return [
            Operation("POST", f"{one}/check-runs", self.create_run, "checks:write"),
            Operation("GET", f"{one}/check-runs/{{check_run_id}}", self.get_run, "checks:read"),
            Operation("PATCH", f"{one}/check-runs/{{check_run_id}}", self.update_run, "checks:write"),
            Operation("POST", f"{one}/check-suites", self.create_suite, "checks:write"),
            Operation("GET", f"{one}/commits/{{ref}}/check-runs", self.list_runs, "checks:read"),
            Operation("GET", f"{one}/commits/{{ref}}/status", self.combined_status, "statuses:read"),
            Operation("GET", f"{one}/commits/{{ref}}/statuses", self.list_statuses, "statuses:read"),
            Operation("POST", f"{one}/statuses/{{sha}}", self.create_status, "statuses:write"),
        ]

    # ------------------------------------------------------------------------------------------------ check runs

    async def _known_head(self, record: Repository, sha: str) -> None:
        if record.archived:
            raise archived()
        if not SHA.fullmatch(sha) or await self._core.git.commit(record.path, sha) is None:
            raise no_commit(sha)

    async def create_run(self, call: Call) -> Reply:
        """POST a check run; a conclusion makes it completed."""
        record, body = call.repository, call.body
        checkrules.check_run_body(body, creating=True)
        sha = body["head_sha"]
        await self._known_head(record, sha)
        suite, _ = self._checks.suite(record, sha)
        number, now = next(self._core.state.run_ids), when(self._core.now())
        run = CheckRun(
            number, record.id, suite.id, body["name"], sha, "queued", None, now, None, born=self._core.stamp()
        )
        self._write(run, body)
        self._core.state.add_run(run)
        await self._checks.echo_run(record, run, created=True, completed=run.status == "completed")
        return Reply(
            self._checks.show_run(record, run), 201, {"Location": f"{api_of(self._core, record)}/check-runs/{run.id}"}
        )

    def _run(self, call: Call) -> CheckRun:
        run = self._core.state.check_runs.get(int(call.path["check_run_id"]))
        if run is None or run.repository_id != call.repository.id:
            raise not_found()
        return run

    async def get_run(self, call: Call) -> Reply:
        """GET one check run."""
        return Reply(self._checks.show_run(call.repository, self._run(call)))

    async def update_run(self, call: Call) -> Reply:
        """PATCH a check run of this App; annotations are appended, a completed run stays completed."""
        record, body, run = call.repository, call.body, self._run(call)
        if record.archived:
            raise archived()
        if run.app_id is not None:
            raise ApiError(403, f"Invalid app_id `{self._core.app.id}` - check run can only be modified by its App.")
        checkrules.check_run_body(body, creating=False)
        was = run.status
        if was == "completed" and body.get("status") in {"queued", "in_progress"} and body.get("conclusion") is None:
            raise invalid_request("A completed check run cannot be moved back: create a new one.")
        self._write(run, body)
        await self._checks.echo_run(record, run, created=False, completed=run.status == "completed" != was)
        return Reply(self._checks.show_run(record, run))

    def _write(self, run: CheckRun, body: dict[str, Any]) -> None:
        for name in ("name", "external_id", "details_url", "started_at", "completed_at", "status", "conclusion"):
            if body.get(name) is not None:
                setattr(run, name, body[name])
        if run.conclusion is not None:
            run.status = "completed"
            run.completed_at = run.completed_at or when(self._core.now())
        if body.get("actions") is not None:
            run.actions = body["actions"]
        output = body.get("output")
        if output is not None:
            run.output |= {name: output[name] for name in ("title", "summary", "text") if output.get(name) is not None}
            run.annotations += output.get("annotations") or []

    async def list_runs(self, call: Call) -> Reply:
        """GET the check runs of a commit: by name, status, App; the newest of each name, or all."""
        record = call.repository
        commit = await self._commits.resolve(record, call.path["ref"])
        query = call.query
        if query.get("filter", "latest") == "all":
            runs = sorted(self._core.state.runs_of(record, commit.sha), key=lambda run: -run.id)
        else:
            runs = self._checks.latest_runs(record, commit.sha)
        if "app_id" in query:
            runs = [run for run in runs if str(self._checks.app_id_of(run)) == query["app_id"]]
        for field in ("check_name", "status"):
            if field in query:
                runs = [run for run in runs if getattr(run, field.removeprefix("check_")) == query[field]]
        page, headers = paged(call, runs)
        shown = [self._checks.show_run(record, run) for run in page]
        return Reply({"total_count": len(runs), "check_runs": shown}, headers=headers)

    async def create_suite(self, call: Call) -> Reply:
        """POST a check suite: 201, or 200 with the suite that the commit already has."""
        record, sha = call.repository, call.body.get("head_sha")
        if not isinstance(sha, str):
            raise invalid_request('"head_sha" wasn\'t supplied.')
        await self._known_head(record, sha)
        suite, new = self._checks.suite(record, sha)
        return Reply(await self._checks.full_suite(record, suite), 201 if new else 200)

    # ------------------------------------------------------------------------------------------------ statuses

    async def create_status(self, call: Call) -> Reply:
        """POST a status; 1000 per commit and context."""
        record, sha, body = call.repository, call.path["sha"], call.body
        await self._known_head(record, sha)
        checkrules.status_body(body)
        context = body.get("context") or "default"
        earlier = self._core.state.statuses_of(record, sha)
        if sum(status.context == context for status in earlier) >= checkrules.STATUSES_MAX:
            raise checkrules.too_many_statuses()
        status = Status(
            next(self._core.state.status_ids), record.id, sha, body["state"], context, body.get("description"),
            body.get("target_url"), self._author(call), self._core.now(), self._core.stamp(),
        )  # fmt: skip
        self._core.state.add_status(status)
        commit = self._commits.show(record, await self._commits.resolve(record, sha))
        await self._checks.echo_status(record, status, commit)
        location = f"{api_of(self._core, record)}/statuses/{sha}"
        return Reply(self._full(record, status), 201, {"Location": location})

    def _author(self, call: Call) -> Account:
        """Return who writes a status: a person by their own token, else the App."""
        person = call.actor.person
        account = None if person is None else self._core.state.account_by_id(person.account_id)
        return account or self._core.app.bot

    def _full(self, record: Repository, status: Status) -> dict[str, Any]:
        return self._checks.show_status(record, status) | {"creator": user(self._core, status.creator)}

    async def list_statuses(self, call: Call) -> Reply:
        """GET all statuses of a commit, newest first."""
        record = call.repository
        commit = await self._commits.resolve(record, call.path["ref"])
        page, headers = paged(call, self._core.state.statuses_of(record, commit.sha)[::-1])
        return Reply([self._full(record, status) for status in page], headers=headers)

    async def combined_status(self, call: Call) -> Reply:
        """GET the newest status of each context, and what they are together."""
        record = call.repository
        commit = await self._commits.resolve(record, call.path["ref"])
        newest = {status.context: status for status in self._core.state.statuses_of(record, commit.sha)}
        states = {status.state for status in newest.values()}
        failed = bool(states & {"error", "failure"})
        state = "failure" if failed else "pending" if "pending" in states or not states else "success"
        page, headers = paged(call, list(newest.values()))
        api = f"{api_of(self._core, record)}/commits/{commit.sha}"
        shown = {
            "state": state,
            "statuses": [self._checks.show_status(record, status) for status in page],
            "sha": commit.sha,
            "total_count": len(newest),
            "repository": minimal_repository(self._core, record),
            "commit_url": api,
            "url": f"{api}/status",
        }
        return Reply(shown, headers=headers)

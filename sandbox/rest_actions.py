"""Operations on workflow runs."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from .actions import ResultBook, WorkflowRun
from .fields import paged
from .rest import Call, Operation, Reply

# Filter of the list -> what it is compared with. GitHub docs, "List workflow runs for a repository".
_FILTERS: Mapping[str, Callable[[WorkflowRun], set[str | None]]] = {
    "branch": lambda run: {run.branch},
    "event": lambda run: {run.event},
    "head_sha": lambda run: {run.sha},
    "status": lambda run: {run.status, run.conclusion},
}


class ActionOperations:
    """Handlers of `/actions`."""

    def __init__(self, results: ResultBook) -> None:
        self._results = results

    def operations(self) -> list[Operation]:
        """Return the operations and what each needs."""
        return [Operation("GET", "/repos/{owner}/{repo}/actions/runs", self.list_runs, "actions:read")]

    async def list_runs(self, call: Call) -> Reply:
        """GET the repository's workflow runs, newest first: by branch, event, commit, and status or conclusion."""
        query = call.query

        def wanted(run: WorkflowRun) -> bool:
            return all(query[name] in values(run) for name, values in _FILTERS.items() if name in query)

        runs = [run for run in self._results.runs(call.repository) if wanted(run)]
        page, headers = paged(call, runs)
        shown = [await self._results.show(call.repository, run) for run in page]
        return Reply({"total_count": len(runs), "workflow_runs": shown}, headers=headers)

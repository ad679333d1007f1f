"""Which events of checks, workflows and statuses are worth storing: the few that matter, of very many.

One answer for both ways in, the receiver and GitHub's delivery log. With `checks: write` the events of checks come by
themselves, our own among them, and cannot be switched off (GitHub docs, "Using the REST API to interact with checks").
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Protocol

from bot.payloads import Envelope
from github.results import ACTIONS_SLUG
from storage.echoes import StatusSeen

RESULT_EVENTS = frozenset({"check_run", "check_suite", "workflow_run"})
#: Events of which only some are stored.
FILTERED_EVENTS = RESULT_EVENTS | {"status"}

FINISHED = "completed"  # the action of a result
PRESSED = "requested_action"  # a button of ours
RERUN = "rerequested"  # GitHub's own button
REQUESTED = "requested"  # of the check suite that GitHub opens for each pushed head

#: What people do to our own reports, by event and action.
ASKED = frozenset({("check_run", PRESSED), ("check_run", RERUN), ("check_suite", RERUN)})


class OwnReports(Protocol):
    """What has become of our own reports (storage.echoes)."""

    async def reported(self, repo_id: int) -> bool:
        """Whether the repository has to do with us: it is bound, or was told why it is not."""
        ...

    async def missed(self, repo_id: int, head_sha: str) -> bool:
        """Whether a head of a bound repository is one that no push told of."""
        ...

    async def contradicted(self, repo_id: int, status: StatusSeen) -> bool:
        """Whether a status under our name says something else than we did."""
        ...


@dataclass(frozen=True, slots=True)
class ResultFilter:
    """Tells the few events that may matter from the many that cannot.

    `app_id`: our own App, whose echoes are no news. `awaited`: whether a bound repository's lab may wait for results.
    `own`: None, where events about our own reports are not needed.
    """

    app_id: int
    awaited: Callable[[int], Awaitable[bool]]
    own: OwnReports | None = None

    async def wants(self, event: str, parts: Envelope) -> bool:
        """Whether a delivery of FILTERED_EVENTS is worth storing. Raises what the questions raise."""
        own, repo_id = self.own, parts.repo_id
        if repo_id is None:
            return False
        if event == "status":
            return own is not None and parts.status is not None and await own.contradicted(repo_id, parts.status)
        if parts.action != FINISHED:
            return own is not None and parts.app_id == self.app_id and await _asks(own, repo_id, event, parts)
        if parts.app_id == self.app_id or (event == "check_run" and parts.app_slug == ACTIONS_SLUG):
            return False  # a job of a workflow satisfies nothing; the end of its suite or workflow is told as well
        return await self.awaited(repo_id)

    async def may_want(self, event: str, action: str | None, repo_id: int | None) -> bool:
        """The same by what GitHub's log says of a delivery, before its body is fetched. On doubt True.

        Of heads and statuses the log says nothing: those are found by looking at them.
        """
        if repo_id is None:
            return False
        if (event, action) in ASKED:
            return self.own is not None and await self.own.reported(repo_id)
        return action == FINISHED and event in RESULT_EVENTS and await self.awaited(repo_id)


async def _asks(own: OwnReports, repo_id: int, event: str, parts: Envelope) -> bool:
    """Whether somebody asks for a report of ours, or GitHub for one on a head that we have not heard of."""
    if (event, parts.action) in ASKED:
        return await own.reported(repo_id)
    if (event, parts.action) == ("check_suite", REQUESTED) and parts.head_sha is not None:
        return await own.missed(repo_id, parts.head_sha)
    return False

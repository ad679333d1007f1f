"""Which results of checks and workflows are worth storing: the few that a step may wait for, of very many.

One answer for both ways in, the receiver and GitHub's delivery log.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from bot.payloads import Envelope
from github.results import ACTIONS_SLUG

# With `checks: write` those of checks come by themselves, our own among them, and cannot be switched off (GitHub docs,
# "Using the REST API to interact with checks").
RESULT_EVENTS = frozenset({"check_run", "check_suite", "workflow_run"})

FINISHED = "completed"  # the action of a result


@dataclass(frozen=True, slots=True)
class ResultFilter:
    """Tells the few results that may matter from the many that cannot.

    `app_id`: our own App, whose echoes are no news. `awaited`: whether a bound repository's lab may wait for results.
    """

    app_id: int
    awaited: Callable[[int], Awaitable[bool]]

    async def wants(self, event: str, parts: Envelope) -> bool:
        """Whether a delivery of RESULT_EVENTS is worth storing. Raises what `awaited` raises."""
        if parts.action != FINISHED or parts.repo_id is None:
            return False
        if parts.app_id == self.app_id or (event == "check_run" and parts.app_slug == ACTIONS_SLUG):
            return False  # a job of a workflow satisfies nothing; the end of its suite or workflow is told as well
        return await self.awaited(parts.repo_id)

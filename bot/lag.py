"""GitHub's API may show an older state than a delivery tells of: for some seconds after a push its replicas do not know
the commit, or show the branch at its old head (palantir/policy-bot issue 47: an old head was approved).

What could be such an old state is not believed while a delivery is young: it is asked again soon.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from datetime import datetime, timedelta

from bot.gather import Head
from bot.services import Services
from github.client import InstallationClient
from github.errors import Transient
from rules.model import ZERO_SHA, Push
from storage.ledger import visits
from storage.progress import JudgingState, judging_state

# So long after its arrival a delivery may be ahead of the API (binding.md section 8).
REPLICATION = timedelta(seconds=10)
# Until then the API is asked this often (seconds).
ASK_EVERY = 1.0


class NotYetError(Transient):
    """The API may not show yet what a delivery tells of. It is asked again soon; that is no failed attempt.

    `inbox_ids`: all that wait for it together.
    """

    inbox_ids: tuple[int, ...] = ()


def is_young(received_at: datetime | None, state: JudgingState) -> bool:
    """Whether a delivery, by the database's clock, may be ahead of the API. None: of our own making, long ago."""
    return received_at is not None and state.read_at - received_at < REPLICATION


def pause() -> float:
    """Seconds until the API is asked again."""
    return ASK_EVERY * (0.5 + random.random())  # noqa: S311 (spreads replicas, no secret)


async def distrust(
    services: Services,
    client: InstallationClient,
    state: JudgingState,
    pushes: Sequence[Push],
    *,
    push: Push,
    head: Head | None,
) -> None:
    """Raise NotYetError if what the branch's ref says, in a moment when it may be old, is or may be an older head.

    `push`: the newest of the `pushes` that wait.
    """
    if head is None:
        raise NotYetError(f"branch {push.branch} is not visible (yet)")
    if push.after == ZERO_SHA:
        doubtful = await _was_left_by_now(services, state, head.sha)
    elif head.sha == push.after or await _is_past(services, pushes, push, state):
        doubtful = False
    elif head.sha == push.before:
        doubtful = True
    else:
        comparison = await client.compare(push.repo.full_name, push.after, head.sha)
        doubtful = comparison is None or comparison.status != "ahead"
    if doubtful:
        raise NotYetError(f"branch {push.branch} is shown at {head.sha}, which may be an older head")


async def _is_past(services: Services, pushes: Sequence[Push], push: Push, state: JudgingState) -> bool:
    """Whether the branch has left the head that this push led to: as many pushes led away from it as to it.

    (After A -> B -> A the push to B is past, and the second one to A is not, in whatever order they arrive.)
    """
    came, left = await visits(services.pool, state.session.session_id, push.ref, push.after)
    came += sum(other.after == push.after for other in pushes)
    left += sum(other.before == push.after for other in pushes)
    return left >= came


async def _was_left_by_now(services: Services, state: JudgingState, sha: str) -> bool:
    """Whether the branch was at this head before the newest one that we know."""
    if state.branch_head_seen in (None, sha):
        return False
    now = await judging_state(services.pool, state.session.session_id, heads=[sha])
    return now is not None and sha in now.known_heads

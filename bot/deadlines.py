"""What a deadline does to pushes: each counts by when it came, however late it is judged, or was found.

A push that came in time and is judged after the deadline is judged at its own head: the branch may be at a later one by
then, which came too late. Such a push waited for its turn, or for us to take it from GitHub's delivery log.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import replace
from datetime import datetime

from bot.gather import Head
from bot.lookup import Found, is_overdue
from bot.services import Services
from rules.binding import Rejected
from rules.chain import Newest
from rules.model import BindingCode, Push, Session, SessionStatus
from rules.session import SessionEvent, next_status
from storage import sessions
from storage.errors import SessionConflict, StaleSession
from storage.progress import JudgingState


def deadline_of(found: Found) -> datetime | None:
    """The deadline of the session that a push belongs to, if there is one."""
    session = found.state.session if found.state is not None else found.decision.session
    return session.expires_at if session is not None else None


def is_closed(found: Found) -> bool:
    """Whether a push is refused because the session's deadline has passed."""
    return isinstance(found.decision, Rejected) and found.decision.code is BindingCode.SESSION_EXPIRED


def too_late(found: Found) -> Found:
    """The same, refused if the deadline has passed: the session is open only for what came in time and still waits."""
    if found.state is None or not is_overdue(found.state) or isinstance(found.decision, Rejected):
        return found
    closed = replace(found.state.session, status=SessionStatus.EXPIRED, deferred_by=None)
    return Found(Rejected(BindingCode.SESSION_EXPIRED, session=closed), lab=found.lab)


async def reopen(services: Services, found: Found) -> bool:
    """Let a session that its deadline has closed go on for a push that came in time; it is closed again after that.

    False: that cannot be, because the learner has begun another session of the lab since.
    """
    session = found.decision.session
    assert session is not None  # noqa: S101 (it is what was closed)
    try:
        await _go_on(services, session)
    except SessionConflict:
        return False
    return True


async def _go_on(services: Services, session: Session) -> None:
    after = next_status(session.status, SessionEvent.TIMELY_PUSH, session.deferred_by)
    with suppress(StaleSession):  # somebody else changed it: it is looked at again
        await sessions.change_status(
            services.pool, session.session_id, session.epoch, after.status, reason="a push that came in time was found"
        )


def newest_in_time(chained: Newest, pushes: Sequence[Push], times: Sequence[datetime]) -> Newest:
    """The newest of the pushes: by the chain if that is certain, else the one that came last. The ref tells nothing."""
    if chained.certain:
        return chained
    return Newest(pushes[max(range(len(pushes)), key=lambda at: times[at])], certain=False)


def head_in_time(newest: Newest, state: JudgingState) -> Head:
    """The head to judge: the push's own, or the lab's branch's newest one that we know, if that overtook it."""
    push, known = newest.push, state.branch_head_seen
    overtaken = not newest.certain and push.after in state.known_heads and push.branch == state.version.lab.branch
    return Head(known if overtaken and known is not None else push.after)

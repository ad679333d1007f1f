"""What staff may do to a session now, and in words why not. Pure functions."""

from __future__ import annotations

from collections.abc import Mapping

from rules.model import Session, SessionStatus
from rules.session import IllegalTransition, SessionEvent, Standing, next_status

_COMPLETE = "The session is complete. Reopen it first."
_NOT_BOUND = "No repository is connected."

_WHY_NOT: Mapping[str, str] = {
    "defer": "Only a session that is in progress or stuck can be paused.",
    "resume": "Only a session that is stuck, or that staff paused, can be resumed.",
    "reopen": "Only a complete session can be reopened.",
    "extend": _COMPLETE,
}
_EVENTS: Mapping[str, SessionEvent] = {
    "defer": SessionEvent.STAFF_DEFERRED,
    "resume": SessionEvent.STAFF_RESUMED,
    "reopen": SessionEvent.STAFF_REOPENED,
    "extend": SessionEvent.STAFF_EXTENDED,
}


def refusals(session: Session, *, bound: bool) -> Mapping[str, str]:
    """Why each action that cannot be done now cannot; what can be done is not named."""
    found = {action: _WHY_NOT[action] for action, event in _EVENTS.items() if not _possible(session, action, event)}
    if session.status is SessionStatus.VERIFIED_PASS:
        found |= {"approve": _COMPLETE, "complete": _COMPLETE, "unlock": _COMPLETE, "accept": _COMPLETE}
    if not session.status.is_open:
        found["judge"] = "Only an open session is judged."
    if not bound:
        found["unbind"] = _NOT_BOUND
        found["judge"] = _NOT_BOUND
    return found


def _possible(session: Session, action: str, event: SessionEvent) -> bool:
    standing = Standing(session.status, session.deferred_by)
    try:
        after = next_status(session.status, event, session.deferred_by)
    except IllegalTransition:
        return False
    return action == "extend" or after != standing

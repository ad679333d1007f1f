"""The status machine of a session (binding.md section 5), as one pure function.

IN_PROGRESS <-> STUCK            blocked heads in a row, or a call for help; an accepted push or staff ends it
open -> VERIFIED_PASS            all required steps are done; staff may reopen
open -> DEFERRED                 by staff or by the installation (uninstalled, suspended, deselected, repository gone);
                                 only its own cause ends it; what staff opens while the repository cannot be
                                 reached is deferred by the installation in the same transaction (the database)
open, DEFERRED -> EXPIRED        the deadline; staff may extend, and a push that came in time is judged

Open are IN_PROGRESS and STUCK. The database has the same pairs in a trigger; a test compares them with `allowed`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum, unique
from typing import Literal

from rules.model import SessionStatus, Verdict

DeferredBy = Literal["staff", "installation"]


@unique
class SessionEvent(StrEnum):
    """What can happen to a session. Wake-ups (installation, deadline) may come to any session, often twice."""

    ACCEPTED = "accepted"  # a push was accepted, and steps remain
    BLOCKED = "blocked"  # a push was blocked
    ALL_DONE = "all_done"  # a judged head has every required step done
    HELP_REQUESTED = "help_requested"
    HELP_WITHDRAWN = "help_withdrawn"  # by the learner whose call for help had made the session stuck
    STAFF_REOPENED = "staff_reopened"
    STAFF_DEFERRED = "staff_deferred"
    STAFF_RESUMED = "staff_resumed"
    STAFF_EXTENDED = "staff_extended"
    INSTALLATION_GONE = "installation_gone"
    INSTALLATION_BACK = "installation_back"
    DEADLINE_PASSED = "deadline_passed"
    TIMELY_PUSH = "timely_push"  # a push from before the deadline was found after it


@dataclass(frozen=True, slots=True)
class Standing:
    """A session's status, and who deferred it (set exactly when the status is DEFERRED)."""

    status: SessionStatus
    deferred_by: DeferredBy | None = None


class IllegalTransition(ValueError):  # noqa: N818 - named as the thing that was asked for
    """Nobody may do this to a session of that status. The caller's fault: it decided from an old status, or should
    not have offered this to staff."""

    def __init__(self, standing: Standing, event: SessionEvent) -> None:
        by = f" (by {standing.deferred_by})" if standing.deferred_by else ""
        super().__init__(f"a session that is {standing.status}{by} cannot take the event {event}")
        self.standing = standing
        self.event = event


_IN_PROGRESS = Standing(SessionStatus.IN_PROGRESS)
_STUCK = Standing(SessionStatus.STUCK)
_PASSED = Standing(SessionStatus.VERIFIED_PASS)
_DEFERRED_BY_STAFF = Standing(SessionStatus.DEFERRED, "staff")
_DEFERRED_BY_INSTALLATION = Standing(SessionStatus.DEFERRED, "installation")
_EXPIRED = Standing(SessionStatus.EXPIRED)

#: Every standing that a session can have.
STANDINGS = (_IN_PROGRESS, _STUCK, _PASSED, _DEFERRED_BY_STAFF, _DEFERRED_BY_INSTALLATION, _EXPIRED)

# What each event makes of which standing. A standing that an event does not name cannot take it.
_MACHINE: Mapping[SessionEvent, Mapping[Standing, Standing]] = {
    SessionEvent.ACCEPTED: {_IN_PROGRESS: _IN_PROGRESS, _STUCK: _IN_PROGRESS},
    SessionEvent.BLOCKED: {_IN_PROGRESS: _IN_PROGRESS, _STUCK: _STUCK},  # and STUCK after so many: `next_status`
    SessionEvent.ALL_DONE: {_IN_PROGRESS: _PASSED, _STUCK: _PASSED},
    SessionEvent.HELP_REQUESTED: {_IN_PROGRESS: _STUCK, _STUCK: _STUCK},
    SessionEvent.HELP_WITHDRAWN: {_IN_PROGRESS: _IN_PROGRESS, _STUCK: _IN_PROGRESS},
    SessionEvent.STAFF_REOPENED: {_PASSED: _IN_PROGRESS},
    # Staff's word is the stronger one: a session that staff deferred stays so when the learner installs the App again.
    SessionEvent.STAFF_DEFERRED: {
        _IN_PROGRESS: _DEFERRED_BY_STAFF,
        _STUCK: _DEFERRED_BY_STAFF,
        _DEFERRED_BY_INSTALLATION: _DEFERRED_BY_STAFF,
        _DEFERRED_BY_STAFF: _DEFERRED_BY_STAFF,
    },
    SessionEvent.STAFF_RESUMED: {_STUCK: _IN_PROGRESS, _DEFERRED_BY_STAFF: _IN_PROGRESS},
    SessionEvent.STAFF_EXTENDED: {  # what is not expired keeps its standing: only the date moves
        _IN_PROGRESS: _IN_PROGRESS,
        _STUCK: _STUCK,
        _DEFERRED_BY_STAFF: _DEFERRED_BY_STAFF,
        _DEFERRED_BY_INSTALLATION: _DEFERRED_BY_INSTALLATION,
        _EXPIRED: _IN_PROGRESS,
    },
    SessionEvent.INSTALLATION_GONE: {standing: standing for standing in STANDINGS}
    | {_IN_PROGRESS: _DEFERRED_BY_INSTALLATION, _STUCK: _DEFERRED_BY_INSTALLATION},
    SessionEvent.INSTALLATION_BACK: {standing: standing for standing in STANDINGS}
    | {_DEFERRED_BY_INSTALLATION: _IN_PROGRESS},
    # The deadline runs on while the installation is away, and waits while staff defers.
    SessionEvent.DEADLINE_PASSED: {standing: standing for standing in STANDINGS}
    | {_IN_PROGRESS: _EXPIRED, _STUCK: _EXPIRED, _DEFERRED_BY_INSTALLATION: _EXPIRED},
    # It is judged, and the deadline, which has passed, closes the session again.
    SessionEvent.TIMELY_PUSH: {standing: standing for standing in STANDINGS} | {_EXPIRED: _IN_PROGRESS},
}


def event_of(verdict: Verdict) -> SessionEvent:
    """What a judged head of the lab's branch is to its session. Work that is held back does not undo a finished lab."""
    if verdict.complete:
        return SessionEvent.ALL_DONE
    return SessionEvent.BLOCKED if verdict.blocked else SessionEvent.ACCEPTED


def next_status(
    status: SessionStatus,
    event: SessionEvent,
    deferred_by: DeferredBy | None = None,
    *,
    blocked_heads: int = 0,
    stuck_after: int = 3,
) -> Standing:
    """The status after an event, and who defers it. Equal to the given one when the event changes nothing.

    `blocked_heads`: for BLOCKED, the distinct blocked heads since the last accepted one, this one included; from
    `stuck_after` on (setting STUCK_AFTER) the session is stuck. Raises IllegalTransition for what cannot be.
    """
    standing = Standing(status, deferred_by)
    after = _MACHINE[event].get(standing)
    if after is None:
        raise IllegalTransition(standing, event)
    if event is SessionEvent.BLOCKED and blocked_heads >= stuck_after:
        return _STUCK
    return after


_ALLOWED = frozenset(
    (old.status, new.status)
    for table in _MACHINE.values()
    for old, new in table.items()
    if old.status is not new.status
)


def allowed(old: SessionStatus, new: SessionStatus) -> bool:
    """Whether a session may change from one status to another. Keeping a status is no change: False."""
    return (old, new) in _ALLOWED

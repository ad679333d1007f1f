"""Events of a session's audit as its page tells them. Pure functions."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from storage.audit import RecordedEvent

Detail = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class EventLine:
    """A line of the timeline that is no push. `kind` is a word for programs; `who` empty: the App by itself.

    `undo`: the event's id, if it can be undone now.
    """

    at: datetime
    kind: str
    words: str
    who: str
    reason: str
    undo: int | None


def event_line(
    recorded: RecordedEvent,
    numbers: Mapping[str, str],
    logins: Mapping[int, str],
    *,
    for_staff: bool,
    undoable: bool,
) -> EventLine:
    """An event in words. Learners are told that staff decided and why, not who of them."""
    event = recorded.event
    said = _WORDS.get(event.kind)
    names = _Names(numbers, event.repo_full_name or _ERASED)
    words = said(event.detail, names) if said else event.kind.replace("_", " ")
    by_staff = event.kind.startswith("staff_")
    reason = str(event.detail.get("reason", ""))
    return EventLine(
        at=recorded.at,
        kind=event.kind,
        words=words,
        who=_who(event.actor_id, logins, by_staff=by_staff, for_staff=for_staff),
        reason=reason,
        undo=recorded.event_id if undoable else None,
    )


def _who(actor_id: int | None, logins: Mapping[int, str], *, by_staff: bool, for_staff: bool) -> str:
    if by_staff and not for_staff:
        return "staff"
    if actor_id is None:
        return "the operator at the machine" if by_staff else ""
    return logins.get(actor_id, f"account {actor_id}")


# What is said for the name of a repository whose owner was erased.
_ERASED = "(name erased)"


@dataclass(frozen=True, slots=True)
class _Names:
    """What ids of an event mean. `repository`: the one that the event is about."""

    numbers: Mapping[str, str]
    repository: str

    def step(self, detail: Detail) -> str:
        """The step by number and title."""
        name = str(detail.get("step_id", ""))
        return self.numbers.get(name, name)


def _date(text: object) -> str:
    return datetime.fromisoformat(str(text)).astimezone(UTC).strftime("%Y-%m-%d %H:%M UTC")


def _unlocked(detail: Detail, names: _Names) -> str:
    until = f" until {_date(detail['until'])}" if detail.get("until") else ""
    return f"Unlocked {names.step(detail)}{until}"


def _extended(detail: Detail, _names: _Names) -> str:
    deadline = detail.get("deadline")
    words = f"Set the deadline to {_date(deadline)}" if deadline else "Took the deadline away"
    before = detail.get("deadline_before")
    return f"{words} (before: {_date(before)})" if before else words


def _relinked(detail: Detail, names: _Names) -> str:
    before = detail.get("repo_before")
    return f"Connected {names.repository}" + (f" instead of {before}" if before else "")


_KINDS = {
    "approve": "the approval of",
    "complete": "that this step is complete:",
    "reopen": "that this step is open again:",
    "unlock": "the unlocking of",
    "accept_head": "the acceptance of a commit",
}


def _revoked(detail: Detail, names: _Names) -> str:
    return f"Took back {_KINDS.get(str(detail.get('kind')), 'a decision on')} {names.step(detail)}".rstrip()


def _status(detail: Detail, _names: _Names) -> str:
    return f"State changed from {detail.get('from')} to {detail.get('to')}"


_WORDS: Mapping[str, Callable[[Detail, _Names], str]] = {
    "bound": lambda _, names: f"Repository {names.repository} was connected",
    "unbound": lambda _, names: f"Repository {names.repository} is gone and was disconnected",
    "reinstalled": lambda *_: "The App was installed again",
    "status_changed": _status,
    "help_requested": lambda *_: "Asked for help",
    "help_withdrawn": lambda *_: "Needs no help any more",
    "check_requested": lambda *_: "Asked for the newest commit to be checked again",
    "staff_approve": lambda detail, names: f"Approved {names.step(detail)}",
    "staff_complete": lambda detail, names: f"Marked as complete: {names.step(detail)}",
    "staff_reopen": lambda detail, names: f"Opened again: {names.step(detail)}",
    "staff_unlock": _unlocked,
    "staff_accept_head": lambda detail, _: f"Accepted commit {str(detail.get('head_sha', ''))[:7]} as it is",
    "staff_revoke": _revoked,
    "staff_defer": lambda *_: "Paused the session",
    "staff_resume": lambda *_: "Resumed the session",
    "staff_reopen_session": lambda *_: "Reopened the session",
    "staff_extend": _extended,
    "staff_relink": _relinked,
    "staff_unbind": lambda detail, _: f"Disconnected {detail.get('repo_before', 'the repository')}",
    "migrated": lambda detail, _: f"Moved from version {detail.get('from')} of the lab to version {detail.get('to')}",
    "migration_undone": lambda detail, _: f"Moved back to version {detail.get('to')} of the lab",
    "staff_judge": lambda *_: "Had the newest commit judged again",
    "status_forged": lambda *_: "A commit status under our name was overwritten",
    "button_refused": lambda *_: "A button on a check-run was pressed",
}

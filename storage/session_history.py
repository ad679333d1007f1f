"""What was decided about a session and by whom: its facts and its audit, for pages and commands. Read-only."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Literal

from rules.model import Session, SessionStatus
from storage.actions import FactKind
from storage.audit import RecordedEvent
from storage.database import Pool

#: Events that a session's page shows with one page of attempts.
SHOWN_EVENTS = 200


@dataclass(frozen=True, slots=True)
class StaffFact:
    """A decision of staff that verdicts lean on. `revoked_at` None: it counts (until `until`, if that is set).

    `by_account` None: the operator's shell.
    """

    fact_id: int
    kind: FactKind
    step_id: str | None
    head_sha: str | None
    until: datetime | None
    by_account: int | None
    reason: str
    created_at: datetime
    revoked_at: datetime | None

    @classmethod
    def from_row(cls, row: Any) -> StaffFact:
        """From a row of table `staff_fact`."""
        return cls(**{name: row[name] for name in cls.__slots__})


@dataclass(frozen=True, slots=True)
class History:
    """Facts (the newest first, revoked ones too), events (the newest first), and logins by account id.

    `undoable`: ids of the events that can be taken back now (see `undoable`).
    """

    facts: tuple[StaffFact, ...] = ()
    events: tuple[RecordedEvent, ...] = ()
    logins: Mapping[int, str] = field(default_factory=dict)
    undoable: frozenset[int] = frozenset()


# Rejections are told by day and with their number elsewhere, verdicts with their attempts.
_EVENTS = """
SELECT event.*, 1 AS count, event.at AS last_at FROM audit_event AS event
WHERE session_id = $1 AND kind NOT IN ('rejected', 'ignored', 'judged')
  AND ($2::timestamptz IS NULL OR at >= $2) AND ($3::timestamptz IS NULL OR at < $3)
ORDER BY event_id DESC LIMIT $4
"""


async def history(
    pool: Pool, session: Session, *, since: datetime | None = None, until: datetime | None = None
) -> History:
    """All facts of a session, and its events from `since` to before `until`.

    What can be undone is told from the newest events only, which are in hand when `until` is None.
    """
    facts = await pool.fetch("SELECT * FROM staff_fact WHERE session_id = $1 ORDER BY fact_id DESC", session.session_id)
    rows = await pool.fetch(_EVENTS, session.session_id, since, until, SHOWN_EVENTS)
    events = tuple(RecordedEvent.from_row(row) for row in rows)
    told = tuple(StaffFact.from_row(row) for row in facts)
    people = {each.event.actor_id for each in events} | {fact.by_account for fact in told}
    accounts = await pool.fetch(
        "SELECT account_id, login FROM github_account WHERE account_id = ANY ($1::bigint[])",
        [person for person in people if person is not None],
    )
    logins = {row["account_id"]: row["login"] for row in accounts}
    in_force = frozenset(fact.fact_id for fact in told if fact.revoked_at is None)
    return History(told, events, logins, undoable(session, events, in_force) if until is None else frozenset())


Group = Literal["fact", "status", "deadline", "repository"]

_GROUPS: Mapping[str, Group] = {
    "staff_approve": "fact",
    "staff_complete": "fact",
    "staff_reopen": "fact",
    "staff_unlock": "fact",
    "staff_accept_head": "fact",
    "staff_defer": "status",
    "staff_resume": "status",
    "staff_reopen_session": "status",
    "status_changed": "status",
    "staff_extend": "deadline",
    "staff_relink": "repository",
    "staff_unbind": "repository",
    "bound": "repository",
    "unbound": "repository",
}


def group_of(kind: str) -> Group | None:
    """What an event of this kind changes; None: nothing that could be undone."""
    return _GROUPS.get(kind)


def undoable(session: Session, events: Sequence[RecordedEvent], facts_in_force: frozenset[int]) -> frozenset[int]:
    """Which of the session's newest events staff can take back now.

    A fact as long as it counts. Of status, deadline and repository the newest change only, if it was staff's and
    nothing else has changed since.
    """
    found: set[int] = set()
    seen: set[Group] = set()
    for recorded in events:
        group = group_of(recorded.event.kind)
        if group is None or group in seen:
            continue
        if group == "fact":
            if recorded.event.detail.get("fact_id") in facts_in_force:
                found.add(recorded.event_id)
            continue
        seen.add(group)
        if _is_last_word(session, recorded):
            found.add(recorded.event_id)
    return frozenset(found)


def _is_last_word(session: Session, recorded: RecordedEvent) -> bool:
    """Whether the newest change of its group is one of staff that still stands as they made it."""
    detail = recorded.event.detail
    match recorded.event.kind:
        case "staff_defer":
            return session.status is SessionStatus.DEFERRED and session.deferred_by == "staff"
        case "staff_resume":
            return detail.get("from") == SessionStatus.DEFERRED and session.status.is_open
        case "staff_reopen_session":
            return session.status.is_open
        case "staff_extend":
            return session.status is not SessionStatus.VERIFIED_PASS
        case "staff_relink" | "staff_unbind":
            return detail.get("mapping_before") is not None
        case _:
            return False

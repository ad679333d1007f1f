"""Which version of a lab its sessions have, their moves to another one, and the last look at a lab's template.

A session keeps the version that it began with until staff moves it. A move is one guarded statement, recorded so that
it can be taken back as if it had not been.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Any, Literal
from uuid import UUID

from rules.migration import renames
from rules.model import LabVersion, Problem, Session, SessionStatus
from rules.session import SessionEvent
from storage.actions import Decision, standing_after
from storage.audit import AuditEvent
from storage.database import Pool, storable
from storage.errors import StaleSession, domain_errors
from storage.labs import version_from_row
from storage.progress import JudgingState

# --------------------------------------------------------------------------------------------------------- templates

LookOutcome = Literal["published", "unchanged", "older", "broken", "unreadable"]

#: Problems kept of one look: the check run tells all.
KEPT_PROBLEMS = 100


@dataclass(frozen=True, slots=True)
class TemplateLook:
    """What the last look at a template's branch found. `detail`: of what is unreadable, a sentence for the operator.

    `looked_at` None: now.
    """

    outcome: LookOutcome
    branch: str | None = None
    head_sha: str | None = None
    problems: tuple[Problem, ...] = ()
    detail: str = ""
    looked_at: datetime | None = None


async def save_look(pool: Pool, lab_id: int, look: TemplateLook) -> None:
    """Keep what this look found, instead of the one before."""
    await pool.execute(
        "INSERT INTO template_look (lab_id, outcome, branch, head_sha, problems, detail) "
        "VALUES ($1, $2, $3, $4, $5, $6) ON CONFLICT (lab_id) DO UPDATE SET outcome = excluded.outcome, "
        "branch = excluded.branch, head_sha = excluded.head_sha, problems = excluded.problems, "
        "detail = excluded.detail, looked_at = now()",
        lab_id,
        look.outcome,
        look.branch,
        look.head_sha,
        [asdict(problem) for problem in look.problems[:KEPT_PROBLEMS]],
        storable(look.detail),
    )


async def last_look(pool: Pool, lab_id: int) -> TemplateLook | None:
    """What the last look at the lab's template found; None: nobody has looked yet."""
    row = await pool.fetchrow("SELECT * FROM template_look WHERE lab_id = $1", lab_id)
    if row is None:
        return None
    return TemplateLook(
        outcome=row["outcome"],
        branch=row["branch"],
        head_sha=row["head_sha"],
        problems=tuple(Problem(**problem) for problem in row["problems"]),
        detail=row["detail"],
        looked_at=row["looked_at"],
    )


# ---------------------------------------------------------------------------------------------------------- sessions

LIVE = (SessionStatus.IN_PROGRESS, SessionStatus.STUCK, SessionStatus.DEFERRED)


async def by_number(pool: Pool, lab_id: int, number: int) -> LabVersion | None:
    """A lab's version by its number; None: it has none of that number."""
    row = await pool.fetchrow("SELECT * FROM lab_version WHERE lab_id = $1 AND number = $2", lab_id, number)
    return version_from_row(row) if row is not None else None


async def live_sessions(pool: Pool, lab_id: int) -> Mapping[int, int]:
    """How many live sessions each version of the lab has, by its number, the oldest version first."""
    rows = await pool.fetch(
        "SELECT number, count(*) AS sessions FROM lab_session JOIN lab_version USING (lab_version_id) "
        "WHERE lab_session.lab_id = $1 AND status = ANY ($2) GROUP BY number ORDER BY number",
        lab_id,
        [status.value for status in LIVE],
    )
    return {row["number"]: row["sessions"] for row in rows}


@dataclass(frozen=True, slots=True)
class LiveSession:
    """A live session with its learner's login, and the number of its version."""

    session_id: UUID
    learner: str
    number: int


async def to_migrate(pool: Pool, lab_id: int, target: LabVersion, only: Sequence[UUID] = ()) -> tuple[LiveSession, ...]:
    """The lab's live sessions that have another version than `target`, in a stable order; `only`: those of them."""
    rows = await pool.fetch(
        "SELECT s.session_id, login AS learner, number FROM lab_session AS s "
        "JOIN lab_version USING (lab_version_id) JOIN github_account ON account_id = learner_account_id "
        "WHERE s.lab_id = $1 AND lab_version_id <> $2 AND status = ANY ($3) "
        "AND (cardinality($4::uuid[]) = 0 OR s.session_id = ANY ($4)) ORDER BY number, lower(login), s.session_id",
        lab_id,
        target.lab_version_id,
        [status.value for status in LIVE],
        list(only),
    )
    return tuple(LiveSession(**dict(row)) for row in rows)


async def new_run(pool: Pool) -> int:
    """The number of a new run of moves, by which it can be taken back."""
    return int(await pool.fetchval("SELECT nextval('session_migration_run')"))


async def migrate(pool: Pool, state: JudgingState, target: LabVersion, run_id: int, decision: Decision) -> bool:
    """Move a session to another version of its lab; whether its head is judged again now.

    Its progress stays. `state` is the session as it was when the move was decided: StaleSession, with nothing written,
    when it was bound anew, pushed to or moved since.
    """
    detail = {"run_id": run_id, "from": state.version.number, "to": target.number, "reason": storable(decision.reason)}
    given = {
        **_as_seen(state),
        "run_id": run_id,
        "to_version_id": target.lab_version_id,
        "event": AuditEvent("migrated", actor_id=decision.by, detail=detail).to_json(),
        "wake": "staff" if state.session.status.is_open else None,
    }
    return await _moved(pool, "SELECT * FROM migrate_session($1)", given, state.session)


def _as_seen(state: JudgingState) -> dict[str, Any]:
    session = state.session
    return {
        "session_id": session.session_id,
        "epoch": session.epoch,
        "from_version_id": session.lab_version_id,
        "accepted_sha": session.accepted_sha,
        "head_sha": session.head_sha,
        "done": sorted(state.progress.done),
    }


async def _moved(pool: Pool, statement: str, given: Mapping[str, Any], session: Session) -> bool:
    with domain_errors():
        row = await pool.fetchrow(statement, given)
    if row is None or row["event_id"] is None:
        raise StaleSession(f"session {session.session_id} changed since it was looked at: look again")
    return bool(row["woken"])


@dataclass(frozen=True, slots=True)
class Moved:
    """A session's move that was not taken back."""

    session_id: UUID
    learner: str
    from_version_id: int
    to_version_id: int


async def moves_of(pool: Pool, run_id: int, only: Sequence[UUID] = ()) -> tuple[Moved, ...]:
    """The moves of a run that were not taken back yet."""
    rows = await pool.fetch(
        "SELECT m.session_id, login AS learner, from_version_id, to_version_id FROM session_migration AS m "
        "JOIN lab_session USING (session_id) JOIN github_account ON account_id = learner_account_id "
        "WHERE run_id = $1 AND undone_at IS NULL AND (cardinality($2::uuid[]) = 0 OR m.session_id = ANY ($2)) "
        "ORDER BY lower(login), m.session_id",
        run_id,
        list(only),
    )
    return tuple(Moved(**dict(row)) for row in rows)


async def undo(pool: Pool, state: JudgingState, back_to: LabVersion, run_id: int, decision: Decision) -> bool:
    """Take a session's move back, with all that was reached since: what holds by the old rules is earned again when the
    head is judged. Whether that is now. A session that has become complete is open again.

    StaleSession when something else was decided or pushed meanwhile, or when the run's move is not the session's newest
    one; SessionConflict when the learner has begun the lab anew.
    """
    session = state.session
    standing = (
        standing_after(session, SessionEvent.STAFF_REOPENED) if session.status is SessionStatus.VERIFIED_PASS else {}
    )
    is_open = session.status.is_open or bool(standing)
    detail = {"run_id": run_id, "from": state.version.number, "to": back_to.number, "reason": storable(decision.reason)}
    given = {
        **_as_seen(state),
        **standing,
        "run_id": run_id,
        "renames": dict(renames(back_to.lab, state.version.lab)),
        "event": AuditEvent("migration_undone", actor_id=decision.by, detail=detail).to_json(),
        "wake": "staff" if is_open else None,
    }
    return await _moved(pool, "SELECT * FROM undo_session_migration($1)", given, session)

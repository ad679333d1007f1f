"""What pages and commands show of a session. Read-only."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime
from typing import Any, Literal
from uuid import UUID

from rules.model import Account, Gain, Loss, Outcome, Session, SessionStatus, Step, Violation
from storage import labs
from storage.accounts import account_from_row
from storage.database import Pool
from storage.forms import gain_from_json, loss_from_json, violation_from_json
from storage.sessions import session_from_row

#: Attempts, and days of rejections, that a session's page shows.
SHOWN_ATTEMPTS = 50
SHOWN_NOTICES = 20


@dataclass(frozen=True, slots=True)
class StepView:
    """A step with its progress. `state`: None when nothing was ever reached; `missing`: steps to finish before it."""

    step: Step
    state: Literal["completed", "reopened"] | None
    missing: tuple[str, ...]
    completed_at: datetime | None = None
    reopened_at: datetime | None = None
    commit_sha: str | None = None
    evidence: Mapping[str, Any] | None = None


@dataclass(frozen=True, slots=True)
class AttemptView:
    """A row of the ledger. `violations`: the first of all; `reason` and `detail`: why nothing could be verified;
    `waiting`: step id -> what it lacked besides (phrases such as "approval by staff").
    """

    attempt_id: int
    created_at: datetime
    trigger: str
    ref: str
    before_sha: str | None
    after_sha: str
    forced: bool
    sender_id: int | None
    version_number: int
    accepted_before: str | None
    verdict: Outcome
    violations: tuple[Violation, ...]
    violations_total: int
    gains: tuple[Gain, ...]
    losses: tuple[Loss, ...]
    reason: str | None
    detail: str | None
    check_run_id: int | None
    delivery_id: UUID | None = None
    waiting: Mapping[str, tuple[str, ...]] = field(default_factory=dict)

    @classmethod
    def from_row(cls, row: Any) -> AttemptView:
        """From a row of the query in `session_view`."""
        detail = row["detail"]
        return cls(
            attempt_id=row["attempt_id"],
            created_at=row["created_at"],
            trigger=row["trigger"],
            ref=row["ref"],
            before_sha=row["before_sha"],
            after_sha=row["after_sha"],
            forced=row["forced"],
            sender_id=row["sender_id"],
            version_number=row["version_number"],
            accepted_before=row["accepted_before"],
            verdict=Outcome(row["verdict"]),
            violations=tuple(violation_from_json(item) for item in row["violations"]),
            violations_total=row["violations_total"],
            gains=tuple(gain_from_json(item) for item in detail.get("gains", ())),
            losses=tuple(loss_from_json(item) for item in detail.get("losses", ())),
            reason=detail.get("reason"),
            detail=detail.get("detail"),
            check_run_id=row["check_run_id"],
            delivery_id=row["delivery_id"],
            waiting={name: tuple(phrases) for name, phrases in detail.get("waiting", {}).items()},
        )


@dataclass(frozen=True, slots=True)
class Notice:
    """Deliveries of one day that were not judged, for one reason (tags, deleted branches, a closed session)."""

    code: str
    day: date
    count: int
    last_at: datetime
    ref: str | None


@dataclass(frozen=True, slots=True)
class SessionView:
    """All that a session's page shows; `attempts` and `notices`: the newest first.

    `older`: there are attempts before those. `newest`: the newest judged head of the lab's branch, wherever in the
    ledger it is. `blocked_in_row`: distinct blocked heads since the last accepted one. `help_at`: since when the
    learner asks for help, in `help_words`. `bound`: a repository is connected now (else `repo_full_name` is the last).
    `private`: whoever is not signed in may see nothing (also when we do not know).
    """

    session: Session
    lab_slug: str
    lab_title: str
    version_number: int
    learner: Account
    repo_full_name: str | None
    last_activity_at: datetime
    completed_at: datetime | None
    steps: tuple[StepView, ...]
    attempts: tuple[AttemptView, ...]
    notices: tuple[Notice, ...]
    older: bool = False
    newest: AttemptView | None = None
    blocked_in_row: int = 0
    help_at: datetime | None = None
    help_words: str | None = None
    bound: bool = True
    private: bool = True


_SESSION = """
SELECT s.*, lab.slug, lab.title, v.number, account.account_id, account.login, account.kind,
    (SELECT repo_full_name FROM repo_mapping WHERE session_id = s.session_id
     ORDER BY state = 'active' DESC, mapping_id DESC LIMIT 1) AS repo_full_name,
    NOT EXISTS (SELECT FROM repo_mapping WHERE session_id = s.session_id AND state = 'active' AND NOT private)
        AS private,
    EXISTS (SELECT FROM repo_mapping WHERE session_id = s.session_id AND state = 'active') AS bound,
    (SELECT count(DISTINCT after_sha) FROM push_attempt WHERE session_id = s.session_id AND verdict = 'blocked'
     AND attempt_id > (SELECT coalesce(max(attempt_id), 0) FROM push_attempt
        WHERE session_id = s.session_id AND verdict = 'accepted')) AS blocked_in_row
FROM lab_session AS s JOIN lab USING (lab_id) JOIN lab_version AS v USING (lab_version_id)
JOIN github_account AS account ON account.account_id = s.learner_account_id
WHERE s.session_id = $1
"""

_PROGRESS = """
SELECT step_id, state, completed_at, reopened_at, commit_sha, evidence FROM step_progress WHERE session_id = $1
"""

_ATTEMPTS = """
SELECT a.*, v.number AS version_number, report.check_run_id
FROM (SELECT * FROM push_attempt WHERE session_id = $1 AND ($3::bigint IS NULL OR attempt_id < $3)
      ORDER BY attempt_id DESC LIMIT $2) AS a
JOIN lab_version AS v USING (lab_version_id)
LEFT JOIN LATERAL (
    SELECT outbox.check_run_id FROM repo_mapping AS m JOIN outbox ON outbox.repo_id = m.provider_repo_id
    WHERE m.session_id = $1 AND outbox.head_sha = a.after_sha AND outbox.session_id = $1
      AND outbox.check_run_id IS NOT NULL
    LIMIT 1) AS report ON true
ORDER BY a.attempt_id DESC
"""

_NEWEST = """
SELECT a.*, v.number AS version_number, NULL::bigint AS check_run_id
FROM push_attempt AS a JOIN lab_version AS v USING (lab_version_id)
WHERE session_id = $1 AND verdict IN ('accepted', 'blocked', 'cannot_verify') ORDER BY attempt_id DESC LIMIT 1
"""

_NOTICES = """
SELECT counted.code, counted.day, counted.count, counted.last_at, event.ref
FROM audit_event AS event JOIN rejection_count AS counted USING (event_id)
WHERE event.session_id = $1 AND event.kind IN ('rejected', 'ignored') ORDER BY event.event_id DESC LIMIT $2
"""


async def session_view(pool: Pool, session_id: UUID, *, before: int | None = None) -> SessionView | None:
    """The session as its page shows it, read at one moment; None: no such session.

    `before`: an attempt's id; then the attempts before it are told, else the newest.
    """
    async with pool.acquire() as connection, connection.transaction(isolation="repeatable_read", readonly=True):
        row = await connection.fetchrow(_SESSION, session_id)
        if row is None:
            return None
        progress = await connection.fetch(_PROGRESS, session_id)
        attempts = await connection.fetch(_ATTEMPTS, session_id, SHOWN_ATTEMPTS + 1, before)
        newest = await connection.fetchrow(_NEWEST, session_id)
        notices = await connection.fetch(_NOTICES, session_id, SHOWN_NOTICES)
    version = await labs.version(pool, row["lab_version_id"])
    return SessionView(
        session=session_from_row(row),
        lab_slug=row["slug"],
        lab_title=row["title"],
        version_number=row["number"],
        learner=account_from_row(row),
        repo_full_name=row["repo_full_name"],
        last_activity_at=row["last_activity_at"],
        completed_at=row["completed_at"],
        steps=step_views(version.lab.steps, {item["step_id"]: item for item in progress}),
        attempts=tuple(AttemptView.from_row(item) for item in attempts[:SHOWN_ATTEMPTS]),
        notices=tuple(Notice(**item) for item in notices),
        older=len(attempts) > SHOWN_ATTEMPTS,
        newest=AttemptView.from_row(newest) if newest is not None else None,
        blocked_in_row=row["blocked_in_row"],
        help_at=row["help_at"],
        help_words=row["help_words"],
        bound=row["bound"],
        private=row["private"],
    )


def step_views(steps: Sequence[Step], progress: Mapping[str, Any]) -> tuple[StepView, ...]:
    """Steps in the lab's order, each with its row of progress (by step id, which may be an old one)."""

    def row_of(step: Step) -> Any:
        rows = [progress[name] for name in (step.id, *step.aliases) if name in progress]
        return next((row for row in rows if row["state"] == "completed"), rows[0] if rows else None)

    rows = {step.id: row_of(step) for step in steps}
    done = {name for name, row in rows.items() if row is not None and row["state"] == "completed"}
    views = []
    for step in steps:
        row, missing = rows[step.id], tuple(name for name in step.needs if name not in done)
        if row is None:
            views.append(StepView(step, None, missing))
        else:
            kept = ("state", "completed_at", "reopened_at", "commit_sha", "evidence")
            views.append(StepView(step, missing=missing, **{name: row[name] for name in kept}))
    return tuple(views)


@dataclass(frozen=True, slots=True)
class SessionSummary:
    """A session in a list. `steps_done` of `steps_total` (optional ones included)."""

    session_id: UUID
    lab_slug: str
    learner_login: str
    status: SessionStatus
    repo_full_name: str | None
    steps_done: int
    steps_total: int
    started_at: datetime
    last_activity_at: datetime
    help_at: datetime | None

    @classmethod
    def from_row(cls, row: Any) -> SessionSummary:
        """From a row of the query in `list_sessions`."""
        values = {name: row[name] for name in cls.__slots__}
        return cls(**(values | {"status": SessionStatus(row["status"])}))


_SESSIONS = """
SELECT s.session_id, lab.slug AS lab_slug, account.login AS learner_login, s.status, m.repo_full_name,
    s.started_at, s.last_activity_at, s.help_at, jsonb_array_length(v.definition->'steps') AS steps_total,
    (SELECT count(*) FROM jsonb_array_elements(v.definition->'steps') AS step WHERE EXISTS (
        SELECT FROM step_progress AS p WHERE p.session_id = s.session_id AND p.state = 'completed'
        AND (p.step_id = step->>'id' OR step->'aliases' ? p.step_id))) AS steps_done
FROM lab_session AS s JOIN lab USING (lab_id) JOIN lab_version AS v USING (lab_version_id)
JOIN github_account AS account ON account.account_id = s.learner_account_id
LEFT JOIN repo_mapping AS m ON m.session_id = s.session_id AND m.state = 'active'
WHERE ($1::text IS NULL OR lab.slug = $1) AND ($2::text IS NULL OR s.status = $2)
ORDER BY s.last_activity_at DESC, s.session_id LIMIT $3
"""


async def list_sessions(
    pool: Pool, *, lab_slug: str | None = None, status: SessionStatus | None = None, limit: int = 100
) -> tuple[SessionSummary, ...]:
    """Sessions, those with the latest activity first."""
    rows = await pool.fetch(_SESSIONS, lab_slug, status.value if status is not None else None, limit)
    return tuple(SessionSummary.from_row(row) for row in rows)

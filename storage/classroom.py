"""The class at a glance: every session and every invitation that waits, filtered, sorted and paged. Read-only.

One query reads a page. Its inner part decides which rows these are, from narrow tables only: sessions, their standing
(migration 0013 keeps there what would have to be computed for each session otherwise), names, invitations. Its outer
part fetches what is costly (the newest judgement, the title of the step) for the rows of the page alone. Measured on
two busy cores: 0.1 s for a lab of 2,500 sessions among 100,000; 0.5 s for all 100,000 in the costliest order; 1 ms for
one learner's own.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum, unique
from typing import Any
from uuid import UUID

from rules.model import Outcome, SessionStatus
from storage.database import Pool, storable

#: Rows of a page, and the most that an export holds.
PAGE_ROWS = 50
EXPORT_ROWS = 20_000


@unique
class Group(StrEnum):
    """What a row is to staff. A row belongs to one of these."""

    HELP = "help"  # the learner asked for help
    STUCK = "stuck"  # blocked several times in a row
    APPROVAL = "approval"  # waits for staff
    WAITING = "waiting"  # waits for a workflow or a check
    PROGRESS = "progress"
    NOT_STARTED = "not-started"  # invited, without a session
    PAUSED = "paused"
    OVER = "over"  # the deadline has passed
    FINISHED = "finished"


#: Groups of which a class's staff have to look first.
NEEDS = (Group.HELP, Group.STUCK, Group.APPROVAL)


@unique
class Order(StrEnum):
    """What rows are sorted by."""

    NEEDS = "needs"  # who needs staff, in the order of Group, then most blocked in a row, then idle longest
    PUSHED = "pushed"
    LEARNER = "learner"
    LAB = "lab"
    PROGRESS = "progress"
    BLOCKED = "blocked"


@dataclass(frozen=True, slots=True)
class Query:
    """What is asked for. `lab`: a slug, "" for all. `groups`: empty for all. `idle_hours`: only unfinished rows whose
    last push (or start, or invitation) is so long ago; 0 for all. `search`: part of a login or of a repository's name.
    `page` counts from 1. `account_id`: one person's own rows."""

    lab: str = ""
    groups: tuple[Group, ...] = ()
    idle_hours: int = 0
    search: str = ""
    order: Order = Order.NEEDS
    descending: bool = False
    page: int = 1
    account_id: int | None = None


@dataclass(frozen=True, slots=True)
class ClassRow:
    """A session, or (session_id, status None) an invitation that waits.

    `steps_done` of `steps_total` required ones; `step_title`: the first one to do. `waiting_for`: phrases such as
    "approval by staff". `codes`: of what blocked the newest judgement; `reason`: why nothing could be verified.
    `blocked_in_row`: distinct blocked heads since the last accepted one. `since`: the last push, else the start of the
    session or the invitation.
    """

    session_id: UUID | None
    lab_slug: str
    lab_title: str
    login: str
    account_id: int | None
    group: Group
    status: SessionStatus | None
    deferred_by: str | None
    help_at: datetime | None
    help_words: str | None
    steps_done: int
    steps_total: int
    step_title: str | None
    waiting_for: tuple[str, ...]
    pushed_at: datetime | None
    since: datetime
    verdict: Outcome | None
    codes: tuple[str, ...]
    reason: str | None
    blocked_in_row: int
    expires_at: datetime | None
    repo_full_name: str | None

    @classmethod
    def from_row(cls, row: Any) -> ClassRow:
        """From a row of the query in `class_page`."""
        values = {name: row[name] for name in cls.__slots__ if name != "group"}
        return cls(
            **values
            | {
                "group": Group(row["standing"]),
                "status": SessionStatus(row["status"]) if row["status"] else None,
                "verdict": Outcome(row["verdict"]) if row["verdict"] else None,
                "codes": tuple(row["codes"] or ()),
                "waiting_for": tuple(row["waiting_for"] or ()),
            }
        )


@dataclass(frozen=True, slots=True)
class ClassPage:
    """Rows of a page, and how many there are in all."""

    rows: tuple[ClassRow, ...]
    total: int


# Whose turn it is, in one word, and the same words in the order of their urgency (as Group lists them).
_STANDING = """CASE
    WHEN s.status IN ('IN_PROGRESS', 'STUCK') AND s.help_at IS NOT NULL THEN 'help'
    WHEN s.status = 'STUCK' THEN 'stuck'
    WHEN s.status = 'IN_PROGRESS' AND t.waits_for_staff THEN 'approval'
    WHEN s.status = 'IN_PROGRESS' AND t.waits THEN 'waiting'
    WHEN s.status = 'IN_PROGRESS' THEN 'progress'
    WHEN s.status = 'DEFERRED' THEN 'paused'
    WHEN s.status = 'EXPIRED' THEN 'over'
    ELSE 'finished' END"""

# An invitation waits while its account has no session of the lab, whether or not that session came by the invitation.
_MEMBERS = """
SELECT s.session_id, s.lab_id, s.lab_version_id, s.learner_account_id AS account_id, account.login, s.status,
    s.deferred_by, s.help_at, s.help_words, {standing} AS standing, t.steps_done, t.steps_total, t.current_step,
    t.pushed_at, coalesce(t.pushed_at, s.started_at) AS since, t.attempt_id, t.blocked_in_row, s.expires_at,
    m.repo_full_name
FROM lab_session AS s JOIN session_standing AS t USING (session_id)
JOIN github_account AS account ON account.account_id = s.learner_account_id
LEFT JOIN repo_mapping AS m ON m.session_id = s.session_id AND m.state = 'active'
WHERE {sessions}
UNION ALL
SELECT NULL, i.lab_id, NULL, i.account_id, coalesce(account.login, i.login, ''), NULL,
    NULL, NULL, NULL, 'not-started', 0, 0, NULL, NULL, i.invited_at, NULL, 0, NULL,
    (SELECT r.repo_full_name FROM installation_repository AS r WHERE r.repo_id = i.repo_id LIMIT 1)
FROM invitation AS i LEFT JOIN github_account AS account USING (account_id)
WHERE i.session_id IS NULL AND {invitations}
  AND NOT EXISTS (SELECT FROM lab_session AS s WHERE s.lab_id = i.lab_id AND s.learner_account_id = i.account_id)
"""


class _Statement:
    """A statement put together of fixed parts, with the values that they name. A condition that was not asked for is
    left out, so that the one plan of the statement can use the indexes that the others have."""

    def __init__(self) -> None:
        self.values: list[object] = []

    def value(self, value: object) -> str:
        """The name of a value."""
        self.values.append(value)
        return f"${len(self.values)}"

    def members(self, *, lab: str, account_id: int | None) -> str:
        """Sessions and invitations of a lab, of a person, or all."""
        sessions, invitations = ["true"], ["true"]
        if lab:
            of_lab = f"lab_id = (SELECT lab_id FROM lab WHERE slug = {self.value(lab)})"  # noqa: S608 (the name of a value)
            sessions.append(f"s.{of_lab}")
            invitations.append(f"i.{of_lab}")
        if account_id is not None:
            person = self.value(account_id)
            sessions.append(f"s.learner_account_id = {person}")
            invitations.append(f"i.account_id = {person}")
        return _MEMBERS.format(
            standing=_STANDING, sessions=" AND ".join(sessions), invitations=" AND ".join(invitations)
        )

    def chosen(self, query: Query) -> str:
        """The rows that a query asks for."""
        members = self.members(lab=query.lab, account_id=query.account_id)
        conditions = ["true"]
        if query.groups:
            conditions.append(f"member.standing = ANY ({self.value([group.value for group in query.groups])}::text[])")
        if query.idle_hours:
            long_ago = f"now() - make_interval(hours => {self.value(query.idle_hours)})"
            conditions.append(f"member.since < {long_ago} AND member.standing NOT IN ('finished', 'over')")
        if query.search:
            # A plain part of a name, no wildcards: nobody can ask for something slow.
            part = self.value(storable(query.search.strip().lower()))
            conditions.append(
                f"(strpos(lower(member.login), {part}) > 0 OR strpos(lower(member.repo_full_name), {part}) > 0)"
            )
        return (
            "SELECT member.*, lab.slug AS lab_slug, lab.title AS lab_title, count(*) OVER () AS total "  # noqa: S608
            f"FROM ({members}) AS member JOIN lab USING (lab_id) WHERE {' AND '.join(conditions)}"
        )


_URGENCY = "array_position('{help,stuck,approval,waiting,progress,not-started,paused,over,finished}', standing)"
_LATEST_FIRST = "pushed_at DESC NULLS LAST, lower(login), session_id"
_SORTED: Mapping[tuple[Order, bool], str] = {
    (Order.NEEDS, False): f"{_URGENCY}, blocked_in_row DESC, since, lower(login), session_id",
    (Order.NEEDS, True): f"{_URGENCY} DESC, blocked_in_row, since DESC, lower(login), session_id",
    (Order.PUSHED, False): "pushed_at NULLS FIRST, lower(login), session_id",
    (Order.PUSHED, True): _LATEST_FIRST,
    (Order.LEARNER, False): "lower(login), lab_slug, session_id",
    (Order.LEARNER, True): "lower(login) DESC, lab_slug, session_id",
    (Order.LAB, False): "lab_slug, lower(login), session_id",
    (Order.LAB, True): "lab_slug DESC, lower(login), session_id",
    (Order.PROGRESS, False): f"steps_done::float / greatest(steps_total, 1), {_LATEST_FIRST}",
    (Order.PROGRESS, True): f"steps_done::float / greatest(steps_total, 1) DESC, {_LATEST_FIRST}",
    (Order.BLOCKED, False): f"blocked_in_row, {_LATEST_FIRST}",
    (Order.BLOCKED, True): f"blocked_in_row DESC, {_LATEST_FIRST}",
}

_PAGE = """
SELECT chosen.*, attempt.verdict, attempt.detail->>'reason' AS reason,
    (SELECT array_agg(DISTINCT violation->>'code') FROM jsonb_array_elements(attempt.violations) AS violation
     WHERE violation->>'level' = 'block') AS codes,
    (SELECT array_agg(DISTINCT phrase) FROM jsonb_path_query(attempt.detail, '$.waiting.*[*]') AS waiting (item),
        LATERAL (SELECT item #>> '{{}}' AS phrase) AS said
     WHERE chosen.standing IN ('help', 'stuck', 'approval', 'waiting')) AS waiting_for,
    (SELECT step->>'title' FROM lab_version AS v, jsonb_array_elements(v.definition->'steps') AS step
     WHERE v.lab_version_id = chosen.lab_version_id AND step->>'id' = chosen.current_step LIMIT 1) AS step_title
FROM ({chosen} ORDER BY {order} LIMIT {rows} OFFSET {before}) AS chosen
LEFT JOIN push_attempt AS attempt ON attempt.attempt_id = chosen.attempt_id
ORDER BY {order}
"""


async def class_page(pool: Pool, query: Query, *, rows: int = PAGE_ROWS) -> ClassPage:
    """The rows of one page, `rows` of them. A page beyond the last has no rows and total 0."""
    order = _SORTED[query.order, query.descending]
    statement = _Statement()
    chosen = statement.chosen(query)
    first, before = statement.value(rows), statement.value((query.page - 1) * rows)
    text = _PAGE.format(chosen=chosen, order=order, rows=first, before=before)
    found = await pool.fetch(text, *statement.values)
    return ClassPage(tuple(ClassRow.from_row(row) for row in found), found[0]["total"] if found else 0)


async def class_counts(pool: Pool, lab: str = "") -> Mapping[Group, int]:
    """How many rows each group has, of one lab (a slug) or of all; groups without a row are 0."""
    statement = _Statement()
    members = statement.members(lab=lab, account_id=None)
    text = f"SELECT standing, count(*) AS count FROM ({members}) AS member GROUP BY standing"  # noqa: S608 (fixed parts)
    counted = await pool.fetch(text, *statement.values)
    numbers = {row["standing"]: row["count"] for row in counted}
    return {group: numbers.get(group.value, 0) for group in Group}


@dataclass(frozen=True, slots=True)
class FunnelStep:
    """A required step of a lab's newest version: how many stand at it now, and how many have it behind them."""

    number: int
    title: str
    here: int
    done: int


_FUNNEL = """
WITH newest AS (
    SELECT v.lab_version_id, v.definition FROM lab_version AS v JOIN lab USING (lab_id)
    WHERE lab.slug = $1 ORDER BY v.number DESC LIMIT 1
), step AS (
    SELECT step->>'id' AS id, step->>'title' AS title, step->'aliases' AS aliases, ordinal
    FROM newest, jsonb_array_elements(newest.definition->'steps') WITH ORDINALITY AS listed (step, ordinal)
    WHERE NOT coalesce((step->>'optional')::boolean, false)
), standing AS (
    SELECT t.current_step, count(*) AS here FROM lab_session AS s JOIN session_standing AS t USING (session_id)
    WHERE s.lab_id = (SELECT lab_id FROM lab WHERE slug = $1) AND s.status IN ('IN_PROGRESS', 'STUCK', 'DEFERRED')
    GROUP BY t.current_step
), completed AS (
    SELECT p.step_id, count(*) AS done FROM lab_session AS s JOIN step_progress AS p USING (session_id)
    WHERE s.lab_id = (SELECT lab_id FROM lab WHERE slug = $1) AND p.state = 'completed' GROUP BY p.step_id
)
SELECT step.ordinal AS number, step.title,
    coalesce((SELECT sum(standing.here) FROM standing
              WHERE current_step = step.id OR step.aliases ? current_step), 0)::integer AS here,
    coalesce((SELECT sum(completed.done) FROM completed
              WHERE step_id = step.id OR step.aliases ? step_id), 0)::integer AS done
FROM step ORDER BY step.ordinal
"""


async def funnel(pool: Pool, lab: str) -> tuple[FunnelStep, ...]:
    """How a lab's unfinished sessions stand over its required steps; empty for an unknown lab or one without rules.

    A session of an older version counts at the step of the same id, or whose alias its step is.
    """
    return tuple(FunnelStep(**row) for row in await pool.fetch(_FUNNEL, lab))


async def lab_names(pool: Pool) -> Mapping[str, str]:
    """Every lab's slug and title, by title."""
    rows = await pool.fetch("SELECT slug, title FROM lab ORDER BY lower(title), slug")
    return {row["slug"]: row["title"] for row in rows}


async def learner_of(pool: Pool, session_id: UUID) -> int | None:
    """The account whose session it is; None: no such session. It never changes."""
    found: int | None = await pool.fetchval(
        "SELECT learner_account_id FROM lab_session WHERE session_id = $1", session_id
    )
    return found

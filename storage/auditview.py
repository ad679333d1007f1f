"""What staff's page about the audit asks besides the events themselves. Read-only.

Counts, names, deliveries, and the sessions that a rejected repository may belong to.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from typing import Any
from uuid import UUID

from rules.model import Session
from storage.audit import RecordedEvent
from storage.database import Pool, storable
from storage.sessions import session_from_row

#: Sessions that are offered for a rejected repository.
MOST_CANDIDATES = 20
# Names of repositories that nobody covers stand in the audit alone, by no index: so far back they are looked for.
_LATEST_REJECTIONS = 10_000


# ---------------------------------------------------------------------------------------------------------- overview


@dataclass(frozen=True, slots=True)
class RejectionDay:
    """The rejections of one code on one day (UTC): how many deliveries, of how many repositories."""

    code: str
    day: date
    count: int
    repositories: int


# A rejection's count has the id of the first event of its day. Ids grow with time but for transactions that overlap
# (they last seconds): an event of two days before the first one asked for is before all of them.
_BY_DAY = """
SELECT code, day, sum(count)::bigint AS count, count(*) AS repositories FROM rejection_count
WHERE day >= $1 AND event_id >= coalesce(
    (SELECT event_id FROM audit_event WHERE at < $2 ORDER BY at DESC LIMIT 1), 0)
GROUP BY code, day ORDER BY code, day
"""


async def rejections_since(pool: Pool, day: date) -> tuple[RejectionDay, ...]:
    """What was rejected on this day (UTC) and since, by code and day; days without are left out."""
    before = datetime(day.year, day.month, day.day, tzinfo=UTC) - timedelta(days=1)
    return tuple(RejectionDay(**row) for row in await pool.fetch(_BY_DAY, day, before))


@dataclass(frozen=True, slots=True)
class Choices:
    """Kinds and codes that the audit has, in alphabetical order."""

    kinds: tuple[str, ...]
    codes: tuple[str, ...]


# From each value to the next one, by the index: as many steps as there are different values.
_DISTINCT = """
WITH RECURSIVE found (value) AS (
    (SELECT {column} FROM audit_event WHERE {column} IS NOT NULL ORDER BY {column} LIMIT 1)
    UNION ALL
    SELECT (SELECT {column} FROM audit_event WHERE {column} > found.value ORDER BY {column} LIMIT 1)
    FROM found WHERE found.value IS NOT NULL
) SELECT value FROM found WHERE value IS NOT NULL
"""
_CHOICES = (
    f"SELECT ARRAY({_DISTINCT.format(column='kind')}) AS kinds, ARRAY({_DISTINCT.format(column='code')}) AS codes"
)


async def choices(pool: Pool) -> Choices:
    """What there is to filter by."""
    row: Any = await pool.fetchrow(_CHOICES)
    return Choices(tuple(row["kinds"]), tuple(row["codes"]))


# ------------------------------------------------------------------------------------------------------------- names

_NAMED = """
SELECT repo_id FROM (
    SELECT provider_repo_id AS repo_id, state = 'active' AS active, last_seen_at AS seen FROM repo_mapping
    WHERE lower(repo_full_name) = lower($1)
    UNION ALL
    SELECT repo_id, true, seen_at FROM installation_repository WHERE lower(repo_full_name) = lower($1)
    UNION ALL
    SELECT repo_id, false, at FROM (SELECT repo_id, repo_full_name, at FROM audit_event WHERE kind = 'rejected'
                                    ORDER BY event_id DESC LIMIT $2) AS latest
    WHERE lower(repo_full_name) = lower($1)
) AS known WHERE repo_id IS NOT NULL GROUP BY repo_id ORDER BY bool_or(active) DESC, max(seen) DESC
"""


async def repositories_named(pool: Pool, full_name: str) -> tuple[int, ...]:
    """The ids of repositories that have or had this name (owner/name, in any case), who has it now first.

    A repository that no installation covers and that was never bound is found among the latest rejections only.
    """
    rows = await pool.fetch(_NAMED, storable(full_name), _LATEST_REJECTIONS)
    return tuple(row["repo_id"] for row in rows)


async def logins(pool: Pool, account_ids: Iterable[int | None]) -> Mapping[int, str]:
    """Logins by account id; of accounts that are not known there is none."""
    wanted = sorted({each for each in account_ids if each is not None})
    rows = await pool.fetch(
        "SELECT account_id, login FROM github_account WHERE account_id = ANY ($1::bigint[])", wanted
    )
    return {row["account_id"]: row["login"] for row in rows}


# --------------------------------------------------------------------------------------------------------- one event


@dataclass(frozen=True, slots=True)
class EventDelivery:
    """A delivery that an event tells of. `has_body`: what GitHub sent is still kept."""

    inbox_id: int
    guid: UUID
    event: str
    action: str | None
    received_at: datetime
    state: str
    outcome: str | None
    attempts: int
    last_error: str | None
    has_body: bool


_DELIVERIES = """
SELECT inbox_id, guid, event, action, received_at, state, outcome, attempts, last_error, payload IS NOT NULL AS has_body
FROM delivery WHERE guid IN ($1, (SELECT last_delivery_id FROM rejection_count WHERE event_id = $2)) ORDER BY inbox_id
"""


async def deliveries_of(pool: Pool, recorded: RecordedEvent) -> tuple[EventDelivery, ...]:
    """The delivery of an event, and of a rejection also the last one of its day; none when they are forgotten."""
    rows = await pool.fetch(_DELIVERIES, recorded.event.delivery_id, recorded.event_id)
    return tuple(EventDelivery(**row) for row in rows)


@dataclass(frozen=True, slots=True)
class Holder:
    """Whose a repository is now: its name as we know it, and the session that it is connected with (None: with none).

    `learner`, `lab_title`: of that session.
    """

    full_name: str
    session_id: UUID | None
    learner: str
    lab_title: str


_HOLDER = """
SELECT m.session_id, coalesce(account.login, '') AS learner, coalesce(lab.title, '') AS lab_title,
    coalesce((SELECT r.repo_full_name FROM installation_repository AS r WHERE r.repo_id = $1
              ORDER BY seen_at DESC LIMIT 1), m.repo_full_name, $2, '') AS full_name
FROM (SELECT) AS one LEFT JOIN repo_mapping AS m ON m.provider_repo_id = $1 AND m.state = 'active'
LEFT JOIN lab_session AS s ON s.session_id = m.session_id
LEFT JOIN github_account AS account ON account.account_id = s.learner_account_id
LEFT JOIN lab ON lab.lab_id = s.lab_id
"""


async def holder_of(pool: Pool, repo_id: int, full_name: str | None) -> Holder:
    """Where a repository stands now; `full_name`: what it was called when it was met, if nothing newer is known."""
    row: Any = await pool.fetchrow(_HOLDER, repo_id, storable(full_name) if full_name else None)
    return Holder(**row)


@dataclass(frozen=True, slots=True)
class Claim:
    """A session that a rejected repository may belong to. `repo_full_name`: its repository now, if it has one.

    Why it may: the rejection names it (`named`); its learner owns the repository (`owns`) or pushed to it (`pushed`);
    an invitation ties it to the repository (`invited`); it had the repository before (`had`).
    """

    session: Session
    lab_title: str
    lab_slug: str
    learner: str
    steps_done: int
    steps_total: int
    repo_id: int | None
    repo_full_name: str | None
    named: bool
    owns: bool
    pushed: bool
    invited: bool
    had: bool


_CLAIMS = """
WITH pusher AS (
    SELECT $5::bigint AS account_id
    UNION SELECT unnest(senders) FROM rejection_count WHERE event_id = $1
), found (session_id, named, owns, pushed, invited, had) AS (
    SELECT $3::uuid, true, false, false, false, false
    UNION ALL SELECT session_id, false, true, false, false, false FROM lab_session WHERE learner_account_id = $4
    UNION ALL SELECT session_id, false, false, true, false, false FROM lab_session
        WHERE learner_account_id IN (SELECT account_id FROM pusher)
    UNION ALL SELECT session_id, false, false, false, true, false FROM invitation WHERE repo_id = $2
    UNION ALL SELECT session_id, false, false, false, false, true FROM repo_mapping WHERE provider_repo_id = $2
), claim AS (
    SELECT session_id, bool_or(named) AS named, bool_or(owns) AS owns, bool_or(pushed) AS pushed,
        bool_or(invited) AS invited, bool_or(had) AS had FROM found GROUP BY session_id
)
SELECT s.*, lab.title AS lab_title, lab.slug AS lab_slug, account.login AS learner,
    coalesce(t.steps_done, 0) AS steps_done, coalesce(t.steps_total, 0) AS steps_total,
    m.provider_repo_id AS repo_id, m.repo_full_name, named, owns, pushed, invited, had
FROM claim JOIN lab_session AS s USING (session_id) JOIN lab USING (lab_id)
JOIN github_account AS account ON account.account_id = s.learner_account_id
LEFT JOIN session_standing AS t USING (session_id)
LEFT JOIN repo_mapping AS m ON m.session_id = s.session_id AND m.state = 'active'
WHERE $6::bigint IS NULL OR s.lab_id = $6 OR named
ORDER BY named DESC, s.status IN ('IN_PROGRESS', 'STUCK') DESC, s.started_at DESC, s.session_id LIMIT $7
"""


async def claims(pool: Pool, recorded: RecordedEvent) -> tuple[Claim, ...]:
    """The sessions that a rejected repository may belong to, those that the rejection names first.

    Of its lab only, where the rejection says which that is.
    """
    event = recorded.event
    lab_id = event.detail.get("lab_id")
    rows = await pool.fetch(
        _CLAIMS,
        recorded.event_id,
        event.repo_id,
        event.session_id,
        event.owner_id,
        event.sender_id,
        lab_id if isinstance(lab_id, int) else None,
        MOST_CANDIDATES,
    )
    named = [name for name in Claim.__slots__ if name != "session"]
    return tuple(Claim(session_from_row(row), **{name: row[name] for name in named}) for row in rows)

"""What was decided about bindings and sessions, and why. Rows are only ever added; ids, not names, of people."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from datetime import datetime
from typing import Any, Literal
from uuid import UUID

from storage.database import Pool


@dataclass(frozen=True, slots=True)
class AuditEvent:
    """One event to be recorded. `kind`: lower case with underscores, such as "rejected" or "status_changed"."""

    kind: str
    code: str | None = None
    actor_id: int | None = None
    installation_id: int | None = None
    repo_id: int | None = None
    repo_full_name: str | None = None
    owner_id: int | None = None
    expected_owner_id: int | None = None
    parent_id: int | None = None
    key_tried: str | None = None
    mapping_id: int | None = None
    session_id: UUID | None = None
    ref: str | None = None
    head_sha: str | None = None
    sender_id: int | None = None
    delivery_id: UUID | None = None
    binding_mode: Literal["shadow", "canonical"] = "canonical"
    detail: Mapping[str, Any] = field(default_factory=dict)

    def to_json(self) -> dict[str, Any]:
        """The event as the database's functions take it: the columns' names, without what is unknown."""
        return {name: value for name, value in asdict(self).items() if value is not None}


@dataclass(frozen=True, slots=True)
class RecordedEvent:
    """A recorded event. `count`: how often it happened that day, 1 for what is no rejection."""

    event_id: int
    at: datetime
    count: int
    last_at: datetime
    event: AuditEvent

    @classmethod
    def from_row(cls, row: Any) -> RecordedEvent:
        """From a row of the query in `list_events`."""
        event = AuditEvent(**{name: row[name] for name in AuditEvent.__slots__})
        return cls(row["event_id"], row["at"], row["count"], row["last_at"], event)


async def record(pool: Pool, *events: AuditEvent) -> None:
    """Add events, in this order. (Events of a decision are saved with it: see progress, sessions, mappings.)"""
    await pool.execute("SELECT write_audit($1)", [event.to_json() for event in events])


_LIST = """
SELECT audit_event.*, coalesce(counted.count, 1) AS count, coalesce(counted.last_at, at) AS last_at
FROM audit_event LEFT JOIN rejection_count AS counted USING (event_id)
WHERE ($1::text IS NULL OR audit_event.code = $1) AND ($2::bigint IS NULL OR audit_event.repo_id = $2)
  AND ($3::uuid IS NULL OR session_id = $3) AND ($4::timestamptz IS NULL OR at >= $4)
  AND ($5::bigint IS NULL OR audit_event.event_id < $5)
ORDER BY audit_event.event_id DESC LIMIT $6
"""


async def list_events(
    pool: Pool,
    *,
    code: str | None = None,
    repo_id: int | None = None,
    session_id: UUID | None = None,
    since: datetime | None = None,
    before: int | None = None,
    limit: int = 100,
) -> tuple[RecordedEvent, ...]:
    """Events that fit every given filter, the newest first; `before`: an event id to go on from."""
    rows = await pool.fetch(_LIST, code, repo_id, session_id, since, before, limit)
    return tuple(RecordedEvent.from_row(row) for row in rows)

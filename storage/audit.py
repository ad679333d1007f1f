"""What was decided about bindings and sessions, and why. Rows are only ever added; ids, not names, of people."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
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


async def count(pool: Pool, event: AuditEvent) -> int:
    """Count an event: the first of a repository, code and day (UTC) is added, the others only raise its count.

    Returns the number of the event that it is counted with.
    """
    if event.code is None or event.repo_id is None:
        raise ValueError("what is counted has a repository and a code")
    return int(await pool.fetchval("SELECT count_rejection($1)", event.to_json()))


@dataclass(frozen=True, slots=True)
class AuditFilter:
    """Which events are asked for: those that fit every given value. `since` <= at < `until`."""

    code: str | None = None
    kind: str | None = None
    repo_id: int | None = None
    session_id: UUID | None = None
    since: datetime | None = None
    until: datetime | None = None

    def conditions(self) -> tuple[list[str], list[Any]]:
        """SQL conditions on `event`, and their values as $1, $2 ...: only what is given, so that its index is used.

        Ids and times grow together but for transactions that overlap and a clock that is set back: a bound of time is
        one of ids as well, a day further out, so that no list walks over years to the day that is asked for.
        """
        values = {name: value for name, value in asdict(self).items() if value is not None}
        conditions = [_CONDITIONS[name].format(place=place) for place, name in enumerate(values, 1)]
        return conditions, list(values.values())


_CONDITIONS = {
    "code": "event.code = ${place}",
    "kind": "event.kind = ${place}",
    "repo_id": "event.repo_id = ${place}",
    "session_id": "event.session_id = ${place}",
    "since": "event.at >= ${place} AND event.event_id >= coalesce((SELECT event_id FROM audit_event "
    "WHERE at < ${place} - interval '1 day' ORDER BY at DESC LIMIT 1), 0)",
    "until": "event.at < ${place} AND event.event_id <= coalesce((SELECT event_id FROM audit_event "
    "WHERE at > ${place} + interval '1 day' ORDER BY at LIMIT 1), 9223372036854775807)",
}
EVERYTHING = AuditFilter()
#: Events that are read at a time: about 1 MB.
BATCH = 2_000


async def list_events(
    pool: Pool,
    *,
    code: str | None = None,
    kind: str | None = None,
    repo_id: int | None = None,
    session_id: UUID | None = None,
    since: datetime | None = None,
    until: datetime | None = None,
    before: int | None = None,
    limit: int = 100,
) -> tuple[RecordedEvent, ...]:
    """Events that fit every given filter, the newest first; `before`: an event id to go on from."""
    wanted = AuditFilter(code, kind, repo_id, session_id, since, until)
    return await _read(pool, wanted, limit, before=before, order="DESC")


async def stream(pool: Pool, wanted: AuditFilter = EVERYTHING, *, batch: int = BATCH) -> AsyncIterator[RecordedEvent]:
    """All events that fit, the oldest first, in flat memory however many they are.

    No transaction stays open while the caller works. What is recorded meanwhile may be among them.
    """
    after: int | None = None
    while True:
        events = await _read(pool, wanted, batch, after=after)
        for event in events:
            yield event
        if len(events) < batch:
            return
        after = events[-1].event_id


async def _read(
    pool: Pool,
    wanted: AuditFilter,
    limit: int,
    *,
    after: int | None = None,
    before: int | None = None,
    order: Literal["ASC", "DESC"] = "ASC",
) -> tuple[RecordedEvent, ...]:
    conditions, values = wanted.conditions()
    for side, event_id in ((">", after), ("<", before)):
        if event_id is not None:
            values.append(event_id)
            conditions.append(f"event.event_id {side} ${len(values)}")
    where = f"WHERE {' AND '.join(conditions)}" if conditions else ""
    values.append(limit)
    text = (
        "SELECT event.*, coalesce(counted.count, 1) AS count, coalesce(counted.last_at, event.at) AS last_at "  # noqa: S608 (names of ours)
        f"FROM (SELECT * FROM audit_event AS event {where} ORDER BY event_id {order} LIMIT ${len(values)}) AS event "
        f"LEFT JOIN rejection_count AS counted USING (event_id) ORDER BY event.event_id {order}"
    )
    async with pool.acquire() as connection, connection.transaction(readonly=True):
        # Planned for these values: a plan for any values takes a rare code for a frequent one, and reads all events.
        await connection.execute("SET LOCAL plan_cache_mode = force_custom_plan")
        rows = await connection.fetch(text, *values)
    return tuple(RecordedEvent.from_row(row) for row in rows)

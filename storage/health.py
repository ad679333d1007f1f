"""What `doctor` and /metrics ask of a database: its version and schema, what waits in it and what has stopped."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import asyncpg

from storage import migrate
from storage.database import Pool

OLDEST = 14  # PostgreSQL's major version that is needed at least
_TIMEOUT = 10.0  # seconds


@dataclass(frozen=True, slots=True)
class DatabaseFacts:
    """A database that answers. `version`: PostgreSQL's major version; `fit`: how its schema fits to this code."""

    version: int
    fit: migrate.Fit

    @property
    def readable(self) -> bool:
        """Whether this code understands the schema (also one of a newer release that is being rolled out)."""
        return self.version >= OLDEST and not (self.fit.missing or self.fit.edited or self.fit.too_old)


async def inspect(dsn: str) -> DatabaseFacts:
    """Look at a database without changing it. Raises what `storage.database.is_down` tells apart."""
    connection = await asyncpg.connect(
        dsn, timeout=_TIMEOUT, command_timeout=_TIMEOUT, server_settings={"application_name": "stepgate doctor"}
    )
    try:
        version = connection.get_server_version().major
        applied = await migrate.read_applied(connection)
    finally:
        await connection.close()
    return DatabaseFacts(version, migrate.compare(migrate.available(), applied))


# ------------------------------------------------------------------------------------------------- what /metrics shows


@dataclass(frozen=True, slots=True)
class Backlog:
    """What waits and what has stopped, as the database has it. Ages are in seconds; None: there is no such thing.

    `due`, `put_off`: deliveries that can be processed now, and that wait for a retry, with the age of the oldest.
    `dead_letters`: deliveries that were given up. `reports`: by state, "wanted" and "failed"; `overdue`: how long the
    longest due report waits. `sessions`: open ones by status. `unsealed`: age of the oldest audit event outside of the
    chain. `last_delivery`: age of the newest of the last deliveries that came from GitHub. `paused`: installations that
    GitHub silences now, by kind of limit; `slowed`: those whose writes are spaced out for it. `schedules`: how long ago
    each began last. `missing`: deliveries that GitHub's log has and the inbox has not, by state, "waiting" and
    "given_up"; `oldest_missing`: since when the oldest of those that wait is missing; `log_read`: how long ago the log
    was read.
    """

    due: int
    put_off: int
    oldest_due: float | None
    oldest_put_off: float | None
    dead_letters: int
    reports: Mapping[str, int]
    overdue: float | None
    sessions: Mapping[str, int]
    unsealed: float | None
    last_delivery: float | None
    paused: Mapping[str, int]
    slowed: int
    schedules: Mapping[str, float]
    missing: Mapping[str, int]
    oldest_missing: float | None
    log_read: float | None


# Each part reads what its partial index holds (what waits, what is open) or one row; none grows with the history. Own
# entries of the inbox ("stepgate.judge") are no news from GitHub: so many of the newest are looked through.
_BACKLOG = """
SELECT waiting.*, reports.*, missed.*,
    (SELECT extract(epoch FROM now() - read_at)::float8 FROM recovery_state) AS log_read,
    (SELECT count(*) FROM delivery WHERE state = 'dead') AS dead_letters,
    (SELECT count(*) FROM outbox WHERE state = 'failed') AS failed,
    (SELECT coalesce(jsonb_object_agg(status, n), '{}') FROM (
        SELECT status, count(*) AS n FROM lab_session WHERE status IN ('IN_PROGRESS', 'STUCK', 'DEFERRED')
        GROUP BY status) AS open) AS sessions,
    (SELECT extract(epoch FROM now() - at)::float8 FROM audit_event
        WHERE event_id > (SELECT coalesce(max(last_event_id), 0) FROM audit_seal)
        ORDER BY event_id LIMIT 1) AS unsealed,
    (SELECT extract(epoch FROM now() - max(received_at))::float8 FROM (
        SELECT event, received_at FROM delivery ORDER BY inbox_id DESC LIMIT 1000) AS newest
        WHERE event NOT LIKE 'stepgate.%') AS last_delivery,
    (SELECT coalesce(jsonb_object_agg(kind, n), '{}') FROM (
        SELECT kind, count(*) AS n FROM github_budget WHERE blocked_until > now() GROUP BY kind) AS held) AS paused,
    (SELECT count(*) FROM github_budget AS b WHERE github_slowness(b) > 0) AS slowed,
    (SELECT coalesce(jsonb_object_agg(entrypoint, age), '{}') FROM (
        SELECT entrypoint, extract(epoch FROM now() - max(coalesce(last_run, created)))::float8 AS age
        FROM pgqueuer_schedules GROUP BY entrypoint) AS scheduled) AS schedules
FROM (
    SELECT count(*) FILTER (WHERE due) AS due, count(*) FILTER (WHERE NOT due) AS put_off,
        extract(epoch FROM now() - min(received_at) FILTER (WHERE due))::float8 AS oldest_due,
        extract(epoch FROM now() - min(received_at) FILTER (WHERE NOT due))::float8 AS oldest_put_off
    FROM (
        SELECT received_at, coalesce(next_attempt_at <= now(), true) AS due FROM delivery WHERE state = 'waiting'
    ) AS d
) AS waiting, (
    SELECT count(*) AS wanted, extract(epoch FROM now() - least(min(due_at), now()))::float8 AS overdue
    FROM outbox WHERE state = 'wanted'
) AS reports, (
    SELECT jsonb_build_object('waiting', count(*) FILTER (WHERE given_up_at IS NULL),
        'given_up', count(*) FILTER (WHERE given_up_at IS NOT NULL)) AS missing,
        extract(epoch FROM now() - min(delivered_at) FILTER (WHERE given_up_at IS NULL))::float8 AS oldest_missing
    FROM delivery_missed
) AS missed
"""


async def backlog(pool: Pool) -> Backlog:
    """Measure what waits, in one statement. Raises the database's errors."""
    row = await pool.fetchrow(_BACKLOG)
    assert row is not None  # noqa: S101 (aggregates have a row)
    values = dict(row)
    reports = {"wanted": values.pop("wanted"), "failed": values.pop("failed")}
    if not reports["wanted"]:
        values["overdue"] = None
    return Backlog(reports=reports, **values)


async def last_delivery_age(pool: Pool) -> float | None:
    """Seconds since the newest delivery from GitHub was stored; None: none of the newest entries is one."""
    seconds = await pool.fetchval(
        "SELECT extract(epoch FROM now() - max(received_at))::float8 FROM ("
        "SELECT event, received_at FROM delivery ORDER BY inbox_id DESC LIMIT 1000) AS newest "
        "WHERE event NOT LIKE 'stepgate.%'"
    )
    return float(seconds) if seconds is not None else None

"""What one installation of the App may still ask of GitHub, shared by all processes.

Every function is one short statement: nothing is locked while GitHub is spoken to. Only the database's clock counts;
times come back as seconds from now.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from typing import Any, Literal

from storage.database import Pool

Refusal = Literal["primary", "secondary", "pace"]

#: Told to all processes: "INSTALLATION SECONDS KIND NAMED" (storage/migrations/0024_budgets.sql).
PAUSED = "github_paused"

#: What was not used for this long says nothing any more: the longest window is 70 minutes.
IDLE = timedelta(hours=2)


@dataclass(frozen=True, slots=True)
class Grant:
    """What was granted. `refused` None: `taken` points, to be used in `wait` seconds.

    Else nothing is reserved, and asking again is of use after `wait` seconds: a limit that GitHub set (primary or
    secondary; `named`: it named the time itself), or our own pace.
    """

    taken: int
    wait: float
    refused: Refusal | None = None
    named: bool = False


@dataclass(frozen=True, slots=True)
class Pause:
    """A limit of GitHub that holds for another `wait` seconds."""

    wait: float
    kind: Literal["primary", "secondary"]
    named: bool


@dataclass(frozen=True, slots=True)
class Callers:
    """How many processes speak to GitHub now, with this one; `known`: this one was among them before."""

    count: int
    known: bool


@dataclass(frozen=True, slots=True)
class WriteRules:
    """How an installation may write. `distance`: seconds between two writes; `points`: of an endpoint and window.

    `per_minute`, `per_hour`: writes over all endpoints; 0: no such limit. Nobody waits longer than `longest_wait` s.
    """

    distance: float
    points: int
    per_minute: int
    per_hour: int
    longest_wait: float


_RESERVE = "SELECT wait, refused, named FROM github_reserve_write($1, $2, $3, $4, $5, $6, $7, $8)"
_LEASE = "SELECT taken, wait, refused, named FROM github_lease_reads($1, $2, $3, $4, $5)"
_PAUSE = "SELECT wait, kind, named FROM github_pause($1, $2, $3, $4, $5, $6)"
_CALLERS = """
WITH me AS (
    INSERT INTO github_caller AS c VALUES ($1, clock_timestamp())
    ON CONFLICT (holder) DO UPDATE SET seen_at = clock_timestamp()
), known AS (
    SELECT holder FROM github_caller WHERE seen_at > clock_timestamp() - $2::interval
)
SELECT count(*) FILTER (WHERE holder <> $1) + 1 AS count, count(*) FILTER (WHERE holder = $1) = 1 AS known FROM known
"""


class Budgets:
    """The budgets of all installations, in a database. Database errors are raised as they are."""

    def __init__(self, pool: Pool) -> None:
        self._pool = pool

    async def reserve_write(self, installation_id: int, endpoint: str, points: int, rules: WriteRules) -> Grant:
        """Reserve the next write of an installation: `points` of the endpoint, after `wait` seconds."""
        row = await self._one(
            _RESERVE,
            installation_id,
            endpoint,
            points,
            rules.distance,
            rules.points,
            rules.per_minute,
            rules.per_hour,
            rules.longest_wait,
        )
        return Grant(0 if row["refused"] else points, row["wait"], row["refused"], row["named"])

    async def lease_reads(self, installation_id: int, endpoint: str, most: int, wanted: int, least: int) -> Grant:
        """Take `least` to `wanted` points of an endpoint and window of `most`; they must be used within seconds."""
        row = await self._one(_LEASE, installation_id, endpoint, most, wanted, least)
        return Grant(row["taken"], row["wait"], row["refused"], row["named"])

    async def pause(
        self,
        installation_id: int,
        kind: Literal["primary", "secondary"],
        *,
        named: bool,
        seconds: float,
        longest: float,
        forgiven: float,
    ) -> Pause:
        """GitHub has set a limit: stop the installation in all processes. What holds now, which may be a longer one.

        A secondary limit without a time grows up to `longest` seconds, unless the last one ended `forgiven` s ago.
        """
        row = await self._one(_PAUSE, installation_id, kind, named, seconds, longest, forgiven)
        return Pause(row["wait"], row["kind"], row["named"])

    async def callers(self, holder: str, alive: timedelta) -> Callers:
        """Say that this process speaks to GitHub; how many have said so within the time `alive`."""
        row = await self._one(_CALLERS, holder, alive)
        return Callers(row["count"], row["known"])

    async def _one(self, statement: str, *values: Any) -> Any:
        row = await self._pool.fetchrow(statement, *values)
        assert row is not None  # noqa: S101 (a function's one row)
        return row


_SWEEP = """
WITH budgets AS (
    DELETE FROM github_budget WHERE greatest(blocked_until, slow_since) < now() - $1::interval RETURNING 1
), paces AS (
    DELETE FROM github_pace WHERE next_write_at < now() - $1::interval RETURNING 1
), windows AS (
    DELETE FROM github_window WHERE to_timestamp(slot * slot_seconds) < now() - $1::interval RETURNING 1
), callers AS (
    DELETE FROM github_caller WHERE seen_at < now() - $1::interval RETURNING 1
), turns AS (
    DELETE FROM outbox_turn WHERE since < now() - $1::interval RETURNING 1
)
SELECT (SELECT count(*) FROM budgets) + (SELECT count(*) FROM paces) + (SELECT count(*) FROM windows)
    + (SELECT count(*) FROM callers) + (SELECT count(*) FROM turns)
"""


async def sweep(pool: Pool, idle: timedelta = IDLE) -> int:
    """Forget what was not used for that long; how many rows that were."""
    return int(await pool.fetchval(_SWEEP, idle))

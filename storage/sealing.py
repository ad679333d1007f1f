"""The audit's hash chain in the database: batches of rows are sealed, looked at again, and found as they were.

Writers are not slowed: nothing of theirs is locked, and their rows are only read. Ids are given out before a commit, so
a row with a smaller id may appear after one with a larger id. A batch therefore ends at an id below which nothing can
appear any more: who inserts holds PostgreSQL's ROW EXCLUSIVE lock on the table from before the id is given out until
after the commit (PostgreSQL docs, "Explicit Locking"), so once all who held it when the id was read are gone, all
smaller ids are decided.
"""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import AsyncIterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

from rules.audit_chain import GENESIS, HASH_BYTES, SALT_BYTES, Row, Seal
from rules.audit_chain import seal_rows as _seal_rows
from storage.database import Pool

if TYPE_CHECKING:
    import asyncpg

    Link = asyncpg.pool.PoolConnectionProxy[asyncpg.Record]

#: Rows of a batch, and of what is checked at a time.
BATCH = 1_000
CHECKED_AT_ONCE = 5_000
#: How long sealing waits for who is writing; then it is left to the next time.
PATIENCE = timedelta(seconds=2)
_LOOK_AGAIN = 0.02
# Ids begin at 1; one that somebody chose may be any.
_LOWEST = -(2**63)

_WRITERS = """
SELECT array_agg(virtualtransaction) FROM pg_locks
WHERE locktype = 'relation' AND relation = 'audit_event'::regclass AND mode = 'RowExclusiveLock' AND granted
  AND database = (SELECT oid FROM pg_database WHERE datname = current_database())
  AND pid IS DISTINCT FROM pg_backend_pid()
"""


# ------------------------------------------------------------------------------------------------------------ sealing


@dataclass(frozen=True, slots=True)
class Sealed:
    """What a run sealed. `batch`, `root`: the newest, if anything was; `waits`: somebody was writing for too long."""

    batches: int = 0
    rows: int = 0
    batch: int | None = None
    root: str | None = None
    waits: bool = False


async def seal(pool: Pool, *, patience: timedelta = PATIENCE, batch: int = BATCH) -> Sealed:
    """Seal all rows below which nothing can appear any more. Any number of processes may do so at once."""
    bound = await _settled(pool, patience)
    if bound is None:
        return Sealed(waits=True)
    batches = rows = 0
    newest: Seal | None = None
    while (sealed := await _seal_batch(pool, bound, batch)) is not None:
        newest, batches, rows = sealed, batches + 1, rows + len(sealed.event_ids)
    if newest is None:
        return Sealed()
    return Sealed(batches, rows, newest.batch, newest.root.hex())


async def _settled(pool: Pool, patience: timedelta) -> int | None:
    """An id such that no row with a smaller one can appear any more; None: one that writes takes too long."""
    bound = int(await pool.fetchval("SELECT coalesce(max(event_id), 0) FROM audit_event"))
    writers = set(await pool.fetchval(_WRITERS) or ())
    until = asyncio.get_running_loop().time() + patience.total_seconds()
    while writers:
        if asyncio.get_running_loop().time() >= until:
            return None
        await asyncio.sleep(_LOOK_AGAIN)
        writers &= set(await pool.fetchval(_WRITERS) or ())
    return bound


async def _seal_batch(pool: Pool, bound: int, size: int) -> Seal | None:
    """Seal the next rows up to the id `bound`; None: there are none. One after the other over all processes."""
    async with pool.acquire() as link, link.transaction():
        # Not against readers or writers of the audit: against others who seal, and against who forgets names.
        await link.execute("LOCK TABLE audit_seal IN SHARE ROW EXCLUSIVE MODE")
        last = await link.fetchrow(
            "SELECT coalesce(max(batch), 0) AS batch, coalesce(max(last_event_id), 0) AS event_id, "
            "(SELECT root FROM audit_seal ORDER BY batch DESC LIMIT 1) AS root, statement_timestamp() AS now "
            "FROM audit_seal"
        )
        assert last is not None  # noqa: S101 (an aggregate has a row)
        rows = await _fetch(link, last["event_id"] + 1, bound, size)
        if not rows:
            return None
        salts = [secrets.token_bytes(SALT_BYTES) for _ in rows]
        # 30 ms of reckoning, in which a worker has other things to do as well.
        sealed = await asyncio.to_thread(
            lambda: _seal_rows(last["batch"] + 1, last["root"] or GENESIS, _rows(rows), salts, last["now"])
        )
        await link.execute(
            "INSERT INTO audit_seal (batch, last_event_id, event_ids, row_hashes, name_hashes, previous_root, root, "
            "sealed_at) VALUES ($1, $2, $3, $4, $5, $6, $7, $8)",
            sealed.batch,
            sealed.last_event_id,
            sealed.event_ids,
            b"".join(sealed.row_hashes),
            b"".join(sealed.name_hashes),
            sealed.previous_root,
            sealed.root,
            sealed.sealed_at,
        )
        await link.execute("INSERT INTO audit_seal_salt (batch, salts) VALUES ($1, $2)", sealed.batch, b"".join(salts))
        return sealed


async def _fetch(link: Link, start: int, up_to: int, limit: int | None = None) -> list[asyncpg.Record]:
    return await link.fetch(
        "SELECT * FROM audit_event WHERE event_id >= $1 AND event_id <= $2 ORDER BY event_id LIMIT $3",
        start,
        up_to,
        limit,
    )


def _rows(fetched: list[asyncpg.Record]) -> list[Row]:
    return [Row.of(dict(row)) for row in fetched]


# ---------------------------------------------------------------------------------------------------------- the chain


@dataclass(frozen=True, slots=True)
class ChainState:
    """How far the audit is sealed. `root`: the newest, hexadecimal (None before the first); `unsealed`: rows since."""

    batches: int
    archived: int
    sealed_up_to: int
    root: str | None
    sealed_at: datetime | None
    unsealed: int


async def chain_state(pool: Pool) -> ChainState:
    """How far the audit is sealed, without checking anything."""
    row: Any = await pool.fetchrow(
        "SELECT (SELECT count(*) FROM audit_seal) AS batches, "
        "(SELECT count(*) FROM audit_seal WHERE archived_at IS NOT NULL) AS archived, "
        "coalesce(newest.last_event_id, 0) AS sealed_up_to, newest.root, newest.sealed_at, "
        "(SELECT count(*) FROM audit_event WHERE event_id > coalesce(newest.last_event_id, 0)) AS unsealed "
        "FROM (VALUES (1)) AS one LEFT JOIN LATERAL "
        "(SELECT * FROM audit_seal ORDER BY batch DESC LIMIT 1) AS newest ON true"
    )
    return ChainState(**{**dict(row), "root": row["root"].hex() if row["root"] is not None else None})


@dataclass(frozen=True, slots=True)
class SealedBatch:
    """A batch as it is now: its seal, its rows from behind the batch before, their salts, and where it was archived."""

    seal: Seal
    rows: tuple[Row, ...]
    salts: tuple[bytes, ...]
    archive_name: str | None


_NEXT_SEALS = """
SELECT * FROM (
    SELECT s.*, salt.salts, sum(cardinality(event_ids)) OVER (ORDER BY s.batch) AS total
    FROM audit_seal AS s LEFT JOIN audit_seal_salt AS salt USING (batch) WHERE s.batch > $1 ORDER BY s.batch LIMIT 100
) AS next WHERE total <= $2 OR total = cardinality(event_ids) ORDER BY batch
"""


async def sealed_batches(pool: Pool) -> AsyncIterator[SealedBatch]:
    """All sealed batches, the oldest first, each read at one moment, in flat memory however many they are."""
    batch, start = 0, _LOWEST
    while True:
        async with pool.acquire() as link, link.transaction(isolation="repeatable_read", readonly=True):
            seals = await link.fetch(_NEXT_SEALS, batch, CHECKED_AT_ONCE)
            rows = _rows(await _fetch(link, start, seals[-1]["event_ids"][-1])) if seals else []
        if not seals:
            return
        place = 0
        for found in seals:
            sealed, first = seal_from_row(found), place
            while place < len(rows) and rows[place].event_id <= sealed.last_event_id:
                place += 1
            yield SealedBatch(
                sealed, tuple(rows[first:place]), _pieces(found["salts"] or b"", SALT_BYTES), found["archive_name"]
            )
            batch, start = sealed.batch, sealed.last_event_id + 1


def seal_from_row(row: Any) -> Seal:
    """From a row of table `audit_seal`."""
    return Seal(
        row["batch"],
        tuple(row["event_ids"]),
        _pieces(row["row_hashes"], HASH_BYTES),
        _pieces(row["name_hashes"], HASH_BYTES),
        row["previous_root"],
        row["root"],
        row["sealed_at"],
    )


def _pieces(data: bytes, size: int) -> tuple[bytes, ...]:
    return tuple(data[start : start + size] for start in range(0, len(data), size))

"""Guards of what is saved (binding.md sections 4.3 and 4.7): epoch, status, mapping, accepted head, lease.

Each check is made twice, on a database of its own: with the guard, and without its line.
"""

from __future__ import annotations

import asyncio
from dataclasses import replace
from datetime import timedelta

import asyncpg
import pytest

from rules.model import SessionStatus
from storage import inbox, progress, sessions
from storage.audit import AuditEvent
from storage.database import Pool
from storage.errors import LeaseLost
from storage.mappings import Mappings
from storage.progress import SaveRejection, SaveResult, SaveVerdict
from tests.support.bindings import LEASE, LIN, a_delivery, bind, claimed, sha
from tests.support.bindings import stale as with_session
from tests.support.guards import Guard, taken_over
from tests.support.judgements import again, judged, saved

SHORT = timedelta(milliseconds=150)
SAVE, HOLDS = "sql save_verdict", "sql holds_lane"


async def _refused(pool: Pool, save: SaveVerdict, result: SaveResult) -> bool:
    return await progress.save(pool, save) is result


async def epoch(pool: Pool) -> bool:
    """Deferred and resumed in between: the verdict is refused."""
    bound = await bind(pool)
    save, _ = await judged(pool, bound, "a", gains=("one",))
    session_id = bound.session.session_id
    away = await sessions.change_status(
        pool, session_id, bound.session.epoch, SessionStatus.DEFERRED, deferred_by="staff", reason="ill"
    )
    await sessions.change_status(pool, session_id, away.epoch, SessionStatus.IN_PROGRESS, reason="well")
    return await _refused(pool, save, SaveResult.STALE_BINDING)


async def status(pool: Pool) -> bool:
    """Computed from another status: the verdict is refused."""
    save, _ = await judged(pool, await bind(pool), "a", gains=("one",))
    save = replace(save, state=with_session(save.state, status=SessionStatus.STUCK))
    return await _refused(pool, save, SaveResult.STALE_BINDING)


async def mapping_of_the_session(pool: Pool) -> bool:
    """Computed for another session's mapping: the verdict is refused."""
    bound = await bind(pool)
    other = await bind(pool, owner=LIN, repo_id=502, installation_id=72, published=(bound.lab, bound.version))
    save, _ = await judged(pool, bound, "a")
    save = replace(save, state=replace(save.state, mapping=other.mapping))
    return await _refused(pool, save, SaveResult.STALE_BINDING)


async def active_mapping(pool: Pool) -> bool:
    """The mapping was revoked, and nothing else tells: the verdict is refused."""
    bound = await bind(pool)
    save, _ = await judged(pool, bound, "a")
    await pool.execute("ALTER TABLE repo_mapping DISABLE TRIGGER repo_mapping_changed")
    await Mappings(pool).revoke(bound.mapping, "relinked", AuditEvent("revoked"))
    return await _refused(pool, save, SaveResult.STALE_BINDING)


async def accepted_head(pool: Pool) -> bool:
    """Another head was accepted in between: the verdict is refused."""
    save, _ = await judged(pool, await bind(pool), "a")
    await pool.execute("UPDATE lab_session SET accepted_sha = $1", sha("other"))
    return await _refused(pool, save, SaveResult.STALE_ACCEPTED)


async def session_lock(pool: Pool) -> bool:
    """A writer that is faster is waited for, and what it wrote counts."""
    save, _ = await judged(pool, await bind(pool), "a")
    async with pool.acquire() as connection, connection.transaction():
        await connection.execute("UPDATE lab_session SET accepted_sha = $1", sha("other"))
        saving = asyncio.create_task(progress.save(pool, save))
        await asyncio.sleep(0.15)
    return await saving is SaveResult.STALE_ACCEPTED


async def one_attempt(pool: Pool) -> bool:
    """A delivery that has its attempt gets no second one, even when it is processed again."""
    bound = await bind(pool)
    save = await saved(pool, bound, "a")
    await pool.execute("UPDATE delivery SET state = 'waiting', outcome = NULL, finished_at = NULL")
    await inbox.record(pool, [a_delivery()])
    lane = await inbox.claim(pool, "worker-1", LEASE)
    assert lane is not None
    state = await progress.judging_state(pool, bound.session.session_id)
    assert state is not None
    try:
        return await progress.save(pool, replace(save, lane=lane, state=state)) is SaveResult.DUPLICATE
    except asyncpg.UniqueViolationError:
        return False


async def one_judgement(pool: Pool) -> bool:
    """Judging the same head again by a click, with nothing changed, is no second row."""
    bound = await bind(pool)
    save = await saved(pool, bound, "a")
    try:
        await again(pool, bound, save)
        return await again(pool, bound, save) is SaveResult.DUPLICATE
    except asyncpg.UniqueViolationError:
        return False


async def token_in_save(pool: Pool) -> bool:
    """A worker that was taken over cannot save a verdict."""
    save, _ = await judged(pool, await bind(pool), "a")
    await inbox.heartbeat(pool, save.lane, timedelta(0))
    assert await inbox.claim(pool, "worker-2", LEASE) is not None
    return await _refused(pool, save, SaveResult.LEASE_LOST)


async def lease_in_save(pool: Pool) -> bool:
    """A lease that ran out is over, even when nobody else came."""
    save, _ = await judged(pool, await bind(pool), "a")
    await inbox.heartbeat(pool, save.lane, timedelta(0))
    return await _refused(pool, save, SaveResult.LEASE_LOST)


async def clock_in_save(pool: Pool) -> bool:
    """A lease that runs out while the save waits for the session is over."""
    save, _ = await judged(pool, await bind(pool), "a")
    await inbox.heartbeat(pool, save.lane, SHORT)
    async with pool.acquire() as connection, connection.transaction():
        await connection.execute("SELECT FROM lab_session FOR UPDATE")
        saving = asyncio.create_task(progress.save(pool, save))
        await asyncio.sleep(SHORT.total_seconds() * 2)
    return await saving is SaveResult.LEASE_LOST


async def lane_lock(pool: Pool) -> bool:
    """A lane whose lease was checked does not change hands before that transaction's end."""
    lane, _ = await claimed(pool, lease=SHORT)
    async with pool.acquire() as connection, connection.transaction():
        assert await connection.fetchval("SELECT holds_lane($1, $2)", lane.lane_id, lane.token)
        await asyncio.sleep(SHORT.total_seconds() * 1.5)
        return await inbox.claim(pool, "worker-2", LEASE) is None


async def token_in_rejection(pool: Pool) -> bool:
    """A worker that was taken over cannot save a rejection."""
    lane, ids = await taken_over(pool)
    event = AuditEvent("rejected", code="NO_SESSION", repo_id=501)
    try:
        await progress.save_rejection(pool, SaveRejection(lane, event, deliveries=ids))
    except LeaseLost:
        return True
    return False


GUARDS = {
    "epoch": Guard(SAVE, "OR known.binding_epoch <> (guard->>'epoch')::bigint", "", epoch),
    "status": Guard(SAVE, "OR known.status <> guard->>'status'", "", status),
    "mapping of the session": Guard(SAVE, "AND m.session_id = known.session_id", "", mapping_of_the_session),
    "active mapping": Guard(SAVE, "AND m.state = 'active'", "", active_mapping),
    "accepted head": Guard(SAVE, "known.accepted_sha IS DISTINCT FROM guard->>'accepted_sha'", "false", accepted_head),
    "session lock": Guard(SAVE, "'session_id')::uuid FOR UPDATE", "'session_id')::uuid", session_lock),
    "lease of a verdict": Guard(
        SAVE, "IF NOT holds_lane(lane_id, (given->'lane'->>'token')::bigint)", "IF false", token_in_save
    ),
    "one attempt": Guard(SAVE, "AND p.delivery_id = (attempt->>'delivery_id')::uuid", "AND false", one_attempt),
    "one judgement": Guard(SAVE, "AND p.after_sha = attempt->>'after_sha'", "AND false", one_judgement),
    "token": Guard(HOLDS, "AND token = the_token", "", token_in_save),
    "end of the lease": Guard(HOLDS, "AND leased_until > clock_timestamp()", "", lease_in_save),
    "clock of the lease": Guard(HOLDS, "leased_until > clock_timestamp()", "leased_until > now()", clock_in_save),
    "lane lock": Guard(HOLDS, " FOR KEY SHARE", "", lane_lock),
    "lease of a rejection": Guard(
        "sql save_rejection",
        "IF NOT holds_lane(lane_id, (given->'lane'->>'token')::bigint)",
        "IF false",
        token_in_rejection,
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", GUARDS)
async def test_the_guard_holds(pool: Pool, name: str) -> None:
    """With the guard in its place, the race that it is there for ends well."""
    assert await GUARDS[name].holds(pool)


@pytest.mark.parametrize("name", GUARDS)
async def test_without_its_line_the_guard_does_not_hold(pool: Pool, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """With the named line taken out the same check fails: it is this line that does it, and the check sees it."""
    await GUARDS[name].take_out(pool, monkeypatch)
    assert not await GUARDS[name].holds(pool)

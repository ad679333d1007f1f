"""A judgement that was computed from what is no more is not saved; one that was saved is not saved again."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from datetime import timedelta
from uuid import uuid4

from rules.model import (
    SessionStatus,
)
from storage import inbox, labs, progress, sessions
from storage.audit import AuditEvent
from storage.database import Pool
from storage.mappings import Mappings
from storage.progress import SaveResult, SaveVerdict
from tests.support.bindings import (
    LEASE,
    LIN,
    a_delivery,
    a_push,
    a_report,
    a_verdict,
    bind,
    sha,
    stale,
    state_of,
)
from tests.support.judgements import BLOCK, again, everything, judged, saved


class TestGuards:
    """When something that the verdict was computed from has changed, nothing at all is written."""

    async def refused(self, pool: Pool, save: SaveVerdict, result: SaveResult) -> None:
        """The save is refused with this result, and no row changes."""
        before = await everything(pool)
        assert await progress.save(pool, save) is result
        assert await everything(pool) == before

    async def test_another_mapping(self, pool: Pool) -> None:
        """Guard of the mapping: one that is another session's is not this one's."""
        bound = await bind(pool)
        other = await bind(pool, owner=LIN, repo_id=502, installation_id=72, published=(bound.lab, bound.version))
        save, _ = await judged(pool, bound, "a", gains=("one",), report=a_report(bound, "a"))
        await self.refused(
            pool, replace(save, state=replace(save.state, mapping=other.mapping)), SaveResult.STALE_BINDING
        )

    async def test_a_revoked_mapping_alone(self, pool: Pool) -> None:
        """Guard of the mapping: a revoked one does not count, even if its revocation had not raised the epoch."""
        bound = await bind(pool)
        save, _ = await judged(pool, bound, "a", gains=("one",))
        await pool.execute("ALTER TABLE repo_mapping DISABLE TRIGGER repo_mapping_changed")
        await Mappings(pool).revoke(bound.mapping, "relinked", AuditEvent("revoked"))
        await self.refused(pool, save, SaveResult.STALE_BINDING)

    async def test_another_epoch(self, pool: Pool) -> None:
        """Guard of the epoch: deferred and resumed in between looks the same, but is not."""
        bound = await bind(pool)
        save, _ = await judged(pool, bound, "a", gains=("one",), report=a_report(bound, "a"))
        deferred = await sessions.change_status(
            pool,
            bound.session.session_id,
            save.state.session.epoch,
            SessionStatus.DEFERRED,
            deferred_by="staff",
            reason="ill",
        )
        await sessions.change_status(
            pool, bound.session.session_id, deferred.epoch, SessionStatus.IN_PROGRESS, reason="well"
        )
        await self.refused(pool, save, SaveResult.STALE_BINDING)

    async def test_another_status(self, pool: Pool) -> None:
        """Guard of the status: it must be the one that the verdict was computed from."""
        bound = await bind(pool)
        save, _ = await judged(pool, bound, "a", gains=("one",))
        wrong = stale(save.state, status=SessionStatus.STUCK)
        await self.refused(pool, replace(save, state=wrong), SaveResult.STALE_BINDING)

    async def test_another_accepted_head(self, pool: Pool) -> None:
        """Guard of the accepted head: a verdict against an older one would take work back."""
        bound = await bind(pool)
        save, _ = await judged(pool, bound, "a", gains=("one",), report=a_report(bound, "a"))
        await pool.execute("UPDATE lab_session SET accepted_sha = $1", sha("other"))
        await self.refused(pool, save, SaveResult.STALE_ACCEPTED)

    async def test_another_holder(self, pool: Pool) -> None:
        """Guard of the token: a worker that was taken over cannot write."""
        bound = await bind(pool)
        save, _ = await judged(pool, bound, "a", gains=("one",), report=a_report(bound, "a"))
        await inbox.heartbeat(pool, save.lane, timedelta(0))
        taken = await inbox.claim(pool, "worker-2", LEASE)
        assert taken is not None
        await self.refused(pool, save, SaveResult.LEASE_LOST)
        assert await progress.save(pool, replace(save, lane=taken)) is SaveResult.SAVED

    async def test_an_expired_lease(self, pool: Pool) -> None:
        """Guard of the lease: its end counts even when nobody else came."""
        bound = await bind(pool)
        save, _ = await judged(pool, bound, "a", gains=("one",))
        await inbox.heartbeat(pool, save.lane, timedelta(0))
        await self.refused(pool, save, SaveResult.LEASE_LOST)

    async def test_a_lease_that_ends_while_the_session_is_locked(self, pool: Pool) -> None:
        """The lease is checked after the wait for the session's lock, by the clock of that moment."""
        bound = await bind(pool)
        save, _ = await judged(pool, bound, "a", gains=("one",))
        await inbox.heartbeat(pool, save.lane, timedelta(milliseconds=200))
        async with pool.acquire() as connection, connection.transaction():
            await connection.execute("SELECT FROM lab_session FOR UPDATE")
            waiting = asyncio.create_task(progress.save(pool, save))
            await asyncio.sleep(0.3)
            assert not waiting.done()
        assert await waiting is SaveResult.LEASE_LOST

    async def test_a_session_that_is_gone(self, pool: Pool) -> None:
        """A session that does not exist is a stale binding."""
        bound = await bind(pool)
        save, _ = await judged(pool, bound, "a")
        await self.refused(pool, replace(save, state=stale(save.state, session_id=uuid4())), SaveResult.STALE_BINDING)

    async def test_two_workers_save_at_once(self, pool: Pool) -> None:
        """Of two verdicts computed from the same state in a row, the second is stale."""
        bound = await bind(pool)
        save, _ = await judged(pool, bound, "a", gains=("one",))
        other = replace(save, push=a_push(bound.repo, "x", "b"), verdict=a_verdict(save.state, "b"), deliveries=())
        results = await asyncio.gather(progress.save(pool, save), progress.save(pool, other))
        assert sorted(results) == [SaveResult.SAVED, SaveResult.STALE_ACCEPTED]


class TestDuplicates:
    """A delivery has one attempt; judging the same again is one row."""

    async def test_a_replayed_delivery_changes_nothing(self, pool: Pool) -> None:
        """A delivery with an attempt is only finished; session, ledger and report stay."""
        bound = await bind(pool)
        save = await saved(pool, bound, "a", gains=("one",), report=a_report(bound, "a"))
        await pool.execute("UPDATE delivery SET state = 'waiting', outcome = NULL, finished_at = NULL")
        await inbox.record(pool, [a_delivery()])
        lane = await inbox.claim(pool, "worker-1", LEASE)
        assert lane is not None
        before = (await everything(pool))[:-1]
        replayed = replace(save, lane=lane, state=await state_of(pool, bound))
        assert await progress.save(pool, replayed) is SaveResult.DUPLICATE
        assert (await everything(pool))[:-1] == before
        row = await pool.fetchrow("SELECT state, outcome FROM delivery WHERE inbox_id = $1", save.deliveries[0])
        assert row is not None
        assert tuple(row) == ("done", "duplicate")

    async def test_the_same_head_pushed_again_is_another_attempt(self, pool: Pool) -> None:
        """A -> B -> A are three pushes with three attempts."""
        bound = await bind(pool)
        for head in ("a", "b", "a"):
            await saved(pool, bound, head)
        assert await pool.fetchval("SELECT count(*) FROM push_attempt") == 3

    async def test_judging_again_is_one_row(self, pool: Pool) -> None:
        """Two clicks on re-run with the same facts are one attempt; with other facts, or another version, two."""
        bound = await bind(pool)
        save = await saved(pool, bound, "a", violations=BLOCK)
        assert await again(pool, bound, save) is SaveResult.SAVED
        assert await again(pool, bound, save) is SaveResult.DUPLICATE
        assert await again(pool, bound, save, facts_digest="an approval") is SaveResult.SAVED
        version = await labs.publish(
            pool, bound.lab.lab_id, commit_sha=sha("v2"), tree_sha=sha("t2"), lab=bound.version.lab, digest="digest 2"
        )
        newer = replace(await state_of(pool, bound), version=version)
        assert await again(pool, bound, save, state=newer) is SaveResult.SAVED
        assert not await pool.fetchval("SELECT count(*) FROM delivery WHERE state = 'waiting'")

    async def test_judging_a_head_again_after_others_is_saved(self, pool: Pool) -> None:
        """A lost push that is found twice, with other heads in between, takes effect both times."""
        bound = await bind(pool)
        lost = await saved(pool, bound, "lost")
        await saved(pool, bound, "a")
        for _ in range(2):
            state = await state_of(pool, bound)
            verdict = a_verdict(state, "lost", gains=("one",))
            assert await again(pool, bound, lost, trigger="reconcile", verdict=verdict) is SaveResult.SAVED
            assert (await state_of(pool, bound)).session.accepted_sha == sha("lost")
            await saved(pool, bound, "a", losses=("one",))
            assert (await state_of(pool, bound)).progress.done == frozenset()
        assert await pool.fetchval("SELECT count(*) FROM push_attempt WHERE trigger = 'reconcile'") == 2

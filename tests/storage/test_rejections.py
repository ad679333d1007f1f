"""Deliveries that are not judged: counted by day, finished, told."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from datetime import timedelta
from uuid import uuid4

import pytest

from storage import inbox, outbox, progress
from storage.audit import AuditEvent
from storage.database import Pool
from storage.errors import LeaseLost
from storage.inbox import Lane
from storage.progress import SaveRejection
from tests.support.bindings import (
    LEASE,
    a_delivery,
    a_report,
    bind,
    claimed,
)
from tests.support.judgements import everything


class TestRejections:
    """Deliveries that are not judged."""

    def rejection(
        self, lane: Lane, ids: tuple[int, ...], code: str = "NO_SESSION", repo_id: int = 501
    ) -> SaveRejection:
        """A rejection of the repository by this code."""
        event = AuditEvent("rejected", code=code, repo_id=repo_id, delivery_id=uuid4(), detail={"why": "x"})
        return SaveRejection(lane, event, ids)

    async def test_one_row_per_repository_code_and_day(self, pool: Pool) -> None:
        """The first rejection writes the audit row, the next ones are counted beside it; the row never changes."""
        for number in range(3):
            lane, ids = await claimed(pool)
            save = self.rejection(lane, ids)
            first = await progress.save_rejection(pool, save)
            await inbox.release(pool, lane)
            assert await pool.fetchval("SELECT count FROM rejection_count WHERE event_id = $1", first) == number + 1
        other = await progress.save_rejection(pool, self.rejection(*(await claimed(pool)), code="AMBIGUOUS"))
        assert other != first
        rows = await pool.fetch("SELECT code, count, last_delivery_id FROM rejection_count ORDER BY event_id")
        assert [(row["code"], row["count"]) for row in rows] == [("NO_SESSION", 3), ("AMBIGUOUS", 1)]
        assert rows[0]["last_delivery_id"] == save.event.delivery_id
        assert await pool.fetchval("SELECT count(*) FROM audit_event") == 2

    async def test_another_day_is_another_row(self, pool: Pool) -> None:
        """Yesterday's rejection is not counted up today."""
        lane, ids = await claimed(pool)
        await progress.save_rejection(pool, self.rejection(lane, ids))
        await pool.execute("UPDATE rejection_count SET day = day - 1")
        await progress.save_rejection(pool, self.rejection(lane, ids))
        assert await pool.fetchval("SELECT count(*) FROM audit_event") == 2

    async def test_concurrent_first_rejections_are_one_row(self, pool: Pool) -> None:
        """Lanes that reject the same repository at the same moment write one audit row."""
        await inbox.record(pool, [a_delivery(f"installation:{number}") for number in range(1, 9)])
        lanes = [lane for _ in range(8) if (lane := await inbox.claim(pool, "w", LEASE)) is not None]
        ids = await asyncio.gather(*(progress.save_rejection(pool, self.rejection(lane, ())) for lane in lanes))
        assert len(set(ids)) == 1
        assert await pool.fetchval("SELECT array_agg(count) FROM rejection_count") == [8]
        assert await pool.fetchval("SELECT count(*) FROM audit_event") == 1

    async def test_it_finishes_and_reports_in_one_step(self, pool: Pool) -> None:
        """The deliveries are finished with the code, the report is wanted, the body is forgotten when asked."""
        bound = await bind(pool)
        lane, ids = await claimed(pool)
        report = a_report(bound, "a", conclusion="action_required", session=False)
        await progress.save_rejection(pool, replace(self.rejection(lane, ids), report=report, keep_body=False))
        row = await pool.fetchrow("SELECT state, outcome, payload FROM delivery")
        assert row is not None
        assert tuple(row) == ("done", "NO_SESSION", None)
        (item,) = await outbox.claim(pool, "p", LEASE, 5)
        assert (item.session_id, item.check_run.conclusion) == (None, "action_required")

    async def test_a_lost_lane_writes_nothing(self, pool: Pool) -> None:
        """A worker that was taken over rejects nothing."""
        lane, ids = await claimed(pool, lease=timedelta(0))
        before = await everything(pool)
        with pytest.raises(LeaseLost):
            await progress.save_rejection(pool, self.rejection(lane, ids))
        assert await everything(pool) == before

    def test_it_needs_a_code_and_a_repository(self) -> None:
        """Without them it could not be counted: a defect of ours."""
        with pytest.raises(ValueError, match="repository and code"):
            SaveRejection(Lane("repo:1", 1, "w"), AuditEvent("rejected", code="TAG")).to_json()

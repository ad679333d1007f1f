"""Judgements that are saved, or ready to be, for tests of what saving does."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import asyncpg

from rules.model import (
    ChangeKind,
    Push,
    Violation,
    ViolationCode,
)
from storage import inbox, progress
from storage.database import Pool
from storage.progress import SaveResult, SaveVerdict
from tests.support.bindings import (
    Bound,
    a_delivery,
    a_push,
    a_verdict,
    claimed,
    state_of,
)

BLOCK = (Violation(ViolationCode.OUT_OF_ORDER, "block", "three/x.js", ChangeKind.ADDED, ("three",), ("two",), "thr"),)
TABLES = ("lab_session", "step_progress", "push_attempt", "audit_event", "rejection_count", "outbox", "delivery")


async def everything(pool: Pool) -> list[list[asyncpg.Record]]:
    """All rows that a save may write."""
    return [await pool.fetch(f"SELECT * FROM {table} ORDER BY 1") for table in TABLES]


async def judged(pool: Pool, bound: Bound, head: str, **values: Any) -> tuple[SaveVerdict, Push]:
    """A judgement of a push to `head` that waits in the repository's lane, ready to be saved."""
    push = a_push(bound.repo, "before", head)
    lane, ids = await claimed(pool, a_delivery(guid=push.delivery_id))
    state = await state_of(pool, bound)
    verdict_values = {name: values.pop(name) for name in ("gains", "losses", "violations", "rewrite") if name in values}
    save = SaveVerdict(
        lane=lane,
        state=state,
        trigger="push",
        ref="refs/heads/main",
        verdict=a_verdict(state, head, **verdict_values),
        facts_digest="facts",
        push=push,
        deliveries=ids,
    )
    return replace(save, **values), push


async def saved(pool: Pool, bound: Bound, head: str, **values: Any) -> SaveVerdict:
    """A judgement of a push to `head` that was saved, with its lane given back."""
    save, _ = await judged(pool, bound, head, **values)
    assert await progress.save(pool, save) is SaveResult.SAVED
    assert await inbox.release(pool, save.lane)
    return save


async def again(pool: Pool, bound: Bound, save: SaveVerdict, **values: Any) -> SaveResult:
    """Judge the same head again without a push (a click on re-run, say)."""
    lane, ids = await claimed(pool, a_delivery(event="check_run"))
    state = await state_of(pool, bound)
    values = {"trigger": "rerun", "push": None, "lane": lane, "state": state, "deliveries": ids} | values
    result = await progress.save(pool, replace(save, **values))
    await inbox.release(pool, lane)
    return result

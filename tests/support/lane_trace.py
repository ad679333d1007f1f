"""A trace of which worker processes which lane when, written by the worker process itself with the database's clock."""

from __future__ import annotations

import asyncio
import importlib
import os
from typing import Any

TABLE = """
CREATE TABLE lane_trace (
    trace_id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    lane_id  text NOT NULL,
    token    bigint NOT NULL,
    pid      integer NOT NULL,
    begun    timestamptz NOT NULL DEFAULT clock_timestamp(),
    ended    timestamptz
)
"""
#: Pairs of stretches of work on one lane that touch each other, or in which an older claim worked after a newer one.
OVERLAPS = """
SELECT a.lane_id, a.pid AS one, b.pid AS other FROM lane_trace AS a JOIN lane_trace AS b USING (lane_id)
WHERE a.trace_id < b.trace_id AND (coalesce(a.ended, 'infinity') > b.begun OR a.token > b.token)
"""


def trace(_argument: str) -> None:
    """Arrange that this process notes the begin and the end of each delivery's processing in table `lane_trace`."""
    worker: Any = importlib.import_module("bot.worker")
    asked = worker.handle

    async def traced(services: Any, lane: Any, deliveries: Any) -> str:
        trace_id = await services.pool.fetchval(
            "INSERT INTO lane_trace (lane_id, token, pid) VALUES ($1, $2, $3) RETURNING trace_id",
            lane.lane_id,
            lane.token,
            os.getpid(),
        )
        try:
            word: str = await asked(services, lane, deliveries)
            return word
        finally:
            await services.pool.execute("UPDATE lane_trace SET ended = clock_timestamp() WHERE trace_id = $1", trace_id)

    worker.handle = traced


def deafen(_argument: str) -> None:
    """Arrange that no notification is ever heard in this process, as behind a pooler of transactions. It looks by
    itself twice in a second."""
    from storage.notify import Listener

    worker: Any = importlib.import_module("bot.worker")
    worker.POLL = 0.5
    Listener._hear = lambda *_: None  # type: ignore[method-assign]


def claim_slowly(_argument: str) -> None:
    """Arrange that what was claimed, a lane or reports, is only heard of some time later, as over a bad line."""
    for name in ("storage.lanes", "storage.outbox"):
        module: Any = importlib.import_module(name)
        module.claim = _heard_later(module.claim)


def _heard_later(asked: Any) -> Any:
    async def heard_later(*given: Any) -> Any:
        found = await asked(*given)
        await asyncio.sleep(0.2 if found else 0)
        return found

    return heard_later

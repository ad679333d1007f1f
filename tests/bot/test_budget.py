"""The budget of judging: what is done at once, what in a thread, and what is refused."""

from __future__ import annotations

import asyncio
import threading
import time
from dataclasses import replace

import pytest

from bot import budget
from bot.budget import INLINE_CALL, INLINE_PATHS, LARGEST_CALL, OverBudgetError, within_budget
from rules.effort import Tick
from rules.model import Snapshot, TreeEntry
from tests.support.reports import HEAD, LAB

SMALL = Snapshot(template={}, accepted={}, head={}, head_sha=HEAD)
LARGE = replace(SMALL, head={str(at): TreeEntry(str(at), "100644", HEAD) for at in range(INLINE_PATHS + 1)})


def where(_tick: Tick) -> int:
    """The thread that the work is done in."""
    return threading.get_ident()


async def test_small_work_is_done_at_once() -> None:
    """A small tree and a light lab are judged without another thread."""
    assert await within_budget(LAB, SMALL, where) == threading.get_ident()


@pytest.mark.parametrize("heavy", ["tree", "lab"])
async def test_a_large_tree_or_lab_is_judged_in_a_thread(heavy: str) -> None:
    """Many paths, or patterns enough to make a slow automaton, are kept off the event loop from the start."""
    many = replace(LAB, shared=tuple(f"{at:04}/" + "x" * 90 for at in range(50)))
    lab, snapshot = (many, SMALL) if heavy == "lab" else (LAB, LARGE)

    assert await within_budget(lab, snapshot, where) != threading.get_ident()


async def test_work_that_turns_out_large_is_begun_anew_in_a_thread() -> None:
    """A call that is too long for the event loop is refused there, and allowed in a thread."""

    def work(tick: Tick) -> int:
        tick(INLINE_CALL + 1)
        return threading.get_ident()

    assert await within_budget(LAB, SMALL, work) != threading.get_ident()


async def test_slow_work_leaves_the_event_loop_soon(monkeypatch: pytest.MonkeyPatch) -> None:
    """Work that goes on and on is stopped on the event loop after some hundredths of a second."""
    monkeypatch.setattr(budget, "SECONDS", 0.2)
    seen: list[tuple[bool, float]] = []
    here = threading.get_ident()

    def work(tick: Tick) -> None:
        started = time.thread_time()
        try:
            while True:
                tick(100)
        finally:
            seen.append((threading.get_ident() == here, time.thread_time() - started))

    with pytest.raises(OverBudgetError, match=r"more than 0\.2 s of computing time"):
        await within_budget(LAB, SMALL, work)
    (inline, at_once), (in_thread, later) = seen
    assert (inline, in_thread) == (True, False)
    assert at_once < 0.15
    assert 0.2 <= later < 1.0


async def test_a_single_call_beyond_all_bounds_is_refused() -> None:
    """What RE2 could not be stopped in is not begun."""

    def work(tick: Tick) -> None:
        tick(LARGEST_CALL + 1)

    with pytest.raises(OverBudgetError, match="a single file and expression"):
        await within_budget(LAB, LARGE, work)


async def test_waiting_does_not_count(monkeypatch: pytest.MonkeyPatch) -> None:
    """The budget is computing time: a machine that is busy with other things costs nobody a verdict."""
    monkeypatch.setattr(budget, "SECONDS", 0.05)

    def work(tick: Tick) -> str:
        tick(10_000)
        time.sleep(0.2)
        tick(10_000)
        return "done"

    assert await within_budget(LAB, LARGE, work) == "done"


async def test_what_nobody_waits_for_any_more_ends() -> None:
    """A judgement whose lane was lost stops at its next look at the clock."""
    ended = threading.Event()
    started = threading.Event()

    def work(tick: Tick) -> None:
        started.set()
        try:
            while True:
                tick(1_000)
        finally:
            ended.set()

    task = asyncio.create_task(within_budget(LAB, LARGE, work))
    await asyncio.to_thread(started.wait, 5)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert await asyncio.to_thread(ended.wait, 5)


async def test_errors_of_the_work_come_through() -> None:
    """What the work raises is raised, from either place."""

    def work(_tick: Tick) -> None:
        raise LookupError("the work's own")

    for snapshot in (SMALL, LARGE):
        with pytest.raises(LookupError, match="the work's own"):
            await within_budget(LAB, snapshot, work)

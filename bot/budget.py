"""Judging within a budget, in a thread: no lab file and no repository may keep the others waiting (decision 4).

Work is told before it is done (`rules.effort.Tick`), and the meter that is told may refuse it. A thread cannot be
killed, but every single piece between two ticks is bounded, so that it ends by itself soon after its budget.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from typing import TypeVar

from rules.effort import Tick
from rules.mapping import pattern_size
from rules.model import Lab, Snapshot

# Computing time of one judgement, in seconds of its thread (so that a busy machine costs nobody a verdict). 100,000
# paths with 200 patterns take 0.2 s; a set of patterns made to be slow takes 0.3 s for a single path.
SECONDS = 10.0
# Steps of one call into RE2, which cannot be interrupted: 1 MiB of text and an expression of 1,024 instructions. RE2
# was measured at 1.4 to 3.4 ns a step, so this is at most some 4 s. Usual expressions have below 100 instructions.
LARGEST_CALL = 1 << 30
# Steps after which the clock is looked at: reading it costs as much as matching some hundred bytes.
CLOCK_EVERY = 1_024
# Judgements in threads at a time. RE2 works without the interpreter's lock; the others queue, and wait for no lock.
THREADS = 4

# What is judged at once, on the event loop: nothing may take longer than INLINE_SECONDS there. Only labs whose patterns
# are few enough (characters in all) that matching one path takes microseconds a byte, and building the set little.
INLINE_SECONDS = 0.02
INLINE_CALL = 1 << 22
INLINE_PATHS = 2_000
INLINE_PATTERNS = 4_000

T = TypeVar("T")

_threads = ThreadPoolExecutor(THREADS, thread_name_prefix="judge")


class OverBudgetError(Exception):
    """Judging would take longer than its budget. Nobody's fault that we know of: lab file and repository together."""


class _Meter:
    """The tick of one judgement. The clock is that of the thread which calls it first."""

    def __init__(self, seconds: float, largest_call: int) -> None:
        self.cancelled = False
        self._seconds = seconds
        self._largest_call = largest_call
        self._steps = 0
        self._started: float | None = None

    def __call__(self, steps: int) -> None:
        if steps > self._largest_call:
            raise OverBudgetError("a single file and expression of the lab would take too long")
        self._steps += steps + 1
        if self._started is None:
            self._started = time.thread_time()
        if self._steps >= CLOCK_EVERY:
            self._steps = 0
            if self.cancelled or time.thread_time() - self._started > self._seconds:
                raise OverBudgetError(f"judging takes more than {self._seconds:g} s of computing time")


async def within_budget(lab: Lab, snapshot: Snapshot, work: Callable[[Tick], T]) -> T:
    """What `work`, a pure function of the tick that it calls, returns. Raises OverBudgetError, and what it raises.

    Small work is done at once; if it turns out not to be small, it is begun anew in a thread.
    """
    if len(snapshot.head) <= INLINE_PATHS and pattern_size(lab) <= INLINE_PATTERNS:
        with suppress(OverBudgetError):
            return work(_Meter(INLINE_SECONDS, INLINE_CALL))
    return await in_a_thread(work)


async def in_a_thread(work: Callable[[Tick], T]) -> T:
    """As `within_budget`, for work that may be large: always in a thread."""
    meter = _Meter(SECONDS, LARGEST_CALL)
    try:
        return await asyncio.get_running_loop().run_in_executor(_threads, work, meter)
    finally:
        meter.cancelled = True  # nobody waits for it any more

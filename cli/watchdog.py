"""Watches the event loop: whatever runs in it for long keeps everything else waiting, the host's probes included."""

from __future__ import annotations

import asyncio
import sys
import time
import traceback
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from threading import Event, Thread, get_ident

import structlog
from prometheus_client import Histogram

log = structlog.get_logger(__name__)

#: The loop is looked at this often (seconds).
EVERY = 0.5
#: A loop that was silent for so long (seconds) is told in the log, with what it was at: hosts give a probe some
#: seconds, and GitHub gives a delivery ten (GitHub docs, "Best practices for using webhooks").
BLOCKED = 3.0

LAG = Histogram(
    "stepgate_event_loop_lag_seconds",
    "By how much the event loop came late, looked at twice a second",
    buckets=(0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 3.0, 10.0),
)


class Watchdog:
    """A thread that tells when the loop's own ticks stay away. `every`, `blocked`: seconds."""

    def __init__(self, every: float = EVERY, blocked: float = BLOCKED) -> None:
        self._every = every
        self._blocked = blocked
        self._ticked = time.monotonic()
        self._told = False
        self._over = Event()
        self._loop_thread = get_ident()

    async def tick(self) -> None:
        """Tell that the loop lives, until cancelled; how late each tick came is counted."""
        while True:
            due = time.monotonic() + self._every
            await asyncio.sleep(self._every)
            now = time.monotonic()
            LAG.observe(max(0.0, now - due))
            if self._told:
                log.warning("event_loop_free", blocked_for=round(now - self._ticked, 1))
                self._told = False
            elif now - due >= self._blocked:
                log.warning("event_loop_late", seconds=round(now - due, 1), hint="the process got no processor time")
            self._ticked = now

    def watch(self) -> None:
        """The thread: tell once for each time that the loop is blocked, with the stack that blocks it.

        When this thread comes late itself, the whole process stood still (a busy or sleeping machine, or code that lets
        no other thread run): then no stack tells what it was, and `tick` says that it was late.
        """
        due = time.monotonic() + self._every
        while not self._over.wait(self._every):
            now, due_before = time.monotonic(), due
            due = now + self._every
            silent = now - self._ticked
            on_time = now - due_before < self._blocked / 2
            if silent >= self._blocked and on_time and not self._told:
                self._told = True
                frame = sys._current_frames().get(self._loop_thread)
                stack = "".join(traceback.format_stack(frame)) if frame is not None else ""
                log.error("event_loop_blocked", seconds=round(silent, 1), stack=stack)

    def end(self) -> None:
        """Let the thread end."""
        self._over.set()


@asynccontextmanager
async def watched_loop(every: float = EVERY, blocked: float = BLOCKED) -> AsyncIterator[None]:
    """Watch the running loop for as long as the block lasts."""
    dog = Watchdog(every, blocked)
    thread = Thread(target=dog.watch, name="watchdog", daemon=True)
    thread.start()
    ticking = asyncio.create_task(dog.tick())
    try:
        yield
    finally:
        ticking.cancel()
        dog.end()
        await asyncio.gather(ticking, return_exceptions=True)

"""The watchdog: a blocked event loop is told, with what it was at."""

from __future__ import annotations

import asyncio
import signal
import sys
import threading
import time

import pytest
from prometheus_client import REGISTRY
from structlog.testing import capture_logs

from cli import serve, watchdog


def counted(below: str) -> float:
    """Ticks that came no later than that many seconds."""
    return REGISTRY.get_sample_value("stepgate_event_loop_lag_seconds_bucket", {"le": below}) or 0.0


def blocking_work(seconds: float) -> None:
    """Keep the loop from everything else."""
    time.sleep(seconds)


async def test_a_blocked_loop_is_told_once_with_its_stack() -> None:
    """The log names the function that blocks, and says when it is over; the delay is counted."""
    every, before = 0.02, counted("+Inf") - counted("0.25")
    with capture_logs() as lines:
        async with watchdog.watched_loop(every, blocked=0.1):
            await asyncio.sleep(3 * every)
            blocking_work(0.4)
            await asyncio.sleep(3 * every)

    assert [line["event"] for line in lines] == ["event_loop_blocked", "event_loop_free"]
    assert "blocking_work" in lines[0]["stack"]
    assert lines[0]["seconds"] >= 0.1
    assert lines[1]["blocked_for"] >= 0.4
    assert counted("+Inf") - counted("0.25") == before + 1


async def test_a_process_that_stood_still_is_no_blocked_loop() -> None:
    """When the thread gets no time either, the machine is busy or was asleep: that is told as such, without a stack."""
    dog = watchdog.Watchdog(0.02, blocked=0.1)
    held = sys.getswitchinterval()
    ticking = asyncio.create_task(dog.tick())
    thread = threading.Thread(target=dog.watch, daemon=True)
    await asyncio.sleep(0.05)
    with capture_logs() as lines:
        sys.setswitchinterval(60)  # no other thread runs while this one computes
        try:
            thread.start()
            until = time.monotonic() + 0.3
            while time.monotonic() < until:
                pass
        finally:
            sys.setswitchinterval(held)
        await asyncio.sleep(0.1)
    dog.end()
    ticking.cancel()

    assert [line["event"] for line in lines] == ["event_loop_late"]
    assert lines[0]["seconds"] >= 0.1


async def test_a_busy_loop_is_left_alone() -> None:
    """Work that gives way is no block, however much of it there is."""
    with capture_logs() as lines:
        async with watchdog.watched_loop(0.02, blocked=0.5):
            until = time.monotonic() + 0.2
            while time.monotonic() < until:
                blocking_work(0.001)
                await asyncio.sleep(0)

    assert lines == []


@pytest.mark.parametrize("watched", [True, False])
def test_processes_that_log_are_watched(watched: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """What `serve`, `web` and `worker` run is under the watchdog, and it ends with them; the demo has none."""
    names: list[str] = []

    async def work(_stop: asyncio.Event) -> None:
        names.extend(thread.name for thread in threading.enumerate())

    monkeypatch.setattr(serve, "_collect_less", lambda: None)  # the test runner's garbage is not ours
    before = signal.getsignal(signal.SIGTERM)
    try:
        serve.run_until_stopped(work, watched=watched)
    finally:
        signal.signal(signal.SIGTERM, before)

    assert ("watchdog" in names) == watched

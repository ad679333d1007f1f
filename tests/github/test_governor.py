"""The governor of one process: distance between writes, silence while a limit holds, installations apart."""

from __future__ import annotations

import asyncio
import itertools
from typing import Literal

import pytest

from github.errors import RateLimited
from github.governor import MemoryGovernor
from tests.support.fault_server import FakeClock


def limit(
    clock: FakeClock, seconds: float, kind: Literal["primary", "secondary"] = "primary", *, explicit: bool = True
) -> RateLimited:
    """A limit that ends in `seconds`."""
    return RateLimited("limit", until=clock.now() + seconds, retry_after=seconds, kind=kind, explicit=explicit)


@pytest.fixture
def governor(clock: FakeClock) -> MemoryGovernor:
    """Writes at least 0.2 s apart."""
    return MemoryGovernor(0.2, now=clock.now, sleep=clock.sleep)


async def write(governor: MemoryGovernor, clock: FakeClock, key: int, starts: list[float], takes: float = 0.0) -> None:
    """One write that notes its start."""
    async with governor.turn(key, write=True):
        starts.append(clock.now())
        if takes:
            await clock.sleep(takes)


async def test_writes_of_an_installation_keep_their_distance(governor: MemoryGovernor, clock: FakeClock) -> None:
    """Ten writes at once start 0.2 s apart."""
    starts: list[float] = []
    await asyncio.gather(*(write(governor, clock, 1, starts) for _ in range(10)))
    assert [round(b - a, 6) for a, b in itertools.pairwise(starts)] == [0.2] * 9


async def test_writes_of_an_installation_are_serial(clock: FakeClock) -> None:
    """Even without a distance, the next write starts when the one before has ended."""
    governor = MemoryGovernor(0.0, now=clock.now, sleep=clock.sleep)
    running = most = 0

    async def one() -> None:
        nonlocal running, most
        async with governor.turn(1, write=True):
            running += 1
            most = max(most, running)
            await asyncio.sleep(0.001)
            running -= 1

    await asyncio.gather(*(one() for _ in range(5)))
    assert most == 1


async def test_reads_and_other_installations_do_not_wait_for_a_write(
    governor: MemoryGovernor, clock: FakeClock
) -> None:
    """While one installation writes, its reads and another's writes go through."""
    one, two = governor.turn(1, write=False), governor.turn(2, write=True)
    async with asyncio.timeout(1), governor.turn(1, write=True), one, two:
        assert clock.slept == []


async def test_a_paused_installation_sends_nothing_and_others_go_on(governor: MemoryGovernor, clock: FakeClock) -> None:
    """A limit of 40 minutes refuses reads and writes at once, names the rest of the time, and ends by itself."""
    await governor.pause(1, limit(clock, 2400))
    clock.time += 400
    for write_ in (False, True):
        with pytest.raises(RateLimited) as refused:
            async with governor.turn(1, write=write_):
                pass
        assert refused.value.retry_after == 2000
    async with governor.turn(2, write=True):
        pass
    clock.time += 2000
    async with governor.turn(1, write=True):
        pass


async def test_a_write_that_waited_in_line_sees_a_limit_that_came_meanwhile(
    governor: MemoryGovernor, clock: FakeClock
) -> None:
    """The second write queued before the limit and is not sent after it."""
    starts: list[float] = []
    async with governor.turn(1, write=True):
        second = asyncio.create_task(write(governor, clock, 1, starts))
        await asyncio.sleep(0)
        await governor.pause(1, limit(clock, 60))
    with pytest.raises(RateLimited):
        await second
    assert starts == []


async def test_secondary_limits_without_a_time_grow(governor: MemoryGovernor, clock: FakeClock) -> None:
    """One minute, then twice as long each time, at most 16 minutes; after ten quiet minutes one minute again."""
    pauses = []
    for _ in range(6):
        held = await governor.pause(1, limit(clock, 60, "secondary", explicit=False))
        pauses.append(held.retry_after)
        clock.time = held.until + 1
    assert pauses == [60, 120, 240, 480, 960, 960]
    clock.time += 600
    assert (await governor.pause(1, limit(clock, 60, "secondary", explicit=False))).retry_after == 60


async def test_several_answers_of_one_limit_count_once(governor: MemoryGovernor, clock: FakeClock) -> None:
    """Requests that were under way when the limit came do not double the pause."""
    first = await governor.pause(1, limit(clock, 60, "secondary", explicit=False))
    clock.time += 1
    assert await governor.pause(1, limit(clock, 60, "secondary", explicit=False)) is first


async def test_a_later_end_is_not_shortened(governor: MemoryGovernor, clock: FakeClock) -> None:
    """A short limit inside a long one changes nothing."""
    await governor.pause(1, limit(clock, 3000))
    await governor.pause(1, limit(clock, 5, "secondary"))
    clock.time += 100
    with pytest.raises(RateLimited) as refused:
        async with governor.turn(1, write=False):
            pass
    assert refused.value.kind == "primary"


async def test_a_clock_that_jumps_back_does_not_stop_writing(governor: MemoryGovernor, clock: FakeClock) -> None:
    """After a jump of an hour the next write waits one interval, not an hour."""
    starts: list[float] = []
    await write(governor, clock, 1, starts)
    clock.time -= 3600
    await write(governor, clock, 1, starts)
    assert clock.slept == [0.2]


async def test_a_cancelled_writer_gives_its_place_back(governor: MemoryGovernor, clock: FakeClock) -> None:
    """A write that is given up while it waits does not block those behind it."""
    starts: list[float] = []
    async with governor.turn(1, write=True):
        given_up = asyncio.create_task(write(governor, clock, 1, starts))
        behind = asyncio.create_task(write(governor, clock, 1, starts))
        await asyncio.sleep(0)
        given_up.cancel()
    await asyncio.wait_for(behind, 1)
    assert len(starts) == 1


async def test_idle_installations_are_forgotten(
    governor: MemoryGovernor, clock: FakeClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Memory does not grow with the installations ever seen; limits in force and writes under way are kept."""
    monkeypatch.setattr("github.governor._KEEP_STATES", 50)
    await governor.pause(7, limit(clock, 3000))
    starts: list[float] = []
    async with governor.turn(8, write=True):
        for key in range(100, 400):
            clock.time += 1
            await write(governor, clock, key, [])
        assert len(governor._states) <= 52
        second = asyncio.create_task(write(governor, clock, 8, starts))
        await asyncio.sleep(0.01)
        assert starts == []  # still serial with the one that goes on
    await second
    with pytest.raises(RateLimited):
        async with governor.turn(7, write=False):
            pass

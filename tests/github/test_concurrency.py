"""One load for many, and many loads with a bound."""

from __future__ import annotations

import asyncio
import gc
from functools import partial

import pytest

from github.concurrency import NextFlight, SingleFlight, in_parallel


class Load:
    """A load that ends when told to."""

    def __init__(self) -> None:
        self.started = 0
        self.go = asyncio.Event()
        self.error: Exception | None = None

    async def __call__(self) -> str:
        """Wait for `go`, then the result or the error."""
        self.started += 1
        await self.go.wait()
        if self.error:
            raise self.error
        return "loaded"


async def test_all_who_ask_meanwhile_share_one_load() -> None:
    """Twenty callers, one load; the next caller after the end starts another."""
    flights: SingleFlight[str, str] = SingleFlight()
    load = Load()
    callers = [asyncio.create_task(flights.run("key", load)) for _ in range(20)]
    await asyncio.sleep(0)
    load.go.set()
    assert await asyncio.gather(*callers) == ["loaded"] * 20
    assert load.started == 1
    await flights.run("key", load)
    assert load.started == 2


async def test_a_cancelled_caller_does_not_take_the_load_from_the_others() -> None:
    """Even the caller that started the load may leave."""
    flights: SingleFlight[str, str] = SingleFlight()
    load = Load()
    first = asyncio.create_task(flights.run("key", load))
    second = asyncio.create_task(flights.run("key", load))
    await asyncio.sleep(0)
    first.cancel()
    with pytest.raises(asyncio.CancelledError):
        await first
    load.go.set()
    assert await second == "loaded"
    assert load.started == 1


async def test_an_error_reaches_all_and_is_not_kept() -> None:
    """All waiting callers get the error; the next one tries again."""
    flights: SingleFlight[str, str] = SingleFlight()
    load = Load()
    load.error = LookupError("no")
    load.go.set()
    results = await asyncio.gather(*(flights.run("key", load) for _ in range(3)), return_exceptions=True)
    assert [type(result) for result in results] == [LookupError] * 3
    load.error = None
    assert await flights.run("key", load) == "loaded"


async def test_a_load_nobody_waits_for_fails_in_silence() -> None:
    """No "exception was never retrieved" when all callers have left."""
    reported: list[object] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: reported.append(context))
    flights: SingleFlight[str, str] = SingleFlight()
    load = Load()
    load.error = LookupError("no")
    caller = asyncio.create_task(flights.run("key", load))
    await asyncio.sleep(0)
    caller.cancel()
    load.go.set()
    await asyncio.sleep(0.01)
    gc.collect()
    assert reported == []
    assert load.started == 1


async def test_in_parallel_keeps_order_and_bound() -> None:
    """Results stand in the order of the calls; never more than the limit run."""
    running = most = 0

    async def one(number: int) -> int:
        nonlocal running, most
        running += 1
        most = max(most, running)
        await asyncio.sleep(0.001 * (5 - number % 5))
        running -= 1
        return number

    assert await in_parallel([partial(one, n) for n in range(20)], 4) == list(range(20))
    assert most == 4


async def test_in_parallel_ends_the_rest_at_the_first_error() -> None:
    """The error itself is raised, not a group, and nothing goes on behind it."""
    done: list[int] = []

    async def one(number: int) -> None:
        if number == 1:
            raise LookupError("no")
        await asyncio.sleep(0.02)
        done.append(number)

    with pytest.raises(LookupError):
        await in_parallel([partial(one, n) for n in range(10)], 3)
    await asyncio.sleep(0.05)
    assert done == []


async def test_who_asks_while_a_load_is_under_way_shares_the_next_one() -> None:
    """What was asked for after it had begun may be newer than what it read; the next begins when it has ended."""
    flights: NextFlight[str, str] = NextFlight()
    load = Load()
    first = [asyncio.create_task(flights.run("key", load)) for _ in range(3)]
    for _ in range(3):
        await asyncio.sleep(0)
    late = [asyncio.create_task(flights.run("key", load)) for _ in range(20)]
    other = asyncio.create_task(flights.run("other", load))
    for _ in range(5):
        await asyncio.sleep(0)
    assert load.started == 2  # one for each key
    load.go.set()
    assert await asyncio.gather(*first, *late, other) == ["loaded"] * 24
    assert load.started == 3
    assert not flights._under_way
    assert not flights._next


async def test_a_next_load_goes_on_whatever_becomes_of_callers_and_of_the_load_before() -> None:
    """A caller that is cancelled leaves alone; an error is that of its own load only."""
    flights: NextFlight[str, str] = NextFlight()
    failing, fine = Load(), Load()
    failing.error = ValueError("no")
    first = asyncio.create_task(flights.run("key", failing))
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    second, third = (asyncio.create_task(flights.run("key", fine)) for _ in range(2))
    await asyncio.sleep(0)
    second.cancel()
    failing.go.set()
    fine.go.set()
    with pytest.raises(ValueError, match="no"):
        await first
    assert await third == "loaded"
    assert second.cancelled()
    assert fine.started == 1

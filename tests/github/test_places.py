"""Places for requests under way: first come, first served, whoever is cancelled and however the limit changes."""

from __future__ import annotations

import asyncio

import pytest

from github.places import Places


async def _settle() -> None:
    for _ in range(5):
        await asyncio.sleep(0)


async def test_nobody_is_overtaken() -> None:
    """A place that is given back is that of who has waited longest, also if somebody asks in the same moment."""
    places = Places(lambda: 1)
    order: list[str] = []

    async def one(name: str) -> None:
        await places.take()
        order.append(name)
        places.give_back()

    await places.take()
    first = asyncio.create_task(one("first"))
    await _settle()
    places.give_back()
    await one("second")  # does not let the first one run before it asks
    await first
    assert order == ["first", "second"]
    assert places.taken == 0


@pytest.mark.parametrize("handed", [False, True])
async def test_who_is_cancelled_passes_its_place_on(handed: bool) -> None:
    """While it waits, and in the moment in which the place is already its own."""
    places = Places(lambda: 1)
    await places.take()
    first, second = asyncio.create_task(places.take()), asyncio.create_task(places.take())
    await _settle()
    if handed:
        places.give_back()
    first.cancel()
    await asyncio.gather(first, return_exceptions=True)
    if not handed:
        places.give_back()
    await _settle()
    assert first.cancelled()
    assert second.done()
    assert places.taken == 1


async def test_a_limit_that_grows_lets_in_who_waits() -> None:
    """At the next request or its end; one that shrinks lets nobody in until there is room."""
    limit = 1
    places = Places(lambda: limit)
    await places.take()
    waiting = [asyncio.create_task(places.take()) for _ in range(3)]
    await _settle()
    limit = 3
    last = asyncio.create_task(places.take())
    await _settle()
    assert [task.done() for task in waiting] == [True, True, False]
    limit = 1
    places.give_back()
    places.give_back()
    await _settle()
    assert places.taken == 1
    assert not waiting[2].done()
    places.give_back()
    await _settle()
    assert waiting[2].done()
    assert not last.done()
    places.give_back()
    await last


async def test_waiting_for_a_free_place_keeps_none() -> None:
    """Who only wants to know that there is one leaves it to the others."""
    places = Places(lambda: 1)
    await places.take()
    free = asyncio.create_task(places.free())
    taken = asyncio.create_task(places.take())
    await _settle()
    places.give_back()
    await asyncio.gather(free, taken)
    assert places.taken == 1

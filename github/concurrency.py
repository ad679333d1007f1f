"""Three small tools: one load for many who want the same thing now or from now on, and many loads with a bound."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Coroutine, Hashable, Iterable
from functools import partial
from typing import Any, Generic, TypeVar

K = TypeVar("K", bound=Hashable)
T = TypeVar("T")


class SingleFlight(Generic[K, T]):
    """At most one load per key at a time; all who ask meanwhile get its result or its error.

    A caller that is cancelled leaves alone: the load goes on for the others (and for a cache that it fills).
    """

    def __init__(self) -> None:
        self._flights: dict[K, asyncio.Task[T]] = {}

    async def run(self, key: K, load: Callable[[], Coroutine[Any, Any, T]]) -> T:
        """The result of `load()`, started now or already under way for `key`."""
        flight = self._flights.get(key)
        if flight is None:
            flight = asyncio.create_task(load())
            self._flights[key] = flight
            flight.add_done_callback(partial(self._landed, key))
        await asyncio.wait({flight})  # unlike `await flight`, being cancelled here does not cancel the load
        return flight.result()

    def _landed(self, key: K, flight: asyncio.Task[T]) -> None:
        del self._flights[key]
        if not flight.cancelled():
            flight.exception()  # retrieved, so that a load nobody waits for any more does not warn


class NextFlight(Generic[K, T]):
    """One load per key at a time, for results that must not be older than the question.

    Who asks while a load is under way does not get its result, which may have been read before: all of them share the
    one that begins when it has ended. A caller that is cancelled leaves alone.
    """

    def __init__(self) -> None:
        self._under_way: dict[K, asyncio.Task[T]] = {}
        self._next: dict[K, asyncio.Task[T]] = {}

    async def run(self, key: K, load: Callable[[], Coroutine[Any, Any, T]]) -> T:
        """The result of a `load()` that begins after this call."""
        flight = self._next.get(key)
        if flight is None:
            flight = asyncio.create_task(self._in_turn(key, self._under_way.get(key), load))
            self._next[key] = flight
            flight.add_done_callback(partial(self._landed, key))
        await asyncio.wait({flight})
        return flight.result()

    async def _in_turn(self, key: K, before: asyncio.Task[T] | None, load: Callable[[], Coroutine[Any, Any, T]]) -> T:
        if before is not None:
            await asyncio.wait({before})
        self._under_way[key] = self._next.pop(key)  # from here on whoever asks is late
        return await load()

    def _landed(self, key: K, flight: asyncio.Task[T]) -> None:
        for flights in (self._under_way, self._next):
            if flights.get(key) is flight:
                del flights[key]
        if not flight.cancelled():
            flight.exception()  # as above


async def in_parallel(calls: Iterable[Callable[[], Awaitable[T]]], limit: int) -> list[T]:
    """The results of all `calls` in order, at most `limit` at a time. The first error ends the rest and is raised."""
    gate = asyncio.Semaphore(limit)

    async def one(call: Callable[[], Awaitable[T]]) -> T:
        async with gate:
            return await call()

    tasks = [asyncio.create_task(one(call)) for call in calls]
    try:
        return await asyncio.gather(*tasks)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

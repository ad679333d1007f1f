"""Two small tools: one load for many who want the same thing, and many loads with a bound."""

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

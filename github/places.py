"""What the shared governor counts in its own process: its part of what all may do, requests under way, points used."""

from __future__ import annotations

import asyncio
import math
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass

# "No more than 100 concurrent requests are allowed" (REST docs, rate limits, secondary limits).
CONCURRENT = 100
# The part of a process that the others have not heard of yet.
NEWCOMERS_PLACES = 4


@dataclass(slots=True)
class Shares:
    """This process's part of what all processes may do. `newcomer`: not all know of this one yet."""

    callers: int = 1
    newcomer: bool = True

    def part(self, whole: int) -> int:
        """This process's part. One more is left for newcomers."""
        return whole // (self.callers + 1)

    def places(self) -> int:
        """Requests of an installation that this process may have under way; at least a read and a write."""
        share = self.part(CONCURRENT)
        return max(2, min(share, NEWCOMERS_PLACES) if self.newcomer else share)

    def write_places(self) -> int:
        """Those of the places that are for writes."""
        return max(1, self.places() // 3)

    def read_places(self) -> int:
        """Those that are for reads."""
        return self.places() - self.write_places()


class Places:
    """Places for requests under way, at most `limit()` at a time, first come, first served. The limit may change."""

    def __init__(self, limit: Callable[[], int]) -> None:
        self._limit = limit
        self._waiters: deque[asyncio.Future[None]] = deque()
        self.taken = 0

    async def free(self) -> None:
        """Wait until there is a place, without keeping it."""
        await self.take()
        self.give_back()

    async def take(self) -> None:
        """Wait for a place and take it. Who comes later is served later, however busy it is."""
        if not self._waiters and self.taken < self._limit():
            self.taken += 1
            return
        waiter: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiters.append(waiter)
        self._hand_out()  # the limit may have grown
        try:
            await waiter
        except asyncio.CancelledError:
            if waiter.done() and not waiter.cancelled():
                self.give_back()  # it was handed over, and is not wanted any more
            raise

    def give_back(self) -> None:
        """Leave a place."""
        self.taken -= 1
        self._hand_out()

    def _hand_out(self) -> None:
        """Give the free places to those who have waited longest. They are taken from now on: nobody can be faster."""
        while self._waiters and self.taken < self._limit():
            waiter = self._waiters.popleft()
            if not waiter.done():
                self.taken += 1
                waiter.set_result(None)


class RecentPoints:
    """Points that were used in the last `seconds`, by the second, so that it stays small."""

    def __init__(self, seconds: int = 65) -> None:
        self._seconds = seconds
        self._used: deque[tuple[int, int]] = deque()  # second, points
        self._sum = 0

    def used(self, now: float) -> int:
        """Points of the last `seconds` before `now`."""
        second = math.floor(now)
        while self._used and (self._used[0][0] <= second - self._seconds or self._used[0][0] > second + 1):
            self._sum -= self._used.popleft()[1]  # too old, or the clock was set back
        return self._sum

    def add(self, points: int, now: float) -> None:
        """Points are used now."""
        second, earlier = math.floor(now), 0
        if self._used and self._used[-1][0] == second:
            _, earlier = self._used.pop()
        self._used.append((second, earlier + points))
        self._sum += points

    def wait_for(self, points: int, limit: int, now: float) -> float:
        """Seconds until `points` more stay within `limit`; 0: now."""
        excess = self.used(now) + points - limit
        for second, used in self._used:
            if excess <= 0:
                break
            excess -= used
            if excess <= 0:
                return max(0.0, second + self._seconds - now)
        return 0.0

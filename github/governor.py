"""When an installation may speak to GitHub: writes one after another with a distance, silence while a limit holds.

`Governor` is what the client needs; `MemoryGovernor` is the one of a single process, for commands without a database.
The one that all replicas share is in `github.governor_shared`.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass, field
from typing import Protocol

from github.errors import RateLimited

# "wait at least one second between each" write (REST docs, best practices) is advice; the setting decides, default:
WRITE_INTERVAL = 0.2
# A secondary limit without Retry-After: at least a minute, then twice as long each time (REST docs, rate limits).
LONGEST_SECONDARY_PAUSE = 960.0
# After this many quiet seconds the next secondary limit starts from one minute again.
FORGIVEN_AFTER = 600.0
_KEEP_STATES = 10_000


class Governor(Protocol):
    """Asked before and told after every request. `key`: installation id; 0: the App itself."""

    def turn(self, key: int, *, write: bool, endpoint: str = "", points: int = 1) -> AbstractAsyncContextManager[None]:
        """Hold this while sending one request. Raises RateLimited at once while the installation is paused.

        `endpoint`, `points`: what is asked for and what that costs (`github.endpoints`).
        """
        ...

    async def pause(self, key: int, limit: RateLimited) -> RateLimited:
        """GitHub set a limit: stop the installation. Returns the limit with the time that really holds."""
        ...


@dataclass(slots=True)
class _State:
    lock: asyncio.Lock = field(default_factory=asyncio.Lock)
    users: int = 0
    next_write: float = 0.0
    limit: RateLimited | None = None
    strikes: int = 0


class MemoryGovernor:
    """The governor of one process. `write_interval`: seconds from one write's start to the next one's, at least."""

    def __init__(
        self,
        write_interval: float = WRITE_INTERVAL,
        *,
        now: Callable[[], float] = time.time,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self._interval = write_interval
        self._now = now
        self._sleep = sleep
        self._states: dict[int, _State] = {}

    @asynccontextmanager
    async def turn(self, key: int, *, write: bool, endpoint: str = "", points: int = 1) -> AsyncIterator[None]:
        """See `Governor`. Writes of one installation are serial; reads go at once; points are not counted."""
        state = self._state(key)
        state.users += 1
        try:
            self._refuse_while_paused(state)
            if not write:
                yield
                return
            async with state.lock:
                await self._keep_distance(state)
                self._refuse_while_paused(state)  # a limit may have come while this write waited
                state.next_write = self._now() + self._interval
                yield
        finally:
            state.users -= 1

    async def pause(self, key: int, limit: RateLimited) -> RateLimited:
        """See `Governor`. A later end of an earlier limit stays; secondary limits without a time grow longer."""
        state, now = self._state(key), self._now()
        known = state.limit
        if limit.kind == "secondary" and not limit.explicit:
            if known and known.kind == "secondary" and not known.explicit and now < known.until:
                return known  # the answer to a request sent before the pause: the same limit, not a new one
            state.strikes = state.strikes + 1 if known and now - known.until < FORGIVEN_AFTER else 0
            wait = min((limit.until - now) * 2**state.strikes, LONGEST_SECONDARY_PAUSE)
            limit = RateLimited(str(limit), until=now + wait, retry_after=wait, kind="secondary", explicit=False)
        if known is None or known.until < limit.until:
            state.limit = limit
        return state.limit or limit

    def _refuse_while_paused(self, state: _State) -> None:
        limit, now = state.limit, self._now()
        if limit is not None and now < limit.until:
            raise RateLimited(
                str(limit), until=limit.until, retry_after=limit.until - now, kind=limit.kind, explicit=limit.explicit
            )

    async def _keep_distance(self, state: _State) -> None:
        # never longer than one interval: a clock that jumped back must not stop writing
        wait = min(state.next_write - self._now(), self._interval)
        if wait > 0:
            await self._sleep(wait)

    def _state(self, key: int) -> _State:
        state = self._states.get(key)
        if state is None:
            if len(self._states) >= _KEEP_STATES:
                self._forget_idle()
            state = self._states[key] = _State()
        return state

    def _forget_idle(self) -> None:
        now = self._now()
        for key, state in list(self._states.items()):
            remembered = state.limit is not None and now < state.limit.until + FORGIVEN_AFTER
            if not state.users and not remembered and state.next_write <= now:
                del self._states[key]

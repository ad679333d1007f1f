"""LISTEN/NOTIFY on one connection of its own. It only hurries: whoever uses it polls as well.

The connection is a session (LISTEN does not work through PgBouncer's transaction pooling: PgBouncer docs, "Features").
"""

from __future__ import annotations

import asyncio
import contextlib
import random
from collections.abc import Callable
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

import asyncpg

if TYPE_CHECKING:
    _Connection = asyncpg.Connection[asyncpg.Record]

#: A connection that says nothing is asked this often (seconds) whether it is still there, and given this long.
PING_EVERY = 15.0
PING_TIMEOUT = 5.0
#: Seconds between two attempts to connect: doubled from the first to the longest, with jitter.
FIRST_PAUSE = 0.2
LONGEST_PAUSE = 10.0


class Listener:
    """A supervised connection that listens. Use it as `async with Listener(dsn, on_lost=...) as listener`.

    `on_lost` is called when the connection is lost, and again when it is back, or when a channel with callbacks is
    listened to for the first time: what was learned before was learned without hearing of changes. A server that is
    away is no error: it is tried again for ever.
    """

    def __init__(self, dsn: str, *, on_lost: Callable[[], None] = lambda: None) -> None:
        self._dsn = dsn
        self._on_lost = [on_lost]
        self._events: dict[str, asyncio.Event] = {}
        self._callbacks: dict[str, list[Callable[[str], None]]] = {}
        self._more = asyncio.Event()  # there is a new channel, or the connection is gone
        self._task: asyncio.Task[None] | None = None
        self.connected = asyncio.Event()

    async def __aenter__(self) -> Self:
        self._task = asyncio.create_task(self._run())
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._task is not None:
            self._task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._task

    def event(self, channel: str) -> asyncio.Event:
        """An event that is set by each notification of the channel, and whenever some may have been missed."""
        if channel not in self._events:
            self._events[channel] = asyncio.Event()
            self._more.set()
        return self._events[channel]

    def subscribe(self, channel: str, callback: Callable[[str], None]) -> None:
        """Call `callback` with the payload of each notification of the channel."""
        self._callbacks.setdefault(channel, []).append(callback)
        self._more.set()

    def when_missed(self, callback: Callable[[], None]) -> None:
        """Call `callback` as well, when `on_lost` is called."""
        self._on_lost.append(callback)

    def _tell_lost(self) -> None:
        for callback in self._on_lost:
            callback()

    async def _run(self) -> None:
        pause = FIRST_PAUSE
        heard_before = False
        while True:
            try:
                connection = await asyncpg.connect(
                    self._dsn,
                    timeout=10,
                    command_timeout=PING_TIMEOUT,
                    server_settings={"application_name": "stepgate listen"},
                )
            except (OSError, asyncpg.PostgresError, asyncpg.InterfaceError):
                await asyncio.sleep(pause * (0.5 + random.random()))  # noqa: S311 (spreads replicas, no secret)
                pause = min(pause * 2, LONGEST_PAUSE)
                continue
            pause = FIRST_PAUSE
            try:
                await self._listen(connection, missed=heard_before)
            except (OSError, asyncpg.PostgresError, asyncpg.InterfaceError):
                pass  # lost: connect again
            finally:
                self.connected.clear()
                connection.terminate()
            heard_before = True
            self._tell_lost()

    async def _listen(self, connection: _Connection, *, missed: bool) -> None:
        """Listen until the connection is lost, which is seen at once, or by the next ping."""
        heard: set[str] = set()
        connection.add_termination_listener(lambda _: self._more.set())
        while True:
            self._more.clear()
            fresh = (set(self._events) | set(self._callbacks)) - heard
            for channel in sorted(fresh):
                await connection.add_listener(channel, self._hear)
            heard |= fresh
            if missed or fresh & set(self._callbacks):  # what was learned before we listened may have changed unheard
                self._tell_lost()
                missed = False
            self.connected.set()
            for channel in fresh & set(self._events):
                self._events[channel].set()
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._more.wait(), timeout=PING_EVERY)
            await connection.execute("SELECT 1")

    def _hear(self, _connection: Any, _pid: int, channel: str, payload: object) -> None:
        if channel in self._events:
            self._events[channel].set()
        for callback in self._callbacks.get(channel, ()):
            callback(str(payload))

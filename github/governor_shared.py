"""The governor that all processes share: its state is in PostgreSQL (storage/budgets.py).

- Writes: each reserves its moment with one statement, so that processes queue without asking again and again.
- Reads: a process may send a few by itself ("small change"); then it takes points in leases that grow with the use.
- Concurrency: processes that speak to GitHub now tell so every few seconds, and part the places among them.
- Limits that GitHub sets stop an installation everywhere: at its next statement, and at once by NOTIFY.
- Without the database each process keeps to its part of the limits by its own clock, and never to less.

Nothing is locked while GitHub is spoken to, and nobody who waits holds a place.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Literal, NoReturn, TypeVar

import structlog

from github.endpoints import POINTS_A_MINUTE, WRITE_POINTS
from github.errors import RateLimited
from github.governor import FORGIVEN_AFTER, LONGEST_SECONDARY_PAUSE, WRITE_INTERVAL
from github.places import Places, RecentPoints, Shares
from storage.budgets import Budgets, Grant, WriteRules
from storage.database import is_transient

log = structlog.get_logger(__name__)
T = TypeVar("T")

# "80 content-generating requests per minute and 500 per hour" in general (same page); whether reports count as such is
# not said there. The profile "strict" keeps to it.
STRICT_A_MINUTE, STRICT_AN_HOUR = 80, 500

# Points a minute that processes may spend on reads without asking the database, all together.
SMALL_CHANGE = 25
# What is left of an endpoint's minute for everything that is counted in the database.
SHARED_POINTS = POINTS_A_MINUTE - SMALL_CHANGE
# A distance of 0 says that GitHub has no limits (GitHub Enterprise Server has none unless they are switched on).
NO_LIMIT = 1_000_000_000
# Leases of points for reads: from the least to the most, and the seconds after which the rest of one is worth nothing.
# (Windows are 65 s long, so that points may be spent up to 5 s after they were taken.)
LEAST_LEASE, MOST_LEASE, LEASE_SECONDS = 5, 50, 3.0
# Whoever would have to wait longer gives its work back instead (seconds), so that it keeps nobody else's waiting...
LONGEST_WAIT = 3.0
# ... but for a command, which has nothing else to do: it waits until a window is over.
COMMANDS_PATIENCE = 75.0
# After a refusal for our own pace nobody asks again for this long, or until its time (seconds).
REFUSED_FOR = 60.0
OUR_PACE = "we keep our own pace with this installation: later"

# A process says this often that it speaks to GitHub, and is counted for a while after (seconds).
SAY_EVERY, ALIVE = 10.0, 40.0

# A database that does not answer for so long is away; it is asked again after a while (seconds).
PATIENCE, ALONE_FOR = 3.0, 5.0

_KEEP_STATES = 10_000


@dataclass(slots=True)
class _Endpoint:
    """What this process may read of an endpoint. `change`: what it took without asking; `all`: what it used."""

    lock: asyncio.Lock = field(default_factory=asyncio.Lock)
    leased: int = 0
    lease_ends: float = 0.0
    lease_size: int = 0
    change: RecentPoints = field(default_factory=RecentPoints)
    all: RecentPoints = field(default_factory=RecentPoints)


@dataclass(slots=True)
class _State:
    """An installation, as far as this process knows it. `writers`: the queue of those who want to write."""

    reads: Places
    writes: Places
    writers: asyncio.Lock = field(default_factory=asyncio.Lock)
    users: int = 0
    limit: RateLimited | None = None
    untold: RateLimited | None = None  # the database was away when GitHub set it
    no_write_until: float = 0.0
    next_write: float = 0.0  # without the database only
    used_at: float = 0.0
    endpoints: dict[str, _Endpoint] = field(default_factory=dict)


class SharedGovernor:
    """See `github.governor.Governor`. `holder` names this process; `write_interval`: least seconds between writes.

    An interval of 0 means a GitHub without limits: then points are not limited either, unless GitHub refuses something.
    `patience`: how long a request may wait for our own pace, in seconds.
    """

    def __init__(
        self,
        budgets: Budgets,
        holder: str,
        write_interval: float = WRITE_INTERVAL,
        *,
        strict: bool = False,
        patience: float = LONGEST_WAIT,
        now: Callable[[], float] = time.time,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self._budgets = budgets
        self._holder = holder
        per_minute, per_hour = (STRICT_A_MINUTE, STRICT_AN_HOUR) if strict else (0, 0)
        points = SHARED_POINTS if write_interval > 0 or strict else NO_LIMIT
        self.rules = WriteRules(write_interval, points, per_minute, per_hour, longest_wait=LONGEST_WAIT)
        self._alone_distance = max(write_interval, WRITE_INTERVAL, 3600 / per_hour if strict else 0.0)
        self._patience = patience
        self._now = now
        self._sleep = sleep
        self._states: dict[int, _State] = {}
        self._shares = Shares()
        self._said_at = float("-inf")
        self._saying = asyncio.Lock()
        self._alone_until = float("-inf")

    @asynccontextmanager
    async def turn(self, key: int, *, write: bool, endpoint: str = "", points: int = 1) -> AsyncIterator[None]:
        """See `Governor`. RateLimited also when the wait for our own pace would be too long."""
        state = self._state(key)
        state.users += 1
        try:
            await self._tell_what_is_untold(key, state)
            self._refuse_while_paused(state)
            await self._say_that_we_are_here()
            places = state.writes if write else state.reads
            if write:
                await self._enter_write(key, state, endpoint)
            else:
                await self._enter_read(key, state, endpoint, points)
            try:
                yield
            finally:
                places.give_back()
        finally:
            state.users -= 1
            state.used_at = self._now()

    async def pause(self, key: int, limit: RateLimited) -> RateLimited:
        """See `Governor`."""
        state = self._state(key)
        if state.limit is None or state.limit.until <= self._now():
            self._remember(state, limit)  # at once: the database may take its time, or the caller be cancelled
        held = await self._ask(
            lambda: self._budgets.pause(
                key,
                limit.kind,
                named=limit.explicit,
                seconds=max(0.0, limit.until - self._now()),
                longest=LONGEST_SECONDARY_PAUSE,
                forgiven=FORGIVEN_AFTER,
            )
        )
        if held is None:
            state.untold = limit
        else:
            limit = self._limited(str(limit), held.wait, held.kind, named=held.named)
        self._remember(state, limit)
        return state.limit or limit

    def heard(self, payload: str) -> None:
        """Another process has paused an installation (channel storage.budgets.PAUSED)."""
        key, seconds, kind, named = payload.split()
        if int(key) not in self._states:
            return  # the database will tell, if it is ever asked for
        what = "GitHub has set a limit (told by another process)"
        limit = self._limited(what, float(seconds), "primary" if kind == "primary" else "secondary", named=named == "t")
        self._remember(self._state(int(key)), limit)

    # ------------------------------------------------------------------------------------------------- reads, writes

    async def _enter_write(self, key: int, state: _State, endpoint: str) -> None:
        """Wait for the next moment at which the installation may write, and take a place."""
        async with state.writers:  # the head of the queue alone reserves, and takes a place of those for writes
            await state.writes.free()
            self._refuse_while_paused(state)
            refused_for = state.no_write_until - self._now()
            if 0 < refused_for < REFUSED_FOR + 1:
                raise self._limited(OUR_PACE, refused_for, "secondary", named=True)
            grant = await self._reserve(key, state, endpoint)
            while grant.refused == "pace" and grant.wait <= self._patience:
                await self._sleep(grant.wait)
                self._refuse_while_paused(state)
                grant = await self._reserve(key, state, endpoint)
            if grant.refused is not None:
                state.no_write_until = self._now() + min(grant.wait, REFUSED_FOR)
                self._refuse(state, grant)
            if grant.wait > 0:
                await self._sleep(grant.wait)
            self._refuse_while_paused(state)  # a limit may have come while this write waited
            self._endpoint(state, endpoint).all.add(WRITE_POINTS, self._now())
            await state.writes.take()

    async def _reserve(self, key: int, state: _State, endpoint: str) -> Grant:
        rules = self.rules
        grant = await self._ask(lambda: self._budgets.reserve_write(key, endpoint, WRITE_POINTS, rules))
        return grant or self._write_alone(state, endpoint)

    async def _enter_read(self, key: int, state: _State, endpoint: str, points: int) -> None:
        """Get points for a read, and a place. The points are spent last, so that they are spent in time."""
        known = self._endpoint(state, endpoint)
        while True:
            async with known.lock:
                while not self._has_points(known, points):
                    self._refuse_while_paused(state)
                    await self._lease(key, state, known, endpoint, points)
            await state.reads.take()
            try:
                self._refuse_while_paused(state)
                if self._spend(known, points):
                    return
            except RateLimited:
                state.reads.give_back()
                raise
            state.reads.give_back()

    def _has_points(self, known: _Endpoint, points: int) -> bool:
        return self._leased(known) >= points or self._has_change(known, points)

    def _leased(self, known: _Endpoint) -> int:
        left = known.lease_ends - self._now()
        return known.leased if 0 < left < LEASE_SECONDS + 1 else 0  # longer: the clock was set back

    def _has_change(self, known: _Endpoint, points: int) -> bool:
        share = 0 if self._shares.newcomer else self._shares.part(SMALL_CHANGE)
        return known.change.used(self._now()) + points <= share

    def _spend(self, known: _Endpoint, points: int) -> bool:
        """Take points: of the lease if there is one, else of the small change; False if both are used up meanwhile."""
        now = self._now()
        if self._leased(known) >= points:
            known.leased -= points
        elif self._has_change(known, points):
            known.change.add(points, now)
        else:
            return False
        known.all.add(points, now)
        return True

    async def _lease(self, key: int, state: _State, known: _Endpoint, endpoint: str, points: int) -> None:
        """Take points, or wait for some. The next lease is twice as large as what was used of the last one."""
        used = known.lease_size - known.leased
        wanted = max(points, min(MOST_LEASE, max(LEAST_LEASE, 2 * used)))
        most = self.rules.points
        if state.limit is not None and self._now() < state.limit.until + FORGIVEN_AFTER:
            most = min(most, SHARED_POINTS)  # whatever the setting says, there are limits
        grant = await self._ask(lambda: self._budgets.lease_reads(key, endpoint, most, wanted, points))
        if grant is None:
            grant = self._read_alone(known, points)
        if grant.taken:
            known.leased = known.lease_size = grant.taken
            known.lease_ends = self._now() + LEASE_SECONDS
        elif grant.refused != "pace" or grant.wait > self._patience:
            self._refuse(state, grant)
        else:
            await self._sleep(grant.wait)

    # ---------------------------------------------------------------------------------------------- without database

    async def _ask(self, ask: Callable[[], Awaitable[T]]) -> T | None:
        """What the database says; None when it is away: then this process keeps to its own part for a while."""
        if 0 < self._alone_until - self._now() < ALONE_FOR + 1:  # further away: the clock was set back
            return None
        try:
            async with asyncio.timeout(PATIENCE):
                return await ask()
        except Exception as error:  # whatever it is, GitHub's limits are kept
            self._alone_until = self._now() + ALONE_FOR
            log.warning("budget_unknown", error=repr(error), exc_info=not is_transient(error))
            return None

    def _write_alone(self, state: _State, endpoint: str) -> Grant:
        """The next write by this process's own clock: as if all known processes wrote without telling each other."""
        now, distance = self._now(), self._alone_distance * self._shares.callers
        wait = max(0.0, min(state.next_write - now, distance))
        used = self._endpoint(state, endpoint).all
        wait = max(wait, used.wait_for(WRITE_POINTS, SHARED_POINTS // self._shares.callers, now))
        if wait > max(LONGEST_WAIT, distance):
            return Grant(0, wait, "pace")
        state.next_write = now + wait + distance
        return Grant(WRITE_POINTS, wait)

    def _read_alone(self, known: _Endpoint, points: int) -> Grant:
        wait = known.all.wait_for(points, SHARED_POINTS // self._shares.callers, self._now())
        return Grant(points, 0.0) if wait <= 0 else Grant(0, wait, "pace")

    # --------------------------------------------------------------------------------------------------------- shares

    async def _say_that_we_are_here(self) -> None:
        """Tell the others of this process, and learn how many they are."""
        if 0 <= self._now() - self._said_at < SAY_EVERY:
            return
        async with self._saying:
            if 0 <= self._now() - self._said_at < SAY_EVERY:
                return
            callers = await self._ask(lambda: self._budgets.callers(self._holder, timedelta(seconds=ALIVE)))
            self._said_at = self._now()
            if callers is not None:
                self._shares.callers, self._shares.newcomer = callers.count, not callers.known

    # --------------------------------------------------------------------------------------------------------- limits

    def _refuse_while_paused(self, state: _State) -> None:
        limit, now = state.limit, self._now()
        if limit is not None and now < limit.until:
            raise self._limited(str(limit), limit.until - now, limit.kind, named=limit.explicit)

    async def _tell_what_is_untold(self, key: int, state: _State) -> None:
        """Tell the other processes of a limit that came while the database was away, if it still holds."""
        limit, state.untold = state.untold, None
        if limit is not None and limit.until > self._now():
            await self.pause(key, limit)

    def _refuse(self, state: _State, grant: Grant) -> NoReturn:
        """Raise what a refused grant means."""
        if grant.refused is None or grant.refused == "pace":
            raise self._limited(OUR_PACE, grant.wait, "secondary", named=True)
        limit = self._limited("GitHub has set a limit", grant.wait, grant.refused, named=grant.named)
        self._remember(state, limit)
        raise limit

    def _limited(self, what: str, wait: float, kind: Literal["primary", "secondary"], *, named: bool) -> RateLimited:
        return RateLimited(what, until=self._now() + wait, retry_after=wait, kind=kind, explicit=named)

    def _remember(self, state: _State, limit: RateLimited) -> None:
        if state.limit is None or state.limit.until < limit.until:
            state.limit = limit

    # --------------------------------------------------------------------------------------------------------- states

    def _endpoint(self, state: _State, endpoint: str) -> _Endpoint:
        return state.endpoints.setdefault(endpoint, _Endpoint())

    def _state(self, key: int) -> _State:
        state = self._states.get(key)
        if state is None:
            if len(self._states) >= _KEEP_STATES:
                self._forget_idle()
            state = self._states[key] = _State(Places(self._shares.read_places), Places(self._shares.write_places))
        return state

    def _forget_idle(self) -> None:
        """Forget who was not used for two minutes: its windows and leases are over."""
        now = self._now()
        for key, state in list(self._states.items()):
            paused = state.limit is not None and now < state.limit.until
            if not state.users and not paused and state.used_at < now - 120:
                del self._states[key]

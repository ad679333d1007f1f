"""Who has a page open, and what waits to be told to each: bounded for every client and for all of them."""

from __future__ import annotations

import asyncio
import secrets
from collections import Counter, deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from cachetools import LRUCache

#: What is told when no single session can be named: something, perhaps much, may have changed.
RELOAD = ""
#: Sessions of which a process remembers whose they are; that never changes.
REMEMBERED = 10_000


@dataclass(frozen=True, slots=True)
class Limits:
    """What a hub keeps and takes; times in seconds.

    `quiet`: two events about one session are at least so far apart, what comes between is one. `kept`: newest events
    that a stream can be continued from. `waiting`: sessions that may wait for one slow client; beyond, it is told to
    reload. `clients`, `per_visitor`: streams at a time. `sessions`: distinct sessions that are held apart at a time;
    beyond (a nightly job, say) everybody is told to reload. `patience`: for a client that does not read.
    """

    quiet: float = 1.0
    kept: int = 1000
    waiting: int = 200
    clients: int = 1000
    per_visitor: int = 8
    sessions: int = 2000
    heartbeat: float = 15.0
    longest: float = 3600.0
    patience: float = 10.0


class TooMany(Exception):  # noqa: N818 - named as what is refused
    """There are too many streams: of this visitor (`theirs`), or in this process."""

    def __init__(self, *, theirs: bool) -> None:
        super().__init__("too many streams of this visitor" if theirs else "too many streams")
        self.theirs = theirs


@dataclass(eq=False, slots=True)
class Client:
    """One stream. `waiting`: session id -> number of its newest event, in the order in which they came."""

    wanted: Callable[[str], bool]
    waiting: dict[str, int] = field(default_factory=dict)
    ready: asyncio.Event = field(default_factory=asyncio.Event)

    def put(self, session_id: str, number: int, most: int) -> None:
        """Let an event wait to be sent. Too many of them become one that says `reload`."""
        if RELOAD in self.waiting or session_id == RELOAD or len(self.waiting) >= most:
            session_id = RELOAD
            self.waiting.clear()
        self.waiting.pop(session_id, None)  # it goes to the end: a stream that is cut has sent all smaller numbers
        self.waiting[session_id] = number
        self.ready.set()

    def take(self) -> list[tuple[str, int]]:
        """Everything that waits."""
        items = list(self.waiting.items())
        self.waiting.clear()
        self.ready.clear()
        return items


class Hub:
    """Hears of changed sessions once per process and tells every stream that wants to know."""

    def __init__(self, limits: Limits | None = None) -> None:
        self.limits = limits or Limits()
        self.closed = asyncio.Event()
        self.learners: LRUCache[str, int] = LRUCache(REMEMBERED)
        self._name = secrets.token_hex(4)  # event ids of another process, or of one before a restart, mean nothing here
        self._number = 0
        self._kept: deque[tuple[int, str]] = deque(maxlen=self.limits.kept)
        self._clients: set[Client] = set()
        self._visitors: Counter[str] = Counter()
        self._held: dict[str, bool] = {}  # session -> whether it changed again within `quiet`
        self._timers: set[asyncio.TimerHandle] = set()

    def changed(self, session_id: str) -> None:
        """A session changed: the callback of the notification channel. Told at once, and then at most each `quiet`."""
        if session_id in self._held:
            self._held[session_id] = True
        elif len(self._held) >= self.limits.sessions and session_id != RELOAD:
            self.changed(RELOAD)
        else:
            self._tell(session_id)
            self._hold(session_id)

    def missed(self) -> None:
        """Changes may have gone unheard: the notification channel was cut, or is back."""
        self.changed(RELOAD)

    def close(self) -> None:
        """End all streams."""
        self.closed.set()
        for timer in self._timers:
            timer.cancel()
        for client in self._clients:
            client.ready.set()

    def _hold(self, session_id: str) -> None:
        if self.closed.is_set():
            return

        def release() -> None:
            self._timers.discard(timer)
            if self._held.pop(session_id, False):
                self._tell(session_id)
                self._hold(session_id)

        self._held[session_id] = False
        timer = asyncio.get_running_loop().call_later(self.limits.quiet, release)
        self._timers.add(timer)

    def _tell(self, session_id: str) -> None:
        self._number += 1
        self._kept.append((self._number, session_id))
        for client in self._clients:
            if session_id == RELOAD or client.wanted(session_id):
                client.put(session_id, self._number, self.limits.waiting)

    def event_id(self, number: int) -> str:
        """The id of an event, by which its stream can be continued."""
        return f"{self._name}-{number}"

    @contextmanager
    def client(self, who: str, wanted: Callable[[str], bool], last_id: str = "") -> Iterator[Client]:
        """A stream of visitor `who`, continued after event `last_id` if one is given. Raises TooMany."""
        if self._visitors[who] >= self.limits.per_visitor:
            raise TooMany(theirs=True)
        if len(self._clients) >= self.limits.clients:
            raise TooMany(theirs=False)
        client = Client(wanted)
        for session_id, number in self._since(last_id):
            if session_id == RELOAD or wanted(session_id):
                client.put(session_id, number, self.limits.waiting)
        self._clients.add(client)
        self._visitors[who] += 1
        try:
            yield client
        finally:
            self._clients.discard(client)
            self._visitors[who] -= 1
            if not self._visitors[who]:
                del self._visitors[who]

    def _since(self, last_id: str) -> list[tuple[str, int]]:
        """Events after one, or a single `reload` when they are not known here."""
        name, _, digits = last_id.partition("-")
        known = name == self._name and digits.isascii() and digits.isdigit() and len(digits) < 20
        oldest = self._number - len(self._kept)  # the event before the oldest one that is kept
        if not known or not oldest <= int(digits) <= self._number:
            return [(RELOAD, self._number)]
        return [(session_id, number) for number, session_id in self._kept if number > int(digits)]

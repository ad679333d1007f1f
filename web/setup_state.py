"""A setup that is going on: who may see it, what was decided, what GitHub's answer is waited for. No HTTP in here."""

from __future__ import annotations

import asyncio
import hmac
import secrets
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from github.manifest import LIFETIME, Registered, Template
from web.setup_form import Choice, Known

# The browser fetches the last page's style after the page: we stay for that long, in seconds.
LINGER = 2.0


class NotKeptError(Exception):
    """Credentials could not be written; the message is a sentence that names the cause."""


class Keeper(Protocol):
    """Where credentials go."""

    def problem(self) -> str | None:
        """Why they could not be written into the working folder; None if they can."""

    def keep(self, registered: Registered, choice: Choice) -> Sequence[str]:
        """Write them; returns the names of the files. NotKeptError if that fails: then nothing is written."""

    def lines(self, registered: Registered, choice: Choice) -> Sequence[str]:
        """The variables `NAME=value`, for those who set them elsewhere."""


@dataclass(slots=True)
class _Pending:
    """What was decided, waiting for GitHub's answer with `state`. `since`: by our clock."""

    choice: Choice
    state: str
    since: float


@dataclass(slots=True)
class Setup:
    """A setup that is going on. `here`: our root as the terminal's link names it, without trailing slash.

    `written` is set when credentials are in their file: the App can start. With lines shown instead it stays unset.
    """

    template: Template
    known: Known
    here: str
    keeper: Keeper
    clock: Callable[[], float] = time.time
    linger: float = LINGER
    token: str = field(default_factory=lambda: secrets.token_urlsafe(32), repr=False)
    written: asyncio.Event = field(default_factory=asyncio.Event)
    typed: Mapping[str, str] = field(default_factory=dict)  # the form's fields as they were last sent
    _cookie: str = field(default="", repr=False)
    _pending: _Pending | None = None
    _over: bool = False

    @property
    def link(self) -> str:
        """The link that works once."""
        return f"{self.here}/setup?token={self.token}"

    def admit(self, token: str) -> str | None:
        """The cookie for the first browser that brings the link's token; None for everybody else."""
        if self._over or not self.token or not _equal(token, self.token):
            return None
        self.token, self._cookie = "", secrets.token_urlsafe(32)
        return self._cookie

    def knows(self, cookie: str) -> bool:
        """Whether this is the browser that opened the link, and there is still something to set up."""
        return not self._over and bool(self._cookie) and _equal(cookie, self._cookie)

    def decide(self, choice: Choice) -> None:
        """Wait for GitHub's answer to this choice, and to no earlier one."""
        self._pending = _Pending(choice, secrets.token_urlsafe(32), self.clock())

    def waiting(self) -> tuple[Choice, str] | None:
        """What was decided and the state to send along; a state whose hour is over is replaced."""
        if self._pending is None:
            return None
        if self.clock() - self._pending.since >= LIFETIME:
            self.decide(self._pending.choice)
        return self._pending.choice, self._pending.state

    def take(self, state: str) -> Choice | None:
        """What was decided with this state, which is used up by that; None for another, used or expired one."""
        pending = self._pending
        if pending is None or not _equal(state, pending.state):
            return None
        self._pending = None
        return pending.choice if self.clock() - pending.since < LIFETIME else None

    def give_back(self, choice: Choice, state: str) -> None:
        """Let the same address be tried again, after a failure that may pass."""
        if self._pending is None:
            self._pending = _Pending(choice, state, self.clock())

    def finish(self, *, written: bool) -> None:
        """Let nobody in any more; if credentials were `written`, the App may start a moment later."""
        self._over = True
        if written:
            asyncio.get_running_loop().call_later(self.linger, self.written.set)


def _equal(one: str, other: str) -> bool:
    return hmac.compare_digest(one.encode(errors="surrogatepass"), other.encode())

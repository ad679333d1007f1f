"""What a scripted fault does. Requests: latency, drop, reset, answers, headers, ...; deliveries: delay, loss, ...

Each class is one kind of fault; in JSON its name is `kind`, in lower case with hyphens, and its fields stand beside it.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field, fields
from typing import Any, Literal

from aiohttp import web

from .errors import SandboxError
from .presets import PRESETS

Script = Callable[[web.Request], "web.StreamResponse | Awaitable[web.StreamResponse | None] | None"]
TOKEN_LENGTHS = range(40, 601)


def _positive(effect: object, *names: str) -> None:
    for name in names:
        value = getattr(effect, name)
        if value is not None and value <= 0:
            raise SandboxError(f"{name} is {value}, not above 0")


def _not_negative(effect: object, *names: str) -> None:
    for name in names:
        value = getattr(effect, name)
        if value is not None and value < 0:
            raise SandboxError(f"{name} is {value}, below 0")


# ------------------------------------------------------------------------------------------------ the connection


@dataclass(frozen=True, slots=True)
class Latency:
    """Seconds lost `before` the request is executed, then before the answer's `headers`, then amid its `body`."""

    before: float = 0.0
    headers: float = 0.0
    body: float = 0.0

    def __post_init__(self) -> None:
        _not_negative(self, "before", "headers", "body")
        if not (self.before or self.headers or self.body):
            raise SandboxError("give before, headers or body in seconds")


@dataclass(frozen=True, slots=True)
class Drop:
    """The connection is closed before the request is executed."""


@dataclass(frozen=True, slots=True)
class Reset:
    """The request is executed, then the connection is reset without an answer."""


@dataclass(frozen=True, slots=True)
class Truncate:
    """The answer's body is cut after `keep` bytes (None: in the middle).

    `promise`: "cut", the Content-Length is that of the cut body; "whole", of the whole one, and the connection ends.
    """

    keep: int | None = None
    promise: Literal["cut", "whole"] = "cut"

    def __post_init__(self) -> None:
        _not_negative(self, "keep")


# ------------------------------------------------------------------------------------------------ the answer


@dataclass(frozen=True, slots=True)
class Answer:
    """An answer of this status and body instead of the sandbox's own; `executed`: after the request was executed.

    `like` names one of `presets.PRESETS`, whose parts the other fields replace. A body that is no text is sent as JSON.
    Header values may hold `{now+90}` (seconds since 1970) and `{date-5}` (an HTTP date), of the sandbox's clock.
    """

    status: int | None = None
    body: Any = None
    headers: Mapping[str, str] = field(default_factory=dict)
    content_type: str | None = None
    like: str | None = None
    executed: bool = False

    def __post_init__(self) -> None:
        if self.like is not None and self.like not in PRESETS:
            raise SandboxError(f"like is {self.like!r}, not one of {', '.join(sorted(PRESETS))}")
        if self.like is None and self.status is None:
            raise SandboxError("give a status, or like")
        if self.status is not None and not 200 <= self.status <= 999:
            raise SandboxError(f"status is {self.status}, not within 200 and 999")


@dataclass(frozen=True, slots=True)
class Redirect:
    """A redirect: to the repository's address by id as after a rename, or to the same path below `to`, a root."""

    to: str | None = None
    status: Literal[301, 302, 307, 308] = 301


@dataclass(frozen=True, slots=True)
class Headers:
    """The answer's headers, some of them set (values as in `Answer`), some removed (`x-ratelimit-*`: all such)."""

    set: Mapping[str, str] = field(default_factory=dict)
    remove: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if not self.set and not self.remove:
            raise SandboxError("give set or remove")


@dataclass(frozen=True, slots=True)
class Scripted:
    """A function that may answer a request itself; None lets it pass. Not to be had in JSON."""

    function: Script


# ------------------------------------------------------------------------------------------------ what GitHub knows


@dataclass(frozen=True, slots=True)
class Lag:
    """The request is served by a replica that is `seconds` behind; None: that stands still since the fault was added.

    `hides`: "objects", pushed commits with their trees and files (404 or 422); "refs", branches show their old heads;
    "reports", check runs and statuses are not listed yet. Writes to git (PUT, DELETE) go to the primary.
    """

    seconds: float | None = None
    hides: tuple[Literal["objects", "refs", "reports"], ...] = ("objects", "refs")

    def __post_init__(self) -> None:
        _positive(self, "seconds")
        if not self.hides:
            raise SandboxError("hides is empty")


@dataclass(frozen=True, slots=True)
class Stale:
    """A GET is answered as the same caller's first one to that address was since the fault was added."""


@dataclass(frozen=True, slots=True)
class Limits:
    """Smaller limits than GitHub's: entries of a recursive tree, files and commits of a comparison, files of a commit.

    A cut tree says `truncated: true`; the others say nothing, as on GitHub.
    """

    tree_entries: int | None = None
    compare_files: int | None = None
    compare_commits: int | None = None
    commit_files: int | None = None

    def __post_init__(self) -> None:
        names = [each.name for each in fields(self)]
        _not_negative(self, "tree_entries", "compare_files", "commit_files")
        _positive(self, "compare_commits")
        if all(getattr(self, name) is None for name in names):
            raise SandboxError(f"give one of {', '.join(names)}")


@dataclass(frozen=True, slots=True)
class Token:
    """New installation tokens are `length` characters long."""

    length: int

    def __post_init__(self) -> None:
        if self.length not in TOKEN_LENGTHS:
            raise SandboxError(f"length is {self.length}, not within {TOKEN_LENGTHS[0]} and {TOKEN_LENGTHS[-1]}")


@dataclass(frozen=True, slots=True)
class ClockOffset:
    """This GitHub's clock is that many seconds fast (below 0: slow), in all it says and checks."""

    seconds: float


@dataclass(frozen=True, slots=True)
class Rates:
    """Rate limits of each caller, really counted, with GitHub's refusals. None: not limited.

    GitHub docs, rate limits for the REST API: 900 points a minute (reads 1, writes 5; here of each endpoint), 100
    requests at once, 80 content-creating requests a minute and 500 an hour (here: every POST and PUT but those for
    tokens). `writes_per_minute` counts PATCH and DELETE too; `per_hour` is the primary limit. A secondary refusal has
    this `status` and Retry-After (None: none), and for `blocks` seconds (None: as many as Retry-After, or 60)
    everything of that caller is refused.
    """

    points_per_minute: int | None = 900
    concurrent: int | None = 100
    content_per_minute: int | None = 80
    content_per_hour: int | None = 500
    writes_per_minute: int | None = None
    per_hour: int | None = None
    status: Literal[403, 429] = 403
    retry_after: int | None = 60
    blocks: float | None = None

    def __post_init__(self) -> None:
        _positive(self, "points_per_minute", "concurrent", "content_per_minute", "content_per_hour")
        _positive(self, "writes_per_minute", "per_hour")
        _not_negative(self, "retry_after", "blocks")


# ------------------------------------------------------------------------------------------------ deliveries


@dataclass(frozen=True, slots=True)
class Delay:
    """The delivery is sent that many seconds later; others overtake it. The log says `throttled_at`."""

    seconds: float

    def __post_init__(self) -> None:
        _positive(self, "seconds")


@dataclass(frozen=True, slots=True)
class Duplicate:
    """The delivery arrives `copies` times under one GUID; the log knows of one."""

    copies: int = 2

    def __post_init__(self) -> None:
        if self.copies < 2:
            raise SandboxError(f"copies is {self.copies}, not 2 or more")


@dataclass(frozen=True, slots=True)
class Reorder:
    """Deliveries are held back until there are `size` of them, then sent backwards, or shuffled with the fault's seed.

    A group that is not full after `seconds` is sent as it is.
    """

    size: int
    how: Literal["backwards", "shuffled"] = "backwards"
    seconds: float = 2.0

    def __post_init__(self) -> None:
        _positive(self, "seconds")
        if self.size < 2:
            raise SandboxError(f"size is {self.size}, not 2 or more")


@dataclass(frozen=True, slots=True)
class Lose:
    """The delivery never arrives. The log says "failed" (no connection), "delivered" (200), or has "nothing" of it."""

    log: Literal["failed", "delivered", "nothing"] = "failed"


@dataclass(frozen=True, slots=True)
class Misreport:
    """The delivery arrives and is answered, but the log says this code (504: the answer came too late)."""

    status_code: int = 504


@dataclass(frozen=True, slots=True)
class Pause:
    """The hook is paused: deliveries wait until the fault is removed, then they are sent in their order."""


RequestEffect = (
    Latency | Drop | Reset | Truncate | Answer | Redirect | Headers | Scripted | Lag | Stale | Limits | Token
    | ClockOffset | Rates
)  # fmt: skip
DeliveryEffect = Delay | Duplicate | Reorder | Lose | Misreport | Pause
Effect = RequestEffect | DeliveryEffect


def kind_of(effect: Effect | type[Effect]) -> str:
    """Return the kind's name, as JSON has it: ClockOffset -> "clock-offset"."""
    name = effect.__name__ if isinstance(effect, type) else type(effect).__name__
    return "".join(f"-{letter.lower()}" if letter.isupper() else letter for letter in name).removeprefix("-")

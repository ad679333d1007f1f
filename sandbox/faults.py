"""Scripted faults: which requests or deliveries one concerns, how often it happens, and the list of what happened.

reset = sandbox.faults.add(Fault(Reset(), method="POST", path="*/check-runs", times=1))
...
assert reset.fired == 1
"""

from __future__ import annotations

import asyncio
import itertools
import random
from collections import deque
from collections.abc import Awaitable, Callable, Iterator, Sequence
from dataclasses import dataclass, field, fields
from fnmatch import fnmatchcase
from typing import Any, Literal

from .effects import ClockOffset, DeliveryEffect, Effect, Script, Scripted, kind_of
from .errors import SandboxError

Area = Literal["api", "git", "pages", "any"]
FIRED_KEPT = 20_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Match:
    """What a fault happens to, and how often. What is None does not matter; the rest must all fit.

    Requests: `method` ("POST", or "POST|PATCH"), `path` (a pattern with `*` and `?`, both also for "/", of the path
    without `/api/v3` and query), `area`. Deliveries: `event`, `action`. Both: `installation` (its id) and `repository`
    (its id or present full name). Of what fits, the first `after` are spared, then each is hit with this `probability`
    (drawn with `seed`: the same every time), at most `times` times (None: without end).
    """

    method: str | None = None
    path: str = "*"
    area: Area = "api"
    installation: int | None = None
    repository: int | str | None = None
    event: str | None = None
    action: str | None = None
    after: int = 0
    times: int | None = None
    probability: float = 1.0
    seed: int = 0


@dataclass(frozen=True, slots=True)
class Fault(Match):
    """An effect, and when it happens: `Fault(Reset(), method="POST", path="*/check-runs", times=1)`."""

    effect: Effect

    def __post_init__(self) -> None:
        if isinstance(self.effect, DeliveryEffect):
            if self.method is not None or self.path != "*" or self.area != "api":
                raise SandboxError(f"{self.kind} is of deliveries: method, path and area do not apply")
        elif self.event is not None or self.action is not None:
            raise SandboxError(f"{self.kind} is of requests: event and action do not apply")
        if isinstance(self.effect, ClockOffset) and any(
            getattr(self, each.name) != each.default for each in fields(self) if each.name != "effect"
        ):
            raise SandboxError("clock-offset is of everything, as long as it is there: nothing else can be given")
        if not 0 < self.probability <= 1:
            raise SandboxError(f"probability is {self.probability}, not above 0 and at most 1")
        if self.after < 0 or (self.times is not None and self.times < 1):
            raise SandboxError("after is 0 or more, times 1 or more")

    @property
    def kind(self) -> str:
        """The effect's name, as in JSON."""
        return kind_of(self.effect)


@dataclass(frozen=True, slots=True)
class Subject:
    """A request or delivery, as far as faults ask for it. `names`: full names of its repository, in lower case."""

    area: Literal["api", "git", "pages", "delivery"]
    what: str
    method: str = ""
    path: str = ""
    event: str = ""
    action: str | None = None
    installation_id: int | None = None
    repository_id: int | None = None
    names: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class Fired:
    """That a fault happened: which, when (the sandbox's clock), to what ("POST /repos/...", "push GUID")."""

    fault_id: int
    kind: str
    at: float
    what: str
    detail: str = ""


@dataclass(slots=True, eq=False)
class Armed:
    """A fault in the plan. `matched`: requests or deliveries that it fits; `fired`: those that it happened to.

    `state` is the effect's own memory; `on_end` is called once when the fault leaves the plan.
    """

    id: int
    fault: Fault
    plan: FaultPlan
    added_at: float
    matched: int = 0
    fired: int = 0
    state: Any = None
    on_end: list[Callable[[], None]] = field(default_factory=list)
    _pending: int = 0
    _random: random.Random = field(init=False)

    def __post_init__(self) -> None:
        self._random = random.Random(self.fault.seed)  # noqa: S311 - which requests fail is no secret

    @property
    def left(self) -> int | None:
        """How often it can still happen; None: without end."""
        times = self.fault.times
        return None if times is None else times - self.fired - self._pending

    def fits(self, subject: Subject) -> bool:
        """Tell whether the fault concerns it."""
        fault = self.fault
        if isinstance(fault.effect, DeliveryEffect):
            here = subject.area == "delivery" and _either(fault.event, subject.event)
            here = here and (fault.action is None or fault.action == subject.action)
        else:
            here = subject.area != "delivery" and fault.area in {"any", subject.area}
            here = here and _either(fault.method, subject.method) and fnmatchcase(subject.path, fault.path)
        return (
            here
            and fault.installation in {None, subject.installation_id}
            and (
                fault.repository in {None, subject.repository_id}
                or (isinstance(fault.repository, str) and fault.repository.casefold() in subject.names)
            )
        )

    def take(self) -> bool:
        """Count what fits, and tell whether the fault is to happen to it: `fire` or `spare` must follow."""
        self.matched += 1
        if self.matched <= self.fault.after or self.left == 0:
            return False
        if self.fault.probability < 1 and self._random.random() >= self.fault.probability:
            return False
        self._pending += 1
        return True

    def fire(self, subject: Subject, detail: str = "") -> None:
        """It happened."""
        self._pending -= 1
        self.fired += 1
        self.plan.note(Fired(self.id, self.fault.kind, self.plan.clock(), subject.what, detail))

    def spare(self) -> None:
        """It was to happen but made no difference: it may happen to the next one."""
        self._pending -= 1

    def shuffled(self, items: Sequence[Any]) -> list[Any]:
        """Return the items in an order that the fault's seed decides."""
        return self._random.sample(items, len(items))

    def remove(self) -> None:
        """Take the fault out of the plan; nothing happens if it has gone."""
        self.plan.discard(self)


class FaultPlan:
    """The faults of a sandbox, in the order in which they are asked. `fired`: the newest 20,000 that happened.

    `sleep` is how faults wait; tests that do not want to put in something quicker.
    """

    def __init__(self, clock: Callable[[], float], stamp: Callable[[], float]) -> None:
        self.clock = clock
        self.fired: deque[Fired] = deque(maxlen=FIRED_KEPT)
        self.sleep: Callable[[float], Awaitable[None]] = asyncio.sleep
        self.clock_offset = 0.0  # seconds
        self._stamp = stamp
        self._ids = itertools.count(1)
        self._armed: list[Armed] = []

    def __len__(self) -> int:
        return len(self._armed)

    def __iter__(self) -> Iterator[Armed]:
        return iter(list(self._armed))

    def add(self, fault: Fault) -> Armed:
        """Add a fault behind those that are there."""
        armed = Armed(next(self._ids), fault, self, self._stamp())
        self._armed.append(armed)
        self._offset()
        return armed

    def append(self, function: Script) -> Armed:
        """Add a function that is asked for every request, of the API or not, and may answer it."""
        return self.add(Fault(Scripted(function), area="any"))

    def remove(self, what: Armed | Fault | Script) -> None:
        """Take a fault out; SandboxError if it is not there."""
        for armed in self._armed:
            effect = armed.fault.effect
            if what in (armed, armed.fault) or (isinstance(effect, Scripted) and effect.function == what):
                return self.discard(armed)
        raise SandboxError("no such fault is in the plan")

    def discard(self, armed: Armed) -> None:
        """Take a fault out, if it is there."""
        if armed in self._armed:
            self._armed.remove(armed)
            self._offset()
            for end in armed.on_end:
                end()

    def clear(self) -> None:
        """Take all faults out; what a Pause or Reorder held back is sent. The list of those that happened stays."""
        for armed in self:
            self.discard(armed)

    def find(self, fault_id: int) -> Armed | None:
        """Return the fault of this id."""
        return next((armed for armed in self._armed if armed.id == fault_id), None)

    def note(self, fired: Fired) -> None:
        """Remember that a fault happened."""
        self.fired.append(fired)

    def _offset(self) -> None:
        effects = (armed.fault.effect for armed in self._armed)
        self.clock_offset = sum(effect.seconds for effect in effects if isinstance(effect, ClockOffset))


def _either(wanted: str | None, is_: str) -> bool:
    """Tell whether one of the words ("POST|PATCH") is meant; None: any."""
    return wanted is None or is_.casefold() in wanted.casefold().split("|")

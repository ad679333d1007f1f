"""Named points at which a worker process kills itself, between a delivery's receipt and its stored report.

Functions of the product are wrapped from outside, in the worker process, before it starts. SIGKILL: nothing is flushed,
closed, released or said.
"""

from __future__ import annotations

import functools
import importlib
import os
import signal
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

Asked = Callable[..., Awaitable[Any]]


@dataclass(frozen=True)
class Place:
    """A function on the way: where it is looked up by its callers ("module:name" or "module:Class.name").

    `may_find_nothing`: an empty answer is not worth dying for; `armed_by`: calls before this one's end do not count.
    """

    name: str
    target: str
    may_find_nothing: bool = False
    armed_by: str = ""


JUDGING = (
    Place("inbox.claim", "storage.lanes:claim", may_find_nothing=True),
    Place("inbox.waiting", "storage.inbox:waiting", may_find_nothing=True),
    Place("started", "storage.inbox:started"),
    Place("find_binding", "bot.pipeline:find_binding"),
    Place("newest_head", "bot.pipeline:newest_head"),
    Place("gather", "bot.pipeline:gather"),
    Place("judge", "bot.pipeline:decide"),
    Place("save", "storage.progress:save"),
    Place("release", "storage.lanes:release"),
)
REPORTING = (
    Place("create_check_run", "github.installation:InstallationClient.create_check_run"),
    Place("sent_check_run", "storage.outbox:sent_check_run"),
    Place("create_status", "github.installation:InstallationClient.create_status"),
    Place("sent_status", "storage.outbox:sent_status"),
    Place("outbox.claim", "storage.outbox:claim", may_find_nothing=True, armed_by="storage.progress:save"),
)
_PLACES = {place.name: place for place in (*JUDGING, *REPORTING)}
#: Requests whose execution at GitHub is one thing and whose answer is another.
_POSTS = {"create_check_run": "/check-runs", "create_status": "/statuses/"}

JUDGING_POINTS = tuple(f"{when} {place.name}" for place in JUDGING for when in ("before", "after"))
REPORTING_POINTS = tuple(
    f"{when} {place.name}"
    for place in REPORTING
    for when in ("before", "answer", "after")
    if when != "answer" or place.name in _POSTS
)


def crash_at(argument: str) -> None:
    """Arrange that this process kills itself at a point. `argument`: "FILE POINT"; FILE is made when it is reached.

    POINT is "before F" or "after F" for a function F on the way, or "answer F": GitHub has done what F asks for, and
    its answer has come, but nobody has looked at it.
    """
    _signal_at(argument, signal.SIGKILL)


def freeze_at(argument: str) -> None:
    """As `crash_at`, but the process only freezes there, once, until somebody sends SIGCONT."""
    _signal_at(argument, signal.SIGSTOP)


def _signal_at(argument: str, number: signal.Signals) -> None:
    file, when, name = argument.split(" ", 2)

    def die() -> None:
        if not Path(file).exists():
            Path(file).touch()
            os.kill(os.getpid(), number)

    if when == "answer":
        _die_at_answer(_POSTS[name], die)
        return
    place = _PLACES[name]
    armed = _armed_by(place.armed_by)
    owner, attribute = _lookup(place.target)
    asked: Asked = getattr(owner, attribute)

    @functools.wraps(asked)
    async def wrapped(*given: Any, **named: Any) -> Any:
        if when == "before" and armed():
            die()
        result = await asked(*given, **named)
        if when == "after" and armed() and (result or not place.may_find_nothing):
            die()
        return result

    setattr(owner, attribute, wrapped)


def _armed_by(target: str) -> Callable[[], bool]:
    """Whether the function at `target` has done its work in this process; always true for none."""
    if not target:
        return lambda: True
    owner, attribute = _lookup(target)
    asked: Asked = getattr(owner, attribute)
    done: list[bool] = []

    @functools.wraps(asked)
    async def wrapped(*given: Any, **named: Any) -> Any:
        result = await asked(*given, **named)
        done.append(True)
        return result

    setattr(owner, attribute, wrapped)
    return lambda: bool(done)


def _lookup(target: str) -> tuple[Any, str]:
    module, _, path = target.partition(":")
    owner: Any = importlib.import_module(module)
    *classes, attribute = path.split(".")
    for name in classes:
        owner = getattr(owner, name)
    return owner, attribute


def _die_at_answer(path: str, die: Callable[[], None]) -> None:
    from github import transport

    read = transport._read

    async def wrapped(response: Any, request: Any) -> bytes:
        if request.method == "POST" and path in request.url:
            die()
        return await read(response, request)

    transport._read = wrapped

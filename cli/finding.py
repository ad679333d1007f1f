"""What a check of `app.py doctor` found: one line, with the remedy."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Sequence
from dataclasses import dataclass
from enum import StrEnum, unique

# One check, with all the requests that it makes (seconds).
CHECK_TIMEOUT = 20.0


@unique
class Level(StrEnum):
    """How a check ended. WARN: it works, but not all of it or not for everybody."""

    OK = "ok"
    WARN = "warn"
    FAIL = "FAIL"


@dataclass(frozen=True, slots=True)
class Finding:
    """One line of the answer. `check`: a word for programs; `remedy`: what to do, empty if there is nothing to do."""

    level: Level
    check: str
    what: str
    remedy: str = ""

    @property
    def line(self) -> str:
        """The finding for a person. Names come from outside: a control character must not move the cursor."""
        text = f"{self.level:<4}  {self.what}" + (f"  - {self.remedy}" if self.remedy else "")
        return "".join(character if character.isprintable() else "\N{REPLACEMENT CHARACTER}" for character in text)


def ok(check: str, what: str) -> Finding:
    """All is well."""
    return Finding(Level.OK, check, what)


def warn(check: str, what: str, remedy: str) -> Finding:
    """Not all is well, but the class can go on."""
    return Finding(Level.WARN, check, what, remedy)


def fail(check: str, what: str, remedy: str) -> Finding:
    """Something does not work until the remedy is applied."""
    return Finding(Level.FAIL, check, what, remedy)


async def in_time(check: str, work: Awaitable[Sequence[Finding]]) -> Sequence[Finding]:
    """What `work` finds, or that it took too long."""
    try:
        async with asyncio.timeout(CHECK_TIMEOUT):
            return await work
    except TimeoutError:
        return [
            fail(
                check,
                f"{check}: no answer within {CHECK_TIMEOUT:g} s",
                "try again; if it stays so, the network or GitHub is slow",
            )
        ]

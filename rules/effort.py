"""How judging tells what it is about to do, so that whoever called it can stop it: rules have no clock of their own."""

from __future__ import annotations

from collections.abc import Callable

#: Called before a piece of work with about how many steps it takes: bytes of a path to match, bytes of a file times the
#: size of the expression's program, entries to go through. It may raise; nothing in `rules` catches that.
Tick = Callable[[int], None]


def unlimited(_steps: int) -> None:
    """The tick of callers who wait as long as it takes."""

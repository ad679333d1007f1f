"""A guard of the races (binding.md section 4): a line of the product that a check can do without, in a test."""

from __future__ import annotations

import importlib
import inspect
import textwrap
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import pytest

from storage import inbox
from storage.database import Pool
from storage.lanes import Lane
from tests.support.bindings import LEASE, claimed

Check = Callable[[Pool], Awaitable[bool]]


@dataclass(frozen=True)
class Guard:
    """A `line`, replaced by `without`, at a place: "sql NAME", "text MODULE:NAME", "code MODULE:NAME" or "drop SQL".

    `holds` says whether the guard does its work; `times`: how often the line is there, and all of them are replaced.
    """

    place: str
    line: str
    without: str
    holds: Check
    times: int = 1

    async def take_out(self, pool: Pool, monkeypatch: pytest.MonkeyPatch) -> None:
        """Go on without the guard."""
        kind, _, name = self.place.partition(" ")
        if kind == "drop":
            await pool.execute(name)
            return
        if kind == "sql":
            source = await pool.fetchval("SELECT pg_get_functiondef($1::regproc)", name)
            await pool.execute(self._changed(source))
            return
        module, _, attribute = name.partition(":")
        owner: Any = importlib.import_module(module)
        if kind == "text":
            monkeypatch.setattr(owner, attribute, self._changed(getattr(owner, attribute)))
            return
        source = textwrap.dedent(inspect.getsource(getattr(owner, attribute)))
        space = dict(vars(owner))
        exec(compile(self._changed(source), name, "exec"), space)
        monkeypatch.setattr(owner, attribute, space[attribute])

    def _changed(self, source: str) -> str:
        found = source.count(self.line)
        assert found == self.times, f"{self.place} has the line {self.line!r} {found} times:\n{source}"
        return source.replace(self.line, self.without)


async def taken_over(pool: Pool) -> tuple[Lane, tuple[int, ...]]:
    """A lane that another worker has taken over, as its first holder knows it, and the ids of what waits in it."""
    lane, ids = await claimed(pool, lease=timedelta(0))
    assert await inbox.claim(pool, "worker-2", LEASE) is not None
    return lane, ids

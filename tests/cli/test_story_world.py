"""What the story's world counts: the learner's pushes, whatever the App does by itself meanwhile."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import cast

import aiohttp
import pytest

from cli.demo_app import App
from cli.demo_git import Clone
from cli.demo_story import Expect, Scene
from cli.story_world import Attempt, StoryWorld
from github.person import PersonClient, Reports

GREETING = Attempt("bound", "accepted", frozenset())
PUSH = Attempt("push", "accepted", frozenset())
FIRST = Scene("first", "", (), Expect("accepted", "success", "success", frozenset()))


class World(StoryWorld):
    """A world in which each look at the session's page finds the next of `pages`, and each head is green."""

    answer_timeout = 0.0
    look_every = 0.0

    def __init__(self, pages: list[tuple[Attempt, ...]]) -> None:
        super().__init__(App(Path(), {}), cast("aiohttp.ClientSession", None))
        self._pages = pages
        self._clone = cast("Clone", SimpleNamespace(heads={"first": "a" * 40}))

    @property
    def learner(self) -> PersonClient:
        """GitHub shows one green check-run."""

        async def reports(*_of: str) -> Reports:
            return Reports("success", "", "", 1, "success")

        return cast("PersonClient", SimpleNamespace(reports=reports))

    async def redeliver(self, head: str) -> None:
        """Nothing is redelivered."""

    async def delivered(self) -> None:
        """Everything is."""

    async def _page(self) -> tuple[tuple[Attempt, ...], frozenset[str], str]:
        return self._pages.pop(0), frozenset(), "IN_PROGRESS"


@pytest.mark.parametrize(
    ("pages", "difference"),
    [
        ([(), (PUSH,)], []),
        ([(GREETING,), (PUSH, GREETING)], []),
        ([(), (PUSH, GREETING)], []),
        ([(), (GREETING, PUSH)], []),
        ([(), (PUSH, PUSH)], ["new attempts: expected 1, found 2"]),
        ([(PUSH,), (PUSH,)], ["new attempts: expected 1, found 0", "verdict: expected accepted, found "]),
    ],
)
async def test_a_late_greeting_is_no_push(pages: list[tuple[Attempt, ...]], difference: list[str]) -> None:
    """The greeting may come before the push, between the count and the push, or after it: it is never counted."""
    _, wrong = await World(pages).play(FIRST)

    assert wrong == difference

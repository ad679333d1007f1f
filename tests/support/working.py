"""A learner of the small world (tests/support/deliveries.py) who pushes the lab's work with real git."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Self

import pytest

from sandbox import Repository
from tests.support.deliveries import WORK, World
from tests.support.githost import WorkingCopy


@dataclass(frozen=True)
class WorkingLearner:
    """A learner with a clone of their fork."""

    here: World
    fork: Repository
    clone: WorkingCopy

    @classmethod
    async def enrol(cls, here: World, folder: Path) -> Self:
        """Fork, install, and clone into `folder`, which is not there yet."""
        fork = await here.learner("learner-one")
        return cls(here, fork, await WorkingCopy.clone(here.line.sandbox, fork.full_name, "learner-one", folder))

    async def push(self, number: int) -> str:
        """Push that part of the work of the lab, and wait for the answer; the head."""
        head = await self.clone.commit(dict(WORK[number]))
        await self.clone.push()
        await self.here.line.settle()
        return head

    def conclusions(self, sha: str) -> list[str]:
        """What check runs of the head say."""
        return [conclusion for _, conclusion in self.here.runs(self.fork, sha)]


def retry_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Retries of deliveries and reports come at once."""
    for module in ("worker", "publish"):
        monkeypatch.setattr(f"bot.{module}.delay_before_retry", lambda *_: 0.02)
    monkeypatch.setattr("bot.worker.pause", lambda: 0.02)
    monkeypatch.setattr("bot.worker.POLL", 0.02)

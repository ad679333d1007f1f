"""A world in which the demo's story is played: some GitHub, the App as real processes, and a way to look at both.

Nothing here knows the App's inside: it starts `python app.py` as a host would, speaks to it over HTTP, and reads the
verdicts where a learner's browser would, at GitHub. `cli/demo_world.py` has the sandbox for GitHub,
`cli/live_world.py` the real one.
"""

from __future__ import annotations

import asyncio
import json
import re
import time
from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import ClassVar

import aiohttp

from cli.demo_app import LOOK_EVERY, ROOT, App
from cli.demo_git import Clone
from cli.demo_story import Redeliver, Scene
from cli.faults import CommandError
from github.errors import Transient
from github.person import PersonClient, Reports

TEMPLATE = ROOT / "examples" / "lab-template"
CHECK_NAME = "forgea/steps"
LAB = "word-counter"


@dataclass(frozen=True, slots=True)
class Attempt:
    """A verdict as the session's page shows it. `trigger`: "push", or why the App looked by itself."""

    trigger: str
    verdict: str
    codes: frozenset[str]


@dataclass(frozen=True, slots=True)
class Observed:
    """What was read back: the check-run and status of a head from GitHub's API, the ledger from the session's page."""

    conclusion: str
    title: str
    text: str
    status: str
    runs: int
    attempts: tuple[Attempt, ...]
    done: frozenset[str]
    session: str


class StoryWorld(ABC):
    """GitHub, the App and the learner's clone; `play` does a scene and reads back what came of it. Times in seconds."""

    look_every: ClassVar[float] = LOOK_EVERY
    answer_timeout: ClassVar[float] = 20.0
    # How long nothing may happen before we believe that nothing will.
    settle: ClassVar[float] = 1.0

    def __init__(self, app: App, http: aiohttp.ClientSession) -> None:
        self.app = app
        self._http = http
        self.fork = ""
        self.session_url = ""
        self._clone: Clone | None = None

    # ---------------------------------------------------------------------------------------------- of each GitHub

    @property
    @abstractmethod
    def learner(self) -> PersonClient:
        """The learner at GitHub's API."""

    @abstractmethod
    async def redeliver(self, head: str) -> None:
        """Let GitHub send the push delivery of this head once more; returns when it has done so."""

    @abstractmethod
    async def delivered(self) -> None:
        """Wait until GitHub has sent what it has to send, as far as that can be known."""

    # ---------------------------------------------------------------------------------------------------- the story

    async def open_pages(self) -> None:
        """The operator's part: open the link that the App prints, to see what staff see."""
        async with self._http.get(self.app.pages_link()) as response:
            if response.status != 200:
                raise CommandError(f"the link to the pages answered {response.status}:\n{self.app.log_tail()}")

    async def play(self, scene: Scene) -> tuple[Observed, list[str]]:
        """Act, wait for the answer, and compare: what was read back, and how it differs from what is expected."""
        if self._clone is None:
            raise RuntimeError("play before enrol")
        before = len(_of_pushes((await self._page())[0]))
        for action in scene.actions:
            if isinstance(action, Redeliver):
                await self.redeliver(self._clone.heads[action.scene])
            else:
                await self._clone.act(action, scene=scene.name)
        head = self._clone.heads[scene.head or scene.name]
        end = time.monotonic() + self.answer_timeout
        await self.delivered()
        if scene.head is not None:  # that nothing changes can only be seen by waiting
            await asyncio.sleep(self.settle)
        while True:
            observed = await self.look(head)
            wrong = differences(scene, observed, before)
            if not wrong or time.monotonic() > end:
                return observed, wrong
            await asyncio.sleep(self.look_every)

    async def look(self, head: str) -> Observed:
        """Read check-run and status of `head` from the REST API, ledger and steps from the session's page."""
        try:
            reports = await self.learner.reports(self.fork, head, CHECK_NAME)
        except Transient:  # the next look may see more
            reports = Reports("none", "", "", 0, "none")
        attempts, done, session = await self._page()
        return Observed(
            conclusion=reports.conclusion,
            title=reports.title,
            text=reports.text,
            status=reports.status,
            runs=reports.runs,
            attempts=_of_pushes(attempts),
            done=done,
            session=session,
        )

    async def _page(self) -> tuple[tuple[Attempt, ...], frozenset[str], str]:
        """Attempts (newest first), complete steps and status, as the session's page marks them; nothing without one."""
        if not self.session_url and not await self._find_session():
            return (), frozenset(), "none"
        async with self._http.get(self.session_url) as response:
            text = await response.text()
            if response.status != 200:
                raise CommandError(f"{self.session_url} answered {response.status}: {text[:200]}")
        rows = re.findall(
            r'<tr data-attempt="\d+" data-trigger="(\w+)" data-verdict="(\w+)" data-codes="([\w ]*)"', text
        )
        steps = re.findall(r'<tr data-step="([\w-]+)" data-state="(\w+)"', text)
        status = re.search(r'data-session-status="(\w+)"', text)
        return (
            tuple(Attempt(trigger, verdict, frozenset(codes.split())) for trigger, verdict, codes in rows),
            frozenset(step for step, state in steps if state == "done"),
            status[1] if status else "none",
        )

    async def _find_session(self) -> bool:
        """Look once for the session that the learner's repository is bound to."""
        for session in json.loads(await self.app.command("sessions", "list", "--json")):
            if session["repository"] == self.fork:
                self.session_url = f"{self.app.url}/sessions/{session['session_id']}"
        return bool(self.session_url)

    async def _answered(self, patience: float) -> bool:
        """Wait until the untouched repository is bound and judged; False: nothing came."""
        end = time.monotonic() + patience
        while not (await self._page())[0]:
            if time.monotonic() > end:
                return False
            await asyncio.sleep(self.look_every)
        return True


def _of_pushes(attempts: tuple[Attempt, ...]) -> tuple[Attempt, ...]:
    """Without those that the App made by itself: it looks at a repository once it is bound, whenever that may be."""
    return tuple(attempt for attempt in attempts if attempt.trigger == "push")


def differences(scene: Scene, observed: Observed, attempts_before: int) -> list[str]:
    """How `observed` differs from what the scene expects, a sentence each; empty when all is as expected."""
    expect = scene.expect
    new = len(observed.attempts) - attempts_before
    newest = observed.attempts[0] if new > 0 else Attempt("", "", frozenset())
    pairs: list[tuple[str, object, object]] = [
        ("check-run", expect.conclusion, observed.conclusion),
        ("status", expect.status, observed.status),
        ("new attempts", 0 if expect.verdict is None else 1, new),
        ("verdict", expect.verdict or "", newest.verdict),
        ("codes", sorted(expect.codes), sorted(newest.codes) if expect.codes else []),
        ("complete steps", sorted(expect.done), sorted(observed.done)),
        ("session", expect.session, observed.session),
        ("check-runs on the head", expect.runs, observed.runs),
    ]
    wrong = [f"{name}: expected {want}, found {found}" for name, want, found in pairs if want != found]
    wrong += [f"the check-run does not name {text}" for text in expect.mentions if text not in observed.text]
    if expect.title not in observed.title:
        wrong.append(f"title: expected ...{expect.title}..., found {observed.title}")
    return wrong

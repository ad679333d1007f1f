"""What /join asks GitHub: with an installation's token, never the visitor's; seldom, and not for long."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Hashable
from dataclasses import dataclass
from typing import Generic, TypeVar

import structlog
from aiohttp import web
from cachetools import TTLCache

from github.client import GitHubApp, InstallationClient
from github.errors import GitHubError, NotFound
from github.values import AppRecord, Offer
from rules.model import LabRecord, Repo
from web.join_values import FromGitHub, Visit

log = structlog.get_logger(__name__)

# Seconds. A learner who has just forked looks at the page until it says so; App and template hardly ever change.
KEEP_FORK = 10.0
KEEP_OFFER = 60.0
KEEP_APP = 600.0
KEEP_SILENCE = 5.0  # GitHub did not answer, or was not asked
ASK_WITHIN = 3.0

# Forks are looked for with the token that also reads templates for judging, which has 5,000 requests an hour (GitHub
# docs, "Rate limits for the REST API"); a name that is not there answers without ETag and always counts.
FORKS_A_MINUTE = 50

_KEPT = 10_000

Told = TypeVar("Told")


@dataclass(frozen=True, slots=True)
class _Found:
    """The answer to whether there is a fork."""

    repo: Repo | None


class Answers(Generic[Told]):
    """Answers to one kind of question, kept for `seconds`. The same question at the same time is asked once."""

    def __init__(self, seconds: float, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._kept: TTLCache[Hashable, Told] = TTLCache(_KEPT, seconds, timer=clock)
        self._silent: TTLCache[Hashable, bool] = TTLCache(_KEPT, KEEP_SILENCE, timer=clock)
        self._asked: dict[Hashable, asyncio.Task[Told | None]] = {}

    async def get(self, key: Hashable, ask: Callable[[], Awaitable[Told]]) -> Told | None:
        """The answer; None when there is none in time, or there was none a moment ago."""
        known = self._kept.get(key)
        if known is not None or key in self._silent:
            return known
        task = self._asked.get(key)
        if task is None:
            task = self._asked[key] = asyncio.create_task(self._ask(key, ask))
            task.add_done_callback(lambda _: self._asked.pop(key, None))
        return await asyncio.shield(task)  # a visitor who leaves takes nobody's answer away

    async def _ask(self, key: Hashable, ask: Callable[[], Awaitable[Told]]) -> Told | None:
        try:
            async with asyncio.timeout(ASK_WITHIN):
                told = await ask()
        except (GitHubError, TimeoutError) as error:
            log.info("join_page_not_told", about=str(key), error=str(error) or "no answer in time")
            self._silent[key] = True
            return None
        self._kept[key] = told
        return told


class Known:
    """What GitHub said lately. Nothing of it decides anything."""

    def __init__(self, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._apps: Answers[AppRecord] = Answers(KEEP_APP, clock=clock)
        self._offers: Answers[Offer] = Answers(KEEP_OFFER, clock=clock)
        self._forks: Answers[_Found] = Answers(KEEP_FORK, clock=clock)
        self._looks: TTLCache[int, bool] = TTLCache(FORKS_A_MINUTE, 60.0, timer=clock)
        self._count = 0

    async def look(self, app: GitHubApp, lab: LabRecord, reader: int | None, visit: Visit) -> FromGitHub:
        """App, template and the visitor's fork as of a moment ago. `reader`: an installation that can read the
        template."""
        record = await self._apps.get("app", app.app)
        if reader is None:
            return FromGitHub(record)
        client = app.installation(reader)
        offer = await self._offers.get(lab.lab_id, lambda: client.offer(lab.base_repo_full_name))
        if offer is None or visit.account_id is None or _has_repository(visit):
            return FromGitHub(record, offer)
        found = await self._forks.get((lab.lab_id, visit.account_id), lambda: self._fork(client, lab, visit))
        return FromGitHub(record, offer, found.repo if found else None, found is not None and not offer.private)

    async def _fork(self, client: InstallationClient, lab: LabRecord, visit: Visit) -> _Found:
        """The visitor's repository of the template's name, if it comes from there: the fork that GitHub suggests. One
        with another name, or a private one, is seen once the App is installed on it."""
        if len(self._looks) >= FORKS_A_MINUTE:
            raise TimeoutError("forks are looked for too often")
        self._count += 1
        self._looks[self._count] = True
        try:
            repo, lineage = await client.repository(f"{visit.login}/{lab.base_repo_full_name.partition('/')[2]}")
        except NotFound:
            return _Found(None)
        line = (lineage.parent_id, lineage.template_id, lineage.source_id)
        theirs = repo.owner.account_id == visit.account_id and lab.base_repo_id in line
        return _Found(repo if theirs else None)


def _has_repository(visit: Visit) -> bool:
    """Whether nobody need look for a fork."""
    enrolled = visit.standing.enrolled if visit.standing is not None else None
    return enrolled is not None and enrolled.repo_id is not None


KNOWN: web.AppKey[Known] = web.AppKey("join_known", Known)

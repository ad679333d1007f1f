"""Deliveries that did not arrive: taken from GitHub's delivery log and put into the same inbox.

The webhook and the log are two ways into one inbox: a guid that is there already is not taken again, whichever way was
faster. That is how a machine without a public address runs a class (`serve --poll`).
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import partial
from uuid import UUID

import structlog
from prometheus_client import Counter

from bot.retry import ATTEMPTS, delay_before_retry
from bot.wanted import FINISHED, RESULT_EVENTS, ResultFilter
from bot.webhook import EVENTS, new_delivery, read_envelope
from github import deliverylog
from github.client import GitHubApp
from github.deliverylog import LoggedDelivery
from github.errors import GitHubError, RateLimited, Unauthorized
from storage import headfacts, recovery
from storage.database import Pool, is_transient
from storage.inbox import Recorder
from storage.recovery import Key

log = structlog.get_logger(__name__)

# Seconds between two looks: the first while something comes, growing by GROWTH to the second while nothing does. A look
# is one request (more only while there is more than a page of news): at most 1,800 an hour, and 360 while idle, of the
# 5,000 that GitHub gives an App as the least (REST docs, rate limits); the rest is for payloads, one request for each.
QUICK, SLOW, GROWTH = 2.0, 10.0, 1.5
# While GitHub or the database is away: twice as long after each failure, up to this (seconds).
LONGEST_BACKOFF = 60.0

# How far the first look goes back: as long as github.com keeps the log (GitHub docs, "Redelivering webhooks").
LOOK_BACK = timedelta(days=3)
# An entry may come into the log minutes late, below newer ones (GitHub docs, "Troubleshooting webhooks"): every SWEEP
# the log is read again as far as OVERLAP before its newest entry at the last whole look.
OVERLAP = timedelta(minutes=15)
SWEEP = timedelta(minutes=5)

# Payloads in hand at a time, each at most 25 MB (GitHub webhook docs, "Payload cap").
AT_ONCE = 4

PULLED = Counter("stepgate_pulled_total", "Deliveries taken from GitHub's log", ["event", "result"])


@dataclass(slots=True)
class _Wanted:
    """An entry of the log that somebody here acts upon and that the inbox may not have. `retry_at`: None: now."""

    entry: LoggedDelivery
    attempts: int = 0
    retry_at: datetime | None = None


class DeliveryPoller:
    """Takes what is new in GitHub's delivery log into the inbox, oldest first.

    What it remembers is only to save requests: after a restart the log is read again for LOOK_BACK, and what the inbox
    has is skipped. `now` and `sleep`: the clock.
    """

    def __init__(
        self,
        pool: Pool,
        app: GitHubApp,
        *,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
        jitter: Callable[[], float] = random.random,
    ) -> None:
        self._pool = pool
        self._app = app
        self._now = now
        self._sleep = sleep
        self._jitter = jitter
        self._recorder = Recorder(pool)
        self._results = ResultFilter(app.app_id, partial(headfacts.awaited, pool))
        self._wanted: dict[Key, _Wanted] = {}
        self._seen: dict[int, datetime] = {}  # ids of entries not older than the horizon
        self._horizon = now() - LOOK_BACK
        self._whole_look_at: datetime | None = None  # None: the last look broke off, or there was none
        self._failures = 0

    async def run(self, stop: asyncio.Event) -> None:
        """Look again and again until `stop`. GitHub or the database being away costs time only."""
        looking, stopping = asyncio.create_task(self._keep_looking()), asyncio.create_task(stop.wait())
        try:
            await asyncio.wait({looking, stopping}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            # a look can be broken off anywhere: what it did not record is found again after the next start
            for task in (looking, stopping):
                task.cancel()
            await asyncio.gather(looking, stopping, return_exceptions=True)
            await self._recorder.close()

    async def _keep_looking(self) -> None:
        wait = QUICK
        while True:
            try:
                taken = await self.look()
            except Exception as error:
                await self._sleep(self._pause_after(error))
                continue
            if self._failures:
                log.info("delivery_log_back", failures=self._failures)
                self._failures = 0
            wait = QUICK if taken else min(wait * GROWTH, SLOW)
            await self._sleep(wait)

    async def look(self) -> int:
        """Read what is new in the log and record it; how many deliveries were new to the inbox.

        A delivery that cannot be had or stored is tried ATTEMPTS times, ever later, and then left out with an error in
        our log; it never holds up others. Raises GitHubError when the log cannot be read, and the database's errors.
        """
        await self._read_log()
        return await self._take()

    # ------------------------------------------------------------------------------------------------------- the log

    async def _read_log(self) -> None:
        """Note the entries that are new, back to the horizon, or to the first page without news."""
        now = self._now()
        thorough = self._whole_look_at is None or now - self._whole_look_at >= SWEEP
        last_whole, self._whole_look_at = self._whole_look_at, None  # until the end is reached
        newest = max(self._seen.values(), default=self._horizon)
        async for page in deliverylog.pages(self._app):
            young = [entry for entry in page if entry.delivered_at >= self._horizon]
            fresh = [entry for entry in young if entry.delivery_id not in self._seen]
            for entry in fresh:
                self._note(entry)
                newest = max(newest, entry.delivered_at)
            if not (young if thorough else fresh):
                break
        self._whole_look_at = now if thorough else last_whole
        if thorough:
            self._horizon = max(self._horizon, newest - OVERLAP)
            self._seen = {number: at for number, at in self._seen.items() if at >= self._horizon}

    def _note(self, entry: LoggedDelivery) -> None:
        self._seen[entry.delivery_id] = entry.delivered_at
        is_result = entry.event in RESULT_EVENTS and entry.action == FINISHED
        if entry.event not in EVENTS and not is_result:
            return
        try:
            key = (UUID(entry.guid), entry.event)
        except ValueError:
            log.warning("delivery_without_guid", delivery_id=entry.delivery_id, event_name=entry.event)
            return
        wanted = self._wanted.setdefault(key, _Wanted(entry))
        if entry.delivery_id < wanted.entry.delivery_id:  # the first attempt's id tells the order of the events
            wanted.entry = entry

    # -------------------------------------------------------------------------------------------------- the payloads

    async def _take(self) -> int:
        for key in await recovery.known(self._pool, self._wanted):
            del self._wanted[key]
        for key in [key for key in self._wanted if key[1] in RESULT_EVENTS]:
            repo_id = self._wanted[key].entry.repository_id
            if repo_id is None or not await self._results.awaited(repo_id):
                del self._wanted[key]
        now = self._now()
        due = [key for key, wanted in self._wanted.items() if wanted.retry_at is None or wanted.retry_at <= now]
        due.sort(key=lambda key: self._wanted[key].entry.delivery_id)
        taken = 0
        for start in range(0, len(due), AT_ONCE):
            taken += await self._take_some(due[start : start + AT_ONCE])
        return taken

    async def _take_some(self, keys: list[Key]) -> int:
        """Fetch the payloads of a few and record those that came, in the order of the log."""
        fetched = await asyncio.gather(
            *(deliverylog.payload(self._app, self._wanted[key].entry.delivery_id) for key in keys),
            return_exceptions=True,
        )
        results: dict[Key, bool | BaseException | None] = {
            key: body for key, body in zip(keys, fetched, strict=True) if isinstance(body, BaseException)
        }
        # No signature is checked: these bytes were never signed. They came from GitHub's API over TLS, asked for with
        # the App's own key, which proves as much.
        bodies = {key: body for key, body in zip(keys, fetched, strict=True) if isinstance(body, bytes)}
        recorded = await asyncio.gather(
            *(self._record(event, guid, body) for (guid, event), body in bodies.items()),
            return_exceptions=True,
        )
        results.update(zip(bodies, recorded, strict=True))
        for key, result in results.items():
            if result is None:
                del self._wanted[key]
            elif isinstance(result, bool):
                self._recorded(key, result)
        for key, result in results.items():
            if isinstance(result, BaseException):
                self._put_off(key, result)
        return sum(result is True for result in results.values())

    async def _record(self, event: str, guid: UUID, body: bytes) -> bool | None:
        """Record a delivery; whether it was new. None: nobody needs it (an echo of our own, for instance)."""
        parts = read_envelope(body)
        if event in RESULT_EVENTS and not await self._results.wants(event, parts):
            return None
        return await self._recorder.record(new_delivery(event, guid, body, parts))

    def _recorded(self, key: Key, new: bool) -> None:
        guid, event = key
        del self._wanted[key]
        PULLED.labels(event, "stored" if new else "duplicate").inc()
        log.info("delivery_pulled", delivery=str(guid), event_name=event, new=new)

    def _put_off(self, key: Key, failure: BaseException) -> None:
        """Count a failed attempt at one delivery; raise what is no matter of this one."""
        if not isinstance(failure, Exception) or isinstance(failure, RateLimited | Unauthorized):
            raise failure
        if not isinstance(failure, GitHubError) and is_transient(failure):
            raise failure
        guid, event = key
        wanted = self._wanted[key]
        wanted.attempts += 1
        error = str(failure) or type(failure).__name__
        if wanted.attempts >= ATTEMPTS:
            del self._wanted[key]
            PULLED.labels(event, "given_up").inc()
            log.error("delivery_given_up", delivery=str(guid), event_name=event, error=error)
            return
        retry_after = failure.retry_after if isinstance(failure, GitHubError) else None
        delay = delay_before_retry(wanted.attempts, retry_after, self._jitter)
        wanted.retry_at = self._now() + timedelta(seconds=delay)
        log.warning("delivery_not_pulled", delivery=str(guid), event_name=event, error=error, again_in=round(delay))

    # ------------------------------------------------------------------------------------------------------ a failure

    def _pause_after(self, error: Exception) -> float:
        """Seconds to wait after a look that failed. What is wrong is said once, until things are well again."""
        self._failures += 1
        pause = min(QUICK * 2.0 ** min(self._failures - 1, 10), LONGEST_BACKOFF)
        retry_after = error.retry_after if isinstance(error, GitHubError) else None
        if self._failures == 1:
            expected = isinstance(error, GitHubError) or is_transient(error)
            log.warning(
                "delivery_log_not_read",
                error=str(error) or type(error).__name__,
                fault=error.fault.value if isinstance(error, GitHubError) else "database" if expected else "us",
                remedy="python app.py doctor tells more",
                exc_info=None if expected else error,
            )
        return max(pause, retry_after or 0.0)

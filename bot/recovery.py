"""Deliveries that did not arrive: taken from GitHub's delivery log and put into the same inbox.

The webhook and the log are two ways into one inbox: a guid that is there already is not taken again, whichever way was
faster. That is how nothing is lost while we are away, and how a machine without a public address runs a class
(`serve --poll`).

What was read and what is missing is in the database (storage.recovery), so that all replicas go on where one has
stopped, and a payload that cannot be had is asked for ATTEMPTS times in all, not once more after each restart.
"""

from __future__ import annotations

import asyncio
import random
import secrets
from collections.abc import Awaitable, Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from functools import partial

import structlog
from prometheus_client import Counter

from bot.logwalk import LogWalk
from bot.retry import ATTEMPTS, delay_before_retry
from bot.wanted import RESULT_EVENTS, ResultFilter
from bot.webhook import new_delivery, read_envelope
from github.client import GitHubApp
from github.deliverylog import LoggedBody, LogReader, is_for_app
from github.errors import GitHubError, RateLimited, Unauthorized
from storage import headfacts, recovery
from storage.database import Pool, is_transient
from storage.echoes import Echoes
from storage.inbox import Recorder
from storage.recovery import Key, Missed, Place

log = structlog.get_logger(__name__)

# Seconds between two looks of `serve --poll`: the first while something comes, growing by GROWTH to the second while
# nothing does. A look is one request (more only while there is more than a page of news): at most 1,800 an hour, and
# 360 while idle, of the 5,000 that GitHub gives an App as the least (REST docs, rate limits); the rest is for payloads,
# one request for each.
QUICK, SLOW, GROWTH = 2.0, 10.0, 1.5
# While GitHub or the database is away: twice as long after each failure, up to this (seconds).
LONGEST_BACKOFF = 60.0

# How far the first look goes back: as long as github.com keeps the log, or GHES (GitHub docs, "Redelivering
# webhooks").
LOOK_BACK, LOOK_BACK_GHES = timedelta(days=3), timedelta(days=7)
# Payloads in hand at a time, each at most 25 MB (GitHub webhook docs, "Payload cap").
AT_ONCE = 4
# So many deliveries that nobody needs are remembered, the newest ones: the log shows them in each look until it has
# moved on, and to find that out takes a request for some. (A restart asks once more for what the log shows then.)
NO_NEWS = 10_000
# A reader that is silent for so long is gone, and another one goes on.
LEASE = timedelta(minutes=2)

PULLED = Counter("stepgate_pulled_total", "Deliveries taken from GitHub's log", ["event", "result"])


def look_back(*, is_enterprise_server: bool) -> timedelta:
    """How far GitHub's delivery log reaches back."""
    return LOOK_BACK_GHES if is_enterprise_server else LOOK_BACK


class DeliveryPoller:
    """Takes what the inbox lacks of GitHub's delivery log, oldest first.

    `kept`: how far the log reaches back. `receives`: deliveries also come by the webhook; of events of which it stores
    only some, what it has answered is then not looked into again. `now` and `sleep`: the clock.
    """

    def __init__(
        self,
        pool: Pool,
        app: GitHubApp,
        *,
        kept: timedelta = LOOK_BACK,
        receives: bool = False,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
        jitter: Callable[[], float] = random.random,
    ) -> None:
        self._pool = pool
        self._app_id = app.app_id
        self._log = LogReader(app)
        self._now = now
        self._sleep = sleep
        self._jitter = jitter
        self._holder = secrets.token_hex(8)
        self._no_news: dict[Key, None] = {}
        self._walk = LogWalk(pool, self._log, kept, receives, now, self._hold, self._no_news)
        self._recorder = Recorder(pool)
        self._results = ResultFilter(app.app_id, partial(headfacts.awaited, pool), Echoes(pool))
        self._looking = asyncio.Lock()
        self._failures = 0

    async def run(self, stop: asyncio.Event) -> None:
        """Look again and again until `stop`. GitHub or the database being away costs time only."""
        looking, stopping = asyncio.create_task(self._keep_looking()), asyncio.create_task(stop.wait())
        try:
            await asyncio.wait({looking, stopping}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            # a look can be broken off anywhere: what it did not record is found by the next one
            for task in (looking, stopping):
                task.cancel()
            await asyncio.gather(looking, stopping, return_exceptions=True)
            await self.close()

    async def close(self) -> None:
        """Wait until everything that was taken is recorded."""
        await self._recorder.close()

    async def _keep_looking(self) -> None:
        wait = QUICK
        while True:
            try:
                taken = await self.look()
            except Exception as error:
                await self._sleep(self._pause_after(error))
                continue
            self._well_again()
            wait = QUICK if taken else min(wait * GROWTH, SLOW)
            await self._sleep(wait)

    async def look_once(self) -> int | None:
        """As `look`, for the schedule, which comes again: a failure is logged. None: it failed."""
        try:
            taken = await self.look()
        except Exception as error:
            self._pause_after(error)
            return None
        self._well_again()
        return taken

    async def look(self) -> int:
        """Read what is new in the log and record it; how many deliveries were new to the inbox.

        Nothing is done while another process does it. A delivery that cannot be had or stored is tried ATTEMPTS times,
        ever later, and is then a dead letter; it never holds up others. Raises GitHubError when the log cannot be read
        (RateLimited: what may be asked of it in this hour is used up), and the database's errors.
        """
        async with self._looking:
            place = await self._hold()
            if place is None:
                return 0
            try:
                return await self._look(place)
            finally:
                await recovery.give_log_back(self._pool, self._holder)

    async def _look(self, place: Place) -> int:
        taken, more, unread = 0, True, None
        while more:
            try:
                place, more = await self._walk.further(place)
            except RateLimited:
                raise
            except GitHubError as error:  # what was noted is taken all the same: a page may stay unreadable for long
                more, unread = False, error
            taken += await self._take()
        if unread is not None:
            raise unread
        return taken

    async def _hold(self) -> Place | None:
        """Take or prolong the reading of the log; None: another process has it."""
        return await recovery.take_log(self._pool, self._holder, LEASE)

    # -------------------------------------------------------------------------------------------------- the payloads

    async def _take(self) -> int:
        """Fetch and record what is missing and due; how many deliveries were new to the inbox."""
        await recovery.forget_arrived(self._pool)
        taken = 0
        while found := await recovery.due(self._pool, self._now(), AT_ONCE):
            self._walk.keep_reserve()
            needed = [missed for missed in found if await self._is_needed(missed)]
            await self._settle_unneeded({missed.key for missed in found} - {missed.key for missed in needed})
            taken += await self._take_some(needed)
            await self._hold()
        return taken

    async def _settle_unneeded(self, keys: set[Key]) -> None:
        await recovery.settled(self._pool, keys)
        self._no_news.update(dict.fromkeys(keys))
        while len(self._no_news) > NO_NEWS:
            del self._no_news[next(iter(self._no_news))]

    async def _is_needed(self, missed: Missed) -> bool:
        if missed.event not in RESULT_EVENTS:
            return True
        return await self._results.may_want(missed.event, missed.action, missed.repo_id)

    async def _take_some(self, found: list[Missed]) -> int:
        """Fetch the payloads of a few and record those that came, in the order of the log."""
        by_key = {missed.key: missed for missed in found}
        fetched = await asyncio.gather(
            *(self._log.body(missed.delivery_id) for missed in found), return_exceptions=True
        )
        results: dict[Key, bool | BaseException | None] = {
            key: body for key, body in zip(by_key, fetched, strict=True) if isinstance(body, BaseException)
        }
        # No signature is checked: these bytes were never signed. They came from GitHub's API over TLS, asked for with
        # the App's own key, which proves as much.
        bodies = {key: body for key, body in zip(by_key, fetched, strict=True) if isinstance(body, LoggedBody)}
        recorded = await asyncio.gather(
            *(self._record(by_key[key], body) for key, body in bodies.items()),
            return_exceptions=True,
        )
        results.update(zip(bodies, recorded, strict=True))
        await recovery.settled(self._pool, {key for key, result in results.items() if isinstance(result, bool)})
        await self._settle_unneeded({key for key, result in results.items() if result is None})
        for key, result in results.items():
            if isinstance(result, bool):
                self._recorded(key, result)
        for key, result in results.items():
            if isinstance(result, BaseException):
                await self._put_off(by_key[key], result)
        return sum(result is True for result in results.values())

    async def _record(self, missed: Missed, body: LoggedBody) -> bool | None:
        """Record a delivery; whether it was new. None: nobody needs it (an echo of our own, for instance)."""
        if not is_for_app(self._app_id, body.target_type, body.target_id):
            log.warning("delivery_of_another_app", delivery=str(missed.guid), event_name=missed.event)
            return None
        parts = read_envelope(body.payload)
        if missed.event in RESULT_EVENTS and not await self._results.wants(missed.event, parts):
            return None
        delivery = new_delivery(missed.event, missed.guid, body.payload, parts)
        return await self._recorder.record(replace(delivery, sent_at=missed.delivered_at))

    def _recorded(self, key: Key, new: bool) -> None:
        guid, event = key
        PULLED.labels(event, "stored" if new else "duplicate").inc()
        log.info("delivery_pulled", delivery=str(guid), event_name=event, new=new)

    async def _put_off(self, missed: Missed, failure: BaseException) -> None:
        """Count a failed attempt at one delivery; raise what is no matter of this one."""
        if not isinstance(failure, Exception) or isinstance(failure, RateLimited | Unauthorized):
            raise failure
        if not isinstance(failure, GitHubError) and is_transient(failure):
            raise failure
        error = f"not taken from GitHub's delivery log: {failure or type(failure).__name__}"
        names = {"delivery": str(missed.guid), "event_name": missed.event, "error": error}
        if missed.attempts + 1 >= ATTEMPTS:
            await recovery.put_off(self._pool, missed, error, None)
            PULLED.labels(missed.event, "given_up").inc()
            log.error("delivery_given_up", **names)
            return
        retry_after = failure.retry_after if isinstance(failure, GitHubError) else None
        delay = delay_before_retry(missed.attempts + 1, retry_after, self._jitter)
        await recovery.put_off(self._pool, missed, error, self._now() + timedelta(seconds=delay))
        log.warning("delivery_not_pulled", **names, again_in=round(delay))

    # ------------------------------------------------------------------------------------------------------ a failure

    def _well_again(self) -> None:
        if self._failures:
            log.info("delivery_log_back", failures=self._failures)
            self._failures = 0

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

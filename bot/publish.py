"""Reports -> GitHub, exactly once in effect.

The outbox holds the report that is wanted for a head. Sending is level-triggered: what differs from what was sent is
sent. A check run whose posting may have happened (the answer was lost, or a worker died) is looked up by its
`external_id` before anything is posted again.
"""

from __future__ import annotations

import asyncio
import contextlib
import random
import time
from collections import Counter as Counted
from collections.abc import Callable
from datetime import timedelta

import structlog
from prometheus_client import Counter, Histogram

from bot.coverage import refresh_installation
from bot.retry import ATTEMPTS, delay_before_retry
from bot.services import Services
from github.answers import MAX_ANNOTATIONS
from github.client import InstallationClient
from github.errors import (
    GitHubError,
    InstallationError,
    NotFound,
    Permanent,
    RateLimited,
    Rejected,
    StatusesExhausted,
    UnknownOutcome,
)
from rules.model import InstallationState
from storage import accounts, outbox
from storage.database import is_transient
from storage.outbox import OutboxItem
from storage.turns import drop_superseded

log = structlog.get_logger(__name__)

# An item that was claimed and not settled within this time (its worker died) is sent by another worker.
LEASE = timedelta(seconds=60)

# A publisher stops sending after this part of the lease, counted by its own clock: one that was frozen, or waited long
# for the governor, must not post what another one has found missing and posted. The rest is for a request on its way.
SEND_WITHIN = 2 / 3

# At a stop, what is being sent gets this long (seconds).
LAST_SENDS = 1.0

# Items in hand at a time, sent side by side: in all, of one installation (the governor spaces its writes, so more of
# them would only wait), and, over all publishers, of one repository (others get their turn in between).
BATCH = 16
EACH_INSTALLATION = 6
EACH_REPOSITORY = 2

_NO_COMMIT = "no commit found"

# Where much waits, what was left behind is looked for at most this often (seconds).
DROP_EVERY = 2.0

# A commit or repository that GitHub does not know was pushed just now, perhaps: replicas lag behind the webhook for
# some seconds. After so many tries (about half a minute) it is not there.
BELIEVE_ABSENT_AFTER = 4

REPORTS = Counter("stepgate_reports_total", "Reports to GitHub", ["kind", "result"])
LATENCY = Histogram(
    "stepgate_report_latency_seconds",
    "From the receipt of a push to its head's first check run at GitHub",
    ["conclusion"],
    buckets=(0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0, 900.0, 3600.0),
)


class Publisher:
    """Sends due reports. `holder` names this process in leases, which last for `lease`.

    `on_room` is called when there is room again, for reports that could not be taken for want of it.
    """

    def __init__(
        self, services: Services, *, holder: str, lease: timedelta = LEASE, on_room: Callable[[], None] = lambda: None
    ) -> None:
        self._services = services
        self._holder = holder
        self._lease = lease
        self._on_room = on_room
        self._in_hand: dict[asyncio.Task[None], int] = {}  # of which installation
        self._dropped_at = float("-inf")
        self._full = False  # more may be due than was taken

    @property
    def busy(self) -> bool:
        """Whether reports are in hand."""
        return bool(self._in_hand)

    async def send_due(self) -> int:
        """Claim due reports for which there is room, and begin to send them; how many were taken.

        Nobody waits for them here, so that a slow installation keeps no other waiting. What GitHub refuses is stored
        with the item. Raises database errors of the claim. When this is cancelled, reports in hand are sent all the
        same (`close`).
        """
        room = BATCH - len(self._in_hand)
        self._full = room <= 0
        if self._full:
            return 0
        send_until = time.monotonic() + self._lease.total_seconds() * SEND_WITHIN
        items = await outbox.claim(
            self._services.pool,
            self._holder,
            self._lease,
            room,
            each=EACH_INSTALLATION,
            each_repository=EACH_REPOSITORY,
            not_of=self._served(),
        )
        for item in items:
            task = asyncio.create_task(self._send_in_time(item, send_until))
            self._in_hand[task] = item.installation_id
            task.add_done_callback(self._sent)
        self._full = len(items) == room or bool(self._served())
        await self._drop_superseded({item.installation_id for item in items if item.crowded})
        return len(items)

    async def _drop_superseded(self, crowded: set[int]) -> None:
        """Do without reports of heads that were left behind, of installations for which much waits."""
        if not crowded or time.monotonic() - self._dropped_at < DROP_EVERY:
            return
        self._dropped_at = time.monotonic()
        for installation_id in crowded:
            if dropped := await drop_superseded(self._services.pool, installation_id):
                REPORTS.labels("report", "superseded").inc(dropped)
                log.info("reports_superseded", installation=installation_id, reports=dropped)

    def _sent(self, task: asyncio.Task[None]) -> None:
        del self._in_hand[task]
        if self._full:
            self._on_room()

    async def one_sent(self) -> None:
        """Wait until one of the reports in hand no longer is."""
        if self._in_hand:
            await asyncio.wait(list(self._in_hand), return_when=asyncio.FIRST_COMPLETED)

    def _served(self) -> set[int]:
        """Installations of which enough is in hand."""
        counted = Counted(self._in_hand.values())
        return {installation_id for installation_id, items in counted.items() if 2 * items > EACH_INSTALLATION}

    async def close(self) -> None:
        """Finish what is in hand, for at most LAST_SENDS seconds; the rest is given back."""
        if self._in_hand:
            _, late = await asyncio.wait(list(self._in_hand), timeout=LAST_SENDS)
            for task in late:
                task.cancel()
            await asyncio.gather(*late, return_exceptions=True)

    async def next_due(self) -> float | None:
        """Seconds until a report is due for which there is room; None when none is (`on_room` tells when there is)."""
        if len(self._in_hand) >= BATCH:
            return None
        return await outbox.next_due(self._services.pool, not_of=self._served())

    async def _send_in_time(self, item: OutboxItem, send_until: float) -> None:
        """Send until that time of the monotonic clock, then give the item back. Whether a request that was broken off
        had its effect is looked up by the next attempt, as after a lost answer.
        """
        _name_in_log(item)
        try:
            async with asyncio.timeout(send_until - time.monotonic()):
                await self._send(item, send_until)
        except TimeoutError:
            log.warning("report_out_of_time", repo=item.repo_id, head=item.head_sha, attempt=item.attempts)
            await self._give_back(item, "not sent within its time")
        except asyncio.CancelledError:
            await self._give_back(item, "the worker was stopped")
            raise
        except Exception as error:  # the database's, or a defect of ours: it is sent again after the lease
            log.error("report_failed", repo=item.repo_id, error=repr(error), exc_info=not is_transient(error))

    async def _give_back(self, item: OutboxItem, reason: str) -> None:
        with contextlib.suppress(Exception):  # else it is due again after the lease
            await outbox.retry_later(self._services.pool, item, reason, timedelta(0))

    async def _send(self, item: OutboxItem, send_until: float) -> None:
        client = self._services.app.installation(item.installation_id)
        try:
            if item.check_run_due and (not await self._send_check_run(client, item, send_until) or item.status_waits):
                return
            if item.status_due:
                await self._send_status(client, item, send_until)
        except GitHubError as error:
            await self._failed(item, error)

    async def _send_check_run(self, client: InstallationClient, item: OutboxItem, send_until: float) -> bool:
        """Send it, unless an earlier attempt has; False when another worker has taken the item over."""
        run = item.check_run
        found = None
        if item.attempts > 1:  # an earlier attempt may have posted it
            found = await client.find_check_run(item.repo_full_name, run.head_sha, run.name, run.external_id)
            if found is not None and item.check_run_id is not None and found < item.check_run_id:
                found = None  # an equal one from before what GitHub shows now
        _must_be_before(send_until)
        run_id = found if found is not None else await client.create_check_run(item.repo_full_name, run)
        if len(run.annotations) > MAX_ANNOTATIONS:
            await self._send_annotations(client, item, run_id, fresh=found is None)
        if not await outbox.sent_check_run(self._services.pool, item, run_id):
            log.warning("report_taken_over", repo=item.repo_id, head=run.head_sha, check_run=run_id)
            return False
        REPORTS.labels("check_run", "found" if found is not None else "sent").inc()
        if item.delivery_id is not None and item.check_run_id is None:
            claimed_at = send_until - self._lease.total_seconds() * SEND_WITHIN
            LATENCY.labels(run.conclusion).observe(item.waited + time.monotonic() - claimed_at)
        log.info("check_run", repo=item.repo_id, head=run.head_sha, conclusion=run.conclusion, check_run=run_id)
        return True

    async def _send_annotations(
        self, client: InstallationClient, item: OutboxItem, run_id: int, *, fresh: bool
    ) -> None:
        """Add what one request could not take. What an earlier attempt has added is counted, and not added again.

        UnknownOutcome also for a limit, if the run was posted just now: whoever goes on has to look for it.
        """
        run, sent = item.check_run, MAX_ANNOTATIONS
        if not fresh:
            sent = await client.count_annotations(item.repo_full_name, run_id)
        while sent < len(run.annotations):
            try:
                sent = await client.add_annotations(item.repo_full_name, run_id, run, sent)
            except RateLimited as error:
                if not fresh:
                    raise
                raise UnknownOutcome(str(error), retry_after=error.retry_after) from None

    async def _send_status(self, client: InstallationClient, item: OutboxItem, send_until: float) -> None:
        if item.status is None:
            return
        _must_be_before(send_until)
        try:
            if item.status_over:
                raise StatusesExhausted("known since an earlier one")
            status_id = await client.create_status(item.repo_full_name, item.status)
        except StatusesExhausted as error:
            log.warning("status_left_out", repo=item.repo_id, head=item.head_sha, error=str(error))
            await outbox.without_status(self._services.pool, item)
            REPORTS.labels("status", "exhausted").inc()
            return
        await outbox.sent_status(self._services.pool, item, status_id)
        REPORTS.labels("status", "sent").inc()

    async def _failed(self, item: OutboxItem, error: GitHubError) -> None:
        """Put the report off, or give it up when trying again changes nothing (it stays in sight as failed)."""
        log_ = log.bind(repo=item.repo_id, head=item.head_sha, attempt=item.attempts, error=f"{error!r}")
        waiting = isinstance(error, RateLimited)  # in the queue: no failed attempt
        away = isinstance(error, InstallationError) and not await self._is_in_force(item.installation_id)
        final = isinstance(error, Permanent) and not (_may_be_early(error) and item.attempts < BELIEVE_ABSENT_AFTER)
        if final or away or (item.attempts >= ATTEMPTS and not waiting):
            REPORTS.labels("report", "given_up").inc()
            log_.error("report_given_up")
            await outbox.give_up(self._services.pool, item, str(error))
            return
        REPORTS.labels("report", "retried").inc()
        failures = 1 if waiting else item.attempts  # whoever waits for a limit comes back as soon as it ends
        delay = timedelta(seconds=delay_before_retry(failures, error.retry_after, random.random))
        log_.warning("report_put_off", seconds=delay.total_seconds())
        await outbox.retry_later(self._services.pool, item, str(error), delay, counts=not waiting)

    async def _is_in_force(self, installation_id: int) -> bool:
        """Whether an installation that this process took for suspended or deleted is in force after all.

        Another process may have heard that it is back; or nobody that it went, and that is stored now. What was given
        up is sent when it comes back.
        """
        if await self._is_stored_as_active(installation_id):
            try:
                await refresh_installation(self._services, installation_id)
            except InstallationError:
                return False
            except GitHubError:
                return True  # not known: to be tried again
        return await self._is_stored_as_active(installation_id)

    async def _is_stored_as_active(self, installation_id: int) -> bool:
        known = await accounts.installation(self._services.pool, installation_id)
        return known is not None and known.state is InstallationState.ACTIVE


def _must_be_before(send_until: float) -> None:
    """Raises TimeoutError: a process that wakes from a freeze comes here before its time-out fires."""
    if time.monotonic() > send_until:
        raise TimeoutError


def _may_be_early(error: Permanent) -> bool:
    """Whether GitHub may only not know yet what the report is about: 404, or 422 "No commit found for SHA"."""
    unknown = isinstance(error, Rejected) and error.status == 422 and _NO_COMMIT in str(error).lower()
    return unknown or isinstance(error, NotFound)


def _name_in_log(item: OutboxItem) -> None:
    """Let all that this task logs, in whatever module, name the report, and the delivery that it answers."""
    structlog.contextvars.clear_contextvars()
    known = {"delivery": item.delivery_id, "session": item.session_id}
    structlog.contextvars.bind_contextvars(
        repo=item.repo_id, head=item.head_sha, **{key: str(value) for key, value in known.items() if value is not None}
    )

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
from datetime import timedelta

import structlog
from prometheus_client import Counter

from bot.retry import ATTEMPTS, delay_before_retry
from bot.services import Services
from github.answers import MAX_ANNOTATIONS
from github.client import InstallationClient
from github.errors import GitHubError, InstallationError, Permanent, RateLimited
from storage import outbox
from storage.database import is_transient
from storage.outbox import OutboxItem

log = structlog.get_logger(__name__)

# An item that was claimed and not settled within this time (its worker died) is sent by another worker.
LEASE = timedelta(seconds=60)

# A publisher stops sending after this part of the lease, counted by its own clock: one that was frozen, or waited long
# for the governor, must not post what another one has found missing and posted. The rest is for a request on its way.
SEND_WITHIN = 2 / 3

# At a stop, what is being sent gets this long (seconds).
LAST_SENDS = 1.0

# Items taken at a time; sent side by side, the governor of each installation spaces them.
BATCH = 16

REPORTS = Counter("stepgate_reports_total", "Reports to GitHub", ["kind", "result"])


class Publisher:
    """Sends due reports. `holder` names this process in leases, which last for `lease`."""

    def __init__(self, services: Services, *, holder: str, lease: timedelta = LEASE) -> None:
        self._services = services
        self._holder = holder
        self._lease = lease
        self._in_hand: set[asyncio.Task[None]] = set()

    async def send_due(self) -> int:
        """Claim due reports and send them; how many were taken. What GitHub refuses is stored with the item.

        Raises database errors of the claim. When this is cancelled, reports in hand are sent all the same (`close`).
        """
        send_until = time.monotonic() + self._lease.total_seconds() * SEND_WITHIN
        items = await outbox.claim(self._services.pool, self._holder, self._lease, BATCH)
        tasks = {asyncio.create_task(self._send_in_time(item, send_until)) for item in items}
        for task in tasks:
            self._in_hand.add(task)
            task.add_done_callback(self._in_hand.discard)
        if tasks:
            await asyncio.wait(tasks)
        return len(items)

    async def close(self) -> None:
        """Finish what is in hand, for at most LAST_SENDS seconds; the rest is given back."""
        if self._in_hand:
            _, late = await asyncio.wait(self._in_hand, timeout=LAST_SENDS)
            for task in late:
                task.cancel()
            await asyncio.gather(*late, return_exceptions=True)

    async def next_due(self) -> float | None:
        """Seconds until a report is due; None when nothing waits."""
        return await outbox.next_due(self._services.pool)

    async def _send_in_time(self, item: OutboxItem, send_until: float) -> None:
        """Send until that time of the monotonic clock, then give the item back. Whether a request that was broken off
        had its effect is looked up by the next attempt, as after a lost answer.
        """
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
            if item.check_run_due:
                await self._send_check_run(client, item, send_until)
            if item.status_due:
                await self._send_status(client, item)
        except GitHubError as error:
            await self._failed(item, error)

    async def _send_check_run(self, client: InstallationClient, item: OutboxItem, send_until: float) -> None:
        run = item.check_run
        found = None
        if item.attempts > 1:  # an earlier attempt may have posted it
            found = await client.find_check_run(item.repo_full_name, run.head_sha, run.name, run.external_id)
        if time.monotonic() > send_until:  # a process that wakes from a freeze comes here before its time-out fires
            raise TimeoutError
        run_id = found if found is not None else await client.create_check_run(item.repo_full_name, run)
        if len(run.annotations) > MAX_ANNOTATIONS:
            await self._send_annotations(client, item, run_id, fresh=found is None)
        await outbox.sent_check_run(self._services.pool, item, run_id)
        REPORTS.labels("check_run", "found" if found is not None else "sent").inc()
        log.info("check_run", repo=item.repo_id, head=run.head_sha, conclusion=run.conclusion, check_run=run_id)

    async def _send_annotations(
        self, client: InstallationClient, item: OutboxItem, run_id: int, *, fresh: bool
    ) -> None:
        """Add what one request could not take. What an earlier attempt has added is counted, and not added again."""
        run, sent = item.check_run, MAX_ANNOTATIONS
        if not fresh:
            sent = await client.count_annotations(item.repo_full_name, run_id)
        while sent < len(run.annotations):
            sent = await client.add_annotations(item.repo_full_name, run_id, run, sent)

    async def _send_status(self, client: InstallationClient, item: OutboxItem) -> None:
        if item.status is None:
            return
        status_id = await client.create_status(item.repo_full_name, item.status)
        await outbox.sent_status(self._services.pool, item, status_id)
        REPORTS.labels("status", "sent").inc()

    async def _failed(self, item: OutboxItem, error: GitHubError) -> None:
        """Put the report off, or give it up when trying again changes nothing (it stays in sight as failed)."""
        log_ = log.bind(repo=item.repo_id, head=item.head_sha, attempt=item.attempts, error=f"{error!r}")
        waiting = isinstance(error, RateLimited)  # in the queue: no failed attempt
        if isinstance(error, Permanent | InstallationError) or (item.attempts >= ATTEMPTS and not waiting):
            REPORTS.labels("report", "given_up").inc()
            log_.error("report_given_up")
            await outbox.give_up(self._services.pool, item, str(error))
            return
        REPORTS.labels("report", "retried").inc()
        delay = timedelta(seconds=delay_before_retry(item.attempts, error.retry_after, random.random))
        log_.warning("report_put_off", seconds=delay.total_seconds())
        await outbox.retry_later(self._services.pool, item, str(error), delay, counts=not waiting)

"""Reports -> GitHub, exactly once in effect.

The outbox holds the report that is wanted for a head. Sending is level-triggered: what differs from what was sent is
sent. A check run whose posting may have happened (the answer was lost, or a worker died) is looked up by its
`external_id` before anything is posted again.
"""

from __future__ import annotations

import asyncio
import random
from datetime import timedelta

import structlog
from prometheus_client import Counter

from bot.retry import ATTEMPTS, delay_before_retry
from bot.services import Services
from github.client import InstallationClient
from github.errors import GitHubError, InstallationError, Permanent, RateLimited
from storage import outbox
from storage.outbox import OutboxItem

log = structlog.get_logger(__name__)

# An item that was claimed and not settled within this time (its worker died) is sent by another worker.
LEASE = timedelta(seconds=60)

# Items taken at a time; sent side by side, the governor of each installation spaces them.
BATCH = 16

REPORTS = Counter("stepgate_reports_total", "Reports to GitHub", ["kind", "result"])


class Publisher:
    """Sends due reports. `holder` names this process in leases."""

    def __init__(self, services: Services, *, holder: str) -> None:
        self._services = services
        self._holder = holder

    async def send_due(self) -> int:
        """Claim due reports and send them; how many were taken. Failures are stored with the item, never raised."""
        items = await outbox.claim(self._services.pool, self._holder, LEASE, BATCH)
        await asyncio.gather(*(self._send(item) for item in items))
        return len(items)

    async def next_due(self) -> float | None:
        """Seconds until a report is due; None when nothing waits."""
        return await outbox.next_due(self._services.pool)

    async def _send(self, item: OutboxItem) -> None:
        client = self._services.app.installation(item.installation_id)
        try:
            if item.check_run_due:
                await self._send_check_run(client, item)
            if item.status_due:
                await self._send_status(client, item)
        except GitHubError as error:
            await self._failed(item, error)

    async def _send_check_run(self, client: InstallationClient, item: OutboxItem) -> None:
        run = item.check_run
        found = None
        if item.attempts > 1:  # an earlier attempt may have posted it
            found = await client.find_check_run(item.repo_full_name, run.head_sha, run.name, run.external_id)
        run_id = found if found is not None else await client.create_check_run(item.repo_full_name, run)
        await outbox.sent_check_run(self._services.pool, item, run_id)
        REPORTS.labels("check_run", "found" if found is not None else "sent").inc()
        log.info("check_run", repo=item.repo_id, head=run.head_sha, conclusion=run.conclusion, check_run=run_id)

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

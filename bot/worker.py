"""The worker: takes lanes, processes their deliveries in order, retries, buries, publishes, runs the schedules.

Several workers may run on one database at any time. A lane (one repository, one installation) is held by one worker
under a lease with a fencing token; everything that is saved names the token, so a worker that lost its lease cannot
write. Losing the database or the listening connection only costs time: lanes and outbox are polled.
"""

from __future__ import annotations

import asyncio
import contextlib
import random
from collections.abc import Awaitable, Callable
from datetime import timedelta

import structlog
from prometheus_client import Counter, Histogram

from bot.handlers import handle
from bot.payloads import UnreadablePayloadError
from bot.publish import Publisher
from bot.retry import ATTEMPTS, delay_before_retry
from bot.schedules import run_schedules
from bot.services import Services
from github.errors import GitHubError, InstallationError, Permanent, RateLimited
from storage import inbox, lanes
from storage.database import is_transient
from storage.errors import LeaseLost
from storage.inbox import StoredDelivery
from storage.lanes import Lane
from storage.notify import Listener

log = structlog.get_logger(__name__)

# A lane is taken over when its holder was silent for this long; the holder says that it lives three times as often.
LEASE = timedelta(seconds=30)
HEARTBEAT = LEASE / 3

# NOTIFY only hurries: without it, work is found by looking this often (seconds).
POLL = 2.0

# A stop that takes longer is a kill on common hosts (30 s on Heroku): lanes still held are then released unfinished.
DRAIN = 20.0

PROCESSED = Counter("stepgate_processed_total", "Deliveries processed", ["event", "result"])
SECONDS = Histogram("stepgate_processing_seconds", "From claim to saved verdict", ["event"])


class Worker:
    """One worker process (or the worker half of `serve`).

    `dsn`: for the schedules' own connection; `holder` names the worker in leases; `concurrency` bounds lanes.
    """

    def __init__(self, services: Services, listener: Listener, *, dsn: str, holder: str, concurrency: int) -> None:
        self._services = services
        self._dsn = dsn
        self._pool = services.pool
        self._listener = listener
        self._holder = holder
        self._slots = asyncio.Semaphore(concurrency)
        self._publisher = Publisher(services, holder=holder)

    async def run(self, stop: asyncio.Event) -> None:
        """Work until `stop` is set; then finish what is in hand (at most DRAIN seconds) and give back the rest."""
        held: set[asyncio.Task[None]] = set()
        loops = [
            asyncio.create_task(self._supervised("lanes", lambda: self._dispatch(held))),
            asyncio.create_task(self._supervised("outbox", self._publish)),
            asyncio.create_task(self._supervised("schedules", lambda: run_schedules(self._dsn, self._services))),
        ]
        await stop.wait()
        await _cancel(loops)
        if held:
            _, late = await asyncio.wait(held, timeout=DRAIN)
            await _cancel(late)
        with contextlib.suppress(Exception):  # reports not sent now are sent by whoever polls the outbox next
            await asyncio.wait_for(self._publisher.send_due(), timeout=3)

    async def _supervised(self, name: str, loop: Callable[[], Awaitable[None]]) -> None:
        """Run `loop` for ever: a failure (the database is away, say) is logged and the loop starts again."""
        while True:
            try:
                await loop()
            except Exception as error:
                log.warning("worker_loop_failed", loop=name, error=repr(error), exc_info=not is_transient(error))
                await asyncio.sleep(1.0 + random.random())  # noqa: S311 (spreads replicas, no secret)

    async def _dispatch(self, held: set[asyncio.Task[None]]) -> None:
        """Claim due lanes, one task each, as long as there is a free slot; wait for a wake-up when none is due."""
        due = self._listener.event("lane_due")
        while True:
            await self._slots.acquire()
            try:
                due.clear()
                lane = await lanes.claim(self._pool, self._holder, LEASE)
            except BaseException:
                self._slots.release()
                raise
            if lane is None:
                self._slots.release()
                await _wait(due, await lanes.next_due(self._pool))
                continue
            task = asyncio.create_task(self._work(lane))
            held.add(task)
            task.add_done_callback(held.discard)
            task.add_done_callback(lambda _: self._slots.release())

    async def _publish(self) -> None:
        due = self._listener.event("outbox_due")
        while True:
            due.clear()
            if not await self._publisher.send_due():
                await _wait(due, await self._publisher.next_due())

    async def _work(self, lane: Lane) -> None:
        """Process a lane until nothing in it is due, under a heartbeat; give it back whatever happens."""
        heart = asyncio.create_task(self._beat(lane, asyncio.current_task()))
        try:
            while deliveries := await inbox.waiting(self._pool, lane):
                await self._process(lane, deliveries)
        except LeaseLost:
            log.warning("lease_lost", lane=lane.lane_id, token=lane.token)
        except Exception as error:
            log.error("lane_failed", lane=lane.lane_id, error=repr(error), exc_info=not is_transient(error))
        finally:
            heart.cancel()
            with contextlib.suppress(Exception):
                await lanes.release(self._pool, lane)

    async def _beat(self, lane: Lane, work: asyncio.Task[None] | None) -> None:
        """Prolong the lease; when it is lost, stop the work at once (its writes would be refused anyway)."""
        while True:
            await asyncio.sleep(HEARTBEAT.total_seconds())
            try:
                alive = await lanes.heartbeat(self._pool, lane, LEASE)
            except Exception as error:
                log.warning("heartbeat_failed", lane=lane.lane_id, error=repr(error))
                continue
            if not alive and work is not None:
                work.cancel()
                return

    async def _process(self, lane: Lane, deliveries: tuple[StoredDelivery, ...]) -> None:
        """Process the first delivery (with the pushes of its ref that wait behind it), or put it off, or bury it."""
        first = deliveries[0]
        log_ = log.bind(lane=lane.lane_id, delivery=str(first.guid), event_name=first.event, attempt=first.attempts + 1)
        try:
            with SECONDS.labels(first.event).time():
                outcome = await handle(self._services, lane, deliveries)
        except LeaseLost:
            raise
        except Exception as error:
            await self._failed(lane, first, error)
            log_.warning("delivery_failed", error=repr(error), exc_info=not isinstance(error, GitHubError))
        else:
            PROCESSED.labels(first.event, "done").inc()
            log_.info("processed", outcome=outcome)

    async def _failed(self, lane: Lane, delivery: StoredDelivery, error: Exception) -> None:
        attempts = delivery.attempts + 1
        exhausted = attempts >= ATTEMPTS and not isinstance(error, RateLimited)  # waiting in a queue is no failure
        hopeless = exhausted or isinstance(error, UnreadablePayloadError | Permanent | InstallationError)
        if hopeless:
            PROCESSED.labels(delivery.event, "dead").inc()
            await inbox.bury(self._pool, lane, delivery.inbox_id, _sentence(error))
            return
        PROCESSED.labels(delivery.event, "retried").inc()
        retry_after = error.retry_after if isinstance(error, GitHubError) else None
        seconds = delay_before_retry(attempts, retry_after, random.random)
        await inbox.retry_later(self._pool, lane, delivery.inbox_id, _sentence(error), timedelta(seconds=seconds))


def _sentence(error: Exception) -> str:
    return f"{type(error).__name__}: {error}"[:500]


async def _wait(event: asyncio.Event, due_in: float | None) -> None:
    """Wait for a wake-up, at most until the next known due time and never longer than POLL."""
    with contextlib.suppress(TimeoutError):
        await asyncio.wait_for(event.wait(), timeout=POLL if due_in is None else max(0.01, min(POLL, due_in)))


async def _cancel(tasks: list[asyncio.Task[None]] | set[asyncio.Task[None]]) -> None:
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)

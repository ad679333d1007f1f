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
from bot.lag import NotYetError, pause
from bot.payloads import UnreadablePayloadError
from bot.publish import LEASE as REPORT_LEASE
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

# NOTIFY only hurries: without it, work is found by looking this often (seconds).
POLL = 2.0

# What is due and cannot be taken, because others hold it, is looked for again after this (seconds).
LEAST_WAIT = 0.05

# A stop that takes longer than cli.serve.GRACE, 25 s, is a kill: lanes still held after DRAIN are released unfinished;
# then what they wanted to be reported is sent (seconds).
DRAIN = 18.0
LAST_REPORTS = 3.0

PROCESSED = Counter("stepgate_processed_total", "Deliveries processed", ["event", "result"])
SECONDS = Histogram("stepgate_processing_seconds", "From claim to saved verdict", ["event"])


class Worker:
    """One worker process (or the worker half of `serve`).

    `dsn`: for the schedules' own connection; `holder` names the worker in leases; `concurrency` bounds lanes; a silent
    worker's lanes are taken over after `lease`, its reports after `report_lease`. `recovers`: it also looks for what
    was lost (bot.recovery, bot.reconciler, bot.sweeper).
    """

    def __init__(
        self,
        services: Services,
        listener: Listener,
        *,
        dsn: str,
        holder: str,
        concurrency: int,
        lease: timedelta = LEASE,
        report_lease: timedelta = REPORT_LEASE,
        recovers: bool = True,
    ) -> None:
        self._recovers = recovers
        self._services = services
        self._dsn = dsn
        self._pool = services.pool
        self._listener = listener
        self._holder = holder
        self._lease = lease
        self._slots = asyncio.Semaphore(concurrency)
        room = listener.event("outbox_due").set
        self._publisher = Publisher(services, holder=holder, lease=report_lease, on_room=room)

    async def run(self, stop: asyncio.Event) -> None:
        """Work until `stop` is set; then finish what is in hand (DRAIN + LAST_REPORTS seconds), give back the rest.

        The loops over lanes and reports end by themselves: a claim that is cancelled half-way may have been taken, and
        what it took would wait for the end of its lease.
        """
        held: set[asyncio.Task[None]] = set()
        drained = asyncio.Event()
        lanes_loop = self._supervise("lanes", lambda: self._dispatch(held, stop), stop)
        reports_loop = self._supervise("outbox", lambda: self._publish(drained), drained)
        schedules = self._supervise("schedules", self._run_schedules, stop)
        await stop.wait()
        self._listener.event("lane_due").set()
        await _cancel({schedules})
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(DRAIN):
                await asyncio.wait({lanes_loop})
                if held:
                    await asyncio.wait(held)
        await _cancel({lanes_loop, *held})
        drained.set()
        self._listener.event("outbox_due").set()
        await asyncio.wait({reports_loop}, timeout=LAST_REPORTS)
        await _cancel({reports_loop})
        await self._publisher.close()  # reports not sent now are sent by whoever polls the outbox next

    async def _run_schedules(self) -> None:
        await run_schedules(self._dsn, self._services, recovers=self._recovers)

    def _supervise(self, name: str, loop: Callable[[], Awaitable[None]], until: asyncio.Event) -> asyncio.Task[None]:
        """Run `loop` again and again until `until` is set, in a task of its own."""
        return asyncio.create_task(self._supervised(name, loop, until), name=name)

    async def _supervised(self, name: str, loop: Callable[[], Awaitable[None]], until: asyncio.Event) -> None:
        """A failure (the database is away, say) is logged and the loop starts again."""
        while not until.is_set():
            try:
                await loop()
            except Exception as error:
                log.warning("worker_loop_failed", loop=name, error=repr(error), exc_info=not is_transient(error))
                await asyncio.sleep(1.0 + random.random())  # noqa: S311 (spreads replicas, no secret)

    async def _dispatch(self, held: set[asyncio.Task[None]], stop: asyncio.Event) -> None:
        """Claim due lanes, one task each, as long as there is a free slot; wait for a wake-up when none is due."""
        due = self._listener.event("lane_due")
        while not stop.is_set():
            await self._slots.acquire()
            try:
                due.clear()
                lane = None if stop.is_set() else await lanes.claim(self._pool, self._holder, self._lease)
            except BaseException:
                self._slots.release()
                raise
            if lane is None:
                self._slots.release()
                due_in = await lanes.next_due(self._pool)
                if not stop.is_set():
                    await _wait(due, due_in)
                continue
            task = asyncio.create_task(self._work(lane, stop))
            held.add(task)
            task.add_done_callback(held.discard)
            task.add_done_callback(lambda _: self._slots.release())

    async def _publish(self, drained: asyncio.Event) -> None:
        """Send what is due until the worker is drained, and nothing is due or in hand any more."""
        due = self._listener.event("outbox_due")
        while True:
            due.clear()
            if await self._publisher.send_due():
                continue
            if drained.is_set():
                if not self._publisher.busy:
                    return
                await self._publisher.one_sent()
                continue
            due_in = await self._publisher.next_due()
            await _wait(due, None if due_in is None else max(LEAST_WAIT, due_in))

    async def _work(self, lane: Lane, stop: asyncio.Event) -> None:
        """Process a lane until nothing in it is due, under a heartbeat; give it back whatever happens."""
        heart = asyncio.create_task(self._beat(lane, asyncio.current_task()))
        try:
            while not stop.is_set() and (deliveries := await inbox.waiting(self._pool, lane)):
                await self._process(lane, deliveries)
                if len(deliveries) == 1:
                    break  # what has come meanwhile makes the lane due as it is released: that saves the look
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
            await asyncio.sleep(self._lease.total_seconds() / 3)
            try:
                alive = await lanes.heartbeat(self._pool, lane, self._lease)
            except Exception as error:
                log.warning("heartbeat_failed", lane=lane.lane_id, error=repr(error))
                continue
            if not alive and work is not None:
                log.warning("lease_lost", lane=lane.lane_id, token=lane.token)
                work.cancel()
                return

    async def _process(self, lane: Lane, deliveries: tuple[StoredDelivery, ...]) -> None:
        """Process the first delivery (with the pushes of its ref that wait behind it), or put it off, or bury it."""
        first = deliveries[0]
        if first.attempts >= ATTEMPTS:  # failed attempts are settled: the last one ended its worker, not only itself
            PROCESSED.labels(first.event, "dead").inc()
            await inbox.bury(self._pool, lane, first.inbox_id, f"none of {first.attempts} attempts came to an end")
            return
        # All that this task logs from here on, in whatever module, names the delivery.
        structlog.contextvars.clear_contextvars()
        structlog.contextvars.bind_contextvars(
            lane=lane.lane_id, delivery=str(first.guid), event_name=first.event, attempt=first.attempts + 1
        )
        try:
            with SECONDS.labels(first.event).time():
                outcome = await handle(self._services, lane, deliveries)
        except LeaseLost:
            raise
        except Exception as error:
            await self._failed(lane, first, error)
            log.warning(
                "delivery_failed",
                error=repr(error),
                exc_info=not (isinstance(error, GitHubError) or is_transient(error)),
            )
        else:
            PROCESSED.labels(first.event, "done").inc()
            log.info("processed", outcome=outcome)

    async def _failed(self, lane: Lane, delivery: StoredDelivery, error: Exception) -> None:
        attempts = delivery.attempts + 1
        waits = isinstance(error, RateLimited | NotYetError)  # in a queue, for replicas: that is no failure
        exhausted = attempts >= ATTEMPTS and not waits
        hopeless = exhausted or isinstance(error, UnreadablePayloadError | Permanent | InstallationError)
        if hopeless:
            PROCESSED.labels(delivery.event, "dead").inc()
            await inbox.bury(self._pool, lane, delivery.inbox_id, _sentence(error))
            return
        PROCESSED.labels(delivery.event, "retried").inc()
        retry_after = error.retry_after if isinstance(error, GitHubError) else None
        seconds = pause() if isinstance(error, NotYetError) else None
        delay = timedelta(seconds=seconds or delay_before_retry(1 if waits else attempts, retry_after, random.random))
        for other in error.inbox_ids if isinstance(error, NotYetError) else ():
            if other != delivery.inbox_id:
                await inbox.retry_later(self._pool, lane, other, _sentence(error), delay)
        await inbox.retry_later(self._pool, lane, delivery.inbox_id, _sentence(error), delay, counts=not waits)


def _sentence(error: Exception) -> str:
    return f"{type(error).__name__}: {error}"[:500]


async def _wait(event: asyncio.Event, due_in: float | None) -> None:
    """Wait for a wake-up, at most until the next known due time and never longer than POLL."""
    with contextlib.suppress(TimeoutError):
        await asyncio.wait_for(event.wait(), timeout=POLL if due_in is None else max(0.01, min(POLL, due_in)))


async def _cancel(tasks: set[asyncio.Task[None]]) -> None:
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)

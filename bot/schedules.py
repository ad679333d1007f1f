"""What happens by the clock, once over all replicas: PgQueuer's schedules (deliveries have lanes of their own).

`run()` of the scheduler ends when its connection is cut: the worker supervises it and starts it again.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable
from datetime import timedelta

import structlog
from pgqueuer import PgQueuer
from pgqueuer.db import AsyncpgDriver

from bot import reconciler
from bot.recovery import DeliveryPoller
from bot.services import Services
from bot.sweeper import sweep
from bot.templates import look_at_missed_templates, look_at_quiet_templates
from storage import budgets, inbox, retention, sealing, sessions
from storage.database import is_transient, session_connection

log = structlog.get_logger(__name__)

HOURLY = "7 * * * *"  # not on the full hour, when everybody's clocks strike
EACH_QUARTER = "4,19,34,49 * * * *"
EACH_MINUTE = "* * * * *"
EACH_FIVE_MINUTES = "1-59/5 * * * *"

# Rows of deliveries are kept so much longer than GitHub may send one again: by them it is told from a new one.
DEDUPE_MARGIN = timedelta(days=2)

# Sessions that are closed before the clock is looked at again.
OVERDUE = 100


async def run_schedules(dsn: str, services: Services, *, recovers: bool = True) -> None:
    """Run the schedules until cancelled, or until the connection is lost (which raises).

    `recovers`: what was lost is looked for, at GitHub and here, now and by the clock.
    """
    async with session_connection(dsn) as connection, contextlib.AsyncExitStack() as stack:
        scheduler = PgQueuer(AsyncpgDriver(connection))
        if recovers:
            await _schedule_recovery(scheduler, services, stack)

        @scheduler.schedule("stepgate-retention", HOURLY, clean_old=True)
        async def _retention(_schedule: object) -> None:
            await forget_bodies(services)
            await forget_deliveries(services)
            await forget_what_is_over(services)

        @scheduler.schedule("stepgate-expiry", EACH_MINUTE, clean_old=True)
        async def _expiry(_schedule: object) -> None:
            await expire_overdue(services)

        @scheduler.schedule("stepgate-audit", EACH_FIVE_MINUTES, clean_old=True)
        async def _audit(_schedule: object) -> None:
            await seal_audit(services)

        @scheduler.schedule("stepgate-templates", EACH_QUARTER, clean_old=True)
        async def _templates(_schedule: object) -> None:
            await look_at_quiet_templates(services)

        @scheduler.schedule("stepgate-budgets", HOURLY, clean_old=True)
        async def _budgets(_schedule: object) -> None:
            await budgets.sweep(services.pool)

        try:
            await scheduler.sm.run()
        finally:
            scheduler.shutdown.set()


async def _schedule_recovery(scheduler: PgQueuer, services: Services, stack: contextlib.AsyncExitStack) -> None:
    """Look for what was lost each minute, and once now: what came while nobody was here."""
    poller = DeliveryPoller(services.pool, services.app, kept=services.log_kept, receives=services.receives)
    stack.push_async_callback(poller.close)

    @scheduler.schedule("stepgate-log", EACH_MINUTE, clean_old=True)
    async def _log(_schedule: object) -> None:
        await poller.look_once()

    @scheduler.schedule("stepgate-reconcile", EACH_MINUTE, clean_old=True)
    async def _reconcile(_schedule: object) -> None:
        await reconciler.reconcile(services)

    @scheduler.schedule("stepgate-missed-templates", EACH_QUARTER, clean_old=True)
    async def _missed_templates(_schedule: object) -> None:
        await look_at_missed_templates(services)

    @scheduler.schedule("stepgate-sweep", EACH_FIVE_MINUTES, clean_old=True)
    async def _sweep(_schedule: object) -> None:
        await sweep(services)

    starting = asyncio.create_task(recover_now(services, poller))
    stack.push_async_callback(_cancel, starting)


async def recover_now(services: Services, poller: DeliveryPoller) -> None:
    """What a start does: first the delivery log, which tells the most, then heads and installations, then our own."""
    try:
        await poller.look_once()
        await reconciler.begin_round(services)
        await reconciler.reconcile(services)
        await look_at_missed_templates(services)
        await sweep(services)
    except Exception as error:  # the clock comes soon
        log.warning("not_recovered_at_start", error=repr(error), exc_info=not is_transient(error))


async def _cancel(task: asyncio.Task[None]) -> None:
    task.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await task


async def seal_audit(services: Services) -> int:
    """Seal what was recorded; how many events. The root in the log is one that nobody can change in the database."""
    sealed = await sealing.seal(services.pool)
    if sealed.waits:
        log.info("audit_sealing_waits", hint="somebody has been writing for long; it is tried again in five minutes")
    if sealed.rows:
        log.info("audit_sealed", events=sealed.rows, batch=sealed.batch, root=sealed.root)
    return sealed.rows


async def expire_overdue(services: Services) -> int:
    """Close the sessions whose deadline has passed, each in a transaction of its own; how many they were.

    Nothing is sent to GitHub: the learner's page says it at once, the next push is answered with it, and the verdict
    that a head carries stays. Several workers may do this at once, and pushes go on meanwhile: each session is closed
    once, under its lock, by the database's clock.
    """
    total = 0
    while found := await sessions.overdue(services.pool, OVERDUE):
        closed = [session_id for session_id in found if await sessions.expire(services.pool, session_id)]
        total += len(closed)
        if not closed:  # somebody else is at the same ones
            break
    if total:
        log.info("sessions_expired", sessions=total)
    return total


async def forget_what_is_over(services: Services) -> dict[str, int]:
    """Delete what docs/privacy.md gives an end, besides bodies; how many rows of each kind there were."""
    pool, strangers_after = services.pool, services.keep_bodies
    wanted: dict[str, Callable[[], Awaitable[int]]] = {
        "missed": lambda: retention.forget_missed(pool),
        "dead_bodies": lambda: retention.forget_dead_bodies(pool),
        "senders": lambda: retention.forget_senders(pool),
        "results": lambda: retention.forget_results(pool),
        "strangers": lambda: retention.clean_strangers(pool, strangers_after),
        "accounts": lambda: retention.forget_accounts(pool, strangers_after),
    }
    totals = {}
    for kind, batch in wanted.items():
        totals[kind] = 0
        while done := await batch():
            totals[kind] += done
    if any(totals.values()):
        log.info("retention", **totals)
    return totals


async def forget_bodies(services: Services) -> int:
    """Delete the bodies of deliveries finished long enough ago, a thousand at a time; how many they were."""
    total = 0
    while forgotten := await inbox.forget_bodies(services.pool, services.keep_bodies):
        total += forgotten
    if total:
        log.info("bodies_forgotten", deliveries=total)
    return total


async def forget_deliveries(services: Services) -> int:
    """Delete what is left of deliveries that GitHub cannot send again; how many they were.

    A thousand at a time, the oldest first, so that the table does not grow with the years, nor its queries.
    """
    kept = max(services.keep_bodies, services.log_kept) + DEDUPE_MARGIN
    total, after = 0, 0
    while True:
        gone, last = await retention.forget_deliveries(services.pool, kept, after)
        total += gone
        if last is None:
            break
        after = last
    if total:
        log.info("deliveries_forgotten", deliveries=total)
    return total

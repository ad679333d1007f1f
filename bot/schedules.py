"""What happens by the clock, once over all replicas: PgQueuer's schedules (deliveries have lanes of their own).

`run()` of the scheduler ends when its connection is cut: the worker supervises it and starts it again.
"""

from __future__ import annotations

from datetime import timedelta

import structlog
from pgqueuer import PgQueuer
from pgqueuer.db import AsyncpgDriver

from bot.services import Services
from storage import inbox
from storage.database import session_connection

log = structlog.get_logger(__name__)

HOURLY = "7 * * * *"  # not on the full hour, when everybody's clocks strike

# Bodies hold names and addresses: they go once processed and past the time in which GitHub can redeliver them, 3 days
# on github.com and 7 on GHES (GitHub docs, "Redelivering webhooks"), with a day's margin.
KEEP_BODIES = timedelta(days=8)


async def run_schedules(dsn: str, services: Services) -> None:
    """Run the schedules until cancelled, or until the connection is lost (which raises)."""
    async with session_connection(dsn) as connection:
        scheduler = PgQueuer(AsyncpgDriver(connection))

        @scheduler.schedule("stepgate-retention", HOURLY, clean_old=True)
        async def _retention(_schedule: object) -> None:
            await forget_bodies(services)

        try:
            await scheduler.sm.run()
        finally:
            scheduler.shutdown.set()


async def forget_bodies(services: Services) -> int:
    """Delete the bodies of deliveries finished long enough ago, a thousand at a time; how many they were."""
    total = 0
    while forgotten := await inbox.forget_bodies(services.pool, KEEP_BODIES):
        total += forgotten
    if total:
        log.info("bodies_forgotten", deliveries=total)
    return total

"""What happens by the clock, once over all replicas: PgQueuer's schedules (deliveries have lanes of their own).

`run()` of the scheduler ends when its connection is cut: the worker supervises it and starts it again.
"""

from __future__ import annotations

import structlog
from pgqueuer import PgQueuer
from pgqueuer.db import AsyncpgDriver

from bot.services import Services
from bot.templates import look_at_quiet_templates
from storage import inbox
from storage.database import session_connection

log = structlog.get_logger(__name__)

HOURLY = "7 * * * *"  # not on the full hour, when everybody's clocks strike
EACH_QUARTER = "4,19,34,49 * * * *"


async def run_schedules(dsn: str, services: Services) -> None:
    """Run the schedules until cancelled, or until the connection is lost (which raises)."""
    async with session_connection(dsn) as connection:
        scheduler = PgQueuer(AsyncpgDriver(connection))

        @scheduler.schedule("stepgate-retention", HOURLY, clean_old=True)
        async def _retention(_schedule: object) -> None:
            await forget_bodies(services)

        @scheduler.schedule("stepgate-templates", EACH_QUARTER, clean_old=True)
        async def _templates(_schedule: object) -> None:
            await look_at_quiet_templates(services)

        try:
            await scheduler.sm.run()
        finally:
            scheduler.shutdown.set()


async def forget_bodies(services: Services) -> int:
    """Delete the bodies of deliveries finished long enough ago, a thousand at a time; how many they were."""
    total = 0
    while forgotten := await inbox.forget_bodies(services.pool, services.keep_bodies):
        total += forgotten
    if total:
        log.info("bodies_forgotten", deliveries=total)
    return total

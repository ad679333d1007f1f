"""Finds what was left unfinished, and lets it be finished.

Most of it cleans up after itself: leases of lanes and reports that run out are taken over by whoever claims next;
sessions whose deadline has passed are closed by the clock (bot.schedules); and none of our check runs can stay open,
because they are posted completed. What is left is found here; a lane that nobody would have looked at is a defect of
ours.
"""

from __future__ import annotations

from datetime import timedelta

import structlog
from prometheus_client import Counter

from bot.services import Services
from storage import sweeping

log = structlog.get_logger(__name__)

# What has waited for so long without anybody going to look at it was forgotten.
ASLEEP = timedelta(minutes=2)

SWEPT = Counter("stepgate_swept_total", "What was found lying about unfinished", ["kind"])


async def sweep(services: Services) -> dict[str, int]:
    """Look at everything that is unfinished; how much of each kind was taken up again. Several may do it at once."""
    pool = services.pool
    found = {
        "lane": await sweeping.wake_lanes(pool, ASLEEP),
        "look": await sweeping.resume_looks(pool),
        "report": await sweeping.try_reports_again(pool),
    }
    for kind, number in found.items():
        SWEPT.labels(kind).inc(number)
    if found["lane"]:
        log.error("lanes_were_asleep", lanes=found["lane"], fault="us")
    if any(found.values()):
        log.info("swept", **found)
    return found

"""GET /metrics: what this process counted, and what the database says of the work that waits, for Prometheus.

It is for the operator: answered to this machine, and to whoever brings METRICS_TOKEN. docs/monitoring.md lists every
metric. What processes count themselves starts at zero with each; what comes from the database is the same in all.
"""

from __future__ import annotations

import asyncio
import hmac
import time
from collections.abc import Awaitable, Callable, Iterator, Mapping
from dataclasses import dataclass

import structlog
from aiohttp import hdrs, web
from prometheus_client import CONTENT_TYPE_LATEST, REGISTRY, CollectorRegistry, generate_latest
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector

from storage.database import Pool
from storage.health import Backlog, backlog
from web.access import Rule, add_route
from web.security import is_on_this_machine

log = structlog.get_logger(__name__)

# A scrape gives up after 10 s by default (Prometheus documentation, scrape_timeout): what the process counts is
# answered by then, with or without the database (seconds).
DATABASE_TIMEOUT = 3.0
# However many ask, the database is asked once in this time (seconds); scrapes come every 15 s or so.
MEASURE_EVERY = 5.0

PREFIX = "stepgate_"

Measure = Callable[[], Awaitable[Backlog]]


@dataclass(frozen=True, slots=True)
class Monitoring:
    """How /metrics is answered. `token` None: to this machine only. `measure` asks the database."""

    measure: Measure
    token: str | None = None


def of_pool(pool: Pool) -> Measure:
    """Measure the database of a pool."""
    return lambda: backlog(pool)


def families(found: Backlog | None) -> Iterator[Metric]:
    """What the database says, as gauges; None: it does not answer, so nothing is said but that."""
    yield _gauge("database_up", "1: the database answered; 0: it did not", 1.0 if found else 0.0)
    if found is None:
        return
    yield _labelled(
        "queue_deliveries",
        "Deliveries that wait to be processed",
        "state",
        {"due": found.due, "put_off": found.put_off},
    )
    yield _labelled(
        "queue_oldest_seconds",
        "Age of the oldest delivery that waits; 0: none does",
        "state",
        {"due": found.oldest_due or 0.0, "put_off": found.oldest_put_off or 0.0},
    )
    yield _gauge("dead_letters", "Deliveries that were given up and wait for a person", found.dead_letters)
    yield _labelled("outbox_reports", "Reports that are not at GitHub", "state", found.reports)
    yield _gauge("outbox_overdue_seconds", "How long the longest due report waits; 0: none does", found.overdue or 0.0)
    known = {"IN_PROGRESS": 0, "STUCK": 0, "DEFERRED": 0}
    yield _labelled("open_sessions", "Sessions that are not finished", "status", known | dict(found.sessions))
    yield _gauge(
        "audit_unsealed_seconds", "Age of the oldest audit event outside of the chain; 0: none", found.unsealed or 0.0
    )
    if found.last_delivery is not None:
        yield _gauge("last_delivery_seconds", "Time since a delivery of GitHub's was stored", found.last_delivery)
    yield _labelled("delivery_gap", "Deliveries of GitHub's log that are not here", "state", found.missing)
    yield _gauge(
        "delivery_gap_seconds",
        "How long the oldest of those that are fetched is missing; 0: none",
        found.oldest_missing or 0.0,
    )
    if found.log_read is not None:
        yield _gauge("delivery_log_age_seconds", "Time since GitHub's delivery log was read", found.log_read)
    limits = {"primary": 0, "secondary": 0}
    yield _labelled("installations_paused", "Installations that GitHub silences", "limit", limits | dict(found.paused))
    yield _gauge("installations_slowed", "Installations whose writes are slower after a limit", found.slowed)
    yield _labelled("schedule_age_seconds", "Time since a schedule began last", "schedule", found.schedules)


def _gauge(name: str, text: str, value: float) -> Metric:
    return GaugeMetricFamily(PREFIX + name, text, value=value)


def _labelled(name: str, text: str, label: str, values: Mapping[str, float]) -> Metric:
    family = GaugeMetricFamily(PREFIX + name, text, labels=[label])
    for key, value in sorted(values.items()):
        family.add_metric([key], value)
    return family


class _Found(Collector):
    """One measurement, to be rendered."""

    def __init__(self, found: Backlog | None) -> None:
        self._found = found

    def collect(self) -> Iterator[Metric]:
        """See `families`."""
        return families(self._found)


def render(found: Backlog | None) -> bytes:
    """All metrics in Prometheus' text format."""
    registry = CollectorRegistry()
    registry.register(_Found(found))
    return generate_latest(REGISTRY) + generate_latest(registry)


class _Database:
    """The last measurement. Those who ask at the same time wait for the same one."""

    def __init__(self, measure: Measure, clock: Callable[[], float]) -> None:
        self._measure = measure
        self._clock = clock
        self._asking = asyncio.Lock()
        self._asked_at = float("-inf")
        self._found: Backlog | None = None

    async def found(self) -> Backlog | None:
        """What was measured at most MEASURE_EVERY ago; None: the database did not answer."""
        async with self._asking:
            if self._clock() - self._asked_at < MEASURE_EVERY:
                return self._found
            try:
                self._found = await asyncio.wait_for(self._measure(), DATABASE_TIMEOUT)
            except Exception as error:
                log.warning("metrics_without_database", error=type(error).__name__)
                self._found = None
            self._asked_at = self._clock()
            return self._found


def add_routes(app: web.Application, monitoring: Monitoring, *, clock: Callable[[], float] = time.monotonic) -> None:
    """Mount GET /metrics: 200 in Prometheus' text format; 401 or 403 to whom it is not for."""
    database = _Database(monitoring.measure, clock)

    async def metrics(request: web.Request) -> web.Response:
        if refusal := _refused(request, monitoring.token):
            return refusal
        found = await database.found()
        return web.Response(body=render(found), headers={hdrs.CONTENT_TYPE: CONTENT_TYPE_LATEST})

    add_route(app, "GET", "/metrics", metrics, Rule.UNGUARDED)


def _refused(request: web.Request, token: str | None) -> web.Response | None:
    if is_on_this_machine(request):
        return None
    if token is None:
        return web.Response(status=403, text="/metrics is for this machine; from elsewhere METRICS_TOKEN is needed\n")
    kind, _, given = request.headers.get(hdrs.AUTHORIZATION, "").partition(" ")
    if kind.lower() == "bearer" and hmac.compare_digest(given.strip().encode("utf-8", "replace"), token.encode()):
        return None
    return web.Response(
        status=401, text="bring METRICS_TOKEN as a bearer token\n", headers={hdrs.WWW_AUTHENTICATE: "Bearer"}
    )

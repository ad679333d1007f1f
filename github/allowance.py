"""How much of GitHub's hourly budgets is left, as its answers tell: for /metrics, never for a decision.

The governor stops an installation before its budget is used up; this shows how near that is. GitHub Enterprise Server
sends no such headers unless its limits are switched on: then there is nothing to show.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

from cachetools import LRUCache
from prometheus_client import REGISTRY
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector, CollectorRegistry

from github.refusals import number, server_time

# The budgets of so many installations are remembered by a process; one label for each would be too many for Prometheus.
_KEEP = 10_000
_HEADERS = ("remaining", "limit", "reset")
_APP = 0  # the App's own budget (github.client)


@dataclass(frozen=True, slots=True)
class _Seen:
    """The part of the budget that was left, and until when (our clock) that says something."""

    left: float
    until: float


class Allowances(Collector):
    """What is left of the hourly budgets that this process has spent from. `now`: seconds since 1970."""

    def __init__(self, *, now: Callable[[], float] = time.time) -> None:
        self._now = now
        self._seen: LRUCache[int, _Seen] = LRUCache(_KEEP)

    def seen(self, installation_id: int, headers: Mapping[str, str]) -> None:
        """Take what an answer tells. Headers that are missing or odd tell nothing."""
        remaining, limit, reset = (number(headers.get(f"x-ratelimit-{name}")) for name in _HEADERS)
        if remaining is None or not limit or reset is None:
            return
        now = self._now()
        ends = now + reset - (server_time(headers) or now)
        self._seen[installation_id] = _Seen(min(1.0, remaining / limit), ends)

    def collect(self) -> Iterator[Metric]:
        """The lowest parts that are left, of the App itself and of the installations; nothing if nothing is known."""
        now = self._now()
        known = {key: seen.left for key, seen in list(self._seen.items()) if seen.until > now}
        family = GaugeMetricFamily(
            "stepgate_github_budget_left_ratio",
            "Part of GitHub's hourly budget that is left: of the App, and the lowest of all installations",
            labels=["of"],
        )
        if _APP in known:
            family.add_metric(["app"], known.pop(_APP))
        if known:
            family.add_metric(["installations"], min(known.values()))
        yield family


def mounted(registry: CollectorRegistry = REGISTRY) -> Allowances:
    """Allowances that /metrics shows."""
    allowances = Allowances()
    registry.register(allowances)
    return allowances


ALLOWANCES = mounted()

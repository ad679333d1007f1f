"""Rate limits, counted: how much each caller has asked for within the last minute and hour, and at the same time."""

from __future__ import annotations

from collections import Counter, defaultdict, deque
from collections.abc import Iterator
from contextlib import contextmanager

from .effects import Rates

MINUTE, HOUR = 60.0, 3600.0
WRITES = frozenset({"POST", "PATCH", "PUT", "DELETE"})
CREATES = frozenset({"POST", "PUT"})
READ_POINTS, WRITE_POINTS = 1, 5  # GitHub docs, rate limits for the REST API, calculating points


class _Window:
    """What was spent within the last `seconds`."""

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._spent: deque[tuple[float, int]] = deque()
        self._total = 0

    def total(self, now: float) -> int:
        while self._spent and self._spent[0][0] <= now - self._seconds:
            self._total -= self._spent.popleft()[1]
        return self._total

    def spend(self, now: float, points: int) -> int:
        self._spent.append((now, points))
        self._total += points
        return self.total(now)


class RateBook:
    """Admits or refuses requests. `peaks`: the most of each limit that one caller has had; `refused`: by limit."""

    def __init__(self, rates: Rates) -> None:
        self.peaks: Counter[str] = Counter()
        self.refused: Counter[str] = Counter()
        self._rates = rates
        self._minutes: defaultdict[tuple[str, ...], _Window] = defaultdict(lambda: _Window(MINUTE))
        self._hours: defaultdict[tuple[str, ...], _Window] = defaultdict(lambda: _Window(HOUR))
        self._under_way: Counter[str] = Counter()
        self._blocked: dict[str, float] = {}

    def refusal(self, caller: str, endpoint: str, method: str, now: float) -> str | None:
        """Count the request; or return the name of the limit that it would break, and count nothing.

        `endpoint`: the path's pattern. A refused caller stays refused ("blocked") for as long as `Rates.blocks` says.
        """
        name = self._broken(caller, endpoint, method, now)
        if name is None:
            for limit, (window, cost, _) in self._costs(caller, endpoint, method).items():
                self._peak(limit, window.spend(now, cost))
            return None
        self.refused[name] += 1
        if name != "blocked":
            rates = self._rates
            pause = rates.blocks if rates.blocks is not None else rates.retry_after or MINUTE
            self._blocked[caller] = now + pause
        return name

    @contextmanager
    def under_way(self, caller: str) -> Iterator[None]:
        """Count the caller's request among those at the same time."""
        self._under_way[caller] += 1
        self._peak("concurrent", self._under_way[caller])
        try:
            yield
        finally:
            self._under_way[caller] -= 1

    def _broken(self, caller: str, endpoint: str, method: str, now: float) -> str | None:
        if now < self._blocked.get(caller, now):
            return "blocked"
        concurrent = self._rates.concurrent
        if concurrent is not None and self._under_way[caller] >= concurrent:
            return "concurrent"
        for name, (window, cost, limit) in self._costs(caller, endpoint, method).items():
            if limit is not None and window.total(now) + cost > limit:
                return name
        return None

    def _costs(self, caller: str, endpoint: str, method: str) -> dict[str, tuple[_Window, int, int | None]]:
        """Return for each limit that the request counts for: the window, what it costs, how much is allowed."""
        rates, writes = self._rates, method in WRITES
        points = WRITE_POINTS if writes else READ_POINTS
        costs = {"points_per_minute": (self._minutes["points", caller, endpoint], points, rates.points_per_minute)}
        if writes and not endpoint.endswith("/access_tokens"):
            costs["writes_per_minute"] = (self._minutes["writes", caller], 1, rates.writes_per_minute)
        if method in CREATES and not endpoint.endswith("/access_tokens"):
            costs["content_per_minute"] = (self._minutes["content", caller], 1, rates.content_per_minute)
            costs["content_per_hour"] = (self._hours["content", caller], 1, rates.content_per_hour)
        return costs

    def _peak(self, name: str, value: int) -> None:
        self.peaks[name] = max(self.peaks[name], value)

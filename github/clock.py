"""GitHub's clock, as its answers tell: what GitHub judges by its clock is made by that clock, not by ours."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping

from prometheus_client import Gauge

from github.refusals import server_time

SKEW = Gauge("stepgate_clock_skew_seconds", "By how much our clock is ahead of GitHub's; below 0: behind")


class GitHubClock:
    """Tells GitHub's time. `now`: our clock, in seconds since 1970."""

    def __init__(self, now: Callable[[], float] = time.time) -> None:
        self._now = now
        self.skew = 0.0  # seconds that our clock is ahead; 0 until an answer came, and within what cannot be told

    def now(self) -> float:
        """Seconds since 1970 by GitHub's clock, to about a second."""
        return self._now() - self.skew

    def heard(self, headers: Mapping[str, str], asked_at: float) -> None:
        """Take the Date of an answer to what was asked at `asked_at` (our clock).

        Date is cut to whole seconds (RFC 9110, 6.6.1) and was written at some moment since then: of all differences
        that are possible the least is taken, so that a slow answer looks like no wrong clock. An answer out of a cache
        on the way (header Age) tells the time of somebody else's request.
        """
        theirs = server_time(headers)
        if theirs is None or "age" in headers:
            return
        least, most = asked_at - theirs - 1.0, self._now() - theirs
        self.skew = max(least, 0.0) + min(most, 0.0)
        SKEW.set(self.skew)

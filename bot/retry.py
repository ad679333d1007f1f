"""How often and how late a failed delivery or report is tried again (binding.md section 8: 8 attempts, about 2 h)."""

from __future__ import annotations

from collections.abc import Callable

ATTEMPTS = 8

# The first retries are quick: a new commit may take some seconds to be visible in the API (seconds).
FIRST_DELAY, DELAY_FACTOR, LONGEST_DELAY = 2.0, 4.0, 4096.0
LEAST_DELAY = 0.5


def delay_before_retry(attempts: int, retry_after: float | None, jitter: Callable[[], float]) -> float:
    """Seconds to wait after failed attempt number `attempts` (from 1): exponential with full jitter.

    `retry_after`: the least that GitHub or the governor asks for, in seconds; `jitter` gives a number in [0, 1).
    """
    longest = min(LONGEST_DELAY, FIRST_DELAY * DELAY_FACTOR ** (attempts - 1))
    return max(longest * jitter(), retry_after or 0.0, LEAST_DELAY)

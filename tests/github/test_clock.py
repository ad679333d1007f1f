"""What answers tell of GitHub's clock."""

from __future__ import annotations

from email.utils import formatdate

import pytest

from github.clock import SKEW, GitHubClock
from tests.support.fault_server import FakeClock


@pytest.mark.parametrize(
    ("ahead", "took", "skew"),
    [
        (0, 0, 0),
        (0, 25, 0),  # a slow answer looks like no wrong clock
        (0.9, 0, 0),  # Date is cut to whole seconds
        (300, 0, 299),
        (300, 20, 299),
        (-300, 0, -300),
        (-300, 20, -280),
    ],
)
def test_the_least_difference_that_is_possible_counts(ahead: float, took: float, skew: float) -> None:
    """Date was written at some time between question and answer, and is cut."""
    ours = FakeClock()
    clock = GitHubClock(ours.now)
    asked_at = ours.now()
    ours.time += took
    clock.heard({"date": formatdate(asked_at - ahead, usegmt=True)}, asked_at)
    assert clock.skew == pytest.approx(skew, abs=0.01)
    assert SKEW._value.get() == clock.skew
    assert clock.now() == ours.now() - clock.skew


@pytest.mark.parametrize("headers", [{}, {"date": "soon"}, {"date": "Thu, 01 Jan 1970 00:00:00 GMT", "age": "86400"}])
def test_what_tells_nothing_changes_nothing(headers: dict[str, str]) -> None:
    """No Date, none that can be read, or that of an answer out of a cache."""
    ours = FakeClock()
    clock = GitHubClock(ours.now)
    clock.heard({"date": formatdate(ours.now() - 90, usegmt=True)}, ours.now())
    clock.heard(headers, ours.now())
    assert clock.skew == 89

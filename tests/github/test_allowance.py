"""What is shown of GitHub's hourly budgets: the lowest, as long as it says something."""

from __future__ import annotations

from email.utils import formatdate

import pytest

from github.allowance import Allowances

NOW = 1_800_000_000.0


def headers(remaining: object, limit: object = 5000, reset: object = int(NOW) + 600) -> dict[str, str]:
    """Headers of an answer (REST docs, rate limits)."""
    return {
        "x-ratelimit-remaining": str(remaining),
        "x-ratelimit-limit": str(limit),
        "x-ratelimit-reset": str(reset),
    }


def shown(allowances: Allowances) -> dict[str, float]:
    """The gauge by whose budget it is."""
    return {sample.labels["of"]: sample.value for family in allowances.collect() for sample in family.samples}


def test_the_lowest_of_all_installations_is_shown() -> None:
    """One figure for the App itself, one for the installation that has least left; the newest answer counts."""
    allowances = Allowances(now=lambda: NOW)
    allowances.seen(0, headers(4000))
    allowances.seen(1, headers(100))
    allowances.seen(2, headers(2500))
    assert shown(allowances) == {"app": 0.8, "installations": 0.02}
    allowances.seen(1, headers(5000))
    assert shown(allowances) == {"app": 0.8, "installations": 0.5}


def test_a_window_that_is_over_says_nothing() -> None:
    """After its reset a budget is full again: what was seen before is not shown."""
    now = [NOW]
    allowances = Allowances(now=lambda: now[0])
    allowances.seen(1, headers(0))
    now[0] += 601
    assert shown(allowances) == {}


def test_the_reset_is_reckoned_by_githubs_clock() -> None:
    """A clock of ours that is an hour ahead does not make a window look over."""
    allowances = Allowances(now=lambda: NOW + 3600)
    allowances.seen(1, headers(50) | {"date": formatdate(NOW, usegmt=True)})
    assert shown(allowances) == {"installations": 0.01}


@pytest.mark.parametrize(
    "odd",
    [
        {},
        headers("many"),
        headers(1, 0),
        headers(1, -5),
        headers(1, reset="soon"),
        headers(1, reset="9" * 400),
        headers("9" * 400, 1),
        {"x-ratelimit-remaining": "1"},
    ],
)
def test_missing_and_odd_headers_tell_nothing(odd: dict[str, str]) -> None:
    """GitHub Enterprise Server without limits sends none; nonsense of a proxy is none either."""
    allowances = Allowances(now=lambda: NOW)
    allowances.seen(1, odd)
    assert shown(allowances) == {}


def test_what_is_remembered_is_bounded() -> None:
    """However many installations there are, there is one figure and a bounded memory."""
    allowances = Allowances(now=lambda: NOW)
    for number in range(1, 12_000):
        allowances.seen(number, headers(2500))
    assert shown(allowances) == {"installations": 0.5}
    assert len(allowances._seen) == 10_000

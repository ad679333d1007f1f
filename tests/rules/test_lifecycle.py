"""Installations and repositories come and go: what a session is told, and which repositories are looked at."""

from __future__ import annotations

from itertools import product
from typing import get_args

import pytest

from rules.lifecycle import AwayCode, Listed, away_because, event_of, seen, worth_a_look
from rules.model import Account, AccountKind, InstallationState, Repo
from rules.session import SessionEvent

ADA = Account(101, "learner-one", AccountKind.USER)


def repo(owner: Account = ADA) -> Repo:
    """A repository of the owner."""
    return Repo(2, f"{owner.login}/lab", owner, private=False, default_branch="main")


@pytest.mark.parametrize(
    ("found", "code"),
    [
        (repo(), None),
        (repo(Account(102, "learner-two", AccountKind.USER)), "OWNER_CHANGED"),
        (None, "REPOSITORY_GONE"),
    ],
)
def test_what_a_repository_tells_of_itself(found: Repo | None, code: AwayCode | None) -> None:
    """It is there, it is another account's, or nobody knows its id."""
    assert seen(found, ADA.account_id) == code


def test_why_a_repository_is_away() -> None:
    """The installation's own state comes first; a covered repository of one in force is there, whatever was told."""
    codes: tuple[AwayCode | None, ...] = (None, *get_args(AwayCode))
    for state, covered, told in product(InstallationState, (True, False), codes):
        expected = {
            InstallationState.DELETED: "INSTALLATION_DELETED",
            InstallationState.SUSPENDED: "INSTALLATION_SUSPENDED",
            InstallationState.ACTIVE: None if covered else told or "REPO_NOT_SELECTED",
        }[state]
        assert away_because(state, covered=covered, told=told) == expected


def test_every_reason_is_one_event() -> None:
    """To a session all reasons are the same: its repository cannot be reached, or it can."""
    assert {event_of(code) for code in get_args(AwayCode)} == {SessionEvent.INSTALLATION_GONE}
    assert event_of(None) is SessionEvent.INSTALLATION_BACK


def test_forks_are_all_looked_at_and_of_the_others_the_newest() -> None:
    """A list tells forks; what was made from a template it does not, so only so many are asked about, newest first."""
    listed = [Listed(number, f"learner-one/r{number}", fork=number % 3 == 0) for number in range(1, 13)]
    assert worth_a_look(listed, 2) == {3, 6, 9, 12, 10, 11}
    assert worth_a_look(listed, 0) == {3, 6, 9, 12}
    assert worth_a_look(listed) == set(range(1, 13))
    assert worth_a_look([]) == frozenset()

"""Which waiting push is the newest."""

from __future__ import annotations

import itertools

from hypothesis import given
from hypothesis import strategies as st

from rules.chain import newest
from rules.model import Account, AccountKind, Push, Repo

REPO = Repo(1, "learner-one/lab", Account(2, "learner-one", AccountKind.USER), False, "main")


def push(before: str, after: str) -> Push:
    """A push of the lab's branch from one letter to another."""
    return Push(
        delivery_id=None,
        installation_id=3,
        repo=REPO,
        ref="refs/heads/main",
        before=before * 40,
        after=after * 40,
        created=False,
        deleted=False,
        forced=False,
        sender_id=2,
    )


def test_one_push_on_the_known_head_is_the_newest_for_certain() -> None:
    """A push whose before is the last known head needs no look at the ref."""
    answer = newest([push("a", "b")], "a" * 40)

    assert answer.certain
    assert answer.push.after == "b" * 40


def test_a_gap_makes_the_answer_uncertain() -> None:
    """A push whose before is unknown may be old: the caller must read the ref."""
    assert not newest([push("b", "c")], "a" * 40).certain
    assert not newest([push("a", "b")], None).certain


def test_a_push_that_does_not_fit_the_chain_makes_the_answer_uncertain() -> None:
    """A lost push between two waiting ones is seen."""
    assert not newest([push("a", "b"), push("x", "y")], "a" * 40).certain


def test_every_order_of_arrival_ends_at_the_same_head() -> None:
    """Out-of-order arrival changes nothing, force-pushes A -> B -> A included."""
    chain = [push("a", "b"), push("b", "a"), push("a", "c"), push("c", "d")]
    for order in itertools.permutations(chain):
        answer = newest(order, "a" * 40)
        assert not answer.certain or answer.push.after == "d" * 40
    assert newest(chain, "a" * 40).certain


@given(st.permutations("bcdefg"))
def test_a_chain_without_repeats_is_certain_in_any_order(order: list[str]) -> None:
    """Six pushes in a row, however shuffled, end at the last one."""
    links = {after: push(before, after) for before, after in itertools.pairwise("abcdefg")}

    answer = newest([links[name] for name in order], "a" * 40)

    assert answer.certain
    assert answer.push.after == "g" * 40

"""The few things that values compute about themselves."""

from __future__ import annotations

import pytest

from rules.model import ZERO_SHA, Account, AccountKind, Changed, Lab, Policy, Push, Repo, Step

REPO = Repo(1, "learner-one/lab", Account(2, "learner-one", AccountKind.USER), False, "main")


@pytest.mark.parametrize(
    ("ref", "branch"),
    [("refs/heads/main", "main"), ("refs/heads/a/b", "a/b"), ("refs/tags/v1", None), ("refs/notes/commits", None)],
)
def test_only_heads_are_branches(ref: str, branch: str | None) -> None:
    """A push of a tag or of another ref has no branch."""
    assert Push(None, 3, REPO, ref, ZERO_SHA, "a" * 40).branch == branch


def test_a_step_is_found_by_its_id_only() -> None:
    """An id that the lab does not have is a KeyError, never another step."""
    step = Step("one", "One", ("a",), (), Changed())
    lab = Lab("A lab", "main", (), (), Policy(), (step,))

    assert lab.step("one") is step
    with pytest.raises(KeyError):
        lab.step("two")

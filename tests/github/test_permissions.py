"""Levels of access, and what a refusal says would do."""

from __future__ import annotations

import pytest

from github.permissions import accepted_sets, common


@pytest.mark.parametrize(
    ("header", "sets"),
    [
        ("checks=write", ({"checks": "write"},)),
        (
            "pull_requests=read,contents=read; issues=read,contents=read",
            ({"pull_requests": "read", "contents": "read"}, {"issues": "read", "contents": "read"}),
        ),
        ("", ()),
        (" ; =write, checks= ;;", ()),
        ("nonsense", ()),
    ],
)
def test_sets_of_permissions_are_read(header: str, sets: tuple[dict[str, str], ...]) -> None:
    """Any of the sets would do; what cannot be read is none."""
    assert accepted_sets(header) == sets


def test_what_two_have_in_common() -> None:
    """The lower level of each; what one of them does not name, or names as none, is left out."""
    have = {"checks": "read", "contents": "write", "issues": "write", "statuses": "none"}
    wanted = {"checks": "write", "contents": "read", "statuses": "write", "metadata": "read"}
    assert common(have, wanted) == {"checks": "read", "contents": "read"}

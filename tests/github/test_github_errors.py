"""The error types: texts without secrets, and a tree in which each error has its place."""

from __future__ import annotations

import pytest

from github import errors
from github.errors import Fault, GitHubError, MissingPermission, Permanent, Rejected, Transient, UnknownOutcome, scrub

LONG_TOKEN = "ghs_" + "A1b2-_." * 74  # the staged format of about 520 characters
JWT = "eyJhbGciOiJSUzI1NiJ9.eyJpc3MiOiI0NzExIn0.c2lnbmF0dXJl-_x"
PEM = "-----BEGIN RSA PRIVATE KEY-----\nMIIEow\nIBAAK\n-----END RSA PRIVATE KEY-----"


@pytest.mark.parametrize("secret", [LONG_TOKEN, "ghs_" + "a" * 36, "github_pat_11AB_cd", JWT, PEM, PEM[:45]])
def test_scrub_removes_every_kind_of_credential(secret: str) -> None:
    """Nothing of a token, JWT or key is left, whatever stands around it."""
    text = scrub(f"before {secret}\nafter")
    assert secret[12:30] not in text
    assert "[secret]" in text
    assert text.startswith("before")


@pytest.mark.parametrize("header", ["Bearer abcdefghijklmnopqrstuvwxyz", "token v1.0123456789abcdef0123"])
def test_scrub_removes_authorization_values_of_unknown_shape(header: str) -> None:
    """A value after an authorization scheme goes, whatever its prefix."""
    assert header.split()[1] not in scrub(f"Authorization: {header}")


def test_texts_are_one_line_and_short() -> None:
    """What a proxy says cannot flood or break a log line."""
    assert scrub("a\nb\r\n c" + "x" * 1000).startswith("a b cx")
    assert len(scrub("x" * 1000)) == 500


def test_plain_words_are_kept() -> None:
    """GitHub's sentences about tokens are no secrets."""
    text = "We can't find your token yet, or the token expired"
    assert scrub(text) == text


def test_every_error_is_in_exactly_one_class_of_answer() -> None:
    """The tree is closed: retryable, unknown, an installation's state, or permanent."""
    branches = (Transient, UnknownOutcome, errors.InstallationError, Permanent)
    kinds = [kind for kind in vars(errors).values() if isinstance(kind, type) and issubclass(kind, GitHubError)]
    for kind in kinds:
        if kind is not GitHubError:
            assert sum(issubclass(kind, branch) for branch in branches) == 1, kind
        assert isinstance(kind.fault, Fault)
    assert len(kinds) >= 15


def test_rejected_lists_githubs_reasons_scrubbed() -> None:
    """The reasons of a 422 are kept for the operator, without credentials."""
    error = Rejected("POST x: 422 Validation Failed", status=422, messages=("bad sha", f"token {LONG_TOKEN}"))
    assert error.messages[0] == "bad sha"
    assert LONG_TOKEN[10:30] not in str(error) + repr(error) + repr(error.messages)
    assert "bad sha" in str(error)


def test_missing_permission_names_what_would_do() -> None:
    """The operator reads which permission to ask for."""
    error = MissingPermission("POST x: 403", accepted_permissions="checks=write")
    assert error.accepted_permissions == "checks=write"
    assert "checks=write" in str(error)
    assert error.fault is Fault.OPERATOR

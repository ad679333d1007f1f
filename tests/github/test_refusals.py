"""Status, headers and body of an answer -> the error that it means."""

from __future__ import annotations

import json
from typing import Any

import pytest

from github.errors import (
    Fault,
    Forbidden,
    GitHubError,
    Gone,
    InstallationSuspended,
    MissingPermission,
    NotFound,
    RateLimited,
    Rejected,
    Transient,
    Unauthorized,
    UnknownOutcome,
)
from github.refusals import Context, refusal, spent

NOW = 1_760_000_000.0  # Thu, 09 Oct 2025 08:53:20 GMT
READ = Context("GET x", 99, repeatable=True, clock=lambda: NOW)
WRITE = Context("POST x", 99, repeatable=False, clock=lambda: NOW)
SECONDARY = "You have exceeded a secondary rate limit and have been temporarily blocked from content creation."
ABUSE = "You have triggered an abuse detection mechanism. Please retry your request again later."


def said(status: int, message: Any = "", *, context: Context = READ, errors: Any = None, **headers: str) -> GitHubError:
    """The error for an answer shaped as GitHub's. Header names: `_` for `-`."""
    body = json.dumps({"message": message, "documentation_url": "https://docs.github.com/rest", "errors": errors})
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return refusal(status, named, body.encode(), context)


@pytest.mark.parametrize(
    ("status", "kind"),
    [
        (400, Rejected),
        (401, Unauthorized),
        (403, Forbidden),
        (404, NotFound),
        (405, Rejected),
        (408, Transient),
        (409, Rejected),
        (410, Gone),
        (415, Rejected),
        (422, Rejected),
        (451, Rejected),
        (499, Rejected),
        (500, Transient),
        (502, Transient),
        (503, Transient),
        (504, Transient),
        (520, Transient),
        (599, Transient),
        (304, Transient),
        (300, Transient),
        (600, Transient),
    ],
)
def test_each_status_has_its_type(status: int, kind: type[GitHubError]) -> None:
    """Standard or not, a status becomes exactly one type."""
    assert type(said(status, "words")) is kind


@pytest.mark.parametrize("status", [500, 502, 504, 520, 302])
def test_a_write_answered_by_a_failure_may_have_happened(status: int) -> None:
    """GitHub's own time-out comes as 5xx after the work may be done: the outcome is unknown."""
    assert type(said(status, context=WRITE)) is UnknownOutcome


@pytest.mark.parametrize("status", [401, 403, 404, 422, 429])
def test_a_refused_write_did_not_happen(status: int) -> None:
    """A clear refusal of a write is no unknown outcome."""
    assert not isinstance(said(status, "no", context=WRITE), UnknownOutcome)


@pytest.mark.parametrize("status", [403, 429])
@pytest.mark.parametrize("text", [SECONDARY, ABUSE])
def test_secondary_limit_without_retry_after_waits_a_minute(status: int, text: str) -> None:
    """Both codes and both known texts: at least 60 s, marked as not GitHub's own figure."""
    error = said(status, text, x_ratelimit_remaining="4000")
    assert isinstance(error, RateLimited)
    assert (error.kind, error.explicit) == ("secondary", False)
    assert error.until == NOW + 60
    assert error.retry_after == 60


def test_429_is_a_limit_whatever_it_says() -> None:
    """A proxy's 429 without any words still stops us for a minute."""
    error = refusal(429, {}, b"<html>slow down</html>", READ)
    assert isinstance(error, RateLimited)
    assert error.retry_after == 60


def test_retry_after_in_seconds_is_kept() -> None:
    """GitHub's own figure decides."""
    error = said(403, SECONDARY, retry_after="17")
    assert isinstance(error, RateLimited)
    assert (error.until, error.explicit) == (NOW + 17, True)


def test_retry_after_as_http_date_counts_from_githubs_clock() -> None:
    """Our clock is 1000 s off: only the distance between GitHub's two dates matters."""
    error = said(429, retry_after="Thu, 09 Oct 2025 09:10:30 GMT", date="Thu, 09 Oct 2025 09:10:00 GMT")
    assert isinstance(error, RateLimited)
    assert error.until == NOW + 30


def test_retry_after_as_http_date_without_date_counts_from_ours() -> None:
    """Without the header Date our clock is all there is."""
    error = said(429, "", retry_after="Thu, 09 Oct 2025 08:53:50 GMT")
    assert isinstance(error, RateLimited)
    assert error.until == NOW + 30


@pytest.mark.parametrize("value", ["soon", "-5", "1e9", "²", "9" * 30, "Thu, 99 Foo 2025", ""])
def test_unreadable_retry_after_counts_as_absent(value: str) -> None:
    """Nonsense in the header raises nothing and means a minute."""
    error = said(429, "", retry_after=value)
    assert isinstance(error, RateLimited)
    assert error.retry_after == 60


def test_primary_limit_waits_for_the_reset() -> None:
    """40 minutes to the reset, and a second more, because hosts' clocks differ."""
    error = said(403, "API rate limit exceeded", x_ratelimit_remaining="0", x_ratelimit_reset=f"{NOW + 2400:.0f}")
    assert isinstance(error, RateLimited)
    assert (error.kind, error.until) == ("primary", NOW + 2401)


def test_primary_limit_by_githubs_clock_when_ours_is_wrong() -> None:
    """The distance from the answer's Date to the reset is what is waited for."""
    reset, date = f"{NOW + 3600 + 90:.0f}", "Thu, 09 Oct 2025 09:53:20 GMT"  # an hour ahead of us
    error = said(403, x_ratelimit_remaining="0", x_ratelimit_reset=reset, date=date)
    assert isinstance(error, RateLimited)
    assert error.until == NOW + 91


@pytest.mark.parametrize(("offset", "wait"), [(-500, 1), (10**9, 3600)])
def test_absurd_resets_are_bounded(offset: int, wait: int) -> None:
    """A reset in the past waits a second, one far away an hour: never no pause, never for ever."""
    error = said(403, "", x_ratelimit_remaining="0", x_ratelimit_reset=f"{NOW + offset:.0f}")
    assert isinstance(error, RateLimited)
    assert error.retry_after == wait


def test_primary_limit_without_reset_waits_a_minute() -> None:
    """The text alone is enough."""
    error = said(403, "API rate limit exceeded for installation ID 99.")
    assert isinstance(error, RateLimited)
    assert (error.kind, error.retry_after) == ("primary", 60)


def test_a_lacking_permission_with_an_empty_budget_is_still_that() -> None:
    """The last request of the budget may be a forbidden one: waiting would not help."""
    error = said(403, "Resource not accessible by integration", x_ratelimit_remaining="0", x_ratelimit_reset="1")
    assert isinstance(error, MissingPermission)


def test_missing_permission_names_the_accepted_ones() -> None:
    """The header tells which permission would do."""
    error = said(403, "Resource not accessible by integration", x_accepted_github_permissions="checks=write")
    assert isinstance(error, MissingPermission)
    assert error.accepted_permissions == "checks=write"


@pytest.mark.parametrize("body", [b"", b"<html>not found</html>", b"null", b"{}"])
@pytest.mark.parametrize("status", [404, 410])
def test_a_proxys_404_says_nothing_about_github(status: int, body: bytes) -> None:
    """Bindings end for good on 404: only GitHub's own words count, anything else is tried again."""
    assert type(refusal(status, {}, body, READ)) is Transient


def test_an_app_that_does_not_exist_is_no_missing_installation() -> None:
    """GitHub answers 404 to the JWT of a wrong App id: the operator's fault."""
    assert type(said(404, "Integration not found")) is Unauthorized


def test_suspended_installation_is_recognised() -> None:
    """403 with GitHub's sentence, and whose it is."""
    error = said(403, "This installation has been suspended")
    assert isinstance(error, InstallationSuspended)
    assert error.installation_id == 99


@pytest.mark.parametrize(
    ("errors", "messages"),
    [
        (None, ()),
        ("No commit found for SHA: abc", ("No commit found for SHA: abc",)),
        (["a", "b"], ("a", "b")),
        ([{"resource": "Status", "code": "custom", "field": "x", "message": "too long"}], ("too long",)),
        ([{"resource": "CheckRun", "code": "invalid", "field": "head_sha"}], ("CheckRun head_sha invalid",)),
        ([{"field": "name"}], ("name",)),
        ([{}, None, 5, ["x"], {"code": 7}], ()),
        ({"message": "one object"}, ("one object",)),
        (17, ()),
    ],
)
def test_every_shape_of_a_422_is_read(errors: Any, messages: tuple[str, ...]) -> None:
    """Strings, objects without `code`, one string, nonsense: the reasons that there are, and no untyped error."""
    error = said(422, "Validation Failed", errors=errors)
    assert isinstance(error, Rejected)
    assert error.messages == messages
    assert error.status == 422


@pytest.mark.parametrize(
    "body",
    [b"", b"null", b"[]", b'"x"', b"{", b"<html>", b"\xff\xfe", b"[" * 100_000, b'{"message": 5}', b" " * 70_000],
)
@pytest.mark.parametrize("status", [401, 403, 404, 422, 429, 500, 520])
def test_no_body_raises_anything_untyped(body: bytes, status: int) -> None:
    """Whatever stands in a refusal's body, the result is a value of our tree."""
    assert isinstance(refusal(status, {}, body, READ), GitHubError)


def test_server_error_keeps_retry_after() -> None:
    """503 with Retry-After: the caller learns how long to wait."""
    assert said(503, "", retry_after="120").retry_after == 120


def test_spent_budget_is_noticed_on_success() -> None:
    """The last allowed answer says so in its headers: the next request is not sent."""
    limit = spent({"x-ratelimit-remaining": "0", "x-ratelimit-reset": f"{NOW + 100:.0f}"}, READ)
    assert limit is not None
    assert (limit.kind, limit.until) == ("primary", NOW + 101)


@pytest.mark.parametrize(
    "headers", [{}, {"x-ratelimit-remaining": "1"}, {"x-ratelimit-remaining": "0"}, {"x-ratelimit-remaining": "x"}]
)
def test_budget_left_unknown_or_without_reset_is_no_limit(headers: dict[str, str]) -> None:
    """GitHub Enterprise Server sends none of the headers."""
    assert spent(headers, READ) is None


def test_texts_of_errors_name_the_request_and_no_header() -> None:
    """An error says what was asked and what GitHub said."""
    error = said(404, "Not Found", authorization="token ghs_secret")
    assert str(error) == "GET x: 404 Not Found"
    assert error.fault is Fault.OWNER

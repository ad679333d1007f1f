"""What an HTTP answer that is not a success means: status, headers and body -> one error of `github.errors`. Pure.

Sources: GitHub REST docs "Rate limits for the REST API", "Troubleshooting the REST API", "Best practices for using the
REST API". Nothing here trusts the body's shape: proxies answer with HTML, and GitHub's 422 bodies come in many forms.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC
from email.utils import parsedate_to_datetime
from typing import Any, Literal

from github.errors import (
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

# "If retry-after is absent and x-ratelimit-remaining is not 0, wait for at least one minute" (REST docs, rate limits).
SECONDARY_PAUSE = 60.0
# GitHub's windows are one hour: a longer demand is a broken clock or header, and asking once an hour hurts nobody.
LONGEST_PAUSE = 3600.0
# Hosts' clocks differ by fractions of a second: never come back in the very second of the reset.
RESET_MARGIN = 1.0

# Requests of the hourly budget that are left alone: as many as may be under way (100), or a part of a small budget.
PRIMARY_RESERVE, PRIMARY_RESERVE_PART = 100.0, 0.02

_LONGEST_ERROR_BODY = 64 * 1024
_SECONDARY_TEXTS = ("secondary rate limit", "abuse detection", "exceeded a rate limit", "submitted too quickly")
_PRIMARY_TEXT = "rate limit exceeded"
_PERMISSION_TEXT = "resource not accessible"
_NO_APP_TEXT = "integration not found"  # 404 to a wrong App id (actions/create-github-app-token issue 76)
_SUSPENDED_TEXT = "installation has been suspended"


@dataclass(frozen=True, slots=True)
class Context:
    """Of which request an answer is: what it was for, whose it was, whether repeating it is harmless; and our clock."""

    what: str
    installation_id: int
    repeatable: bool
    clock: Callable[[], float]

    @property
    def now(self) -> float:
        """Seconds since 1970: the waits that answers ask for count from when they are read."""
        return self.clock()


def refusal(status: int, headers: Mapping[str, str], body: bytes, context: Context) -> GitHubError:
    """The error for an answer with a status other than 2xx. `headers` must find lower-case names."""
    message, details = _texts(body)
    text = f"{context.what}: {status} {message}".rstrip()
    if limit := _limit(status, headers, message, text, context.now):
        return limit
    if status >= 500:
        return lost(text, context, retry_after=_retry_after(headers, context.now))
    if status == 403:
        return _forbidden(text, headers, message, context)
    match status:
        case 401:
            return Unauthorized(text)
        case 404 | 410:
            return _missing(status, text, message, context)
        case 408 | 425:
            return Transient(text)
    if 400 <= status < 500:
        return Rejected(text, status=status, messages=details)
    return lost(f"{text} (not an answer of GitHub's API)", context)


def lost(text: str, context: Context, *, retry_after: float | None = None) -> GitHubError:
    """The error for a request that was sent and whose answer is of no use."""
    if context.repeatable:
        return Transient(text, retry_after=retry_after)
    return UnknownOutcome(text, retry_after=retry_after)


def spent(headers: Mapping[str, str], context: Context) -> RateLimited | None:
    """The pause that an answer asks for by its headers: the hourly budget is used up but for a reserve. None: more.

    The reserve is for requests that are under way, in any process, so that none of them is refused.
    GitHub Enterprise Server sends no such headers unless its limits are switched on.
    """
    remaining = number(headers.get("x-ratelimit-remaining"))
    reserve = min(PRIMARY_RESERVE, (number(headers.get("x-ratelimit-limit")) or 0.0) * PRIMARY_RESERVE_PART)
    if remaining is None or remaining > reserve:
        return None
    wait = _until_reset(headers, context.now)
    if wait is None:
        return None
    return _limited("primary", wait, f"{context.what}: the hourly budget is used up", context.now, explicit=True)


def server_time(headers: Mapping[str, str]) -> float | None:
    """GitHub's clock at the answer (header Date) in seconds since 1970, or None."""
    return _http_date(headers.get("date"))


def _missing(status: int, text: str, message: str, context: Context) -> GitHubError:
    """404 and 410 may end a binding for good, so they count only in GitHub's own words, not as a proxy's page."""
    if not message:
        return lost(f"{text} (not an answer of GitHub's API: is its address right?)", context)
    if _NO_APP_TEXT in message.lower():
        return Unauthorized(text)
    return NotFound(text) if status == 404 else Gone(text)


def _forbidden(text: str, headers: Mapping[str, str], message: str, context: Context) -> GitHubError:
    if _SUSPENDED_TEXT in message.lower():
        return InstallationSuspended(text, installation_id=context.installation_id)
    accepted = headers.get("x-accepted-github-permissions", "")
    if _PERMISSION_TEXT in message.lower() or accepted:
        return MissingPermission(text, accepted_permissions=accepted)
    return Forbidden(text)


def _limit(status: int, headers: Mapping[str, str], message: str, text: str, now: float) -> RateLimited | None:
    """403 and 429 are both used for both limits; a refused permission may happen to use up the budget as well."""
    if status not in (403, 429):
        return None
    words = message.lower()
    if status == 403 and (_PERMISSION_TEXT in words or _SUSPENDED_TEXT in words):
        return None
    asked = _retry_after(headers, now)
    if asked is not None:
        return _limited("secondary", asked, text, now, explicit=True)
    if any(known in words for known in _SECONDARY_TEXTS):
        return _limited("secondary", SECONDARY_PAUSE, text, now, explicit=False)
    if number(headers.get("x-ratelimit-remaining")) == 0 or _PRIMARY_TEXT in words:
        wait = _until_reset(headers, now)
        return _limited("primary", SECONDARY_PAUSE if wait is None else wait, text, now, explicit=wait is not None)
    if status == 429:
        return _limited("secondary", SECONDARY_PAUSE, text, now, explicit=False)
    return None


def _limited(
    kind: Literal["primary", "secondary"], wait: float, text: str, now: float, *, explicit: bool
) -> RateLimited:
    wait = min(max(wait, RESET_MARGIN), LONGEST_PAUSE)
    return RateLimited(text, until=now + wait, retry_after=wait, kind=kind, explicit=explicit)


def _retry_after(headers: Mapping[str, str], now: float) -> float | None:
    """Seconds of Retry-After, which is a number or an HTTP date (RFC 9110, 10.2.3); None if absent or unreadable."""
    value = headers.get("retry-after")
    seconds = number(value)
    if seconds is not None:
        return max(0.0, seconds)
    date = _http_date(value)
    if date is None:
        return None
    return max(0.0, date - (server_time(headers) or now))


def _until_reset(headers: Mapping[str, str], now: float) -> float | None:
    """Seconds until x-ratelimit-reset, by GitHub's own clock if it sent it: ours may be wrong."""
    reset = number(headers.get("x-ratelimit-reset"))
    if reset is None:
        return None
    return reset - (server_time(headers) or now) + RESET_MARGIN


def number(value: str | None) -> float | None:
    """A count or time of a header: ASCII digits, at most 15; anything else is no number."""
    text = (value or "").strip()
    return float(text) if text.isascii() and text.isdigit() and len(text) <= 15 else None


def _http_date(value: str | None) -> float | None:
    if not value:
        return None
    try:
        date = parsedate_to_datetime(value)
        return (date if date.tzinfo else date.replace(tzinfo=UTC)).timestamp()
    except (ValueError, TypeError, OverflowError, IndexError):
        return None


def _texts(body: bytes) -> tuple[str, tuple[str, ...]]:
    """GitHub's message and the details of its `errors`, which holds strings, objects without `code`, or one string."""
    if len(body) > _LONGEST_ERROR_BODY:
        return "", ()
    try:
        data = json.loads(body)
    except (ValueError, RecursionError):
        return "", ()
    if not isinstance(data, dict):
        return "", ()
    message = data.get("message")
    errors = data.get("errors")
    items = errors if isinstance(errors, list) else [errors] if errors else []
    return (message if isinstance(message, str) else ""), tuple(filter(None, map(_detail, items)))


def _detail(item: Any) -> str:
    if isinstance(item, str):
        return item
    if not isinstance(item, dict):
        return ""
    if isinstance(item.get("message"), str) and item["message"]:
        return str(item["message"])
    return " ".join(str(item[key]) for key in ("resource", "field", "code") if isinstance(item.get(key), str))

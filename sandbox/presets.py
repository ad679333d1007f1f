"""Answers that GitHub, and what stands before it, has been seen to give: the names that `like` takes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from .errors import DOCUMENTATION_URL, ApiError, bad_credentials, no_commit, not_accessible, not_found

# GitHub docs, rate limits for the REST API; the older text is what Enterprise Servers of before 2021 say.
SECONDARY = (
    "You have exceeded a secondary rate limit. Please wait a few minutes before you try again. If you reach out to"
    " GitHub Support for help, please include the request ID."
)
ABUSE = "You have triggered an abuse detection mechanism. Please wait a few minutes before you try again."
JSON = "application/json; charset=utf-8"
_HTML = "text/html; charset=utf-8"


@dataclass(frozen=True, slots=True)
class Preset:
    """Status, body (text, or what is sent as JSON), headers as in `effects.Answer`, content type."""

    status: int
    body: Any
    headers: Mapping[str, str] = field(default_factory=dict)
    content_type: str = JSON


def _page(status: int, title: str) -> Preset:
    body = f"<!DOCTYPE html>\n<html><head><title>{title}</title></head><body><h1>{title}</h1></body></html>\n"
    return Preset(status, body, {"Server": "nginx"}, _HTML)


def _refusal(error: ApiError, headers: Mapping[str, str] | None = None) -> Preset:
    return Preset(error.status, error.body(), {**error.headers, **(headers or {})})


def _invalid(errors: Any) -> Preset:
    body = {"message": "Validation Failed", "errors": errors, "documentation_url": DOCUMENTATION_URL, "status": "422"}
    return Preset(422, body)


PRESETS: Mapping[str, Preset] = {
    "bad-credentials": _refusal(bad_credentials()),
    "permission-missing": _refusal(not_accessible("checks:write")),
    "suspended": _refusal(ApiError(403, "This installation has been suspended")),
    "not-found": _refusal(not_found()),
    "gone": _refusal(ApiError(410, "This resource is gone")),
    "no-commit": _refusal(no_commit("0" * 40)),
    "primary-limit": _refusal(
        ApiError(403, "API rate limit exceeded for installation."),
        {
            "X-RateLimit-Limit": "5000", "X-RateLimit-Remaining": "0", "X-RateLimit-Used": "5000",
            "X-RateLimit-Reset": "{now+2400}", "X-RateLimit-Resource": "core",
        },
    ),
    "secondary-limit": _refusal(ApiError(403, SECONDARY), {"Retry-After": "60"}),
    "secondary-limit-date": _refusal(ApiError(403, SECONDARY), {"Retry-After": "{date+60}"}),
    "secondary-limit-silent": _refusal(ApiError(403, SECONDARY)),
    "abuse-limit": _refusal(ApiError(403, ABUSE), {"Retry-After": "60"}),
    "server-error": _refusal(ApiError(500, "Server Error")),
    "bad-gateway": _page(502, "502 Bad Gateway"),
    "unavailable": _page(503, "503 Service Unavailable"),
    "gateway-timeout": _page(504, "504 Gateway Time-out"),
    "unknown-error": _page(520, "520: Web server is returning an unknown error"),
    "html": _page(200, "Sign in to this network"),
    "errors-of-text": _invalid(["Could not create the check run.", "Try again."]),
    "errors-without-code": _invalid([{"resource": "CheckRun", "field": None}, {}, None]),
    "errors-one-text": _invalid("Could not create the check run."),
    "errors-of-lists": _invalid([[], [1], {"code": {"nested": True}}]),
}  # fmt: skip

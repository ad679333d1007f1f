"""Requests to GitHub's API and what became of them, for /metrics."""

from __future__ import annotations

from typing import Literal

from prometheus_client import Counter

from github.errors import GitHubError, InstallationError, RateLimited, Transient, UnknownOutcome

REQUESTS = Counter("stepgate_github_requests_total", "Requests to GitHub's API", ["class", "outcome"])

#: Every answer is one of these: it is there; it is as it was (304, which costs nothing of the hourly budget); try
#: again; wait until; trying again changes nothing; a write that may have happened; the installation cannot be used.
Outcome = Literal["fine", "unchanged", "transient", "limited", "permanent", "unknown", "away"]


def outcome_of(error: GitHubError) -> Outcome:
    """Which one an error is."""
    match error:
        case RateLimited():
            return "limited"
        case Transient():
            return "transient"
        case UnknownOutcome():
            return "unknown"
        case InstallationError():
            return "away"
    return "permanent"


def class_of(method: str, url: str, scheme: str) -> str:
    """`token`: an installation's token is made; `app`: as the App itself; `read`, `write`: with a token, or without."""
    if scheme == "jwt":
        return "token" if url.endswith("/access_tokens") else "app"
    return "read" if method == "GET" else "write"


def count(method: str, url: str, scheme: str, outcome: Outcome) -> None:
    """One request came to its end."""
    REQUESTS.labels(class_of(method, url, scheme), outcome).inc()

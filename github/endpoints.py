"""Which endpoint a request is for, and what it costs: GitHub allows so many points a minute for each. Pure.

Source: GitHub REST docs, "Rate limits for the REST API", secondary limits: 900 points a minute for an endpoint; a GET
costs 1 point, a POST, PATCH, PUT or DELETE 5.
"""

from __future__ import annotations

from functools import lru_cache

POINTS_A_MINUTE = 900
READ_POINTS = 1
WRITE_POINTS = 5

# The words of the addresses that this package asks for. What is none of them is a parameter: an unknown word only puts
# two endpoints together, which is on the safe side.
_WORDS = frozenset(
    """
    access_tokens actions annotations app app-manifests attempts blobs check-runs check-suites comments
    commits compare contents conversions deliveries git heads hook installation installations jobs
    members orgs pulls ref refs releases repos repositories reviews runs statuses tags trees user users
    workflows
    """.split()  # noqa: SIM905 (a list of them fills a page)
)
# What follows these is a parameter, whatever it is called: a branch may have the name of any word above.
_BEFORE_NAMES = frozenset("blobs commits compare heads members orgs statuses tags trees users".split())  # noqa: SIM905


def points_of(method: str) -> int:
    """What a request of this method costs."""
    return READ_POINTS if method in ("GET", "HEAD", "OPTIONS") else WRITE_POINTS


@lru_cache(maxsize=4096)
def endpoint_of(path: str) -> str:
    """The endpoint of a path, relative to the API's root and still percent-encoded: "repos/{}/{}/check-runs"."""
    parts = path.partition("?")[0].strip("/").split("/")
    if parts[0] == "repositories" and len(parts) > 1:  # the same endpoints, where renamed repositories redirect to
        parts = ["repos", *parts]
    if parts[0] == "repos":  # owners and repositories may be named like anything
        parts[1:3] = [""] * len(parts[1:3])
    named: list[str] = []
    for part in parts:
        is_word = part in _WORDS and not (named and named[-1] in _BEFORE_NAMES)
        named.append(part if is_word else "{}")
    return "/".join(named)

"""Answers of GitHub's REST API, as small as our models allow, for the scripted server."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from tests.support.fault_server import FakeClock, Reply

APP_ID = 4711
INSTALLATION = 99
TOKENS = f"/app/installations/{INSTALLATION}/access_tokens"


def token_reply(clock: FakeClock, name: str = "ghs_first", lifetime: float = 3600) -> Reply:
    """The answer of GitHub that makes an installation token."""
    end = datetime.fromtimestamp(clock.now() + lifetime, UTC)
    return Reply(
        201, {"token": name, "expires_at": end.strftime("%Y-%m-%dT%H:%M:%SZ"), "permissions": {}}, _date(clock)
    )


def _date(clock: FakeClock) -> dict[str, str]:
    return {"Date": datetime.fromtimestamp(clock.now(), UTC).strftime("%a, %d %b %Y %H:%M:%S GMT")}


def account(**fields: Any) -> dict[str, Any]:
    """An account as GitHub's API gives it."""
    return {"id": 5, "login": "learner-one", "type": "User", **fields}


def installation(**fields: Any) -> dict[str, Any]:
    """An installation as GitHub's API gives it."""
    return {
        "id": INSTALLATION,
        "account": account(),
        "repository_selection": "selected",
        "permissions": {"checks": "write"},
        "suspended_at": None,
        **fields,
    }


def repository(**fields: Any) -> dict[str, Any]:
    """A repository as GitHub's API gives it."""
    base = {"id": 7, "full_name": "octo-course/lab", "owner": account(), "private": False, "default_branch": "main"}
    return {**base, "fork": False, **fields}

"""Answers of GitHub's REST API, as small as our models allow, for the scripted server."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from github.client import InstallationClient
from rules.model import CheckRunReport
from tests.support.fault_server import FakeClock, Reply, Seen

APP_ID = 4711
INSTALLATION = 99
TOKENS = f"/app/installations/{INSTALLATION}/access_tokens"
REPO = "/repos/octo-course/lab"
BRANCH = f"{REPO}/git/ref/heads/main"
HEAD = Reply(200, {"ref": "refs/heads/main", "object": {"sha": "a" * 40, "type": "commit"}})
BAD = Reply(401, {"message": "Bad credentials"})
NO_PERMISSION = Reply(403, {"message": "Resource not accessible by integration"})
SUSPENDED = Reply(403, {"message": "This installation has been suspended"})
REPORT = CheckRunReport("forgea/steps", "a" * 40, "success", "Done", "All steps.")


def token_reply(
    clock: FakeClock, name: str = "ghs_first", lifetime: float = 3600, permissions: dict[str, str] | None = None
) -> Reply:
    """The answer of GitHub that makes an installation token. `permissions` None: it does not tell them."""
    end = datetime.fromtimestamp(clock.now() + lifetime, UTC)
    told = {"token": name, "expires_at": end.strftime("%Y-%m-%dT%H:%M:%SZ"), "permissions": permissions or {}}
    return Reply(201, told, _date(clock))


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


def bearer(seen: Seen) -> str:
    """What a request authenticated with."""
    return seen.headers["authorization"].split()[1]


async def head(client: InstallationClient) -> str | None:
    """Any read."""
    return await client.branch_head("octo-course/lab", "main")

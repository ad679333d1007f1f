"""Deliveries as GitHub sends them: its own examples (a push has some 8 KB), about other repositories and commits."""

from __future__ import annotations

import hashlib
import hmac
import uuid
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import orjson

EXAMPLES = Path(__file__).resolve().parent.parent / "tests" / "data" / "webhooks"
# What GitHub tells an App besides pushes, and nobody needs: echoes of its own reports, somebody else's status, members.
UNNEEDED = (
    ("check_run", "created"),
    ("check_run", "completed"),
    ("check_suite", "completed"),
    ("status", None),
    ("member", "added"),
)


@dataclass(frozen=True, slots=True)
class Target:
    """The repository that a delivery is about. `kind`: of its owner."""

    repo_id: int
    full_name: str
    owner_id: int
    installation_id: int
    kind: str = "User"


@cache
def _examples(event: str) -> list[dict[str, Any]]:
    """GitHub's examples of an event."""
    examples: list[dict[str, Any]] = orjson.loads((EXAMPLES / f"{event}.json").read_bytes())
    return examples


@cache
def _push() -> dict[str, Any]:
    """GitHub's example of a push of one commit to a branch of an installation's repository."""
    return next(item for item in _examples("push") if len(item["commits"]) == 1 and "installation" in item)


def push_body(target: Target, before: str, after: str, branch: str = "main") -> bytes:
    """The body of a push of one commit."""
    body = _push() | {
        "ref": f"refs/heads/{branch}",
        "before": before,
        "after": after,
        "created": False,
        "deleted": False,
        "forced": False,
        "commits": [{**_push()["commits"][0], "id": after}],
        "head_commit": {**_push()["commits"][0], "id": after},
    }
    return orjson.dumps(body | _about(body, target, branch))


def unneeded_body(event: str, action: str | None, target: Target, head: str, app_id: int) -> bytes:
    """The body of one of UNNEEDED, about a commit; checks are the App's own."""
    body = next(item for item in _examples(event) if item.get("action") == action)
    body = body | _about(body, target, "main")
    if event in ("check_run", "check_suite"):
        inner = body[event]
        body[event] = {**inner, "head_sha": head, "app": {**inner["app"], "id": app_id}}
    elif event == "status":
        body["sha"] = head
    return orjson.dumps(body)


def _about(body: dict[str, Any], target: Target, branch: str) -> dict[str, Any]:
    """What says in a body of any event which repository it is about."""
    owner, _, name = target.full_name.partition("/")
    account = {"id": target.owner_id, "login": owner, "name": owner, "type": target.kind}
    return {
        "installation": {**_push()["installation"], "id": target.installation_id},
        "sender": {**body["sender"], "id": target.owner_id, "login": owner},
        "repository": {
            **body["repository"],
            "id": target.repo_id,
            "name": name,
            "full_name": target.full_name,
            "owner": {**body["repository"]["owner"], **account},
            "default_branch": branch,
        },
    }


def request(body: bytes, secret: str, guid: uuid.UUID, event: str = "push") -> bytes:
    """The HTTP request of a delivery, with GitHub's headers, as it goes over the wire."""
    head = (
        "POST /webhook HTTP/1.1\r\nHost: 127.0.0.1\r\nAccept: */*\r\nUser-Agent: GitHub-Hookshot/5ca7d0b\r\n"
        f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\nX-GitHub-Delivery: {guid}\r\n"
        f"X-GitHub-Event: {event}\r\nX-GitHub-Hook-Installation-Target-Type: integration\r\n"
        f"X-Hub-Signature-256: sha256={hmac.new(secret.encode(), body, hashlib.sha256).hexdigest()}\r\n\r\n"
    )
    return head.encode() + body


def sha_of(text: str) -> str:
    """Something that looks like a commit's name, the same for the same text."""
    return hashlib.sha1(text.encode(), usedforsecurity=False).hexdigest()

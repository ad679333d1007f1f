"""Push deliveries as GitHub sends them: its own example of a push (some 8 KB), about other repositories and commits."""

from __future__ import annotations

import copy
import hashlib
import hmac
import uuid
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import orjson

EXAMPLES = Path(__file__).resolve().parent.parent / "tests" / "data" / "webhooks" / "push.json"


@dataclass(frozen=True, slots=True)
class Target:
    """The repository that is pushed to."""

    repo_id: int
    full_name: str
    owner_id: int
    installation_id: int


@cache
def _example() -> dict[str, Any]:
    """GitHub's example of a push of one commit to a branch of an installation's repository."""
    examples = orjson.loads(EXAMPLES.read_bytes())
    return next(item for item in examples if len(item["commits"]) == 1 and "installation" in item)


def push_body(target: Target, before: str, after: str, branch: str = "main") -> bytes:
    """The body of a push of one commit."""
    body = copy.copy(_example())
    owner, _, name = target.full_name.partition("/")
    account = {"id": target.owner_id, "login": owner, "name": owner, "type": "User"}
    body |= {
        "ref": f"refs/heads/{branch}",
        "before": before,
        "after": after,
        "created": False,
        "deleted": False,
        "forced": False,
        "commits": [{**body["commits"][0], "id": after}],
        "head_commit": {**body["commits"][0], "id": after},
        "installation": {**body["installation"], "id": target.installation_id},
        "sender": {**body["sender"], "id": target.owner_id, "login": owner},
    }
    body["repository"] = {
        **body["repository"],
        "id": target.repo_id,
        "name": name,
        "full_name": target.full_name,
        "owner": {**body["repository"]["owner"], **account},
        "default_branch": branch,
    }
    return orjson.dumps(body)


def request(body: bytes, secret: str, guid: uuid.UUID) -> bytes:
    """The HTTP request of a delivery, with GitHub's headers, as it goes over the wire."""
    head = (
        "POST /webhook HTTP/1.1\r\nHost: 127.0.0.1\r\nAccept: */*\r\nUser-Agent: GitHub-Hookshot/5ca7d0b\r\n"
        f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\nX-GitHub-Delivery: {guid}\r\n"
        "X-GitHub-Event: push\r\nX-GitHub-Hook-Installation-Target-Type: integration\r\n"
        f"X-Hub-Signature-256: sha256={hmac.new(secret.encode(), body, hashlib.sha256).hexdigest()}\r\n\r\n"
    )
    return head.encode() + body


def sha_of(text: str) -> str:
    """Something that looks like a commit's name, the same for the same text."""
    return hashlib.sha1(text.encode(), usedforsecurity=False).hexdigest()

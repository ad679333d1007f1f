"""Operations on git's own objects: trees, blobs, commits, refs."""

from __future__ import annotations

import base64
import hashlib
from typing import Any

import orjson

from .core import CachedBody, Core
from .errors import ApiError, no_commit, not_found
from .gitdata import Commit, Signature
from .gitstore import SHA, UNSAFE_NAME
from .present import api_of, html_of, node_id, when
from .rest import Call, Operation, Reply
from .state import Repository
from .views import view

TREE_BYTES_MAX = 7 * 1024 * 1024  # of a recursive tree's JSON; GitHub's OpenAPI description, git/get-tree
HEAD_MAX = 1024  # bytes of a tree's body before its entries: two shas and an address
BLOB_BYTES_MAX = 100 * 1024 * 1024  # GitHub's OpenAPI description, git/get-blob


class GitOperations:
    """Handlers of `/repos/{owner}/{repo}/git/...`."""

    def __init__(self, core: Core) -> None:
        self._core = core

    def operations(self) -> list[Operation]:
        """Return the operations and what each needs."""
        git = "/repos/{owner}/{repo}/git"
        return [
            Operation("GET", f"{git}/trees/{{tree_sha}}", self.tree, "contents:read"),
            Operation("GET", f"{git}/blobs/{{file_sha}}", self.blob, "contents:read"),
            Operation("GET", f"{git}/commits/{{commit_sha}}", self.commit, "contents:read"),
            Operation("GET", f"{git}/ref/{{ref}}", self.ref, "contents:read"),
        ]

    async def tree(self, call: Call) -> Reply:
        """GET a tree by the sha of a tree or commit, or by a ref's name; `recursive` with any value walks it."""
        record, name = call.repository, call.path["tree_sha"]
        sha = await self._core.store.resolve(record.path, name, "tree")
        if sha is None:
            raise await missing(self._core, record)
        shown = name if SHA.fullmatch(name) else sha
        recursive = "recursive" in call.query
        seen, usual = view(), self._core.tree_limit
        limit = usual if seen.tree_entries is None else min(usual, seen.tree_entries)
        key = ("tree", record.id, record.full_name, shown, recursive, limit)
        cached = self._core.bodies.get(key)
        if cached is None:
            data = await self._tree_body(record, shown, sha, limit, recursive=recursive)
            cached = CachedBody(data, hashlib.sha256(data).digest())
            if len(data) < self._core.bodies.maxsize:
                self._core.bodies[key] = cached
        if limit < usual and b'"truncated":true,"tree":[' in cached.data[:HEAD_MAX]:
            seen.used.add("tree_entries")
        return Reply(cached)

    async def _tree_body(self, record: Repository, shown: str, sha: str, limit: int, *, recursive: bool) -> bytes:
        git = self._core.git
        entries = await git.walk(record.path, sha, limit) if recursive else await git.tree(record.path, sha)
        api = f"{api_of(self._core, record)}/git"
        truncated = len(entries) > limit
        parts: list[bytes] = []
        size = 0
        for entry in entries[:limit]:
            item: dict[str, Any] = {"path": entry.path, "mode": entry.mode, "type": entry.type, "sha": entry.sha}
            if entry.type == "blob":
                item |= {"size": entry.size or 0, "url": f"{api}/blobs/{entry.sha}"}
            elif entry.type == "tree":
                item["url"] = f"{api}/trees/{entry.sha}"
            part = orjson.dumps(item)
            size += len(part) + 1
            if size > TREE_BYTES_MAX:
                truncated = True
                break
            parts.append(part)
        head = orjson.dumps({"sha": shown, "url": f"{api}/trees/{shown}", "truncated": truncated})
        return head[:-1] + b',"tree":[' + b",".join(parts) + b"]}"

    async def blob(self, call: Call) -> Reply:
        """GET a blob: base64 in lines of 60 characters as GitHub cuts them, or raw if the Accept header asks."""
        record, sha = call.repository, call.path["file_sha"]
        found = await self._core.store.read(record.path, sha) if SHA.fullmatch(sha) else None
        if found is None or found.type != "blob":
            raise await missing(self._core, record)
        if len(found.data) > BLOB_BYTES_MAX:
            raise ApiError(403, "This API returns blobs up to 100 MB in size.")
        if "raw" in call.accept:
            return Reply(found.data, content_type="application/vnd.github.raw; charset=utf-8")
        shown = {
            "sha": sha,
            "node_id": node_id("Blob", f"{record.id}:{sha}"),
            "size": len(found.data),
            "url": f"{api_of(self._core, record)}/git/blobs/{sha}",
            "content": in_base64(found.data),
            "encoding": "base64",
        }
        return Reply(shown)

    async def commit(self, call: Call) -> Reply:
        """GET a commit object by its full sha."""
        record, sha = call.repository, call.path["commit_sha"]
        commit = await self._core.git.commit(record.path, sha) if SHA.fullmatch(sha) else None
        if commit is None:
            raise await missing(self._core, record)
        return Reply(show_git_commit(self._core, record, commit))

    async def ref(self, call: Call) -> Reply:
        """GET one ref by its full name without `refs/`; tags that are objects show the tag object."""
        record, name = call.repository, call.path["ref"]
        if not name.startswith(("heads/", "tags/")) or UNSAFE_NAME.search(name):
            raise not_found()
        (info,) = await self._core.store.infos(record.path, [f"refs/{name}"])
        if info is None:
            raise await missing(self._core, record)
        api = f"{api_of(self._core, record)}/git"
        shown = {
            "ref": f"refs/{name}",
            "node_id": node_id("Ref", f"{record.id}:refs/{name}"),
            "url": f"{api}/refs/{name}",
            "object": {"sha": info.sha, "type": info.type, "url": f"{api}/{info.type}s/{info.sha}"},
        }
        return Reply(shown)


async def missing(core: Core, record: Repository, *, no_commit_for: str | None = None) -> ApiError:
    """Return the 409 of a repository without any commit, the 422 of an unknown commit sha, or else 404."""
    if not await core.git.refs(record.path):
        return ApiError(409, "Git Repository is empty.")
    return no_commit(no_commit_for) if no_commit_for is not None else not_found()


def in_base64(data: bytes) -> str:
    """Return base64 with a line break after 60 characters, as GitHub does."""
    text = base64.b64encode(data).decode()
    return "".join(f"{text[start : start + 60]}\n" for start in range(0, len(text), 60))


def person(signature: Signature) -> dict[str, str]:
    """Return an author or committer as commit objects show them."""
    return {"name": signature.name, "email": signature.email, "date": when(signature.at)}


UNVERIFIED = {"verified": False, "reason": "unsigned", "signature": None, "payload": None, "verified_at": None}


def show_git_commit(core: Core, record: Repository, commit: Commit) -> dict[str, Any]:
    """Return the commit as OpenAPI's "git-commit"."""
    api, html = f"{api_of(core, record)}/git", html_of(core, record)
    return {
        "sha": commit.sha,
        "node_id": node_id("Commit", f"{record.id}:{commit.sha}"),
        "url": f"{api}/commits/{commit.sha}",
        "html_url": f"{html}/commit/{commit.sha}",
        "author": person(commit.author),
        "committer": person(commit.committer),
        "tree": {"sha": commit.tree, "url": f"{api}/trees/{commit.tree}"},
        "message": commit.message,
        "parents": [
            {"sha": sha, "url": f"{api}/commits/{sha}", "html_url": f"{html}/commit/{sha}"} for sha in commit.parents
        ],
        "verification": UNVERIFIED,
    }

"""Operations on files by path: read a file or directory, write or delete a file as a commit."""

from __future__ import annotations

import base64
import binascii
import posixpath
from typing import Any
from urllib.parse import quote

from .core import Core
from .errors import ApiError, invalid_request, not_found, validation_failed
from .fields import text_field
from .gitdata import Entry
from .gitstore import run_git
from .present import api_of, html_of
from .pushes import PushEvents, RefUpdate
from .rest import Call, Operation, Reply
from .rest_commits import CommitOperations
from .rest_git import in_base64, show_git_commit
from .rest_repos import archived
from .state import Repository
from .views import ZERO

INLINE_MAX = 1024 * 1024  # bytes; GitHub's OpenAPI description, repos/get-content: above, `content` is empty
RAW_MAX = 100 * 1024 * 1024  # bytes; the same: above, the endpoint is not supported
DIRECTORY_MAX = 1000  # entries; the same


class ContentOperations:
    """Handlers of `/contents/{path}`."""

    def __init__(self, core: Core, commits: CommitOperations, pushes: PushEvents) -> None:
        self._core = core
        self._commits = commits
        self._pushes = pushes

    def operations(self) -> list[Operation]:
        """Return the operations and what each needs."""
        path = "/repos/{owner}/{repo}/contents/{path}"
        return [
            Operation("GET", path, self.get, "contents:read"),
            Operation("PUT", path, self.put, "contents:write"),
            Operation("DELETE", path, self.delete, "contents:write"),
        ]

    async def _entry(self, record: Repository, tree: str, path: str) -> Entry | None:
        """Return the entry at the path below a tree; None if nothing is there. The root is a tree without a name."""
        entry = Entry("040000", "tree", tree, "")
        for name in filter(None, path.split("/")):
            if entry.type != "tree":
                return None
            entries = await self._core.git.tree(record.path, entry.sha)
            found = next((each for each in entries if each.path == name), None)
            if found is None:
                return None
            entry = found
        return entry

    async def get(self, call: Call) -> Reply:
        """GET a file, directory, symbolic link or submodule at a ref (default branch without one)."""
        record, path = call.repository, call.path.get("path", "").strip("/")
        ref = call.query.get("ref") or record.default_branch
        commit = await self._commits.resolve(record, ref)
        entry = await self._entry(record, commit.tree, path)
        if entry is None:
            raise not_found()
        if entry.type != "tree":
            return await self._file(call, entry, path, ref)
        entries = (await self._core.git.tree(record.path, entry.sha))[:DIRECTORY_MAX]
        listing = [self._show(record, each, posixpath.join(path, each.path), ref) for each in entries]
        if "vnd.github.object" in call.accept:
            shown = self._show(record, entry, path, ref) | {"entries": listing}
            return Reply(shown, content_type="application/vnd.github.object+json; charset=utf-8")
        return Reply(listing)

    async def _file(self, call: Call, entry: Entry, path: str, ref: str) -> Reply:
        record = call.repository
        shown = self._show(record, entry, path, ref)
        if entry.type == "commit":
            return Reply(shown | {"submodule_git_url": f"{self._core.url}/submodule.git"})
        if (entry.size or 0) > RAW_MAX:
            raise ApiError(403, "This API returns blobs up to 100 MB in size.")
        found = await self._core.store.read(record.path, entry.sha)
        if found is None:
            raise not_found()
        if "raw" in call.accept:
            return Reply(found.data, content_type="application/vnd.github.raw; charset=utf-8")
        if entry.mode == "120000":
            return Reply(shown | {"target": found.data.decode(errors="replace")})
        if len(found.data) > INLINE_MAX:
            return Reply(shown | {"content": "", "encoding": "none"})
        return Reply(shown | {"content": in_base64(found.data), "encoding": "base64"})

    def _show(self, record: Repository, entry: Entry, path: str, ref: str) -> dict[str, Any]:
        kind = {"tree": "dir", "commit": "submodule"}.get(entry.type, "symlink" if entry.mode == "120000" else "file")
        api, html, quoted = api_of(self._core, record), html_of(self._core, record), quote(path)
        place, objects = ("tree", "trees") if entry.type == "tree" else ("blob", "blobs")
        links = {
            "self": f"{api}/contents/{quoted}?ref={quote(ref)}",
            "git": None if kind == "submodule" else f"{api}/git/{objects}/{entry.sha}",
            "html": f"{html}/{place}/{quote(ref)}/{quoted}",
        }
        return {
            "type": kind,
            "size": entry.size or 0,
            "name": posixpath.basename(path),
            "path": path,
            "sha": entry.sha,
            "url": links["self"],
            "git_url": links["git"],
            "html_url": links["html"],
            "download_url": f"{html}/raw/{quote(ref)}/{quoted}" if kind in {"file", "symlink"} else None,
            "_links": links,
        }

    # ------------------------------------------------------------------------------------------------ writes

    async def put(self, call: Call) -> Reply:
        """PUT a file: create it, or update the one whose blob sha is given; one commit, one push event."""
        content, body = text_field(call.body, "content", required=True), call.body
        try:
            data = base64.b64decode("".join((content or "").split()), validate=True)
        except binascii.Error:
            raise ApiError(422, "content is not valid Base64") from None
        return await self._write(call, data, text_field(body, "message", required=True) or "")

    async def delete(self, call: Call) -> Reply:
        """DELETE a file whose blob sha is given."""
        text_field(call.body, "sha", required=True)
        return await self._write(call, None, text_field(call.body, "message", required=True) or "")

    async def _write(self, call: Call, data: bytes | None, message: str) -> Reply:
        record, path = call.repository, call.path.get("path", "").strip("/")
        if record.archived:
            raise archived()
        if not path or any(part in {"", ".", "..", ".git"} for part in path.split("/")):
            raise validation_failed("Commit", "path", "path contains a malformed path component")
        branch = text_field(call.body, "branch") or record.default_branch
        tip = await self._core.store.resolve(record.path, f"refs/heads/{branch}")
        refs = await self._core.git.refs(record.path, "refs/heads/")
        if tip is None and (refs or data is None):
            raise ApiError(404, f"Branch {branch} not found")
        commit = await self._commits.resolve(record, tip) if tip else None
        old = await self._entry(record, commit.tree, path) if commit else None
        self._check_sha(call, path, old, deleting=data is None)
        tree = await self._new_tree(record, commit.tree if commit else None, path, old, data)
        sha = await self._new_commit(call, tree, tip, message)
        ref = f"refs/heads/{branch}"
        await run_git(["update-ref", ref, sha, tip or ZERO], cwd=record.path)
        update = RefUpdate(tip or ZERO, sha, ref)
        await self._pushes.announce(record, [update], self._core.app.bot)
        made = await self._commits.resolve(record, sha)
        entry = await self._entry(record, tree, path) if data is not None else None
        shown = {
            "content": self._show(record, entry, path, branch) if entry else None,
            "commit": show_git_commit(self._core, record, made),
        }
        return Reply(shown, 201 if old is None else 200)

    @staticmethod
    def _check_sha(call: Call, path: str, old: Entry | None, *, deleting: bool) -> None:
        given = text_field(call.body, "sha")
        if old is None:
            if deleting:
                raise not_found()
            return
        if old.type != "blob":
            raise ApiError(422, f"{path} is not a file")
        if given is None:
            raise invalid_request('"sha" wasn\'t supplied.')
        if given != old.sha:
            raise ApiError(409, f"{path} does not match {given}")

    async def _new_tree(
        self, record: Repository, base: str | None, path: str, old: Entry | None, data: bytes | None
    ) -> str:
        """Return the tree with the file written (`data`) or removed (None), made in an index of its own."""
        index = record.path / f"index-{next(self._core.state.status_ids)}"
        environment = {"GIT_INDEX_FILE": str(index)}
        try:
            if base is not None:
                await run_git(["read-tree", base], cwd=record.path, environment=environment)
            if data is None:
                line = f"0 {ZERO}\t{path}"
            else:
                _, blob = await run_git(["hash-object", "-w", "--stdin"], cwd=record.path, stdin=data)
                line = f"{old.mode if old else '100644'} {blob.decode().strip()}\t{path}"
            await run_git(
                ["update-index", "-z", "--index-info"], cwd=record.path, environment=environment,
                stdin=line.encode() + b"\0",
            )  # fmt: skip
            _, tree = await run_git(["write-tree"], cwd=record.path, environment=environment)
            return tree.decode().strip()
        finally:
            index.unlink(missing_ok=True)

    async def _new_commit(self, call: Call, tree: str, tip: str | None, message: str) -> str:
        bot = self._core.app.bot
        environment = {}
        committer = call.body.get("committer") or {}
        people = {"COMMITTER": committer, "AUTHOR": call.body.get("author") or committer}
        for who, given in people.items():
            if not isinstance(given, dict):
                raise invalid_request(f"For 'properties/{who.lower()}', it is not an object.")
            environment[f"GIT_{who}_NAME"] = str(given.get("name") or bot.login)
            environment[f"GIT_{who}_EMAIL"] = str(given.get("email") or bot.email)
        parents = ["-p", tip] if tip else []
        _, sha = await run_git(
            ["commit-tree", tree, *parents], cwd=call.repository.path, environment=environment, stdin=message.encode()
        )
        return sha.decode().strip()

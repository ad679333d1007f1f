"""Files by path: read, written, deleted."""

from __future__ import annotations

import base64
import json
from typing import Any

import pytest

from sandbox import Sandbox
from tests.support.githost import Answer, ApiClient, run, seed

LAB = "octo-course/lab"
API = f"/repos/{LAB}/contents"


@pytest.fixture
async def writer(sandbox: Sandbox, api: ApiClient) -> Any:
    """Return a function that calls with a token which may write contents."""
    sandbox.permissions["contents"] = "write"
    installation = await sandbox.install("octo-course", [LAB])
    token = await api.token(installation.id)

    async def call(method: str, path: str, body: Any = None, **headers: str) -> Answer:
        return await api.call(method, path, body, credentials=token, **headers)

    return call


async def test_a_file_is_read(writer: Any, head: str) -> None:
    """As base64 with its size and sha, raw when asked, at the default branch or another ref."""
    answer = await writer("GET", f"{API}/src/app.py")
    assert base64.b64decode(answer.body["content"]) == b"print(1)\n"
    assert (answer.body["type"], answer.body["name"], answer.body["path"]) == ("file", "app.py", "src/app.py")
    assert (await writer("GET", f"{API}/src/app.py?ref={head}")).body["sha"] == answer.body["sha"]
    assert (await writer("GET", f"{API}/src/app.py", Accept="application/vnd.github.raw")).raw == b"print(1)\n"
    for wrong in (f"{API}/src/none", f"{API}/README.md/x", f"{API}/README.md?ref=nowhere"):
        assert (await writer("GET", wrong)).status == 404


async def test_a_directory_is_listed(writer: Any, head: str) -> None:
    """The root with or without a slash, a folder, and the object form."""
    for path in (API, f"{API}/"):
        assert [each["name"] for each in (await writer("GET", path)).body] == ["README.md", "src"]
    (entry,) = (await writer("GET", f"{API}/src")).body
    assert (entry["path"], entry["type"], entry["size"]) == ("src/app.py", "file", 9)
    shown = await writer("GET", f"{API}/src", Accept="application/vnd.github.object+json")
    assert [each["name"] for each in shown.body["entries"]] == ["app.py"]


async def test_large_files_links_and_submodules_have_their_own_shapes(sandbox: Sandbox, writer: Any) -> None:
    """Above 1 MB the content is left out; links show their target, submodules their address."""
    lab = sandbox.repository(LAB)
    await seed(lab, {"big": "x" * (1024 * 1024 + 1), "fits": "x" * 1024 * 1024})
    link = await run("hash-object", "-w", "--stdin", cwd=lab.path, stdin=b"big")
    lines = await run("ls-tree", "main", cwd=lab.path)
    lines += f"\n120000 blob {link}\tlink\n160000 commit {'1' * 40}\tmodule\n"
    tree = await run("mktree", "--missing", cwd=lab.path, stdin=lines.encode())
    sha = await run("commit-tree", tree, "-m", "x", cwd=lab.path)
    big = (await writer("GET", f"{API}/big?ref={sha}")).body
    assert (big["content"], big["encoding"], big["size"]) == ("", "none", 1024 * 1024 + 1)
    assert (await writer("GET", f"{API}/fits?ref={sha}")).body["encoding"] == "base64"
    assert (await writer("GET", f"{API}/link?ref={sha}")).body["target"] == "big"
    assert (await writer("GET", f"{API}/module?ref={sha}")).body["type"] == "submodule"
    kinds = {each["name"]: each["type"] for each in (await writer("GET", f"{API}?ref={sha}")).body}
    assert kinds == {"big": "file", "fits": "file", "link": "symlink", "module": "submodule"}


async def test_a_file_is_created_changed_and_deleted(sandbox: Sandbox, writer: Any) -> None:
    """Each write is one commit and one push event; the blob's sha guards against lost updates."""

    def body(text: str, **fields: Any) -> dict[str, Any]:
        return {"message": "m", "content": base64.b64encode(text.encode()).decode(), **fields}

    made = await writer("PUT", f"{API}/a/b.txt", body("one"))
    assert (made.status, made.body["content"]["path"]) == (201, "a/b.txt")
    sha = made.body["content"]["sha"]
    assert (await writer("PUT", f"{API}/a/b.txt", body("two"))).status == 422
    assert (await writer("PUT", f"{API}/a/b.txt", body("two", sha="0" * 40))).status == 409
    changed = await writer("PUT", f"{API}/a/b.txt", body("two", sha=sha))
    assert changed.status == 200
    assert [each["sha"] for each in changed.body["commit"]["parents"]] == [made.body["commit"]["sha"]]
    sha = changed.body["content"]["sha"]
    gone = await writer("DELETE", f"{API}/a/b.txt", {"message": "m", "sha": sha})
    assert (gone.status, gone.body["content"]) == (200, None)
    assert (await writer("GET", f"{API}/a/b.txt")).status == 404
    pushes = [json.loads(each.payload) for each in sandbox.deliveries if each.event == "push"]
    files = [[push["commits"][0][kind] for kind in ("added", "modified", "removed")] for push in pushes]
    assert files == [[["a/b.txt"], [], []], [[], ["a/b.txt"], []], [[], [], ["a/b.txt"]]]


async def test_a_wrong_write_is_refused(writer: Any, head: str) -> None:
    """Bad base64, a bad path, a folder, an unknown branch, a missing file: refused, and the head stays."""
    good = {"message": "m", "content": "eA=="}
    for path, body, status in (
        ("/x", {**good, "content": "!"}, 422),
        ("/x", {"content": "eA=="}, 422),
        ("/x//y", good, 422),
        ("/.git/config", good, 422),
        ("/src", good, 422),
        ("/x", {**good, "branch": "nowhere"}, 404),
    ):
        assert (await writer("PUT", API + path, body)).status == status
    assert (await writer("DELETE", f"{API}/none", {"message": "m", "sha": "0" * 40})).status == 404
    assert (await writer("GET", f"/repos/{LAB}/git/ref/heads/main")).body["object"]["sha"] == head

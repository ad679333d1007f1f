"""Trees, blobs, commits, refs and comparisons agree with git itself."""

from __future__ import annotations

import base64
from pathlib import Path
from typing import Any

import pytest

from sandbox import Sandbox
from tests.support.githost import Answer, ApiClient, fast_import, run, seed

LAB = "octo-course/lab"
API = f"/repos/{LAB}"


@pytest.fixture
def get(api: ApiClient, token: str) -> Any:
    """Return a function that GETs an address of the lab."""

    async def send(path: str, **headers: str) -> Answer:
        return await api.call("GET", API + path, credentials=token, **headers)

    return send


async def listing(path: Path, *arguments: str) -> list[tuple[str, str, str, str]]:
    """Return mode, type, sha and path of `git ls-tree`."""
    output = await run("ls-tree", "-z", *arguments, cwd=path)
    return [(*line.split("\t")[0].split(), line.split("\t")[1]) for line in output.split("\0") if line]  # type: ignore[misc]


async def test_a_recursive_tree_is_what_ls_tree_says(sandbox: Sandbox, get: Any) -> None:
    """Order, modes, types and shas are git's own; blobs have sizes; nothing is truncated."""
    lab = sandbox.repository(LAB)
    head = await seed(lab, {"a/b/c.txt": "abc", "a.txt": "a", "a/z": "", "é.txt": "x", "b c/d e.txt": "xy"})
    expected = await listing(lab.path, "-r", "-t", head)
    answer = await get(f"/git/trees/{head}?recursive=1")
    tree = answer.body["tree"]
    assert [(each["mode"], each["type"], each["sha"], each["path"]) for each in tree] == expected
    assert {each["path"]: each.get("size") for each in tree}["a/b/c.txt"] == 3
    assert answer.body["truncated"] is False
    flat = await get("/git/trees/main")
    assert [each["path"] for each in flat.body["tree"]] == [name for *_, name in await listing(lab.path, head)]
    sub_tree = next(each["sha"] for each in tree if each["path"] == "a")
    assert [each["path"] for each in (await get(f"/git/trees/{sub_tree}")).body["tree"]] == ["b", "z"]


async def test_names_that_are_not_utf8_are_replaced(sandbox: Sandbox, get: Any) -> None:
    """A path of other bytes is given with U+FFFD."""
    lab = sandbox.repository(LAB)
    await seed(lab, {"a": "a"})
    blob = await run("hash-object", "-w", "--stdin", cwd=lab.path, stdin=b"x")
    tree = await run("mktree", "-z", cwd=lab.path, stdin=f"100644 blob {blob}\t".encode() + b"caf\xe9\0")
    assert [each["path"] for each in (await get(f"/git/trees/{tree}")).body["tree"]] == ["caf�"]


async def test_a_large_tree_is_truncated(sandbox: Sandbox, get: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Beyond the limit of entries or of bytes a recursive tree says so; exactly at the limit it is whole."""
    lab = sandbox.repository(LAB)
    await seed(lab, {f"d{number}/f": str(number) for number in range(10)})
    for limit, truncated in ((20, False), (19, True), (5, True)):
        monkeypatch.setattr(sandbox, "tree_limit", limit)
        body = (await get("/git/trees/main?recursive=1")).body
        assert (body["truncated"], len(body["tree"])) == (truncated, limit)
    monkeypatch.setattr(sandbox, "tree_limit", 1000)
    monkeypatch.setattr("sandbox.rest_git.TREE_BYTES_MAX", 1000)
    body = (await get("/git/trees/main?recursive=1")).body
    assert body["truncated"] is True
    assert 0 < len(body["tree"]) < 20


async def test_a_tree_is_served_without_a_process(
    sandbox: Sandbox, get: Any, head: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A tree that was read once is answered from memory."""
    first = await get(f"/git/trees/{head}?recursive=1")

    async def forbidden(*_: Any, **__: Any) -> Any:
        raise AssertionError("a process was started")

    monkeypatch.setattr("asyncio.create_subprocess_exec", forbidden)
    second = await get(f"/git/trees/{head}?recursive=1")
    assert (second.status, second.raw) == (200, first.raw)


async def test_a_blob_comes_whole(sandbox: Sandbox, get: Any) -> None:
    """Base64 in lines, or raw when asked; unknown ones and other types are 404."""
    data = bytes(range(256)) * 5
    lab = sandbox.repository(LAB)
    await seed(lab, {"bin": data})
    sha = await run("rev-parse", "main:bin", cwd=lab.path)
    answer = await get(f"/git/blobs/{sha}")
    assert base64.b64decode(answer.body["content"]) == data
    assert (answer.body["size"], answer.body["encoding"]) == (len(data), "base64")
    assert (await get(f"/git/blobs/{sha}", Accept="application/vnd.github.raw+json")).raw == data
    tree = await run("rev-parse", "main^{tree}", cwd=lab.path)
    for wrong in ("f" * 40, tree, "main"):
        assert (await get(f"/git/blobs/{wrong}")).status == 404


async def test_a_commit_and_a_ref_are_found(sandbox: Sandbox, get: Any, head: str) -> None:
    """The commit object by sha, the ref by its full name; half a name is no ref."""
    commit = await get(f"/git/commits/{head}")
    assert (commit.body["sha"], commit.body["parents"], commit.body["message"]) == (head, [], "0")
    assert commit.body["author"]["date"] == "2023-11-14T22:13:20Z"
    ref = await get("/git/ref/heads/main")
    assert ref.body["object"] == {"sha": head, "type": "commit", "url": f"{sandbox.api_url}{API}/git/commits/{head}"}
    for wrong in ("/git/ref/heads/mai", "/git/ref/main", "/git/ref/heads/main~0", f"/git/commits/{'f' * 40}"):
        assert (await get(wrong)).status == 404


async def test_an_annotated_tag_is_an_object_of_its_own(sandbox: Sandbox, get: Any, head: str) -> None:
    """The ref of an annotated tag shows the tag object."""
    lab = sandbox.repository(LAB)
    await run("tag", "-a", "v1", "-m", "x", cwd=lab.path)
    assert (await get("/git/ref/tags/v1")).body["object"]["type"] == "tag"
    assert (await get("/commits/v1")).body["sha"] == head


async def test_an_empty_repository_is_a_conflict(get: Any) -> None:
    """Before the first commit git's objects answer 409, as on GitHub."""
    for path in ("/git/trees/main", "/git/ref/heads/main", "/commits/main", "/contents/"):
        answer = await get(path)
        assert (answer.status, answer.body["message"]) == (409, "Git Repository is empty.")


async def test_a_commit_lists_its_files_in_pages(sandbox: Sandbox, get: Any) -> None:
    """300 files a page with Link headers, 3000 in all; statuses and line counts are git's."""
    lab = sandbox.repository(LAB)
    first: dict[str, str | bytes] = {"gone.txt": "x\n" * 40, "kept.txt": "1\n"}
    await seed(lab, first, {f"n{number:04}": "1\n2\n" for number in range(3100)})
    answer = await get("/commits/main")
    assert len(answer.body["files"]) == 300
    assert answer.body["stats"] == {"total": 6200, "additions": 6200, "deletions": 0}
    assert 'page=2>; rel="next"' in answer.headers["Link"]
    assert 'page=10>; rel="last"' in answer.headers["Link"]
    last = await get("/commits/main?page=10")
    assert len(last.body["files"]) == 300
    assert 'rel="next"' not in last.headers["Link"]
    assert (await get("/commits/main?page=11")).body["files"] == []
    assert answer.body["files"][0] | {"status": "added", "additions": 2, "filename": "n0000"} == answer.body["files"][0]


async def test_a_rename_is_one_file(sandbox: Sandbox, get: Any) -> None:
    """A moved file is listed once, with the name that it had."""
    lab = sandbox.repository(LAB)
    await seed(lab, {"old.txt": "line\n" * 50})
    tree = (await run("ls-tree", "main", cwd=lab.path)).replace("old.txt", "new.txt")
    new_tree = await run("mktree", cwd=lab.path, stdin=tree.encode() + b"\n")
    sha = await run("commit-tree", new_tree, "-p", "main", "-m", "move", cwd=lab.path)
    (entry,) = (await get(f"/commits/{sha}")).body["files"]
    assert (entry["status"], entry["filename"], entry["previous_filename"]) == ("renamed", "new.txt", "old.txt")


async def test_an_unknown_commit_is_refused_with_its_sha(get: Any, head: str) -> None:
    """A full sha that is not there is a 422, a name that is not there a 404."""
    assert (await get(f"/commits/{'f' * 40}")).body["message"] == f"No commit found for SHA: {'f' * 40}"
    assert (await get("/commits/nowhere")).status == 404
    assert (await get(f"/commits/{head[:9]}")).body["sha"] == head
    assert (await get("/commits/main", Accept="application/vnd.github.sha")).raw.decode() == head


async def test_a_comparison_starts_at_the_merge_base(sandbox: Sandbox, get: Any) -> None:
    """Ahead and behind count both sides; files are those of head since the merge base; commits oldest first."""
    lab = sandbox.repository(LAB)
    base = await seed(lab, {"a": "1"})
    await run("branch", "topic", cwd=lab.path)
    await run("fast-import", "--quiet", cwd=lab.path, stdin=_on("topic", base, {"t1": "1"}, {"t2": "2"}))
    await run("fast-import", "--quiet", cwd=lab.path, stdin=_on("main", base, {"m": "1"}))
    body = (await get("/compare/main...topic")).body
    assert (body["status"], body["ahead_by"], body["behind_by"]) == ("diverged", 2, 1)
    assert (body["merge_base_commit"]["sha"], body["total_commits"]) == (base, 2)
    assert [each["filename"] for each in body["files"]] == ["t1", "t2"]
    assert [each["commit"]["message"] for each in body["commits"]] == ["0", "1"]
    assert (await get(f"/compare/{base}...topic")).body["status"] == "ahead"
    assert (await get(f"/compare/topic...{base}")).body["status"] == "behind"
    assert (await get("/compare/octo-course:main...main")).body["status"] == "identical"
    for wrong in ("/compare/main", "/compare/main...nowhere", "/compare/learner-one:main...main"):
        assert (await get(wrong)).status == 404


def _on(branch: str, start: str, *commits: dict[str, str]) -> bytes:
    return fast_import(commits, branch, start=start)


async def test_a_comparison_has_limits(sandbox: Sandbox, get: Any) -> None:
    """250 commits and 300 files; with paging the files come on the first page only."""
    lab = sandbox.repository(LAB)
    base = await seed(lab, {"a": "1"})
    await run("fast-import", "--quiet", cwd=lab.path, stdin=_on("topic", base, *({f"f{n}": "1"} for n in range(310))))
    body = (await get("/compare/main...topic")).body
    assert (len(body["commits"]), len(body["files"]), body["total_commits"]) == (250, 300, 310)
    second = (await get("/compare/main...topic?per_page=100&page=2")).body
    assert len(second["commits"]) == 100
    assert "files" not in second

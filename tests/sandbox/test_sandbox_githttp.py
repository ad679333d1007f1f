"""Git over HTTP with the real git: who may read and push, and what comes of it."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest

from sandbox import Sandbox
from tests.support.githost import ApiClient, GitFailedError, WorkingCopy, fast_import, run, seed

Clone = Callable[..., Awaitable[WorkingCopy]]


async def test_a_clone_of_a_pushed_repository_has_its_files(sandbox: Sandbox, lab: WorkingCopy, tmp_path: Path) -> None:
    """A public repository can be cloned without credentials, with what was pushed."""
    await run("clone", "--quiet", f"{sandbox.url}/octo-course/lab.git", "copy", cwd=tmp_path)
    assert (tmp_path / "copy" / "src" / "app.py").read_text() == "print(1)\n"


async def test_an_address_without_git_suffix_is_served(sandbox: Sandbox, lab: WorkingCopy, tmp_path: Path) -> None:
    """The `.git` of an address may be left out, as on GitHub."""
    await run("ls-remote", f"{sandbox.url}/octo-course/lab", cwd=tmp_path)


async def test_a_push_without_credentials_is_asked_for_them(sandbox: Sandbox, lab: WorkingCopy) -> None:
    """Pushing needs an account, even to a public repository."""
    with pytest.raises(GitFailedError, match="could not read Username"):
        await lab.git("push", f"{sandbox.url}/octo-course/lab.git", "HEAD")


async def test_a_push_of_an_unknown_account_is_refused(sandbox: Sandbox, lab: WorkingCopy) -> None:
    """A user name that the sandbox does not know is not authenticated."""
    url = sandbox.url.replace("//", "//nobody:x@")
    with pytest.raises(GitFailedError, match="Authentication failed"):
        await lab.git("push", f"{url}/octo-course/lab.git", "HEAD")


async def test_a_push_to_a_foreign_repository_is_forbidden(sandbox: Sandbox, lab: WorkingCopy) -> None:
    """Only the owner and collaborators may push."""
    url = sandbox.url.replace("//", "//learner-two:x@")
    with pytest.raises(GitFailedError, match="403"):
        await lab.git("push", f"{url}/octo-course/lab.git", "HEAD:refs/heads/lin")


async def test_a_private_repository_is_hidden(sandbox: Sandbox, lab: WorkingCopy, tmp_path: Path) -> None:
    """Strangers learn nothing of a private repository; its collaborators can clone it."""
    await sandbox.set_visibility("octo-course/lab", private=True)
    url = f"{sandbox.url}/octo-course/lab.git"
    with pytest.raises(GitFailedError, match="could not read Username"):
        await run("ls-remote", url, cwd=tmp_path)
    with pytest.raises(GitFailedError, match="not found"):
        await run("ls-remote", url.replace("//", "//learner-two:x@"), cwd=tmp_path)
    assert "refs/heads/main" in await run("ls-remote", url.replace("//", "//learner-one:x@"), cwd=tmp_path)


async def test_an_archived_repository_is_read_only(sandbox: Sandbox, lab: WorkingCopy) -> None:
    """Nobody pushes to an archived repository."""
    await sandbox.archive("octo-course/lab")
    await lab.commit({"late.txt": "x"})
    with pytest.raises(GitFailedError, match="403"):
        await lab.push()
    await sandbox.archive("octo-course/lab", archived=False)
    await lab.push()


async def test_git_follows_the_redirect_of_a_renamed_repository(sandbox: Sandbox, lab: WorkingCopy) -> None:
    """A working copy keeps working after a rename; strangers do not learn a private repository's new name."""
    await sandbox.rename("octo-course/lab", "lab-2")
    await sandbox.set_visibility("octo-course/lab-2", private=True)
    with pytest.raises(GitFailedError, match="could not read Username"):
        await run("ls-remote", f"{sandbox.url}/octo-course/lab.git", cwd=lab.path)
    await lab.git("fetch", "--quiet")
    sha = await lab.commit({"after.txt": "x"})
    await lab.push()
    assert sandbox.repository("octo-course/lab-2").pushed_at
    assert sha in await lab.git("ls-remote", "origin", "refs/heads/main")


async def test_a_large_push_in_chunks_arrives_whole(sandbox: Sandbox, lab: WorkingCopy) -> None:
    """A pack beyond git's post buffer is sent in chunks of unknown length, and is received."""
    noise = "".join(f"{number * 7919 % 1000003}\n" for number in range(400_000))
    sha = await lab.commit({"large.txt": noise})
    await lab.git("-c", "http.postBuffer=65536", "push", "--quiet", "origin", "HEAD")
    assert sha in await lab.git("ls-remote", "origin", "refs/heads/main")


async def test_a_compressed_request_is_understood(sandbox: Sandbox, clone: Clone, head: str) -> None:
    """Git sends a long negotiation with gzip; the answer is right all the same."""
    work = await clone()
    mine = fast_import([{"n.txt": str(number)} for number in range(300)], "mine", start="refs/remotes/origin/main")
    await work.git("fast-import", "--quiet", stdin=mine)
    sha = await seed(sandbox.repository("octo-course/lab"), {"new": "1"}, branch="other")
    encodings: list[str | None] = []
    sandbox.faults.append(lambda request: encodings.append(request.headers.get("Content-Encoding")))
    await work.git("-c", "protocol.version=0", "fetch", "--quiet", "origin", "other")
    assert await work.git("rev-parse", "FETCH_HEAD") == sha
    assert "gzip" in encodings


async def test_the_dumb_protocol_is_refused(sandbox: Sandbox, lab: WorkingCopy, api: ApiClient) -> None:
    """Only the smart protocol's addresses answer."""
    answer = await api.call("GET", f"{sandbox.url}/octo-course/lab.git/info/refs")
    assert answer.status == 403
    assert (await api.call("GET", f"{sandbox.url}/octo-course/lab.git/HEAD")).status == 404

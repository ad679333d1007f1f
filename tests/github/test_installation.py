"""What an installation's client reads and writes, and odd answers to it."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any
from urllib.parse import quote, unquote

import pytest

from github.client import InstallationClient
from github.errors import NotFound, Rejected, TooLarge, Transient, UnknownOutcome
from rules.lifecycle import Listed
from rules.model import CheckRunReport
from tests.support.fault_server import FaultServer, Raw, Reply, Seen
from tests.support.github_answers import APP_ID, TOKENS, repository

REPO = "/repos/octo-course/lab"
BRANCH = f"{REPO}/git/ref/heads/main"
REPORT = CheckRunReport("forgea/steps", "a" * 40, "success", "Done", "All steps.")


async def test_repositories_are_read_page_by_page(client: InstallationClient, server: FaultServer) -> None:
    """All pages by their Link headers; a page that fails gives no part of the list."""
    path = "/installation/repositories"

    def page(seen: Seen) -> Reply:
        number = int(seen.path.partition("page=")[2].rpartition("page=")[2] or 1) if "&page=" in seen.path else 1
        data = {"total_count": 3, "repositories": [repository(id=number, full_name=f"octo-course/lab{number}")]}
        link = {"Link": f'<{server.url}{path}?per_page=100&page={number + 1}>; rel="next"'} if number < 3 else {}
        return Reply(200, data, link)

    server.on("GET", path, page)
    repos = await client.repositories()
    assert [repo.repo_id for repo in repos] == [1, 2, 3]
    assert repos[0] == Listed(1, "octo-course/lab1", fork=False)
    client.forget_token()
    server.on("GET", path, page, Reply(502))
    with pytest.raises(Transient):
        await client.repositories()


async def test_repositories_that_change_between_two_pages_are_read_again(
    client: InstallationClient, server: FaultServer
) -> None:
    """One was taken away after page 1: what moved up to it is on no page that was read, and must not count as gone."""
    path = "/installation/repositories"
    there = [repository(id=number, full_name=f"octo-course/lab{number}") for number in (1, 2, 3, 4)]

    def page(seen: Seen) -> Reply:
        start = 2 if "&page=2" in seen.path else 0
        data = {"total_count": len(there), "repositories": there[start : start + 2]}
        link = {"Link": f'<{server.url}{path}?per_page=100&page=2>; rel="next"'} if start == 0 else {}
        if len(there) == 4:
            del there[0]  # while we are between the pages
        return Reply(200, data, link)

    server.on("GET", path, page)
    with pytest.raises(Transient):
        await client.repositories()
    assert [repo.repo_id for repo in await client.repositories()] == [2, 3, 4]


async def test_pages_that_go_round_end(client: InstallationClient, server: FaultServer) -> None:
    """A Link header that leads back is an error, not an endless loop."""
    data = {"repositories": [repository()]}
    link = {"Link": f'<{server.url}/installation/repositories?per_page=100&page=2>; rel="next"'}
    server.on("GET", "/installation/repositories", Reply(200, data, link))
    with pytest.raises(Transient):
        await client.repositories()
    assert len(server.calls("GET", "/installation/repositories")) == 2


async def test_repository_and_its_lineage(client: InstallationClient, server: FaultServer) -> None:
    """Parent, source and template as ids; hidden or absent ones are None; a renamed one is found."""
    fork = repository(fork=True, parent=repository(id=1), source=repository(id=2))
    server.on("GET", REPO, Reply(301, headers={"Location": f"{server.url}/repositories/7"}))
    server.on("GET", "/repositories/7", Reply(200, fork), Reply(200, repository(template_repository=repository(id=3))))
    repo, lineage = await client.repository("octo-course/lab")
    assert (repo.repo_id, repo.full_name, repo.private) == (7, "octo-course/lab", False)
    assert (lineage.parent_id, lineage.source_id, lineage.template_id, lineage.fork) == (1, 2, None, True)
    _, generated = await client.repository("octo-course/lab")
    assert (generated.parent_id, generated.template_id, generated.fork) == (None, 3, False)


@pytest.mark.parametrize(
    "name", ["", "octo-course", "/lab", "a/b/c", "../x", "a/..", "a/.", "a b/c", "a/b?x", "a/b%2f"]
)
async def test_what_is_no_name_of_a_repository_is_not_asked_for(
    client: InstallationClient, server: FaultServer, name: str
) -> None:
    """No request can be led to another address by a name."""
    with pytest.raises(NotFound):
        await client.repository(name)
    assert server.seen == []


@pytest.mark.parametrize("branch", ["feature/x", "a#b", "50%", "what?", "a+b", "ü", "a%2Fb", "sp ace", "{x}"])
async def test_branch_names_are_escaped(client: InstallationClient, server: FaultServer, branch: str) -> None:
    """The server reads exactly the branch that was asked for, also after a redirect."""
    path = f"{REPO}/git/ref/heads/{quote(branch, safe='')}"
    moved = f"/repositories/7/git/ref/heads/{quote(branch, safe='')}"
    server.on("GET", path, Reply(301, headers={"Location": f"{server.url}{moved}"}))
    server.on("GET", moved, Reply(200, {"ref": f"refs/heads/{branch}", "object": {"sha": "b" * 40}}))
    assert await client.branch_head("octo-course/lab", branch) == "b" * 40
    assert [unquote(seen.path).rpartition("heads/")[2] for seen in server.calls("GET", path)] == [branch]


async def test_branch_head_of_what_is_not_there(client: InstallationClient, server: FaultServer) -> None:
    """404, an empty repository (409) and another ref than asked for are None."""
    other = Reply(200, {"ref": "refs/heads/main-2", "object": {"sha": "b" * 40}})
    server.on(
        "GET", BRANCH, Reply(404, {"message": "Not Found"}), Reply(409, {"message": "Git Repository is empty."}), other
    )
    for _ in range(3):
        assert await client.branch_head("octo-course/lab", "main") is None
    server.on("GET", BRANCH, Reply(451, {"message": "Repository access blocked"}))
    with pytest.raises(Rejected):
        await client.branch_head("octo-course/lab", "main")


async def test_compare_without_common_ancestor_or_commit(client: InstallationClient, server: FaultServer) -> None:
    """An orphan branch is diverged; an unknown commit is None."""
    path = f"{REPO}/compare/{'a' * 40}...{'b' * 40}"
    texts = (f"No common ancestor between {'a' * 40} and {'b' * 40}.", "Not Found")
    server.on("GET", path, *(Reply(404, {"message": text}) for text in texts))
    orphan = await client.compare("octo-course/lab", "a" * 40, "b" * 40)
    assert orphan is not None
    assert (orphan.status, orphan.commits, orphan.complete) == ("diverged", (), False)
    assert await client.compare("octo-course/lab", "a" * 40, "b" * 40) is None


async def test_compare_tells_when_commits_are_left_out(client: InstallationClient, server: FaultServer) -> None:
    """GitHub lists 250 of 251: not complete."""
    item = {"sha": "c" * 40, "commit": {"tree": {"sha": "d" * 40}}, "parents": [{"sha": "a" * 40}]}
    path = f"{REPO}/compare/{'a' * 40}...{'b' * 40}"
    listed = {"status": "ahead", "total_commits": 251, "commits": [item] * 250}
    server.on("GET", path, Reply(200, listed), Reply(200, {**listed, "total_commits": 250}))
    cut = await client.compare("octo-course/lab", "a" * 40, "b" * 40)
    whole = await client.compare("octo-course/lab", "a" * 40, "b" * 40)
    assert cut is not None
    assert whole is not None
    assert (cut.complete, whole.complete) == (False, True)
    assert whole.commits[0] == ("c" * 40, ("a" * 40,))


@pytest.mark.parametrize("status", [404, 409, 422])
async def test_a_missing_git_object_is_not_found_however_github_says_it(
    client: InstallationClient, server: FaultServer, status: int
) -> None:
    """Gone after a force-push, not there yet, empty repository: one type."""
    reply = Reply(status, {"message": "No commit found for SHA"})
    for path in ("git/commits/" + "a" * 40, "git/trees/" + "a" * 40, "git/blobs/" + "a" * 40, "commits/main"):
        server.on("GET", f"{REPO}/{path}", reply)
    with pytest.raises(NotFound):
        await client.commit("octo-course/lab", "a" * 40)
    with pytest.raises(NotFound):
        await client.commit("octo-course/lab", "main")
    with pytest.raises(NotFound):
        await client.tree("octo-course/lab", "a" * 40)
    with pytest.raises(NotFound):
        await client.blob("octo-course/lab", "a" * 40)


@pytest.mark.parametrize("data", [{}, {"tree": [], "truncated": None}, {"tree": [{}], "truncated": False}, {"tree": 1}])
async def test_a_tree_of_another_shape_is_transient(client: InstallationClient, server: FaultServer, data: Any) -> None:
    """An answer without `truncated` must never count as complete."""
    server.on("GET", f"{REPO}/git/trees/{'a' * 40}", Reply(200, data))
    with pytest.raises(Transient):
        await client.tree("octo-course/lab", "a" * 40)


@pytest.mark.parametrize("content", ["aGVsbG8=", "!!!", "aGVsbG8"])
async def test_a_damaged_blob_is_transient(client: InstallationClient, server: FaultServer, content: str) -> None:
    """Content that does not have the sha it was asked by is not used."""
    server.on("GET", f"{REPO}/git/blobs/{'a' * 40}", Reply(200, {"content": content, "encoding": "base64"}))
    with pytest.raises(Transient):
        await client.blob("octo-course/lab", "a" * 40)


async def test_a_check_run_written_under_an_unknown_id(client: InstallationClient, server: FaultServer) -> None:
    """201 with a useless body: it exists, so the outcome is unknown, and it is found by its external id."""
    server.on("POST", f"{REPO}/check-runs", Reply(201, {"ok": True}), Raw())
    for _ in range(2):
        with pytest.raises(UnknownOutcome):
            await client.create_check_run("octo-course/lab", REPORT)
    runs = [
        {"id": 4, "name": "forgea/steps", "external_id": "s1"},
        {"id": 9, "name": "forgea/steps", "external_id": "s1"},
        {"id": 11, "name": "forgea/steps", "external_id": "s2"},
        {"id": 12, "name": "other", "external_id": "s1"},
        {"id": 13, "name": "forgea/steps", "external_id": None},
    ]
    path = f"{REPO}/commits/{'a' * 40}/check-runs"
    server.on("GET", path, Reply(200, {"total_count": 5, "check_runs": runs}))
    assert await client.find_check_run("octo-course/lab", "a" * 40, "forgea/steps", "s1") == 9
    assert await client.find_check_run("octo-course/lab", "a" * 40, "forgea/steps", "s3") is None
    query = server.calls("GET", path)[0].path
    assert f"app_id={APP_ID}" in query
    assert "filter=all" in query
    server.on("GET", path, Reply(422, {"message": "No commit found for SHA"}))
    assert await client.find_check_run("octo-course/lab", "a" * 40, "forgea/steps", "s1") is None


async def test_time_stamps_without_zone_are_no_token(client: InstallationClient, server: FaultServer) -> None:
    """An end whose zone is unknown could be hours off."""
    end = datetime.now(UTC).replace(tzinfo=None).isoformat()
    server.on("POST", TOKENS, Reply(201, {"token": "ghs_x", "expires_at": end}))
    with pytest.raises(Transient):
        await client.branch_head("octo-course/lab", "main")


async def test_a_file_is_not_absent_because_its_folder_was_cut(client: InstallationClient, server: FaultServer) -> None:
    """GitHub lists a part of a folder: what is not in that part may still be there."""
    entry = {"path": "a.txt", "mode": "100644", "type": "blob", "sha": "b" * 40, "size": 1}
    server.on("GET", f"{REPO}/git/trees/main", Reply(200, {"sha": "c" * 40, "tree": [entry], "truncated": True}))
    with pytest.raises(TooLarge):
        await client.file("octo-course/lab", "z.txt", "main")


@pytest.mark.parametrize("status", [400, 451])
async def test_other_refusals_are_passed_on(client: InstallationClient, server: FaultServer, status: int) -> None:
    """Only the codes that mean "not there" become None or NotFound."""
    reply = Reply(status, {"message": "Repository access blocked"})
    server.on("GET", f"{REPO}/git/trees/main", reply)
    server.on("GET", f"{REPO}/commits/{'a' * 40}/check-runs", reply)
    with pytest.raises(Rejected):
        await client.tree("octo-course/lab", "main")
    with pytest.raises(Rejected):
        await client.find_check_run("octo-course/lab", "a" * 40, "forgea/steps", "s1")

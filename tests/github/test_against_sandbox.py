"""The clients against the sandbox: real repositories and tokens, each exchange checked against GitHub's description."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator
from pathlib import Path

import aiohttp
import pytest
from aiohttp import web

from github.client import GitHubApp, InstallationClient
from github.errors import (
    InstallationGone,
    InstallationSuspended,
    MissingPermission,
    NotFound,
    Rejected,
    TooLarge,
    Transient,
    Unauthorized,
    UnknownOutcome,
)
from github.governor import MemoryGovernor
from github.trees import Trees
from rules.model import Annotation, CheckRunReport, InstallationState, StatusReport
from sandbox import Sandbox, new_private_key
from tests.support.apispec import check_exchange
from tests.support.fault_server import FakeClock
from tests.support.githost import run, seed

LAB = "octo-course/lab"
FILES = {"README.md": "# Lab\n", ".forgea/steps.json": '{"version": 1}\n', "src/app.py": "print(1)\n"}


@pytest.fixture
async def sandbox(tmp_path: Path, private_key: str) -> AsyncIterator[Sandbox]:
    """A course with a lab, two learners; afterwards all exchanges are checked."""
    async with Sandbox(tmp_path / "github", private_key_pem=private_key, tree_limit=12) as running:
        running.add_account("octo-course", "Organization")
        running.add_account("learner-one")
        running.add_account("learner-two")
        await running.add_repository("octo-course", "lab")
        yield running
        checked = [one for one in running.exchanges if one.operation and not one.scripted]
        for exchange in checked:
            check_exchange(exchange)
        assert checked


@pytest.fixture
def app(sandbox: Sandbox, http: aiohttp.ClientSession, private_key: str) -> GitHubApp:
    """The App at the sandbox."""
    governor = MemoryGovernor(0.0)
    return GitHubApp(http, api_url=sandbox.api_url, app_id=sandbox.app_id, private_key=private_key, governor=governor)


@pytest.fixture
async def client(sandbox: Sandbox, app: GitHubApp) -> InstallationClient:
    """The App's installation on the course."""
    return app.installation((await sandbox.install("octo-course", [LAB])).id)


@pytest.fixture
async def head(sandbox: Sandbox) -> str:
    """The lab's first commit."""
    return await seed(sandbox.repository(LAB), FILES)


async def test_the_app_and_its_installations(sandbox: Sandbox, app: GitHubApp) -> None:
    """Who we are, where we are installed, and in which state."""
    installed = await sandbox.install("octo-course", "all")
    assert (await app.app()).app_id == sandbox.app_id
    record = await app.installation_record(installed.id)
    assert (record.state, record.repository_selection) == (InstallationState.ACTIVE, "all")
    assert record.account.login == "octo-course"
    assert await app.installation_of(LAB) == record
    assert await app.installation_of("octo-course/other") is None
    await sandbox.suspend(installed.id)
    assert (await app.installation_record(installed.id)).state is InstallationState.SUSPENDED
    with pytest.raises(InstallationSuspended):
        await app.installation(installed.id).branch_head(LAB, "main")
    await sandbox.unsuspend(installed.id)
    await sandbox.uninstall(installed.id)
    with pytest.raises(InstallationGone):
        await app.installation_record(installed.id)
    app.installation(installed.id).forget_token()
    with pytest.raises(InstallationGone):
        await app.installation(installed.id).branch_head(LAB, "main")


async def test_a_wrong_app_id_is_refused(sandbox: Sandbox, http: aiohttp.ClientSession, private_key: str) -> None:
    """GitHub answers 404 to the JWT; that must not look as if an installation were deleted."""
    installed = await sandbox.install("octo-course", "all")
    wrong = GitHubApp(http, api_url=sandbox.api_url, app_id=sandbox.app_id + 1, private_key=private_key)
    with pytest.raises(Unauthorized):
        await wrong.app()
    with pytest.raises(Unauthorized):
        await wrong.installation_record(installed.id)
    with pytest.raises(Unauthorized):
        await wrong.installation(installed.id).repositories()


async def test_a_wrong_key_is_refused(sandbox: Sandbox, http: aiohttp.ClientSession) -> None:
    """GitHub answers 401 to a JWT that another key signed."""
    wrong = GitHubApp(http, api_url=sandbox.api_url, app_id=sandbox.app_id, private_key=new_private_key())
    with pytest.raises(Unauthorized):
        await wrong.app()


async def test_an_api_address_without_its_path(sandbox: Sandbox, http: aiohttp.ClientSession, private_key: str) -> None:
    """A page that is not found at the web address says nothing about an installation."""
    installed = await sandbox.install("octo-course", "all")
    wrong = GitHubApp(http, api_url=sandbox.url, app_id=sandbox.app_id, private_key=private_key)
    with pytest.raises(Transient):
        await wrong.installation_record(installed.id)
    assert (
        await GitHubApp(
            http, api_url=sandbox.api_url, app_id=sandbox.app_id, private_key=private_key
        ).installation_record(installed.id)
    ).state is InstallationState.ACTIVE


async def test_repositories_forks_and_renames(sandbox: Sandbox, app: GitHubApp, head: str) -> None:
    """Lineage of a fork, of a fork's fork and of a generated repository; an old name leads to the renamed one."""
    lab = sandbox.repository(LAB)
    await sandbox.fork(LAB, "learner-one")
    await sandbox.fork("learner-one/lab", "learner-two")
    await sandbox.generate(LAB, "learner-one", "generated")
    ada = app.installation((await sandbox.install("learner-one", "all")).id)
    lin = app.installation((await sandbox.install("learner-two", "all")).id)
    repo, lineage = await ada.repository("learner-one/lab")
    assert repo.owner.login == "learner-one"
    assert (lineage.parent_id, lineage.source_id, lineage.fork) == (lab.id, lab.id, True)
    _, second = await lin.repository("learner-two/lab")
    assert (second.parent_id, second.source_id) == (repo.repo_id, lab.id)
    _, generated = await ada.repository("learner-one/generated")
    assert (generated.parent_id, generated.template_id) == (None, lab.id)
    await sandbox.rename("learner-one/lab", "renamed")
    again, _ = await ada.repository("learner-one/lab")
    assert (again.repo_id, again.full_name) == (repo.repo_id, "learner-one/renamed")
    assert await ada.branch_head("learner-one/lab", "main") == head
    assert {found.full_name for found in await ada.repositories()} == {"learner-one/renamed", "learner-one/generated"}
    with pytest.raises(NotFound):
        await ada.repository("learner-one/nothing")


async def test_repositories_over_several_pages(sandbox: Sandbox, app: GitHubApp) -> None:
    """101 repositories are two pages."""
    for number in range(101):
        await sandbox.add_repository("learner-two", f"lab-{number}")
    lin = app.installation((await sandbox.install("learner-two", "all")).id)
    assert len({repo.repo_id for repo in await lin.repositories()}) == 101


async def test_a_public_lab_is_read_with_any_installations_token(sandbox: Sandbox, app: GitHubApp, head: str) -> None:
    """A private one is not there for strangers."""
    ada = app.installation((await sandbox.install("learner-one", "all")).id)
    assert await ada.branch_head(LAB, "main") == head
    await sandbox.set_visibility(LAB, private=True)
    with pytest.raises(NotFound):
        await ada.repository(LAB)


async def test_heads_and_commits(sandbox: Sandbox, client: InstallationClient, head: str) -> None:
    """Branch heads, commits by sha and by name, comparisons in all four states."""
    lab = sandbox.repository(LAB)
    tree_sha = await run("rev-parse", "main^{tree}", cwd=lab.path)
    assert await client.branch_head(LAB, "main") == head
    assert await client.branch_head(LAB, "none") is None
    assert await client.commit(LAB, head) == (head, tree_sha, ())
    assert await client.commit(LAB, "main") == (head, tree_sha, ())
    await run("branch", "feature/a#b", head, cwd=lab.path)
    assert await client.branch_head(LAB, "feature/a#b") == head
    assert (await client.commit(LAB, "feature/a#b")).sha == head
    identity = ("-c", "user.name=Learner", "-c", "user.email=learner@example.org")
    ahead = await run(*identity, "commit-tree", tree_sha, "-p", head, "-m", "next", cwd=lab.path)
    aside = await run(*identity, "commit-tree", tree_sha, "-p", head, "-m", "aside", cwd=lab.path)
    for name, sha in (("ahead", ahead), ("aside", aside)):
        await run("branch", name, sha, cwd=lab.path)
    found = {}
    for name, base, to in (
        ("ahead", head, ahead),
        ("behind", ahead, head),
        ("same", head, head),
        ("aside", ahead, aside),
    ):
        comparison = await client.compare(LAB, base, to)
        assert comparison is not None
        assert comparison.complete
        found[name] = (comparison.status, comparison.commits)
    assert found == {
        "ahead": ("ahead", ((ahead, (head,)),)),
        "behind": ("behind", ()),
        "same": ("identical", ()),
        "aside": ("diverged", ((aside, (head,)),)),
    }
    assert await client.compare(LAB, "f" * 40, head) is None
    with pytest.raises(NotFound):
        await client.commit(LAB, "f" * 40)
    with pytest.raises(NotFound):
        await client.commit(LAB, "no-such-branch")


async def test_an_empty_repository(client: InstallationClient) -> None:
    """No head, no commit; no untyped error."""
    assert await client.branch_head(LAB, "main") is None
    with pytest.raises(NotFound):
        await client.commit(LAB, "main")


async def test_heads_are_asked_conditionally(sandbox: Sandbox, client: InstallationClient, head: str) -> None:
    """An unchanged branch is answered with 304; a new commit is seen at once."""
    for _ in range(2):
        assert await client.branch_head(LAB, "main") == head
    assert sandbox.exchanges[-1].status == 304
    lab = sandbox.repository(LAB)
    identity = ("-c", "user.name=Learner", "-c", "user.email=learner@example.org")
    moved = await run(*identity, "commit-tree", f"{head}^{{tree}}", "-p", head, "-m", "next", cwd=lab.path)
    await run("update-ref", "refs/heads/main", moved, cwd=lab.path)
    assert await client.branch_head(LAB, "main") == moved


async def test_files_of_a_commit(sandbox: Sandbox, client: InstallationClient, head: str) -> None:
    """Tree, blobs and single files are those of the commit."""
    trees = Trees(10_000_000)
    found = await trees.files(client, LAB, head)
    assert set(found.tree) == set(FILES)
    shas = [entry.sha for entry in found.tree.values()]
    contents = await trees.blobs(client, LAB, shas)
    assert {path: contents[entry.sha].decode() for path, entry in found.tree.items()} == FILES
    assert [entry.size for entry in found.tree.values()] == [len(FILES[path]) for path in found.tree]
    before = len(sandbox.exchanges)
    await trees.files(client, LAB, head)
    assert len(sandbox.exchanges) == before
    assert await client.file(LAB, ".forgea/steps.json", head) == b'{"version": 1}\n'
    for missing in (".forgea/none.json", "none/steps.json", "README.md/steps.json", "src", ""):
        assert await client.file(LAB, missing, head) is None
    with pytest.raises(NotFound):
        await client.file(LAB, "README.md", "f" * 40)


async def test_links_are_no_files_and_large_files_are_refused(sandbox: Sandbox, client: InstallationClient) -> None:
    """A link at steps.json is not followed; above 1 MiB nothing is read."""
    lab = sandbox.repository(LAB)
    large = b"x" * (1024 * 1024)
    await seed(lab, {"large": large + b"x", "most": large, "bytes": bytes(range(256))})
    link = await run("hash-object", "-w", "--stdin", cwd=lab.path, stdin=b"most")
    tree = await run("ls-tree", "main", cwd=lab.path)
    tree_sha = await run("mktree", cwd=lab.path, stdin=f"{tree}\n120000 blob {link}\tlink\n".encode())
    assert await client.file(LAB, "link", tree_sha) is None
    assert await client.file(LAB, "most", tree_sha) == large
    assert await client.file(LAB, "bytes", tree_sha) == bytes(range(256))
    with pytest.raises(TooLarge):
        await client.file(LAB, "large", tree_sha)


async def test_a_tree_that_the_server_truncates(sandbox: Sandbox, client: InstallationClient) -> None:
    """The sandbox lists 12 entries at most; 60 files in 10 folders are found completely."""
    files = {f"d{d}/s/f{f}.txt": f"{d}{f}" for d in range(10) for f in range(6)}
    head = await seed(sandbox.repository(LAB), files)
    assert (await client.tree(LAB, head)).truncated
    found = await Trees(10_000_000).files(client, LAB, head)
    assert set(found.tree) == set(files)


async def test_check_runs_and_statuses(sandbox: Sandbox, client: InstallationClient, head: str) -> None:
    """What is posted is what the sandbox has; a run is found by its external id."""
    notes = (Annotation("src/app.py", 1, "failure", "Not yet", "Step 3"), Annotation("README.md", 1, "notice", "Hm"))
    report = CheckRunReport(
        "forgea/steps", head, "failure", "Step 2 comes first", "Text", notes, "http://127.0.0.1/sessions/1", "s-1"
    )
    run_id = await client.create_check_run(LAB, report)
    [posted] = sandbox.check_runs(LAB, head)
    assert (posted["id"], posted["conclusion"], posted["external_id"]) == (run_id, "failure", "s-1")
    assert posted["output"]["annotations_count"] == 2
    assert posted["details_url"] == "http://127.0.0.1/sessions/1"
    assert await client.find_check_run(LAB, head, "forgea/steps", "s-1") == run_id
    assert await client.find_check_run(LAB, head, "forgea/steps", "s-2") is None
    assert await client.find_check_run(LAB, "f" * 40, "forgea/steps", "s-1") is None
    bare = CheckRunReport("forgea/steps", head, "success", "Done", "Text")
    second = await client.create_check_run(LAB, bare)
    assert second > run_id
    status = StatusReport("forgea/steps", head, "success", "Done", "http://127.0.0.1/sessions/1")
    status_id = await client.create_status(LAB, status)
    assert [(one["id"], one["state"]) for one in sandbox.statuses(LAB, head)] == [(status_id, "success")]


async def test_reports_that_github_refuses(client: InstallationClient, head: str) -> None:
    """An unknown head and a text that is too long are Rejected with GitHub's reasons."""
    with pytest.raises(Rejected) as unknown:
        await client.create_check_run(LAB, CheckRunReport("forgea/steps", "f" * 40, "success", "t", "s"))
    assert "f" * 40 in str(unknown.value)
    with pytest.raises(Rejected) as long:
        await client.create_status(LAB, StatusReport("forgea/steps", head, "success", "x" * 141))
    assert any("140" in message for message in long.value.messages)


async def test_a_permission_that_lacks(tmp_path: Path, http: aiohttp.ClientSession, private_key: str) -> None:
    """Without checks:write tokens are made with the rest, and a check run is refused at once: no time would mend it."""
    clock = FakeClock(time.time())
    permissions = {"metadata": "read", "contents": "read"}
    async with Sandbox(tmp_path / "github", private_key_pem=private_key, permissions=permissions) as sandbox:
        sandbox.add_account("octo-course", "Organization")
        await sandbox.add_repository("octo-course", "lab")
        head = await seed(sandbox.repository(LAB), FILES)
        app = GitHubApp(
            http,
            api_url=sandbox.api_url,
            app_id=sandbox.app_id,
            private_key=private_key,
            now=clock.now,
            sleep=clock.sleep,
        )
        client = app.installation((await sandbox.install("octo-course", "all")).id)
        with pytest.raises(MissingPermission):
            await client.create_check_run(LAB, CheckRunReport("forgea/steps", head, "success", "t", "s"))
        assert sandbox.check_runs(LAB, head) == []
        assert clock.slept == []
        assert [(each.method, each.status) for each in sandbox.exchanges if "/app/" in each.path] == [
            ("POST", 422),
            ("GET", 200),
            ("POST", 201),
        ]


async def test_a_write_whose_answer_is_lost_is_found_again(
    sandbox: Sandbox, client: InstallationClient, head: str
) -> None:
    """The sandbox executes the POST and the answer is 502: unknown outcome, then found by its external id."""
    await client.branch_head(LAB, "main")
    report = CheckRunReport("forgea/steps", head, "success", "Done", "Text", external_id="s-1")
    lost: list[web.Request] = []

    async def answer_lost(request: web.Request) -> web.StreamResponse | None:
        if request.method == "POST" and request.path.endswith("/check-runs") and not lost:
            lost.append(request)
            body = await request.read()
            headers = {"Authorization": request.headers["Authorization"], "Content-Type": "application/json"}
            async with (
                aiohttp.ClientSession() as direct,
                direct.post(request.url, data=body, headers=headers) as executed,
            ):
                assert executed.status == 201
            return web.Response(status=502, text="<html>Bad Gateway</html>", content_type="text/html")
        return None

    sandbox.faults.append(answer_lost)
    with pytest.raises(UnknownOutcome):
        await client.create_check_run(LAB, report)
    [posted] = sandbox.check_runs(LAB, head)
    assert await client.find_check_run(LAB, head, "forgea/steps", "s-1") == posted["id"]


async def test_a_read_that_fails_once_is_transient(sandbox: Sandbox, client: InstallationClient, head: str) -> None:
    """502 once, then the answer."""
    await client.branch_head(LAB, "main")
    faults = [web.Response(status=502, text="<html>")]
    sandbox.faults.append(lambda _: faults.pop() if faults else None)
    with pytest.raises(Transient):
        await client.branch_head(LAB, "main")
    assert await client.branch_head(LAB, "main") == head

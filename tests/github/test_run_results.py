"""How runs on a commit stand: what is asked for, and what of an answer counts, whatever the query was taken for."""

from __future__ import annotations

from typing import Any

import pytest

from github.client import InstallationClient
from github.errors import MissingPermission, Transient
from github.results import MAX_PAGES, RunResult, check_runs, workflow_runs
from tests.support.fault_server import FaultServer, Reply, Seen

LAB = "octo-course/lab"
RUNS = f"/repos/{LAB}/actions/runs"
HEAD = "a" * 40
CHECKS = f"/repos/{LAB}/commits/{HEAD}/check-runs"
TESTS = ".github/workflows/test.yml"


def run(run_id: int = 1, **fields: Any) -> dict[str, Any]:
    """A workflow run that counts, with other fields."""
    return {
        "id": run_id,
        "path": TESTS,
        "event": "push",
        "head_sha": HEAD,
        "head_branch": "main",
        "status": "completed",
        "conclusion": "success",
        "repository": {"id": 7},
        **fields,
    }


def check(run_id: int = 1, **fields: Any) -> dict[str, Any]:
    """A check-run that counts, with other fields."""
    base = {"id": run_id, "name": "lint", "head_sha": HEAD, "status": "completed", "conclusion": "success"}
    return {**base, "app": {"id": 77, "slug": "acme-lint"}, **fields}


async def runs_of(client: InstallationClient, server: FaultServer, *given: dict[str, Any]) -> tuple[RunResult, ...]:
    """What counts of these workflow runs."""
    server.on("GET", RUNS, Reply(200, {"total_count": len(given), "workflow_runs": list(given)}))
    return await workflow_runs(client, LAB, repo_id=7, branch="main", head_sha=HEAD)


async def checks_of(client: InstallationClient, server: FaultServer, *given: dict[str, Any]) -> tuple[RunResult, ...]:
    """What counts of these check-runs."""
    server.on("GET", CHECKS, Reply(200, {"total_count": len(given), "check_runs": list(given)}))
    return await check_runs(client, LAB, head_sha=HEAD, name="lint", app_id=77)


async def test_one_request_asks_for_the_runs_of_the_push(client: InstallationClient, server: FaultServer) -> None:
    """Branch, event and commit are asked for together, and the result names the file."""
    assert await runs_of(client, server, run(5)) == (RunResult(5, TESTS, 0, "success"),)
    (seen,) = server.calls("GET", RUNS)
    assert {"branch=main", "event=push", f"head_sha={HEAD}"} <= set(seen.path.partition("?")[2].split("&"))


@pytest.mark.parametrize(
    "other",
    [
        {"event": "workflow_dispatch"},
        {"event": "pull_request"},
        {"head_branch": "side"},
        {"head_branch": None},
        {"head_sha": "b" * 40},
        {"repository": {"id": 8}},
        {"status": "in_progress", "conclusion": None},
        {"status": "in_progress"},
        {"conclusion": None},
    ],
)
async def test_other_runs_never_count(client: InstallationClient, server: FaultServer, other: dict[str, Any]) -> None:
    """Runs of other events, branches, commits, repositories, or that go on, are left out if GitHub lists them."""
    assert await runs_of(client, server, run(**other)) == ()


@pytest.mark.parametrize(
    ("path", "file"),
    [
        (f"{LAB}/{TESTS}@main", TESTS),
        (f"{TESTS}@refs/heads/main", TESTS),
        (f"octo-course/other/{TESTS}@main", f"octo-course/other/{TESTS}"),
        (f"{TESTS}@side", f"{TESTS}@side"),
    ],
)
async def test_the_file_is_told_in_several_ways(
    client: InstallationClient, server: FaultServer, path: str, file: str
) -> None:
    """A path with this repository and branch names the file; one with others does not."""
    assert [each.name for each in await runs_of(client, server, run(path=path))] == [file]


async def test_the_newest_run_of_a_file_counts(client: InstallationClient, server: FaultServer) -> None:
    """Of several completed runs of one file the newest is told, in whatever order they come."""
    given = (run(3, conclusion="failure"), run(9), run(4, path="other.yml"), run(5, conclusion="cancelled"))
    assert set(await runs_of(client, server, *given)) == {
        RunResult(9, TESTS, 0, "success"),
        RunResult(4, "other.yml", 0, "success"),
    }


async def test_a_check_is_asked_for_by_name_and_app(client: InstallationClient, server: FaultServer) -> None:
    """Name and App go into the query, and the result tells the App."""
    assert await checks_of(client, server, check(5)) == (RunResult(5, "lint", 77, "success"),)
    (seen,) = server.calls("GET", CHECKS)
    assert {"check_name=lint", "app_id=77", "filter=latest"} <= set(seen.path.partition("?")[2].split("&"))


@pytest.mark.parametrize(
    "other",
    [
        {"app": {"id": 15368, "slug": "github-actions"}},
        {"app": {"id": 77, "slug": "github-actions"}},  # another id on a GitHub Enterprise Server
        {"app": None},
        {"head_sha": "b" * 40},
        {"status": "in_progress", "conclusion": None},
    ],
)
async def test_checks_of_github_actions_never_count(
    client: InstallationClient, server: FaultServer, other: dict[str, Any]
) -> None:
    """Check-runs of GitHub Actions (by its slug), of nobody, of another commit, or that go on, are left out."""
    assert await checks_of(client, server, check(**other)) == ()


async def test_very_many_runs_are_not_read_for_ever(client: InstallationClient, server: FaultServer) -> None:
    """After MAX_PAGES pages enough is known: the newest come first."""

    def page(seen: Seen) -> Reply:
        number = int(dict(part.split("=") for part in seen.path.partition("?")[2].split("&")).get("page", "1"))
        link = {"Link": f'<{server.url}{RUNS}?page={number + 1}>; rel="next"'}
        return Reply(200, {"workflow_runs": [run(1000 - number)]}, link)

    server.on("GET", RUNS, page)
    found = await workflow_runs(client, LAB, repo_id=7, branch="main", head_sha=HEAD)
    assert found == (RunResult(999, TESTS, 0, "success"),)
    assert len(server.calls("GET", RUNS)) == MAX_PAGES


async def test_odd_answers_and_refusals_are_errors(client: InstallationClient, server: FaultServer) -> None:
    """No list is Transient; a refusal for lack of `actions: read` is told as that."""
    server.on("GET", RUNS, Reply(200, {"workflow_runs": [{"id": "x"}]}))
    with pytest.raises(Transient):
        await workflow_runs(client, LAB, repo_id=7, branch="main", head_sha=HEAD)
    refused = {"message": "Resource not accessible by integration"}
    server.on("GET", RUNS, Reply(403, refused, {"X-Accepted-GitHub-Permissions": "actions=read"}))
    with pytest.raises(MissingPermission, match="actions=read"):
        await workflow_runs(client, LAB, repo_id=7, branch="main", head_sha=HEAD)

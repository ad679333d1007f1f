"""What others report in the sandbox: workflow runs of GitHub Actions, and check runs of other Apps."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import orjson
import pytest

from sandbox import Sandbox, SandboxError
from sandbox.core import DEFAULT_EVENTS, DEFAULT_PERMISSIONS
from tests.support.apispec import check_exchange
from tests.support.githost import Answer, ApiClient, seed

LAB = "octo-course/lab"
RUNS = f"/repos/{LAB}/actions/runs"
TESTS = ".github/workflows/test.yml"
EXAMPLES = Path(__file__).parents[1] / "data" / "webhooks"
ACTIONS_ID = 15368


@pytest.fixture
async def sandbox(tmp_path: Path, private_key: str) -> AsyncIterator[Sandbox]:
    """A sandbox whose App reads workflow runs; its exchanges must follow GitHub's description."""
    permissions = {**DEFAULT_PERMISSIONS, "actions": "read"}
    events = (*DEFAULT_EVENTS, "workflow_run")
    root = tmp_path / "github"
    async with Sandbox(root, private_key_pem=private_key, permissions=permissions, events=events) as running:
        running.add_account("octo-course", "Organization")
        running.add_account("learner-one")
        await running.add_repository("octo-course", "lab")
        yield running
        for exchange in running.exchanges:
            check_exchange(exchange)


@pytest.fixture
async def head(sandbox: Sandbox) -> str:
    """A commit with a workflow file."""
    return await seed(sandbox.repository(LAB), {TESTS: "on: push\n", "README.md": "# Lab\n"})


def told(sandbox: Sandbox) -> list[tuple[str, str | None]]:
    """Events and actions that were sent of checks and workflows, in order."""
    kinds = {"check_run", "check_suite", "workflow_run"}
    return [(each.event, each.action) for each in sandbox.deliveries if each.event in kinds]


async def listed(api: ApiClient, token: str, query: str = "") -> list[int]:
    """The ids of the listed workflow runs."""
    answer = await api.call("GET", RUNS + query, credentials=token)
    assert answer.status == 200
    return [run["id"] for run in answer.body["workflow_runs"]]


async def test_a_run_is_listed_and_told(sandbox: Sandbox, api: ApiClient, token: str, head: str) -> None:
    """A run is listed with its file, branch, commit, event and end; its beginning, its end and its suite's are told."""
    made = await sandbox.run_workflow(LAB, TESTS)
    assert (made["path"], made["head_branch"], made["head_sha"], made["event"]) == (TESTS, "main", head, "push")
    assert (made["status"], made["conclusion"], made["run_attempt"]) == ("completed", "success", 1)
    answer = await api.call("GET", RUNS, credentials=token)
    assert answer.body == {"total_count": 1, "workflow_runs": [made]}
    assert told(sandbox) == [
        ("workflow_run", "requested"),
        ("check_run", "created"),
        ("check_run", "completed"),
        ("check_suite", "completed"),
        ("workflow_run", "completed"),
    ]


async def test_a_run_goes_on_ends_and_runs_again(sandbox: Sandbox, api: ApiClient, token: str, head: str) -> None:
    """A run that goes on has no conclusion; a re-run keeps its id, counts as another attempt and may end otherwise."""
    going = await sandbox.run_workflow(LAB, TESTS, conclusion=None)
    assert (going["status"], going["conclusion"]) == ("in_progress", None)
    failed = await sandbox.run_workflow(LAB, TESTS, conclusion="failure")
    again = await sandbox.run_workflow(LAB, TESTS)
    assert {going["id"], failed["id"], again["id"]} == set(await listed(api, token))
    assert [each["run_attempt"] for each in (going, failed, again)] == [1, 1, 2]
    assert [each["conclusion"] for each in (failed, again)] == ["failure", "success"]
    assert head == again["head_sha"]


async def test_runs_are_filtered(sandbox: Sandbox, api: ApiClient, token: str, head: str) -> None:
    """By branch, event, commit, and status or conclusion; the newest come first."""
    push = (await sandbox.run_workflow(LAB, TESTS))["id"]
    by_hand = (await sandbox.run_workflow(LAB, TESTS, event="workflow_dispatch", conclusion="failure"))["id"]
    assert await listed(api, token) == [by_hand, push]
    assert await listed(api, token, "?event=push") == [push]
    assert await listed(api, token, "?status=failure") == [by_hand]
    assert await listed(api, token, "?status=in_progress") == []
    assert await listed(api, token, f"?branch=main&head_sha={head}&event=push&status=completed") == [push]
    assert await listed(api, token, f"?branch=side&head_sha={head}") == []
    assert await listed(api, token, f"?head_sha={'0' * 40}") == []


async def test_only_what_the_commit_has_is_run(sandbox: Sandbox, head: str) -> None:
    """A file that the commit lacks cannot be run; a name that is taken by the App itself cannot be another's."""
    with pytest.raises(SandboxError):
        await sandbox.run_workflow(LAB, ".github/workflows/none.yml")
    with pytest.raises(SandboxError):
        await sandbox.run_workflow(LAB, TESTS, branch="side")
    with pytest.raises(SandboxError):
        await sandbox.post_check(LAB, "0" * 40, "lint", app_slug="acme-lint")
    with pytest.raises(SandboxError):
        await sandbox.post_check(LAB, head, "lint", app_slug=sandbox.app_slug)


async def test_reading_runs_needs_the_permission(sandbox: Sandbox, api: ApiClient, token: str, head: str) -> None:
    """Without actions: read there is neither list nor event; accepting what the App asks for changes both."""
    (installation,) = sandbox.installations
    del installation.permissions["actions"]
    installation.events.remove("workflow_run")
    refused = await api.call("GET", RUNS, credentials=await api.token(installation.id))
    assert (refused.status, refused.headers["X-Accepted-GitHub-Permissions"]) == (403, "actions=read")
    await sandbox.run_workflow(LAB, TESTS, conclusion=None)
    assert "workflow_run" not in {event for event, _ in told(sandbox)}

    await sandbox.accept_permissions(installation.id)

    assert sandbox.deliveries[-1].action == "new_permissions_accepted"
    assert len(await listed(api, await api.token(installation.id))) == 1
    await sandbox.run_workflow(LAB, TESTS)
    assert told(sandbox)[-1] == ("workflow_run", "completed")


async def test_another_apps_check_is_its_own(sandbox: Sandbox, api: ApiClient, token: str, head: str) -> None:
    """It is listed by its App's id and told like ours, has a suite of its own, and cannot be changed by our App."""
    body = {"name": "lint", "head_sha": head, "conclusion": "failure"}
    ours = (await api.call("POST", f"/repos/{LAB}/check-runs", body, credentials=token)).body
    theirs = await sandbox.post_check(LAB, head, "lint", app_slug="acme-lint")
    forged = await sandbox.post_check(LAB, head, "lint", app_slug="github-actions")
    assert forged["app"]["id"] == sandbox.other_app_id("github-actions") == ACTIONS_ID
    assert len({run["check_suite"]["id"] for run in (ours, theirs, forged)}) == 3

    async def ids(query: str) -> set[int]:
        answer = await api.call("GET", f"/repos/{LAB}/commits/{head}/check-runs{query}", credentials=token)
        return {run["id"] for run in answer.body["check_runs"]}

    assert await ids("?check_name=lint") == {ours["id"], theirs["id"], forged["id"]}
    assert await ids(f"?app_id={theirs['app']['id']}") == {theirs["id"]}
    assert await ids(f"?app_id={sandbox.app_id}") == {ours["id"]}
    assert told(sandbox)[-3:] == [("check_run", "created"), ("check_run", "completed"), ("check_suite", "completed")]
    change = {"conclusion": "failure"}
    answer = await api.call("PATCH", f"/repos/{LAB}/check-runs/{theirs['id']}", change, credentials=token)
    assert answer.status == 403


async def test_a_person_sets_statuses_by_their_own_token(
    sandbox: Sandbox, api: ApiClient, token: str, head: str
) -> None:
    """Whoever may push can set any status, and is told as its creator."""
    sandbox.add_collaborator(LAB, "learner-one")
    mine = sandbox.personal_token("learner-one")
    body = {"state": "success", "context": "forgea/steps"}
    answer: Answer = await api.call("POST", f"/repos/{LAB}/statuses/{head}", body, credentials=mine)
    assert (answer.status, answer.body["creator"]["login"]) == (201, "learner-one")


async def test_the_payloads_have_what_githubs_examples_have(sandbox: Sandbox, token: str, head: str) -> None:
    """Every field of GitHub's examples of workflow_run is there, in the run and around it."""
    await sandbox.run_workflow(LAB, TESTS)
    sent: dict[str, Any] = orjson.loads(sandbox.deliveries[-1].payload)
    example = orjson.loads((EXAMPLES / "workflow_run.json").read_bytes())[-1]
    assert set(example) <= set(sent)
    for part in ("workflow_run", "workflow"):
        assert set(example[part]) <= set(sent[part])

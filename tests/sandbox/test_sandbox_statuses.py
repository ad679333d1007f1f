"""Commit statuses and their limits."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from sandbox import Sandbox
from sandbox.checkrules import STATUSES_MAX
from tests.support.githost import Answer, ApiClient

LAB = "octo-course/lab"
EXAMPLES = Path(__file__).parents[1] / "data" / "webhooks"


@pytest.fixture
def post(api: ApiClient, token: str, head: str) -> Any:
    """Return a function that posts a status of the lab's head."""

    async def send(sha: str = head, **body: Any) -> Answer:
        return await api.call("POST", f"/repos/{LAB}/statuses/{sha}", body, credentials=token)

    return send


async def test_statuses_are_read_back_and_combined(
    sandbox: Sandbox, api: ApiClient, token: str, head: str, post: Any
) -> None:
    """All are listed newest first; combined, the newest of each context counts."""
    await post(state="failure", context="steps", description="no")
    await post(state="success", context="steps", description="ä" * 140, target_url="https://example.org/1")
    made = await post(state="pending")
    assert (made.status, made.body["context"], made.body["creator"]["login"]) == (201, "default", "stepgate[bot]")
    listed = await api.call("GET", f"/repos/{LAB}/commits/main/statuses", credentials=token)
    assert [each["state"] for each in listed.body] == ["pending", "success", "failure"]
    path = f"/repos/{LAB}/commits/{head}/status"
    combined = await api.call("GET", path, credentials=token)
    assert (combined.body["state"], combined.body["total_count"]) == ("pending", 2)
    await post(state="success")
    assert (await api.call("GET", path, credentials=token)).body["state"] == "success"
    await post(state="error", context="other")
    assert (await api.call("GET", path, credentials=token)).body["state"] == "failure"
    assert [each["state"] for each in sandbox.statuses(LAB, head)][:2] == ["failure", "success"]


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ({"state": "success", "description": "x" * 141}, "description is too long (maximum is 140 characters)"),
        ({"state": "good"}, "state is not included in the list"),
        ({}, "state is not included in the list"),
        ({"state": "success", "target_url": "ftp://example.org"}, "target_url must use http(s) scheme"),
    ],
)
async def test_what_github_refuses_is_refused(
    sandbox: Sandbox, post: Any, head: str, body: dict[str, Any], message: str
) -> None:
    """Each broken rule is a 422 "Validation Failed" that names it, and nothing is written."""
    answer = await post(**body)
    assert (answer.status, answer.body["message"]) == (422, "Validation Failed")
    assert [error["message"] for error in answer.body["errors"]] == [message]
    assert sandbox.statuses(LAB, head) == []


async def test_an_unknown_sha_is_named(post: Any) -> None:
    """A status of a commit that is not there, or of a name, is a 422."""
    for sha in ("f" * 40, "main"):
        answer = await post(sha, state="success")
        assert (answer.status, answer.body["message"]) == (422, f"No commit found for SHA: {sha}")


async def test_a_context_takes_1000_statuses(post: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Beyond GitHub's limit (made smaller here) the context is full; another one is not."""
    assert STATUSES_MAX == 1000
    monkeypatch.setattr("sandbox.checkrules.STATUSES_MAX", 3)
    for _ in range(3):
        assert (await post(state="success", context="a")).status == 201
    full = await post(state="success", context="a")
    assert full.status == 422
    assert full.body["errors"][0]["message"] == "This SHA and context has reached the maximum number of statuses."
    assert (await post(state="success", context="b")).status == 201


async def test_a_written_status_is_echoed(sandbox: Sandbox, post: Any, head: str) -> None:
    """The App hears of its own status with the keys of GitHub's examples, unless echoes are switched off."""
    await post(state="success", context="steps")
    delivery = sandbox.deliveries[-1]
    payload = json.loads(delivery.payload)
    assert (delivery.event, payload["sha"], payload["state"]) == ("status", head, "success")
    assert [branch["name"] for branch in payload["branches"]] == ["main"]
    for example in json.loads((EXAMPLES / "status.json").read_text()):
        assert set(example) <= set(payload)


async def test_echoes_can_be_switched_off(sandbox: Sandbox, post: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without echoes writing is silent."""
    monkeypatch.setattr(sandbox, "echo_events", False)
    before = len(sandbox.deliveries)
    assert (await post(state="success")).status == 201
    assert len(sandbox.deliveries) == before

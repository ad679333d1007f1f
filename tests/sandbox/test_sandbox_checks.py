"""Check runs and their limits."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from sandbox import Installation, Sandbox, SandboxError
from tests.support.githost import Answer, ApiClient

LAB = "octo-course/lab"
RUNS = f"/repos/{LAB}/check-runs"
EXAMPLES = Path(__file__).parents[1] / "data" / "webhooks"
NOTE = {"path": "a.txt", "start_line": 1, "end_line": 1, "annotation_level": "failure", "message": "m"}
ACTION = {"label": "Judge again", "description": "Judge the head again", "identifier": "rejudge"}


class Checks:
    """Writes check runs of the lab's head."""

    def __init__(self, api: ApiClient, token: str, head: str) -> None:
        self.api = api
        self.token = token
        self.head = head

    async def post(self, **fields: Any) -> Answer:
        """POST a check run named "steps" of the head; a field of None is left out."""
        body = {"name": "steps", "head_sha": self.head, **fields}
        body = {name: value for name, value in body.items() if value is not None}
        return await self.api.call("POST", RUNS, body, credentials=self.token)

    async def patch(self, number: int, **fields: Any) -> Answer:
        """PATCH a check run."""
        return await self.api.call("PATCH", f"{RUNS}/{number}", fields, credentials=self.token)

    async def listed(self, query: str = "", ref: str = "main") -> list[str]:
        """Return the external ids of the listed check runs."""
        path = f"/repos/{LAB}/commits/{ref}/check-runs{query}"
        answer = await self.api.call("GET", path, credentials=self.token)
        assert answer.body["total_count"] >= len(answer.body["check_runs"])
        return [run["external_id"] for run in answer.body["check_runs"]]


@pytest.fixture
async def checks(api: ApiClient, token: str, head: str) -> Checks:
    """A writer of check runs."""
    return Checks(api, token, head)


async def test_a_written_run_is_read_back(sandbox: Sandbox, checks: Checks) -> None:
    """What was posted is shown by GET and by the control API, with the App, the suite and GitHub's own fields."""
    output = {"title": "Step 1", "summary": "done", "text": "more", "annotations": [NOTE]}
    made = await checks.post(conclusion="success", output=output, external_id="e1", actions=[ACTION])
    assert made.status == 201
    assert (made.body["status"], made.body["conclusion"], made.body["name"]) == ("completed", "success", "steps")
    assert made.body["completed_at"]
    assert made.body["app"]["id"] == sandbox.app_id
    assert made.body["output"]["annotations_count"] == 1
    got = await checks.api.call("GET", f"{RUNS}/{made.body['id']}", credentials=checks.token)
    assert got.body == made.body
    (run,) = sandbox.check_runs(LAB, checks.head)
    assert (run["annotations"], run["actions"], run["id"]) == ([NOTE], [ACTION], made.body["id"])


async def test_the_newest_of_a_name_is_listed_unless_all_are_asked_for(checks: Checks) -> None:
    """`filter`, `check_name`, `status` and `app_id` select; the newest comes first; ids are found by ref or sha."""
    for number, name in enumerate(["steps", "steps", "other"]):
        await checks.post(name=name, external_id=str(number), conclusion="success" if number else None)
    assert await checks.listed() == ["2", "1"]
    assert await checks.listed("?filter=all") == ["2", "1", "0"]
    assert await checks.listed("?check_name=steps&filter=all") == ["1", "0"]
    assert await checks.listed("?status=queued&filter=all") == ["0"]
    assert await checks.listed("?app_id=1") == []
    assert await checks.listed("?per_page=1&page=2", ref=checks.head) == ["1"]
    assert await checks.listed(ref="heads/main") == ["2", "1"]


async def test_patching_appends_annotations(sandbox: Sandbox, checks: Checks) -> None:
    """A PATCH adds its annotations to those that are there and replaces the texts."""
    made = await checks.post(output={"title": "t", "summary": "s", "annotations": [NOTE] * 50})
    patched = await checks.patch(made.body["id"], output={"title": "t", "summary": "new", "annotations": [NOTE]})
    assert (patched.status, patched.body["output"]["annotations_count"]) == (200, 51)
    assert patched.body["output"]["summary"] == "new"


async def test_a_completed_run_stays_completed(checks: Checks) -> None:
    """It cannot go back to in_progress; its texts and its conclusion can still change."""
    made = await checks.post(conclusion="failure")
    refused = await checks.patch(made.body["id"], status="in_progress")
    assert refused.status == 422
    changed = await checks.patch(made.body["id"], conclusion="success")
    assert (changed.body["status"], changed.body["conclusion"]) == ("completed", "success")


async def test_a_run_goes_from_queued_over_in_progress_to_completed(checks: Checks) -> None:
    """The usual life of a run."""
    made = await checks.post()
    assert (made.body["status"], made.body["conclusion"]) == ("queued", None)
    assert (await checks.patch(made.body["id"], status="in_progress")).body["status"] == "in_progress"
    done = await checks.patch(made.body["id"], status="completed", conclusion="neutral")
    assert (done.body["status"], done.body["conclusion"]) == ("completed", "neutral")


async def test_a_refused_run_is_not_written(sandbox: Sandbox, checks: Checks) -> None:
    """A broken rule is a 422 of GitHub's shape, on POST and PATCH, and nothing changes."""
    made = (await checks.post(conclusion="failure")).body
    for answer in (
        await checks.post(status="completed"),
        await checks.post(output={"title": "t", "summary": "s", "annotations": [NOTE] * 51}),
        await checks.patch(made["id"], output={"title": "t"}),
        await checks.patch(made["id"], actions=[ACTION] * 4),
    ):
        assert answer.status == 422
        assert answer.body["message"].startswith("Invalid request.")
        assert answer.body["documentation_url"]
    (run,) = sandbox.check_runs(LAB, checks.head)
    assert (run["id"], run["conclusion"], run["actions"]) == (made["id"], "failure", [])


async def test_what_is_just_within_the_limits_is_taken(checks: Checks) -> None:
    """The largest values that GitHub allows are allowed."""
    longest = {**NOTE, "message": "x" * 65_536, "title": "x" * 255, "start_column": 1, "end_column": 2}
    most = [longest, *[NOTE] * 49]
    action = {"label": "x" * 20, "description": "x" * 40, "identifier": "x" * 20}
    output = {"title": "t", "summary": "x" * 65_535, "text": "ä" * 65_535, "annotations": most}
    assert (await checks.post(output=output, actions=[action] * 3)).status == 201


async def test_an_unknown_sha_is_named(checks: Checks) -> None:
    """A check run of a commit that is not there is a 422 with GitHub's words."""
    answer = await checks.post(head_sha="f" * 40)
    assert (answer.status, answer.body["message"]) == (422, f"No commit found for SHA: {'f' * 40}")


async def test_a_run_is_found_only_in_its_repository(sandbox: Sandbox, checks: Checks) -> None:
    """The id of another repository's run is a 404."""
    made = await checks.post()
    await sandbox.add_repository("octo-course", "other")
    path = f"/repos/octo-course/other/check-runs/{made.body['id']}"
    assert (await checks.api.call("GET", path, credentials=checks.token)).status == 404
    assert (await checks.api.call("GET", f"{RUNS}/1", credentials=checks.token)).status == 404


async def test_a_suite_is_made_once_per_commit(checks: Checks) -> None:
    """The first answer is 201, the next 200 with the same id, which is also the runs'."""
    body = {"head_sha": checks.head}
    path = f"/repos/{LAB}/check-suites"
    first, second = [await checks.api.call("POST", path, body, credentials=checks.token) for _ in range(2)]
    assert (first.status, second.status) == (201, 200)
    made = await checks.post()
    assert first.body["id"] == second.body["id"] == made.body["check_suite"]["id"]


async def test_written_runs_are_echoed(sandbox: Sandbox, checks: Checks) -> None:
    """The App hears of its own run: created, completed, and the suite's completion, with GitHub's keys."""
    made = await checks.post()
    await checks.patch(made.body["id"], conclusion="success")
    echoes = [(each.event, each.action) for each in sandbox.deliveries[1:]]
    assert echoes == [("check_run", "created"), ("check_run", "completed"), ("check_suite", "completed")]
    payload = json.loads(sandbox.deliveries[2].payload)
    example = json.loads((EXAMPLES / "check_run.json").read_text())[1]
    assert set(example["check_run"]) <= set(payload["check_run"])
    assert payload["check_run"]["conclusion"] == "success"
    assert payload["sender"]["type"] == "Bot"
    assert json.loads(sandbox.deliveries[3].payload)["check_suite"]["conclusion"] == "success"


async def test_a_click_on_a_button_is_told(sandbox: Sandbox, checks: Checks) -> None:
    """Re-run and the run's own buttons are events of the person who clicks; other buttons do not exist."""
    made = await checks.post(conclusion="failure", actions=[ACTION])
    number = made.body["id"]
    await sandbox.press(LAB, number, "learner-one")
    await sandbox.press(LAB, number, "learner-one", button="rejudge")
    again, asked = (json.loads(each.payload) for each in sandbox.deliveries[-2:])
    assert (again["action"], again["sender"]["login"]) == ("rerequested", "learner-one")
    assert (asked["action"], asked["requested_action"]) == ("requested_action", {"identifier": "rejudge"})
    assert asked["check_run"]["id"] == number
    with pytest.raises(SandboxError, match="no button"):
        await sandbox.press(LAB, number, "learner-one", button="other")


async def test_an_archived_repository_takes_no_checks(
    sandbox: Sandbox, checks: Checks, installed: Installation
) -> None:
    """Archived is read-only: 403."""
    await sandbox.archive(LAB)
    assert (await checks.post()).status == 403

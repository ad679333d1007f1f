"""Steps that wait for workflows and checks, on the running App: what completes them, and what cannot be forged."""

from __future__ import annotations

import hmac
from collections.abc import AsyncIterator
from typing import Any
from uuid import uuid4

import pytest
import pytest_asyncio

from bot.recovery import DeliveryPoller
from sandbox.core import DEFAULT_EVENTS, DEFAULT_PERMISSIONS
from tests.support.direct import begin
from tests.support.githost import seed
from tests.support.learners import COURSE, Learner, lab_file, open_course, open_lab
from tests.support.line import SECRET, Line, running_line

pytestmark = pytest.mark.asyncio(loop_scope="module")

LAB = "tested-lab"
TESTS = ".github/workflows/test.yml"
CHECK = "acme/lint"
WORKFLOW = "on: push\njobs: {test: {runs-on: ubuntu-latest, steps: [{run: make test}]}}\n"
RESULTS = "SELECT inbox_id, event, outcome FROM delivery WHERE event LIKE 'check%' OR event = 'workflow_run'"
PERMISSIONS = {**DEFAULT_PERMISSIONS, "actions": "read"}


@pytest_asyncio.fixture(scope="module", loop_scope="module", name="line")
async def _line(module_database: str) -> AsyncIterator[Line]:
    """A running App that may read workflow runs, with a lab of which step 1 waits for a workflow and 2 for a check."""
    events = (*DEFAULT_EVENTS, "workflow_run")
    async with running_line(module_database, permissions=PERMISSIONS, events=events) as line:
        await open_course(line)
        await open_lab(line, LAB, {".forgea/steps.json": steps(line), TESTS: WORKFLOW, "README.md": "# Lab\n"})
        yield line


def steps(line: Line) -> bytes:
    """The lab's file."""
    workflow = {"type": "all", "of": [{"type": "changed"}, {"type": "workflow", "path": TESTS}]}
    check = {"type": "check", "name": CHECK, "app_id": line.sandbox.other_app_id("acme-lint")}
    return lab_file({"files": ["a.txt"], "complete": workflow}, {"files": ["b.txt"], "complete": check})


@pytest_asyncio.fixture(loop_scope="module", name="learner")
async def _learner(line: Line) -> Learner:
    """A learner who has just started the lab."""
    return await begin(line, LAB)


def ours(learner: Learner, sha: str) -> dict[str, Any]:
    """Our newest check-run on a head."""
    runs = [run for run in learner.runs(sha) if run["app"]["id"] == learner.line.sandbox.app_id]
    return max(runs, key=lambda run: int(run["id"]))


async def waiting_for(learner: Learner) -> dict[str, list[str]]:
    """What the newest attempt's steps wait for."""
    return dict((await learner.attempt())["detail"].get("waiting", {}))


async def run_tests(learner: Learner, **options: Any) -> None:
    """Let the workflow run, and the App hear of it."""
    await learner.line.sandbox.run_workflow(learner.fork, TESTS, **options)
    await learner.line.settle()


def asked(line: Line, what: str) -> int:
    """How often GitHub was asked for something."""
    return sum(what in exchange.operation for exchange in line.sandbox.exchanges)


# ------------------------------------------------------------------------------------------------------- what counts


async def test_a_workflow_that_succeeds_on_the_head_completes_the_step_without_a_push(
    line: Line, learner: Learner
) -> None:
    """The push waits; when the run ends well, the same head is judged again, once, and the check-run says so."""
    head = await learner.push({"a.txt": "work"})
    assert await waiting_for(learner) == {"s1": [f"workflow {TESTS}"]}
    assert "switch workflows on" in ours(learner, head)["output"]["summary"]
    before = asked(line, "/actions/runs")

    await run_tests(learner, conclusion=None)
    assert await learner.done() == set()
    await run_tests(learner)

    assert await learner.done() == {"s1"}
    assert [row["trigger"] for row in await learner.attempts()][-2:] == ["push", "fact"]
    assert ours(learner, head)["output"]["title"].startswith("Step 1 of 2 complete")
    assert asked(line, "/actions/runs") - before == 1
    facts = await line.fetch("SELECT kind, name, conclusion FROM head_fact WHERE repo_id = $1", learner.repo_id)
    assert facts == [{"kind": "workflow", "name": TESTS, "conclusion": "success"}]


async def test_a_workflow_that_was_quicker_than_the_push_is_seen_with_the_push(line: Line, learner: Learner) -> None:
    """A run that has ended when the push is judged counts at once: the API is asked, events only wake."""
    line.sandbox.webhook_url = None
    await learner.clone.commit({"a.txt": "work"})
    await learner.clone.push()
    await line.sandbox.run_workflow(learner.fork, TESTS)
    await line.sandbox.idle()
    line.sandbox.webhook_url = line.hook
    pushed = next(each for each in reversed(line.sandbox.deliveries) if each.event == "push")

    await line.sandbox.redeliver(pushed.guid)
    await line.settle()

    assert await learner.done() == {"s1"}
    assert [row["trigger"] for row in await learner.attempts()][-1:] == ["push"]


async def test_a_failed_workflow_is_told_and_its_re_run_counts(learner: Learner) -> None:
    """A run that failed completes nothing and is named as what it is; the same run, run again with success, counts."""
    head = await learner.push({"a.txt": "work"})
    await run_tests(learner, conclusion="failure")
    assert await waiting_for(learner) == {"s1": [f"workflow {TESTS}, which ended with failure"]}
    assert "Open its log" in ours(learner, head)["output"]["summary"]

    await run_tests(learner)

    assert await learner.done() == {"s1"}


async def test_the_check_of_the_named_app_completes_the_step(line: Line, learner: Learner) -> None:
    """A third-party App's check-run of the right name and App on exactly the head completes the step."""
    head = await learner.push({"a.txt": "work"})
    await run_tests(learner)
    await line.sandbox.post_check(learner.fork, head, CHECK, app_slug="acme-lint")
    await line.settle()

    assert await learner.done() == {"s1", "s2"}
    assert (await learner.session())["status"] == "VERIFIED_PASS"


async def test_parked_work_is_accepted_when_the_workflow_succeeds(learner: Learner) -> None:
    """A head that is blocked only because its prerequisite waits says so, and turns green without a push."""
    head = await learner.push({"a.txt": "work", "b.txt": "too early"})
    assert ours(learner, head)["conclusion"] == "failure"
    assert "only waits for step 1, which itself waits for workflow" in ours(learner, head)["output"]["summary"]

    await run_tests(learner)

    assert ours(learner, head)["conclusion"] == "success"
    assert (await learner.session())["accepted_sha"] == head


async def test_a_run_of_an_earlier_head_does_not_count_for_the_next(learner: Learner) -> None:
    """A run is bound to its commit: the next push waits for a run of its own."""
    first = await learner.push({"a.txt": "work"})
    second = await learner.push({"README.md": "# Lab, read\n"})
    await run_tests(learner, sha=first)

    assert await learner.done() == set()
    assert ours(learner, second)["output"]["title"].startswith("Step 1 of 2: waiting for workflow")


# -------------------------------------------------------------------------------------------------------- forgeries


async def test_only_a_run_of_the_push_to_the_labs_branch_counts(learner: Learner) -> None:
    """Runs of the same commit for a side branch, by hand, by the clock or of a pull request complete nothing."""
    head = await learner.push({"a.txt": "work"})
    await learner.send("HEAD:refs/heads/side")
    await run_tests(learner, branch="side", sha=head)
    for event in ("workflow_dispatch", "schedule", "pull_request"):
        await run_tests(learner, event=event)
    assert await learner.done() == set()
    await run_tests(learner)
    assert await learner.done() == {"s1"}


async def test_a_run_of_an_edited_or_added_workflow_does_not_count(learner: Learner) -> None:
    """Workflow files that the learner has changed or added are violations, and their runs complete nothing."""
    mine = ".github/workflows/mine.yml"
    head = await learner.push({"a.txt": "work", TESTS: "on: push\njobs: {}\n", mine: WORKFLOW})
    await learner.line.sandbox.run_workflow(learner.fork, mine)
    await run_tests(learner)
    assert await learner.violations() == {TESTS: "PROTECTED_PATH", mine: "PROTECTED_PATH"}
    assert await learner.done() == set()
    assert ours(learner, head)["conclusion"] == "failure"


async def test_a_check_run_of_a_side_branchs_workflow_is_ignored(line: Line, learner: Learner) -> None:
    """Check-runs of the wanted names, posted by GitHub Actions on the head, neither count nor are kept."""
    head = await learner.push({"a.txt": "work"})
    before = await learner.attempts()
    stored = await line.fetch(RESULTS)
    for name in (TESTS, "test", CHECK, "forgea/steps"):
        await line.sandbox.post_check(learner.fork, head, name, app_slug="github-actions")
    await line.settle()

    assert await learner.done() == set()
    assert await learner.attempts() == before
    new = [row for row in await line.fetch(RESULTS) if row not in stored]
    assert {row["event"] for row in new} == {"check_suite"}  # its end is how one hears of workflows without actions
    assert {row["outcome"] for row in new} <= {"no_news", "judged_with_another"}


async def test_a_check_of_another_app_is_ignored(line: Line, learner: Learner) -> None:
    """The right name by a wrong App, or by GitHub Actions, completes nothing."""
    head = await learner.push({"a.txt": "work"})
    await run_tests(learner)
    assert await learner.done() == {"s1"}
    for slug in ("other-lint", "github-actions"):
        await line.sandbox.post_check(learner.fork, head, CHECK, app_slug=slug)
    await line.settle()
    assert await learner.done() == {"s1"}


async def test_a_failed_check_and_one_of_another_commit_complete_nothing(line: Line, learner: Learner) -> None:
    """The named App's check counts only with success, and only on exactly the head."""
    first = await learner.push({"a.txt": "work"})
    await run_tests(learner)
    head = await learner.push({"b.txt": "work"})
    await line.sandbox.post_check(learner.fork, first, CHECK, app_slug="acme-lint")
    await line.sandbox.post_check(learner.fork, head, CHECK, app_slug="acme-lint", conclusion="neutral")
    await line.settle()
    assert await learner.done() == {"s1"}
    assert await waiting_for(learner) == {"s2": [f"check {CHECK}, which ended with neutral"]}


async def test_a_commit_status_satisfies_nothing(line: Line, learner: Learner) -> None:
    """A learner can set any commit status on their own commits: none of any name has an effect."""
    head = await learner.push({"a.txt": "work"})
    before = await learner.attempts()
    token = line.sandbox.personal_token(learner.fork.partition("/")[0])
    for context in (TESTS, CHECK, "forgea/steps"):
        address = f"{line.sandbox.api_url}/repos/{learner.fork}/statuses/{head}"
        body = {"state": "success", "context": context}
        async with line.http.post(address, json=body, headers={"Authorization": f"Bearer {token}"}) as answer:
            assert answer.status == 201
    await line.settle()
    assert await learner.done() == set()
    assert await learner.attempts() == before


async def test_a_payload_that_claims_success_is_not_believed(line: Line, learner: Learner) -> None:
    """A signed event that tells of a success which the API does not know makes nothing complete."""
    await learner.push({"a.txt": "work"})
    await run_tests(learner, conclusion="failure")
    before = await learner.attempts()
    told = next(each for each in reversed(line.sandbox.deliveries) if each.event == "workflow_run")
    body = told.body.replace(b'"conclusion":"failure"', b'"conclusion":"success"')
    assert body != told.body
    signature = hmac.digest(SECRET.encode(), body, "sha256").hex()
    headers = {
        "X-GitHub-Event": "workflow_run",
        "X-GitHub-Delivery": str(uuid4()),
        "X-Hub-Signature-256": f"sha256={signature}",
        "Content-Type": "application/json",
    }
    async with line.http.post(line.hook, data=body, headers=headers) as answer:
        assert (await answer.json())["message"] == "stored"
    await line.settle()
    assert await learner.done() == set()
    assert await learner.attempts() == before


# ------------------------------------------------------------------------------------------- what costs nothing


async def test_results_of_other_repositories_are_not_stored(line: Line, learner: Learner) -> None:
    """Results of repositories without a session, of labs without such steps, and our own echoes leave no row."""
    await open_lab(line, "plain-lab", {".forgea/steps.json": lab_file({"files": ["a.txt"]}), TESTS: WORKFLOW})
    await learner.push({"a.txt": "work"})
    before = await line.fetch(RESULTS)
    stranger = await line.sandbox.add_repository(COURSE, f"stranger-{learner.repo_id}")
    await seed(stranger, {TESTS: WORKFLOW})
    for name in (stranger.full_name, f"{COURSE}/plain-lab"):
        await line.sandbox.run_workflow(name, TESTS)
    await line.settle()
    assert await line.fetch(RESULTS) == before


async def test_a_result_of_a_finished_session_is_answered_quietly(line: Line, learner: Learner) -> None:
    """Results after the lab is complete are neither stored nor audited, and the head keeps its verdict."""
    head = await learner.push({"a.txt": "work"})
    await run_tests(learner)
    await line.sandbox.post_check(learner.fork, head, CHECK, app_slug="acme-lint")
    await line.settle()
    events = await line.fetch("SELECT event_id FROM audit_event WHERE session_id = $1", learner.session_id)
    await run_tests(learner, conclusion="failure")
    assert await line.fetch("SELECT event_id FROM audit_event WHERE session_id = $1", learner.session_id) == events
    assert await learner.done() == {"s1", "s2"}


async def test_results_are_taken_from_githubs_log_as_well(line: Line, learner: Learner) -> None:
    """What was not delivered is found in the log; echoes of our own are left there."""
    await learner.push({"a.txt": "work"})
    line.sandbox.webhook_url = None
    await line.sandbox.run_workflow(learner.fork, TESTS)
    await line.sandbox.idle()
    line.sandbox.webhook_url = line.hook

    await DeliveryPoller(line.pool, line.services.app).look()
    await line.settle()

    assert await learner.done() == {"s1"}
    kept = await line.fetch(RESULTS + " ORDER BY inbox_id DESC LIMIT 2")
    assert {row["event"] for row in kept} == {"check_suite", "workflow_run"}
    apps = await line.fetch(
        "SELECT DISTINCT convert_from(payload, 'UTF8')::jsonb #>> '{check_suite,app,slug}' AS slug FROM delivery "
        "WHERE event = 'check_suite' AND payload IS NOT NULL"
    )
    assert line.sandbox.app_slug not in {row["slug"] for row in apps}


# ----------------------------------------------------------------------------------------------------- permission


async def test_without_the_permission_the_operator_is_named_and_accepting_it_is_enough(
    line: Line, learner: Learner
) -> None:
    """An installation without Actions: read makes the step wait with the operator's remedy, asks GitHub nothing, and
    goes on by itself as soon as the permission is accepted.
    """
    installation = next(
        each for each in line.sandbox.installations if each.account.login == learner.fork.partition("/")[0]
    )
    del installation.permissions["actions"]
    await line.fetch(
        "UPDATE installation SET permissions = permissions - 'actions' WHERE installation_id = $1", installation.id
    )
    before = asked(line, "/actions/runs")
    head = await learner.push({"a.txt": "work"})
    await line.sandbox.run_workflow(learner.fork, TESTS)
    await line.settle()
    assert await learner.done() == set()
    summary = ours(learner, head)["output"]["summary"]
    assert "This is not your fault" in summary
    assert "**Actions: read**" in summary
    assert asked(line, "/actions/runs") == before

    await line.sandbox.accept_permissions(installation.id)
    await line.settle()

    assert await learner.done() == {"s1"}

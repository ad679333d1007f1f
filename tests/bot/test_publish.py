"""The publisher on the running App: what GitHub shows in the end, when sending goes wrong half-way."""

from __future__ import annotations

import hashlib
import itertools
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from typing import Any

import pytest
import pytest_asyncio

from bot.publish import BELIEVE_ABSENT_AFTER
from github.errors import Forbidden, RateLimited, Rejected
from github.installation import InstallationClient
from rules.model import Annotation, CheckRunReport, Conclusion, Report, StatusReport
from sandbox import Fault
from sandbox.effects import Answer
from storage import lifecycle, outbox
from storage.outbox import WantedReport
from tests.support.direct import begin
from tests.support.learners import Learner
from tests.support.line import Line

pytestmark = pytest.mark.asyncio(loop_scope="module")

LAB, NAME = "word-counter", "tests/reports"
_numbers = itertools.count(1)

Create = Callable[[InstallationClient, str, CheckRunReport], Awaitable[int]]
CREATE: Create = InstallationClient.create_check_run


@pytest_asyncio.fixture(scope="module", loop_scope="module", name="learner")
async def _learner(line: Line) -> Learner:
    return await begin(line, LAB)


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Retries come at once."""
    monkeypatch.setattr("bot.publish.delay_before_retry", lambda *_: 0.02)
    monkeypatch.setattr("bot.worker.POLL", 0.1)


@dataclass
class Head:
    """A head of the learner's of which the tests say what is reported, under a name that nothing else uses."""

    learner: Learner
    sha: str
    name: str
    installation_id: int

    def report(
        self, conclusion: Conclusion = "success", *, notes: int = 0, status: bool = True, sha: str = ""
    ) -> WantedReport:
        """A report on it, of which each conclusion has its own external id."""
        head = sha or self.sha
        annotations = tuple(Annotation("README.md", 1, "warning", f"note {number}") for number in range(notes))
        external_id = f"{self.name}:{conclusion}"
        run = CheckRunReport(
            self.name, head, conclusion, f"It is a {conclusion}", "Words.\n", annotations, external_id=external_id
        )
        state = StatusReport(self.name, head, "success" if conclusion == "success" else "failure", conclusion)
        digest = hashlib.sha256(external_id.encode()).hexdigest()
        report = Report(run, state if status else None, digest)
        return WantedReport(
            self.learner.repo_id, self.installation_id, self.learner.fork, self.learner.session_id, report
        )

    @property
    def line(self) -> Line:
        """The running App."""
        return self.learner.line

    async def want(self, report: WantedReport) -> None:
        """Want it, and wait until it is sent or given up."""
        assert await outbox.want(self.line.pool, report)
        await self.line.settle()

    def runs(self) -> list[dict[str, Any]]:
        """The check runs of this name, in the order of creation."""
        return [run for run in self.learner.runs(self.sha) if run["name"] == self.name]

    def states(self) -> list[str]:
        """The statuses of this name, in the order of creation."""
        statuses = self.line.sandbox.statuses(self.learner.fork, self.sha)
        return [status["state"] for status in sorted(statuses, key=lambda each: int(each["id"]))
                if status["context"] == self.name]  # fmt: skip

    async def row(self) -> dict[str, Any]:
        """Its row of the outbox."""
        (row,) = await self.line.fetch("SELECT * FROM outbox WHERE name = $1", self.name)
        return row


@pytest_asyncio.fixture(loop_scope="module", name="head")
async def _head(learner: Learner) -> AsyncIterator[Head]:
    sha = await learner.clone.git("rev-parse", "HEAD")
    (row,) = await learner.line.fetch(
        "SELECT installation_id FROM repo_mapping WHERE provider_repo_id = $1", learner.repo_id
    )
    head = Head(learner, sha, f"{NAME}/{next(_numbers)}", row["installation_id"])
    yield head
    await learner.line.pool.execute("DELETE FROM outbox WHERE name = $1", head.name)


async def test_a_limit_between_batches_of_annotations_posts_no_second_run(
    head: Head, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The run is at GitHub when the limit comes: waiting for it is no reason to forget that."""
    limits = iter([True])
    add = InstallationClient.add_annotations

    async def limited(client: InstallationClient, full_name: str, run_id: int, run: CheckRunReport, sent: int) -> int:
        if next(limits, False):
            raise RateLimited("our own pace", until=0.0, retry_after=0.0, kind="secondary", explicit=True)
        return await add(client, full_name, run_id, run, sent)

    monkeypatch.setattr(InstallationClient, "add_annotations", limited)
    await head.want(head.report(notes=120))
    (run,) = head.runs()
    assert run["output"]["annotations_count"] == 120
    assert (await head.row())["check_run_id"] == run["id"]


async def test_an_equal_run_from_before_is_not_taken_for_a_lost_one(head: Head) -> None:
    """A -> B -> A, and the second A gets no answer: GitHub shows B until A is really posted again."""
    for conclusion in ("failure", "success"):
        await head.want(head.report(conclusion))
    lost = Fault(Answer(status=502, body="bad gateway"), method="POST", path="*/check-runs", times=1)
    fault = head.line.sandbox.faults.add(lost)
    await head.want(head.report("failure"))
    assert fault.fired == 1
    assert [run["conclusion"] for run in head.runs()] == ["failure", "success", "failure"]
    assert head.states() == ["failure", "success", "failure"]
    assert (await head.row())["check_run_id"] == head.runs()[-1]["id"]


async def test_a_report_on_a_commit_that_github_does_not_know_yet_is_sent_later(head: Head) -> None:
    """Of a refusal nothing was read before: the webhook may be ahead of the API by some seconds."""
    body = {"message": f"No commit found for SHA: {head.sha}"}
    fault = head.line.sandbox.faults.add(
        Fault(Answer(status=422, body=body), method="POST", path="*/check-runs", times=BELIEVE_ABSENT_AFTER - 1)
    )
    await head.want(head.report("action_required"))
    assert fault.fired == BELIEVE_ABSENT_AFTER - 1
    assert [run["conclusion"] for run in head.runs()] == ["action_required"]


async def test_a_report_on_a_commit_that_is_not_there_is_given_up(head: Head) -> None:
    """After some tries a commit that GitHub does not know is gone; that stays in sight."""
    await head.want(head.report(sha="0" * 39 + "1"))
    row = await head.row()
    assert (row["state"], row["attempts"]) == ("failed", BELIEVE_ABSENT_AFTER)
    assert "No commit found" in row["last_error"]


async def test_who_lost_the_claim_sends_no_status(head: Head, monkeypatch: pytest.MonkeyPatch) -> None:
    """Another worker has taken the report over while the check run was posted: the rest is that one's."""
    times = iter([True])

    async def slow(client: InstallationClient, full_name: str, run: CheckRunReport) -> int:
        run_id = await CREATE(client, full_name, run)
        if run.name == head.name and next(times, False):
            await head.line.pool.execute(
                "UPDATE outbox SET token = token + 1, leased_until = NULL, due_at = now() WHERE name = $1", head.name
            )
        return run_id

    monkeypatch.setattr(InstallationClient, "create_check_run", slow)
    await head.want(head.report("failure"))
    assert len(head.runs()) == 1
    assert head.states() == ["failure"]


async def test_a_refusal_whose_reason_ended_meanwhile_is_no_end(head: Head, monkeypatch: pytest.MonkeyPatch) -> None:
    """The repository is taken out of the archive while the refusal is on its way: the report is sent at once."""
    refusals = 0

    async def archived(client: InstallationClient, full_name: str, run: CheckRunReport) -> int:
        nonlocal refusals
        if run.name == head.name and refusals == 0:
            refusals += 1
            await lifecycle.send_again(head.line.pool, head.learner.repo_id)  # as `repository.unarchived` does
            raise Forbidden("403 Repository was archived so is read-only.")
        return await CREATE(client, full_name, run)

    monkeypatch.setattr(InstallationClient, "create_check_run", archived)
    await head.want(head.report())
    assert refusals == 1
    assert [run["conclusion"] for run in head.runs()] == ["success"]


async def test_other_refusals_are_final_at_once(head: Head, monkeypatch: pytest.MonkeyPatch) -> None:
    """What GitHub will not take the next time either is tried once."""
    tried = 0

    async def refused(client: InstallationClient, full_name: str, run: CheckRunReport) -> int:
        nonlocal tried
        if run.name != head.name:
            return await CREATE(client, full_name, run)
        tried += 1
        raise Rejected("422 Validation Failed", status=422, messages=("title is too odd",))

    monkeypatch.setattr(InstallationClient, "create_check_run", refused)
    await head.want(head.report())
    assert (tried, (await head.row())["state"]) == (1, "failed")


@pytest.mark.parametrize("how", ["suspend", "deselect", "uninstall"])
async def test_a_report_of_a_finished_session_is_sent_when_the_app_is_back(head: Head, how: str) -> None:
    """A session that is over is not paused with its installation; what it was to be told comes all the same."""
    sandbox, pool, learner = head.line.sandbox, head.line.pool, head.learner
    ident = next(each.id for each in sandbox.installations if each.account.login == learner.fork.partition("/")[0])
    change = "UPDATE lab_session SET status = $2 WHERE session_id = $1"
    await pool.execute(change, learner.session_id, "VERIFIED_PASS")
    match how:
        case "suspend":
            await sandbox.suspend(ident)
        case "deselect":
            await sandbox.select(ident, remove=[learner.fork])
        case _:
            await sandbox.uninstall(ident)
    await head.line.settle()
    await head.want(head.report())
    assert (await head.row())["state"] == "failed"

    match how:
        case "suspend":
            await sandbox.unsuspend(ident)
        case "deselect":
            await sandbox.select(ident, add=[learner.fork])
        case _:
            await sandbox.install(learner.fork.partition("/")[0], [learner.fork])
    await head.line.settle()

    assert [run["conclusion"] for run in head.runs()] == ["success"]
    await pool.execute(change, learner.session_id, "IN_PROGRESS")

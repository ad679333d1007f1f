"""Commit statuses under our name that others write: replaced at once, a few times an hour, and told to the audit."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from typing import Any

import pytest

from sandbox import Fault
from sandbox.effects import Latency
from storage.echoes import MOST_RESTORED
from tests.support.learners import Learner

pytestmark = pytest.mark.asyncio(loop_scope="module")

NAME = "forgea/steps"
TOO_EARLY: dict[str, str | bytes | None] = {"src/cli.js": "console.log(1);\n"}


async def forge(learner: Learner, sha: str, *, times: int = 1, settle: bool = True, **status: Any) -> None:
    """Let the learner write a commit status with a token of their own, as any script of theirs can."""
    line = learner.line
    token = line.sandbox.personal_token(learner.fork.partition("/")[0])
    body = {"context": NAME, "state": "success", "description": "All done"} | status
    for _ in range(times):
        async with line.http.post(
            f"{line.sandbox.api_url}/repos/{learner.fork}/statuses/{sha}",
            json=body,
            headers={"Authorization": f"Bearer {token}"},
        ) as answer:
            assert answer.status == 201, await answer.text()
    if settle:
        await line.settle()


def statuses(learner: Learner, sha: str, context: str = NAME) -> list[dict[str, Any]]:
    """The statuses of a context on a commit, oldest first."""
    return [each for each in learner.line.sandbox.statuses(learner.fork, sha) if each["context"] == context]


def shown(learner: Learner, sha: str) -> tuple[str, str]:
    """State and words of the status that counts."""
    newest = statuses(learner, sha)[-1]
    return newest["state"], newest["description"]


async def counted(learner: Learner) -> list[dict[str, Any]]:
    """What the audit has of forged statuses in the learner's repository."""
    return await learner.line.fetch(
        "SELECT event.sender_id, event.session_id, event.head_sha, counted.count FROM audit_event AS event "
        "JOIN rejection_count AS counted USING (event_id) WHERE kind = 'status_forged' AND event.repo_id = $1",
        learner.repo_id,
    )


async def stored(learner: Learner) -> int:
    """How many `status` deliveries were stored."""
    (row,) = await learner.line.fetch(
        "SELECT count(*) FROM delivery WHERE event = 'status' AND repo_id = $1", learner.repo_id
    )
    return int(row["count"])


async def test_a_forged_status_is_replaced_at_once_and_audited(learner: Learner) -> None:
    """The learner's own "success" stands for a moment only; who wrote it is recorded; the check-run is untouched."""
    head = await learner.push(TOO_EARLY)
    ours = shown(learner, head)
    runs = len(learner.runs(head))

    await forge(learner, head)

    assert shown(learner, head) == ours
    assert ours[0] == "failure"
    me = learner.line.sandbox.account(learner.fork.partition("/")[0]).id
    assert await counted(learner) == [{"sender_id": me, "session_id": learner.session_id, "head_sha": head, "count": 1}]
    assert (len(learner.runs(head)), await stored(learner)) == (runs, 1)


@pytest.mark.parametrize(
    "change", [{"target_url": "https://example.org/phishing"}, {"description": "Nearly there"}, {"state": "pending"}]
)
async def test_words_and_links_are_ours_too(learner: Learner, change: dict[str, str]) -> None:
    """A status of the same state with other words, or with a link to another page, is a forged one as well."""
    head = await learner.push(TOO_EARLY)
    ours = statuses(learner, head)[-1]
    same = {name: ours[name] for name in ("state", "description", "target_url")}

    await forge(learner, head, **(same | change))

    assert {name: statuses(learner, head)[-1][name] for name in same} == same
    assert [row["count"] for row in await counted(learner)] == [1]


async def test_a_storm_is_answered_a_few_times_only(learner: Learner) -> None:
    """GitHub takes 1,000 statuses for a commit: after some answers within an hour the rest is only counted."""
    head = await learner.push(TOO_EARLY)
    ours = len(statuses(learner, head))
    for number in range(MOST_RESTORED + 3):
        await forge(learner, head, description=f"All done {number}")
    assert shown(learner, head)[0] == "success"
    written = len(statuses(learner, head)) - ours
    assert written == 2 * MOST_RESTORED + 3
    assert [row["count"] for row in await counted(learner)] == [MOST_RESTORED + 3]

    await learner.line.pool.execute("UPDATE outbox SET restored_since = restored_since - interval '1 hour'")
    await forge(learner, head)
    assert shown(learner, head)[0] == "failure"


async def test_statuses_that_are_no_business_of_ours_are_not_stored(learner: Learner) -> None:
    """Another context, a commit that we never spoke of, and our own words again: acknowledged only."""
    first = await learner.clone.commit({"notes.md": "one\n"})
    head = await learner.push(TOO_EARLY)
    ours = statuses(learner, head)[-1]
    await forge(learner, head, context="somebody/else")
    await forge(learner, first)
    await forge(learner, head, **{name: ours[name] for name in ("state", "description", "target_url")})
    assert (await stored(learner), await counted(learner)) == (0, [])


async def test_a_status_that_comes_while_ours_is_on_its_way_is_looked_at_again(
    learner: Learner, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Before GitHub has answered, nobody knows which one is the newer; once it has, the forged one is replaced."""
    monkeypatch.setattr("bot.statuses.AGAIN", timedelta(seconds=0.3))
    line = learner.line
    slow = line.sandbox.faults.add(Fault(Latency(headers=0.6), method="POST", path="*/statuses/*", times=1))
    head = await learner.clone.commit(TOO_EARLY)
    await learner.clone.push()
    while not statuses(learner, head):
        await asyncio.sleep(0.01)
    await forge(learner, head)
    assert slow.fired == 1
    assert [each["state"] for each in statuses(learner, head)] == ["failure", "success", "failure"]
    assert [row["count"] for row in await counted(learner)] == [1]


async def test_the_thousandth_status_ends_statuses_not_reports(learner: Learner) -> None:
    """GitHub takes no more of them: the check-run still says what is so, nothing waits, and no further try is made."""
    line = learner.line
    head = await learner.push(TOO_EARLY)
    record = line.sandbox.repository(learner.fork)
    (mine,) = line.sandbox._core.state.statuses_of(record, head)
    for _ in range(999):
        line.sandbox._core.state.add_status(mine)
    await line.pool.execute(
        "UPDATE outbox SET state = 'wanted', sent_status_digest = '', sent_check_digest = '', due_at = now(), "
        "repeats = 1 WHERE head_sha = $1",
        head,
    )
    await line.pool.execute("SELECT pg_notify('outbox_due', '')")
    await line.settle()

    (row,) = await line.fetch("SELECT state, status_over, last_error FROM outbox WHERE head_sha = $1", head)
    assert row == {"state": "sent", "status_over": True, "last_error": None}
    assert len(learner.runs(head)) == 2
    tried = sum(exchange.path.endswith(f"/statuses/{head}") for exchange in line.sandbox.exchanges)

    run = learner.run(head)
    await line.sandbox.press(learner.fork, run["id"], learner.fork.partition("/")[0], button="need_help")
    await line.settle()

    assert "You asked for help" in learner.text(head)
    assert sum(exchange.path.endswith(f"/statuses/{head}") for exchange in line.sandbox.exchanges) == tried

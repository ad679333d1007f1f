"""Wake-ups: our own inbox entries, which judge a session's head without a push, and which nobody outside can send."""

from __future__ import annotations

import json
from uuid import uuid4

import pytest

from bot.payloads import JudgePayload, UnreadablePayloadError, read
from storage.wakeups import JUDGE, wake
from tests.support.deliveries import headers_of
from tests.support.learners import Learner
from tests.support.line import SECRET

REPORT = {"report/bug.md": "Expected: 2\nActual: 3\n"}

pytestmark = pytest.mark.asyncio(loop_scope="module")


async def outcomes(learner: Learner) -> list[str]:
    """What became of the wake-ups in the lane of the learner's repository."""
    rows = await learner.line.fetch(
        "SELECT state, outcome FROM delivery WHERE event = $1 AND repo_id = $2 ORDER BY inbox_id",
        JUDGE,
        learner.repo_id,
    )
    assert {row["state"] for row in rows} <= {"done"}
    return [row["outcome"] for row in rows]


async def test_a_wake_up_judges_the_head_as_it_is_now(learner: Learner) -> None:
    """A head that no delivery told of is judged and reported; looking again and again adds no rows."""
    line = learner.line
    hook, line.sandbox.webhook_url = line.sandbox.webhook_url, None
    head = await learner.push(REPORT)
    line.sandbox.webhook_url = hook

    for _ in range(4):
        assert await wake(line.pool, learner.session_id, "rerun")
        await line.settle()

    assert await outcomes(learner) == ["accepted", "accepted", "duplicate", "duplicate"]
    assert (await learner.session())["accepted_sha"] == head
    assert {run["conclusion"] for run in line.sandbox.check_runs(learner.fork, head)} == {"success"}
    assert await learner.done() == {"report"}


async def test_a_renamed_repository_is_found(learner: Learner) -> None:
    """The repository is looked up when the wake-up is processed: its name of then does not matter."""
    line = learner.line
    await line.pool.execute(
        "UPDATE repo_mapping SET repo_full_name = $2 WHERE session_id = $1", learner.session_id, learner.fork.upper()
    )

    assert await wake(line.pool, learner.session_id, "staff")
    await line.settle()

    assert await outcomes(learner) == ["accepted"]


async def test_a_repository_that_is_another_sessions_is_left_alone(learner: Learner) -> None:
    """A wake-up that comes when the session has another repository, or none, does nothing."""
    line = learner.line
    lane = f"repo:{learner.repo_id}"
    body = json.dumps({"session_id": str(uuid4()), "trigger": "fact"}).encode()
    await line.pool.execute(
        "INSERT INTO delivery (guid, event, repo_id, lane_id, payload) VALUES (gen_random_uuid(), $1, $2, $3, $4)",
        JUDGE,
        learner.repo_id,
        lane,
        body,
    )
    await line.pool.execute("UPDATE lane SET due_at = now() WHERE lane_id = $1", lane)
    await line.pool.execute("SELECT pg_notify('lane_due', '')")

    await line.settle()

    assert await outcomes(learner) == ["not_bound"]


async def test_nobody_outside_can_send_one(learner: Learner) -> None:
    """A delivery that names our own event, even one that is signed, is acknowledged and not stored."""
    line = learner.line
    body = json.dumps({"session_id": str(learner.session_id), "trigger": "staff"}).encode()
    headers = headers_of(JUDGE, body, secret=SECRET)

    async with line.http.post(line.hook, data=body, headers=headers) as answer:
        assert (answer.status, (await answer.json())["message"]) == (202, "not needed")

    await line.settle()
    assert await outcomes(learner) == []


@pytest.mark.parametrize("body", [b"{}", b'{"session_id": "x", "trigger": "rerun"}', b'{"trigger": "push"}'])
async def test_an_entry_that_is_none_is_a_dead_letter(body: bytes) -> None:
    """Only a session's id and one of our triggers are read."""
    with pytest.raises(UnreadablePayloadError):
        read(JudgePayload, body)

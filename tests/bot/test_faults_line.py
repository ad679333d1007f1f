"""The whole line while GitHub misbehaves as scripted: a lost answer, replicas that lag behind, cut bodies."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from sandbox import Fault
from sandbox.effects import Lag, Reset, Truncate
from tests.support.deliveries import world
from tests.support.working import WorkingLearner, retry_at_once


@pytest.fixture(name="learner")
async def _learner(
    fresh_database: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[WorkingLearner]:
    """A running App, whose retries come at once, and a learner."""
    retry_at_once(monkeypatch)
    async with world(fresh_database) as here:
        yield await WorkingLearner.enrol(here, tmp_path / "clone")


async def test_a_report_whose_answer_was_lost_is_posted_once(learner: WorkingLearner) -> None:
    """The check run is created and the connection reset: it is found by its external id, none is posted again."""
    sandbox = learner.here.line.sandbox
    reset = sandbox.faults.add(Fault(Reset(), method="POST", path="*/check-runs", times=1))

    head = await learner.push(0)

    assert reset.fired == 1
    assert learner.conclusions(head) == ["success"]
    posted = [each for each in sandbox.exchanges if each.method == "POST" and each.path.endswith("/check-runs")]
    assert [each.request_json["head_sha"] for each in posted].count(head) == 1


async def test_a_push_that_replicas_do_not_know_yet_is_judged_rightly(learner: WorkingLearner) -> None:
    """The commit is unknown and the branch at its old head for some requests: the verdict comes later, and is right."""
    sandbox = learner.here.line.sandbox
    lag = sandbox.faults.add(Fault(Lag(), repository=learner.fork.id, times=3))

    head = await learner.push(0)

    assert lag.fired == 3
    assert {each.what.partition(" ")[0] for each in sandbox.faults.fired} == {"GET"}
    assert learner.conclusions(head) == ["success"]
    (push,) = await learner.here.rows("push")
    assert (push["state"], push["attempts"]) == ("done", 1), "waiting for replicas is no failed attempt"


async def test_a_cut_body_is_read_again(learner: WorkingLearner) -> None:
    """A tree whose JSON is cut, and one that breaks off, are no reason for a verdict: they are asked for again."""
    sandbox = learner.here.line.sandbox
    cut = sandbox.faults.add(Fault(Truncate(), path="*/git/trees/*", times=1))
    broken_off = sandbox.faults.add(Fault(Truncate(promise="whole"), path="*/git/trees/*", times=1))

    head = await learner.push(0)

    assert (cut.fired, broken_off.fired) == (1, 1)
    assert learner.conclusions(head) == ["success"]

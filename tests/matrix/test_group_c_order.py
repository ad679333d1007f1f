"""Group C of the matrix, what is not shown elsewhere: many pushes on one ref, a branch that moves while it is read."""

from __future__ import annotations

import asyncio
import itertools
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from uuid import uuid4

import pytest
import pytest_asyncio
from aiohttp import web

from sandbox.pushes import RefUpdate
from tests.support import effort
from tests.support.deliveries import WORK, ZERO, World, commit, world
from tests.support.githost import run
from tests.support.outages import Pusher

pytestmark = pytest.mark.asyncio(loop_scope="module")

PUSHES = effort.examples(100)


@pytest_asyncio.fixture(scope="module", loop_scope="module", name="here")
async def _here(module_database: str) -> AsyncIterator[World]:
    """A running App, whose retries come at once."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("bot.worker.delay_before_retry", lambda *_: 0.02)
        patch.setattr("bot.worker.pause", lambda: 0.02)
        async with world(module_database) as here:
            yield here


async def test_a_hundred_pushes_a_second_on_one_ref(here: World) -> None:
    """C1: each push has its line in the ledger, the newest head its verdict and one check run."""
    fork = await here.learner("learner-one")
    notes: list[dict[str, str | bytes]] = [{f"notes/{number}.md": "x\n"} for number in range(PUSHES - 1)]
    line = await commit(fork, WORK[0], *notes)
    pushes = [here.push_body(fork, before, after) for before, after in itertools.pairwise(line)]
    before = len(here.line.sandbox.exchanges)

    answers = await asyncio.gather(*(here.post("push", body, uuid4()) for body in pushes))
    await here.line.settle(60)

    assert set(answers) == {202}
    verdicts = await here.line.fetch(
        "SELECT verdict, after_sha FROM push_attempt JOIN repo_mapping USING (session_id) "
        "WHERE trigger = 'push' AND provider_repo_id = $1",
        fork.id,
    )
    assert len(verdicts) == PUSHES
    assert len({row["after_sha"] for row in verdicts}) == PUSHES
    assert Counter(row["verdict"] for row in verdicts)["superseded"] > PUSHES / 2
    progress = await here.progress(fork)
    assert (progress["head_sha"], progress["accepted_sha"]) == (line[-1], line[-1])
    assert [conclusion for _, conclusion in here.runs(fork, line[-1])] == ["success"]
    # Six or so requests for each head that was looked at; most heads were none of these.
    assert len(here.line.sandbox.exchanges) - before < 5 * PUSHES


def once_while_reading(here: World, sha: str, act: Callable[[], Awaitable[object]]) -> list[str]:
    """Do something when the App first reads that commit's files, before they are answered; the list tells that."""
    done: list[str] = []

    async def hook(request: web.Request) -> None:
        if not done and "/git/trees/" in request.path and sha in request.path:
            done.append(request.path)
            await act()

    here.line.sandbox.faults.append(hook)
    return done


async def test_a_forced_push_while_its_predecessor_is_judged(here: World) -> None:
    """C3: the head that the branch has in the end is judged and reported, as git has it."""
    learner = await Pusher.enrol(here)
    await learner.work(0)
    await here.line.settle()
    left, taken = await learner.commit(WORK[1]), await learner.commit({"notes/other.md": "x\n"})
    moved = once_while_reading(here, left, lambda: learner.move(taken))

    await learner.move(left)
    await here.line.settle()

    assert moved
    assert await learner.differences() == []
    assert (await learner.session())["accepted_sha"] == taken
    assert [word for _, word in here.runs(learner.fork, taken)] == ["success"]


async def test_a_branch_that_is_deleted_while_it_is_judged(here: World) -> None:
    """C4: nothing waits and nothing fails for ever; when the branch is back, its head has its verdict."""
    learner = await Pusher.enrol(here)
    await learner.work(0)
    await here.line.settle()
    sha, fork = await learner.commit({**WORK[1], "notes/mine.md": "nobody else's\n"}), learner.fork

    async def delete() -> None:
        await run("update-ref", "-d", "refs/heads/main", cwd=fork.path)
        await here.line.sandbox._pushes.announce(fork, [RefUpdate(sha, ZERO, "refs/heads/main")], fork.owner)

    gone = once_while_reading(here, sha, delete)
    await learner.move(sha)
    await here.line.settle()
    assert gone
    pushes = [row["state"] for row in await here.rows("push") if row["lane_id"] == f"repo:{fork.id}"]
    assert {"done"} <= set(pushes) <= {"done", "superseded"}

    await run("update-ref", "refs/heads/main", sha, cwd=fork.path)
    await here.line.sandbox._pushes.announce(fork, [RefUpdate(ZERO, sha, "refs/heads/main")], fork.owner)
    await here.line.settle()
    assert await learner.differences() == []

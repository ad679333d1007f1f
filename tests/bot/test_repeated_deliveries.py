"""Deliveries that come twice, a thousand times, in another order, or not at all: the same end as in order."""

from __future__ import annotations

import asyncio
import itertools
import random
from contextlib import AsyncExitStack
from typing import Any
from uuid import uuid4

from bot.gather import newest_head
from rules.chain import newest
from rules.model import Account, AccountKind, Push, Repo
from storage.database import open_pool
from storage.inbox import NewDelivery, Recorder
from tests.support.deliveries import WORK, commit, reset, world


async def test_a_thousand_duplicates_are_one_row(fresh_database: str) -> None:
    """The same delivery 1,000 times at once over four receivers: one row, one of them new, one lane due."""
    guid = uuid4()
    delivery = NewDelivery(guid, "push", None, 9, 7, "repo:7", b"{}")
    async with AsyncExitStack() as stack:
        pools = [await open_pool(fresh_database, max_size=2) for _ in range(4)]
        for pool in pools:
            stack.push_async_callback(pool.close)
        recorders = [Recorder(pool) for pool in pools]
        answers = await asyncio.gather(*(recorders[number % 4].record(delivery) for number in range(1000)))
        rows = await pools[0].fetch("SELECT guid FROM delivery")
        lanes = await pools[0].fetch("SELECT lane_id FROM lane")

    assert sum(answers) == 1
    assert [row["guid"] for row in rows] == [guid]
    assert [row["lane_id"] for row in lanes] == ["repo:7"]


async def test_duplicates_over_http_are_judged_once(fresh_database: str) -> None:
    """The same push 200 times at once over HTTP: one attempt, one check run; its id under another event is another
    delivery; and under another App's secret it is nobody's.
    """
    async with world(fresh_database) as here:
        fork = await here.learner("learner-one")
        base, first = await commit(fork, WORK[0])
        body, guid = here.push_body(fork, base, first), uuid4()

        assert await here.hook.post("push", body, guid, secret="the-secret-of-another-app") == 401
        answers = await asyncio.gather(*(here.post("push", body, guid) for _ in range(200)))
        await here.line.settle()
        assert await here.post("repository", body, guid) == 202
        await here.line.settle()

        assert set(answers) == {202}
        rows = [(row["event"], row["state"]) for row in await here.rows() if row["guid"] == guid]
        assert rows == [("push", "done"), ("repository", "dead")]
        attempts = await here.line.fetch("SELECT verdict FROM push_attempt WHERE delivery_id = $1", guid)
        assert [attempt["verdict"] for attempt in attempts] == ["accepted"]
        assert len(here.runs(fork, first)) == 1


async def test_a_lost_push_is_noticed(fresh_database: str) -> None:
    """When the delivery of the second of three pushes never arrives, the third does not fit: its commits are looked up,
    nothing is lost, and the second changes nothing when it comes after all.
    """
    async with world(fresh_database) as here:
        fork = await here.learner("learner-one")
        line = await commit(fork, *WORK[:3])
        bodies = [here.push_body(fork, before, after) for before, after in itertools.pairwise(line)]
        await reset(fork, line[1])
        assert await here.post("push", bodies[0]) == 202
        await here.line.settle()
        await reset(fork, line[3])

        assert await here.post("push", bodies[2]) == 202
        await here.line.settle()
        reached = await here.progress(fork)
        assert {step["step_id"]: step["commit_sha"] for step in reached["steps"]} == {
            "report": line[1],
            "fix": line[2],
            "command": line[3],
        }
        assert await here.post("push", bodies[1]) == 202
        await here.line.settle()
        assert await here.progress(fork) == reached


async def test_any_order_of_five_pushes_ends_alike(fresh_database: str) -> None:
    """Five pushes of a branch, in order, reversed and shuffled, one by one or all at once: the same final state."""
    orders = list(itertools.permutations(range(5)))
    chosen = [orders[0], orders[-1], *random.Random(20).sample(orders[1:-1], 4)]
    async with world(fresh_database) as here:
        ends = []
        for number, order in enumerate(chosen):
            fork = await here.learner(f"learner-{number}")
            line = await commit(fork, *WORK)
            links = list(itertools.pairwise(line))
            for at in order:
                assert await here.post("push", here.push_body(fork, *links[at])) == 202
                if number % 2:
                    await here.line.settle()
            await here.line.settle()
            reached = await here.progress(fork)
            short = {sha: f"commit {at}" for at, sha in enumerate(line)}
            steps = [(step["step_id"], step["state"], short[step["commit_sha"]]) for step in reached["steps"]]
            heads = {name: short[reached[name]] for name in ("accepted_sha", "head_sha", "branch_head_seen")}
            ends.append((order, reached["status"], steps, heads, [run[1] for run in here.runs(fork, line[-1])][-1:]))

        assert ends[0][2] == [
            ("command", "completed", "commit 3"),
            ("fix", "completed", "commit 2"),
            ("frequent", "completed", "commit 4"),
            ("report", "completed", "commit 1"),
        ]
        assert ends[0][3] == dict.fromkeys(("accepted_sha", "head_sha", "branch_head_seen"), "commit 5")
        assert [end[1:] for end in ends] == [ends[0][1:]] * len(chosen)


class Branch:
    """GitHub's side of `newest_head`: the branch is at `sha`."""

    def __init__(self, sha: str) -> None:
        self.sha = sha

    async def branch_head(self, _full_name: str, _branch: str) -> str:
        """The head as of now."""
        return self.sha


async def test_all_orders_and_groupings_of_five_pushes_end_at_the_branch_head() -> None:
    """All 120 orders, in all 16 ways to arrive in groups, with and without a lost one: the last head judged is the
    branch's, and no head that the branch had left is ever judged as certain.
    """
    repo = Repo(7, "a/b", Account(5, "a", AccountKind.USER), private=False, default_branch="main")
    shas = [f"{number:040x}" for number in range(1, 7)]
    pushes = [Push(None, 9, repo, "refs/heads/main", before, after) for before, after in itertools.pairwise(shas)]
    branch: Any = Branch(shas[-1])
    cases = 0
    for order in itertools.permutations(pushes):
        for cuts in itertools.product((False, True), repeat=4):
            groups = [[order[0]]]
            for push, cut in zip(order[1:], cuts, strict=True):
                groups.append([push]) if cut else groups[-1].append(push)
            for lost in (None, 2):
                seen: str | None = shas[0]
                for group in groups:
                    arrived = [push for push in group if lost is None or push is not pushes[lost]]
                    if not arrived:
                        continue
                    last = newest(arrived, seen)
                    head = await newest_head(branch, last.push, certain=last.certain)
                    assert head is not None
                    seen = head.sha
                assert seen == shas[-1]
                cases += 1
    assert cases == 120 * 16 * 2

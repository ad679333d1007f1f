"""Two worker processes, 1,200 shuffled and duplicated deliveries: order, one attempt each, the state git implies."""

from __future__ import annotations

import asyncio
import itertools
import random
from collections.abc import Sequence
from dataclasses import dataclass, field

from aiohttp import web

from storage.database import open_pool
from storage.inbox import NewDelivery, Recorder
from tests.support.course import Course, Files, Learner, running_course, work_of
from tests.support.lane_trace import OVERLAPS, TABLE
from tests.support.oracle import Expected, Objects
from tests.support.worker_process import WorkerPlan, WorkerProcesses, until

REPOSITORIES = 20
PUSHES = 40
WAVES = 8
DELIVERIES = 1200
CHUNK = 25


@dataclass
class History:
    """A learner's pushes in the order of events; `heads[i]` is what push i left the branch at."""

    learner: Learner
    pushes: list[NewDelivery] = field(default_factory=list)
    heads: list[str] = field(default_factory=list)

    def add(self, before: str, after: str, *, forced: bool = False) -> None:
        """One more push of one commit."""
        self.pushes.append(self.learner.push(before, after, forced=forced))
        self.heads.append(after)


def story(kind: int, number: int) -> list[Files]:
    """Commits of a learner who works in order, out of order, on protected files, or on all of these."""
    notes: list[Files] = [{f"notes/{turn}.md": f"{number} {turn}\n"} for turn in range(PUSHES)]
    steps = work_of(number)
    early: Files = {"src/frequent.js": "export const mostFrequent = (text) => text;\n"}
    cheat: Files = {"tests/count.js": f"// nothing is tested any more {number}\n"}
    by_kind: list[dict[int, Files]] = [
        {5: steps[0], 11: steps[1], 29: steps[2]},
        {2: steps[2], 13: steps[1], 22: early, 31: steps[0]},  # the third step before the second
        {4: steps[1], 9: early, 33: cheat},  # the end is blocked
        {1: steps[0], 7: cheat, 26: steps[1]},  # most of it is blocked
    ]
    return [by_kind[kind].get(turn, note) for turn, note in enumerate(notes)]


async def history(learner: Learner, number: int) -> History:
    """Forty pushes of one commit each; every fifth learner throws half of them away with a forced push."""
    told = History(learner)
    commits = story(number % 4, number)
    line = await learner.commit(*commits)
    keep = PUSHES // 2 if number % 5 == 0 else PUSHES
    for before, after in zip([learner.start, *line], line[:keep], strict=False):
        told.add(before, after)
    if keep < PUSHES:
        await learner.reset(line[keep // 2])
        other = await learner.commit(*story((number + 1) % 4, number + 100)[keep:])
        told.add(line[keep - 1], other[0], forced=True)
        for before, after in itertools.pairwise(other):
            told.add(before, after)
    assert len(told.pushes) == PUSHES
    return told


def waves(histories: Sequence[History], chance: random.Random) -> list[list[NewDelivery]]:
    """The deliveries in waves: shuffled, half of them sent twice, some of them a wave too late."""
    size = PUSHES // WAVES
    result: list[list[NewDelivery]] = [[] for _ in range(WAVES)]
    for told in histories:
        again = chance.sample(range(PUSHES), PUSHES // 2)
        for turn in [*range(PUSHES), *again]:
            late = chance.random() < 0.15
            result[min(turn // size + late, WAVES - 1)].append(told.pushes[turn])
    for wave in result:
        chance.shuffle(wave)
    assert sum(map(len, result)) == DELIVERIES
    return result


def move_branch(told: History, wave: int) -> None:
    """Git's side of a wave: the branch is at the wave's last push."""
    path = told.learner.repository.path / "refs" / "heads" / "main"
    fresh = path.with_name("main.new")
    fresh.write_text(told.heads[(wave + 1) * PUSHES // WAVES - 1] + "\n")
    fresh.replace(path)


async def send(course: Course, histories: Sequence[History], plan: list[list[NewDelivery]]) -> None:
    """Record the waves through two receivers with a pool of their own each, while the workers are at it."""
    pools = [await open_pool(course.dsn, min_size=1, max_size=3) for _ in range(2)]
    recorders = [Recorder(pool) for pool in pools]
    try:
        for number, wave in enumerate(plan):
            for told in histories:
                move_branch(told, number)
            for start in range(0, len(wave), CHUNK):
                chunk = wave[start : start + CHUNK]
                await asyncio.gather(*(recorders[turn % 2].record(item) for turn, item in enumerate(chunk)))
                await asyncio.sleep(0.04)
    finally:
        for pool in pools:
            await pool.close()


async def slow(_request: web.Request) -> None:
    """GitHub takes its time, so that deliveries arrive while their lane is held."""
    await asyncio.sleep(0.02)


async def compare(course: Course, told: History) -> list[str]:
    """How a session, its ledger and its head's reports differ from what git implies."""
    learner = told.learner
    expected = Expected(course.version.lab, course.version.commit_sha, await Objects.of(learner.repository.path))
    attempts = await course.fetch(
        "SELECT delivery_id, verdict, after_sha, steps_after FROM push_attempt WHERE session_id = $1 "
        "ORDER BY attempt_id",
        learner.session_id,
    )
    found: list[tuple[str, object, object]] = []
    for attempt in attempts:
        if attempt["verdict"] == "superseded":
            continue
        verdict = expected.judge_head(attempt["after_sha"])
        word = "blocked" if verdict.blocked else "accepted"
        found.append(("verdict", (attempt["verdict"], attempt["steps_after"]), (word, sorted(verdict.done_after))))
    (session,) = await course.fetch(
        "SELECT accepted_sha, head_sha, branch_head_seen, status, ARRAY(SELECT step_id FROM step_progress AS p "
        "WHERE p.session_id = s.session_id AND state = 'completed' ORDER BY step_id) AS done "
        "FROM lab_session AS s WHERE session_id = $1",
        learner.session_id,
    )
    last = told.heads[-1]
    runs = course.sandbox.check_runs(learner.repository.full_name, last)
    word = "failure" if last in expected.state.blocked_heads else "success"
    found += [
        ("one attempt for each delivery", sorted(str(row["delivery_id"]) for row in attempts),
         sorted(str(push.guid) for push in told.pushes)),
        ("head", (session["head_sha"], session["branch_head_seen"], expected.head), (last, last, last)),
        ("accepted head", session["accepted_sha"], expected.accepted),
        ("status", session["status"], expected.state.status.value),
        ("done", session["done"], sorted(expected.state.progress.done)),
        ("last report", max(runs, key=lambda run: int(run["id"]))["conclusion"], word),
    ]  # fmt: skip
    return [f"{learner.lane_id} {what}: {is_} instead of {ought}" for what, is_, ought in found if is_ != ought]


async def test_two_workers_keep_the_order_and_reach_the_state_that_git_implies(fresh_database: str) -> None:
    """No lane is worked on twice at a time, each delivery has one attempt, and ledger and sessions equal the oracle's.

    Guards binding.md section 4.5 (lanes): a claim that takes held lanes as well, in storage/lanes.py `_CLAIM` the line
    `WHERE leased_until IS NULL AND due_at <= now()`, lets stretches of work overlap.
    """
    chance = random.Random(20)
    async with running_course(fresh_database) as course:
        await course.pool.execute(TABLE)
        plan = WorkerPlan.on(
            course.sandbox, course.dsn, course.folder / "workers.log", seams=("tests.support.lane_trace:trace",)
        )
        learners = await course.learners(REPOSITORIES)
        histories = [await history(learner, number) for number, learner in enumerate(learners)]
        course.sandbox.faults.append(slow)
        with WorkerProcesses(plan) as workers:
            workers.start()
            workers.start()
            await send(course, histories, waves(histories, chance))
            await until(lambda: course.done(REPOSITORIES * PUSHES), 40, "all deliveries and reports")
            said = workers.said()
        assert await course.fetch(OVERLAPS) == []
        assert len(await course.fetch("SELECT DISTINCT pid FROM lane_trace")) == 2
        (tries,) = await course.fetch(
            "SELECT max(attempts) AS most, sum(attempts) AS made, "
            "count(*) FILTER (WHERE state = 'superseded') AS overtaken FROM delivery"
        )
        assert tries["most"] == 1
        assert tries["made"] + tries["overtaken"] == REPOSITORIES * PUSHES
        assert tries["overtaken"] > 0
        assert [wrong for told in histories for wrong in await compare(course, told)] == [], said
        assert await course.deadlocks() == 0

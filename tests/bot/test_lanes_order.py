"""What lanes and handlers keep to, in real worker processes: the newest head counts, deliveries are wake-ups."""

from __future__ import annotations

import itertools
from signal import SIGTERM

from aiohttp import web

from storage import inbox
from tests.support.course import Course, answer, once, push_one, reports, work_of
from tests.support.worker_process import WorkerPlan, WorkerProcesses, ended, send_signal, until


async def test_waiting_pushes_of_a_ref_are_judged_once_at_the_newest_head(course: Course, plan: WorkerPlan) -> None:
    """Whatever the order of arrival, the chain's last head is judged; the others are superseded, one row each.

    Guards binding.md section 4.5: in bot/handlers.py `on_push` the condition `later.ref == push.ref` (another branch's
    pushes are not superseded by it), in rules/chain.py the search for the next link.
    """
    learner = await course.learner("learner-one")
    line = [learner.start, *await learner.commit(*work_of(1), {"notes/a.md": "a"}, {"notes/b.md": "b"})]
    side = [line[-1], *await learner.commit({"notes/c.md": "c"}, {"notes/d.md": "d"}, branch="try")]
    pushes = [learner.push(*pair) for pair in itertools.pairwise(line)]
    others = [learner.push(*pair, ref="refs/heads/try") for pair in itertools.pairwise(side)]
    await inbox.record(course.pool, [pushes[0]])
    with WorkerProcesses(plan) as workers:
        await learner.reset(line[1])
        first = workers.start()
        await until(lambda: course.done(1), what="the first push")
        send_signal(first, SIGTERM)
        await ended(first)
        await learner.reset(line[-1])
        arrived = [pushes[3], others[1], pushes[1], others[0], pushes[4], pushes[2]]
        await inbox.record(course.pool, arrived)
        workers.start()
        await until(lambda: course.done(7), what="all pushes")
    rows = await course.fetch("SELECT delivery_id, verdict, after_sha FROM push_attempt")
    ledger = {str(row["delivery_id"]): (row["verdict"], row["after_sha"]) for row in rows}
    expected = {str(push.guid): ("superseded", sha) for push, sha in zip(pushes, line[1:], strict=True)}
    expected |= {str(pushes[0].guid): ("accepted", line[1]), str(pushes[4].guid): ("accepted", line[5])}
    branch = {str(push.guid) for push in others}
    assert {guid: row for guid, row in ledger.items() if guid not in branch} == expected
    assert sorted(ledger[guid][0] for guid in branch) == ["preview", "superseded"]
    assert len(rows) == 7
    assert {sha: len(reports(course, learner, sha)[0]) for sha in line[1:]} == {
        sha: int(sha in (line[1], line[5])) for sha in line[1:]
    }


async def test_a_delivery_that_ends_its_worker_each_time_is_buried(course: Course, plan: WorkerPlan) -> None:
    """After as many attempts as a failing delivery gets it is a dead letter, and those behind it have their turn.

    Guards bot/worker.py `_process`, the line `if first.attempts >= ATTEMPTS`.
    """
    learner = await course.learner("learner-one")
    line = [learner.start, *await learner.commit(*work_of(1)[:2])]
    poison, behind = learner.push(line[0], line[1]), learner.push(line[1], line[2])
    await inbox.record(course.pool, [poison, behind])
    await course.pool.execute("UPDATE delivery SET attempts = 8 WHERE guid = $1", poison.guid)
    with WorkerProcesses(plan) as workers:
        workers.start()
        await until(lambda: course.done(2), what="both deliveries")
    states = await course.fetch("SELECT state, last_error FROM delivery ORDER BY inbox_id")
    assert states[0] == {"state": "dead", "last_error": "none of 8 attempts came to an end"}
    assert states[1]["state"] == "done"


async def test_a_push_that_comes_after_its_successor_does_not_bring_the_old_head_back(
    course: Course, plan: WorkerPlan
) -> None:
    """A -> B -> A, and the first push arrives last: the branch is at A, and so is the session.

    Guards binding.md section 4.5: in storage/progress.py `_JUDGING_STATE` the line with `before_sha = sha`, for such
    a push fits the chain of what is known.
    """
    learner = await course.learner("learner-one")
    first, second = await learner.commit(*work_of(1)[:2])
    there, back = learner.push(first, second), learner.push(second, first, forced=True)
    await learner.reset(first)
    with WorkerProcesses(plan) as workers:
        workers.start()
        for number, push in enumerate((learner.push(learner.start, first), back, there), start=1):
            await inbox.record(course.pool, [push])
            await until(lambda number=number: course.done(number), what=f"push {number}")  # type: ignore[misc]
    heads = await course.fetch("SELECT head_sha, accepted_sha, branch_head_seen FROM lab_session")
    assert heads == [{"head_sha": first, "accepted_sha": first, "branch_head_seen": first}]
    assert reports(course, learner, second) == ([], [])


async def test_no_transaction_is_open_while_github_is_asked(course: Course, plan: WorkerPlan) -> None:
    """Binding.md section 4.4: whenever a request is at GitHub, none of the App's connections holds a lock or waits.

    Each request looks for itself; a transaction around a call would be seen by it.
    """
    seen: list[str] = []
    asked: list[str] = []

    async def look(request: web.Request) -> None:
        asked.append(f"{request.method} {request.path}")
        rows = await course.pool.fetch(
            "SELECT state, query FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid() "
            "AND (state LIKE 'idle in transaction%' OR (state = 'active' AND wait_event_type = 'Lock'))"
        )
        seen.extend(f"{asked[-1]}: {row['state']} {row['query']}" for row in rows)

    course.sandbox.faults.append(look)
    learner = await course.learner("learner-one")
    with WorkerProcesses(plan) as workers:
        workers.start()
        head = await push_one(course, learner)
        await until(lambda: course.done(1), what="the push")
        assert await answer(course, learner, head) == once(head)
    assert len(asked) >= 3
    assert seen == []


async def test_a_lifecycle_delivery_is_only_a_wake_up(course: Course, plan: WorkerPlan) -> None:
    """Binding.md section 4.6: what the API says is stored, whatever the delivery says, came late, or came twice.

    Guards bot/coverage.py `refresh_installation`: `installation = await services.app.installation_record(...)`.
    """
    here, gone = await course.learners(2)
    await course.sandbox.uninstall(gone.installation_id)
    lies = [(here, "deleted"), (gone, "created"), (here, "suspend"), (here, "deleted"), (gone, "unsuspend")]
    deliveries = [learner.lifecycle(action) for learner, action in lies]
    await inbox.record(course.pool, deliveries)
    with WorkerProcesses(plan) as workers:
        workers.start()
        await until(lambda: course.done(len(deliveries)), what="the lifecycle deliveries")
    rows = await course.fetch("SELECT installation_id, state FROM installation WHERE installation_id = ANY ($1)",
                              [here.installation_id, gone.installation_id])  # fmt: skip
    assert {row["installation_id"]: row["state"] for row in rows} == {
        here.installation_id: "active",
        gone.installation_id: "deleted",
    }

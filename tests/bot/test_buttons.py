"""Buttons of check-runs and GitHub's re-run on the running App: who is answered, how often, and what it costs."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
import pytest_asyncio

from bot import buttons
from bot.lifecycle import bind_entry
from rules.report_buttons import CHECK_AGAIN, NEED_HELP
from sandbox import Fault
from sandbox.effects import Lose
from storage import inbox
from tests.support.githost import run as run_git
from tests.support.learners import COURSE, Learner, open_course, open_lab, template_files
from tests.support.line import Line, running_line

pytestmark = pytest.mark.asyncio(loop_scope="module")

LAB = "word-counter"
FIRST: dict[str, str | bytes | None] = {"report/bug.md": "Expected: 2\nActual: 3\n"}
TOO_EARLY: dict[str, str | bytes | None] = {"src/cli.js": "console.log(1);\n"}
STAFF = "octo-staff"
CHECK, HELP = CHECK_AGAIN.identifier, NEED_HELP.identifier


@pytest_asyncio.fixture(scope="module", loop_scope="module", name="line")
async def _line(module_database: str) -> AsyncIterator[Line]:
    async with running_line(module_database) as line:
        line.staff = frozenset({line.sandbox.add_account(STAFF).id})
        await line.restart()
        await open_course(line)
        await open_lab(line, LAB, template_files())
        yield line


def login(learner: Learner) -> str:
    """The learner's login."""
    return learner.fork.partition("/")[0]


async def press(learner: Learner, head: str, button: str | None, by: str | None = None, times: int = 1) -> None:
    """Press a button of the newest run (None: GitHub's "Re-run") so many times, and wait for what comes of it."""
    run = learner.run(head)
    for _ in range(times):
        await learner.line.sandbox.press(learner.fork, run["id"], by or login(learner), button=button)
    await learner.line.settle()


async def outcomes(learner: Learner, *actions: str) -> list[str]:
    """What became of the deliveries with these actions."""
    rows = await learner.line.fetch(
        "SELECT outcome FROM delivery WHERE repo_id = $1 AND action = ANY ($2) ORDER BY inbox_id",
        learner.repo_id,
        list(actions),
    )
    return [str(row["outcome"]) for row in rows]


async def audited(learner: Learner) -> list[dict[str, Any]]:
    """The session's audit events of people, oldest first."""
    return await learner.line.fetch(
        "SELECT kind, actor_id, sender_id FROM audit_event WHERE session_id = $1 AND kind <> 'bound' ORDER BY event_id",
        learner.session_id,
    )


def looks(learner: Learner) -> int:
    """How often the branch was looked at."""
    path = f"/repos/{learner.fork}/git/ref/heads"
    return sum(exchange.path.endswith(f"{path}/main") for exchange in learner.line.sandbox.exchanges)


# ------------------------------------------------------------------------------------------------------- check again


async def test_the_check_run_has_its_buttons(learner: Learner) -> None:
    """Each answer offers to check again and to ask for help; the greeting of a new fork does, too."""
    head = await learner.push(FIRST)
    for sha in (head, await learner.clone.git("rev-parse", f"{head}~1")):
        assert [button["identifier"] for button in learner.run(sha)["actions"]] == [CHECK, HELP]


async def test_check_again_judges_the_branch_and_posts_no_more_than_one_run(learner: Learner) -> None:
    """What has come of it is recorded with who pressed; an equal report is not sent again."""
    head = await learner.push(FIRST)
    await press(learner, head, CHECK)
    assert await outcomes(learner, "requested_action") == ["woken"]
    assert len(learner.runs(head)) <= 2
    assert learner.run(head)["conclusion"] == "success"
    me = learner.line.sandbox.account(login(learner)).id
    assert [(row["kind"], row["actor_id"]) for row in await audited(learner)] == [("check_requested", me)]

    posted = len(learner.runs(head))
    await learner.line.pool.execute("UPDATE outbox SET asked_at = asked_at - interval '1 minute'")
    await press(learner, head, CHECK)
    assert len(learner.runs(head)) == posted


async def test_a_storm_of_clicks_costs_one_judgement(learner: Learner) -> None:
    """A hundred clicks on a button are one look at the branch, and one line in the audit."""
    head = await learner.push(FIRST)
    before = looks(learner)
    await press(learner, head, CHECK, times=100)
    assert looks(learner) == before + 1
    assert len(await audited(learner)) == 1
    assert len(learner.runs(head)) <= 2


async def test_staff_may_check_again(learner: Learner) -> None:
    """Whoever runs the lab presses the learner's button; the record says who it was."""
    head = await learner.push(FIRST)
    await press(learner, head, CHECK, by=STAFF)
    (event,) = await audited(learner)
    assert (event["kind"], event["actor_id"]) == ("staff_judge", learner.line.sandbox.account(STAFF).id)


@pytest.mark.parametrize("button", [CHECK, HELP])
async def test_others_press_in_vain(learner: Learner, button: str) -> None:
    """A collaborator of the fork has write access, and so the buttons: only the audit hears of it, once a day."""
    line = learner.line
    stranger = line.sandbox.add_account(f"friend-of-{login(learner)}")
    line.sandbox.add_collaborator(learner.fork, stranger.login)
    head = await learner.push(FIRST)
    runs, before = len(learner.runs(head)), looks(learner)

    for _ in range(3):
        await press(learner, head, button, by=stranger.login)

    assert await outcomes(learner, "requested_action") == ["not_theirs"] * 3
    assert (len(learner.runs(head)), looks(learner)) == (runs, before)
    (event,) = await audited(learner)
    assert (event["kind"], event["sender_id"]) == ("button_refused", stranger.id)
    counted = await line.fetch("SELECT count FROM rejection_count WHERE repo_id = $1", learner.repo_id)
    assert counted == [{"count": 3}]
    assert (await learner.session())["status"] == "IN_PROGRESS"


async def test_the_button_of_a_refusal_looks_again(line: Line, tmp_path: Path) -> None:
    """Who was not invited has the button, too: once that is put right, it connects the repository without a push."""
    await line.pool.execute("UPDATE lab SET enrolment = 'closed'")
    name = "late-learner"
    line.sandbox.add_account(name)
    fork = await line.sandbox.fork(f"{COURSE}/{LAB}", name)
    await line.sandbox.install(name, [fork.full_name])
    await line.settle()
    (run,) = line.sandbox.check_runs(fork.full_name, await run_git("rev-parse", "main", cwd=fork.path))
    assert run["output"]["title"] == "Enrolment in this lab is closed"
    assert [button["identifier"] for button in run["actions"]] == [CHECK]
    await line.pool.execute("UPDATE lab SET enrolment = 'open'")

    await line.sandbox.press(fork.full_name, run["id"], name, button=CHECK)
    await line.settle()

    newest = line.sandbox.check_runs(fork.full_name, run["head_sha"])[-1]
    assert newest["output"]["title"].startswith("Welcome")


# -------------------------------------------------------------------------------------------------------------- help


async def test_asking_for_help_is_seen_by_both_sides(learner: Learner) -> None:
    """The session is stuck for staff; the learner's check-run says that it was heard; asking twice changes nothing."""
    head = await learner.push(TOO_EARLY)
    await press(learner, head, HELP)

    assert (await learner.session())["status"] == "STUCK"
    assert learner.run(head)["output"]["summary"].startswith("**You asked for help.**")
    assert learner.run(head)["conclusion"] == "failure"
    posted = len(learner.runs(head))
    await press(learner, head, HELP)
    assert await outcomes(learner, "requested_action") == ["help_asked", "asked_before"]
    assert [row["kind"] for row in await audited(learner)] == ["help_requested"]
    assert len(learner.runs(head)) == posted == 2


async def test_a_call_for_help_outlives_looks_at_the_same_head(learner: Learner) -> None:
    """On an accepted head, too: checking again answers nobody's call, the next accepted push does."""
    head = await learner.push(FIRST)
    await press(learner, head, HELP)
    assert (await learner.session())["status"] == "STUCK"
    await press(learner, head, CHECK)
    await press(learner, head, None)
    assert (await learner.session())["status"] == "STUCK"
    assert "You asked for help" in learner.text(head)

    head = await learner.push({"src/wordcount.js": "export const countWords = (text) => text.split(/\\s+/).length;\n"})

    assert (await learner.session())["status"] == "IN_PROGRESS"
    assert "You asked for help" not in learner.text(head)


async def test_who_got_the_repository_asks_for_no_help(learner: Learner, line: Line) -> None:
    """After a transfer the session is the learner's as before: help for it is not the new owner's to ask for."""
    head = await learner.push(FIRST)
    run = learner.run(head)
    heir = line.sandbox.add_account(f"heir-of-{login(learner)}")
    fork = await line.sandbox.transfer(learner.fork, heir.login)
    await line.sandbox.install(heir.login, [fork.full_name])
    await line.settle()

    await line.sandbox.press(fork.full_name, run["id"], heir.login, button=HELP)
    await line.settle()

    assert await outcomes(learner, "requested_action") == ["not_theirs"]
    assert "button_refused" in {event["kind"] for event in await audited(learner)}


@pytest.mark.parametrize(
    ("status", "refused"),
    [
        ("EXPIRED", "SESSION_EXPIRED"),
        ("DEFERRED", "SESSION_DEFERRED"),
        ("VERIFIED_PASS", "SESSION_COMPLETED"),
    ],
)
async def test_a_session_that_is_over_is_left_alone(learner: Learner, status: str, refused: str) -> None:
    """Old check-runs keep their buttons: pressed after the session's end or in a pause they change nothing."""
    head = await learner.push(FIRST)
    await learner.line.pool.execute(
        "UPDATE lab_session SET status = $2, deferred_by = CASE $2 WHEN 'DEFERRED' THEN 'staff' END "
        "WHERE session_id = $1",
        learner.session_id,
        status,
    )
    posted = len(learner.runs(head))
    await press(learner, head, CHECK)
    await press(learner, head, HELP)
    await press(learner, head, None)
    assert await outcomes(learner, "requested_action") == ["session_closed"] * 2
    assert await outcomes(learner, "rerequested") == [refused]
    assert (await learner.session())["status"] == status
    assert [run["conclusion"] for run in learner.runs(head)] == ["success"] * (posted + 1)


# ------------------------------------------------------------------------------------------------------------ re-run


async def test_a_rerun_gets_a_new_run_even_if_nothing_has_changed(learner: Learner) -> None:
    """GitHub shows the suite as queued until a new run comes; a completed one is never opened again."""
    head = await learner.push(TOO_EARLY)
    (first,) = learner.runs(head)
    await press(learner, head, None)
    assert learner.line.sandbox.suite(learner.fork, head) == ("completed", "failure")
    again = learner.run(head)
    assert len(learner.runs(head)) == 2
    assert again["external_id"] == f"{first['external_id']}:1"
    assert again["conclusion"] == first["conclusion"]
    assert {part: again["output"][part] for part in ("title", "summary", "annotations_count")} == {
        part: first["output"][part] for part in ("title", "summary", "annotations_count")
    }
    patched = [exchange for exchange in learner.line.sandbox.exchanges if exchange.method == "PATCH"]
    assert patched == []

    await learner.line.pool.execute("UPDATE outbox SET updated_at = updated_at - interval '1 minute'")
    await learner.line.sandbox.rerequest_suite(learner.fork, head, login(learner))
    assert learner.line.sandbox.suite(learner.fork, head)[0] == "queued"
    await learner.line.settle()
    assert learner.line.sandbox.suite(learner.fork, head) == ("completed", "failure")
    assert len(learner.runs(head)) == 3


async def test_a_rerun_storm_costs_one_judgement(learner: Learner) -> None:
    """A hundred re-runs: one look at the branch, and few runs, because an equal one is repeated ever more slowly."""
    head = await learner.push(FIRST)
    before, posted = looks(learner), len(learner.runs(head))
    await press(learner, head, None, times=100)
    assert looks(learner) == before + 1
    assert len(learner.runs(head)) <= posted + 6  # (the clicks take longer on a slow machine)
    assert learner.line.sandbox.suite(learner.fork, head) == ("completed", "success")


async def test_a_rerun_of_an_older_head_repeats_its_verdict(learner: Learner) -> None:
    """The branch has moved on: the old commit gets a run with what was said of it, the new one is left as it is."""
    old = await learner.push(TOO_EARLY)
    new = await learner.push({"src/cli.js": None, **FIRST})
    posted, before = len(learner.runs(new)), looks(learner)
    await press(learner, old, None)
    assert [run["conclusion"] for run in learner.runs(old)] == ["failure", "failure"]
    assert (len(learner.runs(new)), looks(learner)) == (posted, before)
    assert (await learner.session())["accepted_sha"] == new


async def test_a_rerun_of_a_preview_is_a_preview(learner: Learner, monkeypatch: pytest.MonkeyPatch) -> None:
    """On another branch nothing is earned by asking again either."""
    monkeypatch.setattr("bot.lag.REPLICATION", timedelta(seconds=1))
    head = await learner.clone.commit(FIRST)
    await learner.send("HEAD:refs/heads/try")
    await press(learner, head, None)
    assert [run["output"]["title"].startswith("Preview: ") for run in learner.runs(head)] == [True, True]
    assert await learner.done() == set()


async def test_a_report_that_was_given_up_is_sent_by_a_rerun(learner: Learner) -> None:
    """Whatever had kept it: the click tries once more, after a look whether it was posted all the same."""
    head = await learner.push(TOO_EARLY)
    await learner.line.pool.execute(
        "UPDATE outbox SET state = 'failed', sent_check_digest = '', check_run_id = NULL WHERE head_sha = $1", head
    )
    await press(learner, head, None)
    assert len(learner.runs(head)) == 1
    (row,) = await learner.line.fetch("SELECT state, check_run_id FROM outbox WHERE head_sha = $1", head)
    assert row == {"state": "sent", "check_run_id": learner.run(head)["id"]}


async def test_our_own_events_wake_nobody(learner: Learner) -> None:
    """Runs, suites and statuses that we post come back as events: acknowledged, and not stored."""
    head = await learner.push(FIRST)
    await press(learner, head, None)
    line = learner.line
    sent = {each.event for each in line.sandbox.deliveries if each.repository_id == learner.repo_id}
    assert {"check_run", "check_suite", "status"} <= sent
    stored = await line.fetch("SELECT DISTINCT event, action FROM delivery WHERE repo_id = $1", learner.repo_id)
    assert {(row["event"], row["action"]) for row in stored} == {
        ("push", None),
        ("check_run", "rerequested"),
        ("stepgate.bind", None),
    }


async def test_a_look_at_a_head_that_was_judged_leaves_nothing(learner: Learner) -> None:
    """Installations are looked at again and again: the report that told of a gain is not replaced by a poorer one."""
    head = await learner.push(FIRST)
    title, attempts, posted = learner.text(head), len(await learner.attempts()), len(learner.runs(head))
    pool = learner.line.pool
    entry = bind_entry(uuid4(), await installation_of(learner), learner.repo_id)
    await inbox.record(pool, [entry])
    await learner.line.settle()
    (row,) = await learner.line.fetch("SELECT outcome FROM delivery WHERE guid = $1", entry.guid)
    assert row["outcome"] == "no_news"
    assert (learner.text(head), len(await learner.attempts()), len(learner.runs(head))) == (title, attempts, posted)
    assert title.startswith("Step 1 of 5 complete")


async def installation_of(learner: Learner) -> int:
    """The installation on the learner's fork."""
    query = "SELECT installation_id FROM repo_mapping WHERE session_id = $1 AND state = 'active'"
    return int(await learner.line.pool.fetchval(query, learner.session_id))


# --------------------------------------------------------------------------------------------------------- lost pushes


async def test_the_check_suite_tells_of_a_lost_push(learner: Learner, monkeypatch: pytest.MonkeyPatch) -> None:
    """GitHub asks for a suite of each pushed head: where the push itself never came, its branch is judged."""
    monkeypatch.setattr(buttons, "PATIENCE", buttons.PATIENCE * 0)
    lost = learner.line.sandbox.faults.add(Fault(Lose("nothing"), event="push"))
    head = await learner.push(FIRST)
    lost.remove()
    assert await learner.done() == {"report"}
    assert learner.run(head)["conclusion"] == "success"
    assert [row["trigger"] for row in await learner.attempts()][-1] == "reconcile"


async def test_a_push_that_is_late_is_waited_for(learner: Learner, monkeypatch: pytest.MonkeyPatch) -> None:
    """The suite may come first: as long as the push may be on its way nothing is judged, and then by the push."""
    line = learner.line
    lost = line.sandbox.faults.add(Fault(Lose("failed"), event="push"))
    await learner.clone.commit(FIRST)
    await learner.clone.push()
    await line.sandbox.idle()
    lost.remove()
    pushed = [each for each in line.sandbox.deliveries if each.event == "push"][-1]
    await line.sandbox.redeliver(pushed.guid)
    async with asyncio.timeout(10):
        while not await learner.done():
            await asyncio.sleep(0.02)
    assert [row["trigger"] for row in await learner.attempts()][-1] == "push"
    await line.pool.execute("UPDATE delivery SET next_attempt_at = now() WHERE next_attempt_at IS NOT NULL")
    await line.pool.execute("UPDATE lane SET due_at = now() WHERE lane_id = $1", f"repo:{learner.repo_id}")
    await line.pool.execute("SELECT pg_notify('lane_due', '')")
    await line.settle()
    assert await outcomes(learner, "requested") == ["known_head"]
    (row,) = await line.fetch(
        "SELECT payload FROM delivery WHERE action = 'requested' AND repo_id = $1", learner.repo_id
    )
    assert row["payload"] is None

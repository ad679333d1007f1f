"""What is left lying about is taken up again; what cannot be left lying about is shown not to be."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from datetime import timedelta
from uuid import UUID

import pytest

from bot.sweeper import sweep
from bot.webhook import new_delivery
from sandbox import Fault
from sandbox.effects import Answer
from storage.sweeping import try_reports_again
from tests.support.deliveries import World, world
from tests.support.outages import Pusher

NOTHING = {"lane": 0, "look": 0, "report": 0}


@pytest.fixture(name="here")
async def _here(fresh_database: str) -> AsyncIterator[World]:
    """A running App with a published lab."""
    async with world(fresh_database) as here:
        yield here


async def test_a_lane_that_nobody_would_look_at_is_woken(here: World) -> None:
    """A delivery whose lane is not due, or has no row, is processed after all; one that waits for a retry is left."""
    pusher, other = await Pusher.enrol(here), await Pusher.enrol(here)
    pool, line = here.line.pool, here.line
    await line.stop()
    for each in (pusher, other):
        sha = await each.commit({"report/bug.md": "Expected: 2\nActual: 3\n"})
        await each.move(sha)
    await line.sandbox.idle()
    await line.start()
    pool = line.pool
    for each in (pusher, other):
        body = next(d for d in line.sandbox.deliveries[::-1] if d.event == "push" and d.repository_id == each.fork.id)
        delivery = new_delivery("push", UUID(body.guid), body.payload)
        await pool.execute(
            "INSERT INTO delivery (guid, event, installation_id, repo_id, lane_id, payload, received_at) "
            "VALUES ($1, 'push', $2, $3, $4, $5, now() - interval '10 minutes')",
            delivery.guid,
            delivery.installation_id,
            delivery.repo_id,
            delivery.lane_id,
            delivery.payload,
        )
    await pool.execute("DELETE FROM lane WHERE lane_id = $1", f"repo:{other.fork.id}")
    await pool.execute(
        "INSERT INTO delivery (guid, event, lane_id, payload, received_at, next_attempt_at) VALUES "
        "(gen_random_uuid(), 'ping', 'later', '', now() - interval '10 minutes', now() + interval '1 hour')"
    )

    assert await sweep(line.services) == NOTHING | {"lane": 2}

    await pool.execute("DELETE FROM delivery WHERE lane_id = 'later'")
    await line.settle()
    assert await pusher.differences() == await other.differences() == []


async def test_a_report_that_was_refused_is_tried_again(here: World) -> None:
    """What GitHub refused for a reason that may pass is sent again, if it is on the head that counts, for some days."""
    line = here.line
    pusher = await Pusher.enrol(here)
    refused = line.sandbox.faults.add(Fault(Answer(like="gone"), method="POST", path="*/check-runs"))
    await pusher.work(0, 1)
    await line.settle()
    refused.remove()
    assert await sweep(line.services) == NOTHING  # not yet
    await line.pool.execute("UPDATE outbox SET updated_at = now() - interval '7 hours'")

    assert await sweep(line.services) == NOTHING | {"report": 1}

    await line.settle()
    assert await pusher.differences() == []
    assert here.runs(pusher.fork, pusher.heads[0]) == []
    # Which of those that were given up are tried again: nothing of these is due in fact, so nothing is sent.
    old = "created_at = now() - interval '4 days', updated_at = now() - interval '7 hours', state = 'failed'"
    rows = len(await line.fetch(f"UPDATE outbox SET {old} RETURNING outbox_id"))
    await line.pool.execute("UPDATE lab_session SET last_activity_at = now() - interval '4 days'")
    assert await try_reports_again(line.pool) == 0
    await line.pool.execute("UPDATE lab_session SET last_activity_at = now()")  # an old head may get another report
    assert await try_reports_again(line.pool) == 1
    await line.pool.execute(f"UPDATE outbox SET {old}, session_id = $1", UUID(int=0))
    await line.pool.execute("UPDATE outbox SET created_at = now()")
    assert await try_reports_again(line.pool) == rows  # each would say why there is no session
    await line.pool.execute("UPDATE outbox SET state = 'sent'")


async def test_looks_that_were_forgotten_go_on(here: World) -> None:
    """A repository that waits for its turn gets it, although the entry that gives turns is gone."""
    pusher = await Pusher.enrol(here)
    await here.line.pool.execute("UPDATE installation_repository SET look = true WHERE repo_id = $1", pusher.fork.id)

    assert await sweep(here.line.services) == NOTHING | {"look": 1}

    await here.line.settle()
    assert await here.line.fetch("SELECT 1 FROM installation_repository WHERE look") == []


async def test_no_check_run_of_ours_is_ever_open(here: World) -> None:
    """Every check run is posted completed, in one request, and none is opened again: nothing is left to be swept."""
    pusher = await Pusher.enrol(here)
    await pusher.work(0, 3, 1, 2)
    await pusher.move(pusher.heads[0])
    await here.line.settle()

    sent = [each for each in here.line.sandbox.exchanges if "/check-runs" in each.path and each.method != "GET"]
    bodies = [json.loads(each.request_body) for each in sent]
    assert len(bodies) >= 4
    assert {body.get("status", "completed") for body in bodies} == {"completed"}
    assert all(body.get("conclusion") for body, each in zip(bodies, sent, strict=True) if each.method == "POST")
    heads = {*pusher.heads, *(body["head_sha"] for body in bodies if "head_sha" in body)}
    runs = [run for sha in heads for run in here.line.sandbox.check_runs(pusher.fork.full_name, sha)]
    assert {run["status"] for run in runs} == {"completed"}
    await here.line.pool.execute("UPDATE delivery SET received_at = now() - interval '1 hour'")
    assert await sweep(here.line.services) == NOTHING  # nor is there anything else to sweep


async def test_leases_that_ran_out_are_taken_over(here: World) -> None:
    """A lane and a report whose holder is gone are taken by the next one without any sweeping."""
    pusher = await Pusher.enrol(here)
    pool = here.line.pool
    await pool.execute(
        "UPDATE lane SET holder = 'gone', leased_until = now() - interval '1 second' WHERE lane_id = $1",
        f"repo:{pusher.fork.id}",
    )
    await pusher.work(0)
    await here.line.settle()
    assert await pusher.differences() == []
    await pool.execute(
        "UPDATE outbox SET state = 'wanted', sent_check_digest = '', holder = 'gone', attempts = 1, "
        "leased_until = now() - interval '1 second' WHERE head_sha = $1",
        pusher.head,
    )
    await here.line.settle(timeout=timedelta(seconds=20).total_seconds())
    assert await pusher.differences() == []

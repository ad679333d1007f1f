"""Group B: deliveries that come late, twice, under another name or never. In the end what GitHub has is judged."""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import AsyncIterator, Callable
from datetime import timedelta
from uuid import UUID

import pytest

import sandbox.deliveries
import sandbox.pushes
from bot import reconciler
from bot.recovery import DeliveryPoller
from sandbox import Fault
from sandbox.effects import Answer, Delay, Misreport
from storage.health import backlog
from tests.support.deliveries import WORK, World, world
from tests.support.outages import Outage, Pusher, look_for_heads, lose, recover

SOAK = os.environ.get("SOAK") == "1"
HOUR = timedelta(hours=1)


@pytest.fixture(name="here")
async def _here(fresh_database: str) -> AsyncIterator[World]:
    """A running App with a published lab."""
    async with world(fresh_database, rate_limit=1_000_000) as here:
        yield here


def _poller(here: World) -> DeliveryPoller:
    return DeliveryPoller(here.line.pool, here.line.services.app, receives=True)


async def _looked(here: World, poller: DeliveryPoller) -> int:
    await here.line.sandbox.idle()
    taken = await poller.look()
    await here.line.settle()
    return taken


async def _gap(here: World) -> int:
    return (await backlog(here.line.pool)).missing["waiting"]


# -------------------------------------------------------------------------------------------------------------- B4, B5


async def test_what_the_log_has_and_we_have_not_is_processed(here: World) -> None:
    """B4: deliveries that failed, and one that GitHub believes delivered, are pulled and judged; nothing else is."""
    pusher, poller = await Pusher.enrol(here), _poller(here)
    assert await _looked(here, poller) == 0
    lose(here.line, event="check_suite")
    failed = lose(here.line, "failed", event="push", times=1)
    await pusher.work(0)
    believed = lose(here.line, "delivered", event="push", times=1)
    await pusher.work(1)
    assert (failed.fired, believed.fired) == (1, 1)

    assert await _looked(here, poller) == 2

    assert await pusher.differences() == []
    assert await _gap(here) == 0
    asked = [each.path for each in here.line.sandbox.exchanges if "/hook/deliveries/" in each.path]
    assert len(asked) == 2


async def test_what_was_processed_is_not_repeated(here: World) -> None:
    """B5: a delivery that was stored, and recorded by GitHub as timed out, is neither fetched nor judged again."""
    pusher, poller = await Pusher.enrol(here), _poller(here)
    here.line.sandbox.faults.add(Fault(Misreport(504), event="push"))
    await pusher.work(0, 1)
    await here.line.settle()
    before = await pusher.attempts()

    assert await _looked(here, poller) == 0

    assert await pusher.attempts() == before
    assert [each.path for each in here.line.sandbox.exchanges if "/hook/deliveries/" in each.path] == []


# ------------------------------------------------------------------------------------------------------------------ B7


async def test_a_long_failure_is_worked_through(
    here: World, record_testsuite_property: Callable[[str, object], None]
) -> None:
    """B7: of thousands of missed deliveries the few that matter are pulled and judged within five minutes.

    A small part of it here; all of it (7,000 with 270) in `make soak`.
    """
    learners, pushes, noise = (30, 9, 6_730) if SOAK else (2, 8, 400)
    pushers = [await Pusher.enrol(here) for _ in range(learners)]
    await here.line.settle()
    lost = lose(here.line, "failed")
    for turn in range(pushes):
        for pusher in pushers:
            await pusher.push(WORK[turn] if turn < 3 else {f"notes/{turn}.md": f"{turn}\n"})
        for number in range(noise // pushes):
            here.line.sandbox._core.deliveries.emit("check_run", "created", {"action": "created", "number": number})
    await here.line.sandbox.idle(300)
    lost.remove()
    missed = [each for each in here.line.sandbox.deliveries if each.attempts[-1].status_code == 502]
    assert len(missed) >= learners * pushes + noise // pushes * pushes
    began = time.monotonic()

    taken = await _poller(here).look()
    await here.line.settle(300)

    took = time.monotonic() - began
    record_testsuite_property("B7", f"{len(missed)} missed, {taken} relevant: {took:.1f} s")
    assert taken == learners * pushes
    assert took < 300
    asked = [each.path for each in here.line.sandbox.exchanges if "/hook/deliveries/" in each.path]
    assert len(asked) == taken
    assert [found for pusher in pushers for found in await pusher.differences()] == []


# ------------------------------------------------------------------------------------------------------------------ B8


@pytest.mark.parametrize("hours", [1, 71, 73])
async def test_an_outage_leaves_nothing_behind(here: World, hours: int) -> None:
    """B8: all of ours is down for so long while learners push, come and go; after the start all sessions are as git has
    them, also what is older than GitHub's log."""
    line, github = here.line, here.line.sandbox
    steady, hasty, rewriting, leaving = [await Pusher.enrol(here) for _ in range(4)]
    for pusher in (steady, hasty, rewriting, leaving):
        await pusher.work(0)
    await line.settle()

    async with Outage(line, hours * HOUR) as outage:
        await steady.work(1)
        await hasty.push({"tests/count.js": "// nothing is tested any more\n"})
        await rewriting.work(2)
        await rewriting.move(rewriting.heads[0])
        await github.uninstall(next(e.id for e in github.installations if e.account.id == leaving.fork.owner.id))
        github.add_account("learner-late")
        fork = await github.fork("octo-course/lab", "learner-late")
        await github.install("learner-late", [fork.full_name])
        late = Pusher(here, fork)
        await late.work(0)
        outage.later(hours * HOUR / 2)
        await steady.work(2)
        await late.work(1)
    await recover(line)

    for pusher in (steady, hasty, rewriting, late):
        assert await pusher.differences() == []
    assert (await hasty.session())["head_sha"] == hasty.head
    assert (await leaving.session())["deferred_by"] == "installation"
    assert await _gap(here) == 0
    if hours > 72:  # GitHub's log had nothing of these any more
        assert "reconcile" in {row["trigger"] for row in await hasty.attempts()}


# -------------------------------------------------------------------------------------------------------------- B9, B10


async def test_hooks_that_come_minutes_late(here: World) -> None:
    """B9: a push whose hook GitHub holds back is found by its head; the hook that comes after all changes nothing."""
    line = here.line
    pusher, poller = await Pusher.enrol(here), _poller(here)
    gate = asyncio.Event()

    async def held(_seconds: float) -> None:
        await gate.wait()

    line.sandbox.faults.sleep = held
    late = line.sandbox.faults.add(Fault(Delay(300), event="push|check_suite"))
    await pusher.work(0)
    assert late.fired >= 1
    assert await poller.look() == 0  # the log has nothing of it yet

    await line.pool.execute("UPDATE installation_look SET looked_at = NULL")
    await _round(here)
    assert await pusher.differences() == []
    runs = here.runs(pusher.fork, pusher.head)

    late.remove()
    gate.set()
    await line.settle()
    assert await _looked(here, poller) == 0
    assert here.runs(pusher.fork, pusher.head) == runs
    assert await pusher.differences() == []
    assert any(each.throttled_at for delivery in line.sandbox.deliveries for each in delivery.attempts)


async def _round(here: World) -> None:
    """One round, without waiting for what GitHub holds back."""
    await reconciler.begin_round(here.line.services)
    assert await reconciler.reconcile(here.line.services) == 1
    async with asyncio.timeout(20):
        while await here.line.pool.fetchval("SELECT count(*) FROM delivery WHERE state = 'waiting'") or (
            await here.line.pool.fetchval("SELECT count(*) FROM outbox WHERE state = 'wanted'")
        ):
            await asyncio.sleep(0.02)


async def test_pushes_of_which_github_tells_nobody(here: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """B10: a push whose event is too large to be sent, and one of too many branches, have no event at all; of too many
    tags only the branch has one. What is on the lab's branch is judged all the same."""
    if not SOAK:  # as many as GitHub takes need ten seconds
        monkeypatch.setattr(sandbox.pushes, "BRANCHES_MAX", 20)
    oversize, tags, branches = [await Pusher.enrol(here) for _ in range(3)]
    before = len([each for each in here.line.sandbox.deliveries if each.event == "push"])
    with monkeypatch.context() as limits:
        limits.setattr(sandbox.deliveries, "PAYLOAD_LIMIT", 1000)
        await oversize.work(0)
    await tags.push_with(*(f"refs/tags/v{number}" for number in range(4)))
    await branches.push_with(*(f"refs/heads/b{number}" for number in range(sandbox.pushes.BRANCHES_MAX)))
    await here.line.settle()
    told = [each.repository_id for each in here.line.sandbox.deliveries if each.event == "push"][before:]
    assert told == [tags.fork.id]

    assert await look_for_heads(here.line) == 2
    assert [found for each in (oversize, tags, branches) for found in await each.differences()] == []


# ------------------------------------------------------------------------------------------------------------ B11, B12


async def test_one_guid_for_two_apps(here: World) -> None:
    """B11: an event has the same GUID in the deliveries of every App. Another App's, which another secret has signed,
    is refused and does not stand in the way of ours, whichever way that comes."""
    pusher, poller = await Pusher.enrol(here), _poller(here)
    lost = lose(here.line, "failed", event="push|check_suite")
    await pusher.work(0, 1)
    await here.line.sandbox.idle()
    lost.remove()
    for delivery in [each for each in here.line.sandbox.deliveries if each.event == "push"]:
        foreign = delivery.payload.replace(b'"installation":', b'"other_installation":')
        assert await here.hook.post("push", foreign, UUID(delivery.guid), secret="the secret of another App") == 401

    first = next(each for each in here.line.sandbox.deliveries if each.event == "push")
    assert await here.post("push", first.payload, UUID(first.guid)) == 202
    assert await _looked(here, poller) == 1
    assert await pusher.differences() == []


async def test_a_log_that_changes_while_it_is_read(here: World) -> None:
    """B12: the next page fails, is empty, or is not known any more: nothing is lost, and the next look goes on."""
    pusher, poller = await Pusher.enrol(here), _poller(here)
    lost = lose(here.line, "failed", event="push|check_suite")
    for number in range(5):
        await pusher.push({f"notes/{number}.md": "x\n"})
        for other in range(60):
            here.line.sandbox._core.deliveries.emit("star", "created", {"number": other})
    await here.line.sandbox.idle()
    lost.remove()
    pages = "/app/hook/deliveries"
    failing = here.line.sandbox.faults.add(Fault(Answer(like="bad-gateway"), path=pages, after=1, times=1))
    with pytest.raises(Exception, match="502"):
        await poller.look()
    assert failing.fired == 1
    assert await _gap(here) == 0  # what was on the pages before was taken

    empty = here.line.sandbox.faults.add(Fault(Answer(200, "[]", content_type="application/json"), path=pages, times=1))
    assert await _looked(here, poller) == 0
    moved = here.line.sandbox.faults.add(
        Fault(Answer(400, '{"message": "Invalid cursor"}'), path=pages, after=1, times=1)
    )
    with pytest.raises(Exception, match="cursor"):
        await poller.look()
    assert (empty.fired, moved.fired) == (1, 1)

    await poller.look()
    await here.line.settle()
    assert await pusher.differences() == []
    assert len([row for row in await pusher.attempts() if row["trigger"] == "push"]) == 5

"""Group B: deliveries that come late, twice, under another name or never. In the end what GitHub has is judged."""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import AsyncIterator, Callable, Iterator
from uuid import UUID

import pytest
import pytest_asyncio

import sandbox.deliveries
import sandbox.pushes
from bot import reconciler
from bot.recovery import DeliveryPoller
from sandbox import Fault
from sandbox.effects import Answer, Delay, Misreport
from storage.health import backlog
from tests.support.deliveries import WORK, World, world
from tests.support.outages import Pusher, look_for_heads, lose

pytestmark = pytest.mark.asyncio(loop_scope="module")

SOAK = os.environ.get("SOAK") == "1"


@pytest_asyncio.fixture(scope="module", loop_scope="module", name="module_world")
async def _module_world(module_database: str) -> AsyncIterator[World]:
    """A running App with a published lab."""
    async with world(module_database, rate_limit=1_000_000) as here:
        yield here


@pytest.fixture(name="here")
def _here(module_world: World) -> Iterator[World]:
    """The same for each test; at the end GitHub behaves again."""
    faults = module_world.line.sandbox.faults
    before = list(faults)
    yield module_world
    for fault in faults:
        if fault not in before:
            faults.discard(fault)


def _poller(here: World) -> DeliveryPoller:
    return DeliveryPoller(here.line.pool, here.line.services.app, receives=True)


async def _looked(here: World, poller: DeliveryPoller) -> int:
    await here.line.sandbox.idle()
    taken = await poller.look()
    await here.line.settle()
    return taken


def _payloads(here: World, since: int) -> list[str]:
    """What was asked of GitHub's log beyond its pages. `since`: the number of exchanges before."""
    return [each.path for each in list(here.line.sandbox.exchanges)[since:] if "/hook/deliveries/" in each.path]


async def _gap(here: World) -> int:
    return (await backlog(here.line.pool)).missing["waiting"]


# -------------------------------------------------------------------------------------------------------------- B4, B5


async def test_what_the_log_has_and_we_have_not_is_processed(here: World) -> None:
    """B4: deliveries that failed, and one that GitHub believes delivered, are pulled and judged; nothing else is."""
    pusher, poller = await Pusher.enrol(here), _poller(here)
    assert await _looked(here, poller) == 0
    since = len(here.line.sandbox.exchanges)
    lose(here.line, event="check_suite")
    failed = lose(here.line, "failed", event="push", times=1)
    await pusher.work(0)
    believed = lose(here.line, "delivered", event="push", times=1)
    await pusher.work(1)
    assert (failed.fired, believed.fired) == (1, 1)

    assert await _looked(here, poller) == 2

    assert await pusher.differences() == []
    assert await _gap(here) == 0
    assert len(_payloads(here, since)) == 2


async def test_what_was_processed_is_not_repeated(here: World) -> None:
    """B5: a delivery that was stored, and recorded by GitHub as timed out, is neither fetched nor judged again."""
    pusher, poller = await Pusher.enrol(here), _poller(here)
    here.line.sandbox.faults.add(Fault(Misreport(504), event="push"))
    await pusher.work(0, 1)
    await here.line.settle()
    before, since = await pusher.attempts(), len(here.line.sandbox.exchanges)

    assert await _looked(here, poller) == 0

    assert await pusher.attempts() == before
    assert _payloads(here, since) == []


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
    since, logged = len(here.line.sandbox.exchanges), len(here.line.sandbox.deliveries)
    lost = lose(here.line, "failed")
    for turn in range(pushes):
        for pusher in pushers:
            await pusher.push(WORK[turn] if turn < 3 else {f"notes/{turn}.md": f"{turn}\n"})
        for number in range(noise // pushes):
            here.line.sandbox._core.deliveries.emit("check_run", "created", {"action": "created", "number": number})
    await here.line.sandbox.idle(300)
    lost.remove()
    missed = [each for each in here.line.sandbox.deliveries[logged:] if each.attempts[-1].status_code == 502]
    assert len(missed) >= learners * pushes + noise // pushes * pushes
    began = time.monotonic()

    taken = await _poller(here).look()
    await here.line.settle(300)

    took = time.monotonic() - began
    record_testsuite_property("B7", f"{len(missed)} missed, {taken} relevant: {took:.1f} s")
    assert taken == learners * pushes
    assert took < 300
    assert len(_payloads(here, since)) == taken
    assert [found for pusher in pushers for found in await pusher.differences()] == []


# -------------------------------------------------------------------------------------------------------------- B9, B10


async def test_hooks_that_come_minutes_late(here: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """B9: a push whose hook GitHub holds back is found by its head; the hook that comes after all changes nothing."""
    line = here.line
    pusher, poller = await Pusher.enrol(here), _poller(here)
    gate = asyncio.Event()

    async def held(_seconds: float) -> None:
        await gate.wait()

    monkeypatch.setattr(line.sandbox.faults, "sleep", held)
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
    mine = (each for each in here.line.sandbox.deliveries if each.repository_id == pusher.fork.id)
    pushes = [each for each in mine if each.event == "push"]
    assert len(pushes) == 2
    for delivery in pushes:
        foreign = delivery.payload.replace(b'"installation":', b'"other_installation":')
        assert await here.hook.post("push", foreign, UUID(delivery.guid), secret="the secret of another App") == 401

    assert await here.post("push", pushes[0].payload, UUID(pushes[0].guid)) == 202
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

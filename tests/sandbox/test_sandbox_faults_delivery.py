"""Scripted faults of deliveries: late, twice, out of order, lost, misreported, paused."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer

from sandbox import Fault, Installation, Sandbox
from sandbox.effects import Delay, Duplicate, Lose, Misreport, Pause, Reorder
from tests.support.githost import ApiClient, WorkingCopy


class Inbox:
    """A receiver that remembers the action and GUID of what it got."""

    def __init__(self) -> None:
        self.got: list[tuple[str, str]] = []

    async def handle(self, request: web.Request) -> web.Response:
        """Take it."""
        self.got.append(((await request.json()).get("action", ""), request.headers["X-GitHub-Delivery"]))
        return web.Response(status=202)

    @property
    def actions(self) -> list[str]:
        """What came, in the order in which it came."""
        return [action for action, _ in self.got]


@pytest.fixture
async def inbox(sandbox: Sandbox) -> AsyncIterator[Inbox]:
    """A receiver that the sandbox sends to; the App is not installed yet."""
    made = Inbox()
    app = web.Application()
    app.router.add_post("/webhook", made.handle)
    async with TestServer(app, host="127.0.0.1") as server:
        sandbox.webhook_url = str(server.make_url("/webhook"))
        yield made


@pytest.fixture
async def person(sandbox: Sandbox, inbox: Inbox) -> Installation:
    """An installation whose first delivery has arrived and is forgotten."""
    made = await sandbox.install("learner-one")
    await sandbox.idle()
    inbox.got.clear()
    return made


async def cycle(sandbox: Sandbox, installation: Installation, times: int = 1) -> None:
    """Suspend and unsuspend: two deliveries each time."""
    for _ in range(times):
        await sandbox.suspend(installation.id)
        await sandbox.unsuspend(installation.id)


async def logged(api: ApiClient) -> list[tuple[str, int, bool]]:
    """Action, code and whether it was throttled, of the log's items, oldest first."""
    items = (await api.app("GET", "/app/hook/deliveries")).body[::-1]
    return [(item["action"], item["status_code"], item["throttled_at"] is not None) for item in items]


async def test_a_delay_lets_others_overtake(
    sandbox: Sandbox, api: ApiClient, inbox: Inbox, person: Installation
) -> None:
    """The delayed delivery comes last, after as many seconds as told, and the log says that it was held back."""
    going_on, asked = asyncio.Event(), []

    async def sleep(seconds: float) -> None:
        asked.append(seconds)
        await going_on.wait()

    sandbox.faults.sleep = sleep
    fault = sandbox.faults.add(Fault(Delay(180), event="installation", action="suspend"))
    await cycle(sandbox, person)
    with pytest.raises(TimeoutError):
        await sandbox.idle(timeout=0.1)
    assert (inbox.actions, asked) == (["unsuspend"], [180])
    going_on.set()
    await sandbox.idle()
    assert inbox.actions == ["unsuspend", "suspend"]
    assert (await logged(api))[1:] == [("suspend", 202, True), ("unsuspend", 202, False)]
    assert (fault.fired, sandbox.faults.fired[0].detail) == (1, "180 s")


async def test_a_duplicate_has_one_guid_and_one_entry(
    sandbox: Sandbox, api: ApiClient, inbox: Inbox, person: Installation
) -> None:
    """It arrives as often as told; the log knows of one."""
    sandbox.faults.add(Fault(Duplicate(5), action="suspend"))
    await cycle(sandbox, person)
    await sandbox.idle()
    assert inbox.actions == [*["suspend"] * 5, "unsuspend"]
    assert len(set(inbox.got)) == 2
    assert len(await logged(api)) == 3


async def test_deliveries_are_sent_in_another_order(sandbox: Sandbox, inbox: Inbox, person: Installation) -> None:
    """A full group goes backwards; the rest goes when its time is up, or when the fault is taken out."""
    backwards = sandbox.faults.add(Fault(Reorder(3, seconds=0.02)))
    await cycle(sandbox, person, 2)
    await sandbox.idle()
    assert inbox.actions == ["suspend", "unsuspend", "suspend", "unsuspend"]
    assert [guid for _, guid in inbox.got[:3]] == [each.guid for each in sandbox.deliveries[3:0:-1]]
    assert backwards.fired == 4
    backwards.remove()
    inbox.got.clear()
    held = sandbox.faults.add(Fault(Reorder(9, seconds=600)))
    await cycle(sandbox, person)
    held.remove()
    await sandbox.idle()
    assert inbox.actions == ["unsuspend", "suspend"]


async def test_a_shuffle_is_the_same_for_a_seed(sandbox: Sandbox, inbox: Inbox, person: Installation) -> None:
    """A shuffled group arrives whole, and in the same order for the same seed."""

    async def order(seed: int) -> list[int]:
        inbox.got.clear()
        born = len(sandbox.deliveries)
        fault = sandbox.faults.add(Fault(Reorder(6, how="shuffled"), seed=seed, times=6))
        await cycle(sandbox, person, 3)
        await sandbox.idle()
        fault.remove()
        return [[each.guid for each in sandbox.deliveries[born:]].index(guid) for _, guid in inbox.got]

    first = await order(1)
    assert sorted(first) == list(range(6))
    assert first != list(range(6))
    assert await order(1) == first
    assert await order(2) != first


@pytest.mark.parametrize("case", [("failed", 502), ("delivered", 200), ("nothing", None)])
async def test_a_lost_delivery_never_arrives(
    sandbox: Sandbox, api: ApiClient, inbox: Inbox, person: Installation, case: tuple[Any, int | None]
) -> None:
    """The log has it as failed, as delivered, or not at all; what is in the log can be sent again."""
    log, code = case
    sandbox.faults.add(Fault(Lose(log), action="suspend", times=1))
    await cycle(sandbox, person)
    await sandbox.idle()
    assert inbox.actions == ["unsuspend"]
    lost = [] if code is None else [("suspend", code, False)]
    assert (await logged(api))[1:] == [*lost, ("unsuspend", 202, False)]
    if code is not None:
        await sandbox.redeliver(sandbox.deliveries[1].guid)
        await sandbox.idle()
        assert inbox.actions == ["unsuspend", "suspend"]


async def test_the_log_may_be_wrong(sandbox: Sandbox, api: ApiClient, inbox: Inbox, person: Installation) -> None:
    """A delivery that arrived and was answered stands in the log as timed out."""
    sandbox.faults.add(Fault(Misreport(), action="suspend"))
    await cycle(sandbox, person)
    await sandbox.idle()
    assert inbox.actions == ["suspend", "unsuspend"]
    assert (await logged(api))[1:] == [("suspend", 504, False), ("unsuspend", 202, False)]


async def test_a_paused_hook_sends_later(sandbox: Sandbox, api: ApiClient, inbox: Inbox, person: Installation) -> None:
    """Nothing arrives or is logged while it is paused, and nobody waits for it; afterwards all comes in its order."""
    pause = sandbox.faults.add(Fault(Pause()))
    await cycle(sandbox, person)
    await sandbox.idle(timeout=1)
    assert (inbox.actions, len(await logged(api))) == ([], 1)
    pause.remove()
    await sandbox.idle()
    assert inbox.actions == ["suspend", "unsuspend"]
    assert (await logged(api))[1:] == [("suspend", 202, True), ("unsuspend", 202, True)]


async def test_a_fault_fits_by_event_installation_and_repository(
    sandbox: Sandbox, inbox: Inbox, person: Installation, lab: WorkingCopy
) -> None:
    """All must fit; faults of deliveries leave requests alone; several may happen to one delivery."""
    course = await sandbox.install("octo-course")
    await sandbox.idle()
    inbox.got.clear()
    pushes = sandbox.faults.add(Fault(Duplicate(2), event="push", repository="Octo-Course/Lab", installation=course.id))
    other = sandbox.faults.add(Fault(Lose(), event="push", installation=person.id))
    late = sandbox.faults.add(Fault(Lose(), event="push|check_suite", repository=7))
    again = sandbox.faults.add(Fault(Duplicate(3), event="push", times=1))
    await lab.commit({"a.txt": "a"})
    await lab.push()
    await sandbox.idle()
    assert len(inbox.got) == 2 * 3 + 1, "a push six times, its check suite once"
    assert [pushes.fired, other.fired, late.fired, again.fired] == [1, 0, 0, 1]


async def test_a_sandbox_stops_with_deliveries_held_back(sandbox: Sandbox, inbox: Inbox, person: Installation) -> None:
    """What is delayed, paused or waits for its group is given up."""
    sandbox.faults.add(Fault(Delay(600), action="suspend", times=1))
    sandbox.faults.add(Fault(Reorder(9), action="unsuspend", times=1))
    await cycle(sandbox, person)
    sandbox.faults.add(Fault(Pause()))
    await cycle(sandbox, person)
    async with asyncio.timeout(5):
        await sandbox.stop()
    assert inbox.actions == ["unsuspend"], "a Reorder that cannot get more sends what it has"

"""The governor that processes share, with a database that is scripted: leases, places, refusals, life without it."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from typing import Any

import pytest

from github.endpoints import endpoint_of, points_of
from github.errors import RateLimited
from github.governor_shared import SharedGovernor
from storage.budgets import Budgets, Callers, Grant, Pause, WriteRules
from tests.support.fault_server import FakeClock

RUNS, TREES = "repos/{}/{}/check-runs", "repos/{}/{}/git/trees/{}"


class ScriptedBudgets(Budgets):
    """A database that says what a test wants; `asked` counts its statements. `down`: it is away."""

    def __init__(self, *, callers: int = 1, known: bool = True) -> None:
        self.asked: list[str] = []
        self.rules: list[WriteRules] = []
        self.wanted: list[int] = []
        self.present = Callers(callers, known)
        self.write = Grant(5, 0.0)
        self.read: Grant | None = None
        self.down = False

    def _ask(self, what: str) -> None:
        self.asked.append(what)
        if self.down:
            raise ConnectionRefusedError

    async def reserve_write(self, installation_id: int, endpoint: str, points: int, rules: WriteRules) -> Grant:
        """The scripted answer to a write."""
        self._ask("write")
        self.rules.append(rules)
        return self.write

    async def lease_reads(self, installation_id: int, endpoint: str, most: int, wanted: int, least: int) -> Grant:
        """All that is wanted, unless a test says otherwise."""
        self._ask("lease")
        self.wanted.append(wanted)
        return self.read or Grant(wanted, 0.0)

    async def pause(self, installation_id: int, kind: Any, *, named: bool, seconds: float, **_: Any) -> Pause:
        """A limit lasts twice as long as this process knows."""
        self._ask("pause")
        return Pause(seconds * 2, kind, named)

    async def callers(self, holder: str, alive: timedelta) -> Callers:
        """As many as the test says."""
        self._ask("callers")
        return self.present


def governor(clock: FakeClock, budgets: Budgets, interval: float = 0.2, **more: Any) -> SharedGovernor:
    """A governor whose time passes only when it sleeps."""
    return SharedGovernor(budgets, "me", interval, now=clock.now, sleep=clock.sleep, **more)


async def read(shared: SharedGovernor, key: int = 1, endpoint: str = TREES) -> None:
    """One read."""
    async with shared.turn(key, write=False, endpoint=endpoint):
        pass


async def write(shared: SharedGovernor, key: int = 1, endpoint: str = RUNS) -> None:
    """One write."""
    async with shared.turn(key, write=True, endpoint=endpoint, points=5):
        pass


def limit(clock: FakeClock, seconds: float) -> RateLimited:
    """A secondary limit of that many seconds from now."""
    return RateLimited("slow", until=clock.now() + seconds, retry_after=seconds, kind="secondary", explicit=True)


async def test_a_write_costs_one_statement_and_waits_for_its_moment(clock: FakeClock) -> None:
    """The moment that was reserved is waited for; nothing else is asked."""
    budgets = ScriptedBudgets()
    shared = governor(clock, budgets)
    await write(shared)
    budgets.write = Grant(5, 1.5)
    before = clock.now()
    await write(shared)
    assert clock.now() - before == pytest.approx(1.5)
    assert budgets.asked == ["callers", "write", "write"]
    assert budgets.rules[0] == WriteRules(0.2, 875, 0, 0, 3.0)


async def test_the_strict_profile_asks_for_eighty_a_minute_and_500_an_hour(clock: FakeClock) -> None:
    """The profile's figures go with each reservation."""
    budgets = ScriptedBudgets()
    await write(governor(clock, budgets, strict=True))
    assert (budgets.rules[0].per_minute, budgets.rules[0].per_hour) == (80, 500)


async def test_no_distance_means_no_limits_but_for_the_strict_profile(clock: FakeClock) -> None:
    """A distance of 0 is for a GitHub without limits: its points are not limited either."""
    budgets = ScriptedBudgets()
    await write(governor(clock, budgets, 0.0))
    await write(governor(clock, budgets, 0.0, strict=True))
    assert [rules.points for rules in budgets.rules] == [1_000_000_000, 875]


async def test_a_refusal_brings_back_the_points_of_reads(clock: FakeClock) -> None:
    """Where there were to be no limits GitHub has set one: until it is forgiven reads keep to the points as well."""
    budgets = ScriptedBudgets(known=False)
    shared = governor(clock, budgets, 0.0)
    most: list[int] = []

    async def noted(_installation: int, _endpoint: str, points: int, wanted: int, _least: int) -> Grant:
        most.append(points)
        return Grant(wanted, 0.0)

    budgets.lease_reads = noted  # type: ignore[assignment, method-assign]
    await read(shared)
    await shared.pause(1, limit(clock, 30))
    for seconds in (61, 61, 600):
        clock.time += seconds
        await read(shared)
    assert [points > 900 for points in most] == [True, False, False, True]


async def test_a_few_reads_cost_no_statement_and_many_cost_one_for_fifty(clock: FakeClock) -> None:
    """The first reads of a minute are small change; then leases grow with the use."""
    budgets = ScriptedBudgets()
    shared = governor(clock, budgets)
    for _ in range(12):
        await read(shared)
    assert budgets.asked == ["callers"]
    for _ in range(500):
        await read(shared)
    assert budgets.wanted[:6] == [5, 10, 20, 40, 50, 50]
    assert len(budgets.wanted) <= 15


async def test_what_is_left_of_a_lease_is_worth_nothing_after_a_while(clock: FakeClock) -> None:
    """Points are used within seconds of being counted, or counted again; a lease that was not used up does not grow."""
    budgets = ScriptedBudgets()
    shared = governor(clock, budgets)
    for _ in range(14):
        await read(shared)
    assert budgets.wanted == [5]
    clock.time += 3.5
    await read(shared)
    assert budgets.wanted == [5, 5]
    clock.time -= 3600  # a clock that was set back makes no lease longer
    for _ in range(13):  # twelve of them are small change
        await read(shared)
    assert budgets.wanted == [5, 5, 5]


async def test_reads_wait_a_little_for_points_and_give_up_on_much(clock: FakeClock) -> None:
    """A short wait is waited for; a long one is an error that says when to come back."""
    budgets = ScriptedBudgets(known=False)  # a newcomer has no small change
    shared = governor(clock, budgets)
    budgets.read = Grant(0, 40.0, "pace")
    with pytest.raises(RateLimited) as refused:
        await read(shared)
    assert refused.value.until == clock.now() + 40
    budgets.read = Grant(0, 2.0, "pace")
    reading = asyncio.create_task(read(shared))
    while not clock.slept:
        await asyncio.sleep(0)
    budgets.read = None
    await reading
    assert set(clock.slept) == {2.0}


async def test_a_paused_installation_asks_nothing_until_then_and_others_go_on(clock: FakeClock) -> None:
    """What the database says of a limit is believed until it ends; it costs one statement."""
    budgets = ScriptedBudgets()
    shared = governor(clock, budgets)
    held = await shared.pause(1, limit(clock, 30))
    assert held.until == clock.now() + 60  # the database knew of more
    for _ in range(3):
        for attempt in (read(shared), write(shared)):
            with pytest.raises(RateLimited):
                await attempt
    assert budgets.asked == ["pause"]
    await write(shared, 2)
    clock.time += 61
    await write(shared)


async def test_a_refused_write_is_not_asked_for_again_before_its_time(clock: FakeClock) -> None:
    """After a refusal for our own pace writes of this installation fail at once, reads go on."""
    budgets = ScriptedBudgets()
    shared = governor(clock, budgets)
    budgets.write = Grant(0, 20.0, "pace")
    for _ in range(5):
        with pytest.raises(RateLimited) as refused:
            await write(shared)
        assert refused.value.until == clock.now() + 20
    await read(shared)
    assert budgets.asked == ["callers", "write"]
    clock.time += 20
    budgets.write = Grant(5, 0.0)
    await write(shared)


async def test_a_command_waits_for_its_turn(clock: FakeClock) -> None:
    """Where a worker gives its work back, a command waits until there is room, and not for an hour."""
    budgets = ScriptedBudgets()
    shared = governor(clock, budgets, patience=75.0)
    budgets.write = Grant(0, 60.0, "pace")
    writing = asyncio.create_task(write(shared))
    while not clock.slept:
        await asyncio.sleep(0)
    budgets.write = Grant(5, 0.0)
    await writing
    assert set(clock.slept) == {60.0}
    budgets.write = Grant(0, 3000.0, "pace")
    with pytest.raises(RateLimited):
        await write(shared)


async def test_other_processes_tell_of_a_limit_at_once(clock: FakeClock) -> None:
    """A notification stops an installation that this process knows; one of another installation does nothing."""
    shared = governor(clock, ScriptedBudgets())
    await read(shared)
    shared.heard("1 59.5 secondary f")
    shared.heard("2 59.5 primary t")
    with pytest.raises(RateLimited) as refused:
        await read(shared)
    assert (refused.value.retry_after, refused.value.explicit) == (59.5, False)
    await read(shared, 2)


@pytest.mark.parametrize(("callers", "known", "places"), [(1, True, 50), (3, True, 25), (1, False, 4), (60, True, 2)])
async def test_processes_part_the_places(clock: FakeClock, callers: int, known: bool, places: int) -> None:
    """Requests under way are at most this process's part of 100; a third of the places are for writes."""
    shared = governor(clock, ScriptedBudgets(callers=callers, known=known))
    under_way: list[bool] = []
    release = asyncio.Event()

    async def one(write_: bool) -> None:
        async with shared.turn(1, write=write_, endpoint=RUNS if write_ else TREES):
            under_way.append(write_)
            await release.wait()

    tasks = [asyncio.create_task(one(number % 2 == 0)) for number in range(120)]
    for _ in range(2000):
        await asyncio.sleep(0)
    assert len(under_way) == places
    assert sum(under_way) == max(1, places // 3)
    release.set()
    await asyncio.gather(*tasks)
    assert len(under_way) == 120


async def test_who_sleeps_holds_no_place(clock: FakeClock) -> None:
    """While a write waits for its moment, all of the other places can be used."""
    budgets = ScriptedBudgets(callers=49)  # two places: one for reads, one for writes
    held: list[int] = []

    async def sleep(_seconds: float) -> None:
        state = shared._states[1]
        held.append(state.reads.taken + state.writes.taken)
        await asyncio.sleep(0)

    shared = SharedGovernor(budgets, "me", now=clock.now, sleep=sleep)
    budgets.write = Grant(5, 1.0)
    await asyncio.gather(write(shared), write(shared))
    assert held in ([0, 0], [0, 1])  # the first one may be under way while the second one sleeps


async def test_a_cancelled_request_gives_its_place_back(clock: FakeClock) -> None:
    """Whoever is cancelled, waiting or under way, keeps nothing."""
    shared = governor(clock, ScriptedBudgets(callers=49))
    never = asyncio.Event()

    async def hang() -> None:
        async with shared.turn(1, write=True, endpoint=RUNS):
            await never.wait()

    tasks = [asyncio.create_task(hang()) for _ in range(3)]
    for _ in range(50):
        await asyncio.sleep(0)
    for task in reversed(tasks):
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    async with asyncio.timeout(5):
        await write(shared)
    assert shared._states[1].writes.taken == 0


async def test_without_the_database_the_pace_is_kept_by_itself(clock: FakeClock) -> None:
    """Writes keep the distance times the known processes, reads a part of the points; the database is asked again."""
    budgets = ScriptedBudgets(callers=3)
    shared = governor(clock, budgets, 0.0)
    await write(shared)
    budgets.down = True
    began = clock.now()
    for _ in range(11):
        await write(shared)
    assert clock.now() - began > 10 * 0.2 * 3 - 0.01
    assert budgets.asked.count("write") <= 3  # asked again every few seconds
    refused = 0
    for _ in range(400):
        try:
            await read(shared)
        except RateLimited:
            refused += 1
    assert refused >= 400 - 875 // 3 - 8
    budgets.down = False
    clock.time += 6
    before = len(budgets.asked)
    await write(shared)
    assert "write" in budgets.asked[before:]


async def test_without_the_database_a_limit_holds_in_this_process(clock: FakeClock) -> None:
    """GitHub's limit is kept as GitHub said it."""
    budgets = ScriptedBudgets()
    budgets.down = True
    shared = governor(clock, budgets)
    await shared.pause(1, limit(clock, 30))
    with pytest.raises(RateLimited) as refused:
        await write(shared)
    assert refused.value.retry_after == 30


async def test_states_of_idle_installations_are_forgotten(clock: FakeClock, monkeypatch: pytest.MonkeyPatch) -> None:
    """Many installations do not fill the memory; what is paused or was just used is remembered."""
    monkeypatch.setattr("github.governor_shared._KEEP_STATES", 20)
    shared = governor(clock, ScriptedBudgets())
    await read(shared, 1)
    await shared.pause(1, limit(clock, 3000))
    for key in range(2, 100):
        clock.time += 10
        await read(shared, key)
        assert len(shared._states) <= 22
    with pytest.raises(RateLimited):
        await read(shared, 1)


@pytest.mark.parametrize(
    ("path", "endpoint"),
    [
        ("repos/octo-course/lab/check-runs", RUNS),
        ("repos/git/trees/check-runs", RUNS),
        ("repos/learner-one/lab/git/trees/0a1b?recursive=1", TREES),
        ("repos/o/r/commits/main/check-runs?per_page=100", "repos/{}/{}/commits/{}/check-runs"),
        ("repositories/17/statuses/0a1b", "repos/{}/{}/statuses/{}"),
        ("repositories/17", "repos/{}/{}"),
        ("repos/o/r", "repos/{}/{}"),
        ("repos/o/r/git/ref/heads/main", "repos/{}/{}/git/ref/heads/{}"),
        ("repos/o/r/git/ref/heads/commits", "repos/{}/{}/git/ref/heads/{}"),
        ("repos/o/r/commits/heads/check-runs", "repos/{}/{}/commits/{}/check-runs"),
        ("users/actions", "users/{}"),
        ("app/installations/71/access_tokens", "app/installations/{}/access_tokens"),
        ("", "{}"),
    ],
)
def test_endpoints_are_told_apart_by_their_path(path: str, endpoint: str) -> None:
    """Owners, names, shas and numbers are parameters, also a branch called like a word; the rest names the endpoint."""
    assert endpoint_of(path) == endpoint
    assert (points_of("GET"), points_of("POST"), points_of("PATCH")) == (1, 5, 5)


async def test_a_limit_holds_here_before_the_database_has_answered(clock: FakeClock) -> None:
    """While the database takes its time, or whoever was told is cancelled, nothing more is sent by this process."""
    budgets, answers = ScriptedBudgets(), asyncio.Event()
    shared = governor(clock, budgets)
    await read(shared)
    said = budgets.pause

    async def slowly(installation_id: int, kind: Any, *, named: bool, seconds: float, **more: Any) -> Pause:
        await answers.wait()
        return await said(installation_id, kind, named=named, seconds=seconds, **more)

    budgets.pause = slowly  # type: ignore[method-assign]
    told = asyncio.create_task(shared.pause(1, limit(clock, 30)))
    await asyncio.sleep(0)
    with pytest.raises(RateLimited):
        await read(shared)
    told.cancel()
    await asyncio.gather(told, return_exceptions=True)
    with pytest.raises(RateLimited):
        await write(shared)
    answers.set()


async def test_a_limit_that_the_database_did_not_hear_of_is_told_later(clock: FakeClock) -> None:
    """Other processes learn of it when the database is back, as long as it holds; once."""
    budgets = ScriptedBudgets()
    shared = governor(clock, budgets)
    budgets.down = True
    await shared.pause(1, limit(clock, 30))
    await shared.pause(2, limit(clock, 3))
    budgets.down = False
    clock.time += 6
    budgets.asked.clear()
    for _ in range(3):
        with pytest.raises(RateLimited):
            await read(shared, 1)
        await read(shared, 2)
    assert budgets.asked.count("pause") == 1

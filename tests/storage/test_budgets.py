"""Budgets of installations in the database: shared, counted by its clock, forgotten when idle."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from typing import Any

import pytest

from storage import budgets
from storage.budgets import Budgets, Grant, WriteRules
from storage.database import Pool

RULES = WriteRules(distance=0.2, points=875, per_minute=0, per_hour=0, longest_wait=3.0)
FAST = WriteRules(distance=0.0, points=875, per_minute=0, per_hour=0, longest_wait=3.0)
RUNS, STATUSES = "repos/{}/{}/check-runs", "repos/{}/{}/statuses/{}"
ALIVE = timedelta(seconds=40)


@pytest.fixture(name="shared")
def _shared(pool: Pool) -> Budgets:
    return Budgets(pool)


async def pass_time(pool: Pool, seconds: float) -> None:
    """Let everything in the database be that much older."""
    gone = timedelta(seconds=seconds)
    await pool.execute(
        "UPDATE github_budget SET blocked_until = blocked_until - $1::interval, slow_since = slow_since - $1::interval",
        gone,
    )
    await pool.execute("UPDATE github_pace SET next_write_at = next_write_at - $1::interval", gone)
    await pool.execute("UPDATE github_caller SET seen_at = seen_at - $1::interval", gone)
    # the slots move by whole numbers: the element of a slot is its number modulo the length
    for row in await pool.fetch("SELECT * FROM github_window"):
        slots, length = int(seconds / row["slot_seconds"]), len(row["used"])
        old: list[int] = list(row["used"])
        moved = [old[(number + slots) % length] for number in range(length)]
        await pool.execute(
            "UPDATE github_window SET slot = slot - $3, used = $4 WHERE (installation_id, name) = ($1, $2)",
            row["installation_id"],
            row["name"],
            slots,
            moved,
        )


async def pause(shared: Budgets, kind: Any = "secondary", *, named: bool = False, seconds: float = 60.0) -> float:
    """GitHub sets installation 1 a limit; the seconds that hold."""
    held = await shared.pause(1, kind, named=named, seconds=seconds, longest=960, forgiven=600)
    return held.wait


async def reserved(pool: Pool, ahead: float) -> None:
    """The next write of installation 1 is so many seconds ahead."""
    await pool.execute(
        "INSERT INTO github_pace VALUES (1, clock_timestamp() + $1::interval, false) ON CONFLICT (installation_id)"
        " DO UPDATE SET next_write_at = excluded.next_write_at",
        timedelta(seconds=ahead),
    )


async def distance(pool: Pool, shared: Budgets) -> float:
    """Seconds from the next write to the one after it."""
    await reserved(pool, 2.5)  # in the future, however long the statements take
    before = await pool.fetchval("SELECT next_write_at FROM github_pace WHERE installation_id = 1")
    assert (await shared.reserve_write(1, RUNS, 5, RULES)).refused is None
    after = await pool.fetchval("SELECT next_write_at FROM github_pace WHERE installation_id = 1")
    return float((after - before).total_seconds())


async def test_writes_of_all_processes_queue_without_asking_again(pool: Pool, shared: Budgets) -> None:
    """Ten processes that ask at once get ten moments, one distance apart from each other; installations are apart."""
    await reserved(pool, 0.5)
    first = await pool.fetchval("SELECT next_write_at FROM github_pace")
    grants = await asyncio.gather(*(shared.reserve_write(1, RUNS, 5, RULES) for _ in range(10)))
    last = await pool.fetchval("SELECT next_write_at FROM github_pace")
    assert (last - first).total_seconds() >= 10 * 0.2
    assert [grant.taken for grant in grants] == [5] * 10
    assert len({grant.wait for grant in grants}) == 10
    assert await shared.reserve_write(2, RUNS, 5, RULES) == Grant(5, 0.0)


async def test_a_wait_that_is_too_long_reserves_nothing(pool: Pool, shared: Budgets) -> None:
    """Whoever would wait longer than the longest wait is told when to come back, and moves nobody's turn."""
    await reserved(pool, 20)
    refused = await shared.reserve_write(1, RUNS, 5, RULES)
    again = await shared.reserve_write(1, RUNS, 5, RULES)
    assert (refused.refused, refused.taken) == ("pace", 0)
    assert 10 < again.wait < refused.wait <= 20


async def test_an_endpoint_never_gets_more_points_than_a_minute_has(pool: Pool, shared: Budgets) -> None:
    """What is used within a window is refused, with the time at which there is room; the installation waits for it."""
    most = 875
    grants = [await shared.reserve_write(1, RUNS, 5, FAST) for _ in range(175)]
    assert sum(grant.taken for grant in grants) == most
    refused = await shared.reserve_write(1, RUNS, 5, FAST)
    assert refused.refused == "pace"
    assert 60 < refused.wait <= 70
    assert (await shared.reserve_write(1, STATUSES, 5, FAST)).refused == "pace"  # the claim leaves it alone till then
    await pass_time(pool, 30)
    still = await shared.lease_reads(1, RUNS, most, 50, 1)
    assert (still.taken, still.refused) == (0, "pace")
    await pass_time(pool, 40)
    assert (await shared.reserve_write(1, RUNS, 5, FAST)).refused is None


async def test_a_refusal_ends_the_belief_that_there_are_no_limits(pool: Pool, shared: Budgets) -> None:
    """Without a distance and limits there is no pace; after a secondary limit there are both."""
    free = WriteRules(distance=0.0, points=1_000_000_000, per_minute=0, per_hour=0, longest_wait=3.0)
    grants = [await shared.reserve_write(1, RUNS, 5, free) for _ in range(200)]
    assert all(grant == Grant(5, 0.0) for grant in grants)
    await pause(shared, named=True, seconds=1)
    await pass_time(pool, 2)
    assert (await shared.reserve_write(1, RUNS, 5, free)).refused == "pace"  # those 200 count
    await pass_time(pool, 70)
    assert (await shared.reserve_write(1, RUNS, 5, free)).refused is None


async def test_points_leave_the_window_bit_by_bit(pool: Pool, shared: Budgets) -> None:
    """What was used a window ago is free again, what was used since is not."""
    assert (await shared.lease_reads(1, "tree", 100, 60, 1)).taken == 60
    await pass_time(pool, 40)
    assert (await shared.lease_reads(1, "tree", 100, 60, 1)).taken == 40
    await pass_time(pool, 30)
    assert (await shared.lease_reads(1, "tree", 100, 90, 1)).taken == 60


@pytest.mark.parametrize(("per_minute", "per_hour", "allowed"), [(80, 500, 80), (0, 7, 7)])
async def test_the_strict_profile_counts_writes_over_all_endpoints(
    shared: Budgets, per_minute: int, per_hour: int, allowed: int
) -> None:
    """At most so many writes a minute and an hour, whatever they are for."""
    strict = WriteRules(0.0, 875, per_minute, per_hour, 3.0)
    grants = [await shared.reserve_write(1, f"endpoint {number % 3}", 5, strict) for number in range(allowed + 3)]
    assert [grant.refused for grant in grants] == [None] * allowed + ["pace"] * 3


async def test_a_secondary_limit_silences_and_slows_and_quiet_minutes_forgive(pool: Pool, shared: Budgets) -> None:
    """The distance is doubled by each limit, and halved by each quiet minute, never below the setting."""
    assert await distance(pool, shared) == pytest.approx(0.2)
    for doubled in (0.4, 0.8, 1.6):
        assert await pause(shared, named=True, seconds=5) == pytest.approx(5, abs=2)
        refused = await shared.reserve_write(1, RUNS, 5, RULES)
        assert (refused.refused, refused.named) == ("secondary", True)
        assert (await shared.lease_reads(1, "tree", 875, 5, 1)).refused == "secondary"
        await pass_time(pool, 6)
        assert await distance(pool, shared) == pytest.approx(doubled)
    for halved in (0.8, 0.4, 0.2, 0.2):
        await pass_time(pool, 60)
        assert await distance(pool, shared) == pytest.approx(halved)


async def test_answers_to_one_limit_count_once(pool: Pool, shared: Budgets) -> None:
    """Requests that were under way when the limit came neither double the pause nor the distance again."""
    waits = await asyncio.gather(*(pause(shared) for _ in range(5)))
    assert max(waits) <= 60
    await pass_time(pool, 61)
    assert await distance(pool, shared) == pytest.approx(0.4)


async def test_limits_without_a_time_grow_until_they_are_forgiven(pool: Pool, shared: Budgets) -> None:
    """60 s, then twice as long each time up to 16 minutes; after ten quiet minutes 60 s again."""
    for expected in (60, 120, 240, 480, 960, 960):
        assert await pause(shared) == pytest.approx(expected, abs=3)
        await pass_time(pool, expected + 3)
    await pass_time(pool, 600)
    assert await pause(shared) == pytest.approx(60, abs=3)


async def test_a_later_end_is_not_shortened(shared: Budgets) -> None:
    """A short limit within a long one changes nothing; neither does it slow writes down when it is the hourly one."""
    assert await pause(shared, "primary", named=True, seconds=2400) == pytest.approx(2400, abs=3)
    assert await pause(shared, named=True, seconds=5) == pytest.approx(2400, abs=3)
    assert (await shared.reserve_write(1, RUNS, 5, RULES)).refused == "primary"


async def test_the_hourly_limit_keeps_the_distance(pool: Pool, shared: Budgets) -> None:
    """A used-up budget is no sign of writing too fast."""
    await pause(shared, "primary", named=True, seconds=10)
    await pass_time(pool, 11)
    assert await distance(pool, shared) == pytest.approx(0.2)


async def test_processes_count_each_other(pool: Pool, shared: Budgets) -> None:
    """A process is new at first, and counted while it goes on saying that it is there."""
    first, second = await shared.callers("a", ALIVE), await shared.callers("b", ALIVE)
    assert (first.count, first.known, second.count, second.known) == (1, False, 2, False)
    again = await shared.callers("a", ALIVE)
    assert (again.count, again.known) == (2, True)
    await pass_time(pool, 41)
    back = await shared.callers("a", ALIVE)
    assert (back.count, back.known) == (1, False)


async def test_a_clock_that_was_set_back_does_not_stop_writing(pool: Pool, shared: Budgets) -> None:
    """Counts and moments of a future that is no more are given up within a window's length."""
    await shared.reserve_write(1, RUNS, 5, RULES)
    await pass_time(pool, -86_400)
    grant = await shared.reserve_write(1, RUNS, 5, RULES)
    assert grant.wait <= 70 * 60
    assert (await shared.lease_reads(1, RUNS, 875, 50, 1)).taken == 50


async def test_idle_installations_leave_no_rows(pool: Pool, shared: Budgets) -> None:
    """What nobody used for hours is swept; what is in use stays."""
    await shared.reserve_write(1, RUNS, 5, RULES)
    await pause(shared)
    await shared.callers("a", ALIVE)
    assert await budgets.sweep(pool) == 0
    await pass_time(pool, 3 * 3600)
    await shared.reserve_write(2, RUNS, 5, RULES)
    assert await budgets.sweep(pool) == 4
    left = await pool.fetch("SELECT installation_id FROM github_pace UNION SELECT installation_id FROM github_window")
    assert [row["installation_id"] for row in left] == [2]

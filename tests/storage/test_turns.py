"""The order in which reports are claimed: repositories take turns, silent installations are passed over."""

from __future__ import annotations

import json
from collections.abc import Collection
from dataclasses import replace
from datetime import timedelta

import pytest

from rules.model import Conclusion
from storage import outbox
from storage.budgets import Budgets, WriteRules
from storage.database import Pool
from storage.outbox import OutboxItem
from storage.turns import AHEAD, CLAIM, CROWD, FRONT, TURNS_OF, drop_superseded
from tests.support.bindings import LEASE, Bound, a_report, bind, sha

RULES = WriteRules(distance=0.2, points=875, per_minute=0, per_hour=0, longest_wait=3.0)


@pytest.fixture(name="bound")
async def _bound(pool: Pool) -> Bound:
    return await bind(pool)


async def want(
    pool: Pool, bound: Bound, repo_id: int, heads: int, *, conclusion: Conclusion = "success", installation_id: int = 71
) -> None:
    """So many heads of a repository want a report."""
    for number in range(heads):
        report = a_report(bound, f"{repo_id} head {number}", conclusion=conclusion)
        wanted = replace(report, repo_id=repo_id, installation_id=installation_id, session_id=None)
        assert await outbox.want(pool, wanted)


async def claim(pool: Pool, limit: int = 1, *, not_of: Collection[int] = ()) -> tuple[OutboxItem, ...]:
    """Claim as a publisher does."""
    return await outbox.claim(pool, "p", LEASE, limit, each=6, each_repository=2, not_of=not_of)


async def sent(pool: Pool, item: OutboxItem) -> None:
    """Everything of the item was sent."""
    if item.check_run_due:
        await outbox.sent_check_run(pool, item, 1)
    if item.status_due and not item.status_waits:
        await outbox.sent_status(pool, item, 2)


async def order(pool: Pool, turns: int) -> list[int]:
    """The repositories of the next turns, each item sent before the next is claimed."""
    found = []
    for _ in range(turns):
        (item,) = await claim(pool)
        await sent(pool, item)
        found.append(item.repo_id)
    return found


@pytest.mark.parametrize("conclusion", ["success", "failure"])
async def test_a_busy_repository_delays_another_by_at_most_two_turns(
    pool: Pool, bound: Bound, conclusion: Conclusion
) -> None:
    """However much waits for one repository, and though it be failures, others are served after two of its items."""
    await want(pool, bound, 501, 30, conclusion=conclusion)
    assert await order(pool, 1) == [501]
    for repo_id in (502, 503, 504):
        await want(pool, bound, repo_id, 1)
    assert set((await order(pool, 5))[1:4]) == {502, 503, 504}
    await want(pool, bound, 505, 1)  # after the minute it has had its share of turns, and goes on
    assert (await order(pool, 2))[0] == 505


async def test_of_a_repository_only_two_reports_are_in_hand(pool: Pool, bound: Bound) -> None:
    """Over all publishers: others that come later find room."""
    await want(pool, bound, 501, 10)
    first = await claim(pool, 16)
    assert len(first) == 2
    assert await claim(pool, 16) == ()
    await want(pool, bound, 502, 1)
    (other,) = await claim(pool, 16)
    assert other.repo_id == 502
    await sent(pool, first[0])
    assert len(await claim(pool, 16)) == 1


async def test_of_an_installation_only_some_reports_are_taken(pool: Pool, bound: Bound) -> None:
    """One claim takes a few of each installation, and none of those that it shall leave alone."""
    for repo_id in range(501, 511):
        await want(pool, bound, repo_id, 1)
    await want(pool, bound, 601, 1, installation_id=72)
    await want(pool, bound, 701, 1, installation_id=73)
    items = await claim(pool, 16, not_of={73})
    assert sorted(item.installation_id for item in items) == [71] * 6 + [72]


async def test_silent_installations_are_passed_over_and_others_are_not_delayed(pool: Pool, bound: Bound) -> None:
    """What is paused by GitHub, or has its next write far ahead, takes no place in a claim, and is due when it ends."""
    shared = Budgets(pool)
    for repo_id in range(501, 521):
        await want(pool, bound, repo_id, 1, conclusion="failure")
        await want(pool, bound, repo_id + 100, 1, conclusion="failure", installation_id=72)
    await want(pool, bound, 701, 1, installation_id=73)
    await shared.pause(71, "primary", named=True, seconds=40, longest=960, forgiven=600)
    await shared.reserve_write(72, "runs", 5, RULES)
    await pool.execute("UPDATE github_pace SET next_write_at = now() + interval '10 seconds'")
    (item,) = await claim(pool, 16)
    assert item.installation_id == 73
    await sent(pool, item)
    due = await outbox.next_due(pool)
    assert due is not None
    assert 5 < due <= 9
    due = await outbox.next_due(pool, not_of={72})
    assert due is not None
    assert 30 < due <= 40
    await pool.execute("UPDATE github_budget SET blocked_until = now()")
    assert {item.installation_id for item in await claim(pool, 6)} == {71}


async def short(pool: Pool) -> None:
    """Installation 71 writes more slowly than it should."""
    await Budgets(pool).reserve_write(71, "runs", 5, replace(RULES, distance=0.0, per_minute=80, per_hour=500))


async def test_a_backlog_of_one_installation_hides_no_other(
    pool: Pool, bound: Bound, monkeypatch: pytest.MonkeyPatch
) -> None:
    """If all that has waited longest belongs to one installation, the others are found all the same, oldest first."""
    monkeypatch.setattr(outbox, "FRONT", 3)
    await want(pool, bound, 501, 5)
    await want(pool, bound, 601, 1, installation_id=74)
    await want(pool, bound, 602, 1, installation_id=72)
    await want(pool, bound, 603, 1, installation_id=73)

    claimed = await claim(pool, 16)

    assert {item.repo_id for item in claimed} == {501, 601, 602, 603}
    assert [item.repo_id for item in await claim(pool, 16)] == []
    await pool.execute("UPDATE outbox SET holder = NULL, leased_until = NULL")
    assert [item.installation_id for item in await claim(pool, 1, not_of=[71])] == [74]


async def test_a_claim_costs_the_same_however_many_installations_wait(pool: Pool) -> None:
    """Ten times as many learners wait, each with an installation of their own: a claim looks at no more of them."""

    async def pages(installations: int) -> int:
        await pool.execute("DELETE FROM outbox")
        await pool.execute(
            "INSERT INTO outbox (repo_id, head_sha, session_id, name, installation_id, repo_full_name, check_run, "
            "conclusion, wanted_digest, state) SELECT n, lpad(n::text, 40, '0'), gen_random_uuid(), 'stepgate', n, "
            "'learner-one/lab', '{}', 'success', 'x', 'wanted' FROM generate_series(1, $1) AS n",
            installations,
        )
        await pool.execute("VACUUM ANALYZE outbox")
        values: tuple[object, ...] = ("p", LEASE, 16, [], AHEAD, CROWD, TURNS_OF, 2, 6, FRONT)
        ((plan,),) = await pool.fetch("EXPLAIN (ANALYZE, BUFFERS, FORMAT JSON) " + CLAIM, *values)
        top = json.loads(plan)[0]["Plan"]
        assert top["Actual Rows"] == 16
        return int(top["Shared Hit Blocks"] + top["Shared Read Blocks"])

    few = await pages(1_000)
    many = await pages(10_000)
    assert many < 1.5 * few, (few, many)


async def test_with_a_short_budget_check_runs_come_before_statuses(pool: Pool, bound: Bound) -> None:
    """While much waits for a slowed installation, statuses wait until the check runs of all are sent."""
    for repo_id in range(501, 531):
        await want(pool, bound, repo_id, 1)
    (item,) = await claim(pool)
    assert (item.crowded, item.short) == (True, False)  # it is not slowed
    await sent(pool, item)
    await short(pool)
    parts = []
    for _ in range(29 + 9):
        (item,) = await claim(pool)
        parts.append("run" if item.check_run_due else "status")
        await sent(pool, item)
    assert parts[:29] == ["run"] * 29
    assert set(parts[29:]) == {"status"}


async def test_with_a_short_budget_heads_that_were_left_behind_are_dropped(pool: Pool, bound: Bound) -> None:
    """No report for an older head of a session that nothing was sent of, no status for one that has its check run."""
    heads = [sha(name) for name in ("one", "two", "three")]
    session_id = bound.session.session_id
    for name in ("one", "two", "three"):
        await outbox.want(pool, a_report(bound, name))
    await outbox.want(pool, replace(a_report(bound, "preview"), weak=True))
    (first,) = await claim(pool)
    assert first.head_sha == heads[0]
    await outbox.sent_check_run(pool, replace(first, short=True), 1)
    await pool.execute("UPDATE lab_session SET head_sha = $2 WHERE session_id = $1", session_id, heads[2])
    assert await drop_superseded(pool, 71) == 0  # wanted a moment ago: perhaps the head is back
    await pool.execute("UPDATE outbox SET updated_at = now() - interval '3 seconds'")
    assert await drop_superseded(pool, 72) == 0
    assert await drop_superseded(pool, 71) == 2
    rows = {row["head_sha"]: row["state"] for row in await pool.fetch("SELECT head_sha, state FROM outbox")}
    assert rows == {heads[0]: "sent", heads[2]: "wanted", sha("preview"): "wanted"}
    assert await outbox.want(pool, a_report(bound, "two"))  # the branch went back: it is reported after all
    assert await outbox.want(pool, a_report(bound, "one"))
    items = await outbox.claim(pool, "p", timedelta(seconds=30), 10)
    assert {(item.head_sha, item.check_run_due) for item in items} >= {(heads[1], True), (heads[0], False)}


async def test_what_was_tried_is_not_dropped(pool: Pool, bound: Bound) -> None:
    """A report of which something may have been posted is finished, whatever the session's head is."""
    for name in ("one", "two"):
        await outbox.want(pool, a_report(bound, name))
    (item,) = await claim(pool)
    await outbox.retry_later(pool, item, "no answer", timedelta(0))
    await pool.execute("UPDATE lab_session SET head_sha = $1", sha("two"))
    await pool.execute("UPDATE outbox SET updated_at = now() - interval '3 seconds'")
    assert await drop_superseded(pool, 71) == 0

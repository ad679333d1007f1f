"""The outbox: level-triggered, fenced, never a weaker word over a verdict."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from datetime import timedelta

from rules.model import Conclusion
from storage import outbox
from storage.database import Pool
from storage.outbox import OutboxItem
from tests.support.bindings import LEASE, LIN, Bound, a_report, bind, sha


async def one(pool: Pool) -> OutboxItem:
    """The one report that is due."""
    (item,) = await outbox.claim(pool, "publisher-1", LEASE, 10)
    return item


async def sent(pool: Pool, item: OutboxItem, check_run_id: int = 1, status_id: int = 2) -> None:
    """Everything of the item was sent."""
    if item.check_run_due:
        assert await outbox.sent_check_run(pool, item, check_run_id)
    if item.status_due:
        assert await outbox.sent_status(pool, item, status_id)


async def row_state(pool: Pool) -> str:
    """State of the only row."""
    return str(await pool.fetchval("SELECT state FROM outbox"))


async def test_a_wanted_report_is_claimed_as_it_was_given(pool: Pool) -> None:
    """The claimed item holds the report, where it goes, and that nothing of it was sent yet."""
    bound = await bind(pool)
    wanted = a_report(bound, "a", conclusion="failure")
    assert await outbox.want(pool, wanted)
    item = await one(pool)
    assert (item.check_run, item.status) == (wanted.report.check_run, wanted.report.status)
    assert (item.repo_id, item.installation_id, item.repo_full_name) == (501, 71, "learner-one/lab")
    assert (item.session_id, item.head_sha, item.name) == (bound.session.session_id, sha("a"), "forgea/steps")
    assert (item.check_run_due, item.status_due, item.check_run_id, item.attempts) == (True, True, None, 1)
    assert await outbox.claim(pool, "publisher-2", LEASE, 10) == ()


async def test_a_sent_report_is_done_and_an_equal_one_changes_nothing(pool: Pool) -> None:
    """After both parts are sent nothing is due; wanting the same again is nothing new."""
    bound = await bind(pool)
    await outbox.want(pool, a_report(bound, "a"))
    item = await one(pool)
    assert await outbox.sent_check_run(pool, item, 11)
    assert await row_state(pool) == "wanted"
    assert await outbox.sent_status(pool, item, 12)
    assert await row_state(pool) == "sent"
    assert await outbox.next_due(pool) is None
    before = await pool.fetch("SELECT * FROM outbox")
    assert not await outbox.want(pool, a_report(bound, "a"))
    assert await pool.fetch("SELECT * FROM outbox") == before
    assert (before[0]["check_run_id"], before[0]["status_id"]) == (11, 12)


async def test_a_report_without_status_is_done_with_its_check_run(pool: Pool) -> None:
    """Where no status is wanted, none is due."""
    bound = await bind(pool)
    await outbox.want(pool, a_report(bound, "a", status=False))
    item = await one(pool)
    assert (item.status, item.status_due) == (None, False)
    assert await outbox.sent_check_run(pool, item, 11)
    assert await row_state(pool) == "sent"


async def test_only_the_part_that_differs_is_due(pool: Pool) -> None:
    """A new text of the check run does not send an equal status again; the old ids are told."""
    bound = await bind(pool)
    await outbox.want(pool, a_report(bound, "a", digest="1"))
    await sent(pool, await one(pool), 11, 12)
    assert await outbox.want(pool, a_report(bound, "a", digest="2"))
    item = await one(pool)
    assert (item.check_run_due, item.status_due, item.check_run_id, item.attempts) == (True, False, 11, 1)
    assert await outbox.sent_check_run(pool, item, 13)
    assert await row_state(pool) == "sent"


async def test_a_report_wanted_while_another_is_sent_is_due_again(pool: Pool) -> None:
    """What was sent is remembered as sent, and what is wanted by now is sent next."""
    bound = await bind(pool)
    await outbox.want(pool, a_report(bound, "a", conclusion="failure"))
    item = await one(pool)
    assert await outbox.want(pool, a_report(bound, "a", conclusion="success"))
    assert await outbox.claim(pool, "publisher-2", LEASE, 10) == ()
    await sent(pool, item, 11, 12)
    assert await row_state(pool) == "wanted"
    newer = await one(pool)
    assert (newer.check_run.conclusion, newer.check_run_due, newer.status_due) == ("success", True, True)
    await sent(pool, newer, 13, 14)
    assert await row_state(pool) == "sent"


async def test_a_report_that_is_wanted_back_before_it_changed_needs_nothing(pool: Pool) -> None:
    """A -> B -> A with A sent and B not: GitHub shows A already."""
    bound = await bind(pool)
    await outbox.want(pool, a_report(bound, "a", conclusion="success"))
    await sent(pool, await one(pool))
    await outbox.want(pool, a_report(bound, "a", conclusion="failure"))
    await outbox.want(pool, a_report(bound, "a", conclusion="success"))
    assert await row_state(pool) == "sent"
    assert await outbox.claim(pool, "publisher-1", LEASE, 10) == ()


async def test_failures_are_told_first(pool: Pool) -> None:
    """Failures and required actions come before successes, each the longest due first, at most the limit."""
    bound = await bind(pool)
    conclusions: list[Conclusion] = ["success", "failure", "neutral", "action_required", "success"]
    for number, conclusion in enumerate(conclusions):
        await outbox.want(pool, a_report(bound, f"head {number}", conclusion=conclusion))
    items = await outbox.claim(pool, "p", LEASE, 3)
    assert [item.check_run.conclusion for item in items] == ["failure", "action_required", "success"]
    assert len(await outbox.claim(pool, "p", LEASE, 3)) == 2


async def test_concurrent_claims_share_no_item(pool: Pool) -> None:
    """Publishers that claim at the same moment get different reports."""
    bound = await bind(pool)
    for number in range(20):
        await outbox.want(pool, a_report(bound, f"head {number}"))
    batches = await asyncio.gather(*(outbox.claim(pool, f"p{number}", LEASE, 5) for number in range(6)))
    rest = await outbox.claim(pool, "p", LEASE, 50)
    ids = [item.outbox_id for batch in (*batches, rest) for item in batch]
    assert len(ids) == len(set(ids)) == 20


async def test_a_publisher_that_was_taken_over_cannot_write(pool: Pool) -> None:
    """After its lease ran out and another claimed the item, nothing of the first is taken."""
    bound = await bind(pool)
    await outbox.want(pool, a_report(bound, "a"))
    (old,) = await outbox.claim(pool, "p1", timedelta(0), 1)
    (new,) = await outbox.claim(pool, "p2", LEASE, 1)
    assert (new.token, new.attempts) == (old.token + 1, 2)
    before = await pool.fetch("SELECT * FROM outbox")
    assert not await outbox.sent_check_run(pool, old, 1)
    assert not await outbox.sent_status(pool, old, 1)
    assert not await outbox.retry_later(pool, old, "x", timedelta(0))
    assert not await outbox.give_up(pool, old, "x")
    assert await pool.fetch("SELECT * FROM outbox") == before
    await sent(pool, new)


async def test_a_failed_attempt_is_put_off(pool: Pool) -> None:
    """The item is due again after the delay, with the error; waiting for a limit does not count as an attempt."""
    bound = await bind(pool)
    await outbox.want(pool, a_report(bound, "a"))
    item = await one(pool)
    assert await outbox.retry_later(pool, item, "GitHub: 502\x00", timedelta(seconds=30))
    due = await outbox.next_due(pool)
    assert due is not None
    assert 20 < due <= 30
    await pool.execute("UPDATE outbox SET due_at = now()")
    item = await one(pool)
    assert item.attempts == 2
    await outbox.retry_later(pool, item, "rate limit", timedelta(0), counts=False)
    assert (await one(pool)).attempts == 2


async def test_the_part_that_was_sent_before_a_failure_is_not_sent_again(pool: Pool) -> None:
    """When only the status failed, only the status is due."""
    bound = await bind(pool)
    await outbox.want(pool, a_report(bound, "a"))
    item = await one(pool)
    await outbox.sent_check_run(pool, item, 11)
    await outbox.retry_later(pool, item, "502", timedelta(0))
    item = await one(pool)
    assert (item.check_run_due, item.status_due) == (False, True)


async def test_a_report_that_was_given_up_is_tried_again_when_it_is_wanted_again(pool: Pool) -> None:
    """Giving up ends the attempts; the same or another report that is wanted later is due, and looked for first."""
    bound = await bind(pool)
    await outbox.want(pool, a_report(bound, "a"))
    assert await outbox.give_up(pool, await one(pool), "422")
    assert await row_state(pool) == "failed"
    assert await outbox.next_due(pool) is None
    assert await outbox.want(pool, a_report(bound, "a"))
    item = await one(pool)
    assert item.attempts == 2
    await outbox.want(pool, a_report(bound, "a", digest="newer"))
    assert await outbox.give_up(pool, item, "422")
    assert (await one(pool)).digest == "newer"


class TestWeakWords:
    """A head that carries a verdict is never given a weaker one."""

    async def conclusions(self, pool: Pool) -> list[tuple[str, bool]]:
        """What is wanted, and whether it is weak."""
        rows = await pool.fetch("SELECT conclusion, weak FROM outbox ORDER BY outbox_id")
        return [(row["conclusion"], row["weak"]) for row in rows]

    async def test_a_preview_does_not_replace_a_verdict(self, pool: Pool) -> None:
        """The same head on another branch stays red, sent or not."""
        bound = await bind(pool)
        await outbox.want(pool, a_report(bound, "a", conclusion="failure"))
        assert not await outbox.want(pool, a_report(bound, "a", weak=True))
        await sent(pool, await one(pool))
        assert not await outbox.want(pool, a_report(bound, "a", weak=True))
        assert await self.conclusions(pool) == [("failure", False)]

    async def test_a_verdict_replaces_a_preview(self, pool: Pool) -> None:
        """A head that was previewed and then pushed to the lab's branch gets its verdict, even if the text is equal."""
        bound = await bind(pool)
        await outbox.want(pool, a_report(bound, "a", weak=True))
        assert await outbox.want(pool, a_report(bound, "a"))
        assert not await outbox.want(pool, a_report(bound, "a", conclusion="failure", weak=True))
        assert await self.conclusions(pool) == [("success", False)]

    async def test_a_preview_replaces_a_preview(self, pool: Pool) -> None:
        """What is expected of a head may change while it is only previewed."""
        bound = await bind(pool)
        await outbox.want(pool, a_report(bound, "a", conclusion="failure", weak=True))
        assert await outbox.want(pool, a_report(bound, "a", weak=True))
        assert await self.conclusions(pool) == [("success", True)]

    async def test_neutral_covers_nothing(self, pool: Pool) -> None:
        """A closed session's neutral word counts as passing: it never covers a failing preview."""
        bound = await bind(pool)
        await outbox.want(pool, a_report(bound, "a", conclusion="failure", weak=True))
        assert not await outbox.want(pool, a_report(bound, "a", conclusion="neutral", weak=True))
        assert await outbox.want(pool, a_report(bound, "b", conclusion="neutral", weak=True))
        assert await self.conclusions(pool) == [("failure", True), ("neutral", True)]

    async def test_a_weak_word_of_another_session_does_not_hide_a_verdict(self, pool: Pool) -> None:
        """What counts is the head as GitHub shows it, not whose row it is; other repositories do not matter."""
        bound = await bind(pool)
        other = await bind(pool, owner=LIN, repo_id=502, installation_id=72, published=(bound.lab, bound.version))
        await outbox.want(pool, a_report(bound, "a", conclusion="failure"))
        foreign: Bound = replace(other, repo=bound.repo)
        assert not await outbox.want(pool, a_report(foreign, "a", conclusion="neutral", weak=True))
        assert not await outbox.want(pool, a_report(bound, "a", conclusion="neutral", weak=True, session=False))
        assert await outbox.want(pool, a_report(other, "a", conclusion="neutral", weak=True))


async def test_a_red_status_is_remembered_until_it_is_replaced(pool: Pool) -> None:
    """A head carries a failure from when it is wanted until a success was sent, whatever is wanted in between."""
    bound = await bind(pool)

    async def carries(head: str = "a") -> bool:
        return await outbox.carries_failure(pool, 501, sha(head))

    assert not await carries()
    await outbox.want(pool, a_report(bound, "a", conclusion="failure"))
    assert await carries()
    assert not await carries("b")
    await sent(pool, await one(pool))
    await outbox.want(pool, a_report(bound, "a"))
    assert await carries()
    await outbox.want(pool, a_report(bound, "a", digest="newer"))
    assert await carries()
    await sent(pool, await one(pool))
    assert not await carries()

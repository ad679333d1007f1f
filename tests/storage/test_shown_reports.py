"""What GitHub shows on a head is what was posted there last: reports that come back, and several sessions' reports."""

from __future__ import annotations

from datetime import timedelta
from uuid import UUID, uuid4

import pytest

from rules.model import Conclusion
from storage import lifecycle, outbox
from storage.database import Pool
from storage.outbox import OutboxItem, WantedReport
from tests.support.bindings import LEASE, Bound, a_report, bind, sha
from tests.support.judgements import saved

NOW = timedelta(0)


async def one(pool: Pool) -> OutboxItem:
    """The one report that is due."""
    (item,) = await outbox.claim(pool, "publisher", LEASE, 10)
    return item


async def sent(pool: Pool, item: OutboxItem, check_run_id: int) -> None:
    """GitHub has both parts of it."""
    await outbox.sent_check_run(pool, item, check_run_id)
    await outbox.sent_status(pool, item, check_run_id + 1)


def of_session(bound: Bound, session_id: UUID | None, conclusion: Conclusion) -> WantedReport:
    """A session's report on the head `a` (None: a refusal, which is nobody's)."""
    report = a_report(bound, "a", conclusion=conclusion)
    return WantedReport(report.repo_id, report.installation_id, report.repo_full_name, session_id, report.report)


@pytest.mark.parametrize("how", ["died", "no answer", "in hand"])
async def test_a_report_that_comes_back_after_another_was_tried_is_posted_anew(pool: Pool, how: str) -> None:
    """A -> B -> A: B may be what GitHub shows, so A is sent as another run, its status too, and looked for first."""
    bound = await bind(pool)
    first = a_report(bound, "a", conclusion="success")
    await outbox.want(pool, first)
    await sent(pool, await one(pool), 10)
    await outbox.want(pool, a_report(bound, "a", conclusion="failure"))
    tried = await one(pool)
    if how == "no answer":
        await outbox.retry_later(pool, tried, "reset", NOW)
    assert await outbox.want(pool, first)
    if how != "no answer":
        assert await outbox.claim(pool, "another", LEASE, 10) == ()
        await pool.execute("UPDATE outbox SET leased_until = now() - interval '1 second'")
    if how == "in hand":
        await outbox.sent_check_run(pool, tried, 20)
        await outbox.sent_status(pool, tried, 21)

    back = await one(pool)

    assert (back.check_run_due, back.status_due) == (True, True)
    assert back.attempts == (1 if how == "in hand" else 2)
    assert back.check_run.conclusion == "success"
    assert back.check_run.external_id == f"{first.report.check_run.external_id}:1"
    await sent(pool, back, 30)
    assert await outbox.next_due(pool) is None


async def test_a_report_that_was_tried_is_looked_for_when_it_comes_back(pool: Pool) -> None:
    """A -> B -> A with neither known as sent: A may have been posted, and is not posted again unseen."""
    bound = await bind(pool)
    first = a_report(bound, "a")
    await outbox.want(pool, first)
    await outbox.retry_later(pool, await one(pool), "no answer", NOW)
    await outbox.want(pool, a_report(bound, "a", digest="other"))
    await outbox.want(pool, first)
    item = await one(pool)
    assert item.attempts == 2
    assert item.check_run.external_id == first.report.check_run.external_id


async def test_of_two_sessions_reports_the_newer_is_sent(pool: Pool) -> None:
    """What is wanted for a head that got another session in between is sent, and the earlier one is not any more."""
    bound = await bind(pool)
    await outbox.want(pool, of_session(bound, None, "action_required"))
    await outbox.want(pool, of_session(bound, bound.session.session_id, "success"))
    item = await one(pool)
    assert item.session_id == bound.session.session_id
    await sent(pool, item, 10)
    assert await outbox.next_due(pool) is None


async def test_a_report_waits_while_another_sessions_is_in_hand(pool: Pool) -> None:
    """Whoever has the earlier one in hand may post it yet, but not after its lease; and nothing of it is stored."""
    bound = await bind(pool)
    await outbox.want(pool, of_session(bound, None, "action_required"))
    earlier = await one(pool)
    await outbox.want(pool, of_session(bound, bound.session.session_id, "success"))
    assert await outbox.claim(pool, "another", LEASE, 10) == ()
    due = await outbox.next_due(pool)
    assert due is not None
    assert 0 < due <= LEASE.total_seconds()
    assert not await outbox.sent_check_run(pool, earlier, 9)
    assert (await one(pool)).session_id == bound.session.session_id


@pytest.mark.parametrize("end", ["sent", "put off", "given up"])
async def test_a_report_waits_no_longer_than_the_earlier_one_takes(pool: Pool, end: str) -> None:
    """However the earlier one ends, the one that waits for it is due at once, not only after the lease."""
    bound = await bind(pool)
    await outbox.want(pool, of_session(bound, None, "action_required"))
    earlier = await one(pool)
    await outbox.want(pool, of_session(bound, bound.session.session_id, "success"))
    ends = {
        "sent": lambda: outbox.sent_check_run(pool, earlier, 9),
        "put off": lambda: outbox.retry_later(pool, earlier, "slow", LEASE),
        "given up": lambda: outbox.give_up(pool, earlier, "403"),
    }

    assert not await ends[end]()

    due = await outbox.next_due(pool)
    assert due is not None
    assert due <= 0
    assert (await one(pool)).session_id == bound.session.session_id


async def test_a_sessions_report_that_comes_back_is_sent_anew(pool: Pool) -> None:
    """A repository that goes from one session to another and back shows the first one's report again, as a new run."""
    bound = await bind(pool)
    mine = of_session(bound, bound.session.session_id, "success")
    await outbox.want(pool, mine)
    await sent(pool, await one(pool), 10)
    await outbox.want(pool, of_session(bound, uuid4(), "failure"))
    await sent(pool, await one(pool), 20)
    assert await outbox.want(pool, mine)

    item = await one(pool)
    assert (item.check_run_due, item.status_due) == (True, True)
    assert item.check_run.external_id == f"{mine.report.check_run.external_id}:1"
    await sent(pool, item, 30)
    assert await outbox.next_due(pool) is None


async def test_a_rerun_repeats_the_report_that_counts(pool: Pool) -> None:
    """What another session's report has left off is not repeated, even if the newer one is not at GitHub yet."""
    bound = await bind(pool)
    await outbox.want(pool, of_session(bound, None, "action_required"))
    await sent(pool, await one(pool), 10)
    await outbox.want(pool, of_session(bound, bound.session.session_id, "success"))
    assert await outbox.ask_again(pool, 501, sha("a"), 7, anew=True)
    await outbox.hurry(pool, 501, sha("a"), 7)
    item = await one(pool)
    assert item.session_id == bound.session.session_id
    await sent(pool, item, 20)
    assert await outbox.next_due(pool) is None


async def test_what_waits_follows_its_repository(pool: Pool) -> None:
    """After a new installation, or under a new name, the same report is sent there."""
    bound = await bind(pool)
    wanted = a_report(bound, "a")
    await outbox.want(pool, wanted)
    await outbox.retry_later(pool, await one(pool), "no answer", timedelta(hours=1))
    moved = WantedReport(501, 72, "learner-one/renamed", bound.session.session_id, wanted.report)
    assert await outbox.want(pool, moved)
    item = await one(pool)
    assert (item.installation_id, item.repo_full_name, item.attempts) == (72, "learner-one/renamed", 2)
    await sent(pool, item, 10)
    assert not await outbox.want(pool, wanted)


@pytest.mark.parametrize("how", ["in hand", "given up", "elsewhere"])
async def test_what_is_to_be_sent_again_is_sent_although_it_was_refused(pool: Pool, how: str) -> None:
    """A refusal that is stored after its reason has ended is no end; a second one is."""
    bound = await bind(pool)
    await saved(pool, bound, "a")
    await outbox.want(pool, a_report(bound, "a"))
    if how == "elsewhere":
        await pool.execute("UPDATE outbox SET installation_id = 1, due_at = now() + interval '1 hour'")
    else:
        item = await one(pool)
    if how == "given up":
        await outbox.give_up(pool, item, "archived")
    await lifecycle.send_again(pool, bound.repo.repo_id)
    if how == "in hand":
        assert await outbox.give_up(pool, item, "archived")

    again = await one(pool)

    assert again.installation_id == 71
    assert again.attempts == (1 if how == "elsewhere" else 2)
    await outbox.give_up(pool, again, "archived")
    assert await pool.fetchval("SELECT state FROM outbox") == "failed"

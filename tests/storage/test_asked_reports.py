"""Reports that are asked for again, statuses that others wrote, heads that nobody told of, at the database."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import pytest

from storage import echoes, inbox, outbox
from storage.audit import AuditEvent
from storage.database import Pool
from storage.echoes import MOST_RESTORED, Echoes, StatusSeen, contest, left_behind
from storage.inbox import NewDelivery
from storage.outbox import OutboxItem
from tests.support.bindings import LEASE, Bound, a_report, bind, sha
from tests.support.judgements import saved

HEAD = sha("a")
FORGED = AuditEvent("status_forged", code="STATUS_FORGED", repo_id=501, head_sha=HEAD, sender_id=7)


async def one(pool: Pool) -> OutboxItem:
    """The one report that is due."""
    (item,) = await outbox.claim(pool, "publisher", LEASE, 10)
    return item


async def reported(pool: Pool, status_id: int = 2) -> tuple[Bound, StatusSeen]:
    """A bound repository whose head has its report, and its status as GitHub shows it."""
    bound = await bind(pool)
    wanted = a_report(bound, "a", conclusion="failure")
    await outbox.want(pool, wanted)
    item = await one(pool)
    await outbox.sent_check_run(pool, item, 1)
    await outbox.sent_status(pool, item, status_id)
    status = wanted.report.status
    assert status is not None
    return bound, StatusSeen(status_id, HEAD, status.context, status.state, status.description, status.target_url)


async def is_due(pool: Pool) -> bool:
    """Whether a report can be claimed now."""
    seconds = await outbox.next_due(pool)
    return seconds is not None and seconds <= 0


async def test_an_equal_report_is_repeated_under_another_id_once_it_was_judged(pool: Pool) -> None:
    """It waits for the judgement, is asked for once by each delivery, and only its check run is sent."""
    await reported(pool)
    assert await outbox.ask_again(pool, 501, HEAD, 11, anew=True)
    assert await outbox.ask_again(pool, 501, HEAD, 11, anew=True)
    assert not await is_due(pool)
    await outbox.hurry(pool, 501, HEAD, 11)
    item = await one(pool)
    assert (item.check_run_due, item.status_due, item.attempts) == (True, False, 1)
    assert item.check_run.external_id.endswith(":1")
    assert await outbox.sent_check_run(pool, item, 5)
    assert await outbox.next_due(pool) is None


async def test_whoever_dies_while_judging_leaves_the_repetition(pool: Pool) -> None:
    """Without the word that it was judged, the report is sent all the same, a little later."""
    await reported(pool)
    await outbox.ask_again(pool, 501, HEAD, 11, anew=True)
    seconds = await outbox.next_due(pool)
    assert seconds is not None
    assert outbox.GRACE - timedelta(seconds=5) < timedelta(seconds=seconds) <= outbox.GRACE


async def test_asking_again_and_again_costs_less_and_less(pool: Pool) -> None:
    """Within ten seconds nothing is judged, and each repetition waits twice as long as the one before."""
    await reported(pool)
    waits = []
    for number in range(6):
        assert await outbox.ask_again(pool, 501, HEAD, 11 + number, anew=True) is (number == 0)
        await outbox.hurry(pool, 501, HEAD, 11 + number)
        waits.append(round(await outbox.next_due(pool) or 0.0))
        await pool.execute("UPDATE outbox SET due_at = now()")
        assert await outbox.sent_check_run(pool, await one(pool), 10 + number)
    assert waits == [0, 1, 2, 4, 8, 16]
    await pool.execute("UPDATE outbox SET asked_at = asked_at - interval '10 seconds'")
    assert await outbox.ask_again(pool, 501, HEAD, 99, anew=False)
    assert await outbox.next_due(pool) is None


async def test_a_changed_report_takes_the_place_of_a_repetition(pool: Pool) -> None:
    """What the judgement has brought is sent at once, as one run."""
    bound, _ = await reported(pool)
    await outbox.ask_again(pool, 501, HEAD, 11, anew=True)
    await outbox.want(pool, a_report(bound, "a", conclusion="success"))
    assert await is_due(pool)
    await outbox.hurry(pool, 501, HEAD, 11)
    item = await one(pool)
    assert item.check_run.conclusion == "success"
    assert await outbox.sent_check_run(pool, item, 5)
    assert await outbox.sent_status(pool, item, 6)
    assert await outbox.next_due(pool) is None


async def test_what_was_given_up_is_looked_for_before_it_is_sent(pool: Pool) -> None:
    """Its posting may have happened: the claim counts as a second attempt, under the same id."""
    bound = await bind(pool)
    wanted = a_report(bound, "a")
    await outbox.want(pool, wanted)
    await outbox.give_up(pool, await one(pool), "no answer")
    assert await outbox.ask_again(pool, 501, HEAD, 11, anew=True)
    await outbox.hurry(pool, 501, HEAD, 11)
    item = await one(pool)
    assert item.attempts == 2
    assert item.check_run.external_id == wanted.report.check_run.external_id


async def test_a_head_that_nothing_was_said_of_is_judged(pool: Pool) -> None:
    """There is nothing to repeat, and no reason to refuse."""
    assert await outbox.ask_again(pool, 501, HEAD, 11, anew=True)
    await outbox.hurry(pool, 501, HEAD, 11)
    assert await outbox.next_due(pool) is None


async def test_a_foreign_status_is_contested_and_ours_is_not(pool: Pool) -> None:
    """Equal words and older ids are ours; another context, and a head that we never spoke of, are nobody's business."""
    _, ours = await reported(pool, status_id=20)
    known = Echoes(pool, ours.context)
    foreign = replace(ours, status_id=21, state="success")
    for seen, expected in (
        (ours, False),
        (replace(ours, status_id=21), False),
        (replace(foreign, status_id=19), False),
        (replace(foreign, context="other"), False),
        (replace(foreign, head_sha=sha("b")), False),
        (foreign, True),
        (replace(ours, status_id=21, target_url="https://example.org"), True),
        (replace(ours, status_id=21, description=None), True),
    ):
        assert await known.contradicted(501, seen) is expected, seen
        if seen.context == ours.context:
            assert (await contest(pool, 501, seen, FORGED) == "restored") is expected, seen
    item = await one(pool)
    assert (item.check_run_due, item.status_due) == (False, True)
    assert await pool.fetchval("SELECT sum(count) FROM rejection_count WHERE code = 'STATUS_FORGED'") == 3


async def test_restoring_ends_after_some_and_begins_again_after_an_hour(pool: Pool) -> None:
    """Each is counted; what is due anyway is not counted as another restoration."""
    _, ours = await reported(pool)
    answers = []
    for number in range(MOST_RESTORED + 1):
        foreign = replace(ours, status_id=100 + 10 * number, state="success")
        answers += [await contest(pool, 501, foreign, FORGED), await contest(pool, 501, foreign, FORGED)]
        if await is_due(pool):
            assert await outbox.sent_status(pool, await one(pool), 105 + 10 * number)
    assert answers == ["restored"] * 2 * MOST_RESTORED + ["counted"] * 2
    await pool.execute("UPDATE outbox SET restored_since = restored_since - interval '61 minutes'")
    assert await contest(pool, 501, replace(ours, status_id=999, state="success"), FORGED) == "restored"
    assert await pool.fetchval("SELECT count FROM rejection_count") == 2 * MOST_RESTORED + 3
    assert await pool.fetchval("SELECT count(*) FROM audit_event WHERE kind = 'status_forged'") == 1


async def test_ours_on_its_way_is_waited_for(pool: Pool) -> None:
    """Whoever has the report in hand may have posted it a moment ago."""
    _, ours = await reported(pool)
    await pool.execute("UPDATE outbox SET state = 'wanted', sent_status_digest = ''")
    await one(pool)
    assert await contest(pool, 501, replace(ours, status_id=9, state="success"), FORGED) == "sending"
    assert await pool.fetchval("SELECT count(*) FROM rejection_count") == 0


@pytest.mark.parametrize("how", ["none", "over"])
async def test_where_there_is_no_status_of_ours_a_foreign_one_is_only_counted(pool: Pool, how: str) -> None:
    """By the setting REPORT_STATUS, or because GitHub takes no more."""
    _, ours = await reported(pool)
    change = "status = NULL, wanted_status_digest = ''" if how == "none" else "status_over = true"
    await pool.execute(f"UPDATE outbox SET {change}")
    assert await contest(pool, 501, replace(ours, status_id=9, state="success"), FORGED) == "counted"
    assert await outbox.next_due(pool) is None


async def test_statuses_end_at_githubs_limit(pool: Pool) -> None:
    """The report is done without one; a claim that was taken over changes nothing."""
    bound = await bind(pool)
    await outbox.want(pool, a_report(bound, "a"))
    item = await one(pool)
    assert await outbox.sent_check_run(pool, item, 1)
    assert not await outbox.without_status(pool, replace(item, token=item.token - 1))
    assert await outbox.without_status(pool, item)
    assert await pool.fetchval("SELECT state FROM outbox") == "sent"
    await outbox.want(pool, a_report(bound, "a", conclusion="failure"))
    assert (await one(pool)).status_over


async def test_a_head_is_missed_if_nobody_told_of_it(pool: Pool) -> None:
    """Not while its push waits, not once it was judged, not in repositories that are not bound."""
    bound = await bind(pool)
    known = Echoes(pool)
    assert await known.missed(501, HEAD)
    assert not await known.missed(502, HEAD)
    assert (await known.reported(501), await known.reported(502)) == (True, False)

    body = b'{"ref": "refs/heads/main", "after": "%b"}' % HEAD.encode()
    guid = bound.session.session_id
    await inbox.record(pool, [NewDelivery(guid, "push", None, 71, 501, "repo:501", body)])
    assert not await known.missed(501, HEAD)
    assert await known.missed(501, sha("b"))
    await pool.execute("UPDATE delivery SET state = 'done', outcome = 'accepted', finished_at = now()")
    assert await known.missed(501, HEAD)

    await saved(pool, bound, "a")
    await pool.execute("UPDATE lab_session SET branch_head_seen = NULL")
    assert not await known.missed(501, HEAD)
    await pool.execute("UPDATE lab_session SET branch_head_seen = $1", sha("b"))
    assert await left_behind(pool, 501, HEAD)
    assert not await left_behind(pool, 501, sha("b"))
    await pool.execute("UPDATE lab_session SET status = 'EXPIRED'")
    assert not await known.missed(501, sha("c"))


async def test_without_our_context_no_status_is_asked_about(pool: Pool) -> None:
    """The delivery log tells nothing of contexts: statuses are not taken from it."""
    _, ours = await reported(pool)
    assert not await Echoes(pool).contradicted(501, replace(ours, status_id=9, state="success"))
    assert echoes.MOST_RESTORED > 0

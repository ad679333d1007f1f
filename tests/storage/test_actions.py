"""Actions on a session: what each writes, what it wakes, and what it refuses."""

from __future__ import annotations

import asyncio
import json
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import asyncpg
import pytest

from rules.model import Session, SessionStatus
from storage import actions, audit, learner_actions, sessions
from storage.actions import Decision
from storage.database import Pool
from storage.errors import ActionRefused, MappingConflict, SessionConflict, StaleSession
from storage.inbox import release
from storage.wakeups import JUDGE, wake
from tests.support.bindings import ADA, LIN, Bound, a_repo, bind, claimed, install, sha, state_of
from tests.support.judgements import saved

STAFF = 900
NOW = datetime(2031, 5, 1, tzinfo=UTC)
WHY = Decision(STAFF, "seen in class")


async def now_of(pool: Pool, bound: Bound) -> Session:
    """The session as it is now."""
    session = await sessions.get(pool, bound.session.session_id)
    assert session is not None
    return session


async def woken(pool: Pool) -> list[tuple[int, str, str]]:
    """Wake-ups that wait: repository, trigger, lane."""
    rows = await pool.fetch("SELECT * FROM delivery WHERE event = $1 AND state = 'waiting' ORDER BY inbox_id", JUDGE)
    return [(row["repo_id"], json.loads(row["payload"])["trigger"], row["lane_id"]) for row in rows]


async def newest_event(pool: Pool, bound: Bound) -> audit.AuditEvent:
    """The newest audit event of the session."""
    (event,) = await audit.list_events(pool, session_id=bound.session.session_id, limit=1)
    return event.event


async def in_status(pool: Pool, bound: Bound, status: str, cause: str | None = None) -> Session:
    """The session, taken to a status by hand."""
    await pool.execute(
        "UPDATE lab_session SET status = $2, deferred_by = $3 WHERE session_id = $1",
        bound.session.session_id,
        status,
        cause,
    )
    return await now_of(pool, bound)


async def test_a_fact_is_saved_with_its_audit_and_wakes_the_head(pool: Pool) -> None:
    """An approval counts from the same moment in which it is audited, and one entry waits in the repository's lane."""
    bound = await bind(pool)

    done = await actions.add_fact(pool, bound.session, WHY, "approve", "old-two")

    state = await state_of(pool, bound)
    assert state.facts.approved == {"two"}, "today's id is stored, whichever was given"
    assert state.fact_ids == (done.fact_id,)
    assert state.session.epoch > bound.session.epoch
    assert await woken(pool) == [(501, "fact", "repo:501")]
    event = await newest_event(pool, bound)
    assert (event.kind, event.actor_id, event.repo_id) == ("staff_approve", STAFF, 501)
    assert {"reason": "seen in class", "step_id": "two", "fact_id": done.fact_id}.items() <= event.detail.items()


async def test_wake_ups_that_wait_are_one(pool: Pool) -> None:
    """Of two wake-ups before the worker looks only one waits; one that was begun does not do for a later one."""
    bound = await bind(pool)
    assert await wake(pool, bound.session.session_id, "rerun")
    assert await wake(pool, bound.session.session_id, "staff")
    assert await woken(pool) == [(501, "rerun", "repo:501")]

    await pool.execute("UPDATE delivery SET attempts = 1")

    assert await wake(pool, bound.session.session_id, "staff")
    assert [trigger for _, trigger, _ in await woken(pool)] == ["rerun", "staff"]


async def test_nothing_is_woken_without_a_repository(pool: Pool) -> None:
    """A session that no repository is bound to has no lane to wake."""
    bound = await bind(pool)
    done = await actions.unbind(pool, bound.session, WHY)

    assert not done.woken
    assert await wake(pool, bound.session.session_id, "rerun") is False
    assert await woken(pool) == []


async def test_what_was_seen_must_still_be_so(pool: Pool) -> None:
    """Of two people who decide on the same page the second is told to look again, and nothing of theirs is written."""
    bound = await bind(pool)
    await actions.add_fact(pool, bound.session, WHY, "approve", "two")
    before = await pool.fetch("SELECT * FROM audit_event ORDER BY event_id")

    with pytest.raises(StaleSession):
        await actions.defer(pool, bound.session, WHY)

    assert await pool.fetch("SELECT * FROM audit_event ORDER BY event_id") == before
    assert (await now_of(pool, bound)).status is SessionStatus.IN_PROGRESS


async def test_of_contradicting_facts_the_newest_counts(pool: Pool) -> None:
    """Complete, reopen, complete: each takes the place of the one before, also under an old id of the step."""
    bound = await bind(pool)
    seen = []
    for kind in ("complete", "reopen", "complete"):
        await actions.add_fact(pool, await now_of(pool, bound), WHY, kind, "two")
        facts = (await state_of(pool, bound)).facts
        seen.append((set(facts.completed), set(facts.reopened)))
    assert seen == [({"two"}, set()), (set(), {"two"}), ({"two"}, set())]

    await pool.execute(
        "INSERT INTO staff_fact (session_id, kind, step_id, reason) VALUES ($1, 'reopen', 'old-two', 'x')",
        bound.session.session_id,
    )

    facts = (await state_of(pool, bound)).facts
    assert (set(facts.completed), set(facts.reopened)) == (set(), {"old-two"})


async def test_the_same_fact_twice_is_refused(pool: Pool) -> None:
    """A second approval of the same step would survive the undoing of the first."""
    bound = await bind(pool)
    await actions.add_fact(pool, bound.session, WHY, "approve", "two")

    with pytest.raises(ActionRefused) as refused:
        await actions.add_fact(pool, await now_of(pool, bound), WHY, "approve", "old-two")

    assert refused.value.word == "repeated"


async def test_a_step_that_is_none_is_refused(pool: Pool) -> None:
    """A step id that the lab does not have is refused by name."""
    bound = await bind(pool)

    with pytest.raises(ActionRefused, match="'four'"):
        await actions.add_fact(pool, bound.session, WHY, "complete", "four")


@pytest.mark.parametrize("reason", ["", "ok", "  a ", "x" * 501])
def test_a_reason_is_needed(reason: str) -> None:
    """Staff give a reason of 3 to 500 characters."""
    with pytest.raises(ActionRefused) as refused:
        Decision.by_staff(STAFF, reason)

    assert refused.value.word == "reason"
    assert Decision.by_staff(STAFF, " seen   in\nclass ").reason == "seen in class"


async def test_a_revoked_fact_takes_back_what_it_reached(pool: Pool) -> None:
    """The step that it completed and those that need it are open again, to be judged anew; earlier ones stay."""
    bound = await bind(pool)
    await saved(pool, bound, "first", gains=("one",))
    done = await actions.add_fact(pool, await now_of(pool, bound), WHY, "complete", "two")
    assert done.fact_id is not None
    await pool.execute("DELETE FROM delivery")
    await saved(pool, bound, "second", gains=("two", "three"))

    await actions.revoke_fact(pool, await now_of(pool, bound), WHY, done.fact_id)

    state = await state_of(pool, bound)
    assert state.progress.done == {"one"}
    assert not state.facts.completed
    assert [trigger for _, trigger, _ in await woken(pool)] == ["fact"]
    assert (await newest_event(pool, bound)).kind == "staff_revoke"
    with pytest.raises(ActionRefused, match="before"):
        await actions.revoke_fact(pool, await now_of(pool, bound), WHY, done.fact_id)


@pytest.mark.parametrize(("fact", "progress"), [("old-two", "two"), ("two", "old-two")])
async def test_a_fact_and_its_step_may_have_been_saved_under_different_ids(
    pool: Pool, fact: str, progress: str
) -> None:
    """A step renamed between an approval and its completion: repeating is refused, revoking takes the step back."""
    bound = await bind(pool)
    await saved(pool, bound, "first", gains=("one",))
    done = await actions.add_fact(pool, await now_of(pool, bound), WHY, "approve", "two")
    assert done.fact_id is not None
    await pool.execute("UPDATE staff_fact SET step_id = $1", fact)
    await pool.execute("DELETE FROM delivery")
    await saved(pool, bound, "second", gains=(progress, "three"))

    with pytest.raises(ActionRefused, match="still counts"):
        await actions.add_fact(pool, await now_of(pool, bound), WHY, "approve", "two")
    await actions.revoke_fact(pool, await now_of(pool, bound), WHY, done.fact_id)

    assert (await state_of(pool, bound)).progress.done == {"one"}


async def test_a_revoked_fact_that_came_too_late_takes_nothing_back(pool: Pool) -> None:
    """A step that was complete before the approval stays complete without it."""
    bound = await bind(pool)
    await saved(pool, bound, "first", gains=("one",))
    done = await actions.add_fact(pool, await now_of(pool, bound), WHY, "approve", "one")
    assert done.fact_id is not None

    await actions.revoke_fact(pool, await now_of(pool, bound), WHY, done.fact_id)

    assert (await state_of(pool, bound)).progress.done == {"one"}


async def test_another_sessions_fact_cannot_be_revoked(pool: Pool) -> None:
    """A fact id of somebody else's session is nobody's business."""
    ada = await bind(pool)
    lin = await bind(pool, owner=LIN, repo_id=502, installation_id=72, published=(ada.lab, ada.version))
    done = await actions.add_fact(pool, ada.session, WHY, "approve", "two")
    assert done.fact_id is not None

    with pytest.raises(ActionRefused):
        await actions.revoke_fact(pool, lin.session, WHY, done.fact_id)

    assert (await state_of(pool, ada)).facts.approved == {"two"}


async def test_a_finished_session_takes_only_a_reopening(pool: Pool) -> None:
    """Approving in a finished session is refused; reopening a step opens the session with it."""
    bound = await bind(pool)
    session = await in_status(pool, bound, "VERIFIED_PASS")
    with pytest.raises(ActionRefused, match="complete"):
        await actions.add_fact(pool, session, WHY, "approve", "two")

    await actions.add_fact(pool, session, WHY, "reopen", "two")

    assert (await now_of(pool, bound)).status is SessionStatus.IN_PROGRESS
    assert [trigger for _, trigger, _ in await woken(pool)] == ["fact"]


async def test_a_session_reopened_is_not_judged_by_that(pool: Pool) -> None:
    """Reopening a finished session only opens it: judging its head now would finish it at once."""
    bound = await bind(pool)
    session = await in_status(pool, bound, "VERIFIED_PASS")

    done = await actions.reopen(pool, session, WHY)

    assert not done.woken
    assert (await now_of(pool, bound)).status is SessionStatus.IN_PROGRESS
    with pytest.raises(ActionRefused):
        await actions.reopen(pool, await now_of(pool, bound), WHY)


async def test_a_paused_session_keeps_facts_for_later(pool: Pool) -> None:
    """While a session is paused nothing is judged: a fact waits, and resuming wakes the head."""
    bound = await bind(pool)
    await actions.defer(pool, bound.session, WHY)
    paused = await now_of(pool, bound)
    assert (paused.status, paused.deferred_by) == (SessionStatus.DEFERRED, "staff")
    event = await newest_event(pool, bound)
    assert {"from": "IN_PROGRESS", "to": "DEFERRED", "cause": "staff"}.items() <= event.detail.items()

    fact = await actions.add_fact(pool, paused, WHY, "approve", "two")
    assert not fact.woken
    with pytest.raises(ActionRefused):
        await actions.judge(pool, await now_of(pool, bound), WHY)
    done = await actions.resume(pool, await now_of(pool, bound), WHY)

    assert done.woken
    assert (await now_of(pool, bound)).status is SessionStatus.IN_PROGRESS


async def test_a_new_deadline(pool: Pool) -> None:
    """Extending moves the date; a session that expired goes on with it, and only then its head is judged."""
    bound = await bind(pool)
    later = NOW + timedelta(days=7)
    first = await actions.extend(pool, bound.session, WHY, later, now=NOW)
    assert (first.woken, (await now_of(pool, bound)).expires_at) == (False, later)
    with pytest.raises(ActionRefused, match="passed"):
        await actions.extend(pool, await now_of(pool, bound), WHY, NOW, now=NOW)

    expired = await in_status(pool, bound, "EXPIRED")
    second = await actions.extend(pool, expired, WHY, later + timedelta(days=1), now=NOW)

    assert second.woken
    assert (await now_of(pool, bound)).status is SessionStatus.IN_PROGRESS
    event = await newest_event(pool, bound)
    assert event.detail["deadline_before"] == later.isoformat()

    back = Decision(STAFF, "a slip", undoes=second.event_id)
    await actions.extend(pool, await now_of(pool, bound), back, later, now=later)
    assert ((await now_of(pool, bound)).status, (await now_of(pool, bound)).expires_at) == ("EXPIRED", later)


async def test_a_deadline_can_be_taken_away(pool: Pool) -> None:
    """None: the session has no deadline any more."""
    bound = await bind(pool)
    await actions.extend(pool, bound.session, WHY, NOW + timedelta(days=1), now=NOW)

    await actions.extend(pool, await now_of(pool, bound), WHY, None, now=NOW)

    assert (await now_of(pool, bound)).expires_at is None


async def test_an_expired_session_cannot_go_on_beside_a_new_one(pool: Pool) -> None:
    """A learner who has begun the lab anew has one open session of it: the old one stays closed."""
    bound = await bind(pool)
    expired = await in_status(pool, bound, "EXPIRED")
    await bind(pool, repo_id=503, installation_id=73, published=(bound.lab, bound.version))

    with pytest.raises(SessionConflict):
        await actions.extend(pool, expired, WHY, NOW + timedelta(days=1), now=NOW)


async def test_relinking_takes_another_repository(pool: Pool) -> None:
    """The old mapping ends, the new one is staff's; progress stays, the accepted head is forgotten."""
    bound = await bind(pool)
    await saved(pool, bound, "good", gains=("one",))
    other = a_repo(777, name="second-try")
    await install(pool, 71, ADA, bound.repo, other)

    done = await actions.relink(pool, await now_of(pool, bound), WHY, other, 71)

    state = await state_of(pool, bound)
    assert state.mapping is not None
    assert (state.mapping.repo_id, state.mapping.source) == (777, "staff")
    assert state.session.accepted_sha is None
    assert state.progress.done == {"one"}
    assert (done.woken, await woken(pool)) == (True, [(777, "staff", "repo:777")])
    event = await newest_event(pool, bound)
    assert (event.repo_id, event.detail["repo_before"]) == (777, "learner-one/lab")
    assert event.detail["accepted_before"] == sha("good")


async def test_relinking_refuses_what_is_somebody_elses(pool: Pool) -> None:
    """A repository of another session, the session's own, and a lab's template are refused; nothing changes."""
    ada = await bind(pool)
    lin = await bind(pool, owner=LIN, repo_id=502, installation_id=72, published=(ada.lab, ada.version))
    with pytest.raises(MappingConflict):
        await actions.relink(pool, ada.session, WHY, lin.repo, 72)
    for repo_id, word in ((501, "same"), (ada.lab.base_repo_id, "template")):
        with pytest.raises(ActionRefused) as refused:
            await actions.relink(pool, ada.session, WHY, a_repo(repo_id), 71)
        assert refused.value.word == word

    state = await state_of(pool, ada)
    assert state.mapping is not None
    assert (state.mapping.repo_id, state.session.epoch) == (501, ada.session.epoch)


async def test_a_transferred_repository_is_connected_anew(pool: Pool) -> None:
    """The session's own repository is refused only while nothing would change: under another owner it is connected
    again as staff's, and what was accepted in it still is."""
    bound = await bind(pool)
    await saved(pool, bound, "good", gains=("one",))
    moved = replace(a_repo(501), owner=LIN)
    await install(pool, 72, LIN, moved)

    await actions.relink(pool, await now_of(pool, bound), WHY, moved, 72)

    state = await state_of(pool, bound)
    assert state.mapping is not None
    assert (state.mapping.owner_account_id, state.mapping.source) == (LIN.account_id, "staff")
    assert state.session.accepted_sha == sha("good")
    with pytest.raises(ActionRefused, match="already"):
        await actions.relink(pool, state.session, WHY, moved, 72)


async def _help(pool: Pool, bound: Bound) -> dict[str, Any]:
    row = await pool.fetchrow("SELECT status, help_words, help_at IS NOT NULL AS asks FROM lab_session")
    assert row is not None
    return dict(row)


async def test_help_is_asked_for_and_withdrawn(pool: Pool) -> None:
    """A call for help makes the session stuck, with the learner's words; withdrawing it ends that."""
    bound = await bind(pool)
    await learner_actions.ask_for_help(pool, bound.session, ADA.account_id, " where do I start? \x00")
    assert await _help(pool, bound) == {"status": "STUCK", "help_words": "where do I start? \ufffd", "asks": True}
    event = await newest_event(pool, bound)
    assert (event.kind, event.actor_id) == ("help_requested", ADA.account_id)

    await learner_actions.ask_for_help(pool, await now_of(pool, bound), ADA.account_id, "with step 2")
    assert (await _help(pool, bound))["help_words"] == "with step 2"
    await learner_actions.end_help(pool, await now_of(pool, bound), ADA.account_id)

    assert await _help(pool, bound) == {"status": "IN_PROGRESS", "help_words": None, "asks": False}
    with pytest.raises(ActionRefused):
        await learner_actions.end_help(pool, await now_of(pool, bound), ADA.account_id)


async def test_a_session_that_was_stuck_before_stays_so(pool: Pool) -> None:
    """Withdrawing a call for help does not undo the blocked pushes that had made the session stuck."""
    bound = await bind(pool)
    stuck = await in_status(pool, bound, "STUCK")
    await learner_actions.ask_for_help(pool, stuck, ADA.account_id, "")

    await learner_actions.end_help(pool, await now_of(pool, bound), ADA.account_id)

    assert (await now_of(pool, bound)).status is SessionStatus.STUCK


async def test_whatever_ends_stuck_answers_the_call(pool: Pool) -> None:
    """Staff who resume the session, or an accepted push, end the call for help."""
    bound = await bind(pool)
    await learner_actions.ask_for_help(pool, bound.session, ADA.account_id, "hello?")

    await actions.resume(pool, await now_of(pool, bound), WHY)

    assert await _help(pool, bound) == {"status": "IN_PROGRESS", "help_words": None, "asks": False}


async def test_too_many_words_are_refused(pool: Pool) -> None:
    """At most 500 characters."""
    bound = await bind(pool)

    with pytest.raises(ActionRefused) as refused:
        await learner_actions.ask_for_help(pool, bound.session, ADA.account_id, "x" * 501)

    assert refused.value.word == "words"


async def test_checking_again_disturbs_nothing(pool: Pool) -> None:
    """A click on "check again" wakes the head, and a verdict in the making stays good."""
    bound = await bind(pool)

    done = await learner_actions.check_again(pool, bound.session, ADA.account_id)

    assert done.woken
    assert (await now_of(pool, bound)).epoch == bound.session.epoch
    assert [trigger for _, trigger, _ in await woken(pool)] == ["rerun"]
    lane, ids = await claimed(pool)
    assert len(ids) == 2
    await release(pool, lane)


async def test_pages_are_told(pool: Pool, fresh_database: str) -> None:
    """Every action notifies the channel that open pages listen to, with the session's id."""
    bound = await bind(pool)
    heard: asyncio.Queue[object] = asyncio.Queue()
    link = await asyncpg.connect(fresh_database)
    try:
        await link.add_listener("session_changed", lambda *told: heard.put_nowait(told[-1]))
        await actions.defer(pool, bound.session, WHY)
        assert await asyncio.wait_for(heard.get(), 10) == str(bound.session.session_id)
    finally:
        await link.close()

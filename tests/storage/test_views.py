"""What pages show: read at one moment, bounded, total."""

from __future__ import annotations

from typing import Any
from uuid import uuid4

from rules.model import CannotVerify, ChangeKind, Gain, Loss, Outcome, SessionStatus, Violation, ViolationCode
from storage import inbox, outbox, progress, views
from storage.audit import AuditEvent
from storage.database import Pool
from storage.progress import SaveRejection, SaveResult, SaveVerdict
from tests.support.bindings import (
    ADA,
    LEASE,
    LIN,
    Bound,
    a_delivery,
    a_push,
    a_report,
    a_verdict,
    bind,
    claimed,
    sha,
    state_of,
)

VIOLATION = Violation(ViolationCode.OUT_OF_ORDER, "block", "<b>.js", ChangeKind.ADDED, ("three",), ("two",), "near")


async def push(pool: Pool, bound: Bound, head: str, unverified: CannotVerify | None = None, **values: Any) -> None:
    """A judged and saved push; `unverified` replaces the usual verdict."""
    delivered = a_push(bound.repo, "before", head)
    lane, ids = await claimed(pool, a_delivery(guid=delivered.delivery_id))
    state = await state_of(pool, bound)
    verdict = unverified or a_verdict(state, head, **values)
    save = SaveVerdict(
        lane,
        state,
        "push",
        "refs/heads/main",
        verdict,
        "f",
        push=delivered,
        deliveries=ids,
        report=a_report(bound, head),
    )
    assert await progress.save(pool, save) is SaveResult.SAVED
    await inbox.release(pool, lane)


async def test_a_session_as_its_page_shows_it(pool: Pool) -> None:
    """Steps with times and commits, attempts with what they changed, the newest first, and what was not judged."""
    bound = await bind(pool)
    await push(pool, bound, "a", gains=("one", "two"))
    await push(pool, bound, "b", losses=("two",), violations=(VIOLATION,))
    await push(pool, bound, "c", CannotVerify(sha("c"), "TRUNCATED", "120,000 files"))
    lane, ids = await claimed(pool)
    event = AuditEvent("rejected", code="TAG", repo_id=501, session_id=bound.session.session_id, ref="refs/tags/v1")
    await progress.save_rejection(pool, SaveRejection(lane, event, ids))
    for item in await outbox.claim(pool, "p", LEASE, 10):
        await outbox.sent_check_run(pool, item, 77)

    view = await views.session_view(pool, bound.session.session_id)
    assert view is not None
    assert (view.lab_slug, view.lab_title, view.version_number) == ("closures", "React closures", 1)
    assert (view.learner, view.repo_full_name, view.completed_at) == (ADA, "learner-one/lab", None)
    assert view.session == (await state_of(pool, bound)).session
    assert [(step.step.id, step.state, step.missing) for step in view.steps] == [
        ("one", "completed", ()),
        ("two", "reopened", ()),
        ("three", None, ("two",)),
    ]
    assert view.steps[0].commit_sha == sha("a")
    assert view.steps[0].completed_at is not None
    assert view.steps[1].evidence is not None
    assert view.steps[1].evidence["reason"] == "TAKEN_AWAY"
    unverified, blocked, accepted = view.attempts
    assert (unverified.verdict, unverified.reason, unverified.detail) == (
        Outcome.CANNOT_VERIFY,
        "TRUNCATED",
        "120,000 files",
    )
    assert (blocked.violations, blocked.violations_total, blocked.losses) == (
        (VIOLATION,),
        1,
        (Loss("two", "TAKEN_AWAY"),),
    )
    assert (accepted.gains, accepted.check_run_id) == ((Gain("one", sha("a")), Gain("two", sha("a"))), 77)
    (notice,) = view.notices
    assert (notice.code, notice.count, notice.ref) == ("TAG", 1, "refs/tags/v1")


async def test_an_unknown_session_has_no_view(pool: Pool) -> None:
    """There is nothing to show of a session that does not exist."""
    assert await views.session_view(pool, uuid4()) is None


async def test_a_new_session_has_a_view(pool: Pool) -> None:
    """A session without a push shows its open step; one whose repository is gone still names it."""
    bound = await bind(pool)
    await pool.execute("UPDATE repo_mapping SET state = 'revoked', revoked_at = now(), revoked_reason = 'gone'")
    view = await views.session_view(pool, bound.session.session_id)
    assert view is not None
    assert (view.attempts, view.notices, view.repo_full_name) == ((), (), "learner-one/lab")
    assert [step.missing for step in view.steps] == [(), ("one",), ("two",)]


async def test_only_the_newest_attempts_are_shown(pool: Pool) -> None:
    """A long ledger does not make a long page."""
    bound = await bind(pool)
    await pool.execute(
        "INSERT INTO push_attempt (session_id, trigger, delivery_id, ref, after_sha, lab_version_id, verdict, "
        "revision) "
        "SELECT $1, 'push', gen_random_uuid(), 'refs/heads/main', repeat('a', 40), $2, 'accepted', n "
        "FROM generate_series(1, 120) AS n",
        bound.session.session_id,
        bound.version.lab_version_id,
    )
    view = await views.session_view(pool, bound.session.session_id)
    assert view is not None
    ids = [attempt.attempt_id for attempt in view.attempts]
    assert len(ids) == 50
    assert ids == sorted(ids, reverse=True)
    assert ids[0] == await pool.fetchval("SELECT max(attempt_id) FROM push_attempt")


async def test_progress_under_an_old_id_is_shown_at_todays_step(pool: Pool) -> None:
    """A renamed step shows what was reached under its old name; a completed row wins over a reopened one."""
    bound = await bind(pool)
    session_id = bound.session.session_id
    await pool.execute(
        "INSERT INTO step_progress (session_id, step_id, state) VALUES ($1, 'old-two', 'completed'), "
        "($1, 'two', 'reopened')",
        session_id,
    )
    view = await views.session_view(pool, session_id)
    assert view is not None
    assert [step.state for step in view.steps] == [None, "completed", None]
    assert [step.missing for step in view.steps] == [(), ("one",), ()]


async def test_the_list_of_sessions(pool: Pool) -> None:
    """Sessions with the latest activity come first, with their progress; filters narrow; the number is bounded."""
    ada = await bind(pool)
    lin = await bind(pool, owner=LIN, repo_id=502, installation_id=72, published=(ada.lab, ada.version))
    await push(pool, ada, "a", gains=("one",))
    summaries = await views.list_sessions(pool)
    assert [(item.learner_login, item.steps_done, item.steps_total) for item in summaries] == [
        ("learner-one", 1, 3),
        ("learner-two", 0, 3),
    ]
    assert (summaries[1].session_id, summaries[1].status) == (lin.session.session_id, SessionStatus.IN_PROGRESS)
    assert (summaries[0].lab_slug, summaries[0].repo_full_name) == ("closures", "learner-one/lab")
    assert await views.list_sessions(pool, limit=1) == summaries[:1]
    assert await views.list_sessions(pool, lab_slug="other") == ()
    assert await views.list_sessions(pool, lab_slug="closures", status=SessionStatus.IN_PROGRESS) == summaries
    assert await views.list_sessions(pool, status=SessionStatus.STUCK) == ()

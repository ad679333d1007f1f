"""Saving a judgement changes everything that follows from it, at once."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from datetime import UTC, datetime
from uuid import uuid4

import asyncpg
import pytest

from rules.model import (
    CannotVerify,
    Enrolment,
    Facts,
    Lab,
    LabRecord,
    LabVersion,
    Outcome,
    Policy,
    Progress,
    Session,
    SessionStatus,
)
from storage import outbox, progress, sessions
from storage.audit import AuditEvent
from storage.database import Pool
from storage.errors import IllegalStatusChange
from storage.inbox import Lane
from storage.progress import JudgingState, SaveResult, SaveVerdict
from tests.support.audited import check_events
from tests.support.bindings import (
    LEASE,
    a_delivery,
    a_push,
    a_report,
    a_verdict,
    bind,
    claimed,
    sha,
    state_of,
)
from tests.support.judgements import BLOCK, everything, judged, saved


class TestSave:
    """Saving a judgement changes everything that follows from it, at once."""

    async def test_an_accepted_push(self, pool: Pool) -> None:
        """Attempt, progress, session, audit, report and deliveries are written together."""
        bound = await bind(pool)
        old = a_push(bound.repo, "base", "old")
        push = a_push(bound.repo, "old", "new")
        lane, ids = await claimed(pool, a_delivery(guid=old.delivery_id), a_delivery(guid=push.delivery_id))
        state = await state_of(pool, bound)
        verdict = a_verdict(state, "new", gains=("one", "two"))
        save = SaveVerdict(
            lane=lane,
            state=state,
            trigger="push",
            ref="refs/heads/main",
            verdict=verdict,
            facts_digest="f",
            push=push,
            report=a_report(bound, "new"),
            deliveries=ids[1:],
            superseded=((ids[0], old),),
            audit=(AuditEvent("reinstalled", repo_id=501), AuditEvent("fork_of_learner", detail={"depth": 2})),
        )
        assert await progress.save(pool, save) is SaveResult.SAVED
        after = await state_of(pool, bound)
        assert after.progress.done == {"one", "two"}
        assert (after.session.accepted_sha, after.session.head_sha) == (sha("new"), sha("new"))
        assert (after.branch_head_seen, after.head_rewrite, after.session.epoch) == (
            sha("new"),
            False,
            state.session.epoch,
        )
        attempts = await pool.fetch("SELECT * FROM push_attempt ORDER BY attempt_id")
        assert [(row["verdict"], row["after_sha"], row["delivery_id"]) for row in attempts] == [
            ("superseded", sha("old"), old.delivery_id),
            ("accepted", sha("new"), push.delivery_id),
        ]
        assert (attempts[1]["steps_before"], attempts[1]["steps_after"]) == ([], ["one", "two"])
        step = await pool.fetchrow("SELECT * FROM step_progress WHERE step_id = 'two'")
        assert step is not None
        assert (step["state"], step["commit_sha"], step["attempt_id"]) == (
            "completed",
            sha("new"),
            attempts[1]["attempt_id"],
        )
        assert step["evidence"]["head_sha"] == sha("new")
        deliveries = await pool.fetch("SELECT state, outcome FROM delivery ORDER BY inbox_id")
        assert [tuple(row) for row in deliveries] == [("superseded", "superseded"), ("done", "accepted")]
        kinds = await pool.fetch("SELECT kind, detail FROM audit_event ORDER BY event_id")
        assert [tuple(row) for row in kinds][1:] == [("reinstalled", {}), ("fork_of_learner", {"depth": 2})]
        (item,) = await outbox.claim(pool, "publisher", LEASE, 10)
        assert item.head_sha == sha("new")

    async def test_a_blocked_push_keeps_what_was_accepted(self, pool: Pool) -> None:
        """A blocked head is the session's head, with its violations in the ledger; its gains count."""
        bound = await bind(pool)
        await saved(pool, bound, "good", gains=("one",))
        await saved(pool, bound, "bad", violations=BLOCK, gains=("two",), rewrite=True)
        after = await state_of(pool, bound)
        assert (after.session.accepted_sha, after.session.head_sha) == (sha("good"), sha("bad"))
        assert (after.head_rewrite, after.progress.done) == (True, frozenset({"one", "two"}))
        row = await pool.fetchrow("SELECT * FROM push_attempt ORDER BY attempt_id DESC LIMIT 1")
        assert row is not None
        assert (row["verdict"], row["violations_total"], row["accepted_before"]) == ("blocked", 1, sha("good"))
        assert row["violations"][0]["path"] == "three/x.js"
        await saved(pool, bound, "fixed")
        assert not (await state_of(pool, bound)).head_rewrite

    async def test_the_audit_tells_of_a_status_that_a_verdict_changed(self, pool: Pool) -> None:
        """Stuck, in progress again, complete: each change is an event with its judgement, and no other verdict is."""
        bound = await bind(pool)
        await saved(pool, bound, "first")
        for head, status in (
            ("bad", SessionStatus.STUCK),
            ("good", SessionStatus.IN_PROGRESS),
            ("done", SessionStatus.VERIFIED_PASS),
        ):
            await saved(pool, bound, head, status=status)
        await check_events(pool)
        rows = await pool.fetch(
            "SELECT repo_id, mapping_id, session_id, head_sha, detail - 'attempt_id' AS detail FROM audit_event "
            "WHERE kind = 'judged' AND EXISTS (SELECT FROM push_attempt AS a WHERE a.after_sha = audit_event.head_sha "
            "AND a.attempt_id = (audit_event.detail->>'attempt_id')::bigint) ORDER BY event_id"
        )
        of = (bound.repo.repo_id, bound.mapping.mapping_id, bound.session.session_id)
        assert [tuple(row) for row in rows] == [
            (*of, sha("bad"), {"from": "IN_PROGRESS", "to": "STUCK"}),
            (*of, sha("good"), {"from": "STUCK", "to": "IN_PROGRESS"}),
            (*of, sha("done"), {"from": "IN_PROGRESS", "to": "VERIFIED_PASS"}),
        ]

    async def test_only_the_first_violations_are_kept(self, pool: Pool) -> None:
        """A push with very many violations keeps the first thousand and the number of all."""
        bound = await bind(pool)
        many = tuple(replace(BLOCK[0], path=f"three/{number}\x00") for number in range(1500))
        await saved(pool, bound, "bad", violations=many)
        row = await pool.fetchrow("SELECT violations, violations_total FROM push_attempt")
        assert row is not None
        assert (len(row["violations"]), row["violations_total"]) == (1000, 1500)
        assert row["violations"][7]["path"] == "three/7\ufffd"

    async def test_completing_twice_is_one_row_and_keeps_the_first_time(self, pool: Pool) -> None:
        """A step that is complete stays as it was completed first."""
        bound = await bind(pool)
        await saved(pool, bound, "a", gains=("one",))
        first = await pool.fetch("SELECT * FROM step_progress")
        await saved(pool, bound, "b", gains=("one",))
        assert await pool.fetch("SELECT * FROM step_progress") == first

    async def test_a_reopened_step_keeps_the_reason_and_can_be_completed_again(self, pool: Pool) -> None:
        """A loss is saved with both heads and its reason; doing the step again completes the same row."""
        bound = await bind(pool)
        await saved(pool, bound, "a", gains=("one",))
        await saved(pool, bound, "b", losses=("one",))
        row = await pool.fetchrow("SELECT * FROM step_progress")
        assert row is not None
        assert (row["state"], row["evidence"]["reason"]) == ("reopened", "TAKEN_AWAY")
        assert (row["evidence"]["accepted_before"], row["evidence"]["head_sha"]) == (sha("a"), sha("b"))
        assert (await state_of(pool, bound)).progress.done == frozenset()
        await saved(pool, bound, "c", gains=("one",))
        row = await pool.fetchrow("SELECT state, commit_sha, reopened_at FROM step_progress")
        assert row is not None
        assert tuple(row) == ("completed", sha("c"), None)

    async def test_a_loss_also_ends_progress_under_an_old_id(self, pool: Pool) -> None:
        """Progress that was stored before a step was renamed is reopened with the step."""
        bound = await bind(pool)
        await pool.execute(
            "INSERT INTO step_progress (session_id, step_id, state) VALUES ($1, 'old-two', 'completed')",
            bound.session.session_id,
        )
        await saved(pool, bound, "b", losses=("two",))
        assert (await state_of(pool, bound)).progress.done == frozenset()

    async def test_a_preview_changes_neither_session_nor_progress(self, pool: Pool) -> None:
        """Work on another branch is in the ledger and gets its report; the session stays as it is."""
        bound = await bind(pool)
        await saved(pool, bound, "a", gains=("one",))
        before = await state_of(pool, bound)
        save = await saved(
            pool,
            bound,
            "p",
            gains=("two",),
            violations=BLOCK,
            preview=True,
            status=SessionStatus.STUCK,
            ref="refs/heads/try",
            report=a_report(bound, "p", conclusion="failure", weak=True),
        )
        assert save.outcome is Outcome.PREVIEW
        after = await state_of(pool, bound)
        assert replace(after, read_at=before.read_at) == before
        assert await pool.fetchval("SELECT verdict FROM push_attempt ORDER BY attempt_id DESC LIMIT 1") == "preview"

    async def test_a_head_that_cannot_be_verified_is_seen_but_not_judged(self, pool: Pool) -> None:
        """CANNOT_VERIFY leaves what was judged, and records the newest head and the reason."""
        bound = await bind(pool)
        await saved(pool, bound, "a", gains=("one",))
        await saved(pool, bound, "b", verdict=CannotVerify(sha("b"), "TOO_LARGE", "120,000 files"))
        after = await state_of(pool, bound)
        assert (after.session.accepted_sha, after.session.head_sha) == (sha("a"), sha("a"))
        assert (after.branch_head_seen, after.progress.done) == (sha("b"), frozenset({"one"}))
        row = await pool.fetchrow(
            "SELECT verdict, detail, steps_after FROM push_attempt ORDER BY attempt_id DESC LIMIT 1"
        )
        assert row is not None
        assert (row["verdict"], row["detail"]["reason"], row["steps_after"]) == ("cannot_verify", "TOO_LARGE", ["one"])

    async def test_a_finished_lab_raises_the_epoch(self, pool: Pool) -> None:
        """The status that the verdict leads to is saved with it, and the epoch rises."""
        bound = await bind(pool)
        await saved(pool, bound, "a", status=SessionStatus.VERIFIED_PASS)
        session = await sessions.get(pool, bound.session.session_id)
        assert session is not None
        assert (session.status, session.epoch) == (SessionStatus.VERIFIED_PASS, bound.session.epoch + 1)
        assert await pool.fetchval("SELECT completed_at IS NOT NULL FROM lab_session")

    async def test_an_impossible_status_saves_nothing(self, pool: Pool) -> None:
        """A status that the machine does not allow is an error, and nothing of the judgement is written."""
        bound = await bind(pool)
        await saved(pool, bound, "a", status=SessionStatus.VERIFIED_PASS)
        save, _ = await judged(pool, bound, "b", gains=("one",), status=SessionStatus.STUCK)
        before = await everything(pool)
        with pytest.raises(IllegalStatusChange):
            await progress.save(pool, save)
        assert await everything(pool) == before

    async def test_listeners_are_told(self, pool: Pool, fresh_database: str) -> None:
        """The session's page and the publisher hear of a saved verdict."""
        heard: list[tuple[str, str]] = []
        bound = await bind(pool)
        link = await asyncpg.connect(fresh_database)
        try:
            for channel in ("session_changed", "outbox_due"):
                await link.add_listener(channel, lambda _c, _p, name, payload: heard.append((name, str(payload))))
            await saved(pool, bound, "a", report=a_report(bound, "a"))
            await link.execute("SELECT 1")
            await asyncio.sleep(0.05)
        finally:
            await link.close()
        assert sorted(heard) == [("outbox_due", ""), ("session_changed", str(bound.session.session_id))]

    def test_a_judgement_needs_a_mapping(self) -> None:
        """A judgement of a session without repository is a defect of ours and is told as such."""
        with pytest.raises(ValueError, match="bound repository"):
            _unbound().to_json()


def _unbound() -> SaveVerdict:
    lab = Lab("t", "main", (), (), Policy(), ())
    session = Session(uuid4(), 1, 1, 1, SessionStatus.IN_PROGRESS, 0, None, None, datetime.now(UTC))
    version = LabVersion(1, 1, 1, sha("v"), sha("t"), lab, "d")
    record = LabRecord(1, "lab", "Lab", 2, "octo-course/lab", None, Enrolment.OPEN)
    state = JudgingState(
        session, record, version, None, Progress(), Facts(), (), frozenset(), False, None, datetime.now(UTC)
    )
    return SaveVerdict(
        Lane("repo:1", 1, "w"), state, "rerun", "refs/heads/main", CannotVerify(sha("h"), "GITHUB"), facts_digest=""
    )

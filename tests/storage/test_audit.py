"""The audit: added to, listed by filters, never changed."""

from __future__ import annotations

from dataclasses import fields
from datetime import UTC, datetime, timedelta
from uuid import uuid4

import asyncpg
import pytest

from storage import audit
from storage.audit import AuditEvent, AuditFilter
from storage.database import Pool
from storage.errors import AppendOnly, domain_errors
from tests.support.bindings import sha

FULL = AuditEvent(
    kind="rejected",
    code="OWNER_CHANGED",
    actor_id=1,
    installation_id=2,
    repo_id=3,
    repo_full_name="octo-course/x",
    owner_id=4,
    expected_owner_id=5,
    parent_id=6,
    key_tried="parent",
    mapping_id=7,
    session_id=uuid4(),
    ref="refs/heads/main",
    head_sha=sha("a"),
    sender_id=8,
    delivery_id=uuid4(),
    binding_mode="shadow",
    detail={"why": "NUL \x00", "n": 1},
)


async def test_an_event_is_read_back_as_it_was_recorded(pool: Pool) -> None:
    """Every field is stored; only what PostgreSQL cannot hold is replaced."""
    assert all(getattr(FULL, field.name) not in (None, field.default) for field in fields(FULL))
    await audit.record(pool, FULL)
    (recorded,) = await audit.list_events(pool)
    expected = {field.name: getattr(FULL, field.name) for field in fields(FULL)} | {
        "detail": {"why": "NUL \ufffd", "n": 1}
    }
    assert recorded.event == AuditEvent(**expected)
    assert (recorded.count, recorded.at == recorded.last_at) == (1, True)


async def test_events_keep_their_order_and_are_filtered(pool: Pool) -> None:
    """The newest come first; every filter narrows; `before` goes on from an id."""
    await audit.record(
        pool,
        AuditEvent("bound", repo_id=1),
        AuditEvent("rejected", code="AMBIGUOUS", repo_id=1),
        AuditEvent("rejected", code="NO_SESSION", repo_id=2, session_id=FULL.session_id),
    )
    events = await audit.list_events(pool)
    assert [event.event.code for event in events] == ["NO_SESSION", "AMBIGUOUS", None]
    assert [event.event.kind for event in await audit.list_events(pool, repo_id=1)] == ["rejected", "bound"]
    assert len(await audit.list_events(pool, repo_id=1, code="AMBIGUOUS")) == 1
    assert len(await audit.list_events(pool, session_id=FULL.session_id)) == 1
    assert len(await audit.list_events(pool, limit=2)) == 2
    assert len(await audit.list_events(pool, before=events[0].event_id)) == 2
    assert len(await audit.list_events(pool, since=datetime.now(UTC) - timedelta(hours=1))) == 3
    assert await audit.list_events(pool, since=datetime.now(UTC) + timedelta(hours=1)) == ()


async def test_a_stream_has_everything_once_the_oldest_first(pool: Pool) -> None:
    """However many events fit are read in batches, with the counts of rejections; every filter narrows."""
    await audit.record(pool, *(AuditEvent("bound", repo_id=number) for number in range(5)))
    for _ in range(3):
        await pool.execute('SELECT count_rejection(\'{"kind": "rejected", "code": "TAG", "repo_id": 3}\')')

    async def found(wanted: AuditFilter, batch: int = 2) -> list[tuple[str, int | None, int]]:
        events = audit.stream(pool, wanted, batch=batch)
        return [(each.event.kind, each.event.repo_id, each.count) async for each in events]

    bound = [("bound", number, 1) for number in range(5)]
    assert await found(AuditFilter()) == [*bound, ("rejected", 3, 3)]
    assert await found(AuditFilter(kind="bound"), batch=5) == bound
    assert await found(AuditFilter(repo_id=3)) == [("bound", 3, 1), ("rejected", 3, 3)]
    assert await found(AuditFilter(code="TAG", until=datetime.now(UTC) + timedelta(hours=1))) == [("rejected", 3, 3)]
    assert await found(AuditFilter(until=datetime.now(UTC) - timedelta(hours=1))) == []


@pytest.mark.parametrize(
    "statement",
    ["UPDATE {} SET {} = NULL", "DELETE FROM {}", "TRUNCATE {} CASCADE"],
)
@pytest.mark.parametrize(
    ("table", "column"), [("audit_event", "code"), ("push_attempt", "sender_id"), ("lab_version", "published_at")]
)
async def test_rows_are_never_changed(pool: Pool, statement: str, table: str, column: str) -> None:
    """Not even the tables' owner updates, deletes or empties the audit, the ledger or a published version."""
    from storage import inbox, progress
    from storage.progress import SaveVerdict
    from tests.support.bindings import a_delivery, a_push, a_verdict, bind, claimed, state_of

    bound = await bind(pool)
    push = a_push(bound.repo, "x", "a")
    lane, ids = await claimed(pool, a_delivery(guid=push.delivery_id))
    state = await state_of(pool, bound)
    await progress.save(
        pool, SaveVerdict(lane, state, "push", push.ref, a_verdict(state, "a"), "f", push=push, deliveries=ids)
    )
    await inbox.release(pool, lane)
    before = await pool.fetch(f"SELECT * FROM {table}")
    assert before
    with pytest.raises(AppendOnly), domain_errors():
        await pool.execute(statement.format(table, column))
    assert await pool.fetch(f"SELECT * FROM {table}") == before


async def test_an_odd_kind_is_refused(pool: Pool) -> None:
    """Kinds are lower-case words, so that each has its published form."""
    with pytest.raises(asyncpg.CheckViolationError):
        await audit.record(pool, AuditEvent("Something Else"))

"""Guards of mappings and epochs (binding.md sections 4.1 and 4.2).

Each check is made twice, on a database of its own: with the guard, and without its line.
"""

from __future__ import annotations

import pytest

from rules.model import SessionStatus
from storage import sessions
from storage.audit import AuditEvent
from storage.database import Pool
from storage.errors import MappingConflict, StaleSession
from tests.support.bindings import LIN, a_repo, bind, install
from tests.support.guards import Guard


async def one_mapping_per_repository(pool: Pool) -> bool:
    """A repository is bound to one session at a time."""
    bound = await bind(pool)
    await install(pool, 72, LIN, a_repo(501, LIN))
    try:
        await sessions.create_and_bind(
            pool,
            version=bound.version,
            learner=LIN,
            repo=a_repo(501, LIN),
            installation_id=72,
            source="event",
            event=AuditEvent("bound"),
        )
    except MappingConflict:
        return True
    return False


async def one_mapping_per_session(pool: Pool) -> bool:
    """A session has one repository at a time, however many are attached at once."""
    bound = await bind(pool)
    await install(pool, 71, bound.repo.owner, bound.repo, a_repo(502))
    try:
        await sessions.attach(
            pool, bound.session, repo=a_repo(502), installation_id=71, source="event", event=AuditEvent("bound")
        )
    except MappingConflict:
        return True
    return False


async def _epoch_now(pool: Pool) -> int:
    return int(await pool.fetchval("SELECT binding_epoch FROM lab_session"))


async def epoch_of_a_new_mapping(pool: Pool) -> bool:
    """A session that is bound has another epoch than before."""
    await bind(pool)
    return await _epoch_now(pool) == 1


async def epoch_of_a_revoked_mapping(pool: Pool) -> bool:
    """Whoever ends a mapping, by whatever statement, raises the epoch."""
    await bind(pool)
    before = await _epoch_now(pool)
    await pool.execute("UPDATE repo_mapping SET state = 'revoked', revoked_at = now(), revoked_reason = 'test'")
    return await _epoch_now(pool) == before + 1


async def epoch_of_a_status(pool: Pool) -> bool:
    """Whoever changes the status, by whatever statement, raises the epoch."""
    await bind(pool)
    before = await _epoch_now(pool)
    await pool.execute("UPDATE lab_session SET status = 'STUCK'")
    return await _epoch_now(pool) == before + 1


async def stale_status_change(pool: Pool) -> bool:
    """Staff's change of a status that has changed meanwhile is refused."""
    bound = await bind(pool)
    await pool.execute("UPDATE lab_session SET status = 'STUCK'")
    try:
        await sessions.change_status(
            pool, bound.session.session_id, bound.session.epoch, SessionStatus.IN_PROGRESS, reason="seen"
        )
    except StaleSession:
        return True
    return False


GUARDS = {
    "mapping of a repository": Guard(
        "drop DROP INDEX repo_mapping_one_active_per_repo", "", "", one_mapping_per_repository
    ),
    "mapping of one session": Guard(
        "drop DROP INDEX repo_mapping_one_active_per_session", "", "", one_mapping_per_session
    ),
    "epoch of a new mapping": Guard(
        "drop DROP TRIGGER repo_mapping_added ON repo_mapping", "", "", epoch_of_a_new_mapping
    ),
    "epoch of a revoked mapping": Guard(
        "drop DROP TRIGGER repo_mapping_changed ON repo_mapping", "", "", epoch_of_a_revoked_mapping
    ),
    "epoch of a status": Guard(
        "sql keep_session_rules",
        "NEW.binding_epoch := greatest(NEW.binding_epoch, OLD.binding_epoch + 1);",
        "",
        epoch_of_a_status,
    ),
    "stale status change": Guard(
        "sql change_session_status", "AND binding_epoch = expected_epoch", "", stale_status_change
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", GUARDS)
async def test_the_guard_holds(pool: Pool, name: str) -> None:
    """With the guard in its place, the race that it is there for ends well."""
    assert await GUARDS[name].holds(pool)


@pytest.mark.parametrize("name", GUARDS)
async def test_without_its_line_the_guard_does_not_hold(pool: Pool, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """With the named line taken out the same check fails: it is this line that does it, and the check sees it."""
    await GUARDS[name].take_out(pool, monkeypatch)
    assert not await GUARDS[name].holds(pool)

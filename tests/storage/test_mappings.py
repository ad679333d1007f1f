"""Mappings: every change raises the epoch, tells others, and is audited."""

from __future__ import annotations

import asyncio
from dataclasses import replace

import asyncpg

from rules.model import RepoMapping
from storage import sessions
from storage.audit import AuditEvent, list_events
from storage.database import Pool
from storage.mappings import Mappings
from storage.views import session_view
from tests.support.bindings import Bound, bind, install, sha


async def epoch(pool: Pool, bound: Bound) -> int:
    """The session's epoch now."""
    session = await sessions.get(pool, bound.session.session_id)
    assert session is not None
    return session.epoch


async def test_only_active_mappings_are_found(pool: Pool) -> None:
    """A repository is found by its id while its mapping is active."""
    bound = await bind(pool)
    mappings = Mappings(pool)
    assert await mappings.find(501) == bound.mapping
    assert await mappings.find(502) is None
    assert await mappings.revoke(bound.mapping, "relinked", AuditEvent("revoked"))
    assert await mappings.find(501) is None


async def test_a_revocation_is_final_and_audited(pool: Pool) -> None:
    """A mapping ends once, with the reason; the epoch rises; what was accepted stays unless the repository is gone."""
    bound = await bind(pool)
    await pool.execute("UPDATE lab_session SET accepted_sha = $1", sha("a"))
    mappings = Mappings(pool)
    before = await epoch(pool, bound)
    assert await mappings.revoke(bound.mapping, "owner changed", AuditEvent("revoked", code="OWNER_CHANGED"))
    assert not await mappings.revoke(bound.mapping, "again", AuditEvent("revoked"))
    assert await epoch(pool, bound) == before + 1
    row = await pool.fetchrow("SELECT state, revoked_reason, revoked_at IS NOT NULL AS at FROM repo_mapping")
    assert row is not None
    assert tuple(row) == ("revoked", "owner changed", True)
    assert await pool.fetchval("SELECT accepted_sha FROM lab_session") == sha("a")
    events = await list_events(pool, code="OWNER_CHANGED")
    assert [event.event.mapping_id for event in events] == [bound.mapping.mapping_id]


async def test_a_reinstall_moves_the_mapping(pool: Pool) -> None:
    """The mapping takes the new installation's id once, the epoch rises, and it is audited."""
    bound = await bind(pool)
    await install(pool, 99, bound.repo.owner, bound.repo)
    mappings = Mappings(pool)
    before = await epoch(pool, bound)
    assert await mappings.take_installation(bound.mapping, 99, AuditEvent("reinstalled"))
    assert not await mappings.take_installation(bound.mapping, 99, AuditEvent("reinstalled"))
    found = await mappings.find(501)
    assert found is not None
    assert (found.installation_id, await epoch(pool, bound)) == (99, before + 1)
    assert len(await list_events(pool, repo_id=501)) == 2


async def test_a_new_name_is_display_only(pool: Pool) -> None:
    """A rename is stored, raises no epoch, and is written only when there is news."""
    bound = await bind(pool)
    mappings = Mappings(pool)
    before, renamed = await epoch(pool, bound), replace(bound.repo, full_name="learner-one/renamed")
    assert not await mappings.see(bound.repo)
    assert await mappings.see(renamed)
    assert not await mappings.see(replace(renamed, repo_id=999))
    found = await mappings.find(501)
    assert isinstance(found, RepoMapping)
    assert (found.repo_full_name, await epoch(pool, bound)) == ("learner-one/renamed", before)
    await pool.execute("UPDATE repo_mapping SET last_seen_at = now() - interval '2 hours'")
    assert await mappings.see(renamed)


async def test_whether_a_repository_is_private_is_known(pool: Pool) -> None:
    """It is stored with the binding and followed from then on; a session's view tells it, closed when nobody knows."""
    bound = await bind(pool)
    mappings, session_id = Mappings(pool), bound.session.session_id
    view = await session_view(pool, session_id)
    assert (bound.mapping.private, view is not None and view.private) == (False, False)
    assert await mappings.see(replace(bound.repo, private=True))
    found, view = await mappings.find(501), await session_view(pool, session_id)
    assert found is not None
    assert (found.private, view is not None and view.private) == (True, True)
    assert await mappings.see(bound.repo)
    await mappings.revoke(found, "gone", AuditEvent("revoked"))
    view = await session_view(pool, session_id)
    assert view is not None
    assert view.private


async def test_other_processes_hear_of_every_change(pool: Pool, fresh_database: str) -> None:
    """Binding, moving and revoking each notify with the repository's id."""
    heard: list[str] = []
    link = await asyncpg.connect(fresh_database)
    try:
        await link.add_listener("binding_changed", lambda _c, _p, _n, payload: heard.append(str(payload)))
        bound = await bind(pool)
        await install(pool, 99, bound.repo.owner, bound.repo)
        await Mappings(pool).take_installation(bound.mapping, 99, AuditEvent("reinstalled"))
        await Mappings(pool).revoke(bound.mapping, "gone", AuditEvent("revoked"))
        await link.execute("SELECT 1")
        await asyncio.sleep(0.05)
    finally:
        await link.close()
    assert heard == ["501"] * 3


async def test_writers_of_one_session_never_deadlock(pool: Pool) -> None:
    """Revoking, moving and deferring at the same moment wait for each other in one order."""
    bound = await bind(pool)
    await install(pool, 99, bound.repo.owner, bound.repo)
    mappings = Mappings(pool)
    results = await asyncio.gather(
        *(mappings.take_installation(bound.mapping, 71 if turn % 2 else 99, AuditEvent("moved")) for turn in range(20)),
        mappings.revoke(bound.mapping, "gone", AuditEvent("revoked"), forget_accepted=True),
        *(mappings.take_installation(bound.mapping, 71 if turn % 2 else 99, AuditEvent("moved")) for turn in range(20)),
    )
    assert results[20] is True
    assert await mappings.find(501) is None

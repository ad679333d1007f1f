"""Guards of sessions against two writers at once (binding.md sections 4.1, 4.2, 4.3 and 4.6).

Each check is made twice, on a database of its own: with the guard, and without its line.
"""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from datetime import UTC, datetime, timedelta
from typing import Any

import asyncpg
import pytest

from rules.model import InstallationState, LabVersion, Repo, Session
from storage import accounts, actions, labs, lifecycle, progress, sessions, versions
from storage.actions import Decision
from storage.audit import AuditEvent
from storage.database import Pool
from storage.errors import MappingConflict, SessionConflict, StaleSession
from storage.labs import LabChange
from storage.mappings import Mappings
from storage.progress import SaveResult
from tests.support.bindings import Bound, a_lab, a_repo, bind, install, publish, sha, state_of
from tests.support.guards import Guard
from tests.support.judgements import judged

STAFF = Decision(7, "seen in class")
SOON = datetime.now(UTC) + timedelta(days=3)


async def _waiting(pool: Pool, work: Coroutine[Any, Any, Any]) -> asyncio.Task[Any]:
    """Begin something that waits for a lock of another transaction, or is not held up at all."""
    task = asyncio.create_task(work)
    async with asyncio.timeout(5):
        while not task.done():
            if await pool.fetchval(
                "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'"
            ):
                break
            await asyncio.sleep(0.01)
    return task


async def _unbound(pool: Pool, number: int = 1) -> Session:
    """A learner's session in a lab of its own, without a repository."""
    bound = await bind(pool, repo_id=600 + number, published=await publish(pool, f"lab-{number}", 5000 + number))
    await Mappings(pool).revoke(bound.mapping, "test", AuditEvent("unbound"))
    session = await sessions.get(pool, bound.session.session_id)
    assert session is not None
    return session


async def _attach(pool: Pool, session: Session) -> bool:
    """Bind repository 501 to a session as it was seen; whether that was done."""
    try:
        await sessions.attach(
            pool, session, repo=a_repo(501), installation_id=71, source="event", event=AuditEvent("bound")
        )
    except (MappingConflict, StaleSession):
        return False
    return True


async def one_repository_two_sessions(pool: Pool) -> bool:
    """Workers that bind one repository to two sessions at once: one of them does."""
    both = [await _unbound(pool, number) for number in (1, 2)]
    return sum(await asyncio.gather(*(_attach(pool, session) for session in both))) == 1


async def one_open_session(pool: Pool) -> bool:
    """A learner who pushes to two forks at once has one open session of the lab."""
    _, version = await publish(pool)
    repos = a_repo(501), a_repo(502)
    await install(pool, 71, repos[0].owner, *repos)

    async def enrol(repo: Repo) -> bool:
        try:
            await sessions.create_and_bind(
                pool,
                version=version,
                learner=repo.owner,
                repo=repo,
                installation_id=71,
                source="event",
                event=AuditEvent("bound"),
            )
        except SessionConflict:
            return False
        return True

    return sum(await asyncio.gather(*map(enrol, repos))) == 1


async def immovable_mapping(pool: Pool) -> bool:
    """No statement moves a mapping to another session: what was saved under it would change hands."""
    bound, other = await bind(pool), await _unbound(pool)
    try:
        await pool.execute(
            "UPDATE repo_mapping SET session_id = $1 WHERE mapping_id = $2", other.session_id, bound.mapping.mapping_id
        )
    except asyncpg.RestrictViolationError:
        return True
    return False


async def reinstalled(pool: Pool) -> bool:
    """A mapping that takes another installation is another binding."""
    bound = await bind(pool)
    await install(pool, 72, bound.repo.owner, bound.repo)
    save, _ = await judged(pool, bound, "a")
    await Mappings(pool).take_installation(bound.mapping, 72, AuditEvent("reinstalled"))
    return await progress.save(pool, save) is SaveResult.STALE_BINDING


async def stale_attach(pool: Pool) -> bool:
    """A session that changed since it was chosen for a repository is not bound to it."""
    seen = await _unbound(pool)
    await actions.defer(pool, seen, STAFF)
    return not await _attach(pool, seen)


async def attach_waits(pool: Pool) -> bool:
    """Whoever binds waits for another writer of the session, and sees what that one wrote."""
    seen = await _unbound(pool)
    async with pool.acquire() as connection, connection.transaction():
        await connection.execute("UPDATE lab_session SET status = 'STUCK'")
        attaching = await _waiting(pool, _attach(pool, seen))
    return not await attaching


async def revoke_waits(pool: Pool) -> bool:
    """Whoever ends a mapping locks the session first, as everybody does: two writers never wait in a circle."""
    bound = await bind(pool)
    ending = Mappings(pool).revoke(bound.mapping, "relinked", AuditEvent("unbound"))
    try:
        async with pool.acquire() as connection, connection.transaction():
            await connection.execute("SELECT FROM lab_session FOR UPDATE")
            task = await _waiting(pool, ending)
            await connection.execute("UPDATE repo_mapping SET last_seen_at = now()")
        return bool(await task)
    except asyncpg.DeadlockDetectedError:
        await asyncio.gather(task, return_exceptions=True)
        return False


async def stale_decision(pool: Pool) -> bool:
    """Of two people who decide about what they both saw, the second one looks again."""
    bound = await bind(pool)
    await actions.add_fact(pool, bound.session, STAFF, "approve", "one")
    try:
        await actions.defer(pool, bound.session, STAFF)
    except StaleSession:
        return True
    return False


async def verdict_before_a_fact(pool: Pool) -> bool:
    """A verdict that was computed before staff decided something is not saved."""
    bound = await bind(pool)
    save, _ = await judged(pool, bound, "a")
    await actions.add_fact(pool, bound.session, STAFF, "approve", "one")
    return await progress.save(pool, save) is SaveResult.STALE_BINDING


async def verdict_before_a_deadline(pool: Pool) -> bool:
    """A verdict that was computed by another deadline is not saved."""
    bound = await bind(pool)
    save, _ = await judged(pool, bound, "a")
    await labs.edit(pool, bound.lab.lab_id, LabChange(sets_deadline=True, deadline=SOON), also_running=True)
    return await progress.save(pool, save) is SaveResult.STALE_BINDING


async def _next_version(pool: Pool, bound: Bound) -> LabVersion:
    return await labs.publish(
        pool, bound.lab.lab_id, commit_sha=sha("v2"), tree_sha=sha("t2"), lab=a_lab("one"), digest="digest 2"
    )


async def verdict_before_a_move(pool: Pool) -> bool:
    """A verdict that was computed by another version of the lab is not saved."""
    bound = await bind(pool)
    save, _ = await judged(pool, bound, "a")
    target = await _next_version(pool, bound)
    await versions.migrate(pool, await state_of(pool, bound), target, await versions.new_run(pool), STAFF)
    return await progress.save(pool, save) is SaveResult.STALE_BINDING


async def stale_move(pool: Pool) -> bool:
    """A session whose accepted head changed since its move was decided is not moved."""
    bound = await bind(pool)
    seen = await state_of(pool, bound)
    await pool.execute("UPDATE lab_session SET accepted_sha = $1", sha("other"))
    try:
        await versions.migrate(pool, seen, await _next_version(pool, bound), await versions.new_run(pool), STAFF)
    except StaleSession:
        return True
    return False


async def extended_in_time(pool: Pool) -> bool:
    """A session whose deadline was put off after somebody saw that it had passed stays open."""
    bound = await bind(pool)
    await pool.execute("UPDATE lab_session SET expires_at = $1", SOON)
    return not await sessions.expire(pool, bound.session.session_id)


async def expiry_waits(pool: Pool) -> bool:
    """Whoever closes a session waits for an extension that is under way."""
    bound = await bind(pool)
    await pool.execute("UPDATE lab_session SET expires_at = now() - interval '1 hour'")
    async with pool.acquire() as connection, connection.transaction():
        await connection.execute("UPDATE lab_session SET expires_at = $1, binding_epoch = binding_epoch + 1", SOON)
        closing = await _waiting(pool, sessions.expire(pool, bound.session.session_id))
    try:
        return not await closing and await pool.fetchval("SELECT status FROM lab_session") == "IN_PROGRESS"
    except asyncpg.PostgresError:
        return False


async def deleted_installation(pool: Pool) -> bool:
    """An answer of the API that was read before an installation was deleted does not bring it back."""
    known = await install(pool, 71)
    await lifecycle.end_installation(pool, 71)
    await accounts.upsert_installation(pool, known)
    found = await accounts.installation(pool, 71)
    return found is not None and found.state is InstallationState.DELETED


EPOCH = "AND s.binding_epoch = (given->>'epoch')::bigint"
GUARDS = {
    "one repository, two sessions": Guard(
        "drop DROP INDEX repo_mapping_one_active_per_repo", "", "", one_repository_two_sessions
    ),
    "one open session": Guard("drop DROP INDEX lab_session_one_open_per_learner", "", "", one_open_session),
    "immovable mapping": Guard("drop DROP TRIGGER repo_mapping_rules ON repo_mapping", "", "", immovable_mapping),
    "epoch of a reinstall": Guard("drop DROP TRIGGER repo_mapping_changed ON repo_mapping", "", "", reinstalled),
    "stale attach": Guard("sql attach_repository", EPOCH, "", stale_attach),
    "lock of an attach": Guard("sql attach_repository", "FOR UPDATE", "", attach_waits),
    "lock of a revocation": Guard("sql revoke_mapping", "= the_mapping) FOR UPDATE", "= the_mapping)", revoke_waits),
    "stale decision": Guard("sql act_on_session", EPOCH, "", stale_decision),
    "epoch of a decision": Guard(
        "sql act_on_session", "s.binding_epoch + (NOT given ? 'keep_epoch')::integer", "s.binding_epoch",
        verdict_before_a_fact,
    ),
    "epoch of a deadline": Guard(
        "sql edit_lab", "binding_epoch = s.binding_epoch + 1", "binding_epoch = s.binding_epoch",
        verdict_before_a_deadline,
    ),
    "epoch of a move": Guard(
        "sql migrate_session", "binding_epoch = s.binding_epoch + 1", "binding_epoch = s.binding_epoch",
        verdict_before_a_move,
    ),
    "stale move": Guard(
        "sql session_as_seen", "AND known.accepted_sha IS NOT DISTINCT FROM given->>'accepted_sha'", "", stale_move
    ),
    "deadline put off": Guard("sql expire_session", "OR known.expires_at > clock_timestamp()", "", extended_in_time),
    "lock of an expiry": Guard("sql expire_session", "FOR UPDATE", "", expiry_waits),
    "deleted installation": Guard(
        "text storage.accounts:_UPSERT_INSTALLATION", "CASE known.state WHEN 'deleted' THEN known.state "
        "ELSE excluded.state END", "excluded.state", deleted_installation,
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

"""Sessions: created and bound under the indexes, and the status machine in the database."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from itertools import pairwise, product
from uuid import uuid4

import asyncpg
import pytest

from rules.model import Account, AccountKind, RepoMapping, Session, SessionStatus
from rules.session import STANDINGS, DeferredBy, IllegalTransition, SessionEvent, Standing, next_status
from storage import accounts, sessions
from storage.audit import AuditEvent, list_events
from storage.database import Pool
from storage.errors import IllegalStatusChange, MappingConflict, SessionConflict, StaleSession
from storage.mappings import Mappings
from storage.sessions import Candidate, Candidates
from tests.support.bindings import ADA, COURSE, LIN, Bound, a_repo, bind, install, publish, sha

S = SessionStatus


def ways() -> set[tuple[Standing, Standing]]:
    """Every change of standing that the rules' machine makes of some event."""
    found = set()
    for old, event in product(STANDINGS, SessionEvent):
        for blocked_heads in (0, 99):
            try:
                new = next_status(old.status, event, old.deferred_by, blocked_heads=blocked_heads)
            except IllegalTransition:
                continue
            found.add((old, new))
    return {(old, new) for old, new in found if old != new}


async def to(pool: Pool, session: Session, status: SessionStatus, deferred_by: DeferredBy | None = None) -> Session:
    """The session in another status; a deferral is staff's unless said otherwise."""
    if status is S.DEFERRED:
        deferred_by = deferred_by or "staff"
    return await sessions.change_status(
        pool, session.session_id, session.epoch, status, deferred_by=deferred_by, actor_id=1, reason="test"
    )


async def rows(pool: Pool) -> tuple[int, int, int]:
    """Numbers of sessions, mappings and audit events."""
    row = await pool.fetchrow(
        "SELECT (SELECT count(*) FROM lab_session), (SELECT count(*) FROM repo_mapping), "
        "(SELECT count(*) FROM audit_event)"
    )
    assert row is not None
    return row[0], row[1], row[2]


class TestCreateAndBind:
    """One transaction makes a session and its mapping."""

    async def test_what_is_returned_is_what_is_stored(self, pool: Pool) -> None:
        """Session and mapping read back are equal to those returned, and the binding is audited with their ids."""
        lab, version = await publish(pool)
        await install(pool, 71, ADA)
        deadline = datetime(2030, 1, 1, tzinfo=UTC)
        session, mapping = await sessions.create_and_bind(
            pool,
            version=version,
            learner=ADA,
            repo=a_repo(501),
            installation_id=71,
            source="event",
            event=AuditEvent("bound", sender_id=7),
            expires_at=deadline,
            user_id=uuid4(),
        )
        assert await sessions.get(pool, session.session_id) == session
        assert await Mappings(pool).find(501) == mapping
        assert (session.expires_at, session.status, session.lab_id) == (deadline, S.IN_PROGRESS, lab.lab_id)
        (event,) = await list_events(pool, session_id=session.session_id)
        assert (event.event.kind, event.event.mapping_id, event.event.sender_id) == ("bound", mapping.mapping_id, 7)
        assert (event.event.repo_id, event.event.owner_id, event.event.installation_id) == (501, 101, 71)

    async def test_an_account_that_was_never_seen_is_known_then(self, pool: Pool) -> None:
        """The learner's and the owner's accounts are stored with the session."""
        _, version = await publish(pool)
        await install(pool, 71, COURSE)
        repo = a_repo(501, Account(103, "octo-class", AccountKind.ORGANIZATION))
        await sessions.create_and_bind(
            pool, version=version, learner=LIN, repo=repo, installation_id=71, source="staff", event=AuditEvent("bound")
        )
        assert await accounts.account(pool, 102) == LIN
        assert await accounts.account(pool, 103) == repo.owner

    async def test_one_repository_to_two_sessions_at_once(self, pool: Pool) -> None:
        """Of many writers that bind the same repository, exactly one wins and leaves a session behind."""
        _, version = await publish(pool)
        await install(pool, 71, COURSE)
        learners = [Account(200 + number, f"learner-{number}", AccountKind.USER) for number in range(8)]
        results = await asyncio.gather(
            *(
                sessions.create_and_bind(
                    pool,
                    version=version,
                    learner=learner,
                    repo=a_repo(501, COURSE),
                    installation_id=71,
                    source="event",
                    event=AuditEvent("bound"),
                )
                for learner in learners
            ),
            return_exceptions=True,
        )
        assert sum(isinstance(result, tuple) for result in results) == 1
        assert sum(isinstance(result, MappingConflict) for result in results) == 7
        assert await rows(pool) == (1, 1, 1)

    async def test_one_learner_with_two_repositories_at_once(self, pool: Pool) -> None:
        """A learner who starts a lab with two forks at the same moment has one open session."""
        _, version = await publish(pool)
        await install(pool, 71)
        results = await asyncio.gather(
            *(
                sessions.create_and_bind(
                    pool,
                    version=version,
                    learner=ADA,
                    repo=a_repo(501 + number),
                    installation_id=71,
                    source="event",
                    event=AuditEvent("bound"),
                )
                for number in range(4)
            ),
            return_exceptions=True,
        )
        assert sum(isinstance(result, tuple) for result in results) == 1
        assert sum(isinstance(result, SessionConflict) for result in results) == 3
        assert await rows(pool) == (1, 1, 1)

    async def test_a_version_of_another_lab_is_refused(self, pool: Pool) -> None:
        """A session never works under the rules of another lab."""
        _, version = await publish(pool)
        other, _ = await publish(pool, "hooks", 5001)
        await install(pool, 71)
        with pytest.raises(asyncpg.ForeignKeyViolationError):
            await sessions.create_and_bind(
                pool,
                version=replace(version, lab_id=other.lab_id),
                learner=ADA,
                repo=a_repo(501),
                installation_id=71,
                source="event",
                event=AuditEvent("bound"),
            )


class TestAttach:
    """Binding a repository to a session that exists."""

    async def freed(self, pool: Pool) -> Bound:
        """A session whose repository is gone."""
        bound = await bind(pool)
        await pool.execute("UPDATE lab_session SET accepted_sha = $1, head_sha = $1", sha("a"))
        event = AuditEvent("revoked")
        assert await Mappings(pool).revoke(bound.mapping, "repository gone", event, forget_accepted=True)
        session = await sessions.get(pool, bound.session.session_id)
        assert session is not None
        return replace(bound, session=session)

    async def attach(self, pool: Pool, session: Session, repo_id: int) -> tuple[Session, RepoMapping]:
        """Attach the learner's repository with this id."""
        return await sessions.attach(
            pool, session, repo=a_repo(repo_id), installation_id=71, source="staff", event=AuditEvent("attached")
        )

    async def test_a_freed_session_takes_another_repository(self, pool: Pool) -> None:
        """The new mapping is active, the epoch rises, and what was accepted in the old repository is forgotten."""
        bound = await self.freed(pool)
        assert bound.session.accepted_sha is None
        session, mapping = await self.attach(pool, bound.session, 502)
        assert session.epoch > bound.session.epoch
        assert await sessions.get(pool, session.session_id) == session
        assert await Mappings(pool).find(502) == mapping
        assert await Mappings(pool).find(501) is None

    async def test_a_session_that_changed_is_stale(self, pool: Pool) -> None:
        """A session that was deferred since it was read takes nothing."""
        bound = await self.freed(pool)
        await to(pool, bound.session, S.DEFERRED)
        before = await rows(pool)
        with pytest.raises(StaleSession):
            await self.attach(pool, bound.session, 502)
        assert await rows(pool) == before

    async def test_a_session_with_a_repository_takes_no_second(self, pool: Pool) -> None:
        """One session has one active mapping; two repositories at once: one wins."""
        bound = await bind(pool)
        with pytest.raises(MappingConflict):
            await self.attach(pool, bound.session, 502)
        free = await self.freed_again(pool, bound)
        results = await asyncio.gather(
            *(self.attach(pool, free, 600 + number) for number in range(5)), return_exceptions=True
        )
        assert sum(isinstance(result, tuple) for result in results) == 1
        assert all(isinstance(result, tuple | StaleSession | MappingConflict) for result in results)

    async def freed_again(self, pool: Pool, bound: Bound) -> Session:
        """The session without its mapping."""
        assert await Mappings(pool).revoke(bound.mapping, "gone", AuditEvent("revoked"))
        session = await sessions.get(pool, bound.session.session_id)
        assert session is not None
        return session


class TestCandidates:
    """Sessions that a repository may belong to."""

    async def test_the_owners_sessions_with_their_mappings(self, pool: Pool) -> None:
        """All sessions of the owner are candidates with their mappings, closed ones too, other learners' are not."""
        bound = await bind(pool)
        published = (bound.lab, bound.version)
        await bind(pool, owner=LIN, repo_id=502, installation_id=72, published=published)
        found = await sessions.candidates(pool, bound.lab.lab_id, ADA.account_id, 777)
        assert found == Candidates((Candidate(bound.session, bound.mapping),), False, False, None)
        expired = await to(pool, bound.session, S.EXPIRED)
        newer = await bind(pool, repo_id=503, published=published)
        found = await sessions.candidates(pool, bound.lab.lab_id, ADA.account_id, 777)
        assert [item.session for item in found.sessions] == [newer.session, expired]

    async def test_nothing_is_known(self, pool: Pool) -> None:
        """Without sessions and invitations there is nothing."""
        lab, _ = await publish(pool)
        assert await sessions.candidates(pool, lab.lab_id, ADA.account_id, 777) == Candidates((), False, False, None)

    async def test_invitations(self, pool: Pool) -> None:
        """Invitations for the repository or the account are told, also for an organisation's repository."""
        bound = await bind(pool)
        lab_id, session_id = bound.lab.lab_id, bound.session.session_id
        invite = "INSERT INTO invitation (lab_id, account_id, repo_id, session_id) VALUES ($1, $2, $3, $4)"
        await pool.execute(invite, lab_id, LIN.account_id, None, None)
        assert await sessions.candidates(pool, lab_id, LIN.account_id, 777) == Candidates((), False, True, None)
        await pool.execute(invite, lab_id, LIN.account_id, 777, None)
        found = await sessions.candidates(pool, lab_id, COURSE.account_id, 777)
        assert found == Candidates((), True, False, LIN.account_id)
        await pool.execute(invite, lab_id, None, 778, session_id)
        found = await sessions.candidates(pool, lab_id, COURSE.account_id, 778)
        candidate = Candidate(bound.session, bound.mapping, invited_repo=True)
        assert found == Candidates((candidate,), False, False, None)
        await pool.execute(invite, lab_id, COURSE.account_id, None, session_id)
        (candidate,) = (await sessions.candidates(pool, lab_id, COURSE.account_id, 999)).sessions
        assert (candidate.invited_repo, candidate.invited_account) == (False, True)

    async def test_binding_uses_the_invitation(self, pool: Pool) -> None:
        """Whoever was invited and starts is no longer on the list of those who did not start."""
        lab, version = await publish(pool)
        await pool.execute("INSERT INTO invitation (lab_id, account_id) VALUES ($1, 101), ($1, 102)", lab.lab_id)
        bound = await bind(pool, published=(lab, version))
        used = await pool.fetch("SELECT account_id, session_id FROM invitation ORDER BY account_id")
        assert [tuple(row) for row in used] == [(101, bound.session.session_id), (102, None)]


class TestStatus:
    """The status machine."""

    @pytest.mark.parametrize("old", STANDINGS, ids=str)
    async def test_the_database_and_the_rules_agree(self, pool: Pool, old: Standing) -> None:
        """From each standing the trigger allows exactly what the rules' machine does, and a change raises the epoch."""
        bound = await bind(pool)
        for number, new in enumerate(standing for standing in STANDINGS if standing != old):
            learner = Account(700 + number, f"learner-{number}", AccountKind.USER)
            session = (
                await bind(
                    pool,
                    owner=learner,
                    repo_id=700 + number,
                    installation_id=700 + number,
                    published=(bound.lab, bound.version),
                )
            ).session
            if old.status is not S.IN_PROGRESS:
                session = await to(pool, session, old.status, old.deferred_by)
            if (old, new) in ways():
                after = await to(pool, session, new.status, new.deferred_by)
                assert (after.status, after.deferred_by) == (new.status, new.deferred_by)
                assert after.epoch == session.epoch + 1
            else:
                with pytest.raises(IllegalStatusChange):
                    await to(pool, session, new.status, new.deferred_by)
                assert await sessions.get(pool, session.session_id) == session

    async def test_a_change_is_audited(self, pool: Pool) -> None:
        """Actor, reason, and both statuses are in the audit."""
        session = (await bind(pool)).session
        await to(pool, session, S.DEFERRED)
        event = (await list_events(pool, session_id=session.session_id))[0].event
        assert (event.kind, event.actor_id) == ("status_changed", 1)
        assert event.detail == {"reason": "test", "from": "IN_PROGRESS", "to": "DEFERRED", "cause": "staff"}

    async def test_a_stale_epoch_changes_nothing(self, pool: Pool) -> None:
        """Of two changes from the same reading, the second is refused."""
        session = (await bind(pool)).session
        results = await asyncio.gather(
            to(pool, session, S.DEFERRED), to(pool, session, S.EXPIRED), return_exceptions=True
        )
        assert sum(isinstance(result, StaleSession) for result in results) == 1
        assert (await rows(pool))[2] == 2

    async def test_a_deadline_is_extended_with_the_status(self, pool: Pool) -> None:
        """Staff open an expired session and move its deadline in one step."""
        session = await to(pool, (await bind(pool)).session, S.EXPIRED)
        deadline = session.started_at + timedelta(days=9)
        after = await sessions.change_status(
            pool, session.session_id, session.epoch, S.IN_PROGRESS, reason="extended", expires_at=deadline
        )
        assert (after.status, after.expires_at) == (S.IN_PROGRESS, deadline)

    async def test_a_deferral_has_a_cause(self, pool: Pool) -> None:
        """The database refuses a deferral without a cause, and a cause without deferral."""
        session = (await bind(pool)).session
        with pytest.raises(asyncpg.CheckViolationError):
            await sessions.change_status(pool, session.session_id, session.epoch, S.DEFERRED, reason="no cause")

    async def test_a_resumed_session_must_be_the_only_open_one(self, pool: Pool) -> None:
        """A learner who started anew meanwhile cannot get the old session back beside the new one."""
        bound = await bind(pool)
        deferred = await to(pool, bound.session, S.DEFERRED)
        await bind(pool, repo_id=502, published=(bound.lab, bound.version))
        with pytest.raises(SessionConflict):
            await to(pool, deferred, S.IN_PROGRESS)

    async def test_identity_never_changes(self, pool: Pool) -> None:
        """Lab and learner of a session, session and repository of a mapping, and the epoch's direction are fixed."""
        await bind(pool)
        statements = [
            "UPDATE lab_session SET learner_account_id = 900",
            "UPDATE lab_session SET binding_epoch = binding_epoch - 1",
            "UPDATE repo_mapping SET provider_repo_id = 999",
        ]
        await accounts.upsert_account(pool, COURSE)
        for statement in statements:
            with pytest.raises(asyncpg.IntegrityConstraintViolationError):
                await pool.execute(statement)

    async def test_session_ids_are_random(self, pool: Pool) -> None:
        """All 128 bits of a session's id are random: an address cannot be guessed from another."""
        _, version = await publish(pool)
        await install(pool, 71, COURSE)
        ids = []
        for number in range(12):
            session, _ = await sessions.create_and_bind(
                pool,
                version=version,
                learner=Account(300 + number, f"l{number}", AccountKind.USER),
                repo=a_repo(900 + number, COURSE),
                installation_id=71,
                source="event",
                event=AuditEvent("bound"),
            )
            ids.append(session.session_id.int)
        versions = {(ident >> 76) & 0xF for ident in ids}  # the same in all random UUIDs of the standard: 122 bits
        assert len(versions) > 1
        assert all((one ^ other).bit_count() > 30 for one, other in pairwise(ids))

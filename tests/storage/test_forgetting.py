"""Erasing a person: nothing that names them is left in any table, nobody else loses anything, nothing comes back."""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import asdict, dataclass, replace
from datetime import timedelta
from typing import Any
from uuid import uuid4

import asyncpg
import pytest

from rules.model import Account, AccountKind, SessionStatus
from storage import (
    accounts,
    actions,
    forgetting,
    headfacts,
    inbox,
    invitations,
    labs,
    learner_actions,
    progress,
    sessions,
)
from storage.actions import Decision
from storage.audit import AuditEvent
from storage.database import Pool
from storage.errors import AppendOnly, LeaseLost, StaleSession, domain_errors
from storage.forgetting import CannotForget, Forgotten, Person
from storage.headfacts import HeadFact
from storage.inbox import NewDelivery
from storage.invitations import Invitee
from storage.progress import SaveRejection, SaveResult
from tests.support.bindings import LEASE, LIN, Bound, a_repo, a_report, bind, claimed, covered, install, publish, sha
from tests.support.judgements import BLOCK, judged, saved

# Numbers and words that are nowhere else, so that they can be searched for in all tables.
GONE = Account(31415926, "learner-gone", AccountKind.USER)
PERSON = Person(GONE.account_id, GONE.login)
REPO, INSTALLATION, ELSEWHERE = 27182818, 16180339, 14142135
MAIL, WORDS, REASON = "gone@users.example.com", "my own words for help", "their private reason"
NAMES = re.compile(f"{GONE.login}|{MAIL}|{WORDS}|{REASON}|gone-repo", re.IGNORECASE)
NUMBERS = re.compile(rf"\b({GONE.account_id}|{REPO}|{ELSEWHERE})\b")


async def tables(pool: Pool) -> dict[str, list[str]]:
    """Every row of every table, as text, and the bodies of deliveries as they can be read."""
    names = await pool.fetch("SELECT tablename FROM pg_tables WHERE schemaname = 'public' ORDER BY 1")
    found = {name: await pool.fetch(f'SELECT t::text FROM "{name}" AS t ORDER BY 1') for (name,) in names}
    found["bodies"] = await pool.fetch("SELECT encode(payload, 'escape') FROM delivery WHERE payload IS NOT NULL")
    return {name: [row[0] for row in rows] for name, rows in found.items()}


def body(account: Account, repo_id: int, *, sender: Account | None = None) -> bytes:
    """A push as GitHub writes it, with the names that it has."""
    who = sender or account
    return json.dumps(
        {
            "repository": {"id": repo_id, "owner": {"login": account.login, "id": account.account_id}},
            "pusher": {"name": who.login, "email": MAIL if who is GONE else "other@users.example.com"},
            "sender": {"login": who.login, "id": who.account_id},
        },
        separators=(",", ":"),
    ).encode()


def delivery(account: Account, repo_id: int, **values: Any) -> NewDelivery:
    """A push of somebody to a repository of theirs, or of `sender` to it."""
    payload = body(account, repo_id, **values)
    installation_id = INSTALLATION if account is GONE else 72
    return NewDelivery(uuid4(), "push", None, installation_id, repo_id, f"repo:{repo_id}", payload)


@dataclass(frozen=True)
class Class:
    """Somebody with something in every table that can hold something of them, and somebody else."""

    gone: Bound
    other: Bound


async def a_class(pool: Pool) -> Class:
    """Two learners at work; GONE also pushed to the other's repository, and owns one that the other's session had."""
    published = await publish(pool)
    lab_id = published[0].lab_id
    await refused(pool, GONE, REPO + 1, sender=GONE)
    await refused(pool, LIN, 503, sender=GONE)
    await invitations.invite(pool, lab_id, [Invitee(GONE, repo_id=REPO), Invitee(LIN)])
    gone = await bind(pool, owner=GONE, repo_id=REPO, installation_id=INSTALLATION, published=published)
    other = await bind(pool, owner=LIN, repo_id=502, installation_id=72, published=published)
    await saved(pool, gone, "a", gains=("one",), report=a_report(gone, "a"))
    await saved(pool, gone, "b", violations=BLOCK, report=a_report(gone, "b", conclusion="failure"))
    await saved(pool, other, "c", gains=("one",), report=a_report(other, "c"))
    save, push = await judged(pool, other, "d")
    save = replace(save, push=replace(push, sender_id=GONE.account_id))
    assert await progress.save(pool, save) is SaveResult.SAVED
    await inbox.release(pool, save.lane)

    for bound in (gone, other):
        why = Decision(900, REASON if bound is gone else "seen in class")
        await actions.add_fact(pool, await session_of(pool, bound), why, "approve", "two")
        words = WORDS if bound is gone else "where do I begin?"
        await learner_actions.ask_for_help(pool, await session_of(pool, bound), bound.repo.owner.account_id, words)
        await headfacts.record(pool, bound.repo.repo_id, sha("a"), [HeadFact("workflow", "test.yml", 0, 1, "success")])
        await pool.execute(
            "INSERT INTO session_migration (run_id, session_id, from_version_id, to_version_id, done) "
            "VALUES (1, $1, $2, $2, '{one}')",
            bound.session.session_id,
            bound.version.lab_version_id,
        )
    # GONE's second repository was the other's for a while.
    elsewhere = a_repo(ELSEWHERE, GONE, "gone-repo")
    await install(pool, INSTALLATION, GONE, gone.repo, elsewhere)
    why = Decision(900, "seen in class")
    await actions.relink(pool, await session_of(pool, other), why, elsewhere, INSTALLATION)
    await actions.relink(pool, await session_of(pool, other), why, other.repo, 72)
    other_lab, _ = await publish(pool, "hooks", 5001)
    await pool.execute("INSERT INTO invitation (lab_id, login) VALUES ($1, 'Learner-Gone')", other_lab.lab_id)
    return Class(gone, other)


async def session_of(pool: Pool, bound: Bound) -> Any:
    """The session as it is now."""
    return await sessions.get(pool, bound.session.session_id)


async def refused(pool: Pool, owner: Account, repo_id: int, *, sender: Account) -> None:
    """A push to a repository that could not be bound."""
    lane, ids = await claimed(pool, delivery(owner, repo_id, sender=sender))
    event = AuditEvent(
        "rejected",
        code="NO_SESSION",
        repo_id=repo_id,
        repo_full_name=f"{owner.login}/lab",
        owner_id=owner.account_id,
        sender_id=sender.account_id,
    )
    await progress.save_rejection(pool, SaveRejection(lane, event, ids))
    await inbox.release(pool, lane)


async def test_nothing_that_names_them_is_left(pool: Pool) -> None:
    """No table has a name, a word, an address or a repository of theirs; their number is left in the audit only."""
    given = await a_class(pool)
    before = await tables(pool)
    for name in ("github_account", "invitation", "repo_mapping", "outbox", "audit_event", "bodies"):
        assert any(map(NAMES.search, before[name])), f"the test puts no name into {name}"
    for name in ("lab_session", "push_attempt", "head_fact", "rejection_count", "delivery", "lane"):
        assert any(map(NUMBERS.search, before[name])), f"the test puts no number into {name}"

    done = await forgetting.forget(pool, PERSON, by=900)

    after = await tables(pool)
    assert {name for name, rows in after.items() if any(map(NAMES.search, rows))} == set()
    assert {name for name, rows in after.items() if any(map(NUMBERS.search, rows))} == {"audit_event"}
    session_id = str(given.gone.session.session_id)
    assert {name for name, rows in after.items() if any(session_id in row for row in rows)} == {"audit_event"}
    row = await pool.fetchrow("SELECT * FROM installation WHERE installation_id = $1", INSTALLATION)
    assert row is not None
    assert (row["account_id"], row["permissions"], row["state"]) == (None, {}, "active")
    assert (done.accounts, done.sessions, done.attempts, done.installations) == (1, 1, 2, 1)


async def test_nobody_else_loses_anything(pool: Pool) -> None:
    """Of the other learner everything is as before, but for the number of who pushed to their repository."""
    other = (await a_class(pool)).other.session.session_id

    async def theirs() -> list[list[dict[str, Any]]]:
        names = ("lab_session", "session_standing", "step_progress", "staff_fact", "session_migration", "invitation")
        rows = [
            await pool.fetch(f"SELECT t.* FROM {name} AS t WHERE session_id = $1 ORDER BY t::text", other)
            for name in (*names, "outbox")
        ]
        rows.append(await pool.fetch("SELECT * FROM repo_mapping WHERE session_id = $1 AND state = 'active'", other))
        rows.append(await pool.fetch("SELECT * FROM head_fact WHERE repo_id = 502"))
        return [[dict(row) for row in some] for some in rows]

    before = await theirs()
    await forgetting.forget(pool, PERSON)
    assert await theirs() == before
    senders = await pool.fetch("SELECT sender_id FROM push_attempt WHERE session_id = $1 ORDER BY attempt_id", other)
    assert [row["sender_id"] for row in senders] == [LIN.account_id, None]
    login = await pool.fetchval("SELECT login FROM github_account WHERE account_id = $1", LIN.account_id)
    assert login == LIN.login


async def test_it_is_audited_by_numbers(pool: Pool) -> None:
    """Who, by whom, and by how many sessions of which lab and status the totals of a class became smaller."""
    given = await a_class(pool)
    await forgetting.forget(pool, PERSON, by=900)
    (row,) = await pool.fetch("SELECT * FROM audit_event WHERE kind = 'learner_forgotten'")
    assert (row["owner_id"], row["actor_id"]) == (GONE.account_id, 900)
    assert row["detail"] == {"sessions": [[given.gone.lab.lab_id, "STUCK", 1]]}


async def test_pretending_writes_nothing_and_counts_the_same(pool: Pool) -> None:
    """A survey tells the numbers of the real thing; a second time there is nothing left to erase or to audit."""
    await a_class(pool)
    before = await tables(pool)
    told = await forgetting.survey(pool, PERSON)
    assert await tables(pool) == before
    assert told == await forgetting.forget(pool, PERSON)

    again = await forgetting.forget(pool, PERSON)
    assert again.nothing
    assert await pool.fetchval("SELECT count(*) FROM audit_event WHERE kind = 'learner_forgotten'") == 1


async def test_somebody_elses_session_loses_their_repository(pool: Pool) -> None:
    """A session in a repository of an erased account keeps its progress, and is free for another repository."""
    bound = await bind(pool, owner=LIN, repo_id=502, installation_id=72)
    await saved(pool, bound, "a", gains=("one",))
    elsewhere = a_repo(ELSEWHERE, GONE)
    await install(pool, INSTALLATION, GONE, elsewhere)
    await actions.relink(pool, await session_of(pool, bound), Decision(900, "seen in class"), elsewhere, INSTALLATION)
    seen = await session_of(pool, bound)

    await forgetting.forget(pool, PERSON)

    after = await session_of(pool, bound)
    assert (after.status, after.accepted_sha) == (SessionStatus.IN_PROGRESS, None)
    assert after.epoch > seen.epoch
    assert await pool.fetchval("SELECT count(*) FROM step_progress WHERE state = 'completed'") == 1
    event = await pool.fetchrow("SELECT * FROM audit_event WHERE code = 'OWNER_FORGOTTEN'")
    assert event is not None
    assert (event["repo_full_name"], event["repo_id"]) == (None, ELSEWHERE)


async def test_a_repository_that_changed_hands_is_the_new_owners(pool: Pool) -> None:
    """A repository that was theirs, and is in use by somebody else now, keeps its reports, deliveries and lane."""
    published = await publish(pool)
    await refused(pool, GONE, 502, sender=GONE)
    other = await bind(pool, owner=LIN, repo_id=502, installation_id=72, published=published)
    await saved(pool, other, "a", report=a_report(other, "a"))
    await inbox.record(pool, [delivery(LIN, 502)])
    await accounts.upsert_account(pool, GONE)

    done = await forgetting.forget(pool, PERSON)

    assert (done.accounts, done.repositories, done.reports) == (1, 0, 0)
    assert await covered(pool, 72) == {502: other.repo.full_name}
    assert await pool.fetchval("SELECT count(*) FROM outbox WHERE repo_id = 502") == 1
    assert await pool.fetchval("SELECT count(*) FROM delivery WHERE lane_id = 'repo:502' AND state = 'waiting'") == 1
    assert await pool.fetchval("SELECT count(*) FROM lane WHERE lane_id = 'repo:502'") == 1


async def test_bodies_go_wherever_they_name_the_account(pool: Pool) -> None:
    """Bodies about the person's repositories go at once, waiting ones too; of others' those that name the number."""
    await bind(pool, owner=GONE, repo_id=REPO, installation_id=INSTALLATION)
    lane, ids = await claimed(pool, delivery(GONE, REPO), delivery(GONE, REPO))
    await inbox.finish(pool, lane, ids[:1], "done", "accepted")
    await inbox.bury(pool, lane, ids[1], f"{GONE.login}/lab: it broke")
    await inbox.release(pool, lane)
    lane, theirs = await claimed(pool, delivery(LIN, 502, sender=GONE), delivery(LIN, 502))
    await inbox.finish(pool, lane, theirs, "done", "accepted")
    # A fork that was never seen before, whose first push waits.
    await inbox.record(pool, [delivery(GONE, REPO + 5), delivery(LIN, 502)])

    done = await forgetting.forget(pool, PERSON)

    rows = await pool.fetch("SELECT * FROM delivery ORDER BY inbox_id")
    assert [row["payload"] is not None for row in rows] == [False, False, False, True, False, True]
    assert [row["state"] for row in rows] == ["done", "dead", "done", "done", "done", "waiting"]
    assert [row["lane_id"] for row in rows] == [*["forgotten"] * 2, *["repo:502"] * 2, "forgotten", "repo:502"]
    assert rows[4]["outcome"] == "forgotten"
    assert {row["last_error"] for row in rows} == {None}
    assert (done.deliveries, done.bodies) == (3, 3)


class TestWhoIsMeant:
    """Numbers, logins, and logins that were only invited."""

    async def test_found_by_number_and_by_login(self, pool: Pool) -> None:
        """A number is taken as it is; a login in any case, as last seen or as invited."""
        await accounts.upsert_account(pool, GONE)
        assert await forgetting.find(pool, str(GONE.account_id)) == (PERSON,)
        assert await forgetting.find(pool, "Learner-GONE") == (PERSON,)
        assert await forgetting.find(pool, "77") == (Person(77, None),)
        assert await forgetting.find(pool, "nobody") == ()
        await accounts.upsert_account(pool, replace(GONE, account_id=5))
        assert [person.account_id for person in await forgetting.find(pool, GONE.login)] == [5, GONE.account_id]

    async def test_an_invitation_by_login_only(self, pool: Pool) -> None:
        """Somebody whom GitHub never showed to us is taken from the class list."""
        lab, _ = await publish(pool)
        await pool.execute("INSERT INTO invitation (lab_id, login) VALUES ($1, 'Not-Yet')", lab.lab_id)
        (person,) = await forgetting.find(pool, "not-yet")
        assert person == Person(None, "Not-Yet")
        done = await forgetting.forget(pool, person)
        assert (done.invitations, done.nothing) == (1, False)
        assert await forgetting.find(pool, "not-yet") == ()

    async def test_an_organisation_is_no_person(self, pool: Pool) -> None:
        """An organisation's account is refused before anything is looked at."""
        await accounts.upsert_account(pool, Account(900, "octo-course", AccountKind.ORGANIZATION))
        (found,) = await forgetting.find(pool, "octo-course")
        with pytest.raises(CannotForget, match="only people"):
            await forgetting.forget(pool, found)

    async def test_whether_the_app_is_still_there(self, pool: Pool) -> None:
        """An installation that was not removed makes the person known again with the next push."""
        await install(pool, INSTALLATION, GONE)
        assert await forgetting.installed(pool, PERSON)
        await pool.execute("UPDATE installation SET state = 'deleted'")
        assert not await forgetting.installed(pool, PERSON)


async def enrol(pool: Pool, published: Any, *, name: str = "lab") -> None:
    """What a worker does with the first push of GONE's fork."""
    await sessions.create_and_bind(
        pool,
        version=published[1],
        learner=GONE,
        repo=a_repo(REPO, GONE, name),
        installation_id=INSTALLATION,
        source="enrolment",
        event=AuditEvent("bound"),
    )


async def left(pool: Pool) -> tuple[int, int]:
    """Sessions and accounts of the person."""
    row = await pool.fetchrow(
        "SELECT (SELECT count(*) FROM lab_session WHERE learner_account_id = $1), "
        "(SELECT count(*) FROM github_account WHERE account_id = $1)",
        GONE.account_id,
    )
    assert row is not None
    return row[0], row[1]


class TestAPushInTheMiddle:
    """Whoever processes a push of a person who is erased meanwhile cannot bring anything back."""

    async def test_its_verdict_is_not_saved(self, pool: Pool) -> None:
        """The session is gone, and the lane is lost: nothing is finished, released, or begun anew under it."""
        bound = await bind(pool, owner=GONE, repo_id=REPO, installation_id=INSTALLATION)
        lane, ids = await claimed(pool, delivery(GONE, REPO))
        save, _ = await judged(pool, bound, "a", report=a_report(bound, "a"), lane=lane, deliveries=ids)
        await forgetting.forget(pool, PERSON)
        before = await tables(pool)

        assert await progress.save(pool, save) is SaveResult.STALE_BINDING
        with pytest.raises(LeaseLost):
            await inbox.finish(pool, save.lane, save.deliveries, "done", "accepted")
        with pytest.raises(LeaseLost):
            await enrol(pool, (bound.lab, bound.version))
        with pytest.raises(StaleSession):
            await sessions.attach(
                pool,
                bound.session,
                repo=bound.repo,
                installation_id=INSTALLATION,
                source="event",
                event=AuditEvent("bound"),
            )
        assert not await inbox.heartbeat(pool, save.lane, LEASE)
        assert not await inbox.release(pool, save.lane)
        assert await tables(pool) == before

    async def test_without_the_guard_it_would_come_back(self, pool: Pool) -> None:
        """The trigger that asks for the lane is what keeps a push from enrolling an erased person again."""
        bound = await bind(pool, owner=GONE, repo_id=REPO, installation_id=INSTALLATION)
        await claimed(pool, delivery(GONE, REPO))
        await forgetting.forget(pool, PERSON)
        await pool.execute("DROP TRIGGER repo_mapping_enrols_under_lease ON repo_mapping")
        await enrol(pool, (bound.lab, bound.version))
        assert await left(pool) == (1, 1)

    async def test_an_enrolment_that_was_first_is_erased_with_the_rest(self, fresh_database: str, pool: Pool) -> None:
        """A session that is just being begun is waited for, and is gone then."""
        published = await publish(pool)
        await install(pool, INSTALLATION, GONE, a_repo(REPO, GONE))
        await claimed(pool, delivery(GONE, REPO))
        async with uncommitted(fresh_database) as link:
            await link.execute(
                "INSERT INTO lab_session (session_id, lab_id, lab_version_id, learner_account_id) "
                "VALUES (gen_random_uuid(), $1, $2, $3)",
                published[0].lab_id,
                published[1].lab_version_id,
                GONE.account_id,
            )
            await link.execute(
                "INSERT INTO repo_mapping (provider_repo_id, installation_id, owner_account_id, repo_full_name, "
                "session_id, source) SELECT $1, $2, $3, 'x/gone-repo', session_id, 'enrolment' FROM lab_session",
                REPO,
                INSTALLATION,
                GONE.account_id,
            )
            erasing = asyncio.create_task(forgetting.forget(pool, PERSON))
            await somebody_waits(pool)
        done = await erasing
        assert done.sessions == 1
        assert await left(pool) == (0, 0)

    async def test_an_enrolment_that_is_later_fails(self, fresh_database: str, pool: Pool) -> None:
        """A session that is begun while its learner is being erased is not there afterwards."""
        published = await publish(pool)
        await install(pool, INSTALLATION, GONE, a_repo(REPO, GONE))
        await claimed(pool, delivery(GONE, REPO))
        async with uncommitted(fresh_database) as link:
            await link.execute("SELECT forget_account($1, 'learner-gone', '{}', false)", GONE.account_id)
            enrolling = asyncio.create_task(enrol(pool, published))
            await somebody_waits(pool)
        with pytest.raises((asyncpg.ForeignKeyViolationError, LeaseLost)):
            await enrolling
        assert await left(pool) == (0, 0)

    async def test_a_lane_that_comes_back_has_a_higher_token(self, pool: Pool) -> None:
        """A worker that was frozen all the while does not take the new lane for its own."""
        await bind(pool, owner=GONE, repo_id=REPO, installation_id=INSTALLATION)
        old, _ = await claimed(pool, delivery(GONE, REPO))
        await forgetting.forget(pool, PERSON)
        new, _ = await claimed(pool, delivery(GONE, REPO))
        assert new.token > old.token
        assert not await inbox.heartbeat(pool, old, LEASE)


@asynccontextmanager
async def uncommitted(dsn: str) -> AsyncIterator[Any]:
    """A transaction of somebody else, committed at the end of the block."""
    link = await asyncpg.connect(dsn)
    try:
        async with link.transaction():
            yield link
    finally:
        await link.close()


async def somebody_waits(pool: Pool) -> None:
    """Until a statement waits for a lock."""
    async with asyncio.timeout(5):
        while not await pool.fetchval(
            "SELECT EXISTS (SELECT FROM pg_stat_activity "
            "WHERE datname = current_database() AND wait_event_type = 'Lock')"
        ):
            await asyncio.sleep(0.01)


async def test_they_may_come_back_as_somebody_new(pool: Pool) -> None:
    """A push after the erasure begins at the first step."""
    bound = await bind(pool, owner=GONE, repo_id=REPO, installation_id=INSTALLATION)
    await saved(pool, bound, "a", gains=("one",))
    await forgetting.forget(pool, PERSON)
    await install(pool, INSTALLATION, GONE, a_repo(REPO, GONE))
    await claimed(pool, delivery(GONE, REPO))
    await enrol(pool, (bound.lab, bound.version))
    assert await left(pool) == (1, 1)
    assert await pool.fetchval("SELECT count(*) FROM step_progress") == 0
    account = await pool.fetchrow(
        "SELECT first_seen_at > now() - $1::interval AS new FROM github_account", timedelta(hours=1)
    )
    assert account is not None
    assert account["new"]


async def test_the_ledger_stays_closed(pool: Pool) -> None:
    """Before and after an erasure, in the same connection, attempts are neither changed nor deleted by anybody."""
    given = await a_class(pool)
    async with pool.acquire() as connection, connection.transaction():
        await connection.execute("SELECT forget_account($1, 'learner-gone', '{}', false)", GONE.account_id)
        for statement in (
            "DELETE FROM push_attempt",
            "UPDATE push_attempt SET sender_id = NULL",
            "TRUNCATE push_attempt CASCADE",
        ):
            with pytest.raises(AppendOnly), domain_errors():
                async with connection.transaction():
                    await connection.execute(statement)
    assert await labs.version(pool, given.other.version.lab_version_id) is not None
    assert await pool.fetchval("SELECT count(*) FROM push_attempt") == 2


def test_every_number_counts() -> None:
    """Nothing of a person is nothing; any row of theirs is something."""
    none = Forgotten(*[0] * len(Forgotten.__slots__))
    assert none.nothing
    for name in set(asdict(none)) - {"attempts", "repositories", "deliveries", "bodies"}:
        assert not replace(none, **{name: 1}).nothing

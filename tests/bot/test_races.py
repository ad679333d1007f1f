"""Races between a push and everything else that writes (binding.md section 4), with real pushes through the whole line.

Where a test goes through its race twice, the second time is without the guard, and ends badly: the guard it is.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any
from uuid import UUID

import pytest
from aiohttp import web

from bot.handlers import Deliveries, handle
from bot.lookup import find_binding
from bot.payloads import PushPayload
from bot.services import Services
from rules.model import Account, AccountKind, Installation, InstallationState, Repo, Session, SessionStatus
from storage import accounts, actions, inbox, sessions
from storage.actions import Decision
from storage.lanes import Lane
from tests.support.bindings import LEASE, cover
from tests.support.course import Course, Learner, work_of
from tests.support.guards import Guard
from tests.support.replicas import Replica, replica
from tests.support.worker_process import until

STAFF = Decision(7, "seen in class")


async def nothing(_pool: Any) -> bool:
    """A guard that is only taken out here: the test itself looks at what follows."""
    return True


def without(place: str, line: str, instead: str) -> Guard:
    """A line of the product that a test does without."""
    return Guard(place, line, instead, nothing)


#: What save_verdict checks of the binding: all of it, or nothing.
SAVE_GUARDS = (
    without("sql save_verdict", "OR known.binding_epoch <> (guard->>'epoch')::bigint", ""),
    without("sql save_verdict", "OR known.status <> guard->>'status'", ""),
    without(
        "sql save_verdict", "OR NOT EXISTS (SELECT FROM repo_mapping", "OR false AND EXISTS (SELECT FROM repo_mapping"
    ),
)
#: A mapping in memory is not compared with what the database has.
TRUSTING = without(
    "code bot.lookup:_known",
    "if state is not None and state.mapping is not None and state.mapping.mapping_id == mapping.mapping_id:\n"
    "            branch = state.version.lab.branch\n"
    "            return replace(given, mapping=state.mapping, session=state.session, lab_branch=branch), state",
    "if state is not None:\n"
    "            branch = state.version.lab.branch\n"
    "            state = replace(state, mapping=mapping)\n"
    "            return replace(given, mapping=mapping, session=state.session, lab_branch=branch), state",
)


async def session_of(course: Course, learner: Learner) -> Session:
    """The learner's session as it is now."""
    session = await sessions.get(course.pool, learner.session_id)
    assert session is not None
    return session


def repo_of(learner: Learner) -> Repo:
    """The learner's fork."""
    fork = learner.repository
    owner = Account(fork.owner.id, fork.owner.login, AccountKind.USER)
    return Repo(fork.id, fork.full_name, owner, fork.private, fork.default_branch)


async def relink(course: Course, learner: Learner, to: Learner) -> None:
    """Staff connect a learner's session with another learner's fork."""
    session = await session_of(course, learner)
    await actions.relink(course.pool, session, STAFF, repo_of(to), to.installation_id)


async def unbind(course: Course, learner: Learner) -> None:
    """Staff take the repository from a session."""
    await actions.unbind(course.pool, await session_of(course, learner), STAFF)


async def attempts_at(course: Course, head: str) -> set[UUID]:
    """The sessions that a verdict on this head was saved for."""
    rows = await course.fetch("SELECT session_id FROM push_attempt WHERE after_sha = $1", head)
    return {row["session_id"] for row in rows}


def meanwhile(course: Course, words: str, change: Callable[[], Awaitable[None]]) -> list[str]:
    """Let something happen while the first request whose address has these words waits for its answer.

    The list has that address as soon as it came.
    """
    happened: list[str] = []

    async def fault(request: web.Request) -> None:
        if words in request.path and not happened:
            happened.append(request.path)
            await change()

    course.sandbox.faults.append(fault)
    return happened


# ------------------------------------------------------------------------------------------ between gather and save


async def complete(course: Course, learner: Learner) -> None:
    """Somebody finishes the session."""
    session = await session_of(course, learner)
    await sessions.change_status(
        course.pool, session.session_id, session.epoch, SessionStatus.VERIFIED_PASS, reason="test"
    )


async def defer(course: Course, learner: Learner) -> None:
    """Staff pause the session."""
    await actions.defer(course.pool, await session_of(course, learner), STAFF)


async def expire(course: Course, learner: Learner) -> None:
    """It is seen that the session's deadline had passed before the push came."""
    await course.pool.execute(
        "UPDATE lab_session SET expires_at = now() - interval '1 hour' WHERE session_id = $1", learner.session_id
    )
    assert await sessions.expire(course.pool, learner.session_id)


async def move_away(course: Course, learner: Learner) -> None:
    """Staff connect the session with another fork, whose own session has lost it."""
    other = await course.learner(f"{learner.repository.owner.login}-other")
    await unbind(course, other)
    await relink(course, learner, other)


CHANGES = {
    "SESSION_COMPLETED": complete,
    "SESSION_DEFERRED": defer,
    "SESSION_EXPIRED": expire,
    "MAPPING_CONFLICT": move_away,
}


async def outcome_of_race(course: Course, worker: Replica, code: str, login: str) -> tuple[set[UUID], str]:
    """A push whose session changes after its trees were read: whose verdict was saved, and how the delivery ended."""
    learner = await course.learner(login)
    (head,) = await learner.commit(work_of(learner.repository.id)[0])
    push = learner.push(learner.start, head)
    happened = meanwhile(course, f"/git/trees/{head}", lambda: CHANGES[code](course, learner))
    await inbox.record(course.pool, [push])
    await worker.work()
    (row,) = await course.fetch("SELECT state, outcome FROM delivery WHERE guid = $1", push.guid)
    assert row["state"] == "done"
    assert happened
    return await attempts_at(course, head), row["outcome"]


async def test_a_session_that_changes_between_gather_and_save_gets_no_verdict(
    course: Course, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Completed, paused, expired or connected elsewhere meanwhile: nothing is saved; the push is refused for what is so
    now. Without what save_verdict checks of the binding, each of these pushes gets its verdict.
    """
    async with replica(course) as worker:
        for number, code in enumerate(CHANGES):
            assert await outcome_of_race(course, worker, code, f"learner-{number}") == (set(), code)
        for guard in SAVE_GUARDS:
            await guard.take_out(course.pool, monkeypatch)
        for number, code in enumerate(CHANGES, len(CHANGES)):
            saved, outcome = await outcome_of_race(course, worker, code, f"learner-{number}")
            assert (len(saved), outcome) == (1, "accepted"), code


# ------------------------------------------------------------------------------------------------------ stale caches


async def cut(course: Course) -> None:
    """End the listening connections from the server's side."""
    await course.pool.execute(
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
        "WHERE application_name = 'stepgate listen' AND datname = current_database()"
    )


async def swapped(course: Course, worker: Replica, login: str) -> tuple[Learner, Learner]:
    """Two learners whose forks the worker has in memory, and whose sessions staff have swapped since."""
    one, two = await course.learner(f"{login}-one"), await course.learner(f"{login}-two")
    for learner in (one, two):
        assert await worker.believes(learner.repository.id) == learner.session_id
        await unbind(course, learner)
    await relink(course, one, two)
    await relink(course, two, one)
    return one, two


async def judged_for(course: Course, worker: Replica, learner: Learner) -> set[UUID]:
    """The sessions that a push to a learner's fork is judged for."""
    (head,) = await learner.commit(work_of(learner.repository.id)[0])
    await inbox.record(course.pool, [learner.push(learner.start, head)])
    await worker.work()
    return await attempts_at(course, head)


@pytest.mark.parametrize("channel", ["working", "cut", "silent"])
async def test_a_stale_mapping_in_one_replica_never_leads_to_a_wrong_write(course: Course, channel: str) -> None:
    """A push goes to the session that the database names, whether or not the replica heard of another's relink.

    `cut`: the listening connection is lost, which empties the memory. `silent`: it seems to stand, and nothing comes.
    """
    async with replica(course, deaf=channel != "working") as worker:
        one, two = await swapped(course, worker, "learner")
        if channel == "cut":
            await cut(course)
        believed = one.session_id if channel == "silent" else two.session_id

        async def as_told() -> bool:
            return await worker.believes(one.repository.id) == believed

        await until(as_told, 5, "what the replica believes")
        assert await judged_for(course, worker, one) == {two.session_id}
        assert await judged_for(course, worker, two) == {one.session_id}


async def test_a_trusted_stale_mapping_is_refused_by_the_database(
    course: Course, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Even a worker that believes its memory writes nothing wrong: saving compares. Without both, it does."""
    await TRUSTING.take_out(course.pool, monkeypatch)
    async with replica(course, deaf=True) as worker:
        one, two = await swapped(course, worker, "first")
        assert await judged_for(course, worker, one) == {two.session_id}
        for guard in SAVE_GUARDS:
            await guard.take_out(course.pool, monkeypatch)
        one, two = await swapped(course, worker, "second")
        assert await judged_for(course, worker, one) == {one.session_id}


async def absent(course: Course, worker: Replica, login: str) -> bool:
    """Staff connect a session with a repository that the worker remembers as unbound: whether its head is judged."""
    learner, other = await course.learner(login), await course.learner(f"{login}-other")
    await unbind(course, other)
    assert await worker.believes(other.repository.id) is None
    await relink(course, learner, other)
    await worker.work()
    return await attempts_at(course, other.start) == {learner.session_id}


async def test_nobody_is_refused_on_a_stale_memory_of_no_mapping(
    course: Course, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A repository that was connected since the replica looked is judged, though the replica never heard of it.

    Guards bot/lookup.py `_is_bound`: without its look, the memory's word is believed and the wake-up is refused.
    """
    async with replica(course, deaf=True) as worker:
        assert await absent(course, worker, "learner-one")
        guard = without(
            "code bot.lookup:_is_bound",
            "bound = await Mappings(services.pool).find(repo_id) is not None",
            "bound = False",
        )
        await guard.take_out(course.pool, monkeypatch)
        assert not await absent(course, worker, "learner-two")


# ----------------------------------------------------------------------------------------------------------- binding


async def newcomer(course: Course, login: str) -> Learner:
    """A learner's fork that nobody has pushed to yet; its installation is known. (`session_id` is nobody's.)"""
    course.sandbox.add_account(login)
    fork = await course.sandbox.fork(course.template.full_name, login)
    installed = await course.sandbox.install(login, [fork.full_name])
    start = (await course.fetch("SELECT commit_sha FROM lab_version"))[0]["commit_sha"]
    learner = Learner(fork, installed.id, UUID(int=0), start)
    owner = repo_of(learner).owner
    known = Installation(installed.id, owner, InstallationState.ACTIVE, "selected", installed.permissions)
    await accounts.upsert_installation(course.pool, known)
    await cover(course.pool, installed.id, {fork.id: fork.full_name})
    return learner


async def enrolled(course: Course, repo_id: int) -> list[tuple[str, int]]:
    """Logins of the sessions that the repository is bound to, with how many sessions each learner has."""
    rows = await course.fetch(
        "SELECT login, (SELECT count(*) FROM lab_session AS o WHERE o.learner_account_id = account_id) AS had "
        "FROM repo_mapping AS m JOIN lab_session AS s USING (session_id) "
        "JOIN github_account ON account_id = s.learner_account_id WHERE provider_repo_id = $1 AND m.state = 'active'",
        repo_id,
    )
    return [(row["login"], row["had"]) for row in rows]


async def test_workers_that_enrol_one_fork_at_once_make_one_session(
    course: Course, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Eight look-ups in two replicas at the same time: one session, one mapping, and all of them name it.

    Guards the indexes of lab_session and repo_mapping; without them there are as many as look-ups that met.
    """
    async with replica(course) as first, replica(course) as second:

        async def race(login: str) -> tuple[int, list[tuple[str, int]]]:
            learner = await newcomer(course, login)
            (head,) = await learner.commit(work_of(1)[0])
            delivery = learner.push(learner.start, head)
            await inbox.record(course.pool, [delivery])
            lane = await inbox.claim(course.pool, "worker-1", LEASE)  # sessions begin under their fork's lane only
            assert lane is not None
            push = PushPayload.model_validate_json(delivery.payload).value(delivery.guid)
            found = await asyncio.gather(*(find_binding(each.services, push) for each in (first, second) * 4))
            named = {each.state.session.session_id for each in found if each.state is not None}
            assert len(named) > 0
            return len(named), await enrolled(course, learner.repository.id)

        assert await race("learner-one") == (1, [("learner-one", 1)])
        await course.pool.execute("DROP INDEX lab_session_one_open_per_learner, repo_mapping_one_active_per_repo")
        _, bound = await race("learner-two")
        assert len(bound) > 1


async def test_staff_who_connect_a_fork_while_it_enrols_itself_win_or_lose_as_a_whole(course: Course) -> None:
    """The fork is staff's choice's from then on: of the session that was about to begin, nothing is left."""
    other = await course.learner("learner-one")
    await unbind(course, other)
    fork = await newcomer(course, "learner-two")
    (head,) = await fork.commit(work_of(1)[0])
    async with replica(course) as worker:
        # where it comes from is asked at its first push, which is when staff is faster
        happened = meanwhile(course, f"/repositories/{fork.repository.id}", lambda: relink(course, other, fork))
        await inbox.record(course.pool, [fork.push(fork.start, head)])
        await worker.work()
    assert happened[0].endswith(str(fork.repository.id))
    assert await attempts_at(course, head) == {other.session_id}
    assert await enrolled(course, fork.repository.id) == [("learner-one", 1)]
    assert await course.fetch("SELECT 1 FROM lab_session WHERE session_id <> $1", other.session_id) == []


# ------------------------------------------------------------------------------------------- locks and network calls


async def test_nothing_is_locked_while_github_is_asked(course: Course, monkeypatch: pytest.MonkeyPatch) -> None:
    """No transaction is open during any request to GitHub. Without that, a slow GitHub holds up everybody.

    Guards that each write of the App is one statement: with a transaction around the work, the check sees it.
    """
    open_transactions: list[tuple[str, int]] = []

    async def look(request: web.Request) -> None:
        count = await course.pool.fetchval(
            "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid() "
            "AND state LIKE 'idle in transaction%'"
        )
        open_transactions.append((request.path, count))

    course.sandbox.faults.append(look)
    learner, fork = await course.learner("learner-one"), await newcomer(course, "learner-two")
    async with replica(course) as worker:
        for each in (learner, fork):
            assert await judged_for(course, worker, each)
        assert {count for _, count in open_transactions} == {0}
        assert len(open_transactions) > 4

        async def locking(services: Services, lane: Lane, deliveries: Deliveries) -> str:
            async with services.pool.acquire() as connection, connection.transaction():
                await connection.execute("SELECT FROM lab_session")
                return await handle(services, lane, deliveries)

        monkeypatch.setattr("tests.support.replicas.handle", locking)
        open_transactions.clear()
        assert await judged_for(course, worker, await course.learner("learner-three"))
        assert {count for _, count in open_transactions} == {1}

"""Readings of the API are stored in their order, and sessions follow what is stored."""

from __future__ import annotations

import asyncio
import time
from dataclasses import replace
from itertools import product
from typing import Any, get_args

import pytest

from rules.lifecycle import AwayCode, Listed, away_because, event_of
from rules.model import InstallationState, MappingSource, SessionStatus
from rules.session import STANDINGS, next_status
from storage import actions, inbox, lifecycle, sessions
from storage.actions import Decision
from storage.audit import AuditEvent
from storage.database import Pool
from tests.support.bindings import ADA, LEASE, Bound, a_repo, bind, cover, covered, install

STAFF = Decision(900, "for a reason")
STATES = tuple(InstallationState)
CODES: tuple[AwayCode | None, ...] = (None, *get_args(AwayCode))


async def status(pool: Pool, bound: Bound) -> tuple[str, str | None]:
    """The session's status, and who defers it."""
    row = await pool.fetchrow(
        "SELECT status, deferred_by FROM lab_session WHERE session_id = $1", bound.session.session_id
    )
    assert row is not None
    return row["status"], row["deferred_by"]


async def stored(pool: Pool, state: InstallationState, *repos: int, before: lifecycle.Known | None = None) -> bool:
    """Store a reading of installation 71, after `before` (now)."""
    known = await lifecycle.known(pool, 71)
    assert known.installation is not None
    listed = [Listed(number, f"learner-one/r{number}", fork=True) for number in repos]
    value = replace(known.installation, state=state)
    done = await lifecycle.store_installation(
        pool, value, before or known, listed if state is InstallationState.ACTIVE else None, repos
    )
    await lifecycle.settle(pool, 71)
    return done


async def changes(pool: Pool) -> list[dict[str, Any]]:
    """What the audit has about changes of status."""
    rows = await pool.fetch(
        "SELECT code, mapping_id IS NOT NULL AS mapped, detail FROM audit_event WHERE kind = 'status_changed' "
        "ORDER BY event_id"
    )
    return [dict(row) for row in rows]


async def test_the_database_knows_the_same_reasons(pool: Pool) -> None:
    """Function and rule agree on every combination."""
    for state, is_covered, told in product(STATES, (True, False), CODES):
        found = await pool.fetchval("SELECT away_because($1, $2, $3)", state.value, is_covered, told)
        assert found == away_because(state, covered=is_covered, told=told)


@pytest.mark.parametrize("standing", STANDINGS, ids=str)
@pytest.mark.parametrize("here", [True, False])
async def test_sessions_follow_the_machine(pool: Pool, standing: Any, here: bool) -> None:
    """Settling a session of any standing does what the rules say of a repository that is there, or away."""
    bound = await bind(pool)
    await pool.execute("SET session_replication_role = replica; "
                       f"UPDATE lab_session SET status = '{standing.status}', deferred_by = "
                       f"{repr(str(standing.deferred_by)) if standing.deferred_by else 'NULL'}; "
                       "SET session_replication_role = DEFAULT")  # fmt: skip
    if not here:
        await pool.execute("DELETE FROM installation_repository")
    await lifecycle.settle(pool, 71)
    await lifecycle.settle(pool, 71)
    code: AwayCode | None = None if here else "REPO_NOT_SELECTED"
    expected = next_status(standing.status, event_of(code), standing.deferred_by)
    assert await status(pool, bound) == (expected.status.value, expected.deferred_by)
    assert len(await changes(pool)) == (expected != standing)


async def test_away_and_back(pool: Pool) -> None:
    """Suspended, deferred with its reason; active again, resumed, and the head gets its turn."""
    bound = await bind(pool)
    assert await stored(pool, InstallationState.SUSPENDED)
    assert await status(pool, bound) == ("DEFERRED", "installation")
    assert await stored(pool, InstallationState.ACTIVE, bound.repo.repo_id)
    assert await status(pool, bound) == ("IN_PROGRESS", None)
    away, back = await changes(pool)
    assert (away["code"], away["mapped"], away["detail"]["to"]) == ("INSTALLATION_SUSPENDED", True, "DEFERRED")
    assert (back["code"], back["detail"]["from"], back["detail"]["to"]) == (None, "DEFERRED", "IN_PROGRESS")
    assert not await lifecycle.take_looks(pool, 71)
    entries = await pool.fetch("SELECT lane_id FROM delivery WHERE event = 'stepgate.bind'")
    assert [row["lane_id"] for row in entries] == [f"repo:{bound.repo.repo_id}"]


async def test_a_report_that_failed_while_it_was_away_is_sent(pool: Pool) -> None:
    """What GitHub refused on the session's head is wanted again when the repository is back, and looked for first."""
    bound = await bind(pool)
    await pool.execute("UPDATE lab_session SET head_sha = repeat('a', 40)")
    for head in ("a", "b"):
        await pool.execute(
            "INSERT INTO outbox (repo_id, head_sha, name, installation_id, repo_full_name, check_run, conclusion, "
            "wanted_digest, state, attempts) "
            "VALUES ($1, repeat($2, 40), 'n', 71, 'x/y', '{}', 'success', 'd', 'failed', 8)",
            bound.repo.repo_id,
            head,
        )
    await stored(pool, InstallationState.SUSPENDED)
    await stored(pool, InstallationState.ACTIVE, bound.repo.repo_id)
    rows = await pool.fetch("SELECT state, attempts FROM outbox ORDER BY head_sha")
    assert [(row["state"], row["attempts"]) for row in rows] == [("wanted", 1), ("failed", 8)]


async def test_an_overtaken_reading_is_refused(pool: Pool) -> None:
    """Of two readings that began together only the first is stored: the other one may be the older answer."""
    bound = await bind(pool)
    before = await lifecycle.known(pool, 71)
    assert await stored(pool, InstallationState.SUSPENDED, before=before)
    assert not await stored(pool, InstallationState.ACTIVE, bound.repo.repo_id, before=before)
    assert await status(pool, bound) == ("DEFERRED", "installation")


async def test_a_list_is_refused_when_one_of_its_repositories_was_read_since(pool: Pool) -> None:
    """A list that was begun before a repository was seen gone does not bring it back; nor the other way round."""
    bound = await bind(pool)
    before = await lifecycle.known(pool, 71)
    assert await lifecycle.store_repository(pool, 71, before, bound.repo.repo_id, None, look=False)
    assert not await stored(pool, InstallationState.ACTIVE, bound.repo.repo_id, before=before)
    assert await stored(pool, InstallationState.ACTIVE)
    assert not await lifecycle.store_repository(pool, 71, before, bound.repo.repo_id, "x/y", look=False)
    assert await status(pool, bound) == ("DEFERRED", "installation")


async def test_only_one_of_many_first_readings_is_stored(pool: Pool) -> None:
    """An installation that nobody knew, read by several lanes at once: one is stored, the others read again."""
    value = replace(await install(pool, 70), installation_id=73)
    before = await lifecycle.known(pool, 73)
    done = await asyncio.gather(*(lifecycle.store_installation(pool, value, before, []) for _ in range(5)))
    assert sorted(done) == [False] * 4 + [True]


async def test_deleted_is_final_and_covers_nothing(pool: Pool) -> None:
    """An installation that the API did not know is never brought back by an answer of before."""
    bound = await bind(pool)
    await lifecycle.end_installation(pool, 71)
    await lifecycle.settle(pool, 71)
    assert await status(pool, bound) == ("DEFERRED", "installation")
    assert await covered(pool, 71) == {}
    await stored(pool, InstallationState.ACTIVE, bound.repo.repo_id)
    assert await status(pool, bound) == ("DEFERRED", "installation")
    assert [row["code"] for row in await changes(pool)] == ["INSTALLATION_DELETED"]


async def test_staff_resumes_while_it_is_away(pool: Pool) -> None:
    """Both causes at once: staff's stays while it lasts; then the other one is found at once, and told after it."""
    bound = await bind(pool)
    await actions.defer(pool, bound.session, STAFF)
    await stored(pool, InstallationState.SUSPENDED)
    assert await status(pool, bound) == ("DEFERRED", "staff")
    session = await sessions.get(pool, bound.session.session_id)
    assert session is not None
    await actions.resume(pool, session, STAFF)
    assert await status(pool, bound) == ("DEFERRED", "installation")
    kinds = await pool.fetch("SELECT kind FROM audit_event ORDER BY event_id DESC LIMIT 2")
    assert [row["kind"] for row in kinds] == ["status_changed", "staff_resume"]
    await stored(pool, InstallationState.ACTIVE, bound.repo.repo_id)
    assert await status(pool, bound) == ("IN_PROGRESS", None)


async def test_staff_defers_while_it_is_away_and_it_comes_back(pool: Pool) -> None:
    """Coming back never undoes what staff did meanwhile."""
    bound = await bind(pool)
    await stored(pool, InstallationState.SUSPENDED)
    session = await sessions.get(pool, bound.session.session_id)
    assert session is not None
    await actions.defer(pool, session, STAFF)
    await stored(pool, InstallationState.ACTIVE, bound.repo.repo_id)
    assert await status(pool, bound) == ("DEFERRED", "staff")


@pytest.mark.parametrize(("source", "expected"), [("staff", "IN_PROGRESS"), ("event", "DEFERRED")])
async def test_what_is_bound_while_it_is_away(pool: Pool, source: MappingSource, expected: str) -> None:
    """A binding that raced against its repository's leaving is deferred with it; one on purpose has seen it."""
    published = (bound := await bind(pool)).lab, bound.version
    await install(pool, 72, replace(ADA, account_id=103), a_repo(1))
    await sessions.create_and_bind(
        pool,
        version=published[1],
        learner=replace(ADA, account_id=103),
        repo=a_repo(600, replace(ADA, account_id=103)),
        installation_id=72,
        source=source,
        event=AuditEvent("bound"),
    )
    row = await pool.fetchrow("SELECT status FROM lab_session WHERE learner_account_id = 103")
    assert row is not None
    assert row["status"] == expected


async def test_settling_waits_for_who_opens_a_session(pool: Pool) -> None:
    """Somebody opens a session while the installation goes: whoever stores that waits for them, and defers it then."""
    bound = await bind(pool)
    await actions.defer(pool, bound.session, STAFF)
    async with pool.acquire() as connection:
        transaction = connection.transaction()
        await transaction.start()
        await connection.execute("UPDATE lab_session SET status = 'IN_PROGRESS', deferred_by = NULL")
        await connection.execute("SET CONSTRAINTS ALL IMMEDIATE")
        going = asyncio.create_task(stored(pool, InstallationState.SUSPENDED))
        while not await pool.fetchval("SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock'"):
            await asyncio.sleep(0.01)
        await transaction.commit()
    assert await going
    assert await status(pool, bound) == ("DEFERRED", "installation")


async def test_another_open_session_of_the_learner_stays_the_one(pool: Pool) -> None:
    """A session does not come back beside another one of the same lab that is open by now."""
    bound = await bind(pool)
    await stored(pool, InstallationState.SUSPENDED)
    await pool.execute(
        "INSERT INTO lab_session (session_id, lab_id, lab_version_id, learner_account_id) "
        "SELECT gen_random_uuid(), lab_id, lab_version_id, learner_account_id FROM lab_session"
    )
    await stored(pool, InstallationState.ACTIVE, bound.repo.repo_id)
    assert await status(pool, bound) == ("DEFERRED", "installation")


async def test_turns_are_given_a_few_at_a_time(pool: Pool) -> None:
    """Of 3,000 new repositories few wait in lanes at a time; the next ones when those are done; each once."""
    await install(pool, 71)
    assert await stored(pool, InstallationState.ACTIVE, *range(1, 3001))
    assert await pool.fetchval("SELECT count(*) FROM delivery") == 1
    lane = await inbox.claim(pool, "worker-1", LEASE)
    assert lane is not None
    assert lane.lane_id == "installation:71"
    assert await lifecycle.take_looks(pool, 71, 1000)
    assert await lifecycle.take_looks(pool, 71, 1000)
    assert await pool.fetchval("SELECT count(*) FROM delivery WHERE event = 'stepgate.bind'") == 1000
    turns = 1
    while True:
        await pool.execute("UPDATE delivery SET state = 'done', finished_at = now() WHERE event = 'stepgate.bind'")
        turns += 1
        if not await lifecycle.take_looks(pool, 71, 1000):
            break
    assert turns == 3
    rows = await pool.fetch("SELECT repo_id FROM delivery WHERE event = 'stepgate.bind'")
    assert sorted(row["repo_id"] for row in rows) == list(range(1, 3001))


async def test_a_turn_wanted_while_the_entry_begins_is_not_lost(pool: Pool) -> None:
    """Whoever wants a look while the waiting entry is being begun makes another one; before that, it does for both."""
    await install(pool, 71, ADA, a_repo(1))
    await pool.execute("SELECT want_looks(71)")
    await pool.execute("SELECT want_looks(71)")
    assert await pool.fetchval("SELECT count(*) FROM delivery") == 1
    lane = await inbox.claim(pool, "worker-1", LEASE)
    assert lane is not None
    (entry,) = await inbox.waiting(pool, lane)
    await inbox.started(pool, lane, [entry.inbox_id])
    await pool.execute("SELECT want_looks(71)")
    assert await pool.fetchval("SELECT count(*) FROM delivery") == 2


async def test_what_is_gone_for_ever_frees_its_session(pool: Pool) -> None:
    """The steps of an unfinished session are judged anew in the next repository, its status stays."""
    bound = await bind(pool)
    await pool.execute(
        "INSERT INTO step_progress (session_id, step_id, state, completed_at) VALUES ($1, 'one', 'completed', now())",
        bound.session.session_id,
    )
    assert await lifecycle.free(pool, bound.mapping.mapping_id, AuditEvent("unbound", code="REPOSITORY_GONE"))
    assert not await lifecycle.free(pool, bound.mapping.mapping_id, AuditEvent("unbound", code="REPOSITORY_GONE"))
    row = await pool.fetchrow("SELECT state, evidence FROM step_progress")
    assert row is not None
    assert (row["state"], row["evidence"]) == ("reopened", {"reason": "REPOSITORY_GONE"})
    assert await status(pool, bound) == (SessionStatus.IN_PROGRESS.value, None)


async def test_repositories_are_a_set(pool: Pool) -> None:
    """The stored set becomes the given one, with the names of now."""
    await install(pool, 71, ADA, a_repo(1), a_repo(2))
    await cover(pool, 71, {2: "learner-one/renamed", 3: "learner-one/three"})
    assert await covered(pool, 71) == {2: "learner-one/renamed", 3: "learner-one/three"}
    await cover(pool, 71, {})
    assert await covered(pool, 71) == {}


async def test_a_large_installation_is_one_quick_statement(pool: Pool) -> None:
    """3,000 repositories are taken at once, also by two workers at the same moment."""
    await install(pool, 71)
    before = await lifecycle.known(pool, 71)
    assert before.installation is not None
    many = [Listed(number, f"octo-course/r{number}", fork=True) for number in range(1, 3001)]
    ids = range(1, 3001)
    started = time.monotonic()
    done = await asyncio.gather(
        *(lifecycle.store_installation(pool, before.installation, before, many, ids) for _ in range(2))
    )
    assert time.monotonic() - started < 5
    assert sorted(done) == [False, True]
    assert len(await covered(pool, 71)) == 3000

"""What a verdict leans on, read in one query."""

from __future__ import annotations

from datetime import timedelta
from uuid import uuid4

from rules.model import Facts, Progress
from storage import labs, progress
from storage.audit import AuditEvent
from storage.database import Pool
from storage.mappings import Mappings
from tests.support.bindings import (
    LIN,
    a_report,
    bind,
    sha,
    state_of,
)
from tests.support.judgements import BLOCK, saved


class TestJudgingState:
    """One query tells all that a verdict leans on."""

    async def test_a_new_session_has_nothing_done(self, pool: Pool) -> None:
        """Session, version and mapping are those that were bound; progress and facts are empty."""
        bound = await bind(pool)
        state = await state_of(pool, bound)
        assert (state.session, state.mapping) == (bound.session, bound.mapping)
        assert (state.lab, state.version) == (bound.lab, bound.version)
        assert (state.progress.done, state.facts, state.blocked_heads) == (frozenset(), Facts(), frozenset())
        assert (state.head_rewrite, state.branch_head_seen, state.fact_ids) == (False, None, ())

    async def test_later_template_commits_are_those_after_the_pinned_one(self, pool: Pool) -> None:
        """Commits of the template's branch after the version's, oldest first; none of another lab, none before."""
        bound = await bind(pool)
        lab_id = bound.lab.lab_id
        assert (await state_of(pool, bound)).later_templates == ()
        for name in ("c2", "c3"):
            await labs.record_template_commit(pool, lab_id, sha(name), sha(f"tree of {name}"))
        assert (await state_of(pool, bound)).later_templates == (sha("c2"), sha("c3"))

    async def test_an_unknown_session_is_none(self, pool: Pool) -> None:
        """There is no state of a session that does not exist."""
        assert await progress.judging_state(pool, uuid4()) is None

    async def test_a_freed_session_has_no_mapping(self, pool: Pool) -> None:
        """After its mapping was revoked a session has none."""
        bound = await bind(pool)
        assert await Mappings(pool).revoke(bound.mapping, "gone", AuditEvent("revoked"), forget_accepted=True)
        assert (await state_of(pool, bound)).mapping is None

    async def test_staff_facts_in_force_count(self, pool: Pool) -> None:
        """Facts that were revoked, whose time is over, or that belong to another session do not count."""
        bound = await bind(pool)
        other = await bind(pool, owner=LIN, repo_id=502, installation_id=72, published=(bound.lab, bound.version))
        mine = bound.session.session_id
        rows = [
            (mine, "approve", "one", None, None, None),
            (mine, "complete", "two", None, None, None),
            (mine, "reopen", "three", None, None, None),
            (mine, "unlock", "three", None, timedelta(hours=1), None),
            (mine, "unlock", "two", None, timedelta(hours=-1), None),
            (mine, "approve", "two", None, None, timedelta(0)),
            (mine, "accept_head", None, sha("x"), None, None),
            (other.session.session_id, "approve", "three", None, None, None),
        ]
        await pool.executemany(
            "INSERT INTO staff_fact (session_id, kind, step_id, head_sha, until, revoked_at, by_account, reason) "
            "VALUES ($1, $2, $3, $4, now() + $5::interval, now() + $6::interval, 1, 'because')",
            rows,
        )
        state = await state_of(pool, bound)
        assert state.facts == Facts(
            approved=frozenset({"one"}),
            completed=frozenset({"two"}),
            reopened=frozenset({"three"}),
            unlocked=frozenset({"three"}),
            accepted_heads=frozenset({sha("x")}),
        )
        assert len(state.fact_ids) == 5

    async def test_results_of_the_asked_heads_count(self, pool: Pool) -> None:
        """Successful workflow runs and checks of the repository's asked or own heads count; others do not."""
        bound = await bind(pool)
        await pool.executemany(
            "INSERT INTO head_fact (repo_id, head_sha, kind, name, app_id, run_id, conclusion) "
            "VALUES ($1, $2, $3, $4, $5, 1, $6)",
            [
                (501, sha("a"), "workflow", ".github/workflows/test.yml", 0, "success"),
                (501, sha("a"), "check", "lint", 77, "success"),
                (501, sha("a"), "check", "build", 77, "failure"),
                (501, sha("b"), "check", "lint", 77, "success"),
                (502, sha("a"), "check", "other", 77, "success"),
            ],
        )
        state = await progress.judging_state(pool, bound.session.session_id, heads=[sha("a")])
        assert state is not None
        assert state.facts.workflows == {(".github/workflows/test.yml", sha("a"))}
        assert state.facts.checks == {("lint", 77, sha("a"))}
        await pool.execute("UPDATE lab_session SET branch_head_seen = $1", sha("b"))
        assert (await state_of(pool, bound)).facts.checks == {("lint", 77, sha("b"))}

    async def test_distinct_blocked_heads_since_the_last_accepted_one_are_told(self, pool: Pool) -> None:
        """The same blocked head is told once; after an accepted head none is; previews are none."""
        bound = await bind(pool)
        for head in ("a", "b", "a"):
            await saved(pool, bound, head, violations=BLOCK)
        await saved(pool, bound, "p", violations=BLOCK, preview=True)
        assert (await state_of(pool, bound)).blocked_heads == {sha("a"), sha("b")}
        await saved(pool, bound, "c")
        assert (await state_of(pool, bound)).blocked_heads == frozenset()
        await saved(pool, bound, "a", violations=BLOCK)
        assert (await state_of(pool, bound)).blocked_heads == {sha("a")}

    async def test_steps_completed_at_blocked_heads_are_told_apart(self, pool: Pool) -> None:
        """What was earned at a blocked head is since the accepted one, until a later head is accepted."""
        bound = await bind(pool)
        await saved(pool, bound, "a", gains=("one",))
        await saved(pool, bound, "b", gains=("two",), violations=BLOCK)
        state = await state_of(pool, bound)
        assert state.progress == Progress(frozenset({"one", "two"}), since_accepted=frozenset({"two"}))
        await saved(pool, bound, "c")
        assert (await state_of(pool, bound)).progress.since_accepted == frozenset()


async def test_no_query_reads_a_ledger_as_a_whole(pool: Pool) -> None:
    """With many rows of other sessions, what a push costs is found by indexes alone."""
    bound = await bind(pool)
    await saved(pool, bound, "a", violations=BLOCK, report=a_report(bound, "a"))
    session, version = bound.session.session_id, bound.version.lab_version_id
    await pool.execute("ALTER TABLE push_attempt DISABLE TRIGGER ALL")
    await pool.execute(
        "INSERT INTO push_attempt (session_id, trigger, delivery_id, ref, after_sha, lab_version_id, verdict, "
        "revision) "
        "SELECT md5((n / 20)::text)::uuid, 'push', gen_random_uuid(), 'r', repeat('a', 40), $1, 'blocked', 1 "
        "FROM generate_series(1, 20000) AS n",
        version,
    )
    await pool.execute("ANALYZE")
    async with pool.acquire() as connection:
        plan = await connection.fetch("EXPLAIN " + progress._JUDGING_STATE, session, [])
    text = "\n".join(row[0] for row in plan)
    assert "Seq Scan on push_attempt" not in text
    assert "push_attempt" in text

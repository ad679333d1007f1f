"""What is deleted by the clock, and what is not."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from uuid import uuid4

import pytest

from rules.model import Account, AccountKind
from storage import accounts, headfacts, inbox, invitations, recovery, retention
from storage.audit import AuditEvent
from storage.database import Pool
from storage.headfacts import HeadFact
from storage.invitations import Invitee
from storage.mappings import Mappings
from tests.support.bindings import (
    ADA,
    COURSE,
    LIN,
    a_delivery,
    a_repo,
    bind,
    claimed,
    covered,
    install,
    publish,
    sha,
    suspend,
)
from tests.support.effort import examples
from tests.support.judgements import saved

STRANGER = Account(4711, "octo-stranger", AccountKind.USER)
WEEK = timedelta(days=7)


async def clean(pool: Pool, unread_for: timedelta = WEEK) -> int:
    """One look at strangers, after all installations were not read for a month."""
    await pool.execute("UPDATE installation SET checked_at = now() - interval '30 days'")
    return await retention.clean_strangers(pool, unread_for)


async def a_stranger(pool: Pool, installation_id: int = 88) -> None:
    """Somebody who installed the App on a repository that has nothing to do with a lab, and pushed there."""
    await install(pool, installation_id, STRANGER, a_repo(8800, STRANGER, "diary"))
    delivery = replace(a_delivery("repo:8800"), installation_id=installation_id)
    lane, ids = await claimed(pool, delivery)
    await inbox.finish(pool, lane, ids, "done", "NOT_A_LAB", keep_body=False)
    await inbox.release(pool, lane)
    await pool.execute("UPDATE delivery SET finished_at = now() - interval '30 days'")


async def kept(pool: Pool, installation_id: int = 88) -> bool:
    """Whether an installation has its account still."""
    return (await accounts.installation(pool, installation_id)) is not None


class TestStrangers:
    """Installations that have nothing to do with any lab."""

    async def test_id_and_state_are_left(self, pool: Pool) -> None:
        """No repository, permission, delivery, lane or account is; the account goes as soon as it was not seen."""
        await a_stranger(pool)
        await suspend(pool, 88)
        assert await clean(pool) == 1
        row = await pool.fetchrow("SELECT * FROM installation")
        assert row is not None
        assert (row["installation_id"], row["state"]) == (88, "suspended")
        assert (row["account_id"], row["permissions"]) == (None, {})
        for table in ("installation_repository", "delivery", "lane"):
            assert await pool.fetchval(f"SELECT count(*) FROM {table}") == 0, table
        assert await retention.forget_accounts(pool, WEEK) == 0
        await pool.execute("UPDATE github_account SET last_seen_at = now() - interval '30 days'")
        assert await retention.forget_accounts(pool, WEEK) == 1
        assert await clean(pool) == 0

    async def test_a_later_event_reads_them_again(self, pool: Pool) -> None:
        """What was cleaned counts as unknown: the API is asked, and the installation is as if it were new."""
        await a_stranger(pool)
        await clean(pool)
        coverage = await accounts.coverage(pool, 88, 8800)
        assert (coverage.installation, coverage.selected) == (None, False)
        assert await covered(pool, 88) == {}
        await install(pool, 88, STRANGER, a_repo(8800, STRANGER))
        assert (await accounts.coverage(pool, 88, 8800)).selected

    async def test_not_before_their_time(self, pool: Pool) -> None:
        """Whoever installed the App just now may still begin; and what is being processed keeps its lane."""
        await a_stranger(pool)
        assert await retention.clean_strangers(pool, WEEK) == 0
        await inbox.record(pool, [a_delivery("repo:8800")])
        assert await clean(pool) == 1
        assert await pool.fetchval("SELECT count(*) FROM lane WHERE lane_id = 'repo:8800'") == 1

    @pytest.mark.parametrize(
        "why",
        ["session", "former mapping", "invited", "invited by login", "invited repository", "refused fork", "template"],
    )
    async def test_who_has_to_do_with_a_lab_stays(self, pool: Pool, why: str) -> None:
        """Learners, former ones, the invited, those who were told why they cannot begin, and authors of labs."""
        lab, _ = published = await publish(pool)
        await a_stranger(pool)
        match why:
            case "session":
                await bind(pool, owner=STRANGER, repo_id=8800, installation_id=88, published=published)
            case "former mapping":
                bound = await bind(pool, owner=STRANGER, repo_id=8800, installation_id=88, published=published)
                await Mappings(pool).revoke(bound.mapping, "gone", AuditEvent("unbound"))
            case "invited":
                await invitations.invite(pool, lab.lab_id, [Invitee(STRANGER)])
            case "invited by login":
                await pool.execute("INSERT INTO invitation (lab_id, login) VALUES ($1, 'Octo-Stranger')", lab.lab_id)
            case "invited repository":
                await pool.execute("INSERT INTO invitation (lab_id, repo_id) VALUES ($1, 8800)", lab.lab_id)
            case "refused fork":
                event = AuditEvent("rejected", code="NO_SESSION", repo_id=8800, owner_id=STRANGER.account_id)
                await pool.execute("SELECT count_rejection($1)", event.to_json())
            case _:
                await pool.execute("UPDATE lab SET base_repo_id = 8800, base_repo_full_name = 'octo-course/x'")
        assert await clean(pool) == 0
        assert await kept(pool)
        assert await covered(pool, 88) != {}


class TestAccounts:
    """Accounts that nothing hangs on."""

    async def test_who_is_needed_stays(self, pool: Pool) -> None:
        """Learners, the invited, owners of installations, and whoever decided something keep their names."""
        bound = await bind(pool)
        await invitations.invite(pool, bound.lab.lab_id, [Invitee(LIN)])
        await install(pool, 90, COURSE)
        for number, login in ((7, "octo-staff"), (8, "octo-fact"), (9, "octo-visitor")):
            await accounts.upsert_account(pool, Account(number, login, AccountKind.USER))
        await pool.execute("SELECT write_audit($1)", [AuditEvent("lab_edited", actor_id=7).to_json()])
        await pool.execute(
            "INSERT INTO staff_fact (session_id, kind, step_id, by_account, reason) "
            "VALUES ($1, 'approve', 'one', 8, 'x')",
            bound.session.session_id,
        )
        assert await retention.forget_accounts(pool, WEEK) == 0
        await pool.execute("UPDATE github_account SET last_seen_at = now() - interval '30 days'")
        assert await retention.forget_accounts(pool, WEEK) == 1
        rows = await pool.fetch("SELECT account_id FROM github_account ORDER BY 1")
        assert [row["account_id"] for row in rows] == [7, 8, ADA.account_id, LIN.account_id, COURSE.account_id]


async def test_bodies_of_dead_letters_have_an_end(pool: Pool) -> None:
    """A delivery that was given up can be replayed for a month; then its body goes, and nothing else of it."""
    lane, ids = await claimed(pool, a_delivery(), a_delivery(), a_delivery())
    for inbox_id in ids[:2]:
        await inbox.bury(pool, lane, inbox_id, "it broke")
    await pool.execute("UPDATE delivery SET finished_at = now() - interval '31 days' WHERE inbox_id = $1", ids[0])
    assert await retention.forget_dead_bodies(pool) == 1
    assert await retention.forget_dead_bodies(pool) == 0
    letters = await inbox.dead_letters(pool)
    assert [(letter.inbox_id, letter.has_body) for letter in letters] == [(ids[1], True), (ids[0], False)]
    assert not await inbox.replay(pool, ids[0])
    assert await inbox.replay(pool, ids[1])


async def test_who_pushed_to_a_refused_repository_is_forgotten(pool: Pool) -> None:
    """The count stays; the numbers of those who pushed go a month after the last time."""
    for code in ("NO_SESSION", "AMBIGUOUS"):
        event = AuditEvent("rejected", code=code, repo_id=8800, sender_id=101)
        await pool.execute("SELECT count_rejection($1)", event.to_json())
    await pool.execute("UPDATE rejection_count SET last_at = now() - interval '31 days' WHERE code = 'AMBIGUOUS'")
    assert await retention.forget_senders(pool) == 1
    assert await retention.forget_senders(pool) == 0
    rows = await pool.fetch("SELECT code, senders, count FROM rejection_count ORDER BY code")
    assert [tuple(row) for row in rows] == [("AMBIGUOUS", [], 1), ("NO_SESSION", [101], 1)]


async def test_results_of_heads_that_are_past_go(pool: Pool) -> None:
    """Results of a session's present heads stay however old; of other heads and repositories they go in a month."""
    bound = await bind(pool)
    await saved(pool, bound, "now")
    for repo_id, head in ((501, "now"), (501, "past"), (999, "now"), (501, "young")):
        await headfacts.record(pool, repo_id, sha(head), [HeadFact("workflow", "test.yml", 0, 1, "success")])
    await pool.execute("UPDATE head_fact SET seen_at = now() - interval '31 days' WHERE head_sha <> $1", sha("young"))
    assert await retention.forget_results(pool) == 2
    rows = await pool.fetch("SELECT repo_id, head_sha FROM head_fact")
    assert {tuple(row) for row in rows} == {(501, sha("now")), (501, sha("young"))}


class TestDeliveries:
    """What is left of deliveries by which they are told from new ones."""

    KEPT = timedelta(days=10)

    async def _rows(self, pool: Pool, *rows: tuple[int, str, bool]) -> None:
        """Deliveries that were finished so many days ago, in this state, with a body or without."""
        for days, state, body in rows:
            await pool.execute(
                "INSERT INTO delivery (guid, event, lane_id, payload, state, received_at, finished_at) VALUES "
                "(gen_random_uuid(), 'push', 'repo:1', CASE WHEN $3 THEN ''::bytea END, $2::text, "
                "now() - $1::interval, CASE WHEN $2 <> 'waiting' THEN now() - $1::interval END)",
                timedelta(days=days),
                state,
                body,
            )

    async def _forget(self, pool: Pool, limit: int = retention.BATCH) -> int:
        total, after = 0, 0
        for _ in range(100):
            gone, last = await retention.forget_deliveries(pool, self.KEPT, after, limit=limit)
            total += gone
            if last is None:
                return total
            after = last
        raise AssertionError("it does not end")

    async def test_only_what_is_over_goes(self, pool: Pool) -> None:
        """Finished long ago: gone. Younger, waiting, and dead letters that still have their body: kept."""
        await self._rows(
            pool, (40, "done", False), (30, "dead", True), (30, "waiting", True), (20, "superseded", False),
            (40, "dead", False), (9, "done", False), (0, "waiting", True), (11, "done", True),
        )  # fmt: skip

        assert await self._forget(pool) == 4
        left = await pool.fetch("SELECT state FROM delivery ORDER BY inbox_id")
        assert [row["state"] for row in left] == ["dead", "waiting", "done", "waiting"]
        assert await self._forget(pool) == 0

    async def test_old_rows_that_stay_hold_up_nothing(self, pool: Pool) -> None:
        """Dead letters at the beginning of the table, more than one look takes, do not hide what comes after them."""
        await self._rows(pool, *[(15, "dead", True)] * 7, *[(15, "done", False)] * 5, *[(1, "done", False)] * 3)

        assert await self._forget(pool, limit=2) == 5
        assert await pool.fetchval("SELECT count(*) FROM delivery") == 10

    async def test_the_size_of_the_past_costs_nothing(self, pool: Pool) -> None:
        """However many old deliveries there are, a look and the question whether one is known read few, by an index."""
        await pool.execute(
            "INSERT INTO delivery (guid, event, lane_id, state, received_at, finished_at) "
            "SELECT md5(n::text)::uuid, 'push', 'repo:' || n % 100, 'done', now() - interval '5 days', "
            "now() - interval '5 days' FROM generate_series(1, $1) AS n",
            examples(20_000),
        )
        await pool.execute("ANALYZE delivery")
        for query, values in (
            (retention._FORGET_DELIVERIES, (self.KEPT, 0, 100)),
            (recovery._NOTE, ([uuid4()], ["push"], [1], [None], [None], [None], [datetime.now(UTC)])),
            (recovery._FORGET_ARRIVED, ()),
        ):
            plan = "\n".join(row[0] for row in await pool.fetch(f"EXPLAIN {query}", *values))
            assert "Seq Scan on delivery " not in plan, plan
            assert "Index" in plan, plan

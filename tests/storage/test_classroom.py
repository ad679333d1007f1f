"""The class at a glance: which rows, in which order, how many; and the standing that triggers keep."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID, uuid4

import pytest

from rules.model import (
    CannotVerify,
    ChangeKind,
    Outcome,
    SessionStatus,
    StepState,
    StepStatus,
    Violation,
    ViolationCode,
)
from storage import inbox, progress
from storage.classroom import (
    PAGE_ROWS,
    ClassRow,
    Group,
    Order,
    Query,
    class_counts,
    class_page,
    funnel,
    lab_names,
    learner_of,
)
from storage.database import Pool, open_pool
from storage.progress import SaveResult, SaveVerdict
from tests.support.bindings import ADA, LIN, Bound, a_delivery, a_push, a_verdict, bind, claimed, publish, sha, state_of
from tests.support.classes import fill_class
from tests.support.postgres import new_database

BLOCKED = (Violation(ViolationCode.OUT_OF_ORDER, "block", "a.js", ChangeKind.ADDED, ("three",), ("two",)),)
SESSIONS = 130


@pytest.fixture(scope="module")
def class_dsn(postgres_dsn: str, template_database: str) -> Iterator[str]:
    """A database that the tests of this module share; those that use it only read."""
    with new_database(postgres_dsn, template_database) as dsn:
        yield dsn


@pytest.fixture
async def filled(class_dsn: str) -> AsyncIterator[Pool]:
    """A pool on a class of SESSIONS sessions over two labs and three invitations that wait."""
    opened = await open_pool(class_dsn)
    if not await opened.fetchval("SELECT count(*) FROM lab"):
        await fill_class(opened, SESSIONS, invited=3, slugs=("closures", "hooks"))
    yield opened
    await opened.close()


async def everything(pool: Pool, query: Query) -> list[ClassRow]:
    """All rows of a query, page by page."""
    rows: list[ClassRow] = []
    number = 1
    while (page := await class_page(pool, replace(query, page=number))).rows:
        rows += page.rows
        number += 1
        assert page.total >= len(rows)
        assert len(page.rows) == min(PAGE_ROWS, page.total - PAGE_ROWS * (number - 2))
    return rows


@pytest.mark.parametrize("descending", [False, True])
@pytest.mark.parametrize("order", Order)
async def test_every_order_shows_everybody_once(filled: Pool, order: Order, descending: bool) -> None:
    """Whatever the pages are sorted by, each session and each waiting invitation is on exactly one of them."""
    rows = await everything(filled, Query(order=order, descending=descending))
    assert len(rows) == SESSIONS + 3
    assert len({(row.session_id, row.login) for row in rows}) == SESSIONS + 3


async def test_who_needs_staff_comes_first(filled: Pool) -> None:
    """Help asked, then stuck, then waiting for approval; among those alike, most blocked, then idle longest."""
    rows = await everything(filled, Query())
    urgency = list(Group)
    assert [urgency.index(row.group) for row in rows] == sorted(urgency.index(row.group) for row in rows)
    helped = [row for row in rows if row.group is Group.HELP]
    assert [(-row.blocked_in_row, row.since) for row in helped] == sorted(
        (-row.blocked_in_row, row.since) for row in helped
    )


@pytest.mark.parametrize(
    ("order", "key"),
    [
        (Order.LEARNER, lambda row: row.login),
        (Order.LAB, lambda row: row.lab_slug),
        (Order.PROGRESS, lambda row: row.steps_done / max(row.steps_total, 1)),
        (Order.BLOCKED, lambda row: row.blocked_in_row),
        (Order.PUSHED, lambda row: row.pushed_at or datetime.min.replace(tzinfo=UTC)),
    ],
)
async def test_orders(filled: Pool, order: Order, key: object) -> None:
    """Each column sorts up and down by what it shows."""
    assert callable(key)
    for descending in (False, True):
        keys = [key(row) for row in await everything(filled, Query(order=order, descending=descending))]
        assert keys == sorted(keys, reverse=descending)


async def test_filters(filled: Pool) -> None:
    """A lab, groups, idleness and a part of a name each leave exactly the rows that have it, and they go together."""
    rows = await everything(filled, Query(lab="hooks"))
    assert len(rows) == SESSIONS / 2
    assert {row.lab_slug for row in rows} == {"hooks"}
    rows = await everything(filled, Query(groups=(Group.STUCK, Group.NOT_STARTED)))
    assert {row.group for row in rows} == {Group.STUCK, Group.NOT_STARTED}
    assert len(rows) == SESSIONS / 10 + 3
    rows = await everything(filled, Query(idle_hours=100))
    ago = datetime.now(UTC) - timedelta(hours=100)
    assert rows
    assert all(row.since < ago and row.group not in (Group.FINISHED, Group.OVER) for row in rows)
    assert {row.login for row in await everything(filled, Query(search="RNER-12 "))} == {
        "learner-12",
        *(f"learner-12{digit}" for digit in range(10)),
    }
    assert [row.login for row in await everything(filled, Query(search="ner-7/l"))] == ["learner-7"]
    assert await everything(filled, Query(search="%")) == []
    assert await everything(filled, Query(lab="no-such")) == []
    (only,) = await everything(filled, Query(lab="hooks", search="learner-11", groups=(Group.HELP,), idle_hours=100))
    assert only.login == "learner-111"


async def test_one_persons_own_rows(filled: Pool) -> None:
    """A learner's list has their own sessions alone."""
    page = await class_page(filled, Query(account_id=100_007))
    assert [(row.login, row.status) for row in page.rows] == [("learner-7", SessionStatus.EXPIRED)]
    assert page.total == 1


async def test_counts_are_those_of_the_rows(filled: Pool) -> None:
    """The counts at the head of the page are what the filters find, for one lab and for all."""
    for lab in ("", "closures"):
        rows = await everything(filled, Query(lab=lab))
        assert await class_counts(filled, lab) == {group: sum(row.group is group for row in rows) for group in Group}


async def test_the_funnel_counts_each_unfinished_session_once(filled: Pool) -> None:
    """Each required step tells how many stand there; optional steps are not part of the way."""
    steps = await funnel(filled, "closures")
    rows = [row for row in await everything(filled, Query(lab="closures")) if row.session_id]
    going = [row for row in rows if row.group not in (Group.OVER, Group.FINISHED)]
    assert [step.here for step in steps] == [sum(row.step_title == step.title for row in going) for step in steps]
    assert sum(step.here for step in steps) <= len(going)
    assert steps[0].done == sum(row.steps_done >= 1 for row in rows)
    assert await funnel(filled, "no-such") == ()


async def test_names_and_owners(filled: Pool) -> None:
    """Labs by title, and whose session an id is."""
    assert set(await lab_names(filled)) == {"closures", "hooks"}
    (row,) = (await class_page(filled, Query(account_id=100_007))).rows
    assert row.session_id is not None
    assert await learner_of(filled, row.session_id) == 100_007
    assert await learner_of(filled, uuid4()) is None


async def judged(pool: Pool, bound: Bound, head: str, *, waiting: tuple[str, ...] = (), **values: Any) -> None:
    """A push to `head`, judged and saved; `waiting`: what step two waits for."""
    delivered = a_push(bound.repo, "before", head)
    lane, ids = await claimed(pool, a_delivery(guid=delivered.delivery_id))
    state = await state_of(pool, bound)
    verdict: Any = values.pop("unverified", None) or a_verdict(state, head, **values)
    if waiting:
        verdict = replace(verdict, steps=(StepStatus("two", StepState.WAITING, (), waiting),))
    save = SaveVerdict(lane, state, "push", "refs/heads/main", verdict, "f", push=delivered, deliveries=ids)
    assert await progress.save(pool, save) is SaveResult.SAVED
    await inbox.release(pool, lane)


async def only_row(pool: Pool) -> ClassRow:
    """The one row of the class."""
    (row,) = (await class_page(pool, Query())).rows
    return row


async def test_a_session_from_its_start_to_a_call_for_help(pool: Pool) -> None:
    """What the row tells follows every judgement: steps, verdict, codes, distinct blocked heads, what it waits for."""
    bound = await bind(pool)
    row = await only_row(pool)
    assert (row.group, row.pushed_at, row.verdict, row.steps_done, row.step_title) == (
        Group.PROGRESS, None, None, 0, bound.version.lab.steps[0].title,
    )  # fmt: skip
    assert (row.since, row.repo_full_name) == (bound.session.started_at, "learner-one/lab")
    await judged(pool, bound, "a", gains=("one",))
    row = await only_row(pool)
    assert (row.verdict, row.steps_done, row.step_title) == (Outcome.ACCEPTED, 1, bound.version.lab.steps[1].title)
    assert row.pushed_at is not None
    for head in ("b", "c", "b"):
        await judged(pool, bound, head, violations=BLOCKED)
    row = await only_row(pool)
    assert (row.verdict, row.codes, row.blocked_in_row) == (Outcome.BLOCKED, ("OUT_OF_ORDER",), 2)
    await judged(pool, bound, "d", unverified=CannotVerify(sha("d"), "TOO_LARGE"))
    row = await only_row(pool)
    assert (row.verdict, row.reason, row.blocked_in_row) == (Outcome.CANNOT_VERIFY, "TOO_LARGE", 2)
    await judged(pool, bound, "e", waiting=("workflow .github/workflows/staff.yml",))
    row = await only_row(pool)
    assert (row.group, row.waiting_for) == (Group.WAITING, ("workflow .github/workflows/staff.yml",))
    assert row.blocked_in_row == 0
    await judged(pool, bound, "f", waiting=("approval by staff", "the workflow test.yml"))
    row = await only_row(pool)
    assert (row.group, row.waiting_for) == (Group.APPROVAL, ("approval by staff", "the workflow test.yml"))
    await judged(pool, bound, "g", losses=("one",))
    row = await only_row(pool)
    assert (row.group, row.steps_done) == (Group.PROGRESS, 0)
    await pool.execute("UPDATE lab_session SET status = 'STUCK', help_at = now(), help_words = 'lost'")
    row = await only_row(pool)
    assert (row.group, row.help_words, row.status) == (Group.HELP, "lost", SessionStatus.STUCK)


async def test_an_invitation_waits_until_there_is_a_session(pool: Pool) -> None:
    """Invited and not started is a row with the login; a session of that person and lab takes its place."""
    published = await publish(pool)
    lab = published[0].lab_id
    await pool.execute(
        "INSERT INTO invitation (lab_id, account_id, login) VALUES ($1, $2, NULL), ($1, NULL, 'nobody-yet')",
        lab,
        ADA.account_id,
    )
    rows = (await class_page(pool, Query(order=Order.LEARNER))).rows
    assert {(row.session_id, row.group) for row in rows} == {(None, Group.NOT_STARTED)}
    assert "nobody-yet" in {row.login for row in rows}
    await bind(pool, published=published)
    await bind(pool, published=published, owner=LIN, repo_id=502, installation_id=72)
    rows = (await class_page(pool, Query(order=Order.LEARNER))).rows
    assert [(row.login, row.group) for row in rows] == [
        (ADA.login, Group.PROGRESS),
        (LIN.login, Group.PROGRESS),
        ("nobody-yet", Group.NOT_STARTED),
    ]


async def test_the_standing_is_what_the_ledger_says(filled: Pool) -> None:
    """What triggers kept, row by row, is what the migration computes from the ledger for sessions that were there."""
    wrong = await filled.fetch(
        """
        SELECT t.session_id FROM session_standing AS t CROSS JOIN LATERAL (
            SELECT coalesce(max(attempt_id) FILTER (WHERE verdict = 'accepted'), 0) AS accepted,
                max(created_at) AS pushed, max(attempt_id) AS newest
            FROM push_attempt WHERE session_id = t.session_id) AS told
        WHERE (t.accepted_attempt, t.pushed_at, t.attempt_id) IS DISTINCT FROM
              (told.accepted, told.pushed, told.newest)
           OR t.blocked_in_row <> (SELECT count(DISTINCT after_sha) FROM push_attempt AS p
                WHERE p.session_id = t.session_id AND p.verdict = 'blocked' AND p.attempt_id > told.accepted)
        """
    )
    assert wrong == []
    assert await filled.fetchval("SELECT count(*) FROM session_standing") == SESSIONS


async def test_a_new_version_counts_its_own_steps(pool: Pool) -> None:
    """A session that is moved to another version of its lab is counted by that version's steps."""
    bound = await bind(pool)
    await judged(pool, bound, "a", gains=("one",))
    await pool.execute(
        "INSERT INTO lab_version (lab_id, number, commit_sha, tree_sha, definition, digest) "
        "SELECT lab_id, 2, repeat('e', 40), tree_sha, jsonb_set(definition, '{steps}', definition->'steps'->0 || "
        '\'{"id": "first", "aliases": ["one"]}\' || \'[]\'::jsonb), \'digest 2\' FROM lab_version'
    )
    await pool.execute("UPDATE lab_session SET lab_version_id = (SELECT max(lab_version_id) FROM lab_version)")
    row = await only_row(pool)
    assert (row.steps_done, row.steps_total, row.step_title) == (1, 1, None)
    assert isinstance(row.session_id, UUID)

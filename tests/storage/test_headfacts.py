"""Results on heads: kept once, newest last; who waits for them; and which judgements would be no news."""

from __future__ import annotations

from dataclasses import replace

import pytest

from rules.model import AllOf, AnyOf, Approval, CannotVerify, Changed, Check, Condition, Facts, Workflow
from storage import headfacts, labs, outbox
from storage.database import Pool
from storage.headfacts import HeadFact, with_results
from tests.support.bindings import a_lab, a_report, bind, publish, sha
from tests.support.judgements import BLOCK, saved

TESTS = ".github/workflows/test.yml"
RUN = HeadFact("workflow", TESTS, 0, 5, "success")
LINT = HeadFact("check", "lint", 77, 6, "success")


async def known(pool: Pool) -> dict[tuple[str, int], tuple[int, str]]:
    """What is stored of head "a" of repository 501: (name, App) -> (run, conclusion)."""
    rows = await pool.fetch("SELECT * FROM head_fact WHERE repo_id = 501 AND head_sha = $1", sha("a"))
    return {(row["name"], row["app_id"]): (row["run_id"], row["conclusion"]) for row in rows}


async def test_the_newest_result_is_kept(pool: Pool) -> None:
    """A newer run, and a new end of the same run, replace what is known; an older run changes nothing."""
    await headfacts.record(pool, 501, sha("a"), [RUN, LINT])
    await headfacts.record(pool, 501, sha("a"), [RUN, LINT])
    assert await known(pool) == {(TESTS, 0): (5, "success"), ("lint", 77): (6, "success")}
    await headfacts.record(pool, 501, sha("a"), [replace(RUN, conclusion="failure"), replace(LINT, run_id=9)])
    assert await known(pool) == {(TESTS, 0): (5, "failure"), ("lint", 77): (9, "success")}
    await headfacts.record(pool, 501, sha("a"), [replace(RUN, run_id=4), replace(LINT, run_id=8, conclusion="neutral")])
    assert await known(pool) == {(TESTS, 0): (5, "failure"), ("lint", 77): (9, "success")}
    await headfacts.record(pool, 501, sha("a"), [])


def test_what_is_told_now_replaces_what_was_known_of_it() -> None:
    """Results on the head are replaced by name and App; those of other heads, and staff's facts, stay."""
    before = Facts(
        approved=frozenset({"one"}),
        workflows=frozenset({(TESTS, sha("a")), (TESTS, sha("b"))}),
        checks=frozenset({("lint", 77, sha("a")), ("build", 77, sha("a"))}),
        unsuccessful=frozenset({("slow", 78, sha("a"), "failure")}),
    )
    after = with_results(
        before,
        sha("a"),
        [
            replace(RUN, conclusion="failure"),
            replace(LINT, conclusion="neutral"),
            HeadFact("check", "slow", 78, 1, "success"),
        ],
    )
    assert after == Facts(
        approved=frozenset({"one"}),
        workflows=frozenset({(TESTS, sha("b"))}),
        checks=frozenset({("build", 77, sha("a")), ("slow", 78, sha("a"))}),
        unsuccessful=frozenset({(TESTS, 0, sha("a"), "failure"), ("lint", 77, sha("a"), "neutral")}),
    )
    assert with_results(after, sha("a"), []) == after


@pytest.mark.parametrize(
    ("complete", "expected"),
    [
        (Workflow(TESTS), True),
        (AllOf((Changed(), AnyOf((Approval(), Check("lint", 77))))), True),
        (AllOf((Changed(), Approval())), False),
    ],
)
async def test_only_labs_with_such_conditions_await_results(pool: Pool, complete: Condition, expected: bool) -> None:
    """A workflow or check anywhere in a condition makes results matter, for bound repositories of open sessions."""
    *others, last = a_lab().steps
    lab, _ = await publish(pool)
    version = await labs.publish(
        pool,
        lab.lab_id,
        commit_sha=sha("v2"),
        tree_sha=sha("tree 2"),
        lab=replace(a_lab(), steps=(*others, replace(last, complete=complete))),
        digest="digest 2",
    )
    bound = await bind(pool, published=(lab, version))
    assert await headfacts.awaited(pool, 501) is expected
    assert not await headfacts.awaited(pool, 502)
    installation = bound.mapping.installation_id
    assert await headfacts.wake_awaiting(pool, installation) == expected
    assert await headfacts.wake_awaiting(pool, installation + 1) == 0
    waiting = await pool.fetchval("SELECT count(*) FROM delivery WHERE event = 'stepgate.judge' AND state = 'waiting'")
    assert waiting == expected
    await pool.execute("UPDATE lab_session SET status = 'VERIFIED_PASS', binding_epoch = binding_epoch + 1")
    assert not await headfacts.awaited(pool, 501)


async def test_the_same_judgement_again_is_no_news(pool: Pool) -> None:
    """The newest judgement, previews apart, was of this head, with these facts, and said this to this repository."""
    bound = await bind(pool)
    first = await saved(pool, bound, "a")
    assert not await headfacts.judged_alike(pool, first)  # nothing was said yet
    for name in ("a", "b"):
        await outbox.want(pool, a_report(bound, name))
    assert await headfacts.judged_alike(pool, first)
    assert not await headfacts.judged_alike(pool, replace(first, facts_digest="others"))
    await saved(pool, bound, "p", preview=True)
    assert await headfacts.judged_alike(pool, first)
    second = await saved(pool, bound, "b", violations=BLOCK)
    assert not await headfacts.judged_alike(pool, first)
    assert await headfacts.judged_alike(pool, second)
    assert not await headfacts.judged_alike(pool, replace(second, verdict=CannotVerify(sha("b"), "GITHUB")))

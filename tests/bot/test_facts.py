"""What GitHub is asked about a judged head: as little as its steps wait for, once, and never a learner's fault."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import replace
from typing import Any, cast

import pytest

from bot.facts import HeadResults, of_snapshot
from bot.services import Services
from github import results
from github.client import InstallationClient
from github.errors import MissingPermission, NotFound, Transient
from github.results import RunResult
from rules.model import AllOf, Check, CommitTree, Condition, Facts, Installation, Verdict, Workflow
from storage import accounts, labs, progress
from storage.database import Pool, open_pool
from storage.progress import JudgingState
from tests.support.bindings import Bound, a_lab, bind, publish, sha
from tests.support.labs import lab, snapshot, step, verdict_of

TESTS = ".github/workflows/test.yml"
HEAD = sha("head")
LINT, BUILD = Check("lint", 77), Check("build", 78)


@pytest.fixture(name="pool")
async def _pool(fresh_database: str) -> AsyncIterator[Pool]:
    """A pool on a migrated database of this test's own."""
    opened = await open_pool(fresh_database, min_size=1, max_size=2)
    try:
        yield opened
    finally:
        await opened.close()


class GitHub:
    """Stands for the two questions: what was asked, and what is answered (or raised)."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, *answers: RunResult) -> None:
        self.asked: list[tuple[str, dict[str, Any]]] = []
        self.answers: tuple[RunResult, ...] | Exception = answers
        monkeypatch.setattr(results, "workflow_runs", self._of("workflow"))
        monkeypatch.setattr(results, "check_runs", self._of("check"))

    def _of(self, kind: str) -> Any:
        async def answer(_client: Any, _full_name: str, **query: Any) -> tuple[RunResult, ...]:
            self.asked.append((kind, query))
            if isinstance(self.answers, Exception):
                raise self.answers
            return self.answers

        return answer


async def waiting(pool: Pool, *conditions: Condition) -> tuple[HeadResults, Verdict]:
    """A bound session of which one step waits for these, and the verdict on its head."""
    record, _ = await publish(pool)
    a_waiting_lab = replace(a_lab(), steps=lab(step("s", "*", complete=AllOf(conditions))).steps)
    version = await labs.publish(
        pool, record.lab_id, commit_sha=sha("v2"), tree_sha=sha("t2"), lab=a_waiting_lab, digest="digest 2"
    )
    bound = await bind(pool, published=(record, version))
    await permit(pool, bound, "actions")
    state = await progress.judging_state(pool, bound.session.session_id)
    assert state is not None
    services = cast("Services", _OnlyPool(pool))
    return HeadResults(services, cast("InstallationClient", None), state, HEAD), verdict_of(a_waiting_lab, snapshot({}))


class _OnlyPool:
    def __init__(self, pool: Pool) -> None:
        self.pool = pool


async def permit(pool: Pool, bound: Bound, *names: str) -> None:
    """Store that the installation grants these permissions, and those that are always asked for."""
    known: Installation | None = await accounts.installation(pool, bound.mapping.installation_id)
    assert known is not None
    granted = {"checks": "write"} | dict.fromkeys(names, "read")
    await accounts.upsert_installation(pool, replace(known, permissions=granted))


async def test_each_kind_is_asked_once(pool: Pool, monkeypatch: pytest.MonkeyPatch) -> None:
    """One question for runs and one for checks; then nothing, though nothing was found; nothing without a need."""
    head, verdict = await waiting(pool, Workflow(TESTS), LINT)
    github = GitHub(monkeypatch)
    learnt = await head.learn(verdict, Facts())
    assert learnt == Facts()
    assert [kind for kind, _ in github.asked] == ["check", "workflow"]
    assert github.asked[1][1] == {"repo_id": 501, "branch": "main", "head_sha": HEAD}
    assert await head.learn(verdict, Facts()) is None
    assert len(github.asked) == 2


async def test_what_is_known_is_not_asked(pool: Pool, monkeypatch: pytest.MonkeyPatch) -> None:
    """A success that is stored costs no call."""
    head, verdict = await waiting(pool, Workflow(TESTS))
    github = GitHub(monkeypatch)
    assert await head.learn(verdict, Facts(workflows=frozenset({(TESTS, HEAD)}))) is None
    assert github.asked == []


@pytest.mark.parametrize(
    ("conditions", "query"),
    [
        ((LINT,), {"name": "lint", "app_id": 77}),
        ((LINT, Check("build", 77)), {"name": None, "app_id": 77}),
        ((LINT, Check("lint", 78)), {"name": "lint", "app_id": None}),
        ((LINT, BUILD), {"name": None, "app_id": None}),
    ],
)
async def test_checks_are_asked_for_together(
    pool: Pool, monkeypatch: pytest.MonkeyPatch, conditions: tuple[Condition, ...], query: dict[str, Any]
) -> None:
    """However many checks a lab names, one question gets them: by what they have in common."""
    head, verdict = await waiting(pool, *conditions)
    github = GitHub(monkeypatch)
    await head.learn(verdict, Facts())
    assert github.asked == [("check", {"head_sha": HEAD, **query})]


async def test_only_what_the_lab_names_is_kept(pool: Pool, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of an answer the lab's own checks count, by name and App together; all else is neither a fact nor stored."""
    head, verdict = await waiting(pool, LINT, BUILD)
    GitHub(
        monkeypatch,
        RunResult(1, "lint", 77, "success"),
        RunResult(2, "lint", 78, "success"),
        RunResult(3, "build", 78, "failure"),
        RunResult(4, "other", 77, "success"),
    )
    learnt = await head.learn(verdict, Facts())
    assert learnt is not None
    assert learnt.checks == {("lint", 77, HEAD)}
    assert learnt.unsuccessful == {("build", 78, HEAD, "failure")}
    assert await pool.fetchval("SELECT array_agg(run_id ORDER BY run_id) FROM head_fact") == [1, 3]


async def test_a_missing_permission_is_told_and_no_failure(pool: Pool, monkeypatch: pytest.MonkeyPatch) -> None:
    """Refused by GitHub, or known to be missing (then it is not even asked): the kind is unreadable."""
    head, verdict = await waiting(pool, Workflow(TESTS))
    github = GitHub(monkeypatch)
    github.answers = MissingPermission("no", accepted_permissions="actions=read")
    assert await head.learn(verdict, Facts()) == Facts(unreadable=frozenset({"workflow"}))
    await pool.execute("UPDATE installation SET permissions = permissions - 'actions'")
    again = replace_state(head, head.state)
    assert await again.learn(verdict, Facts()) == Facts(unreadable=frozenset({"workflow"}))
    assert len(github.asked) == 1


async def test_a_commit_that_is_not_found_has_no_runs_and_other_errors_are_raised(
    pool: Pool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """404 means none; when GitHub does not answer, the delivery is tried again later."""
    head, verdict = await waiting(pool, LINT)
    github = GitHub(monkeypatch)
    github.answers = NotFound("gone")
    assert await head.learn(verdict, Facts()) == Facts()
    github.answers = Transient("away")
    with pytest.raises(Transient):
        await replace_state(head, head.state).learn(verdict, Facts())


def replace_state(head: HeadResults, state: JudgingState) -> HeadResults:
    """The same head, judged another time."""
    return HeadResults(head.services, head.client, state, head.head_sha)


async def test_only_results_on_judged_commits_are_facts(pool: Pool) -> None:
    """What is known of other heads makes no other digest, so the same judgement stays the same."""
    head, _ = await waiting(pool, LINT)
    shas = [HEAD, sha("c1"), sha("old")]
    facts = Facts(
        approved=frozenset({"s"}),
        workflows=frozenset((TESTS, each) for each in shas),
        checks=frozenset(("lint", 77, each) for each in shas),
        unsuccessful=frozenset(("build", 78, each, "failure") for each in shas),
    )
    judged = replace(snapshot({}), commits=(CommitTree(sha("c1"), {}),))
    kept = of_snapshot(replace(head.state, facts=facts), judged).facts
    assert kept.approved == {"s"}
    assert {known[1] for known in kept.workflows} == {known[2] for known in kept.checks} == {HEAD, sha("c1")}
    assert {known[2] for known in kept.unsuccessful} == {HEAD, sha("c1")}

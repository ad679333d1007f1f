"""Installations, labs, bound sessions and lanes in a database, for tests of storage and of what stands on it."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import Literal
from uuid import UUID, uuid4

from rules.lifecycle import Listed
from rules.model import (
    Account,
    AccountKind,
    Changed,
    CheckRunReport,
    Conclusion,
    Gain,
    Installation,
    InstallationState,
    Lab,
    LabRecord,
    LabVersion,
    Loss,
    Policy,
    Push,
    Repo,
    RepoMapping,
    Report,
    Session,
    StatusReport,
    Step,
    Verdict,
    Violation,
)
from storage import accounts, labs, lifecycle, progress, sessions
from storage.audit import AuditEvent
from storage.database import Pool
from storage.inbox import Lane, NewDelivery, claim, record, waiting
from storage.outbox import WantedReport
from storage.progress import JudgingState

COURSE = Account(900, "octo-course", AccountKind.ORGANIZATION)
ADA = Account(101, "learner-one", AccountKind.USER)
LIN = Account(102, "learner-two", AccountKind.USER)
LEASE = timedelta(seconds=30)


def sha(name: str) -> str:
    """A commit sha for a name."""
    return hashlib.sha1(name.encode()).hexdigest()


def a_lab(*step_ids: str) -> Lab:
    """Steps that need each other in a row; the second one was called `old-<id>` once."""
    ids = step_ids or ("one", "two", "three")
    steps = [
        Step(
            id=name,
            title=f"Step {name}",
            files=(f"{name}/**",),
            needs=ids[:number][-1:],
            complete=Changed(),
            aliases=(f"old-{name}",) if number == 1 else (),
        )
        for number, name in enumerate(ids)
    ]
    return Lab("A lab", "main", (".forgea/**",), (), Policy(), tuple(steps))


def a_repo(repo_id: int, owner: Account = ADA, name: str = "lab") -> Repo:
    """A fork of the lab."""
    return Repo(repo_id, f"{owner.login}/{name}", owner, private=False, default_branch="main")


@dataclass(frozen=True, slots=True)
class Bound:
    """A bound session with everything around it."""

    lab: LabRecord
    version: LabVersion
    repo: Repo
    session: Session
    mapping: RepoMapping


async def install(pool: Pool, installation_id: int, owner: Account = ADA, *repos: Repo) -> Installation:
    """The App is installed on these repositories, or without any on all of the account's."""
    selection: Literal["selected", "all"] = "selected" if repos else "all"
    value = Installation(installation_id, owner, InstallationState.ACTIVE, selection, {"checks": "write"})
    await accounts.upsert_installation(pool, value)
    await cover(pool, installation_id, {repo.repo_id: repo.full_name for repo in repos})
    return value


async def cover(pool: Pool, installation_id: int, names: Mapping[int, str]) -> None:
    """The API has told that a known installation covers these repositories (id -> full name), and no others."""
    before = await lifecycle.known(pool, installation_id)
    assert before.installation is not None
    listed = [Listed(repo_id, name, fork=True) for repo_id, name in names.items()]
    assert await lifecycle.store_installation(pool, before.installation, before, listed)


async def covered(pool: Pool, installation_id: int) -> dict[int, str]:
    """What the installation covers as stored: repository id -> full name."""
    rows = await pool.fetch(
        "SELECT repo_id, repo_full_name FROM installation_repository WHERE installation_id = $1", installation_id
    )
    return {row["repo_id"]: row["repo_full_name"] for row in rows}


async def suspend(pool: Pool, installation_id: int) -> None:
    """The API has told that the installation is suspended; no session was settled yet."""
    before = await lifecycle.known(pool, installation_id)
    assert before.installation is not None
    value = replace(before.installation, state=InstallationState.SUSPENDED)
    assert await lifecycle.store_installation(pool, value, before, None)


async def publish(pool: Pool, slug: str = "closures", base_repo_id: int = 5000) -> tuple[LabRecord, LabVersion]:
    """A lab with one published version."""
    lab = await labs.add(
        pool,
        slug=slug,
        title="React closures",
        base_repo_id=base_repo_id,
        base_repo_full_name=f"octo-course/{slug}",
        base_installation_id=None,
    )
    version = await labs.publish(
        pool, lab.lab_id, commit_sha=sha(f"{slug} v1"), tree_sha=sha(f"{slug} tree 1"), lab=a_lab(), digest="digest 1"
    )
    return lab, version


async def bind(
    pool: Pool,
    *,
    owner: Account = ADA,
    repo_id: int = 501,
    installation_id: int = 71,
    published: tuple[LabRecord, LabVersion] | None = None,
) -> Bound:
    """A learner's repository, bound to a new session."""
    lab, version = published or await publish(pool)
    repo = a_repo(repo_id, owner)
    await install(pool, installation_id, owner, repo)
    session, mapping = await sessions.create_and_bind(
        pool,
        version=version,
        learner=owner,
        repo=repo,
        installation_id=installation_id,
        source="event",
        event=AuditEvent("bound"),
    )
    return Bound(lab, version, repo, session, mapping)


def a_delivery(
    lane_id: str = "repo:501", *, guid: UUID | None = None, event: str = "push", payload: bytes = b"{}"
) -> NewDelivery:
    """A delivery as the receiver hands it in."""
    kind, _, ident = lane_id.partition(":")
    repo_id = int(ident) if kind == "repo" else None
    return NewDelivery(guid or uuid4(), event, None, 71, repo_id, lane_id, payload)


async def claimed(pool: Pool, *deliveries: NewDelivery, lease: timedelta = LEASE) -> tuple[Lane, tuple[int, ...]]:
    """Record deliveries of one lane, and claim it: the lane, and the inbox ids of what waits in it."""
    await record(pool, deliveries or [a_delivery()])
    lane = await claim(pool, "worker-1", lease)
    assert lane is not None
    return lane, tuple(item.inbox_id for item in await waiting(pool, lane))


def a_push(repo: Repo, before: str, after: str, *, guid: UUID | None = None, ref: str = "refs/heads/main") -> Push:
    """A push from commit `before` to commit `after` (names, see `sha`)."""
    return Push(
        delivery_id=guid or uuid4(),
        installation_id=71,
        repo=repo,
        ref=ref,
        before=sha(before),
        after=sha(after),
        created=False,
        deleted=False,
        forced=False,
        sender_id=repo.owner.account_id,
    )


def a_verdict(
    state: JudgingState,
    head: str,
    *,
    gains: tuple[str, ...] = (),
    losses: tuple[str, ...] = (),
    violations: tuple[Violation, ...] = (),
    rewrite: bool = False,
) -> Verdict:
    """The verdict on commit `head` (a name, see `sha`), blocked when there are violations."""
    done = state.progress.done
    return Verdict(
        head_sha=sha(head),
        accepted_before=state.session.accepted_sha,
        blocked=bool(violations),
        done_before=done,
        done_after=(done - set(losses)) | set(gains),
        gains=tuple(Gain(step_id, sha(head)) for step_id in gains),
        losses=tuple(Loss(step_id, "TAKEN_AWAY") for step_id in losses),
        violations=violations,
        paths=(),
        steps=(),
        complete=False,
        rewrite=rewrite,
    )


def a_report(
    bound: Bound,
    head: str,
    *,
    conclusion: Conclusion = "success",
    digest: str | None = None,
    status: bool = True,
    weak: bool = False,
    session: bool = True,
) -> WantedReport:
    """A report on commit `head` (a name, see `sha`)."""
    check_run = CheckRunReport("forgea/steps", sha(head), conclusion, f"Title: {conclusion}", "Summary")
    state: StatusReport | None = None
    if status:
        state = StatusReport("forgea/steps", sha(head), "success" if conclusion == "success" else "failure", conclusion)
    report = Report(check_run, state, digest or f"digest of {head} {conclusion}")
    session_id = bound.session.session_id if session else None
    return WantedReport(
        bound.repo.repo_id, bound.mapping.installation_id, bound.repo.full_name, session_id, report, weak=weak
    )


async def state_of(pool: Pool, bound: Bound) -> JudgingState:
    """What a verdict on the bound session leans on now."""
    state = await progress.judging_state(pool, bound.session.session_id)
    assert state is not None
    return state


def stale(state: JudgingState, **changes: object) -> JudgingState:
    """The state with another session value than the database has."""
    return replace(state, session=replace(state.session, **changes))  # type: ignore[arg-type]

"""The straight line: delivery -> binding -> snapshot -> verdict -> report. Read this page and you know the product.

Each stage takes values and returns values. What is decided is decided in rules/, from what was gathered before. What is
saved is saved in one guarded statement: if anything that the verdict was computed from has changed in between, nothing
is written and the line starts over.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import partial

from bot import reports, visibility
from bot.budget import OverBudgetError, within_budget
from bot.facts import HeadResults, of_snapshot
from bot.gather import gather, newest_head
from bot.lookup import Found, find_binding
from bot.services import Services
from github.errors import Transient
from rules.binding import Ignored, Preview, Rejected
from rules.chain import newest
from rules.model import ZERO_SHA, BindingCode, CannotVerify, LabRecord, Push, SessionStatus, Snapshot, Verdict
from rules.patterns import PatternError
from rules.session import event_of, next_status
from rules.verdict import facts_digest, judge
from storage import headfacts, inbox, progress
from storage.errors import LeaseLost
from storage.lanes import Lane
from storage.progress import JudgingState, SaveResult, SaveVerdict, Trigger

# A verdict is computed anew when what it was computed from changed in between; then the delivery is retried later.
ROUNDS = 5

# A branch that was pushed just now may not be visible yet in the API (replication); after so many tries it is gone.
BELIEVE_GONE_AFTER = 2


class StaleError(Exception):
    """The session kept changing while its push was judged. Our fault, never the learner's; the delivery is retried."""


@dataclass(frozen=True, slots=True)
class Arrival:
    """What woke us: pushes of one ref in order of arrival with their inbox ids, and why (`trigger`).

    `attempts`: how often the first of them was tried before.
    """

    lane: Lane
    pushes: tuple[Push, ...]
    inbox_ids: tuple[int, ...]
    trigger: Trigger = "push"
    attempts: int = 0


@dataclass(frozen=True, slots=True)
class Judged:
    """A verdict with what it was computed from. `push`: the newest of the arrival; `preview`: nothing is earned."""

    state: JudgingState
    lab: LabRecord
    push: Push
    verdict: Verdict | CannotVerify
    preview: bool


async def judge_arrival(services: Services, arrival: Arrival) -> str:
    """Answer the newest of the waiting pushes; those that it overtook are superseded. Returns a word for the log.

    Raises GitHubError and database errors, StaleError and BindingRaceError: the delivery is then retried.
    """
    for _ in range(ROUNDS):
        found = await find_binding(services, arrival.pushes[-1])
        if found.state is not None and found.state.mapping is not None:
            await visibility.follow(services, arrival.pushes[-1].repo, found.state.mapping)
        if isinstance(found.decision, Ignored | Rejected):
            return await reports.save_refusal(services, arrival, found)
        word = await _judge(services, arrival, found)
        if word is not None:
            return word
        services.mappings.drop(arrival.pushes[-1].repo.repo_id)
    raise StaleError("the session changed each time while its push was judged")


async def _judge(services: Services, arrival: Arrival, found: Found) -> str | None:
    """Gather, decide, save; None when what the verdict was computed from has changed in between."""
    state, lab = found.state, found.lab
    assert state and lab and state.mapping  # noqa: S101, PT018 (a bound session has all of them)
    preview = isinstance(found.decision, Preview)
    client = services.app.installation(state.mapping.installation_id)
    last = newest(arrival.pushes, None if preview else state.branch_head_seen)
    head = await newest_head(client, last.push, certain=last.certain and not _may_be_old(last.push, arrival, state))
    if head is None:
        if arrival.attempts < BELIEVE_GONE_AFTER:
            raise Transient(f"branch {last.push.branch} is not visible (yet)")
        gone = Found(Ignored(BindingCode.BRANCH_DELETED, state.session), state, lab)
        return await reports.save_refusal(services, arrival, gone)
    snapshot = await gather(services, client, lab, state, head)
    if isinstance(snapshot, CannotVerify):
        return await _save(services, arrival, Judged(state, lab, last.push, snapshot, preview=preview))
    state = of_snapshot(state, snapshot)
    results = HeadResults(services, client, state, head.sha)
    verdict = await decide(state, snapshot)
    while isinstance(verdict, Verdict) and not preview:  # what a step waits for may be there: each kind is asked once
        facts = await results.learn(verdict, state.facts)
        if facts is None:
            break
        state = replace(state, facts=facts)
        verdict = await decide(state, snapshot)
    return await _save(services, arrival, Judged(state, lab, last.push, verdict, preview=preview))


def _may_be_old(push: Push, arrival: Arrival, state: JudgingState) -> bool:
    """Whether a push that fits the chain may be an old delivery all the same, sent again under a new id.

    Only bodies are signed, so a captured one stays valid for ever; and a delivery may come after the push that left its
    head. After A -> B -> A the first push fits in both cases; then the ref tells.
    (The state was read for the last arrival; another order of a batch is not worth a second look.)
    """
    return push is not arrival.pushes[-1] or push.after in state.known_heads


async def decide(state: JudgingState, snapshot: Snapshot) -> Verdict | CannotVerify:
    """The verdict on a snapshot, within the budget of time that every judgement has (bot.budget)."""
    lab = state.version.lab
    try:
        return await within_budget(lab, snapshot, partial(judge, lab, state.progress, snapshot, state.facts))
    except PatternError as error:
        return CannotVerify(snapshot.head_sha, "LAB_FILE", str(error))
    except OverBudgetError as error:
        return CannotVerify(snapshot.head_sha, "TOO_LARGE", str(error))


async def _save(services: Services, arrival: Arrival, judged: Judged) -> str | None:
    """Save the judgement and everything that follows from it; None when it was computed from what is no more."""
    state, push, verdict, preview = judged.state, judged.push, judged.verdict, judged.preview
    waiting = tuple(zip(arrival.inbox_ids, arrival.pushes, strict=True))
    judgement = SaveVerdict(
        lane=arrival.lane,
        state=state,
        trigger=arrival.trigger,
        ref=push.ref,
        verdict=verdict,
        facts_digest=facts_digest(state.facts),
        preview=preview,
        push=push if arrival.trigger == "push" else None,
        status=None if preview else status_after(verdict, state, services.judging.stuck_after),
        report=None
        if _is_told(arrival, judged)
        else await reports.wanted(services, state, judged.lab, push, verdict, preview=preview),
        deliveries=tuple(inbox_id for inbox_id, other in waiting if other is push),
        superseded=tuple((inbox_id, other) for inbox_id, other in waiting if other is not push),
    )
    if await _is_no_news(services, judgement):
        await inbox.finish(services.pool, arrival.lane, arrival.inbox_ids, "done", "no_news")
        return "no_news"
    match await progress.save(services.pool, judgement):
        case SaveResult.SAVED:
            return judgement.outcome.value
        case SaveResult.DUPLICATE:
            return "duplicate"
        case SaveResult.LEASE_LOST:
            raise LeaseLost(f"lane {arrival.lane.lane_id} was taken over")
        case SaveResult.STALE_BINDING | SaveResult.STALE_ACCEPTED:
            return None


async def _is_no_news(services: Services, judgement: SaveVerdict) -> bool:
    """Whether a result only told what was known: of one workflow several events tell. It leaves nothing in the ledger.

    (The database finds such a judgement by itself, but only while no judgement has changed the session.)
    """
    verdict = judgement.verdict
    if judgement.trigger != "fact" or isinstance(verdict, CannotVerify) or verdict.gains or verdict.losses:
        return False
    return await headfacts.judged_alike(services.pool, judgement)


def _is_told(arrival: Arrival, judged: Judged) -> bool:
    """Whether the head was accepted before and nothing has come of judging it again: a push that was overtaken, or
    delivered again under a new id. The report that its own push got says more than one about no news.
    """
    state, verdict = judged.state, judged.verdict
    if arrival.trigger != "push" or judged.preview or isinstance(verdict, CannotVerify):
        return False
    known = verdict.head_sha == state.session.accepted_sha == state.branch_head_seen
    return known and not (verdict.blocked or verdict.gains or verdict.losses)


def status_after(verdict: Verdict | CannotVerify, state: JudgingState, stuck_after: int) -> SessionStatus | None:
    """The session's status after a verdict on its branch; None: as it was."""
    if isinstance(verdict, CannotVerify):
        return None
    blocked_heads = len(state.blocked_heads | {verdict.head_sha}) if verdict.blocked else 0
    session = state.session
    after = next_status(
        session.status, event_of(verdict), session.deferred_by, blocked_heads=blocked_heads, stuck_after=stuck_after
    )
    return after.status if after.status is not session.status else None


async def judge_branch(
    services: Services, lane: Lane, inbox_id: int, *, installation_id: int, full_name: str, trigger: Trigger
) -> str:
    """Bind a repository if it is a lab's, and answer the head of the lab's branch as it is now: no payload is believed.

    The way in for everything that is not a push. Raises NotFound when the repository is gone.
    """
    repo, _ = await services.app.installation(installation_id).repository(full_name)
    wake = Push(None, installation_id, repo, f"refs/heads/{repo.default_branch}", ZERO_SHA, ZERO_SHA)
    found = await find_binding(services, wake)
    if isinstance(found.decision, Ignored | Rejected) or found.state is None:
        if isinstance(found.decision, Rejected):  # the head as it is now carries the reason
            head = await services.app.installation(installation_id).branch_head(repo.full_name, repo.default_branch)
            wake = replace(wake, after=head or ZERO_SHA)
        return await reports.save_refusal(services, Arrival(lane, (wake,), (inbox_id,), trigger), found)
    on_branch = replace(wake, ref=f"refs/heads/{found.state.version.lab.branch}")
    return await judge_arrival(services, Arrival(lane, (on_branch,), (inbox_id,), trigger))

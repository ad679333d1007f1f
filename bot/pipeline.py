"""The straight line: delivery -> binding -> snapshot -> verdict -> report. Read this page and you know the product.

Each stage takes values and returns values. What is decided is decided in rules/, from what was gathered before. What is
saved is saved in one guarded statement: if anything that the verdict was computed from has changed in between, nothing
is written and the line starts over.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import datetime
from functools import partial

from bot import reports, trail, visibility
from bot.budget import OverBudgetError, within_budget
from bot.coverage import is_reachable
from bot.deadlines import deadline_of, head_in_time, is_closed, newest_in_time, reopen, too_late
from bot.facts import HeadResults, of_snapshot
from bot.gather import NotVisibleError, gather, newest_head
from bot.lag import NotYetError, distrust, is_young
from bot.lookup import Found, find_binding, is_overdue
from bot.services import Services
from github.client import InstallationClient
from github.errors import RateLimited, Transient
from rules.binding import Ignored, Preview, Rejected
from rules.chain import Newest, newest
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

# A branch that is not there is gone after so many failed tries. For what is no push it may be a new fork, whose commits
# come some minutes later (REST docs, "Create a fork").
BELIEVE_GONE_AFTER, BELIEVE_ABSENT_AFTER = 2, 5

# After so many failed tries (about half a minute) the head says that it could not be looked at yet.
TELL_DOUBT_AFTER = 3


class StaleError(Exception):
    """The session kept changing while its push was judged. Our fault, never the learner's; the delivery is retried."""


@dataclass(frozen=True, slots=True)
class Arrival:
    """What woke us: pushes of one ref in order of arrival with their inbox ids, and why (`trigger`).

    `attempts`: how often the first of them was tried before; `received_at`: when it arrived (None: long ago); `times`:
    when each came, if they are pushes of GitHub's.
    """

    lane: Lane
    pushes: tuple[Push, ...]
    inbox_ids: tuple[int, ...]
    trigger: Trigger = "push"
    attempts: int = 0
    received_at: datetime | None = None
    times: tuple[datetime, ...] = ()

    def came_by(self, deadline: datetime | None) -> bool:
        """Whether the first of them is a push that came in time."""
        return bool(self.times) and (deadline is None or self.times[0] <= deadline)

    def on_one_side(self, deadline: datetime | None) -> Arrival:
        """Those that came on the same side of the deadline as the first one; the others have a turn of their own."""
        if deadline is None or len({at <= deadline for at in self.times}) < 2:
            return self
        timely = self.came_by(deadline)
        kept = [number for number, at in enumerate(self.times) if (at <= deadline) is timely]
        return replace(
            self,
            pushes=tuple(self.pushes[number] for number in kept),
            inbox_ids=tuple(self.inbox_ids[number] for number in kept),
            times=tuple(self.times[number] for number in kept),
        )


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
        deadline = deadline_of(found)
        if (same := arrival.on_one_side(deadline)) is not arrival:
            arrival = same
            continue
        if not arrival.came_by(deadline):
            found = too_late(found)
        elif is_closed(found) and await reopen(services, found):
            continue
        trail.name_session(arrival.pushes[-1].repo.repo_id, found.state.session if found.state else None)
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
    last = newest(arrival.pushes, None if preview else state.branch_head_seen)
    if is_overdue(state):
        last = newest_in_time(last, arrival.pushes, arrival.times)
    certain = last.certain and not _may_be_old(last.push, arrival, state)
    client = services.app.installation(state.mapping.installation_id)
    try:
        seen = await _look(services, client, arrival, found, last, certain=certain)
        if seen is None:
            return await _gone(services, arrival, found)
        state, verdict = await _verdict(services, client, state, seen, preview=preview)
    except NotYetError as error:
        error.inbox_ids = arrival.inbox_ids
        raise
    except RateLimited:  # it waits for its turn
        raise
    except Transient:
        if arrival.attempts >= TELL_DOUBT_AFTER:
            await reports.tell_doubt(services, state, lab, last.push, preview=preview)
        raise
    return await _save(services, arrival, Judged(state, lab, last.push, verdict, preview=preview))


async def _look(
    services: Services, client: InstallationClient, arrival: Arrival, found: Found, last: Newest, *, certain: bool
) -> Snapshot | CannotVerify | None:
    """The snapshot of the newest head; None when the branch is gone. What may only be old is not believed (bot.lag).

    After the deadline the branch is not asked: what it is at now may have come too late (bot.deadlines).
    """
    state, lab, push = found.state, found.lab, last.push
    assert state and lab  # noqa: S101, PT018 (as in _judge)
    young = is_young(arrival.received_at, state)
    if is_overdue(state):
        return await gather(services, client, lab, state, head_in_time(last, state), young=young)
    head = await newest_head(client, push, certain=certain)
    if young and not certain:
        await distrust(services, client, state, arrival.pushes, push=push, head=head)
    if head is None:
        return None
    try:
        return await gather(services, client, lab, state, head, young=young)
    except NotVisibleError as error:
        if young:
            raise NotYetError(str(error)) from error
        now = await newest_head(client, push, certain=False) if certain else head
        if now is not None and now.sha == head.sha:
            raise
    return await gather(services, client, lab, state, now) if now is not None else None  # the pushed head went away


async def _gone(services: Services, arrival: Arrival, found: Found) -> str:
    """There is no such branch, or it is not visible yet: that is believed after some tries."""
    state = found.state
    believe_after = BELIEVE_GONE_AFTER if arrival.trigger == "push" else BELIEVE_ABSENT_AFTER
    if arrival.attempts < believe_after:
        raise Transient(f"branch {arrival.pushes[-1].branch} is not visible (yet)")
    ignored = Ignored(BindingCode.BRANCH_DELETED, state.session if state else None)
    return await reports.save_refusal(services, arrival, Found(ignored, state, found.lab))


async def _verdict(
    services: Services,
    client: InstallationClient,
    state: JudgingState,
    snapshot: Snapshot | CannotVerify,
    *,
    preview: bool,
) -> tuple[JudgingState, Verdict | CannotVerify]:
    """The verdict, and the state with the facts that it leans on."""
    if isinstance(snapshot, CannotVerify):
        return state, snapshot
    state = of_snapshot(state, snapshot)
    results = HeadResults(services, client, state, snapshot.head_sha)
    verdict = await decide(state, snapshot)
    while isinstance(verdict, Verdict) and not preview:  # what a step waits for may be there: each kind is asked once
        facts = await results.learn(verdict, state.facts)
        if facts is None:
            break
        state = replace(state, facts=facts)
        verdict = await decide(state, snapshot)
    return state, verdict


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
    status = _status_after(arrival, judged, services.judging.stuck_after)
    judgement = SaveVerdict(
        lane=arrival.lane,
        state=state,
        trigger=arrival.trigger,
        ref=push.ref,
        verdict=verdict,
        facts_digest=facts_digest(state.facts),
        preview=preview,
        push=push if arrival.trigger == "push" else None,
        status=status,
        report=None
        if _is_told(arrival, judged)
        else await reports.wanted(
            services, state, judged.lab, push, verdict, preview=preview, helped=status is not None
        ),
        deliveries=tuple(inbox_id for inbox_id, other in waiting if other is push),
        superseded=tuple((inbox_id, other) for inbox_id, other in waiting if other is not push),
    )
    if await _is_no_news(services, judgement):
        await inbox.finish(services.pool, arrival.lane, arrival.inbox_ids, "done", "no_news")
        return "no_news"
    match await progress.save(services.pool, judgement):
        case SaveResult.SAVED:
            trail.judged(judgement, arrival.pushes)
            return judgement.outcome.value
        case SaveResult.DUPLICATE:
            return "duplicate"
        case SaveResult.LEASE_LOST:
            raise LeaseLost(f"lane {arrival.lane.lane_id} was taken over")
        case SaveResult.STALE_BINDING | SaveResult.STALE_ACCEPTED:
            return None


async def _is_no_news(services: Services, judgement: SaveVerdict) -> bool:
    """Whether a result, or a look at the branch, only told what was known: of one workflow several events tell. It
    leaves nothing in the ledger, and the report that the head has is not replaced by one that tells of no gains.

    (The database finds such a judgement by itself, but only while no judgement has changed the session.)
    """
    verdict = judgement.verdict
    if (
        judgement.trigger not in ("fact", "reconcile")
        or isinstance(verdict, CannotVerify)
        or verdict.gains
        or verdict.losses
    ):
        return False
    return await headfacts.judged_alike(services.pool, judgement)


def _is_told(arrival: Arrival, judged: Judged) -> bool:
    """Whether a push was overtaken, or is delivered again under a new id, and its head was accepted before. The report
    that its own push got says more than one about no news.
    """
    return arrival.trigger == "push" and _is_known(judged)


def _is_known(judged: Judged) -> bool:
    """Whether the branch's head was accepted before, and nothing has come of judging it again."""
    state, verdict = judged.state, judged.verdict
    if judged.preview or isinstance(verdict, CannotVerify):
        return False
    known = verdict.head_sha == state.session.accepted_sha == state.branch_head_seen
    return known and not (verdict.blocked or verdict.gains or verdict.losses)


def _status_after(arrival: Arrival, judged: Judged, stuck_after: int) -> SessionStatus | None:
    """The session's status after this judgement; None: as it was. Only a push, or news, ends a call for help."""
    verdict = judged.verdict
    if judged.preview or isinstance(verdict, CannotVerify):
        return None
    if arrival.trigger != "push" and _is_known(judged) and not verdict.complete:
        return None
    return status_after(verdict, judged.state, stuck_after)


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
    services: Services,
    lane: Lane,
    inbox_id: int,
    *,
    installation_id: int,
    repo_id: int,
    trigger: Trigger,
    branch: str | None = None,
    attempts: int = 0,
    received_at: datetime | None = None,
) -> str:
    """Bind a repository if it is a lab's, and answer the head of a branch as it is now: no payload is believed.

    The way in for everything that is not a push. `repo_id`: the lane's; names are for display; `branch`: None, the
    lab's; another one gets a preview. `attempts` and `received_at`: of the entry, as in Arrival. A repository that
    cannot be reached is left for the time when it is back. Raises NotFound when it is gone and that is not stored yet.
    """
    if not await is_reachable(services, installation_id, repo_id):
        await inbox.finish(services.pool, lane, [inbox_id], "done", "not_reachable")
        return "not_reachable"
    repo, _ = await services.app.installation(installation_id).repository_by_id(repo_id)
    wake = Push(None, installation_id, repo, f"refs/heads/{repo.default_branch}", ZERO_SHA, ZERO_SHA)
    found = await find_binding(services, wake)
    if isinstance(found.decision, Ignored | Rejected) or found.state is None:
        if isinstance(found.decision, Rejected):  # the head as it is now carries the reason
            head = await services.app.installation(installation_id).branch_head(repo.full_name, repo.default_branch)
            wake = replace(wake, after=head or ZERO_SHA)
        return await reports.save_refusal(services, Arrival(lane, (wake,), (inbox_id,), trigger), found)
    on_branch = replace(wake, ref=f"refs/heads/{branch or found.state.version.lab.branch}")
    return await judge_arrival(services, Arrival(lane, (on_branch,), (inbox_id,), trigger, attempts, received_at))

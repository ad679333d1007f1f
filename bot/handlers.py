"""One handler per event. A handler reads its payload, and calls the pipeline; those of installations and repositories
are in bot.lifecycle.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from bot.buttons import on_press, on_rerun, on_suite
from bot.lifecycle import BIND, on_fork, on_installation, on_look, on_repository, went_away
from bot.payloads import (
    BindPayload,
    JudgePayload,
    PushPayload,
    ResultPayload,
    UnreadablePayloadError,
    read,
)
from bot.pipeline import Arrival, judge_arrival, judge_branch
from bot.services import Services
from bot.statuses import on_status
from bot.templates import on_template_push
from bot.wanted import FINISHED, PRESSED, REQUESTED, RERUN, RESULT_EVENTS
from bot.webhook import INSTALLATION_EVENTS
from github.errors import InstallationError, NotFound
from rules.model import LabRecord, Push, RepoMapping
from storage import headfacts, inbox, labs
from storage.inbox import StoredDelivery
from storage.lanes import Lane
from storage.lifecycle import LOOK
from storage.mappings import Mappings
from storage.progress import judging_state
from storage.wakeups import JUDGE

Deliveries = tuple[StoredDelivery, ...]


async def handle(services: Services, lane: Lane, deliveries: Deliveries) -> str:
    """Process the first of a lane's waiting deliveries, and finish it. Returns a word for the log.

    Raises UnreadablePayloadError for a body that does not fit its event, GitHubError and database errors.
    """
    first = deliveries[0]
    handler = _BY_ACTION.get((first.event, first.action)) or HANDLERS.get(first.event)
    if handler is None:
        raise UnreadablePayloadError(f"nobody handles the event {first.event!r}")
    try:
        return await handler(services, lane, deliveries)
    except (InstallationError, NotFound):
        if not await went_away(services, first):
            raise
    return await handler(services, lane, deliveries)  # finds it away from the start


async def on_push(services: Services, lane: Lane, deliveries: Deliveries) -> str:
    """A push, together with the pushes of the same ref that wait behind it: the newest is judged."""
    first = deliveries[0]
    await inbox.started(services.pool, lane, [first.inbox_id])
    push = _push_of(first)
    if (lab := await _lab_of_template(services, push)) is not None:
        outcome = await on_template_push(services, lab, push.branch)
        await inbox.finish(services.pool, lane, [first.inbox_id], "done", outcome)
        return outcome
    pushes, ids, times = [push], [first.inbox_id], [first.came_at]
    for other in deliveries[1:]:
        if other.event == "push" and (later := _readable_push(other)) is not None and later.ref == push.ref:
            pushes.append(later)
            ids.append(other.inbox_id)
            times.append(other.came_at)
    return await judge_arrival(
        services, Arrival(lane, tuple(pushes), tuple(ids), "push", first.attempts, first.received_at, tuple(times))
    )


async def _lab_of_template(services: Services, push: Push) -> LabRecord | None:
    """The lab whose template was pushed to. A bound repository is none, and known without a query."""
    if await services.mappings.find(push.repo.repo_id) is not None:
        return None
    return await labs.by_base_repos(services.pool, [push.repo.repo_id])


def _push_of(delivery: StoredDelivery) -> Push:
    push = read(PushPayload, delivery.payload).value(delivery.guid)
    if push.repo.repo_id != delivery.repo_id:
        raise UnreadablePayloadError("the body names another repository than its lane")
    return push


def _readable_push(delivery: StoredDelivery) -> Push | None:
    try:
        return _push_of(delivery)
    except UnreadablePayloadError:
        return None  # it is buried when its own turn comes


async def on_bind(services: Services, lane: Lane, deliveries: Deliveries) -> str:
    """Our own entry for a repository that an installation covers since now: bind it, and answer its head."""
    first = deliveries[0]
    await inbox.started(services.pool, lane, [first.inbox_id])
    payload = read(BindPayload, first.payload)
    if first.repo_id is None:
        raise UnreadablePayloadError("the entry names no repository")
    return await judge_branch(
        services,
        lane,
        first.inbox_id,
        installation_id=payload.installation_id,
        repo_id=first.repo_id,
        trigger="reconcile",
        attempts=first.attempts,
        received_at=first.received_at,
    )


async def on_judge(services: Services, lane: Lane, deliveries: Deliveries) -> str:
    """Our own entry for a session that somebody woke (a click on the page, a decision of staff): judge its head again.

    The repository is looked up anew: it may have been renamed, or belong to another session, since the entry was made.
    """
    first = deliveries[0]
    await inbox.started(services.pool, lane, [first.inbox_id])
    payload = read(JudgePayload, first.payload)
    mapping = None if first.repo_id is None else await Mappings(services.pool).find(first.repo_id)
    if mapping is None or mapping.session_id != payload.session_id:
        await inbox.finish(services.pool, lane, [first.inbox_id], "done", "not_bound")
        return "not_bound"
    return await judge_branch(
        services,
        lane,
        first.inbox_id,
        installation_id=mapping.installation_id,
        repo_id=mapping.repo_id,
        trigger=payload.trigger,
        attempts=first.attempts,
        received_at=first.received_at,
    )


async def on_result(services: Services, lane: Lane, deliveries: Deliveries) -> str:
    """`check_run`, `check_suite` and `workflow_run`: if a step of the session may wait for such a result, its head is
    judged again, for all of them that wait here together.
    """
    first = deliveries[0]
    await inbox.started(services.pool, lane, [first.inbox_id])
    payload = read(ResultPayload, first.payload)
    repo_id = payload.repository.id
    if repo_id != first.repo_id:
        raise UnreadablePayloadError("the body names another repository than its lane")
    mapping = await Mappings(services.pool).find(repo_id)
    if mapping is None or not await headfacts.awaited(services.pool, repo_id):
        await inbox.finish(services.pool, lane, [first.inbox_id], "done", "not_awaited", keep_body=False)
        return "not_awaited"
    if await _is_of_other_branch(services, mapping, payload):
        await inbox.finish(services.pool, lane, [first.inbox_id], "done", "other_branch")
        return "other_branch"
    if others := [other.inbox_id for other in deliveries[1:] if other.event in RESULT_EVENTS and _is_result(other)]:
        await inbox.finish(services.pool, lane, others, "done", "judged_with_another")
    return await judge_branch(
        services,
        lane,
        first.inbox_id,
        installation_id=mapping.installation_id,
        repo_id=mapping.repo_id,
        trigger="fact",
        attempts=first.attempts,
        received_at=first.received_at,
    )


def _is_result(delivery: StoredDelivery) -> bool:
    return delivery.action in (FINISHED, None)


async def _is_of_other_branch(services: Services, mapping: RepoMapping, payload: ResultPayload) -> bool:
    """Whether a result hangs neither on the newest head that we know of the lab's branch, nor on that branch."""
    state = await judging_state(services.pool, mapping.session_id)
    if state is None:
        return False
    subject = payload.subject
    return subject.head_sha != state.branch_head_seen and subject.head_branch not in (None, state.version.lab.branch)


HANDLERS: dict[str, Callable[[Services, Lane, Deliveries], Awaitable[str]]] = {
    "push": on_push,
    "repository": on_repository,
    "fork": on_fork,
    **dict.fromkeys(INSTALLATION_EVENTS, on_installation),
    **dict.fromkeys(RESULT_EVENTS, on_result),
    "status": on_status,
    BIND: on_bind,
    LOOK: on_look,
    JUDGE: on_judge,
}

# What these events are about depends on their action.
_BY_ACTION: dict[tuple[str, str | None], Callable[[Services, Lane, Deliveries], Awaitable[str]]] = {
    ("check_run", PRESSED): on_press,
    ("check_run", RERUN): on_rerun,
    ("check_suite", RERUN): on_rerun,
    ("check_suite", REQUESTED): on_suite,
}

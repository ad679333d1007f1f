"""One handler per event. A handler reads its payload, calls the pipeline or makes stored state equal to the API's.

Lifecycle deliveries are wake-ups: they carry no usable time and may come late, twice or not at all, so the handler
asks the API and stores what it says (binding.md section 4.6).
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from uuid import UUID, uuid5

import orjson
import structlog

from bot import visibility
from bot.lookup import refresh_installation
from bot.payloads import (
    BindPayload,
    InstallationPayload,
    JudgePayload,
    PushPayload,
    RepositoryEventPayload,
    ResultPayload,
    UnreadablePayloadError,
    read,
)
from bot.pipeline import Arrival, judge_arrival, judge_branch
from bot.services import Services
from bot.templates import on_template_push
from bot.wanted import RESULT_EVENTS
from github.errors import InstallationGone, NotFound
from rules.model import LabRecord, Push, RepoMapping
from storage import accounts, headfacts, inbox, labs
from storage.inbox import NewDelivery, StoredDelivery
from storage.lanes import Lane
from storage.mappings import Mappings
from storage.progress import judging_state
from storage.wakeups import JUDGE

log = structlog.get_logger(__name__)

# Our own inbox entry, never accepted from outside: bind a repository that an installation covers, and judge its head.
BIND = "stepgate.bind"

Deliveries = tuple[StoredDelivery, ...]


async def handle(services: Services, lane: Lane, deliveries: Deliveries) -> str:
    """Process the first of a lane's waiting deliveries, and finish it. Returns a word for the log.

    Raises UnreadablePayloadError for a body that does not fit its event, GitHubError and database errors.
    """
    handler = HANDLERS.get(deliveries[0].event)
    if handler is None:
        raise UnreadablePayloadError(f"nobody handles the event {deliveries[0].event!r}")
    return await handler(services, lane, deliveries)


async def on_push(services: Services, lane: Lane, deliveries: Deliveries) -> str:
    """A push, together with the pushes of the same ref that wait behind it: the newest is judged."""
    first = deliveries[0]
    await inbox.started(services.pool, lane, [first.inbox_id])
    push = _push_of(first)
    if (lab := await _lab_of_template(services, push)) is not None:
        outcome = await on_template_push(services, lab, push.branch)
        await inbox.finish(services.pool, lane, [first.inbox_id], "done", outcome)
        return outcome
    pushes, ids = [push], [first.inbox_id]
    for other in deliveries[1:]:
        if other.event == "push" and (later := _readable_push(other)) is not None and later.ref == push.ref:
            pushes.append(later)
            ids.append(other.inbox_id)
    return await judge_arrival(services, Arrival(lane, tuple(pushes), tuple(ids), attempts=first.attempts))


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


async def on_installation(services: Services, lane: Lane, deliveries: Deliveries) -> str:
    """`installation` and `installation_repositories`: make the stored installation equal to what the API says.

    Every repository that it covers since now gets an entry in its own lane, so that it is bound and its head judged
    there, in order with its pushes.
    """
    first = deliveries[0]
    await inbox.started(services.pool, lane, [first.inbox_id])
    payload = read(InstallationPayload, first.payload)
    installation_id = payload.installation.id
    outcome = await _sync_installation(services, first, installation_id)
    # Permissions were accepted, perhaps the one that results are read with.
    if any(other.action == "new_permissions_accepted" for other in deliveries if other.event == "installation"):
        await headfacts.wake_awaiting(services.pool, installation_id)
    waiting = [
        other.inbox_id for other in deliveries[1:] if other.event in ("installation", "installation_repositories")
    ]
    await inbox.finish(services.pool, lane, [first.inbox_id, *waiting], "done", outcome)
    return outcome


async def _sync_installation(services: Services, delivery: StoredDelivery, installation_id: int) -> str:
    try:
        changes = await refresh_installation(services, installation_id)
    except InstallationGone:
        return "installation_deleted"
    names = await accounts.repositories(services.pool, installation_id)
    await inbox.record(
        services.pool,
        [
            bind_entry(uuid5(delivery.guid, str(repo_id)), installation_id, repo_id, names[repo_id])
            for repo_id in sorted(changes.added & names.keys())
        ],
    )
    return f"installation_read:{len(changes.added)} added, {len(changes.removed)} removed"


def bind_entry(guid: UUID, installation_id: int, repo_id: int, full_name: str) -> NewDelivery:
    """Our own entry in a repository's lane: see `on_bind`."""
    return NewDelivery(
        guid=guid,
        event=BIND,
        action=None,
        installation_id=installation_id,
        repo_id=repo_id,
        lane_id=f"repo:{repo_id}",
        payload=orjson.dumps({"installation_id": installation_id, "full_name": full_name}),
    )


async def on_repository(services: Services, lane: Lane, deliveries: Deliveries) -> str:
    """`repository`: renamed, privatized and so on: take over what the API tells now."""
    first = deliveries[0]
    await inbox.started(services.pool, lane, [first.inbox_id])
    payload = read(RepositoryEventPayload, first.payload)
    repo_id = payload.repository.id
    mapping = await services.mappings.find(repo_id)
    outcome = "repository_not_bound"
    if mapping is not None:
        outcome = await _refresh(services, mapping, payload.repository.full_name)
    await inbox.finish(services.pool, lane, [first.inbox_id], "done", outcome, keep_body=mapping is not None)
    return outcome


async def _refresh(services: Services, mapping: RepoMapping, full_name: str) -> str:
    try:
        same = await visibility.refresh(services, mapping, full_name)
    except NotFound:
        return "repository_not_found"
    return "repository_refreshed" if same else "repository_name_reused"


async def on_bind(services: Services, lane: Lane, deliveries: Deliveries) -> str:
    """Our own entry for a repository that an installation covers since now: bind it, and answer its head."""
    first = deliveries[0]
    await inbox.started(services.pool, lane, [first.inbox_id])
    payload = read(BindPayload, first.payload)
    return await judge_branch(
        services,
        lane,
        first.inbox_id,
        installation_id=payload.installation_id,
        full_name=payload.full_name,
        trigger="reconcile",
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
        full_name=mapping.repo_full_name,
        trigger=payload.trigger,
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
    if others := [other.inbox_id for other in deliveries[1:] if other.event in RESULT_EVENTS]:
        await inbox.finish(services.pool, lane, others, "done", "judged_with_another")
    return await judge_branch(
        services,
        lane,
        first.inbox_id,
        installation_id=mapping.installation_id,
        full_name=mapping.repo_full_name,
        trigger="fact",
    )


async def _is_of_other_branch(services: Services, mapping: RepoMapping, payload: ResultPayload) -> bool:
    """Whether a result hangs neither on the newest head that we know of the lab's branch, nor on that branch."""
    state = await judging_state(services.pool, mapping.session_id)
    if state is None:
        return False
    subject = payload.subject
    return subject.head_sha != state.branch_head_seen and subject.head_branch not in (None, state.version.lab.branch)


HANDLERS: dict[str, Callable[[Services, Lane, Deliveries], Awaitable[str]]] = {
    "push": on_push,
    "installation": on_installation,
    "installation_repositories": on_installation,
    "repository": on_repository,
    **dict.fromkeys(RESULT_EVENTS, on_result),
    BIND: on_bind,
    JUDGE: on_judge,
}

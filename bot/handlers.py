"""One handler per event. A handler reads its payload, calls the pipeline or makes stored state equal to the API's.

Lifecycle deliveries are wake-ups: they carry no usable time and may come late, twice or not at all, so the handler
asks the API and stores what it says (binding.md section 4.6).
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from uuid import uuid5

import orjson
import structlog

from bot.lookup import refresh_installation
from bot.payloads import (
    BindPayload,
    InstallationPayload,
    PushPayload,
    RepositoryEventPayload,
    UnreadablePayloadError,
    read,
)
from bot.pipeline import Arrival, judge_arrival, judge_branch
from bot.registry import record_template_push
from bot.services import Services
from github.errors import InstallationGone, NotFound
from rules.model import LabRecord, Push, RepoMapping
from storage import accounts, inbox, labs
from storage.inbox import NewDelivery, StoredDelivery
from storage.lanes import Lane

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
        outcome = await record_template_push(services.pool, services.app, lab, push.branch)
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
            NewDelivery(
                guid=uuid5(delivery.guid, str(repo_id)),
                event=BIND,
                action=None,
                installation_id=installation_id,
                repo_id=repo_id,
                lane_id=f"repo:{repo_id}",
                payload=orjson.dumps({"installation_id": installation_id, "full_name": names[repo_id]}),
            )
            for repo_id in sorted(changes.added & names.keys())
        ],
    )
    return f"installation_read:{len(changes.added)} added, {len(changes.removed)} removed"


async def on_repository(services: Services, lane: Lane, deliveries: Deliveries) -> str:
    """`repository`: renamed, transferred and so on: take over the name that the API tells now."""
    first = deliveries[0]
    await inbox.started(services.pool, lane, [first.inbox_id])
    payload = read(RepositoryEventPayload, first.payload)
    repo_id = payload.repository.id
    mapping = await services.mappings.find(repo_id)
    outcome = "repository_not_bound"
    if mapping is not None:
        outcome = await _refresh_name(services, mapping, payload.repository.full_name)
    await inbox.finish(services.pool, lane, [first.inbox_id], "done", outcome, keep_body=mapping is not None)
    return outcome


async def _refresh_name(services: Services, mapping: RepoMapping, full_name: str) -> str:
    try:
        repo, _ = await services.app.installation(mapping.installation_id).repository(full_name)
    except NotFound:
        return "repository_not_found"
    if repo.repo_id != mapping.repo_id:  # the name belongs to another repository by now
        return "repository_name_reused"
    await services.mappings.rename(mapping.repo_id, repo.full_name)
    return "repository_refreshed"


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


HANDLERS: dict[str, Callable[[Services, Lane, Deliveries], Awaitable[str]]] = {
    "push": on_push,
    "installation": on_installation,
    "installation_repositories": on_installation,
    "repository": on_repository,
    BIND: on_bind,
}

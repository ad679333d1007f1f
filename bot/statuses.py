"""Commit statuses under our name that others write: whoever may push can. Ours is sent again, and the audit tells.

The check-run, which nobody else can write, says what is so all the while.
"""

from __future__ import annotations

from datetime import timedelta
from uuid import UUID

import structlog
from prometheus_client import Counter

from bot.payloads import StatusPayload, UnreadablePayloadError, read
from bot.services import Services
from storage import echoes, inbox
from storage.audit import AuditEvent
from storage.echoes import Standing, StatusSeen
from storage.inbox import StoredDelivery
from storage.lanes import Lane

# Ours is on its way when it is looked at: then it is looked at again.
AGAIN = timedelta(seconds=1)

FORGED = Counter("stepgate_statuses_forged_total", "Commit statuses under our name that others wrote", ["answer"])

log = structlog.get_logger(__name__)


async def on_status(services: Services, lane: Lane, deliveries: tuple[StoredDelivery, ...]) -> str:
    """`status`: one that says something else than we did is contested, as the database has it by now."""
    first = deliveries[0]
    await inbox.started(services.pool, lane, [first.inbox_id])
    payload = read(StatusPayload, first.payload)
    repository, seen = payload.repository, payload.value()
    if repository.id != first.repo_id:
        raise UnreadablePayloadError("the body names another repository than its lane")
    outcome: Standing = "unknown"
    if seen.context == services.judging.check_name:
        by, owner_id = payload.sender_id, repository.owner.id
        outcome = await contest(services, repository.id, seen, owner_id=owner_id, sender_id=by, delivery_id=first.guid)
    if outcome == "sending":
        await inbox.retry_later(services.pool, lane, first.inbox_id, "ours is on its way", AGAIN, counts=False)
        return outcome
    await inbox.finish(services.pool, lane, [first.inbox_id], "done", f"status_{outcome}", keep_body=False)
    return outcome


async def contest(
    services: Services,
    repo_id: int,
    seen: StatusSeen,
    *,
    owner_id: int,
    sender_id: int | None = None,
    delivery_id: UUID | None = None,
) -> Standing:
    """Answer a status under our name, if it says something else than we did; see storage.echoes.contest.

    `sender_id`: who wrote it, as far as is known.
    """
    event = AuditEvent(
        "status_forged",
        code="STATUS_FORGED",
        repo_id=repo_id,
        owner_id=owner_id,
        head_sha=seen.head_sha,
        sender_id=sender_id,
        delivery_id=delivery_id,
        detail={"state": seen.state[:20]},
    )
    standing = await echoes.contest(services.pool, repo_id, seen, event)
    if standing in ("restored", "counted"):
        FORGED.labels(standing).inc()
        log.warning("status_forged", repo=repo_id, head=seen.head_sha, by=sender_id, answer=standing)
    return standing

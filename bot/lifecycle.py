"""Installations and repositories come, change and go: one handler per event, all of them wake-ups.

Lifecycle deliveries carry no usable time and may come late, twice, in any order or not at all. So a handler takes from
its delivery only whom to ask about, asks the API, and lets stored state and sessions follow (bot.coverage). `archived`
and `edited` change nothing that is decided on: GitHub itself refuses pushes to an archived repository, and no decision
leans on the default branch of a bound one; after `unarchived`, reports that GitHub refused meanwhile are sent.
"""

from __future__ import annotations

from datetime import timedelta
from uuid import UUID

import orjson

from bot.coverage import Sight, is_reachable, look_at, refresh_installation
from bot.payloads import (
    ForkPayload,
    InstallationPayload,
    LookPayload,
    RepositoryEventPayload,
    UnreadablePayloadError,
    read,
)
from bot.services import Services
from bot.webhook import INSTALLATION_EVENTS
from github.errors import InstallationGone, Transient
from storage import headfacts, inbox, lifecycle
from storage.inbox import NewDelivery, StoredDelivery
from storage.lanes import Lane
from storage.mappings import Mappings

# Our own inbox entry, never accepted from outside: bind a repository that an installation covers, and judge its head.
BIND = "stepgate.bind"

# While more repositories of one installation wait than are looked at together, the next look is after this.
NEXT_LOOK = timedelta(seconds=1)

# What happened to an unbound repository matters to the set of covered ones only if it came, went or was renamed.
_OF_ANY_REPOSITORY = frozenset({"created", "deleted", "renamed", "transferred"})

# A repository that was made just now may not be visible yet in the API (replication); after so many tries it is gone.
_BELIEVE_GONE_AFTER = 2

Deliveries = tuple[StoredDelivery, ...]


def bind_entry(guid: UUID, installation_id: int, repo_id: int) -> NewDelivery:
    """Our own entry in a repository's lane: see handlers.on_bind."""
    return NewDelivery(
        guid=guid,
        event=BIND,
        action=None,
        installation_id=installation_id,
        repo_id=repo_id,
        lane_id=f"repo:{repo_id}",
        payload=orjson.dumps({"installation_id": installation_id}),
    )


async def on_installation(services: Services, lane: Lane, deliveries: Deliveries) -> str:
    """`installation`, `installation_repositories`, `installation_target`: the installation is read once for all that
    wait. What it covers since now gets its turn in lanes of its own (`on_look`).
    """
    first = deliveries[0]
    await inbox.started(services.pool, lane, [first.inbox_id])
    installation_id = read(InstallationPayload, first.payload).installation.id
    waiting = [each for each in deliveries if each is first or each.event in INSTALLATION_EVENTS]
    try:
        changed = await refresh_installation(services, installation_id)
        await _wake(services, installation_id, waiting)
        outcome = f"installation_read:{changed} sessions changed"
    except InstallationGone:
        outcome = "installation_deleted"
    await inbox.finish(services.pool, lane, [each.inbox_id for each in waiting], "done", outcome)
    return outcome


async def _wake(services: Services, installation_id: int, deliveries: list[StoredDelivery]) -> None:
    """Look at heads that may have been pushed unseen: what ended their time away tells of it, also if what began it was
    lost. And permissions were accepted, perhaps the one that results are read with.
    """
    happened = {(each.event, each.action) for each in deliveries}
    if ("installation", "new_permissions_accepted") in happened:
        await headfacts.wake_awaiting(services.pool, installation_id)
    if ("installation", "unsuspend") in happened:
        await lifecycle.look_again(services.pool, installation_id)
    elif added := frozenset[int]().union(*map(_added, deliveries)):
        await lifecycle.look_again(services.pool, installation_id, added)


def _added(delivery: StoredDelivery) -> frozenset[int]:
    try:
        return read(InstallationPayload, delivery.payload).added_ids
    except UnreadablePayloadError:
        return frozenset()


async def on_look(services: Services, lane: Lane, deliveries: Deliveries) -> str:
    """Our own entry: an installation's repositories that are to be looked at get theirs, some at a time, so that
    thousands of them do not stand before everybody's pushes.
    """
    first = deliveries[0]
    await inbox.started(services.pool, lane, [first.inbox_id])
    installation_id = read(LookPayload, first.payload).installation_id
    if await lifecycle.take_looks(services.pool, installation_id):
        await inbox.retry_later(
            services.pool, lane, first.inbox_id, "more repositories wait for their turn", NEXT_LOOK, counts=False
        )
        return "looking"
    await inbox.finish(services.pool, lane, [first.inbox_id], "done", "looked")
    return "looked"


async def on_repository(services: Services, lane: Lane, deliveries: Deliveries) -> str:
    """`repository`: what the API says of it now is stored for every installation that it may have to do with."""
    first = deliveries[0]
    await inbox.started(services.pool, lane, [first.inbox_id])
    payload = read(RepositoryEventPayload, first.payload)
    repo_id = payload.repository.id
    if repo_id != first.repo_id:
        raise UnreadablePayloadError("the body names another repository than its lane")
    bound = await Mappings(services.pool).find(repo_id) is not None
    outcome = "repository_not_bound"
    if bound or payload.action in _OF_ANY_REPOSITORY:
        installations = set(await lifecycle.covering(services.pool, repo_id))
        if payload.installation is not None:
            installations.add(payload.installation.id)
        sights = [await look_at(services, each, repo_id) for each in sorted(installations)]
        if payload.action == "created" and first.attempts < _BELIEVE_GONE_AFTER and _is_missing(sights):
            raise Transient(f"repository {repo_id} is not visible (yet)")
        if bound:
            outcome = await _take_over(services, sights)
    await inbox.finish(services.pool, lane, [first.inbox_id], "done", outcome, keep_body=bound)
    return outcome


def _is_missing(sights: list[Sight]) -> bool:
    return any(sight.code == "REPOSITORY_GONE" for sight in sights)


async def _take_over(services: Services, sights: list[Sight]) -> str:
    """Take over name and visibility of a bound repository from whoever sees it."""
    for sight in sights:
        if sight.repo is not None:
            await services.mappings.see(sight.repo)
            if any(each.code is None for each in sights):
                await lifecycle.send_again(services.pool, sight.repo.repo_id)  # it was archived, perhaps
                return "repository_refreshed"
            break
    return "repository_away"


async def on_fork(services: Services, lane: Lane, deliveries: Deliveries) -> str:
    """`fork`: it comes to the installation of what was forked. If the App is on all repositories of who forked it, the
    new one is covered, bound and greeted, without any event of its own.
    """
    first = deliveries[0]
    await inbox.started(services.pool, lane, [first.inbox_id])
    forkee = read(ForkPayload, first.payload).forkee
    outcome = "fork_not_covered"
    installation_id = await lifecycle.installation_on_all(services.pool, forkee.owner.id)
    if installation_id is not None:
        sight = await look_at(services, installation_id, forkee.id)
        if sight.code == "REPOSITORY_GONE" and first.attempts < _BELIEVE_GONE_AFTER:
            raise Transient(f"repository {forkee.id} is not visible (yet)")
        outcome = "fork_covered" if sight.code is None else outcome
    await inbox.finish(services.pool, lane, [first.inbox_id], "done", outcome, keep_body=False)
    return outcome


async def went_away(services: Services, delivery: StoredDelivery) -> bool:
    """Whether the repository of a delivery cannot be reached: it went away while the delivery was processed.

    It is stored now, for the event that tells of it may come later or never.
    """
    if delivery.repo_id is None:
        return False
    mapping = await Mappings(services.pool).find(delivery.repo_id)
    installation_id = mapping.installation_id if mapping is not None else delivery.installation_id
    if installation_id is None:
        return False
    if await is_reachable(services, installation_id, delivery.repo_id):
        await look_at(services, installation_id, delivery.repo_id)
    return not await is_reachable(services, installation_id, delivery.repo_id)
